// Both pages with the keyboard alone: everything can be reached and done, the focus can be seen, and it is never lost to the
// body of the page after something was done.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { harness } from '../harness.js';
import { answers, fill, focus, item, live, named, shown, status, visit } from './talk.js';

/** @typedef {import('playwright-core').Page} Page */

const h = harness();

/** Fails unless the focus is on something whose ring (or, for the composer, whose frame) is drawn and in sight. @param {Page} page */
async function focusShows(page) {
  const fault = await page.evaluate(() => {
    const at = document.activeElement;
    if (!(at instanceof HTMLElement) || at === document.body) return 'nothing has the focus';
    const [{ outlineStyle, outlineWidth }, box] = [getComputedStyle(at), at.getBoundingClientRect()];
    if (box.bottom < 0 || box.top > innerHeight || box.right < 0 || box.left > innerWidth) return 'what has the focus is out of sight';
    if (outlineStyle !== 'none' && parseFloat(outlineWidth) > 0) return '';
    const frame = at.closest('.box, .state-pill');
    if (!frame) return 'the focus cannot be seen';
    const lit = () => `${getComputedStyle(frame).borderColor} ${getComputedStyle(frame).outlineStyle}`;
    frame.getAnimations().forEach((animation) => animation.finish());
    const on = lit();
    at.blur();
    frame.getAnimations().forEach((animation) => animation.finish());
    const off = lit();
    at.focus();
    return on === off ? 'the frame shows no focus' : '';
  });
  assert.equal(fault, '', `at ${await focus(page)}`);
}

/** Tab by Tab through the page from where it is until `until` has the focus. @param {Page} page @param {string} until @param {string} [key] @returns {Promise<string[]>} the stops, the last included */
async function tabTo(page, until, key = 'Tab') {
  /** @type {string[]} */
  const stops = [];
  while (stops.length < 80) {
    await page.keyboard.press(key);
    stops.push(await focus(page));
    await focusShows(page);
    if (await page.evaluate((selector) => Boolean(document.activeElement?.matches(selector)), until)) return stops;
  }
  throw new Error(`${until} was not reached: ${stops.join(' → ')}`);
}

/** @param {Page} page @param {string} wanted as `focus` says it */
const focusIs = async (page, wanted) => assert.equal(await focus(page), wanted);

/** The id of the message that has the focus. @param {Page} page */
const focusedMessage = (page) => page.evaluate(() => document.activeElement?.closest('.msg')?.getAttribute('data-id'));

test('a first visit: from the field, or the link that skips to it, to the first answer, with a name on the way', async () => {
  const model = await h.model();
  const server = await h.server({ model });
  const page = await h.page(server, '/r/lobby');
  await live(page);
  await focusIs(page, '#text');
  await tabTo(page, 'a.skip', 'Shift+Tab');
  await page.keyboard.press('Enter');
  await focusIs(page, '#text');
  await focusShows(page);
  await page.keyboard.type('Hello,');
  await page.keyboard.press('Shift+Enter');
  await page.keyboard.type('who are you?');
  await page.keyboard.press('Enter');
  await page.locator('#who-dialog[open]').waitFor();
  await focusIs(page, '#name');
  await page.keyboard.press('Escape');
  await page.locator('#who-dialog[open]').waitFor({ state: 'detached' });
  await focusIs(page, '#text');
  assert.equal(await page.locator('#text').inputValue(), 'Hello,\nwho are you?');
  await page.keyboard.press('Enter');
  await page.keyboard.type('Ann');
  await page.keyboard.press('Enter');
  await focusIs(page, '#text');
  const answer = await model.asked();
  assert.equal(answer.question, 'Ann: Hello,\nwho are you?');
  assert.equal(await page.locator('#text').inputValue(), '');
  await answer.answer('I am a bot.');
  await answers(item(page, 'who are you?')).getByText('I am a bot.').waitFor();
  await focusIs(page, '#text');
});

