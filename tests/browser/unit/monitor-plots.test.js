// The plots: what is drawn where, and what the words say; the cards' numbers.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { hourOf, pathOf, PLOTS, SLOTS, slotOf, spreads, spreadWords, throughput } from '../../../web/monitor/plots.js';
import { laneWords, rateWords } from '../../../web/monitor/queues.js';
import { at, minute, NOW, queue, spread } from './monitor-make.js';

test('the minute that runs is the last bar, one of an hour ago is out of the picture', () => {
  assert.equal(slotOf(at(0), NOW + 59_999), SLOTS - 1);
  assert.equal(slotOf(at(-60_000), NOW), SLOTS - 2);
  assert.equal(slotOf(at(-59 * 60_000), NOW), 0);
  assert.deepEqual(throughput([minute(60)], NOW).layers.flatMap(({ pieces }) => pieces), []);
});

test('failed tries stand on top of answers, and the scale fits both', () => {
  const { layers, max } = throughput([minute(1, { posted: 3, answered: 4, failed: 2 })], NOW);
  assert.equal(max, 6);
  assert.deepEqual(layers.map(({ name, pieces }) => [name, pieces.map(({ from, to }) => [from, to])]).slice(0, 2), [['answered', [[0, 4]]], ['failed', [[4, 6]]]]);
});

test('what was asked for is marked only above what was done', () => {
  const marks = (/** @type {number} */ posted) => throughput([minute(1, { posted, answered: 4, failed: 1 })], NOW).layers[2]?.pieces.map(({ to }) => to);
  assert.deepEqual([marks(5), marks(6)], [[], [6]]);
});

test('the layers of a spread lie on each other up to p99, and a minute without one is left out', () => {
  const { layers, max } = spreads([minute(2, { waiting_ms: null }), minute(1, { waiting_ms: spread(100) })], 'waiting_ms', NOW);
  assert.equal(max, 400);
  assert.deepEqual(layers.map(({ name, pieces }) => [name, pieces.map(({ slot, from, to }) => [slot, from, to])]),
    [['p50', [[58, 0, 100]]], ['p95', [[58, 100, 200]]], ['p99', [[58, 200, 400]]]]);
});

test('a spread of nothing at all is still seen', () => {
  const { layers } = spreads([minute(1, { waiting_ms: spread(0) })], 'waiting_ms', NOW);
  const piece = layers[0]?.pieces[0];
  assert.ok(piece && piece.to > piece.from);
});

test('a path has one closed box for each piece, from the bottom up', () => {
  assert.equal(pathOf([{ slot: 0, from: 0, to: 50 }, { slot: 59, from: 50, to: 100 }, { slot: 3, from: 7, to: 7 }], 100),
    'M0.09 50h0.82V100h-0.82zM59.09 0h0.82V50h-0.82z');
});

test('words say what a plot shows; sums are those of the hour', () => {
  const one = queue({ minutes: [minute(90, { answered: 50 }), minute(5, { posted: 3, answered: 2, failed: 1 }), minute(0)], waiting_ms: spread(900) });
  assert.deepEqual(hourOf(one.minutes, NOW), { posted: 4, answered: 3, failed: 1 });
  assert.deepEqual(PLOTS.map(({ words }) => words(one, NOW)), ['3 of 4 asked, 1 failed', 'p50 0.9 s · p95 1.8 s · p99 3.6 s', 'none yet', 'none yet']);
  assert.equal(spreadWords(spread(40)), 'p50 40 ms · p95 80 ms · p99 0.2 s');
});

test('the pace is that of the last five minutes', () => {
  assert.equal(rateWords([minute(6, { answered: 99 }), minute(4, { answered: 3 }), minute(0, { answered: 4 })], NOW), '1.4');
  assert.equal(rateWords([minute(1, { answered: 84 })], NOW), '17');
  assert.equal(rateWords([], NOW), '0.0');
});

test('lanes are named where there is more to say than how many wait', () => {
  assert.equal(laneWords(queue({ lanes: [{ priority: 5, second: false, waiting: 3 }] })), '');
  assert.equal(laneWords(queue({ lanes: [{ priority: 9, second: false, waiting: 1 }, { priority: 5, second: true, waiting: 2 }] })), 'priority 9: 1 · priority 5, second lane: 2');
});
