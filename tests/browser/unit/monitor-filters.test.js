// What the monitor is narrowed to, and how it stands in the URL.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { isNarrow, matcher, noFilter, readFilter, roomsOf, ROOMS_MAX, stateCounts, TEXT_MAX, writeFilter } from '../../../web/monitor/filters.js';
import { ended, open } from './monitor-make.js';

const MESSAGES = [
  open('a', { room: 'dev', text: 'Why does it link twice?', author: 'Bert' }), open('b', { bot: 'llama', state: 'writing', worker: 'gpu-7' }),
  ended('c', { status: 'dead', reason: 'model-timeout: 60 s' }), ended('d', { reply: 'It depends on the weather.' }),
  open('e', { state: 'looking-up' }),
];

/** @param {Partial<import('../../../web/monitor/filters.js').Filter>} filter @param {{ anyState?: boolean }} [options] */
const found = (filter, options) => MESSAGES.filter(matcher({ ...noFilter(), ...filter }, options)).map(({ message_id }) => message_id).join('');

test('a filter that is empty lets everything through', () => assert.equal(found({}), 'abcde'));

test('room, bot and states narrow, each by itself and all together', () => {
  assert.equal(found({ room: 'dev' }), 'a');
  assert.equal(found({ bot: 'llama' }), 'b');
  assert.equal(found({ states: new Set(['dead', 'writing']) }), 'bc');
  assert.equal(found({ bot: 'llama', states: new Set(['dead']) }), '');
  assert.equal(found({ bot: 'llama', states: new Set(['dead']) }, { anyState: true }), 'b');
});

test('a word that a worker made up counts as claimed', () => assert.equal(found({ states: new Set(['claimed']) }), 'e'));

test('words must all occur, in any case and anywhere', () => {
  assert.equal(found({ text: 'LINK bert' }), 'a');
  assert.equal(found({ text: 'weather' }), 'd');
  assert.equal(found({ text: 'timeout' }), 'c');
  assert.equal(found({ text: 'gpu-7' }), 'b');
  assert.equal(found({ text: '  ' }), 'abcde');
  assert.equal(found({ text: 'link weather' }), '');
});

test('a filter comes back from the URL as it went in, and leaves what is not its own', () => {
  const filter = { room: 'a b&c', bot: 'poet', states: new Set(['waiting', 'dead']), text: 'two words' };
  const query = writeFilter(filter, '?message=42');
  assert.equal(query, '?message=42&room=a+b%26c&bot=poet&state=waiting,dead&q=two+words');
  assert.deepEqual(readFilter(query), filter);
  assert.equal(writeFilter(noFilter(), query), '?message=42');
  assert.equal(writeFilter(noFilter(), ''), '');
});

test('what a URL says that makes no sense is left out', () => {
  const filter = readFilter(`?state=waiting,nonsense,,&q=${'x'.repeat(TEXT_MAX + 50)}`);
  assert.deepEqual([...filter.states], ['waiting']);
  assert.equal(filter.text.length, TEXT_MAX);
  assert.equal(isNarrow(filter), true);
  assert.equal(isNarrow(readFilter('?state=nonsense&q=+')), false);
});

test('states are counted, those that do not occur as well', () => {
  const counts = stateCounts(MESSAGES);
  assert.deepEqual(['waiting', 'claimed', 'writing', 'dead', 'answered', 'failed'].map((state) => counts.get(state)), [1, 1, 1, 1, 1, 0]);
});

test('the rooms to choose from are bounded, and the chosen one is always among them', () => {
  const many = Array.from({ length: ROOMS_MAX + 20 }, (_, at) => open(`m${at}`, { room: `room-${at}` }));
  const rooms = roomsOf(many, 'mine');
  assert.equal(rooms.length, ROOMS_MAX);
  assert.equal(rooms.includes('mine'), true);
  assert.deepEqual(roomsOf(MESSAGES, ''), ['dev', 'lobby']);
});