test('the stops of Tab on the room page, in their order', async () => {
  const server = await h.server();
  await server.post('lobby', 'Something', { to: [] });
  const page = await visit(h, server, 'Ann');
  await item(page, 'Something').waitFor();
  await focusIs(page, '#text');
  const back = await tabTo(page, 'a.skip', 'Shift+Tab');
  assert.deepEqual(back, ['#log', '#help-open', 'a.button: Monitor', '#look-back', '#rooms-open', 'a.brand: Antiphon', 'a.skip: Skip to what you want to say']);
  const forth = await tabTo(page, '#send');
  assert.deepEqual(forth, [...back.reverse().slice(1), '#text', '#who', '#to', '#send']);
});

test('Esc stops one\'s own answer, Arrow up brings one\'s last words back; Stop and Retry are buttons too', async () => {
  const model = await h.model();
  const server = await h.server({ model });
  const page = await visit(h, server, 'Ann');
  await page.locator('#text').focus();
  await page.keyboard.type('Tell me all.');
  await page.keyboard.press('Enter');
  const first = await model.asked();
  await first.say('It began');
  await answers(item(page, 'Tell me all.')).getByText('It began').waitFor();
  await page.keyboard.press('Escape');
  await first.gone();
  await status(item(page, 'Tell me all.')).getByText('stopped', { exact: true }).waitFor();
  await focusIs(page, '#text');
  await page.keyboard.press('ArrowUp');
  assert.equal(await page.locator('#text').inputValue(), 'Tell me all.');
  await page.keyboard.press('End');
  await page.keyboard.press('Control+Backspace');
  await page.keyboard.press('Control+Backspace');
  await page.keyboard.type('little.');
  await page.keyboard.press('Enter');
  (await model.asked()).fail(400, 'no');
  await status(item(page, 'Tell me little.')).getByText('no answer').waitFor();
  await tabTo(page, '#log', 'Shift+Tab');
  await page.keyboard.press('ArrowUp');
  await tabTo(page, '.status [data-act=retry]');
  await page.keyboard.press('Enter');
  const second = await model.asked();
  await status(item(page, 'Tell me little.')).getByRole('button', { name: 'Stop' }).waitFor();
  assert.notEqual(await focus(page), 'body', 'after Retry is gone');
  await tabTo(page, '.status [data-act=stop]');
  await second.say('Once ');
  await page.keyboard.press('Enter');
  await second.gone();
  await status(item(page, 'Tell me little.')).getByText('stopped', { exact: true }).waitFor();
  assert.notEqual(await focus(page), 'body', 'after Stop is gone');
  await page.keyboard.press('/');
  await focusIs(page, '#text');
  assert.equal(await page.locator('#text').inputValue(), '');
});

test('in the log arrows go from message to message; r, c, l and the tools act on it', async () => {
  const server = await h.server();
  const [one, two] = await fill(server, 'lobby', ['first message', 'second message']);
  const page = await h.page(server, '/r/lobby', { options: { ...named(server, 'Program'), permissions: ['clipboard-read', 'clipboard-write'] } });
  await item(page, 'second message').waitFor();
  const all = await server.messages('lobby');
  assert.deepEqual(new Set(all.map(({ id }) => id)), new Set([one.id, two.id]));
  const [above, below] = all;
  await tabTo(page, '#log', 'Shift+Tab');
  await page.keyboard.press('ArrowUp');
  assert.equal(await focusedMessage(page), below.id);
  await focusShows(page);
  await page.keyboard.press('ArrowUp');
  assert.equal(await focusedMessage(page), above.id);
  await page.keyboard.press('ArrowUp');
  assert.equal(await focusedMessage(page), above.id, 'there is nothing above');
  await page.keyboard.press('ArrowDown');
  assert.equal(await focusedMessage(page), below.id);
  await page.keyboard.press('c');
  await page.getByText('Copied.').waitFor();
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), below.text);
  await page.keyboard.press('l');
  await page.getByText('The link is copied.').waitFor();
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), `${server.url}/r/lobby#m-${below.id}`);
  assert.equal(await focusedMessage(page), below.id);

  await page.keyboard.press('r');
  await focusIs(page, '#text');
  await page.locator('#quote', { hasText: below.text }).waitFor();
  await page.keyboard.press('Escape');
  await page.locator('#quote').waitFor({ state: 'hidden' });
  await focusIs(page, '#text');

  await tabTo(page, '#log', 'Shift+Tab');
  await page.keyboard.press('ArrowUp');
  const stops = await tabTo(page, '[data-act=take-back]');
  assert.deepEqual(stops, ['button.tool: Reply', 'button.tool: Copy', 'button.tool: Link', 'button.tool: Delete']);
  await page.keyboard.press('Enter');
  await focusIs(page, 'button.tool: Delete for everyone?');
  await page.keyboard.press('Enter');
  await item(page, 'message deleted').waitFor();
  assert.notEqual(await focus(page), 'body', 'after the tools are gone');
});

