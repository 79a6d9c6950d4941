// The monitor's state: what a snapshot and the updates after it make of it.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { addChanges, CHANGES_MAX, noChanges } from '../../../web/monitor/changes.js';
import { ENDED_MAX, mergedMinutes, OPEN_MAX, Store } from '../../../web/monitor/store.js';
import { at, ended, health, minute, NOW, open, position, queue, snapshot, worker } from './monitor-make.js';

/** @param {Partial<import('../../../web/monitor/types.js').Snapshot>} [more] */
function begun(more) {
  const store = new Store();
  store.snapshot(snapshot(more));
  return store;
}

/** @param {Store} store @param {Partial<import('../../../web/monitor/types.js').Update>} more */
const update = (store, more) => store.update({ position: position(10), at: at(250), ...more });

/** @param {Store} store */
const order = (store) => store.openList().map(({ message_id }) => message_id);

test('held messages come first by their claims, then waiting ones as they will be claimed, then retrying ones by their time', () => {
  const store = begun({
    open: [
      open('late-retry', { state: 'retrying', retry_at: at(9_000) }), open('retry', { state: 'retrying', retry_at: at(1_000) }),
      open('second-lane', { second: true, since: position(2) }), open('later', { since: position(5) }), open('earlier', { since: position(4) }),
      open('urgent', { priority: 9, since: position(6) }), open('new-claim', { state: 'claimed', fence: position(8) }),
      open('old-claim', { state: 'writing', fence: position(7) }),
    ],
  });
  assert.deepEqual(order(store), ['old-claim', 'new-claim', 'urgent', 'earlier', 'later', 'second-lane', 'retry', 'late-retry']);
});

test('a state that this page does not know is that of a held message', () => {
  const store = begun({ open: [open('waits'), open('held', { state: 'looking-things-up', fence: position(7) })] });
  assert.deepEqual(order(store), ['held', 'waits']);
});

test('how many are before a message is counted per bot, and told anew to those behind one that leaves', () => {
  const store = begun({ open: [open('a', { since: position(1) }), open('b', { since: position(2) }), open('other', { bot: 'llama', since: position(3) }), open('c', { since: position(4) })] });
  assert.deepEqual(['a', 'b', 'other', 'c'].map((id) => store.aheadOf(id)), [0, 1, 0, 2]);
  const changes = update(store, { open: [open('a', { state: 'claimed', fence: position(10) })] });
  assert.deepEqual(['a', 'b', 'other', 'c'].map((id) => store.aheadOf(id)), [null, 0, 0, 1]);
  assert.deepEqual([...changes.open].sort(), ['a', 'b', 'c']);
});

test('an update changes what it names and nothing else', () => {
  const store = begun({ open: [open('a'), open('b', { since: position(2) })], queues: [queue(), queue({ bot: 'llama' })] });
  const [b, llama] = [store.open.get('b'), store.queues.get('llama')];
  const changes = update(store, { open: [open('a', { text: 'new' })], open_total: 7, queues: [queue({ waiting: 3 })] });
  assert.equal(store.open.get('a')?.text, 'new');
  assert.equal(store.open.get('b'), b);
  assert.equal(store.queues.get('llama'), llama);
  assert.equal(store.openTotal, 7);
  assert.deepEqual([[...changes.open], [...changes.queues], changes.health, changes.all], [['a'], ['poet'], false, false]);
});

test('health stays as it was when an update says nothing of it', () => {
  const store = begun({ health: health({ state: 'degraded', parked: 2 }) });
  update(store, {});
  assert.equal(store.health?.parked, 2);
  assert.equal(update(store, { health: health() }).health, true);
  assert.equal(store.health?.state, 'connected');
});

test('a message that is no longer listed is gone, and what was remembered of it too', () => {
  const store = begun({ open: [open('a'), open('b', { bot: 'llama' })] });
  assert.equal(store.stages.size, 2);
  assert.deepEqual([...update(store, { gone: ['a'] }).open], ['a']);
  assert.deepEqual(order(store), ['b']);
  assert.deepEqual([...store.stages.keys()], ['b']);
});

test('a message that ends goes over to the ended ones with its stages', () => {
  const store = begun({ open: [open('a', { state: 'writing', fence: position(8) })] });
  update(store, { gone: ['a'], ended: [ended('a')] });
  assert.deepEqual(order(store), []);
  assert.deepEqual(store.endedList().map(({ message_id }) => message_id), ['a']);
  assert.equal(store.stages.has('a'), true);
});

test('an ended message that is asked again is not among the ended ones while it is open, and stands once when it ends again', () => {
  const store = begun({ ended: [ended('a', { status: 'dead', position: position(3) }), ended('b', { position: position(4) })] });
  const changes = update(store, { open: [open('a')] });
  assert.equal(changes.ended.has('a'), true);
  assert.deepEqual(store.endedList().map(({ message_id }) => message_id), ['b']);
  update(store, { gone: ['a'], ended: [ended('a', { position: position(11) })] });
  assert.deepEqual(store.endedList().map(({ message_id, status }) => [message_id, status]), [['a', 'answered'], ['b', 'answered']]);
});

