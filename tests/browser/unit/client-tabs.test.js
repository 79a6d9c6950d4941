// Rooms in several tabs: one stream for all, each event once and in order, whoever leads, dies or freezes.

import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';

import { openRoom } from '../../../web/client.js';
import { ROOMS_MAX } from '../../../web/client/hub.js';
import { ANSWER_MS, QUIET_MS } from '../../../web/client/tabs.js';
import { FakeBrowser, settle } from './fake-browser.js';
import { FakeServer } from './fake-server.js';

/** @type {FakeServer} */ let server;
/** @type {FakeBrowser} */ let browser;

beforeEach(() => {
  server = new FakeServer();
  browser = new FakeBrowser(server);
});

/**
 * A tab with a room open, and what it was handed: ids of messages (those of snapshots too) and words.
 * @param {string} [room]
 * @param {{ tab?: import('./fake-browser.js').FakeTab, lacks?: any, limit?: number }} [options]
 */
function open(room = 'lobby', { tab = browser.tab(), lacks, limit } = {}) {
  Object.assign(tab.env, lacks);
  const seen = {
    tab,
    /** @type {string[]} */ names: [],
    /** @type {string[]} */ messages: [],
    /** @type {Map<string, string>} */ texts: new Map(),
    /** @type {any} */ status: undefined,
    /** @type {any[]} */ outbox: [],
    /** @type {any} */ room: undefined,
  };
  seen.room = openRoom(room, {
    env: tab.env,
    limit,
    onStatus: (status) => { seen.status = status; },
    onOutbox: (items) => { seen.outbox = items; },
    onEvent({ name, data }) {
      seen.names.push(name);
      if (name === 'reset') seen.messages = [];
      if (name === 'snapshot') seen.messages.push(...data.messages.map((/** @type {any} */ { id }) => id));
      if (name === 'message.posted') seen.messages.push(data.id);
      if (name === 'snapshot') data.in_flight.forEach((/** @type {any} */ draft) => seen.texts.set(draft.reply_id, draft.text));
      if (name === 'reply.snapshot') seen.texts.set(data.reply_id, data.text);
      if (name === 'reply.delta') seen.texts.set(data.reply_id, (seen.texts.get(data.reply_id) ?? '') + data.text);
    },
  });
  return seen;
}

/** @param {string} [room] */
const said = (room = 'lobby') => server.log.filter((entry) => entry.room === room && entry.name === 'message.posted').map(({ data }) => data.id);

/** @param {any[]} tabs */
const leaders = (tabs) => tabs.filter(({ status }) => status.leader);

test('a single tab has snapshot and tail in one request', async () => {
  server.say('lobby', 'before');
  const one = open();
  assert.equal(one.status.state, 'connecting', 'said at once');
  await settle();
  server.say('lobby', 'after');
  assert.deepEqual([one.messages, one.tab.sources.length], [['before', 'after'], 1]);
  assert.deepEqual([one.status.state, one.status.leader, one.status.shared], ['live', true, true]);
});

test('seven tabs have one stream, and all see everything once', async () => {
  server.say('lobby', 'before');
  const tabs = [];
  for (let i = 0; i < 7; i += 1) {
    tabs.push(open());
    server.say('lobby', `opening ${i}`);
    server.word('lobby', 'r', `${i} `);
    await settle();
  }
  server.say('lobby', 'after');
  await settle();
  assert.equal(server.connected.length, 1);
  for (const tab of tabs) {
    assert.deepEqual(tab.messages, said());
    assert.equal(tab.texts.get('r'), '0 1 2 3 4 5 6 ');
    assert.equal(tab.status.state, 'live');
  }
  assert.equal(leaders(tabs).length, 1);
  assert.equal(leaders(tabs)[0].tab.sources.length, 1, 'the stream was never made anew');
});

test('tabs of several rooms have one stream, and each room its own events', async () => {
  const [lobby, dev, both] = [open('lobby'), open('dev'), open('lobby')];
  await browser.pass(200);
  const second = open('dev', { tab: both.tab });
  await browser.pass(200);
  server.say('lobby', 'l1');
  server.say('dev', 'd1');
  await settle();
  assert.equal(server.connected.length, 1);
  assert.deepEqual([lobby.messages, dev.messages, both.messages, second.messages], [['l1'], ['d1'], ['l1'], ['d1']]);
  dev.room.close();
  second.room.close();
  await browser.pass(200);
  assert.deepEqual(server.connected.map((source) => server.followers.get(source)), [['lobby']], 'nobody wants the other any more');
});

