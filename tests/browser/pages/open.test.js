// How a room opens: at its newest message, however many there are and whatever their heights; and what counts as read then.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { SOAK, harness } from '../harness.js';
import { text } from './reading.js';
import { fill, gap, item, live, visit } from './talk.js';

const h = harness();

/** @typedef {import('playwright-core').Page} Page */

/** @type {Record<string, import('playwright-core').BrowserContextOptions>} */
const SCREENS = {
  'on a desktop': { viewport: { width: 1280, height: 800 } },
  'on a phone': { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true },
};

const ROOMS = [30, 60, 130, SOAK ? 5_000 : 1_000];

/** As `text`, but every third is as long as a bot's answer. @param {number} at */
const words = (at) => (at % 3 === 2 ? `${text(at)}\n\n${`${text(at)}\n\n`.repeat(4)}` : text(at));

for (const [screen, options] of Object.entries(SCREENS)) {
  test(`${screen} a room of ${ROOMS.join(', ')} messages opens at its newest one`, async () => {
    const server = await h.server();
    for (const count of ROOMS) {
      await fill(server, `of-${count}`, Array.from({ length: count }, (_, at) => words(at)));
      const page = await visit(h, server, 'Ann', { path: `/r/of-${count}`, options });
      await item(page, `message ${count - 1}:`).waitFor();
      await settled(page);
      assert.equal(await gap(page), 0, `with ${count} messages`);
      assert.equal(await page.locator('#to-end').isHidden(), true);
    }
  });
}

test('who comes back to more than a screen of unread messages is at the newest one and is led to the first; until then they stay unread', async () => {
  const server = await h.server();
  await fill(server, 'lobby', Array.from({ length: 20 }, (_, at) => words(at)));
  const ann = await visit(h, server, 'Ann');
  await item(ann, 'message 19:').waitFor();
  await ann.waitForFunction(() => localStorage.getItem('antiphon-seen:lobby'));
  await ann.goto(`${server.url}/monitor`);
  await fill(server, 'lobby', Array.from({ length: 60 }, (_, at) => words(20 + at)));
  const first = (await server.messages('lobby')).at(-60);
  const back = async () => {
    await ann.goto(`${server.url}/r/lobby`);
    await live(ann);
    await ann.getByRole('button', { name: '60 new ↑' }).waitFor();
    await settled(ann);
    assert.equal(await gap(ann), 0);
    assert.equal(await ann.title(), '(60) lobby · Antiphon');
  };
  await back();
  await back(); // nothing of it was seen
  await ann.getByRole('button', { name: '60 new ↑' }).click();
  await ann.waitForFunction((id) => document.activeElement?.getAttribute('data-id') === id, first.id);
  await ann.locator('#unread').waitFor({ state: 'hidden' });
  assert.equal(await ann.title(), '(60) lobby · Antiphon', 'seen is the first of them only');
  await ann.getByRole('button', { name: '60 new ↓' }).click();
  await ann.waitForFunction(() => document.title === 'lobby · Antiphon');
  await ann.reload();
  await live(ann);
  await settled(ann);
  assert.equal(await ann.locator('#unread').isHidden(), true);
});

test('the first unread message is found also when it is not among those that the page begins with', async () => {
  const server = await h.server();
  await fill(server, 'lobby', ['read before']);
  const ann = await visit(h, server, 'Ann');
  await ann.waitForFunction(() => localStorage.getItem('antiphon-seen:lobby'));
  await ann.goto(`${server.url}/monitor`);
  await fill(server, 'lobby', Array.from({ length: 700 }, (_, at) => text(at)));
  const first = (await server.messages('lobby')).at(-700);
  await ann.goto(`${server.url}/r/lobby`);
  await ann.getByRole('button', { name: '100+ new ↑' }).click();
  await ann.waitForFunction((id) => document.activeElement?.getAttribute('data-id') === id, first.id);
  await ann.locator(`#m-${first.id} .unread`).waitFor();
  await ann.getByRole('button', { name: '700 new ↓' }).waitFor();
});

test('unread messages can be marked as read without going to the first', async () => {
  const server = await h.server();
  await fill(server, 'lobby', ['read before']);
  const ann = await visit(h, server, 'Ann');
  await ann.waitForFunction(() => localStorage.getItem('antiphon-seen:lobby'));
  await ann.goto(`${server.url}/monitor`);
  await fill(server, 'lobby', Array.from({ length: 40 }, (_, at) => words(at)));
  await ann.goto(`${server.url}/r/lobby`);
  await ann.getByRole('button', { name: 'Mark as read' }).click();
  await ann.waitForFunction(() => document.title === 'lobby · Antiphon');
  await ann.reload();
  await live(ann);
  await settled(ann);
  assert.equal(await ann.locator('#unread').isHidden(), true);
});

/** Waits until nothing of the layout changes from frame to frame. @param {Page} page */
const settled = (page) => page.evaluate(() => new Promise((resolve) => {
  const area = /** @type {HTMLElement} */ (document.getElementById('scroll'));
  let [last, same] = ['', 0];
  const look = () => {
    const now = `${area.scrollHeight} ${area.scrollTop}`;
    same = now === last ? same + 1 : 0;
    last = now;
    if (same < 10) requestAnimationFrame(look);
    else resolve(null);
  };
  look();
}));