test('a text that is taken back is emptied where it stands', () => {
  const store = begun({ ended: [ended('a', { position: position(3) }), ended('b', { position: position(4) })] });
  update(store, { ended: [ended('a', { position: position(3), text: '', reply: '' })] });
  assert.deepEqual(store.endedList().map(({ message_id, text }) => [message_id, text]), [['b', 'text of b'], ['a', '']]);
});

test('what is kept is bounded, whatever the server sends', () => {
  const many = (/** @type {number} */ count) => Array.from({ length: count }, (_, at_) => at_ + 1);
  const store = begun({ open: many(OPEN_MAX + 40).map((seq) => open(`o${seq}`, { since: position(seq) })) });
  assert.equal(store.openList().length, OPEN_MAX);
  assert.equal(store.open.size, OPEN_MAX);
  assert.equal(store.stages.size, OPEN_MAX);
  assert.equal(order(store).at(-1), `o${OPEN_MAX}`);
  const changes = update(store, { ended: many(ENDED_MAX + 5).map((seq) => ended(`e${seq}`, { position: position(seq) })), missed: 3 });
  assert.equal(store.ended.size, ENDED_MAX);
  assert.equal(store.endedList().at(-1)?.message_id, 'e6');
  assert.equal(changes.ended.has('e1'), true);
  assert.equal(store.missed, 3);
  for (const seq of many(100)) update(store, { open: [open('o1', { attempt: seq })] });
  assert.ok((store.stages.get('o1')?.length ?? 0) <= 32);
});

test('a stage is timed by what the server says of it, or else by the news', () => {
  const store = begun({ open: [open('a', { state: 'claimed', since_at: at(-2_000), fence: position(8) })] });
  update(store, { open: [open('a', { state: 'loading-model', since_at: at(100), fence: position(8) })] });
  store.update({ position: position(11), at: at(900), open: [open('a', { state: 'writing', since_at: null, fence: position(8) })] });
  store.update({ position: position(12), at: at(1_200), open: [open('a', { state: 'writing', since_at: null, fence: position(8), deltas: 4 })] });
  assert.deepEqual(store.stages.get('a')?.map(({ state, at: when }) => [state, when - NOW]), [['claimed', -2_000], ['loading-model', 100], ['writing', 900]]);
});

test('another snapshot replaces everything but the stages of what is still listed', () => {
  const store = begun({ open: [open('a', { state: 'claimed', fence: position(8) }), open('b')], workers: [worker(), worker({ worker: 'gpu-2' })] });
  const changes = store.snapshot(snapshot({ open: [open('a', { state: 'writing', fence: position(8), since_at: at(-10) })], queues: [] }));
  assert.equal(changes.all, true);
  assert.deepEqual([order(store), [...store.workers.keys()], store.queues.size], [['a'], ['gpu-1'], 0]);
  assert.deepEqual(store.stages.get('a')?.map(({ state }) => state), ['claimed', 'writing']);
  assert.equal(store.stages.has('b'), false);
});

test('workers come, change and go by name, and are found by the bots they answer for', () => {
  const store = begun();
  const changes = update(store, { workers: [worker({ worker: 'gpu-2', bots: ['poet', 'llama'] })], workers_gone: ['gpu-1', 'never-seen'] });
  assert.deepEqual([...store.workers.keys()], ['gpu-2']);
  assert.deepEqual([...changes.workers], ['gpu-2', 'gpu-1']);
  assert.deepEqual(store.workersOf('llama').map((one) => one.worker), ['gpu-2']);
  assert.deepEqual(store.workersOf('archivist'), []);
});

test('minutes that come replace those of the same time, and what is older than an hour leaves the picture', () => {
  const old = [minute(70), minute(3), minute(1, { answered: 1 })];
  const merged = mergedMinutes(old, [minute(1, { answered: 5 }), minute(0)], NOW);
  assert.deepEqual(merged.map(({ at: when, answered }) => [when, answered]), [[at(-180_000), 1], [at(-60_000), 5], [at(0), 1]]);
});

test('changes add up', () => {
  const changes = noChanges();
  addChanges(changes, { ...noChanges(), open: new Set(['a']), health: true });
  addChanges(changes, { ...noChanges(), open: new Set(['b']) });
  assert.deepEqual([[...changes.open], changes.health, changes.all], [['a', 'b'], true, false]);
});

test('too many changes are everything', () => {
  const changes = noChanges();
  for (let id = 0; id <= CHANGES_MAX + 5; id += 1) addChanges(changes, { ...noChanges(), ended: new Set([`m${id}`]) });
  assert.deepEqual([changes.all, changes.ended.size], [true, 0]);
});