for (const [how, end] of /** @type {[string, (tab: any) => void][]} */ ([
  ['is killed in mid-stream', ({ tab }) => tab.kill()],
  ['is closed', ({ tab, room }) => { room.close(); tab.kill(); }],
  ['is left for another page', ({ tab }) => { tab.happens('hide'); tab.kill(); }],
])) {
  test(`a leader that ${how} is followed by another, and nothing is lost or doubled`, async () => {
    const tabs = [open(), open(), open()];
    await settle();
    server.word('lobby', 'r', 'one ');
    await settle();
    const first = leaders(tabs)[0];
    end(first);
    server.say('lobby', 'meanwhile');
    server.word('lobby', 'r', 'two ');
    await settle();
    server.word('lobby', 'r', 'three');
    await settle();
    const rest = tabs.filter((tab) => tab !== first);
    for (const tab of rest) {
      assert.deepEqual([tab.messages, tab.texts.get('r'), tab.status.state], [said(), 'one two three', 'live']);
    }
    assert.deepEqual([server.connected.length, leaders(rest).length], [1, 1]);
  });
}

test('a leader that freezes while it holds the lock loses it to a tab that is looked at', async () => {
  const [first, second] = [open(), open()];
  await settle();
  first.tab.freeze();
  first.tab.visible = false;
  server.say('lobby', 'meanwhile');
  await browser.pass(QUIET_MS + ANSWER_MS + 100);
  assert.deepEqual([second.messages, second.status.leader], [said(), true]);
  server.say('lobby', 'later');
  first.tab.thaw();
  await settle();
  server.say('lobby', 'thawed');
  await browser.pass(100);
  assert.deepEqual([first.messages, second.messages], [said(), said()]);
  assert.deepEqual([first.status.leader, second.status.leader, server.connected.length], [false, true, 1]);
  second.tab.kill();
  await browser.pass(100);
  assert.equal(first.status.leader, true, 'it waited for the lock again');
});

test('a tab that gets the lock while it steals it leads', async () => {
  const [first, second] = [open(), open()];
  await settle();
  first.tab.freeze();
  await browser.pass(QUIET_MS);
  second.tab.freeze();
  await browser.pass(ANSWER_MS); // it would steal now
  first.tab.kill(); // and is given what it waited for
  await settle();
  second.tab.thaw();
  await settle();
  assert.deepEqual([second.status.leader, second.status.state, server.connected.length], [true, 'live', 1]);
  const third = open();
  await settle();
  second.room.close();
  await settle();
  assert.equal(third.status.leader, true, 'it was let go for good');
});

test('a page that is left while it waits for its first snapshot holds no connection', async () => {
  open();
  await settle();
  server.connect = () => {};
  const second = open();
  await settle();
  assert.equal(second.tab.open.length, 1);
  second.tab.happens('hide');
  await browser.pass(60_000);
  assert.equal(second.tab.open.length, 0);
});

test('a hidden tab steals nothing', async () => {
  const [first, second] = [open(), open()];
  await settle();
  first.tab.freeze();
  second.tab.visible = false;
  await browser.pass(120_000);
  second.tab.happens('online');
  await browser.pass(120_000);
  assert.equal(second.status.leader, false);
  second.tab.visible = true;
  second.tab.happens('visible');
  await browser.pass(ANSWER_MS + 100);
  assert.equal(second.status.leader, true);
});

test('a leader that is only quiet keeps the stream', async () => {
  const [first, second] = [open(), open()];
  for (let i = 0; i < 20; i += 1) {
    await browser.pass(10_000);
    if (i % 2) server.beat();
  }
  assert.deepEqual([first.status.leader, second.status.leader, first.tab.sources.length], [true, false, 1]);
});

test('a page that is frozen by the browser with notice gives up the lead, and comes back as follower', async () => {
  const [first, second] = [open(), open()];
  await settle();
  first.tab.happens('hide');
  await settle();
  assert.deepEqual([second.status.leader, server.connected.length], [true, 1]);
  server.say('lobby', 'meanwhile');
  first.tab.happens('show');
  await browser.pass(100);
  assert.deepEqual([first.messages, first.status.leader, first.status.state], [said(), false, 'live']);
  assert.equal(server.connected.length, 1);
});

