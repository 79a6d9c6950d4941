// The room's store: events in, items out.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { itemsOf, Store } from '../../../web/room/store.js';

/** @typedef {import('../../../web/room/model.js').Message} Message */

const position = (/** @type {number} */ n, epoch = 'e1') => `${epoch.padEnd(16, '0')}-00-${String(n).padStart(16, '0')}`;

/** @param {string} id @param {number} n @param {Partial<Message>} [more] @returns {Message} */
function message(id, n, more = {}) {
  return { id, room: 'lobby', author: { name: 'Ada', kind: 'human' }, text: `text of ${id}`, at: '2026-03-01T10:00:00Z', reply_to: null,
    position: position(n), status: 'none', ...more };
}

/** @param {string} id @param {number} n @param {string} question */
const answer = (id, n, question) =>
  message(id, n, { author: { name: 'eliza', kind: 'bot', color: '#5b8def' }, reply_to: question, model: 'builtin', text: `answer ${id}` });

/** @param {Store} store @param {string} name @param {any} data @param {number} [now] */
const on = (store, name, data, now = 0) => [...store.apply({ name, data }, now)];

/** @param {Store} store @param {string} id */
function item(store, id) {
  const found = store.items.get(id);
  assert.ok(found, `${id} is on the page`);
  return found;
}

/** A store in which `q` was asked and claimed, with `r` under way. */
function asked() {
  const store = new Store();
  on(store, 'snapshot', { messages: [], in_flight: [] });
  on(store, 'message.posted', message('q', 1, { status: 'waiting', bot: 'eliza' }));
  on(store, 'message.claimed', { message_id: 'q', reply_id: 'r', bot: 'eliza', worker: 'gpu-2', fence: position(2), at: '2026-03-01T10:00:01Z' });
  return store;
}

/** @param {Store} store @param {number} index @param {string} text @param {string} [reply] @param {number} [now] */
const delta = (store, index, text, reply = 'r', now = 0) =>
  on(store, 'reply.delta', { message_id: 'q', reply_id: reply, index, text }, now);

test('an answer stands under its question, and the words that grew become it', () => {
  const store = asked();
  delta(store, 0, 'Hello');
  delta(store, 1, ' there');
  assert.equal(item(store, 'q').draft?.text, 'Hello there');
  assert.deepEqual(on(store, 'reply.posted', answer('r', 3, 'q')), ['q']);
  on(store, 'message.completed', { message_id: 'q', reply_id: 'r', ms: 100 });
  assert.deepEqual(store.order, ['q']);
  assert.deepEqual([item(store, 'q').draft, item(store, 'q').interrupted], [null, null]);
  assert.deepEqual(item(store, 'q').replies.map(({ id }) => id), ['r']);
  assert.equal(item(store, 'q').message.status, 'answered');
  assert.equal(store.message('r')?.text, 'answer r');
  assert.equal(store.find('r')?.message.id, 'q');
  assert.deepEqual([...store.open], []);
});

test('a delta that was seen, or that leaves a gap, changes nothing; the next snapshot closes the gap', () => {
  const store = asked();
  delta(store, 0, 'one');
  delta(store, 0, 'one');
  delta(store, 2, ' three');
  assert.equal(item(store, 'q').draft?.text, 'one');
  on(store, 'reply.snapshot', { message_id: 'q', reply_id: 'r', bot: 'eliza', next_index: 3, text: 'one two three' });
  on(store, 'reply.snapshot', { message_id: 'q', reply_id: 'r', bot: 'eliza', next_index: 1, text: 'one' });
  delta(store, 3, ' four');
  assert.equal(item(store, 'q').draft?.text, 'one two three four');
});

test('the text of an interrupted answer stays until another attempt has words', () => {
  const store = asked();
  delta(store, 0, 'half a sent');
  on(store, 'message.failed', { message_id: 'q', reason: 'model-unreachable: gone', attempt: 1, retry_at: '2026-03-01T10:00:09Z' });
  on(store, 'reply.reset', { message_id: 'q', reply_id: 'r', reason: 'model-unreachable: gone' });
  assert.equal(item(store, 'q').interrupted?.text, 'half a sent');
  assert.equal(item(store, 'q').interrupted?.why, 'eliza cannot be reached right now');
  assert.equal(item(store, 'q').message.status, 'waiting');
  on(store, 'message.claimed', { message_id: 'q', reply_id: 'r2', bot: 'eliza', worker: 'gpu-3', fence: position(4), at: '2026-03-01T10:00:10Z' });
  on(store, 'reply.started', { message_id: 'q', reply_id: 'r2', bot: 'eliza' });
  assert.equal(item(store, 'q').interrupted?.text, 'half a sent');
  delta(store, 0, 'whole', 'r2');
  assert.equal(item(store, 'q').interrupted, null);
  assert.equal(item(store, 'q').draft?.text, 'whole');
});

test('after a stop, late words change nothing', () => {
  const store = asked();
  delta(store, 0, 'half');
  on(store, 'message.cancelled', { message_id: 'q' });
  delta(store, 1, ' more');
  on(store, 'reply.snapshot', { message_id: 'q', reply_id: 'r', bot: 'eliza', next_index: 2, text: 'half more' });
  assert.equal(item(store, 'q').draft, null);
  assert.equal(item(store, 'q').interrupted?.text, 'half');
  assert.equal(item(store, 'q').message.status, 'cancelled');
});

