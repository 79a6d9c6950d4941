// The client alone, in Chromium, against real servers: what only a browser can show about tabs, networks and restarts.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';

import { SOAK, harness, until } from '../harness.js';

const h = harness();

/** Shows nothing; holds what the client hands on, for the test to read. */
const HTML = '<!doctype html><html lang="en"><meta charset="utf-8"><link rel="icon" href="data:,"><title>client</title></html>';

/** @typedef {import('playwright-core').Page} Page */

/**
 * A page with a room open.
 * @param {import('../harness.js').Server} server
 * @param {{ in?: Page | import('playwright-core').BrowserContext, room?: string }} [options]
 */
async function open(server, { in: home, room = 'lobby' } = {}) {
  const page = await h.page(server, '/client-test', { in: home, html: HTML });
  await follow(page, room);
  return page;
}

/** @param {Page} page @param {string} [name] */
function follow(page, name = 'lobby') {
  return page.evaluate(async (room) => {
    const path = '/web/client.js';
    const { openRoom } = await import(path);
    const seen = { messages: [], ids: [], text: '', outbox: [], status: null, statuses: [] };
    const it = /** @type {any} */ (Object.assign(window, { seen }));
    it.room = openRoom(room, {
      limit: 500,
      onStatus(/** @type {any} */ status) { it.seen.status = status; it.seen.statuses.push(status.state); },
      onOutbox(/** @type {any} */ items) { it.seen.outbox = items; },
      onEvent(/** @type {any} */ { name: what, data, id }) {
        if (id) it.seen.ids.push(id);
        if (what === 'snapshot') it.seen.messages = data.messages.map((/** @type {any} */ m) => m.text);
        if (what === 'message.posted' || what === 'reply.posted') it.seen.messages.push(data.text);
        if (what === 'snapshot') for (const draft of data.in_flight) it.seen.text = draft.text;
        if (what === 'reply.started') it.seen.text = '';
        if (what === 'reply.snapshot') it.seen.text = data.text;
        if (what === 'reply.delta') it.seen.text += data.text;
      },
    });
  }, name);
}

/** @param {Page} page @returns {Promise<any>} */
const seen = (page) => page.evaluate(() => /** @type {any} */ (window).seen);

/** @param {Page} page @param {string} state */
const being = (page, state) => page.waitForFunction((wanted) => /** @type {any} */ (window).seen.status?.state === wanted, state);

/** @param {Page} page @param {string[]} texts that have come, in this order, and nothing else */
async function shows(page, texts) {
  await page.waitForFunction((count) => /** @type {any} */ (window).seen.messages.length >= count, texts.length);
  const { messages, ids } = await seen(page);
  assert.deepEqual(messages, texts);
  assert.deepEqual(ids, [...new Set(ids)].sort(), 'each position once, in order');
}

/** @param {Page} page @param {string} text @param {object} [more] */
const send = (page, text, more = { to: [] }) =>
  page.evaluate(([words, rest]) => void /** @type {any} */ (window).room.send({ text: words, author: { name: 'Ann' }, .../** @type {object} */ (rest) }), /** @type {const} */ ([text, more]));

/** @param {Page} page */
const emptied = (page) => page.waitForFunction(() => /** @type {any} */ (window).seen.outbox.length === 0);

/** @param {Page[]} pages */
async function leaderOf(pages) {
  const leads = await Promise.all(pages.map(async (page) => (await seen(page)).status.leader));
  assert.equal(leads.filter(Boolean).length, 1, 'one leads');
  return pages[leads.indexOf(true)];
}

test('seven tabs at once are all live over one connection', async () => {
  const server = await h.server();
  await server.post('lobby', 'before', { to: [] });
  const context = await h.context();
  const pages = await Promise.all(Array.from({ length: 7 }, () => open(server, { in: context })));
  await Promise.all(pages.map((page) => being(page, 'live')));
  await until('one stream is open', async () => (await server.subscribers()) === 1);
  await server.post('lobby', 'after', { to: [] });
  for (const page of pages) await shows(page, ['before', 'after']);
  await send(pages[6], 'from the seventh');
  for (const page of pages) {
    await shows(page, ['before', 'after', 'from the seventh']);
    assert.equal((await seen(page)).status.shared, true);
  }
  await leaderOf(pages);
  assert.equal(await server.subscribers(), 1);
});