test('code is copied, history is loaded, the pill leads down', async () => {
  const server = await h.server();
  await fill(server, 'lobby', Array.from({ length: 120 }, (_, at) => `message ${at}`));
  await server.post('lobby', 'See:\n\n```js\nconst answer = 42;\n```', { to: [] });
  const page = await h.page(server, '/r/lobby', { options: { ...named(server, 'Ann'), permissions: ['clipboard-read', 'clipboard-write'] } });
  await live(page);
  await page.locator('[data-copy]').waitFor();
  // History also comes by itself as the focus goes up: it is held until the button is reached.
  let release = () => {};
  const reached = new Promise((resolve) => { release = () => resolve(null); });
  await page.route((url) => url.searchParams.has('before'), async (route) => {
    await reached;
    await route.continue();
  });
  await tabTo(page, '#older-load', 'Shift+Tab');
  await page.keyboard.press('Enter');
  await page.getByRole('button', { name: 'Loading …' }).waitFor();
  release();
  await page.getByText('This is the beginning of lobby.').waitFor();
  assert.equal(await page.locator('#log .item').count(), 121);
  assert.notEqual(await focus(page), 'body', 'after the button for history is gone');
  await tabTo(page, '[data-copy]');
  await page.keyboard.press('Enter');
  await page.getByRole('button', { name: 'Copied' }).waitFor();
  assert.equal((await page.evaluate(() => navigator.clipboard.readText())).trim(), 'const answer = 42;');
  await focusShows(page);
  await tabTo(page, '#log', 'Shift+Tab');
  await page.keyboard.press('Home');
  await page.waitForFunction(() => document.getElementById('scroll')?.scrollTop === 0);
  await page.keyboard.press('/');
  await focusIs(page, '#text');
  assert.deepEqual(await tabTo(page, '#to-end', 'Shift+Tab'), ['#to-end']);
  await page.keyboard.press('Enter');
  await page.locator('#to-end').waitFor({ state: 'hidden' });
  await focusIs(page, '#text');
});