test('an answered message that is asked again has both answers, the newest last', () => {
  const store = asked();
  on(store, 'reply.posted', answer('r', 3, 'q'));
  on(store, 'message.completed', { message_id: 'q', reply_id: 'r', ms: 1 });
  on(store, 'message.released', { message_id: 'q', fence: null, reason: 'retry-asked' });
  on(store, 'message.claimed', { message_id: 'q', reply_id: 'r2', bot: 'eliza', worker: 'gpu-2', fence: position(5), at: '2026-03-01T10:00:10Z' });
  delta(store, 0, 'anew', 'r2');
  assert.equal(item(store, 'q').draft?.text, 'anew');
  assert.equal(item(store, 'q').replies.length, 1);
  on(store, 'reply.posted', answer('r2', 6, 'q'));
  assert.deepEqual(item(store, 'q').replies.map(({ id }) => id), ['r', 'r2']);
});

test('what is sent is shown until the log has it, then once', () => {
  const store = new Store();
  const post = /** @type {import('../../../web/room/model.js').OutboxItem} */ ({ id: 'a', room: 'lobby', body: { id: 'a', text: 'hi', author: { name: 'Ada' } },
    at: '2026-03-01T10:00:00Z', state: 'pending', why: '', code: '', tries: 0, position: '', kept: true });
  assert.deepEqual([...store.setOutbox([post])], ['a']);
  assert.deepEqual(store.pending.map(({ message: { text } }) => text), ['hi']);
  on(store, 'message.posted', message('a', 1));
  assert.deepEqual(store.pending, []);
  assert.deepEqual(store.order, ['a']);
  store.setOutbox([{ ...post, position: position(1) }]);
  assert.deepEqual(store.pending, []);
});

test('a snapshot that comes again is merged: nothing doubles, nothing that is loaded goes', () => {
  const store = new Store();
  on(store, 'snapshot', { messages: [message('a', 1), message('b', 2)], in_flight: [] });
  on(store, 'snapshot', { messages: [message('b', 2), message('c', 3)], in_flight: [] });
  assert.deepEqual(store.order, ['a', 'b', 'c']);
});

test('a snapshot after a gap replaces what is there, and so does one of another log', () => {
  const store = new Store();
  on(store, 'snapshot', { messages: [message('a', 1)], in_flight: [] });
  const changed = on(store, 'snapshot', { messages: [message('x', 9)], in_flight: [] });
  assert.deepEqual([store.order, changed.sort()], [['x'], ['a', 'x']]);
  on(store, 'reset', { reason: 'bad-cursor' });
  on(store, 'snapshot', { messages: [message('x', 9), message('y', 10)], in_flight: [] });
  assert.deepEqual(store.order, ['x', 'y']);
  on(store, 'reset', { reason: 'other-epoch' });
  on(store, 'snapshot', { messages: [message('n', 1, { position: position(1, 'a0') })], in_flight: [] });
  assert.deepEqual(store.order, ['n']);
});

test('an answer whose question comes with older messages is taken under it', () => {
  const store = new Store();
  on(store, 'snapshot', { messages: [answer('r', 5, 'q'), message('b', 6)], in_flight: [] });
  assert.deepEqual(store.order, ['r', 'b']);
  const changed = [...store.older([message('p', 1), message('q', 2, { status: 'answered' })])];
  assert.deepEqual(store.order, ['p', 'q', 'b']);
  assert.deepEqual(item(store, 'q').replies.map(({ id }) => id), ['r']);
  assert.ok(changed.includes('r') && changed.includes('q'));
  assert.equal(store.oldest, position(1));
});

test('an imported bot\'s message is like everybody\'s', () => {
  const store = new Store();
  const said = message('b', 2, { author: { name: 'oldbot', kind: 'bot' }, reply_to: 'a' });
  on(store, 'snapshot', { messages: [message('a', 1), said], in_flight: [] });
  assert.deepEqual(store.order, ['a', 'b']);
});

test('what is taken back loses its text, also an answer; what is erased loses its author too', () => {
  const store = asked();
  on(store, 'reply.posted', answer('r', 3, 'q'));
  on(store, 'message.redacted', { message_id: 'r' });
  assert.deepEqual([store.message('r')?.text, store.message('r')?.redacted], ['', true]);
  assert.equal(store.message('q')?.text, 'text of q');
  on(store, 'message.erased', { message_id: 'q' });
  assert.equal(store.message('q')?.author.name, 'erased');
  assert.equal(store.message('q')?.redacted, true);
});

test('beyond the bound the oldest go', () => {
  const store = new Store();
  on(store, 'snapshot', { messages: [1, 2, 3, 4, 5].map((n) => message(`m${n}`, n)), in_flight: [] });
  assert.deepEqual([...store.trim(3)].sort(), ['m1', 'm2']);
  assert.deepEqual(store.order, ['m3', 'm4', 'm5']);
});

test('arrivals are what is new at the end, not what history brings', () => {
  const store = new Store();
  on(store, 'snapshot', { messages: [message('b', 5)], in_flight: [] });
  store.takeArrivals();
  store.older([message('a', 1)]);
  on(store, 'message.posted', message('c', 6));
  on(store, 'snapshot', { messages: [message('b', 5), message('c', 6), message('d', 7)], in_flight: [] });
  assert.deepEqual(store.takeArrivals().map(({ id }) => id), ['c', 'd']);
});

test('a look back shows the answers that were being written then', () => {
  const [one] = itemsOf([message('q', 1, { status: 'claimed' })], [{ message_id: 'q', bot: 'eliza', worker: 'gpu-2', claimed_at: '2026-03-01T10:00:01Z' }]);
  assert.equal(one?.claim?.worker, 'gpu-2');
  const [two] = itemsOf([message('q', 1, { status: 'claimed' })], [{ message_id: 'q', reply_id: 'r', bot: 'eliza', next_index: 1, text: 'so far' }]);
  assert.equal(two?.draft?.text, 'so far');
});
