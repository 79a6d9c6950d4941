// The monitor's stream: a snapshot, updates, and how the stream is.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { openMonitor } from '../../../web/client.js';
import { FakeBrowser, settle } from './fake-browser.js';

test('a monitor has a snapshot, updates, and a new snapshot after a break', async () => {
  /** @type {import('./fake-browser.js').FakeSource[]} */
  const sources = [];
  const browser = new FakeBrowser({
    connect(source) {
      sources.push(source);
      source.open();
      source.emit('snapshot', { number: sources.length, health: { state: 'degraded', reason: 'Redis is away.', parked: 2 } });
    },
    fetch: () => Promise.reject(new TypeError('no network here')),
  });
  const tab = browser.tab();
  /** @type {any[]} */
  const seen = [];
  /** @type {any} */
  let status;
  const monitor = openMonitor({
    base: 'https://other/',
    env: tab.env,
    onSnapshot: ({ number }) => seen.push(`snapshot ${number}`),
    onUpdate: ({ number }) => seen.push(`update ${number}`),
    onStatus: (now) => { status = now; },
  });
  assert.equal(status.state, 'connecting', 'said at once');
  await settle();
  assert.equal(sources[0].url.href, 'https://other/api/monitor/events');
  assert.deepEqual([status.state, status.store, status.reason, status.parked], ['live', 'degraded', 'Redis is away.', 2]);
  sources[0].emit('update', { number: 1, health: { state: 'connected', parked: 0 } });
  sources[0].emit('update', { number: 2 });
  assert.deepEqual([status.store, status.reason], ['connected', null]);
  sources[0].fail(true);
  assert.equal(status.state, 'broken');
  await browser.pass(1_000);
  assert.deepEqual(seen, ['snapshot 1', 'update 1', 'update 2', 'snapshot 2']);
  tab.happens('hide');
  assert.equal(tab.open.length, 0, 'a page that is left holds no connection');
  tab.happens('show');
  await settle();
  assert.deepEqual([tab.open.length, seen.at(-1)], [1, 'snapshot 3']);
  monitor.close();
  tab.happens('show');
  await browser.pass(60_000);
  assert.deepEqual([tab.open.length, sources.length], [0, 3]);
});
