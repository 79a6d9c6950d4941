// Looking back: the room as it was, from moment to moment, by hand, by keys and playing.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';

import { harness, until } from '../harness.js';

/** @typedef {import('playwright-core').Page} Page */
/** @typedef {import('../harness.js').Server} Server */

const h = harness();
const AXE = await readFile(new URL('../node_modules/axe-core/axe.min.js', import.meta.url), 'utf8');

/** Posts for nobody to answer; the next post has a later time. @param {Server} server @param {string} text @param {object} [more] */
async function said(server, text, more = { to: [] }) {
  const posted = await server.post('then', text, more);
  await later(posted.at);
  return posted;
}

/** Times are told in milliseconds: the clock has gone on. @param {string} at */
const later = (at) => until('the clock goes on', () => Promise.resolve(Date.now() > Date.parse(at) + 2));

/** @param {Server} server @param {string} at @param {import('playwright-core').BrowserContextOptions} [options] */
const look = (server, at, options) => h.page(server, `/r/then?at=${encodeURIComponent(at)}`, { options });

const items = (/** @type {Page} */ page) => page.locator('.look-log > .item');

/** Waits until so many items are shown, and gives their questions. @param {Page} page @param {number} count */
async function texts(page, count) {
  await page.waitForFunction((count_) => document.querySelectorAll('.look-log > .item').length === count_, count);
  return items(page).locator('.msg:not(.answer) .text').allInnerTexts();
}

/** The bar. @param {Page} page */
const bar = (page) => page.getByRole('slider', { name: 'Moment' });

test('a room is seen as it was at a time and at a position, without a place to write', async () => {
  const server = await h.server();
  const posted = [];
  for (const text of ['one', 'two', 'three']) posted.push(await said(server, text));
  const page = await look(server, posted[1].at);
  assert.deepEqual(await texts(page, 2), ['one', 'two']);
  await page.locator('.banner', { hasText: `position ${posted[1].position}` }).waitFor();
  assert.equal(await page.locator('.banner time').getAttribute('datetime'), posted[1].at);
  assert.equal(await page.locator('#text').isVisible(), false);
  assert.equal(await items(page).getByRole('button', { name: /Stop|Retry|Reply/ }).count(), 0);

  const exact = await look(server, posted[0].position);
  assert.deepEqual(await texts(exact, 1), ['one']);
  const before = await look(server, new Date(Date.parse(posted[0].at) - 60_000).toISOString());
  await before.getByText('Nothing had been said here yet.').waitFor();
});

test('arrows go from message to message, Home and End to the ends, and the address follows', async () => {
  const server = await h.server();
  for (const text of ['one', 'two', 'three', 'four']) await said(server, text);
  const page = await look(server, 'now');
  await texts(page, 4);
  await bar(page).focus();
  await page.keyboard.press('ArrowLeft');
  assert.deepEqual(await texts(page, 3), ['one', 'two', 'three']);
  await page.keyboard.press('ArrowLeft');
  await texts(page, 2);
  await page.keyboard.press('ArrowRight');
  await texts(page, 3);
  await page.keyboard.press('Home');
  assert.deepEqual(await texts(page, 1), ['one']);
  await page.keyboard.press('ArrowLeft'); // there is nothing before
  await page.keyboard.press('End');
  await texts(page, 4);
  await page.keyboard.press('Home');
  await texts(page, 1);
  const [{ at }] = await server.messages('then');
  await page.waitForURL((url) => url.searchParams.get('at') === at);
  assert.match(await bar(page).getAttribute('aria-valuetext') ?? '', /\d\d:\d\d:\d\d/);
  await page.reload();
  assert.deepEqual(await texts(page, 1), ['one']);
});

test('while the bar is dragged few requests are made, one at a time, and where it is let go is what is shown', async () => {
  const server = await h.server();
  for (let count = 1; count <= 12; count += 1) await said(server, `number ${count}`);
  const page = await look(server, 'now');
  await texts(page, 12);
  const box = await bar(page).boundingBox();
  assert.ok(box);
  let [flying, most, asked] = [0, 0, 0];
  const isLook = (/** @type {import('playwright-core').Request} */ request) => /messages\?.*at=/.test(request.url());
  page.on('request', (request) => {
    if (!isLook(request)) return;
    asked += 1;
    most = Math.max(most, (flying += 1));
  });
  page.on('requestfinished', (request) => { if (isLook(request)) flying -= 1; });
  const y = box.y + box.height / 2;
  await page.mouse.move(box.x + box.width - 4, y);
  await page.mouse.down();
  const began = Date.now();
  for (let step = 1; step <= 200; step += 1) await page.mouse.move(box.x + box.width - 4 - (step * box.width) / 250, y);
  const took = Date.now() - began;
  const moment = await bar(page).inputValue();
  await page.mouse.up();
  const [first, last] = await page.waitForFunction(() => document.querySelector('.banner time') && document.querySelector('.look-line time')?.getAttribute('datetime')).then(async () => {
    const all = await server.messages('then');
    return [Date.parse(all[0].at), Date.parse(all[all.length - 1].at)];
  });
  const at = Math.round(first + ((last - first) * Number(moment)) / 1_000);
  await page.locator(`.banner time[datetime="${new Date(at).toISOString()}"]`).waitFor();
  const then = (await server.messages('then')).filter((message) => Date.parse(message.at) <= at).map(({ text }) => text);
  assert.deepEqual(await texts(page, then.length), then);
  assert.equal(most, 1, 'one request at a time');
  assert.ok(asked <= took / 100 + 3, `${asked} requests in ${took} ms`);
  assert.ok(asked >= 1);
});