test('a leader that is closed in mid-answer is followed by another tab, and no word is lost or doubled', async () => {
  const model = await h.model();
  const server = await h.server({ model });
  const context = await h.context();
  const pages = [await open(server, { in: context }), await open(server, { in: context }), await open(server, { in: context })];
  await Promise.all(pages.map((page) => being(page, 'live')));
  await server.post('lobby', 'Tell me.');
  const answer = await model.asked();
  await answer.say('one ');
  await Promise.all(pages.map((page) => page.waitForFunction(() => /** @type {any} */ (window).seen.text === 'one ')));
  const leader = await leaderOf(pages);
  const rest = pages.filter((page) => page !== leader);
  await leader.close();
  await answer.say('two ');
  await Promise.all(rest.map((page) => page.waitForFunction(() => /** @type {any} */ (window).seen.text === 'one two ')));
  await answer.say('three');
  await answer.finish();
  for (const page of rest) {
    await shows(page, ['Tell me.', 'one two three']);
    assert.equal((await seen(page)).text, 'one two three');
  }
  await leaderOf(rest);
  await until('one stream is open', async () => (await server.subscribers()) === 1);
});

test('a leader that hangs loses the lead to a tab that is looked at, and has everything when it is back', async () => {
  const server = await h.server();
  const context = await h.context();
  const pages = [await open(server, { in: context }), await open(server, { in: context })];
  await Promise.all(pages.map((page) => being(page, 'live')));
  const leader = await leaderOf(pages);
  const other = pages.find((page) => page !== leader) ?? leader;
  const hung = leader.evaluate(() => {
    const end = performance.now() + 12_000; // a follower asks after 5 s and waits 2 s
    while (performance.now() < end);
    return performance.now();
  });
  await server.post('lobby', 'meanwhile', { to: [] });
  await other.waitForFunction(() => /** @type {any} */ (window).seen.status.leader);
  await shows(other, ['meanwhile']);
  await hung;
  await shows(leader, ['meanwhile']);
  await send(leader, 'awake');
  for (const page of pages) await shows(page, ['meanwhile', 'awake']);
  await leaderOf(pages);
  await until('one stream is open', async () => (await server.subscribers()) === 1);
});

test('a server that is killed while posts are written: nothing is lost, nothing doubled', async () => {
  h.allow('server-gone');
  const server = await h.server();
  const context = await h.context();
  const [ann, bob] = [await open(server, { in: context }), await open(server, { in: context })];
  const other = await open(server);
  const pages = [ann, bob, other];
  await Promise.all(pages.map((page) => being(page, 'live')));
  const texts = [];
  for (let round = 0; round < (SOAK ? 20 : 3); round += 1) {
    // Some are answered, some are under way, some are written while nobody listens.
    const words = Array.from({ length: 10 }, (_, i) => `${round}.${i}`);
    for (const text of words.slice(0, 5)) await send(ann, text);
    await server.kill();
    for (const text of words.slice(5)) await send(ann, text);
    texts.push(...words);
    await Promise.all(pages.map((page) => being(page, 'broken')));
    await server.start();
    for (const page of pages) await shows(page, texts);
    await Promise.all(pages.map((page) => being(page, 'live')));
  }
  await emptied(ann);
  assert.deepEqual((await server.messages('lobby')).map(({ text }) => text), texts);
  assert.equal((await seen(bob)).outbox.length, 0);
});