test('a follower that was frozen catches up', async () => {
  const [first, second] = [open(), open()];
  await settle();
  second.tab.freeze();
  for (let i = 0; i < 5; i += 1) server.say('lobby', `m${i}`);
  server.word('lobby', 'r', 'words');
  await settle();
  second.tab.thaw();
  await settle();
  assert.deepEqual([second.messages, second.texts.get('r')], [said(), 'words']);
  assert.equal(first.tab.sources.length, 1);
});

test('messages between tabs that get lost are noticed and come again', async () => {
  const [first, second] = [open(), open()];
  await settle();
  const [channel] = second.tab.channels;
  const { onmessage } = channel;
  channel.onmessage = null;
  server.say('lobby', 'lost');
  server.word('lobby', 'r', 'lost ');
  await settle();
  channel.onmessage = onmessage;
  server.say('lobby', 'heard');
  server.word('lobby', 'r', 'heard');
  await browser.pass(3_000);
  assert.deepEqual([second.messages, second.texts.get('r')], [said(), 'lost heard']);
  channel.onmessage = null;
  server.say('lobby', 'the last for a while');
  await settle();
  channel.onmessage = onmessage;
  server.beat();
  await browser.pass(3_000);
  assert.deepEqual([first.messages, second.messages], [said(), said()]);
});

for (const forGood of [false, true]) {
  test(`a connection that broke${forGood ? ' for good (502)' : ''} is told to all tabs and resumed for all`, async () => {
    const [first, second] = [open(), open()];
    await settle();
    server.state = forGood ? 'bad-gateway' : 'down';
    server.cut(forGood);
    await settle();
    assert.deepEqual([first.status.state, second.status.state], ['broken', 'broken']);
    assert.ok(second.status.retryAt > browser.now);
    server.say('lobby', 'meanwhile');
    await browser.pass(20_000);
    server.state = 'up';
    await browser.pass(20_000);
    assert.deepEqual([first.status.state, second.status.state], ['live', 'live']);
    assert.deepEqual([first.messages, second.messages], [said(), said()]);
    assert.deepEqual(second.names.filter((name) => name === 'snapshot').length, 1, 'it went on where it was');
  });
}

test('a follower that is looked at gets the leader to try at once', async () => {
  const [first, second] = [open(), open()];
  await settle();
  server.state = 'down';
  server.cut();
  await browser.pass(60_000);
  server.state = 'up';
  second.tab.happens('visible');
  await settle();
  assert.deepEqual([first.status.state, second.status.state], ['live', 'live']);
});

test('a server with another history begins anew in every tab', async () => {
  server.say('lobby', 'old');
  const [first, second] = [open(), open()];
  await settle();
  server.begin();
  server.say('lobby', 'new');
  server.cut();
  await browser.pass(2_000);
  for (const tab of [first, second]) {
    assert.deepEqual(tab.names.slice(-2), ['reset', 'snapshot']);
    assert.deepEqual(tab.messages, ['new']);
  }
  server.say('lobby', 'newer');
  await settle();
  assert.deepEqual([first.messages, second.messages], [said(), said()]);
});

test('a room whose tab died leaves the stream', async () => {
  const [, dev] = [open('lobby'), open('dev')];
  await browser.pass(200);
  dev.tab.kill();
  await browser.pass(200);
  assert.deepEqual(server.connected.map((source) => server.followers.get(source)), [['lobby']]);
});

test('a leader that was not told of a tab learns of it', async () => {
  open('lobby');
  await settle();
  const dev = open('dev');
  const [tell, lost] = [dev.tab.env.channel, /** @type {any[]} */ ([])];
  dev.tab.env.channel = (name) => {
    const channel = /** @type {NonNullable<typeof tell>} */ (tell)(name);
    const { postMessage } = channel;
    channel.postMessage = (message) => (message.kind === 'join' && lost.length < 2 ? lost.push(message) : postMessage(message));
    return channel;
  };
  dev.room.close();
  const again = open('dev', { tab: dev.tab });
  await browser.pass(3_000);
  assert.equal(lost.length, 2);
  server.beat();
  await browser.pass(200);
  server.say('dev', 'hello');
  await settle();
  assert.deepEqual(again.messages, ['hello']);
});

test('a page is handed no heartbeats, and each status once', async () => {
  const one = open();
  /** @type {string[]} */
  const statuses = [];
  openRoom('lobby', { env: one.tab.env, onStatus: (status) => statuses.push(JSON.stringify(status)) });
  await settle();
  for (let i = 0; i < 5; i += 1) {
    server.beat();
    await browser.pass(15_000);
  }
  assert.deepEqual(one.names, ['snapshot']);
  assert.deepEqual(statuses, [...new Set(statuses)]);
});

