// The menu of rooms, addresses that are none, names after `@`, and small things of the room page.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { harness } from '../harness.js';
import { answers, fill, item, live, say, visit } from './talk.js';

const h = harness();

/** @typedef {import('playwright-core').Page} Page */

const PHONE = { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true };

/** What the menu lists. @param {Page} page */
const listed = (page) => page.locator('#rooms-list li a').evaluateAll((links) => links.map((link) => link.textContent?.replace(/(just now|\d+ s ago)$/, '')));

test('Ctrl+K opens the rooms; Enter goes to the first match, the arrows to any, and only the last row makes one', async () => {
  const server = await h.server();
  for (const room of ['kitchen', 'fresh1', 'fresh2']) await server.post(room, 'hello', { to: [] });
  const ann = await visit(h, server, 'Ann');
  await ann.keyboard.press('Control+k');
  await ann.locator('#rooms-list li').nth(2).waitFor();
  await ann.keyboard.type('fres');
  await ann.waitForFunction(() => document.querySelectorAll('#rooms-list li').length === 3);
  assert.deepEqual(await listed(ann), ['fresh2', 'fresh1', 'Create room “fres”']);
  await ann.keyboard.press('ArrowDown');
  await ann.keyboard.press('ArrowDown');
  await ann.keyboard.press('Enter');
  await ann.waitForURL('**/r/fresh1');
  await live(ann);
  await ann.keyboard.press('Control+k');
  await ann.locator('#rooms-list li').nth(2).waitFor();
  await ann.keyboard.type('fres');
  await ann.keyboard.press('Enter');
  await ann.waitForURL('**/r/fresh2');
  await live(ann);
  await ann.keyboard.press('Control+k');
  await ann.locator('#rooms-list li').nth(2).waitFor();
  await ann.keyboard.type('My Room');
  assert.deepEqual(await listed(ann), ['Create room “My-Room”']);
  await ann.keyboard.press('Enter');
  await ann.waitForURL('**/r/My-Room');
});

test('an address that no room can have says so and leads to the nearest', async () => {
  const server = await h.server();
  const ann = await h.page(server, '/r/my%20room');
  await ann.getByRole('heading', { name: 'No room can have this name' }).waitFor();
  assert.equal(await ann.locator('#say').isVisible(), false);
  await ann.getByRole('link', { name: 'Go to my-room' }).click();
  await live(ann);
  const bob = await h.page(server, '/r/€');
  await bob.getByRole('link', { name: 'Go to the lobby' }).click();
  await live(bob);
});

test('a name after @ is completed, and its bot is asked with this message alone', async () => {
  const server = await h.server({ settings: '[[bots]]\nname = "ada"\nmodel = "builtin"\n\n[[bots]]\nname = "poet"\nmodel = "builtin"\n' });
  const ann = await visit(h, server, 'Ann');
  await ann.locator('#to option', { hasText: 'Ask poet' }).waitFor({ state: 'attached' });
  await ann.locator('#text').pressSequentially('@p');
  await ann.getByRole('option', { name: '@poet' }).waitFor();
  await ann.keyboard.press('Enter');
  assert.equal(await ann.locator('#text').inputValue(), '@poet ');
  assert.equal(await ann.locator('#to').inputValue(), 'poet');
  await ann.locator('#text').pressSequentially('write a line');
  await ann.keyboard.press('Enter');
  await answers(item(ann, 'write a line')).getByText('poet', { exact: true }).waitFor();
  assert.equal(await ann.locator('#to').inputValue(), '');
  await say(ann, 'Thank you.');
  await answers(item(ann, 'Thank you.')).getByText('ada', { exact: true }).waitFor();
});

test('on a phone Enter makes a new line, and the button sends', async () => {
  const server = await h.server();
  const ann = await visit(h, server, 'Ann', { options: PHONE });
  await ann.locator('#text').pressSequentially('one');
  await ann.locator('#text').press('Enter');
  await ann.locator('#text').pressSequentially('two');
  assert.equal(await ann.locator('#text').inputValue(), 'one\ntwo');
  await ann.getByRole('button', { name: 'Send' }).tap();
  await item(ann, 'two').waitFor();
});

test('the bar of a message is not over its words', async () => {
  const server = await h.server();
  await fill(server, 'lobby', ['first']);
  for (const text of ['a long line '.repeat(30), 'another line '.repeat(30)]) await server.post('lobby', text, { to: [] });
  const ann = await visit(h, server, 'Ann');
  for (const at of [0, 1, 2]) {
    await ann.locator('#log .msg > .text').nth(at).hover();
    const apart = await ann.locator('#log .msg').nth(at).evaluate((message) => {
      const range = document.createRange();
      range.selectNodeContents(/** @type {Element} */ (message.querySelector('.text')));
      const [words, tools] = [range.getBoundingClientRect(), message.querySelector('.tools')?.getBoundingClientRect()];
      return tools !== undefined && tools.bottom <= words.top + 4; // the height of a line has a little air above its letters
    });
    assert.equal(apart, true, `message ${at}`);
  }
});

test('the bar goes back to the message with the focus when the pointer leaves', async () => {
  const server = await h.server();
  await fill(server, 'lobby', ['first', 'second']);
  const ann = await visit(h, server, 'Ann');
  const messages = ann.locator('#log .msg');
  await messages.nth(0).focus();
  await messages.nth(1).hover();
  await messages.nth(1).locator('.tools').waitFor();
  await ann.mouse.move(600, 10);
  await messages.nth(0).locator('.tools').waitFor();
});

test('a room on paper has all of its messages, light, and nothing to click on', async () => {
  const server = await h.server();
  await fill(server, 'lobby', Array.from({ length: 60 }, (_, at) => `message ${at}`));
  const ann = await visit(h, server, 'Ann', { options: { colorScheme: 'dark' } });
  await item(ann, 'message 59').waitFor();
  await ann.emulateMedia({ media: 'print', colorScheme: 'dark' });
  assert.equal(await ann.locator('#say').isVisible(), false);
  assert.equal(await ann.evaluate(() => document.documentElement.scrollHeight > 2_000), true, 'the room is as long as its messages');
  assert.equal(await ann.evaluate(() => getComputedStyle(document.body).color), 'rgb(30, 31, 36)');
});

test('a file that is pasted is not taken, and the page says so', async () => {
  const server = await h.server();
  const ann = await visit(h, server, 'Ann');
  await ann.locator('#text').evaluate((field) => {
    const data = new DataTransfer();
    data.items.add(new File(['x'], 'cat.png', { type: 'image/png' }));
    field.dispatchEvent(new ClipboardEvent('paste', { clipboardData: data, bubbles: true, cancelable: true }));
  });
  await ann.locator('#note', { hasText: 'Files cannot be sent here.' }).waitFor();
});

test('without JavaScript the page says what it needs, and shows nothing that does not work', async () => {
  const server = await h.server();
  const ann = await h.page(server, '/r/lobby', { options: { javaScriptEnabled: false } });
  await ann.locator('p.noscript', { hasText: 'This page needs JavaScript.' }).waitFor();
  assert.equal(await ann.locator('#text').isVisible(), false);
});