test('without a network posts wait, and are sent once and in order when it is back', async () => {
  h.allow('offline');
  const server = await h.server();
  const context = await h.context();
  const [page, second] = [await open(server, { in: context }), await open(server, { in: context })];
  await being(page, 'live');
  await send(page, 'before');
  await shows(page, ['before']);
  await emptied(page);
  await context.setOffline(true);
  await page.waitForFunction(() => !(/** @type {any} */ (window).seen.status.online));
  for (const text of ['one', 'two', 'three']) await send(page, text);
  await page.waitForFunction(() => /** @type {any} */ (window).seen.outbox[0]?.why !== '');
  assert.deepEqual((await seen(page)).outbox.map((/** @type {any} */ { body, state }) => [body.text, state === 'failed']), [['one', false], ['two', false], ['three', false]]);
  await context.setOffline(false);
  for (const tab of [page, second]) await shows(tab, ['before', 'one', 'two', 'three']);
  await emptied(page);
  assert.deepEqual((await server.messages('lobby')).map(({ text }) => text), ['before', 'one', 'two', 'three']);
});

test('a page that is reloaded, or closed, with posts in its outbox sends them the next time', async () => {
  h.allow('server-gone');
  const server = await h.server();
  const page = await open(server);
  await being(page, 'live');
  await server.kill();
  await send(page, 'one');
  await send(page, 'two');
  await page.waitForFunction(() => /** @type {any} */ (window).seen.outbox[0]?.why !== '');
  const context = page.context();
  await page.close();
  await server.start();
  const next = await open(server, { in: context });
  await shows(next, ['one', 'two']);
  await emptied(next);
});

test('a proxy that answers 502 for a while does not end the stream for good', async () => {
  h.allow('gateway', 'server-gone');
  const server = await h.server();
  const page = await open(server);
  await being(page, 'live');
  await page.context().route('**/api/**', (route) => route.fulfill({ status: 502, contentType: 'text/html', body: '<html>Bad Gateway</html>' }));
  await server.kill();
  await send(page, 'meanwhile');
  await page.waitForFunction(() => /** @type {any} */ (window).seen.outbox[0]?.code === 'http');
  await being(page, 'broken');
  await server.start();
  await page.context().unroute('**/api/**');
  await shows(page, ['meanwhile']);
  await being(page, 'live');
});

test('a post that the server refuses fails with its words, and can be discarded', async () => {
  h.allow('refused');
  const server = await h.server();
  const page = await open(server);
  await send(page, 'hello', { to: ['nobody-of-that-name'] });
  await page.waitForFunction(() => /** @type {any} */ (window).seen.outbox[0]?.state === 'failed');
  const [item] = (await seen(page)).outbox;
  assert.equal(item.code, 'unknown-bot');
  assert.match(item.why, /nobody-of-that-name/);
  await page.evaluate((id) => /** @type {any} */ (window).room.discard(id), item.id);
  await emptied(page);
});

test('rooms in different tabs share the connection, and one that opens later gets its snapshot', async () => {
  const server = await h.server();
  await server.post('dev', 'dev before', { to: [] });
  const lobby = await open(server);
  await being(lobby, 'live');
  const dev = await open(server, { in: lobby, room: 'dev' });
  await shows(dev, ['dev before']);
  await server.post('dev', 'dev after', { to: [] });
  await server.post('lobby', 'lobby', { to: [] });
  await shows(dev, ['dev before', 'dev after']);
  await shows(lobby, ['lobby']);
  await until('one stream is open', async () => (await server.subscribers()) === 1);
});

test('the example of docs/client.md runs as it stands there', async () => {
  const docs = await readFile(new URL('../../../docs/client.md', import.meta.url), 'utf8');
  const [, html] = docs.match(/```html\n(.*?)```/s) ?? [];
  assert.ok(html, 'there is an example');
  const server = await h.server();
  const pages = [await h.page(server, '/hello.html', { html, policy: '' }), await h.page(server, '/hello.html', { html, policy: '' })];
  await pages[0].getByText('live').waitFor();
  await pages[0].getByRole('textbox').fill('Hello <b>there</b>');
  await pages[0].getByRole('textbox').press('Enter');
  for (const page of pages) {
    await page.getByText('Hello <b>there</b>').waitFor();
    await page.locator('li', { hasText: /^(?!Ann)\w+: \S/ }).waitFor();
    assert.equal(await page.locator('li').count(), 2, 'the question and its answer, each once');
  }
});
