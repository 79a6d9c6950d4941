// Posts on bad days: nothing is lost, nothing doubled, and the order stays.

import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';

import { Api } from '../../../web/client/api.js';
import { Outbox, OutboxFull, OUTBOX_MAX, PARKED_MS, SEEN_MS, STEAL_MS, WAIT_MS } from '../../../web/client/outbox.js';
import { FakeBrowser, settle } from './fake-browser.js';
import { FakeServer, json } from './fake-server.js';

/** @type {FakeServer} */ let server;
/** @type {FakeBrowser} */ let browser;

beforeEach(() => {
  server = new FakeServer();
  browser = new FakeBrowser(server);
});

const NAME = 'antiphon::outbox';

/** @param {Partial<import('../../../web/client/env.js').Env>} [lacks] */
function open(lacks) {
  const tab = browser.tab(lacks);
  const live = { now: true };
  const outbox = new Outbox(tab.env, NAME, new Api('', tab.env).post, () => live.now);
  /** @type {any[][]} */
  const seen = [];
  outbox.listen('lobby', (items) => seen.push(items.map(({ body, state }) => `${body.text} ${state}`)));
  return { tab, outbox, seen, live, add: (/** @type {string} */ text) => outbox.add('lobby', post(text)) };
}

/** @param {string} text */
const post = (text) => ({ text, author: { name: 'Ann' } });
const texts = () => server.log.map(({ data }) => data.text);
const posted = () => server.posts.map(({ text }) => text);

test('a post is kept before it is sent, and stays until its event is seen', async () => {
  const { outbox, add, seen } = open();
  const item = add('one');
  assert.equal([...browser.stored.values()].length, 1);
  assert.equal(server.posts.length, 0);
  await settle();
  assert.deepEqual(texts(), ['one']);
  const [sent] = outbox.items('lobby');
  assert.deepEqual([sent.position, sent.state, sent.id, sent.kept], [server.position(1), 'sending', item.id, true]);
  outbox.seen(item.id);
  assert.deepEqual(seen, [[], ['one pending'], ['one sending'], ['one sending'], []]);
  assert.equal(browser.stored.size, 0);
});

test('an answered post whose event does not come leaves after a while, but not while no events come', async () => {
  const { outbox, add, live } = open();
  add('one');
  await settle();
  live.now = false;
  await browser.pass(SEEN_MS * 3);
  assert.equal(outbox.items('lobby').length, 1);
  live.now = true;
  outbox.wake();
  await settle();
  assert.equal(outbox.items('lobby').length, 0);
  add('two');
  await browser.pass(SEEN_MS + 200);
  assert.equal(outbox.items('lobby').length, 0);
});

test('an event that is faster than the answer ends the item', async () => {
  const { outbox, add } = open();
  const { id } = add('one');
  server.answer = () => {
    server.answer = undefined;
    outbox.seen(id);
    return json(201, { id, position: server.position(1) });
  };
  await settle();
  assert.deepEqual(outbox.items('lobby'), []);
});

test('without a network posts wait, and flush in order, once', async () => {
  server.state = 'down';
  const { outbox, add } = open();
  for (const text of ['one', 'two', 'three']) add(text);
  await browser.pass(60_000);
  assert.deepEqual(outbox.items('lobby').map(({ state }) => state), ['pending', 'pending', 'pending']);
  assert.deepEqual([outbox.items('lobby')[0].why, outbox.items('lobby')[0].code], ['The server cannot be reached.', 'unreachable']);
  assert.equal(outbox.items('lobby')[1].tries, 0, 'the first holds up the others');
  server.state = 'up';
  outbox.wake();
  await settle();
  assert.deepEqual(posted(), ['one', 'two', 'three']);
});

test('waits grow from 1 s to 15 s', async () => {
  browser.random = () => 1;
  server.state = 'bad-gateway';
  const { add, tab } = open();
  /** @type {number[]} */
  const times = [];
  const { fetch } = server;
  server.fetch = (...call) => { times.push(browser.now); return fetch.call(server, ...call); };
  add('one');
  await browser.pass(59_000);
  const gaps = times.slice(1).map((time, i) => time - times[i]);
  assert.deepEqual(gaps, [1_000, 2_000, 4_000, 8_000, 15_000, 15_000]);
  assert.ok(tab.visible);
});

test('a server that asks for time gets it, within reason', async () => {
  const { add } = open();
  server.answer = () => json(429, { code: 'slowly', detail: 'Slowly.' }, { 'retry-after': '9' });
  add('one');
  await browser.pass(8_900);
  assert.equal(server.posts.length, 1);
  await browser.pass(200);
  assert.equal(server.posts.length, 2);
  server.answer = () => json(503, { code: 'queue-full', detail: 'Full.' }, { 'retry-after': '86400' });
  await browser.pass(9_000 + WAIT_MS.max + 200);
  assert.ok(server.posts.length >= 4);
});

