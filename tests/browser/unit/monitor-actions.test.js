// What people ask of messages on the monitor, and the words around it.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Actions, NOTES_MAX, RETRY_ALL_MAX } from '../../../web/monitor/actions.js';
import { healthWords, linkWords } from '../../../web/monitor/header.js';
import { age, pairWords, positionWords } from '../../../web/monitor/words.js';
import { workerState } from '../../../web/monitor/workers.js';
import { at, ended, health, NOW, position, worker } from './monitor-make.js';

const refused = Object.assign(new Error('x'), { status: 409, detail: 'The message has ended already: answered.' });
const away = Object.assign(new Error('x'), { status: 503, detail: 'The store is away.' });

/** @param {(id: string) => unknown} answer an error to throw, or nothing */
function made(answer) {
  const asked = /** @type {string[]} */ ([]);
  const changed = /** @type {string[]} */ ([]);
  const ask = (/** @type {string} */ verb) => (/** @type {string} */ id) => {
    asked.push(`${verb} ${id}`);
    const error = answer(id);
    return error ? Promise.reject(error) : Promise.resolve({});
  };
  const actions = new Actions({ cancel: ask('cancel'), retry: ask('retry') }, (id) => changed.push(id));
  return { actions, asked, changed };
}

test('a deed goes to the server once, however often its button is pressed meanwhile', async () => {
  const { actions, asked, changed } = made(() => undefined);
  const first = actions.ask('cancel', 'a');
  assert.equal(actions.busy.has('a'), true);
  assert.equal(await actions.ask('cancel', 'a'), '');
  assert.equal(await first, '');
  assert.deepEqual(asked, ['cancel a']);
  assert.deepEqual([actions.busy.size, changed], [0, ['a', 'a']]);
});

test('a refusal stands at its message in the words of the server until the next try', async () => {
  let error = /** @type {unknown} */ (refused);
  const { actions } = made(() => error);
  assert.equal(await actions.ask('retry', 'a'), 'The message has ended already: answered.');
  assert.equal(actions.notes.get('a'), 'The message has ended already: answered.');
  error = undefined;
  await actions.ask('retry', 'a');
  assert.equal(actions.notes.has('a'), false);
});

test('refusals are remembered up to a bound', async () => {
  const { actions } = made(() => refused);
  for (let id = 0; id < NOTES_MAX + 10; id += 1) await actions.ask('retry', `m${id}`);
  assert.deepEqual([actions.notes.size, actions.notes.has('m9'), actions.notes.has('m10')], [NOTES_MAX, false, true]);
});

test('retrying many goes one after the other, is bounded, and passes by what is refused', async () => {
  const ids = Array.from({ length: RETRY_ALL_MAX + 30 }, (_, at_) => `m${at_}`);
  const { actions, asked } = made((id) => (id === 'm3' ? refused : undefined));
  /** @type {string[]} */
  const told = [];
  const result = await actions.retryAll(ids, (done, of) => told.push(`${done}/${of}`));
  assert.deepEqual(result, { retried: RETRY_ALL_MAX - 1, refused: 1, stopped: '' });
  assert.equal(asked.length, RETRY_ALL_MAX);
  assert.equal(told.at(-1), `${RETRY_ALL_MAX}/${RETRY_ALL_MAX}`);
});

test('retrying many stops when the server is away', async () => {
  const { actions, asked } = made((id) => (id === 'm2' ? away : undefined));
  assert.deepEqual(await actions.retryAll(['m1', 'm2', 'm3'], () => {}), { retried: 1, refused: 0, stopped: 'The store is away.' });
  assert.deepEqual(asked, ['retry m1', 'retry m2']);
});

test('a stream that is back soon is not worth a banner; one that is not says when it is tried again', () => {
  const link = /** @type {const} */ ({ state: 'broken', since: NOW, retryAt: NOW + 7_000 });
  assert.equal(linkWords(link, NOW + 1_900), '');
  assert.match(linkWords(link, NOW + 2_500), /^No connection since \d\d:\d\d; next try in 5 s\. /);
  assert.match(linkWords({ ...link, retryAt: null }, NOW + 2_500), /; trying now\. /);
  assert.match(linkWords({ ...link, state: 'busy' }, NOW + 2_500), /^The server is busy/);
  assert.match(linkWords({ ...link, online: false }, NOW + 2_500), /^This device is offline/);
  assert.equal(linkWords({ ...link, state: 'live' }, NOW + 9_000), '');
});

test('health says how the store is, since when and why', () => {
  assert.deepEqual(healthWords(health(), NOW), { words: 'connected', tone: 'good', more: '' });
  const bad = healthWords(health({ state: 'degraded', since: at(-72_000), reason: 'no answer' }), NOW);
  assert.equal(bad.words, 'degraded for 1 min 12 s');
  assert.match(bad.more, /^no answer, since \d\d:\d\d$/);
});

test('a worker is free, at work, silent or away', () => {
  const hold = { message_id: 'x', room: 'r', bot: 'poet', fence: position(1), attempt: 1, claimed_at: at(), stage: null, progress: null, deltas: 0 };
  const words = (/** @type {Partial<import('../../../web/monitor/types.js').Worker>} */ more) => workerState(worker(more), NOW).words;
  assert.equal(words({ waiting: 1 }), 'free');
  assert.equal(words({ holds: [hold] }), 'works');
  assert.equal(words({ holds: [hold], waiting: 2 }), 'works, 2 free');
  assert.equal(words({ holds: [hold], last_seen_at: at(-20_000) }), 'heartbeat missing');
  assert.equal(words({ last_seen_at: at(-20_000) }), 'away');
});

test('a finished pair reads as on the old queue monitor', () => {
  assert.equal(pairWords(ended('a', { total_ms: 4_230 })), '[human → AI reply: 4.2 s]');
  assert.equal(pairWords(ended('a', { total_ms: null })), '[human → AI reply: ? s]');
  assert.equal(pairWords(ended('a', { status: 'cancelled' })), '[human → no reply: cancelled]');
});

test('ages tick in whole seconds and are never negative; positions are shown by their count', () => {
  assert.deepEqual([age(at(-12_900), NOW), age(at(500), NOW), age(at(-90_000), NOW), age(null, NOW)], ['12 s', '0 s', '1 min 30 s', '–']);
  assert.deepEqual([positionWords(position(41_200)), positionWords(null)], ['#41,200', '–']);
});
