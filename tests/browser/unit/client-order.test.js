// Each event once and in order: the pure part.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { EARLY_MAX, Order, covers, earlier } from '../../../web/client/order.js';

/** @param {number} seq @param {number} [epoch] */
const at = (seq, epoch = 1) => `${String(epoch).padStart(16, '0')}-00-${String(seq).padStart(16, '0')}`;

/** @param {string} name @param {any} data @param {string} [prev] @param {string} [id] */
const sent = (name, data, prev = '', id = '') => ({ name, data, prev, id });

/** @param {number} seq @param {number} [prev] @param {number} [epoch] */
const posted = (seq, prev = seq - 1, epoch = 1) => sent('message.posted', { id: `m${seq}` }, at(prev, epoch), at(seq, epoch));

/** @param {number} index @param {number} [prev] */
const delta = (index, prev = 5) => sent('reply.delta', { reply_id: 'r', index, text: `${index}` }, at(prev));

/** @param {any[]} [in_flight] @param {number} [seq] @param {number} [epoch] */
const snapshot = (in_flight = [], seq = 5, epoch = 1) => sent('snapshot', { messages: [], in_flight }, '', at(seq, epoch));

/** @param {any[]} [in_flight] */
function begun(in_flight) {
  const order = new Order();
  order.put(snapshot(in_flight));
  return order;
}

/** @param {Order} order @param {import('../../../web/client/types.js').Sent[]} events */
function put(order, ...events) {
  const results = events.map((event) => order.put(event));
  return {
    taken: results.flatMap((result) => result.events.map(({ name, id, data }) => (id ? `${name} ${Number(id.slice(20))}` : `${name} ${data.index ?? data.next_index ?? ''}`.trim()))),
    missed: results.map(({ missed }) => missed),
  };
}

test('an event that was handed on is not handed on again', () => {
  const { taken, missed } = put(begun(), posted(6), posted(6), posted(7), posted(6), posted(5));
  assert.deepEqual(taken, ['message.posted 6', 'message.posted 7']);
  assert.ok(missed.every((m) => !m));
});

test('a gap is missed, not skipped, and what fills it comes in order', () => {
  const order = begun();
  assert.deepEqual(put(order, posted(8, 7)), { taken: [], missed: [true] });
  assert.equal(order.cursor, at(5));
  assert.deepEqual(put(order, posted(7, 5), posted(8, 7)).taken, ['message.posted 7', 'message.posted 8']);
});

test('positions between which the room has nothing are no gap', () => {
  assert.deepEqual(put(begun(), posted(6, 5), posted(90, 6)).missed, [false, false]);
});

test('events before the snapshot wait for it, and those it holds are dropped', () => {
  const order = new Order();
  assert.deepEqual(put(order, posted(5), posted(6), delta(2, 6), posted(7)).taken, []);
  const { taken } = put(order, snapshot([{ reply_id: 'r', next_index: 2 }], 6));
  assert.deepEqual(taken, ['snapshot 6', 'reply.delta 2', 'message.posted 7']);
});

test('more events than may wait are noticed as missed when the snapshot comes', () => {
  const order = new Order();
  for (let seq = 6; seq < 6 + EARLY_MAX + 2; seq += 1) order.put(posted(seq));
  const { events, missed } = order.put(snapshot([], 5));
  assert.deepEqual([events.length, missed], [1, true]);
});

test('a snapshot that nobody asked for replaces nothing', () => {
  const order = begun();
  assert.deepEqual(put(order, snapshot([], 4), snapshot([], 5)), { taken: [], missed: [false, false] });
  assert.deepEqual(put(order, snapshot([], 9)), { taken: [], missed: [true] });
});

test('after a reset the next snapshot begins anew, also at a lower position', () => {
  const order = begun();
  const { taken } = put(order, sent('reset', { reason: 'other-epoch' }, '', at(2, 2)), snapshot([], 2, 2), posted(3, 2, 2));
  assert.deepEqual(taken, ['reset 2', 'snapshot 2', 'message.posted 3']);
  assert.deepEqual(put(order, posted(9, 8, 1)), { taken: [], missed: [true] });
});

test('an event of another epoch without a reset is missed', () => {
  assert.deepEqual(put(begun(), posted(6, 5, 2)), { taken: [], missed: [true] });
});

test('deltas go on where the snapshot ends, each once', () => {
  const order = begun([{ reply_id: 'r', next_index: 3 }]);
  assert.deepEqual(put(order, delta(1), delta(2), delta(3), delta(3), delta(4)).taken, ['reply.delta 3', 'reply.delta 4']);
});

test('a gap in the words waits for a reply.snapshot', () => {
  const order = begun();
  assert.deepEqual(put(order, delta(0), delta(2), delta(3)), { taken: ['reply.delta 0'], missed: [false, true, true] });
  const whole = sent('reply.snapshot', { reply_id: 'r', next_index: 4, text: '0123' }, at(5));
  assert.deepEqual(put(order, whole, whole, delta(3), delta(4)).taken, ['reply.snapshot 4', 'reply.delta 4']);
});

test('words of a reply that is complete or given up are dropped', () => {
  for (const end of [sent('reply.posted', { id: 'r' }, at(5), at(6)), sent('reply.reset', { reply_id: 'r' }, at(5))]) {
    const order = begun();
    const late = sent('reply.snapshot', { reply_id: 'r', next_index: 9, text: '' }, at(5));
    const again = sent('reply.started', { reply_id: 'r' }, at(5));
    assert.deepEqual(put(order, delta(0), end).taken.length, 2);
    assert.deepEqual(put(order, delta(1), late, again, sent('reply.reset', { reply_id: 'r' }, at(5))).taken, []);
  }
});

test('a reply begins once', () => {
  const started = sent('reply.started', { reply_id: 'r' }, at(5));
  assert.deepEqual(put(begun(), started, delta(0), started, delta(1)).taken, ['reply.started', 'reply.delta 0', 'reply.delta 1']);
});

test('positions are compared within their epoch only', () => {
  assert.ok(covers(at(5), at(5)) && covers(at(5), '') && !covers(at(5), at(6)) && !covers('', at(1)));
  assert.ok(!covers(at(5, 2), at(4, 1)) && !covers(at(5, 1), at(4, 2)));
  assert.equal(earlier(at(5), at(4)), at(4));
  assert.equal(earlier(at(4), at(5)), at(4));
});

test('whoever is behind a position lacks it; whoever has nothing yet waits', () => {
  assert.deepEqual([begun().lacks(at(5)), begun().lacks(at(6)), begun().lacks(''), new Order().lacks(at(6))], [false, true, false, false]);
});