test('what the server took, though its answer was lost, is not in the log twice', async () => {
  server.lost = 2;
  const { add } = open();
  add('one');
  await browser.pass(10_000);
  assert.equal(server.posts.length, 3);
  assert.deepEqual(texts(), ['one']);
});

test('a refused post fails with the server\'s words, holds up nobody, and can be sent again or discarded', async () => {
  server.answer = ({ text }) => (text === 'bad' ? json(400, { code: 'empty-text', detail: 'Say something.' }) : undefined);
  const { outbox, add } = open();
  const bad = add('bad');
  add('good');
  await browser.pass(60_000);
  assert.deepEqual(posted(), ['bad', 'good']);
  const [item] = outbox.items('lobby');
  assert.deepEqual([item.id, item.state, item.why, item.code], [bad.id, 'failed', 'Say something.', 'empty-text']);
  server.answer = undefined;
  outbox.again(bad.id);
  await settle();
  assert.deepEqual(texts(), ['good', 'bad']);
  const other = add('other');
  let early = true;
  server.answer = () => {
    early = outbox.discard(other.id);
    return undefined;
  };
  await settle();
  assert.equal(early, false, 'it is being sent');
  server.answer = () => json(400, { code: 'bad-name', detail: 'No.' });
  const third = add('third');
  await settle();
  assert.equal(outbox.discard(third.id), true);
  assert.ok(outbox.items('lobby').every(({ id }) => id !== third.id));
});

test('an id that is taken is not tried again as it is', async () => {
  server.answer = () => json(409, { code: 'id-taken', detail: 'Another message has this id.' });
  const { outbox, add } = open();
  const { id } = add('one');
  await settle();
  assert.equal(outbox.items('lobby')[0].state, 'failed');
  server.answer = undefined;
  outbox.again(id);
  await settle();
  assert.deepEqual(texts(), ['one']);
  assert.notEqual(server.posts[1].id, id);
  assert.deepEqual(outbox.items('lobby').map((item) => item.id), [server.posts[1].id]);
});

test('what the server keeps for its store is asked for again, until it is in the log or refused', async () => {
  server.answer = ({ id }) => json(202, { id, room: 'lobby', at: '' });
  const { outbox, add } = open();
  add('one');
  add('two');
  await settle();
  assert.deepEqual(outbox.items('lobby').map(({ state }) => state), ['parked', 'parked']);
  assert.equal(outbox.discard(outbox.items('lobby')[0].id), false, 'the server has it');
  await browser.pass(PARKED_MS - 1_000);
  assert.equal(server.posts.length, 2);
  server.answer = undefined;
  await browser.pass(1_500);
  assert.deepEqual(texts(), ['one', 'two']);
});

test('an outbox has a bound, and what is refused is told', async () => {
  server.state = 'down';
  const { add, outbox } = open();
  for (let i = 0; i < OUTBOX_MAX; i += 1) add(`m${i}`);
  assert.throws(() => add('one too many'), OutboxFull);
  server.state = 'up';
  outbox.wake();
  await settle();
  for (let i = 0; i < 40; i += 1) await settle();
  assert.deepEqual(texts(), Array.from({ length: OUTBOX_MAX }, (_, i) => `m${i}`));
});

for (const [what, lacks] of /** @type {[string, any][]} */ ([
  ['forbidden', { storage: null }],
  ['forbidden by throwing', { storage: new Proxy({}, { get() { throw new DOMException('no', 'SecurityError'); } }) }],
])) {
  test(`a storage that is ${what} costs only the reload`, async () => {
    server.state = 'down';
    const { add, outbox } = open(lacks);
    assert.equal(add('one').kept, false);
    server.state = 'up';
    outbox.wake();
    await settle();
    assert.deepEqual(texts(), ['one']);
    outbox.seen(server.posts[0].id);
    assert.deepEqual(outbox.items('lobby'), []);
  });
}

test('a storage that is full costs only the reload', async () => {
  server.state = 'down';
  const { add, outbox } = open();
  add('one');
  browser.quota = 450;
  assert.equal(add('two').kept, false);
  await settle();
  assert.deepEqual(outbox.items('lobby').map(({ body }) => body.text), ['one', 'two']);
  browser.quota = 300; // not even a change of what is stored fits
  outbox.wake();
  await settle();
  assert.deepEqual(outbox.items('lobby').map(({ body, tries }) => [body.text, tries > 0]), [['one', true], ['two', false]]);
  server.state = 'up';
  outbox.wake();
  await settle();
  assert.deepEqual(texts(), ['one', 'two']);
  for (const { id } of server.posts) outbox.seen(id);
  assert.deepEqual([outbox.items('lobby').length, browser.stored.size], [0, 0]);
});

