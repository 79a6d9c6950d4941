// The sentence that answers "why is this waiting?".

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Store } from '../../../web/monitor/store.js';
import { whyOf } from '../../../web/monitor/why.js';
import { at, health, NOW, open, position, queue, snapshot, worker } from './monitor-make.js';

/**
 * @param {import('../../../web/monitor/types.js').Open} message
 * @param {Partial<import('../../../web/monitor/types.js').Snapshot>} [more]
 */
function why(message, more) {
  const store = new Store();
  store.snapshot(snapshot({ open: [message], ...more }));
  const { text, stuck } = whyOf(message, store, NOW);
  return `${stuck ? '! ' : ''}${text}`;
}

const hold = { message_id: 'x', room: 'lobby', bot: 'poet', fence: position(3), attempt: 1, claimed_at: at(-9_000), stage: null, progress: null, deltas: 0 };

test('a waiting message says how many are before it and that the workers are busy', () => {
  const before = [open('x', { since: position(0) }), open('y', { since: position(1) })];
  const me = open('me', { since: position(5) });
  const two = [worker({ holds: [hold] }), worker({ worker: 'gpu-2', holds: [hold] })];
  assert.equal(why(me, { open: [...before, me], workers: two }), '2 before it in its lane; its 2 workers are busy');
  assert.equal(why(me, { open: [me], workers: two.slice(0, 1) }), 'next in its lane; gpu-1 is busy with 1 message');
});

test('a waiting message says that a worker is free, or does not ask', () => {
  assert.equal(why(open('me'), { workers: [worker({ waiting: 1 })] }), 'next in its lane; a worker is free and takes it now');
  assert.equal(why(open('me')), 'next in its lane; gpu-1 does not ask for work');
});

test('a paused bot is the cause, in the words of the server', () => {
  const paused = 'the model failed 5 times in a row; next try in 9 s; last: refused';
  assert.equal(why(open('me'), { queues: [queue({ paused })] }), '! poet is paused because the model failed 5 times in a row; next in its lane');
});

test('nobody who answers for the bot is the cause', () => {
  assert.equal(why(open('me'), { workers: [worker({ bots: ['llama'] })] }), '! no worker answers for poet; next in its lane');
});

test('a store that is away comes before every other cause', () => {
  const away = { health: health({ state: 'degraded' }), queues: [queue({ paused: 'x' })] };
  assert.equal(why(open('me'), away), '! the store is away; nothing is claimed until it is back');
  assert.equal(why(open('me', { state: 'retrying' }), { health: health({ state: 'refusing' }) }), '! the store is not what it was; nothing is claimed until it is back');
  assert.equal(why(open('me', { state: 'reading-prompt', worker: 'gpu-1', since_at: null }), away), '! gpu-1 reads the prompt; the store is away, and it cannot end until it is back');
});

test('a message that waits after a failure says what went wrong', () => {
  assert.equal(why(open('me', { reason: 'model-timeout: 60 s' }), { workers: [worker({ waiting: 1 })] }),
    'next in its lane; a worker is free and takes it now; it failed before: model-timeout: 60 s');
});

test('a retrying message says when it is due, which try failed and why', () => {
  const me = open('me', { state: 'retrying', retry_at: at(11_400), attempt: 2, reason: 'model-timeout: 60 s' });
  assert.match(why(me), /^retry due in 12 s, at \d\d:\d\d; try 2 failed: model-timeout: 60 s$/);
  assert.equal(why({ ...me, retry_at: at(-1) }), 'retry due now; try 2 failed: model-timeout: 60 s');
  assert.match(why(me, { queues: [queue({ paused: 'x' })] }), /^! .*; poet is paused$/);
});

test('a held message says who has it, what they do and since when', () => {
  const held = (/** @type {Partial<import('../../../web/monitor/types.js').Open>} */ more) => open('me', { worker: 'gpu-1', since_at: at(-12_300), ...more });
  assert.equal(why(held({ state: 'claimed' })), 'claimed by gpu-1 since 12 s; no word yet');
  assert.equal(why(held({ state: 'loading-model', progress: 0.4 })), 'being loaded by gpu-1 since 12 s (40 %)');
  assert.equal(why(held({ state: 'reading-prompt' })), 'gpu-1 reads the prompt since 12 s');
  assert.equal(why(held({ state: 'writing', deltas: 41, first_token_ms: 820 })), 'gpu-1 writes since 12 s: 41 pieces, the first after 0.8 s');
  assert.equal(why(held({ state: 'looking-up', since_at: null })), 'gpu-1 says: looking-up');
});

test('a worker on another machine that is silent for too long is named as the cause, one in the server is not', () => {
  const me = open('me', { state: 'writing', worker: 'gpu-1' });
  assert.equal(why(me, { workers: [worker({ last_seen_at: at(-14_000) })] }), '! heartbeat missing: gpu-1 was last heard 14 s ago; its claim runs out soon');
  assert.match(why(me, { workers: [worker({ last_seen_at: at(-9_000) })] }), /^gpu-1 writes/);
  assert.match(why(me, { workers: [worker({ kind: 'in-process', last_seen_at: at(-14_000) })] }), /^gpu-1 writes/);
});
