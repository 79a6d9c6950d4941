// The monitor page in Chromium against a real server whose model does what the test says.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';

import { harness } from '../harness.js';

/** @typedef {import('playwright-core').Page} Page */

const h = harness();
const AXE = await readFile(new URL('../node_modules/axe-core/axe.min.js', import.meta.url), 'utf8');

/** @param {Page} page @param {'open' | 'failed' | 'done'} name @param {string} text of a message */
const row = (page, name, text) => page.locator(`#${name}-table tbody tr`, { hasText: text });

/** @param {Page} page the words of the cell under the keyboard's focus, and its table */
const focused = (page) => page.evaluate(() => {
  const row_ = document.activeElement?.closest('tr');
  return row_ ? `${row_.closest('table')?.id}: ${row_.querySelector('.open')?.textContent}` : document.activeElement?.id;
});

test('a message is followed from its claim to the pair that it makes, with its life as a picture', async () => {
  const model = await h.model();
  const server = await h.server({ model });
  const page = await h.page(server, '/monitor');
  await page.getByText('Nothing waits.').waitFor();
  await server.post('dev', 'How high is the moon?');
  const answer = await model.asked();
  const open = row(page, 'open', 'How high is the moon?');
  await open.locator('.why', { hasText: /claimed by in-process|in-process\S+ reads the prompt/ }).waitFor();
  await answer.say('Quite ');
  await open.locator('.state', { hasText: 'writing' }).waitFor();
  await open.locator('.why', { hasText: /^in-process\S+ writes since \d+ s: \d+ pieces?, the first after / }).waitFor();
  assert.equal(await open.locator('.room a').getAttribute('href'), `/r/dev#m-${await open.getAttribute('data-key')}`);

  await open.locator('.open').focus();
  await page.keyboard.press('Enter');
  const life = page.getByRole('dialog', { name: 'How high is the moon?' });
  const growing = life.locator('.track .bar.writing.open');
  await growing.waitFor();
  const wide = (await life.locator('.row-words').textContent()) ?? '';
  await page.waitForFunction((before) => document.querySelector('#life .row-words')?.textContent !== before, wide);
  await answer.say('high.');
  await answer.finish();
  await life.getByText(/^\[human → AI reply: \d+\.\d s\]/).waitFor();
  await life.locator('.said.reply', { hasText: 'Quite high.' }).waitFor();
  assert.equal(await life.locator('.bar.open').count(), 0);
  assert.match((await life.locator('.row-words').textContent()) ?? '', /waiting .*, writing .*; answered$/);
  const { messages } = await server.get('/api/rooms/dev/messages');
  const ended = await life.getByRole('link', { name: 'Look back to then' }).getAttribute('href');
  assert.match(ended ?? '', /^\/r\/dev\?at=[0-9a-f]{16}-00-\d{16}$/);
  assert.equal(await life.getByRole('link', { name: 'Open in its room' }).getAttribute('href'), `/r/dev#m-${messages[0].id}`);
  await page.waitForURL((url) => url.searchParams.get('message') === messages[0].id);

  await page.keyboard.press('Escape');
  await life.waitFor({ state: 'hidden' });
  // The address follows the dialog's `close` event, which comes after the dialog is gone.
  await page.waitForURL((url) => !url.search.includes('message='));
  const done = row(page, 'done', 'How high is the moon?');
  await done.locator('.pair', { hasText: /^\[human → AI reply: \d+\.\d s\]$/ }).waitFor();
  await page.getByText('Nothing waits.').waitFor();
  assert.equal(await page.locator('.queue .figure.hour dd').textContent(), '1');
  await page.locator('.plot svg[aria-label^="Total, "]').first().waitFor();
});

test('a link to a message opens its picture', async () => {
  const server = await h.server();
  const { id } = await server.post('lobby', 'A question to link to');
  const page = await h.page(server, `/monitor?message=${id}`);
  await page.getByRole('dialog', { name: 'A question to link to' }).locator('.track .bar').first().waitFor();
});