test('what another program left under our keys is ignored', () => {
  for (const [key, value] of [['x', 'no json'], ['y', '{}'], ['z', 'null'], ['w', '{"place":1,"item":{"id":"q","body":{"id":"q"}}}']]) {
    browser.stored.set(`${NAME}:${key}`, value);
  }
  const { outbox, add } = open();
  add('one');
  assert.deepEqual(outbox.items('lobby').map(({ body }) => body.text), ['one']);
});

test('a page that is closed while it sends loses nothing: the next one sends it again', async () => {
  const first = open();
  server.fetch = () => new Promise(() => {});
  first.add('one');
  first.add('two');
  await settle();
  first.tab.kill();
  server.fetch = FakeServer.prototype.fetch;
  open();
  await settle();
  assert.deepEqual(texts(), ['one', 'two']);
});

test('an open tab goes on where another died', async () => {
  const [first, second] = [open(), open()];
  server.fetch = () => new Promise(() => {});
  first.add('one');
  await settle();
  assert.deepEqual(second.outbox.items('lobby').map(({ state }) => state), ['sending']);
  server.fetch = FakeServer.prototype.fetch;
  first.tab.kill();
  await settle();
  assert.deepEqual(texts(), ['one']);
});

test('seven tabs send one after another, each post once, and all see the outbox', async () => {
  const tabs = Array.from({ length: 7 }, () => open());
  tabs.forEach(({ add }, i) => add(`m${i}`));
  for (let i = 0; i < 10; i += 1) await settle();
  assert.deepEqual(posted(), Array.from({ length: 7 }, (_, i) => `m${i}`));
  assert.deepEqual(new Set(tabs.map(({ outbox }) => outbox.items('lobby').length)), new Set([7]));
});

test('seven tabs together try no more often than one', async () => {
  const tabs = Array.from({ length: 7 }, () => open());
  server.answer = () => json(503, { code: 'busy', detail: 'Busy.' });
  tabs[0].add('one');
  await browser.pass(60_000);
  assert.ok(server.posts.length <= 9, `${server.posts.length} posts`);
});

test('a tab that froze while it sent loses the lock to one that is looked at', async () => {
  const [first, second] = [open(), open()];
  server.answer = () => {
    first.tab.freeze();
    return undefined;
  };
  first.add('one');
  await settle();
  server.answer = undefined;
  second.add('two');
  await browser.pass(STEAL_MS - 1_000);
  assert.deepEqual(posted(), ['one'], 'its answer may be under way');
  await browser.pass(2_000);
  assert.deepEqual(posted(), ['one', 'one', 'two']);
  first.tab.thaw();
  await browser.pass(2_000);
  assert.deepEqual(texts(), ['one', 'two']);
  assert.ok(second.outbox.items('lobby').every(({ position }) => position !== ''));
});

test('without locks each tab sends its own, and twice is harmless', async () => {
  const [first, second] = [open({ locks: null }), open({ locks: null })];
  first.add('one');
  second.add('two');
  first.add('three');
  await settle();
  assert.deepEqual(texts().sort(), ['one', 'three', 'two']);
  server.state = 'down';
  first.add('four');
  await settle();
  first.tab.kill();
  server.state = 'up';
  await browser.pass(40_000);
  assert.equal(texts().at(-1), 'four');
});

test('a clock that is put back or forward holds nothing up and loses nothing', async () => {
  for (const jump of [-86_400_000, 86_400_000]) {
    server.state = 'down';
    const { add, outbox, tab } = open();
    add('one');
    await settle();
    browser.jump(jump);
    add('two');
    server.state = 'up';
    await browser.pass(WAIT_MS.max);
    assert.deepEqual(texts().slice(-2), ['one', 'two']);
    assert.ok(outbox.items('lobby').every(({ position }) => position !== ''));
    tab.kill();
  }
});

test('what waits in one room holds up no other', async () => {
  server.answer = ({ text }) => (text === 'one' ? json(503, { code: 'queue-full', detail: 'Full.' }) : undefined);
  const { outbox, add } = open();
  add('one');
  outbox.add('dev', post('elsewhere'));
  add('two');
  await settle();
  assert.deepEqual(posted(), ['one', 'elsewhere']);
});