test('without locks or channels every tab has its own stream and says so', async () => {
  for (const lacks of [{ locks: null }, { channel: null }]) {
    server = new FakeServer();
    browser = new FakeBrowser(server);
    const [first, second] = [open('lobby', { lacks }), open('lobby', { lacks })];
    await settle();
    server.say('lobby', 'a');
    assert.deepEqual([first.messages, second.messages, server.connected.length], [['a'], ['a'], 2]);
    assert.deepEqual([first.status.shared, second.status.shared, second.status.leader], [false, false, true]);
  }
});

test('an origin whose locks are forbidden has its own stream', async () => {
  const locks = { request: () => Promise.reject(new DOMException('no', 'SecurityError')) };
  const one = open('lobby', { lacks: { locks } });
  await settle();
  one.room.send({ text: 'hello', author: { name: 'Ann' } });
  await settle();
  assert.deepEqual([one.messages.length, one.status.state, one.status.shared], [1, 'live', false]);
});

test('the same room twice in one page is handed everything twice, once each', async () => {
  server.say('lobby', 'before');
  const first = open();
  await settle();
  const second = open('lobby', { tab: first.tab });
  const third = open('lobby', { tab: first.tab });
  await settle();
  server.say('lobby', 'after');
  assert.deepEqual([first.messages, second.messages, third.messages], [said(), said(), said()]);
  assert.equal(server.connected.length, 1);
});

test('more rooms than a stream has are told to wait, and are served when there is room', async () => {
  const tabs = Array.from({ length: ROOMS_MAX + 1 }, (_, i) => open(`room-${i}`));
  await browser.pass(1_000);
  const waiting = tabs.filter(({ status }) => status.state === 'busy');
  assert.equal(waiting.length, 1);
  assert.match(waiting[0].status.reason, /rooms are open/);
  tabs.find((tab) => tab !== waiting[0] && !tab.status.leader)?.room.close();
  await browser.pass(1_000);
  assert.equal(waiting[0].status.state, 'live');
  const name = `room-${tabs.indexOf(waiting[0])}`;
  server.say(name, 'hello');
  await settle();
  assert.deepEqual(waiting[0].messages, ['hello']);
});

test('the store that is away is told, and that it is back, also by a stream made anew', async () => {
  const [first, second] = [open(), open()];
  await settle();
  for (const source of server.connected) {
    source.emit('room', { room: 'lobby' });
    source.emit('state', { state: 'degraded', since: '', reason: 'Redis is away.', parked: 3 });
  }
  await settle();
  for (const { status } of [first, second]) {
    assert.deepEqual([status.store, status.reason, status.parked], ['degraded', 'Redis is away.', 3]);
  }
  server.cut();
  await browser.pass(2_000);
  assert.deepEqual([first.status.store, second.status.store, second.status.reason], ['connected', 'connected', null]);
  for (const source of server.connected) source.emit('state', { state: 'degraded', since: '', reason: 'Away again.', parked: 0 });
  await settle();
  assert.equal(first.status.store, 'degraded');
  open('dev'); // makes the stream anew, which says nothing of a store that is well
  await browser.pass(200);
  server.beat();
  await settle();
  assert.deepEqual([first.status.store, second.status.store], ['connected', 'connected']);
});

test('posts are seen in the outbox of all tabs until their event comes', async () => {
  const [first, second] = [open(), open()];
  await settle();
  server.state = 'down';
  server.cut();
  second.room.send({ text: 'hello', author: { name: 'Ann' } });
  await settle();
  assert.deepEqual([first.outbox.length, second.outbox.length], [1, 1]);
  server.state = 'up';
  await browser.pass(20_000);
  assert.deepEqual([first.outbox.length, second.outbox.length, said().length], [0, 0, 1]);
  assert.deepEqual([first.messages, second.messages], [said(), said()]);
});

test('an error in the page is shown, and costs nobody their events', async () => {
  const tab = browser.tab();
  const mistake = new Error('a mistake in the page');
  openRoom('lobby', { env: tab.env, onEvent() { throw mistake; } });
  const second = open('lobby', { tab });
  await settle();
  assert.deepEqual([tab.errors, second.names], [[mistake], ['snapshot']]);
});

test('a name that no room can have is refused at once', () => {
  for (const name of ['', '..', 'a b', 'a/b', 'ä', 'r'.repeat(129)]) assert.throws(() => openRoom(name), RangeError);
});