test('each message has the state that it had then, and who worked on it', async () => {
  const model = await h.model();
  const server = await h.server({ model });
  const { id, at } = await said(server, 'How high is the moon?', {});
  const answer = await model.asked();
  await later(new Date().toISOString());
  const claimed = new Date().toISOString();
  await later(claimed);
  await answer.answer('Quite **high**.');
  await until('it is answered', async () => (await server.get(`/api/messages/${id}`)).status === 'answered');
  const page = await look(server, claimed);
  await items(page).locator('.status', { hasText: /^claimed by antiphon\/\d+$/ }).waitFor();
  assert.equal(await items(page).locator('.answer').count(), 0);
  await bar(page).focus();
  await page.keyboard.press('End');
  await items(page).locator('.answer strong', { hasText: 'high' }).waitFor();
  await items(page).locator('.status', { hasText: /\[human → AI reply: .+\]/ }).waitFor();
  await page.keyboard.press('Home');
  await items(page).locator('.answer').waitFor({ state: 'detached' });
  await page.waitForURL((url) => url.pathname === '/r/then');
  assert.ok(Date.parse(at) < Date.parse(claimed));
});

test('what was taken back since is hidden in every look back', async () => {
  const server = await h.server();
  const { id, at } = await said(server, 'my secret number is 12345');
  const second = await said(server, 'two');
  const before = await look(server, second.at);
  await texts(before, 2);
  const response = await fetch(`${server.url}/api/messages/${id}`, { method: 'DELETE' });
  assert.ok(response.ok);
  for (const moment of [at, second.at]) {
    const page = await look(server, moment);
    await items(page).getByText('message deleted').waitFor();
    assert.ok(!(await page.locator('body').innerText()).includes('12345'));
  }
});

test('it plays to the end, and back to now leads into the room', async () => {
  const server = await h.server();
  const posted = [];
  for (const text of ['one', 'two', 'three']) posted.push(await said(server, text));
  const page = await look(server, posted[0].at);
  await texts(page, 1);
  await page.getByLabel('Speed').selectOption('100');
  await page.getByRole('button', { name: 'Play' }).click();
  await page.getByRole('button', { name: 'Pause' }).waitFor();
  await texts(page, 3);
  await page.getByRole('button', { name: 'Play' }).waitFor();
  await page.getByRole('button', { name: 'Back to now' }).click();
  await page.locator('#log .item').nth(2).waitFor();
  await page.waitForURL(`${server.url}/r/then`);
  await page.getByRole('link', { name: 'Look back' }).click();
  assert.deepEqual(await texts(page, 3), ['one', 'two', 'three']);
});

test('earlier messages come when they are asked for, without moving what is read', async () => {
  const server = await h.server();
  for (let count = 1; count <= 130; count += 1) await server.post('then', `number ${count}`, { to: [] });
  const page = await look(server, 'now');
  assert.equal((await texts(page, 100))[0], 'number 31');
  const top = items(page).locator('.text', { hasText: /^number 31$/ });
  await page.evaluate(() => document.querySelector('.look-scroll')?.scrollTo(0, 0));
  const y = (await top.boundingBox())?.y ?? 0;
  await page.getByRole('button', { name: 'Earlier messages' }).click();
  assert.equal((await texts(page, 130))[0], 'number 1');
  const moved = Math.abs(((await top.boundingBox())?.y ?? 0) - y);
  assert.ok(moved < 2, `it moved by ${moved} px`);
  assert.equal(await page.getByRole('button', { name: 'Earlier messages' }).isVisible(), false);
});

test('an address that says no moment is answered with words, and the way back is there', async () => {
  h.allow('refused');
  const server = await h.server();
  await said(server, 'one');
  const page = await look(server, 'yesterday');
  await page.locator('.banner.bad', { hasText: 'This moment cannot be shown' }).waitFor();
  await page.getByRole('button', { name: 'Back to now' }).click();
  await page.locator('#log .item').waitFor();
});

test('looking back has no serious accessibility fault, in the dark and on a phone either', async () => {
  const server = await h.server();
  await said(server, '# Title\n\n- [x] done\n\n| a | b |\n|---|---|\n| 1 | `2` |\n\n```js\ncode\n```\n\n> [link](https://a.example)');
  await said(server, 'two');
  for (const options of [{}, { colorScheme: /** @type {const} */ ('dark'), viewport: { width: 390, height: 800 } }]) {
    const page = await look(server, 'now', options);
    await texts(page, 2);
    await page.evaluate(AXE);
    const faults = await page.evaluate(async () => {
      const { violations } = await /** @type {any} */ (window).axe.run();
      return violations.filter((/** @type {any} */ { impact }) => impact === 'serious' || impact === 'critical')
        .map((/** @type {any} */ { id, nodes }) => `${id}: ${nodes.map((/** @type {any} */ { html }) => html).join(' ')}`);
    });
    assert.deepEqual(faults, []);
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok(wide <= 0, `the page is ${wide} px too wide`);
  }
});
