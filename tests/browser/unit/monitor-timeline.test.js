// A message's life as bars.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { lifeOf, rowWords, scaleOf, stepWords, ticksOf } from '../../../web/monitor/timeline.js';
import { at, NOW, position } from './monitor-make.js';

/** @typedef {import('../../../web/monitor/types.js').Step} Step */

/** @param {string} event @param {number} ms @param {Record<string, any>} [data] @returns {Step} */
const step = (event, ms, data = {}) => ({ event, position: position(ms), at: at(ms), ms: 0, data });

const asked = step('message.posted', 0, { bot: 'poet', author: { name: 'ann' } });
const claimed = (/** @type {number} */ ms, worker = 'gpu-1') => step('message.claimed', ms, { worker });

/** @param {Step[]} steps @param {{ stages?: import('../../../web/monitor/types.js').Stage[], now?: number }} [options] */
function life(steps, { stages = [], now = 60_000 } = {}) {
  const made = lifeOf({ id: 'm', steps, total_ms: 0 }, { stages, now: NOW + now });
  assert.ok(made);
  return made;
}

/** @param {import('../../../web/monitor/timeline.js').Life} made */
const bars = ({ rows }) => rows.map(({ bars: all }) => all.map(({ kind, from, to, open }) => `${kind} ${from - NOW}-${to - NOW}${open ? '…' : ''}`).join(', '));

/** @param {string} state @param {number} ms */
const stage = (state, ms) => ({ state, at: NOW + ms, attempt: 1 });

test('an answered message waited, read until its first word, and wrote', () => {
  const made = life([asked, claimed(1_000), step('reply.posted', 5_000, { first_token_ms: 800 }), step('message.completed', 5_000, { ms: 4_000 })]);
  assert.deepEqual(bars(made), ['waiting 0-1000, first 1000-1800, writing 1800-5000']);
  assert.deepEqual(made.rows.map(({ attempt, worker, end, good }) => [attempt, worker, end, good]), [[1, 'gpu-1', 'answered', true]]);
  assert.equal(made.open, false);
  assert.equal(rowWords(/** @type {any} */ (made.rows[0])), 'try 1 by gpu-1: waiting 1.0 s, until the first word 0.8 s, writing 3.2 s; answered');
});

test('live stages that were seen cut the time before the first word', () => {
  const stages = [stage('waiting', 0), stage('claimed', 1_000), stage('loading-model', 1_200), stage('reading-prompt', 4_000), stage('writing', 4_500)];
  const made = life([asked, claimed(1_000), step('reply.posted', 9_000, { first_token_ms: 3_400 })], { stages });
  assert.deepEqual(bars(made), ['waiting 0-1000, first 1000-1200, loading 1200-4000, reading 4000-4400, writing 4400-9000']);
});

test('one in flight grows to now, in the stage that it is in', () => {
  const steps = [asked, claimed(1_000)];
  assert.deepEqual(bars(life(steps, { now: 3_000 })), ['waiting 0-1000, held 1000-3000…']);
  const stages = [stage('loading-model', 1_500), stage('writing', 2_500)];
  const made = life(steps, { stages, now: 4_000 });
  assert.deepEqual(bars(made), ['waiting 0-1000, held 1000-1500, loading 1500-2500, writing 2500-4000…']);
  assert.equal(made.open, true);
  assert.equal(made.to, NOW + 4_000);
  assert.deepEqual(bars(life([asked], { now: 700 })), ['waiting 0-700…']);
});

test('a try that failed has a row of its own, then comes the pause, the lane, and the next try', () => {
  const failed = step('message.failed', 2_000, { reason: 'model-timeout: 60 s', attempt: 1, retry_at: at(6_000) });
  const made = life([asked, claimed(1_000), failed, step('message.released', 6_000, { reason: 'retry-due' }), claimed(6_500, 'gpu-2'), step('reply.posted', 7_500, { first_token_ms: 100 })]);
  assert.deepEqual(bars(made), ['waiting 0-1000, held 1000-2000', 'pause 2000-6000, waiting 6000-6500, first 6500-6600, writing 6600-7500']);
  assert.deepEqual(made.rows.map(({ attempt, end }) => [attempt, end]), [[1, 'failed: model-timeout: 60 s'], [2, 'answered']]);
});

test('a claim whose worker fell silent ends as that, and the message waits again', () => {
  const made = life([asked, claimed(1_000), step('message.released', 11_000, { reason: 'lease-over' })], { now: 12_000 });
  assert.deepEqual(bars(made), ['waiting 0-1000, held 1000-11000', 'waiting 11000-12000…']);
  assert.equal(made.rows[0]?.end, 'its worker was not heard of any more');
});

test('dead, cancelled and finally failed ones end where the log says', () => {
  assert.equal(life([asked, step('message.cancelled', 900)]).rows[0]?.end, 'cancelled');
  assert.equal(life([asked, claimed(1_000), step('message.failed', 2_000, { reason: 'refused' })]).rows[0]?.end, 'failed: refused');
  const dead = life([asked, step('message.dead', 900, { reason: 'tried 5 times' })]);
  assert.deepEqual([dead.rows[0]?.end, dead.open, bars(dead)], ['given up: tried 5 times', false, ['waiting 0-900']]);
});

test('asking again hours later leaves a gap that does not hide the rest', () => {
  const hours = 3 * 3_600_000;
  const made = life([asked, claimed(1_000), step('reply.posted', 3_000, { first_token_ms: 500 }), step('message.completed', 3_000),
    step('message.released', hours, { reason: 'retry-asked' }), claimed(hours + 1_000), step('reply.posted', hours + 3_000, { first_token_ms: 500 })]);
  assert.equal(made.rows.length, 2);
  assert.deepEqual(made.gaps.map(({ from, to }) => [from - NOW, to - NOW]), [[3_000, hours]]);
  const place = scaleOf(made);
  assert.deepEqual([NOW, NOW + 3_000, NOW + hours, NOW + hours + 3_000].map((time) => Math.round(place(time))), [0, 47, 53, 100]);
  assert.deepEqual(ticksOf(made), []);
});

test('without gaps the picture is even, and has a handful of round marks', () => {
  const made = life([asked, claimed(1_000)], { now: 8_000 });
  assert.equal(scaleOf(made)(NOW + 2_000), 25);
  assert.deepEqual(ticksOf(made), [0, 2_000, 4_000, 6_000, 8_000]);
  for (const now of [3, 40, 900, 70_000, 5e6, 9e7, 9e8]) {
    const ticks = ticksOf(life([asked], { now }));
    assert.ok(ticks.length >= 1 && ticks.length <= 7, `${ticks.length} marks for ${now} ms`);
  }
});

test('a message that asked nobody has no picture', () => {
  assert.equal(lifeOf({ id: 'm', steps: [step('message.posted', 0, { bot: null })], total_ms: 0 }, { now: NOW }), null);
});

test('every kind of step has its words', () => {
  assert.equal(stepWords(asked), 'ann asked poet');
  assert.equal(stepWords(claimed(1)), 'claimed by gpu-1');
  assert.equal(stepWords(step('message.failed', 1, { attempt: 2, reason: 'x', retry_at: at(2) })), 'try 2 failed: x; it will be tried again');
  assert.equal(stepWords(step('message.released', 1, { reason: 'retry-asked' })), 'somebody asked for another try');
  assert.equal(stepWords(step('message.released', 1, { reason: 'lease-over' })), 'back in its lane: its worker was not heard of any more');
  assert.equal(stepWords(step('message.something', 1)), 'message.something');
});
