// The JSON routes as functions: what is asked, and what is made of every kind of answer.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';

import { ANSWER_MS, Api, ApiError, query } from '../../../web/client/api.js';
import { uuid } from '../../../web/client/id.js';
import { FakeBrowser, settle } from './fake-browser.js';
import { json } from './fake-server.js';

/** @param {(url: string, init: any) => Promise<Response>} fetch @param {string} [base] */
function api(fetch, base) {
  /** @type {[string, string, any][]} */
  const asked = [];
  const browser = new FakeBrowser({
    connect() {},
    fetch(url, init) {
      asked.push([init.method, url, init.body && JSON.parse(init.body)]);
      return fetch(url, init);
    },
  });
  return { api: new Api(base, browser.tab().env), asked, browser };
}

/** @param {() => Promise<any>} call */
async function refused(call) {
  const error = await call().then(() => assert.fail('it was answered'), (e) => e);
  assert.ok(error instanceof ApiError);
  return [error.status, error.code, error.detail, error.retryAfter];
}

test('routes are asked as /openapi.json names them', async () => {
  const { api: it, asked } = api(() => Promise.resolve(json(200, { ok: 1 })), 'https://other:8443/chat');
  await it.messages('lobby', { before: 'p', limit: 20, after: undefined });
  await it.post('lo~by', { text: 'hello', author: { name: 'Ann' } });
  await it.message('i');
  await it.timeline('i');
  await it.cancel('i');
  await it.retry('i');
  await it.redact('i');
  await it.rooms();
  await it.rooms('lobby');
  await it.queues();
  await it.workers();
  assert.deepEqual(await it.health(), { ok: 1 });
  const base = 'https://other:8443/chat';
  assert.deepEqual(asked.map(([method, url]) => `${method} ${url.slice(base.length)}`), [
    'GET /api/rooms/lobby/messages?before=p&limit=20', 'POST /api/rooms/lo~by/messages', 'GET /api/messages/i',
    'GET /api/messages/i/timeline', 'POST /api/messages/i/cancel', 'POST /api/messages/i/retry', 'DELETE /api/messages/i',
    'GET /api/rooms', 'GET /api/rooms?after=lobby', 'GET /api/queues', 'GET /api/workers', 'GET /health/ready',
  ]);
  assert.deepEqual(asked[1][2], { text: 'hello', author: { name: 'Ann' } });
});

test('a refusal has the server\'s code and sentence', async () => {
  const problem = { type: 'about:blank', status: 503, code: 'queue-full', detail: 'The queue is full.' };
  const { api: it } = api(() => Promise.resolve(json(503, problem, { 'retry-after': '1' })));
  assert.deepEqual(await refused(it.queues), [503, 'queue-full', 'The queue is full.', 1_000]);
});

test('what a proxy says is no answer, whatever its status', async () => {
  const html = (/** @type {number} */ status) => api(() => Promise.resolve(new Response('<html>Log in</html>', { status }))).api;
  assert.deepEqual(await refused(html(502).queues), [502, 'http', 'The server answered with status 502.', null]);
  assert.deepEqual((await refused(html(200).queues)).slice(0, 2), [502, 'http']);
});

test('a server that cannot be reached has status 0', async () => {
  const { api: it } = api(() => Promise.reject(new TypeError('Failed to fetch')));
  assert.deepEqual(await refused(it.queues), [0, 'unreachable', 'The server cannot be reached.', null]);
});

test('an answer that does not come is given up', async () => {
  const { api: it, browser } = api(() => new Promise(() => {}));
  const call = refused(it.queues);
  await browser.pass(ANSWER_MS);
  assert.deepEqual((await call).slice(0, 2), [0, 'unreachable']);
  await settle();
  assert.equal(browser.timers.length, 0);
});

test('a server that is not well says so, and that is an answer', async () => {
  const health = { status: 'not-ready', state: 'degraded', position: 'p', parked: 3 };
  const { api: it } = api(() => Promise.resolve(json(503, health)));
  assert.deepEqual(await it.health(), health);
});

test('a post is finished even if the page is closed, unless it is too long for that', async () => {
  /** @type {boolean[]} */
  const kept = [];
  const { api: it } = api((_, { keepalive }) => { kept.push(keepalive); return Promise.resolve(json(201, {})); });
  await it.post('lobby', { text: 'short', author: { name: 'Ann' } });
  await it.post('lobby', { text: 'long'.repeat(10_000), author: { name: 'Ann' } });
  assert.deepEqual(kept, [true, false]);
});

test('parameters that are not given are not sent, and the others are escaped', () => {
  assert.equal(query({ a: undefined, b: null }), '');
  assert.equal(query({ at: '2026-01-01T00:00:00+01:00', n: 0 }), '?at=2026-01-01T00%3A00%3A00%2B01%3A00&n=0');
});

test('ids are UUIDs of version 4', () => {
  assert.equal(uuid((count) => new Uint8Array(count).fill(0xff)), 'ffffffff-ffff-4fff-bfff-ffffffffffff');
  const random = () => uuid((count) => new Uint8Array(randomBytes(count)));
  assert.match(random(), /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  assert.notEqual(random(), random());
});