test('two monitors show what waits, what is written, what is tried again, given up and answered, as it happens', async () => {
  const model = await h.model();
  const server = await h.server({ model, args: ['--attempts-max', '2', '--retry-base-ms', '4000'] });
  const monitors = [await h.page(server, '/monitor'), await h.page(server, '/monitor')];
  /** @param {'open' | 'failed' | 'done'} list @param {string} text @param {string} cell @param {string | RegExp} words */
  const both = (list, text, cell, words) => Promise.all(monitors.map((page) => row(page, list, text).locator(cell, { hasText: words }).waitFor()));
  await Promise.all(monitors.map((page) => page.getByText('Nothing waits.').waitFor()));

  await server.post('lobby', 'the only question');
  const first = await model.asked();
  await first.say('One ');
  await both('open', 'the only question', '.state', 'writing');
  await first.say('word.');
  await first.finish();
  await both('done', 'the only question', '.pair', /^\[human → AI reply: \d+\.\d s\]$/);

  await server.post('lobby', 'the hopeless question');
  (await model.asked()).fail(500, 'out of memory');
  await both('open', 'the hopeless question', '.state', 'retrying');
  await both('open', 'the hopeless question', '.why', 'out of memory');
  (await model.asked()).fail(500, 'out of memory');
  await both('failed', 'the hopeless question', '.state', 'given up');
  await both('failed', 'the hopeless question', '.why', 'out of memory');

  for (const number of [1, 2, 3, 4, 5, 6, 7]) await server.post('lobby', `question ${number}`);
  await both('open', 'question 7', '.state', 'waiting');
  for (const page of monitors) {
    assert.equal(await page.locator('#open-total').textContent(), '7');
    assert.equal(await page.locator('#failed-table tbody tr').count(), 1);
    assert.equal(await page.locator('#done-table tbody tr').count(), 1);
  }
});

test('what waits is cancelled by keyboard alone, and the focus goes on to the next row', async () => {
  const model = await h.model();
  const server = await h.server({ model });
  for (const name of ['first', 'second', 'third', 'fourth', 'fifth', 'sixth', 'seventh']) await server.post('lobby', `the ${name} question`);
  const page = await h.page(server, '/monitor');
  await row(page, 'open', 'the seventh question').locator('.why', { hasText: /before it in its lane/ }).waitFor();
  await page.locator('#open-table tbody tr .open').first().focus();
  await page.keyboard.press('End');
  assert.equal(await focused(page), 'open-table: the seventh question');
  await page.keyboard.press('ArrowUp');
  await page.keyboard.press('Tab');
  await page.keyboard.press('Tab');
  assert.equal(await page.evaluate(() => document.activeElement?.textContent), 'Cancel');
  await page.keyboard.press('Enter');
  await row(page, 'open', 'the sixth question').waitFor({ state: 'detached' });
  assert.equal(await focused(page), 'open-table: the seventh question');
  await row(page, 'done', 'the sixth question').locator('.pair', { hasText: '[human → no reply: cancelled]' }).waitFor();
  assert.equal(await page.locator('#said').textContent(), 'Cancelled.');
});

test('failures say why; one is retried, one is refused in the words of the server, the rest are retried together', async () => {
  h.allow('refused');
  const model = await h.model();
  const server = await h.server({ model });
  const page = await h.page(server, '/monitor');
  for (const name of ['one', 'two', 'three', 'four']) {
    await server.post('lobby', `question ${name}`);
    (await model.asked()).fail(400, 'this is not allowed');
    await row(page, 'failed', `question ${name}`).locator('.why', { hasText: 'this is not allowed' }).waitFor();
  }
  await row(page, 'failed', 'question one').getByRole('button', { name: /^Retry/ }).click();
  await (await model.asked()).answer('Here it is.');
  await row(page, 'done', 'question one').locator('.pair', { hasText: 'AI reply' }).waitFor();

  const { messages } = await server.get('/api/rooms/lobby/messages');
  const two = messages.find((/** @type {any} */ { text }) => text === 'question two');
  await fetch(`${server.url}/api/messages/${two.id}`, { method: 'DELETE' });
  const hidden = page.locator(`#failed-table tr[data-key="${two.id}"]`);
  await hidden.getByText('(deleted)').waitFor();
  await hidden.getByRole('button', { name: /^Retry/ }).click();
  await hidden.locator('.note', { hasText: 'The message is hidden and cannot be asked again.' }).waitFor();

  await page.getByLabel('Find').fill('question');
  await page.getByRole('button', { name: 'Retry all 2 of these' }).click();
  const asks = page.getByRole('dialog', { name: 'Ask again for 2 messages?' });
  await asks.getByRole('button', { name: 'Retry 2 messages' }).click();
  await asks.getByText('2 messages asked again.').waitFor();
  await asks.getByRole('button', { name: 'Close' }).click();
  await (await model.asked()).answer('Now it fits.');
  await (await model.asked()).answer('This one too.');
  for (const name of ['three', 'four']) await row(page, 'done', `question ${name}`).locator('.pair', { hasText: 'AI reply' }).waitFor();
});

