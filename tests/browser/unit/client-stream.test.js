// One connection that is always there: what is done when it breaks, is silent, or is sent away.

import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';

import { SILENCE_MS, Stream, WAIT_MS } from '../../../web/client/stream.js';
import { FakeBrowser, settle } from './fake-browser.js';
import { FakeServer } from './fake-server.js';

/** @type {FakeServer} */ let server;
/** @type {FakeBrowser} */ let browser;
/** @type {import('./fake-browser.js').FakeTab} */ let tab;
/** @type {any[]} */ let events;
/** @type {string[]} */ let states;
/** @type {Stream} */ let stream;

beforeEach(() => {
  server = new FakeServer();
  browser = new FakeBrowser(server);
  browser.random = () => 1; // the longest wait
  tab = browser.tab();
  [events, states] = [[], []];
  stream = new Stream(tab.env, {
    url: () => '/api/rooms/lobby/events',
    onEvent: (event) => events.push(event),
    onStatus: ({ state }) => states.push(state),
  });
});

test('only durable events have an id, though a browser repeats the last one for all', async () => {
  stream.start();
  await settle();
  server.say('lobby', 'a');
  server.word('lobby', 'r', 'hello');
  assert.deepEqual(events.map(({ name, id }) => [name, id !== '']), [
    ['snapshot', true], ['message.posted', true], ['reply.started', false], ['reply.delta', false],
  ]);
});

test('a stream without events is live soon after it opens', async () => {
  server.connect = (source) => source.open();
  stream.start();
  await browser.pass(99);
  assert.deepEqual(states, []);
  await browser.pass(2);
  assert.deepEqual(states, ['live']);
});

for (const forGood of [false, true]) {
  test(`a stream that broke ${forGood ? 'for good, as by a proxy,' : ''} is made anew, and its old self is not heard`, async () => {
    stream.start();
    await settle();
    const old = tab.sources[0];
    old.fail(forGood);
    assert.deepEqual([tab.open.length, stream.status.retryAt], [0, browser.now + WAIT_MS.first]);
    await browser.pass(WAIT_MS.first);
    old.readyState = 1;
    old.emit('message.posted', { id: 'ghost' }, server.position(9));
    assert.deepEqual(states, ['live', 'broken', 'broken', 'live']);
    assert.deepEqual(events.map(({ name }) => name), ['snapshot', 'snapshot']);
  });
}

test('waits grow to 15 s, are jittered, and begin small again after an event', async () => {
  server.state = 'bad-gateway';
  stream.start();
  await settle();
  const waits = [];
  for (let i = 0; i < 6; i += 1) {
    const wait = Number(stream.status.retryAt) - browser.now;
    waits.push(wait);
    await browser.pass(wait);
  }
  assert.deepEqual(waits, [1_000, 2_000, 4_000, 8_000, 15_000, 15_000]);
  browser.random = () => 0;
  server.state = 'up';
  await browser.pass(15_000);
  server.cut();
  assert.equal(Number(stream.status.retryAt) - browser.now, 500);
});

test('a silent stream is dead after three heartbeats, one with heartbeats is not', async () => {
  stream.start();
  await browser.pass(SILENCE_MS - 1);
  server.beat();
  await browser.pass(SILENCE_MS - 1);
  assert.equal(tab.sources.length, 1);
  await browser.pass(1);
  assert.equal(stream.status.state, 'broken');
  await browser.pass(WAIT_MS.first);
  assert.deepEqual([tab.sources.length, tab.open.length, stream.status.state], [2, 1, 'live']);
});

test('busy says when to come back, and does not look live', async () => {
  server.connect = (source) => {
    source.open();
    source.emit('busy', { retry_ms: 5_000 });
    source.fail();
  };
  stream.start();
  await settle();
  assert.deepEqual(states, ['busy']);
  assert.equal(Number(stream.status.retryAt) - browser.now, 10_000);
  await browser.pass(9_999);
  assert.equal(tab.sources.length, 1);
  await browser.pass(1);
  assert.equal(tab.sources.length, 2);
});

test('whoever looks does not wait, and a stream that was long silent is not trusted', async () => {
  server.state = 'down';
  stream.start();
  await browser.pass(10_000);
  server.state = 'up';
  stream.wake();
  await settle();
  assert.equal(stream.status.state, 'live');
  const before = tab.sources.length;
  stream.wake();
  assert.equal(tab.sources.length, before, 'it was heard just now');
  browser.jump(3_600_000);
  stream.wake();
  assert.equal(tab.sources.length, before + 1, 'the machine slept');
  await settle();
  browser.jump(-7_200_000);
  stream.wake();
  assert.equal(tab.sources.length, before + 2, 'nobody knows for how long');
});

test('a stop ends it, and a start begins again', async () => {
  stream.start();
  await settle();
  stream.stop();
  server.say('lobby', 'a');
  await browser.pass(60_000);
  assert.deepEqual([tab.sources.length, tab.open.length, events.length, stream.running], [1, 0, 1, false]);
  stream.start();
  await settle();
  assert.deepEqual([tab.open.length, events.length], [1, 2]);
});

test('an event that is not JSON is a broken connection', async () => {
  stream.start();
  await settle();
  tab.sources[0].emit('message.posted', '{"id":', server.position(1));
  assert.deepEqual([stream.status.state, events.length], ['broken', 1]);
});