test('help, other rooms and one\'s name open, close and give the focus back', async () => {
  const server = await h.server();
  await server.post('dev', 'In the other room', { to: [] });
  const page = await visit(h, server, 'Ann');
  await tabTo(page, '#help-open', 'Shift+Tab');
  await page.keyboard.press('Enter');
  await page.locator('#help[open]').waitFor();
  await focusIs(page, 'button.button: Close');
  await page.keyboard.press('Escape');
  await page.locator('#help[open]').waitFor({ state: 'detached' });
  await focusIs(page, '#help-open');
  await page.keyboard.press('?');
  await page.locator('#help[open]').waitFor();
  await page.keyboard.press('Enter');
  await page.locator('#help[open]').waitFor({ state: 'detached' });
  await focusIs(page, '#help-open');

  await tabTo(page, '#who');
  await page.keyboard.press('Enter');
  await focusIs(page, '#name');
  await page.keyboard.type('Anna');
  await tabTo(page, '#who-form .button:not(.quiet)');
  await page.keyboard.press('Enter');
  await page.locator('#who-name', { hasText: 'Anna' }).waitFor();
  await focusIs(page, '#text');

  await tabTo(page, '#rooms-open', 'Shift+Tab');
  await page.keyboard.press('Enter');
  await page.locator('#rooms-list a', { hasText: 'dev' }).waitFor();
  await page.keyboard.press('Escape');
  await page.locator('#rooms').waitFor({ state: 'hidden' });
  await focusIs(page, '#rooms-open');
  await page.keyboard.press('Enter');
  await page.waitForFunction(() => document.activeElement?.id === 'rooms-search');
  await page.keyboard.type('de');
  await tabTo(page, '#rooms-list a');
  await page.keyboard.press('Enter');
  await page.waitForURL(/\/r\/dev$/);
  await item(page, 'In the other room').waitFor();
  await page.waitForFunction(() => document.activeElement?.id === 'text');
  await tabTo(page, '#rooms-open', 'Shift+Tab');
  await page.keyboard.press('Enter');
  await page.locator('#rooms-list a', { hasText: 'dev' }).waitFor();
  await page.waitForFunction(() => document.activeElement?.id === 'rooms-search');
  await page.keyboard.type('brand-new');
  await page.keyboard.press('Enter');
  await page.waitForURL(/\/r\/brand-new$/);
  await live(page);
  assert.deepEqual(await shown(page), []);
});

test('the monitor: tables, filters, pictures and deeds', async () => {
  const model = await h.model();
  const server = await h.server({ model });
  const page = await h.page(server, '/monitor');
  await server.post('lobby', 'this one fails');
  (await model.asked()).fail(400, 'this is not allowed');
  const failed = page.locator('#failed-table tbody tr', { hasText: 'this one fails' });
  await failed.waitFor();
  await server.post('lobby', 'this one is written');
  const answer = await model.asked();
  await answer.say('One ');
  await page.locator('#open-table tbody tr', { hasText: 'this one is written' }).waitFor();

  await page.keyboard.press('Tab');
  await focusIs(page, 'a.skip: Skip to the messages in flight');
  await page.keyboard.press('Enter');
  await tabTo(page, '#open-table .open');
  await page.keyboard.press('Enter');
  await page.locator('#life[open] .track .bar').first().waitFor();
  await page.keyboard.press('Tab');
  await focusShows(page);
  assert.ok(await page.evaluate(() => document.activeElement?.closest('#life')), 'the focus stays in the dialog');
  await page.keyboard.press('Escape');
  await page.locator('#life[open]').waitFor({ state: 'detached' });
  await focusIs(page, 'button.open: this one is written');
  await answer.say('two.');
  await answer.finish();
  await page.locator('#done-table tbody tr', { hasText: 'this one is written' }).waitFor();
  assert.notEqual(await focus(page), 'body', 'when the row with the focus has moved to another table');

  await tabTo(page, '#failed-table button:not(.open)');
  await page.keyboard.press('Enter');
  await (await model.asked()).answer('Now it fits.');
  await page.locator('#done-table tbody tr', { hasText: 'this one fails' }).waitFor();
  assert.notEqual(await focus(page), 'body', 'when the last failure is gone');

  await tabTo(page, '#filter-text', 'Shift+Tab');
  await page.keyboard.type('written');
  await page.locator('#done-count', { hasText: '1 of 2' }).waitFor();
  await focusIs(page, '#filter-text');
  await tabTo(page, '.state-pill input');
  await page.keyboard.press('Space');
  await focusShows(page);
  await tabTo(page, '#filters button[type=reset]');
  await page.keyboard.press('Enter');
  await page.locator('#done-table tbody tr', { hasText: 'this one fails' }).waitFor();
  await focusIs(page, '#filter-text');
  await tabTo(page, '#as-tables', 'Shift+Tab');
  await page.keyboard.press('Enter');
  await page.locator('#queue-cards table').first().waitFor();
  await focusIs(page, '#as-tables');
});