test('room, bot, states and words narrow the lists, and stand in the address', async () => {
  const server = await h.server();
  for (const [room, text] of [['dev', 'about compilers'], ['dev', 'about linkers'], ['family', 'about dinner']]) await server.post(room ?? '', text ?? '');
  const page = await h.page(server, '/monitor');
  for (const text of ['compilers', 'linkers', 'dinner']) await row(page, 'done', text).waitFor();
  await page.getByLabel('Room').selectOption('dev');
  await row(page, 'done', 'dinner').waitFor({ state: 'detached' });
  await page.getByLabel('Find').fill('LINK');
  await row(page, 'done', 'compilers').waitFor({ state: 'detached' });
  assert.equal(await page.locator('#done-count').textContent(), '1 of 3 (2 hidden by the filter)');
  await page.waitForURL((url) => url.search === '?room=dev&q=LINK');
  await page.getByRole('checkbox', { name: /^given up/ }).check();
  await page.getByText('No matches (3 hidden by the filter).').waitFor();
  await page.reload();
  assert.equal(await page.getByRole('checkbox', { name: /^given up/ }).isChecked(), true);
  assert.equal(await page.getByLabel('Room').inputValue(), 'dev');
  await page.getByRole('button', { name: 'Show all' }).click();
  await row(page, 'done', 'dinner').waitFor();
  await page.waitForURL((url) => url.search === '');
});

test('when the server goes, a banner says so and ages stand still; when it is back, all goes on', async () => {
  h.allow('server-gone');
  const model = await h.model();
  const server = await h.server({ model });
  const page = await h.page(server, '/monitor');
  await server.post('lobby', 'Are you there?');
  await model.asked();
  const age = row(page, 'open', 'Are you there?').locator('td.age');
  await age.waitFor();
  await server.kill();
  await page.locator('#banner', { hasText: 'These figures are from before the connection was lost.' }).waitFor();
  const before = await age.textContent();
  await page.waitForFunction((until) => performance.now() > until, await page.evaluate(() => performance.now() + 2_100));
  assert.equal(await age.textContent(), before);
  await server.start();
  await page.locator('#banner').waitFor({ state: 'hidden' });
  await page.locator('#link[data-state=live]').waitFor();
  await row(page, 'open', 'Are you there?').waitFor();
});

test('of more messages than are listed the first 500 are shown, and it says so', async () => {
  const model = await h.model();
  const server = await h.server({ model });
  const page = await h.page(server, '/monitor');
  const posts = Array.from({ length: 510 }, (_, at) => server.post('lobby', `question ${at}`, { to: ['antiphon'] }));
  await Promise.all(posts);
  await page.locator('#open-count', { hasText: '500; the first 500 of 510 are listed' }).waitFor();
  assert.equal(await page.locator('#open-table tbody tr').count(), 500);
  assert.equal(await page.locator('.queue .figure.waiting dd').textContent(), String(510 - Number(await page.locator('.queue .figure.claimed dd').textContent())));
});

for (const scheme of /** @type {const} */ (['light', 'dark'])) {
  for (const [device, viewport] of Object.entries({ desktop: { width: 1440, height: 900 }, phone: { width: 390, height: 844 } })) {
    test(`axe finds no fault: ${scheme}, ${device}`, async () => {
      h.allow('refused');
      const model = await h.model();
      const server = await h.server({ model });
      const page = await h.page(server, '/monitor', { options: { colorScheme: scheme, viewport, bypassCSP: true } });
      await server.post('lobby', 'this one fails');
      (await model.asked()).fail(400, 'this is not allowed');
      await server.post('lobby', 'this one is answered');
      await (await model.asked()).answer('Here it is.');
      await server.post('lobby', 'this one is written');
      await (await model.asked()).say('One ');
      await row(page, 'failed', 'this one fails').waitFor();
      await row(page, 'done', 'this one is answered').waitFor();
      await row(page, 'open', 'this one is written').locator('.state', { hasText: 'writing' }).waitFor();
      await page.getByRole('button', { name: 'Minutes as tables' }).click();
      assert.deepEqual(await faults(page), []);
      assert.equal(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), true, 'the page is wider than its window');
      await row(page, 'done', 'this one is answered').locator('.open').click();
      await page.locator('#life .track .bar').first().waitFor();
      assert.deepEqual(await faults(page), []);
    });
  }
}

/** @param {Page} page @returns {Promise<string[]>} what axe has to say */
async function faults(page) {
  await page.evaluate(AXE);
  return page.evaluate(async () => {
    const { violations } = await /** @type {any} */ (window).axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] });
    return violations.map((/** @type {any} */ { id, nodes }) => `${id}: ${nodes.map((/** @type {any} */ node) => node.target).join(', ')}`);
  });
}
