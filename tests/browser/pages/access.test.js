// Accessibility: axe-core finds nothing in the states that a page can be in, in light and dark, on a desktop and on a phone;
// and what a screen reader is told of an answer that is being written is whole sentences, never single words.
// (The monitor's and the look back's own files have axe look at those pages while busy; here they are empty.)

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';

import { harness } from '../harness.js';
import { answers, fill, item, named, say, status } from './talk.js';

/** @typedef {import('playwright-core').Page} Page */

const h = harness();
const AXE = await readFile(new URL('../node_modules/axe-core/axe.min.js', import.meta.url), 'utf8');
const RULES = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];

/**
 * Fails with what axe has to say. Movements are ended first: a colour on its way to another is no colour to judge. The order
 * of headings is not judged: those in messages are as their writers have them.
 *
 * @param {Page} page
 * @param {string} state
 */
async function sound(page, state) {
  await page.evaluate(AXE);
  const faults = await page.evaluate(async (rules) => {
    for (const animation of document.getAnimations()) {
      if (animation.effect?.getComputedTiming().iterations !== Infinity) animation.finish();
    }
    const { violations } = await /** @type {any} */ (window).axe.run(document, { runOnly: rules, rules: { 'heading-order': { enabled: false } } });
    return violations.map((/** @type {any} */ { id, impact, nodes }) => `${impact} ${id}: ${nodes.map((/** @type {any} */ node) => `${node.target} ${node.any[0]?.message ?? ''}`).join(', ')}`);
  }, RULES);
  assert.deepEqual(faults, [], state);
  assert.equal(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), true, `${state}: wider than its window`);
}

const MARKDOWN = `# A title

Some **bold** and *slanted* words, \`code\`, ~~nothing~~ and [a link](https://elsewhere.example/).

- one
- [x] done
- [ ] not done

1. first
2. second

> quoted

| name | size |
|---|--:|
| moon | 3,474 km |

\`\`\`js
const answer = 42;
\`\`\`

שלום`;

const LOOKS = [
  { scheme: /** @type {const} */ ('light'), device: 'desktop', viewport: { width: 1280, height: 800 } },
  { scheme: /** @type {const} */ ('dark'), device: 'desktop', viewport: { width: 1280, height: 800 } },
  { scheme: /** @type {const} */ ('light'), device: 'phone', viewport: { width: 390, height: 844 } },
  { scheme: /** @type {const} */ ('dark'), device: 'phone', viewport: { width: 390, height: 844 } },
];

for (const { scheme, device, viewport } of LOOKS) {
  const look = { colorScheme: scheme, viewport, bypassCSP: true };

  test(`axe finds no fault in a room: ${scheme}, ${device}`, async () => {
    h.allow('server-gone', 'refused');
    const model = await h.model();
    const server = await h.server({ model });
    const page = await h.page(server, '/r/lobby', { options: { ...look, ...named(server, 'Ann') } });
    await page.getByText('Nothing has been said here yet').waitFor();
    await sound(page, 'an empty room');

    await fill(server, 'lobby', [MARKDOWN, 'and more']);
    await say(page, 'This one fails');
    (await model.asked()).fail(400, 'this is not allowed');
    await status(item(page, 'This one fails')).getByText('no answer').waitFor();
    await say(page, 'This one is answered');
    await (await model.asked()).answer(MARKDOWN);
    await status(item(page, 'This one is answered')).getByText('AI reply').waitFor();
    await say(page, 'This one is stopped');
    const stopped = await model.asked();
    await stopped.say('It was');
    await answers(item(page, 'This one is stopped')).getByText('It was').waitFor();
    await status(item(page, 'This one is stopped')).getByRole('button', { name: 'Stop' }).click();
    await status(item(page, 'This one is stopped')).getByText('stopped', { exact: true }).waitFor();
    await say(page, 'This one is written');
    const answer = await model.asked();
    await answer.say('Once upon a time. There was');
    await say(page, 'This one waits');
    await answers(item(page, 'This one is written')).getByText('There was').waitFor();
    await item(page, 'This one is answered').locator('.msg').first().focus();
    await page.locator('.tools').waitFor();
    await sound(page, 'a conversation with an answer being written');

    await item(page, 'This one fails').locator('.msg').focus();
    await page.keyboard.press('r');
    await page.locator('#quote').waitFor();
    await page.locator('#scroll').evaluate((area) => { area.scrollTop = 0; });
    await page.locator('#to-end').waitFor();
    await sound(page, 'replying, scrolled up');

    for (const [dialog, button] of [['#help', '#help-open'], ['#who-dialog', '#who']]) {
      await page.locator(button ?? '').click();
      await page.locator(`${dialog}[open]`).waitFor();
      await sound(page, `${dialog} open`);
      await page.keyboard.press('Escape');
    }
    await page.locator('#rooms-open').click();
    await page.locator('#rooms-list a').first().waitFor();
    await sound(page, 'the list of rooms open');
    await page.keyboard.press('Escape');

    await server.kill();
    await page.locator('#banner').waitFor();
    await say(page, 'This one is not sent yet');
    await page.locator('#outbox').getByText('not sent yet').nth(1).waitFor();
    await sound(page, 'without a server');
  });

  test(`axe finds no fault in an empty monitor and an empty look back: ${scheme}, ${device}`, async () => {
    const server = await h.server();
    const page = await h.page(server, '/monitor', { options: look });
    await page.getByText('Nothing waits.').waitFor();
    await sound(page, 'an empty monitor');
    await page.goto(`${server.url}/r/lobby?at=now`);
    await page.getByText(/^The room as it was on/).waitFor();
    await sound(page, 'an empty look back');
  });
}

test('a screen reader hears that an answer is being written, then whole sentences, and each once', async () => {
  const model = await h.model();
  const server = await h.server({ model });
  const page = await h.page(server, '/r/lobby', { options: named(server, 'Ann') });
  await page.locator('#connection[data-state=live]').waitFor();
  assert.equal(await page.locator('#log').getAttribute('role'), 'log');
  assert.equal(await page.locator('#log').getAttribute('aria-live'), 'off');
  // Everything that is ever said, as a screen reader would hear it.
  await page.evaluate(() => {
    const heard = /** @type {string[]} */ ([]);
    Object.assign(window, { heard });
    const region = /** @type {HTMLElement} */ (document.getElementById('said'));
    new MutationObserver((records) => {
      for (const { addedNodes, type } of records) {
        if (type === 'characterData') heard.push('words were changed');
        for (const node of addedNodes) heard.push(node.textContent ?? '');
      }
    }).observe(region, { childList: true, characterData: true, subtree: true });
  });
  const heard = () => page.evaluate(() => /** @type {any} */ (window).heard);
  await say(page, 'Tell me.');
  const answer = await model.asked();
  const growing = page.locator('.msg.answer > .text');
  let soFar = '';
  for (const piece of ['One ', 'small ', 'step. ', 'One ', '**giant** ', 'leap']) {
    soFar += piece;
    await answer.say(piece);
    await growing.getByText(soFar.replaceAll('*', '').trim(), { exact: true }).waitFor();
  }
  const bot = await page.locator('.msg.answer .author').textContent();
  assert.deepEqual(await heard(), [`${bot} is writing an answer`, 'One small step.']);
  assert.equal(await page.locator('.msg.answer').getAttribute('aria-busy'), 'true');
  await answer.say(' for us.');
  await answer.finish();
  await status(item(page, 'Tell me.')).getByText('AI reply').waitFor();
  await server.post('lobby', 'And **others** speak.', { to: [] });
  await item(page, 'others').waitFor();
  assert.deepEqual(await heard(), [`${bot} is writing an answer`, 'One small step.', 'One giant leap for us.', 'Program: And others speak.']);
  assert.equal(await page.locator('.msg.answer').getAttribute('aria-busy'), 'false');
  // Nothing else speaks by itself but the lines about the connection, notes and faults.
  const live = await page.locator(':is([aria-live]:not([aria-live=off]), [role=status], [role=alert])').evaluateAll((all) => all.map(({ id }) => id));
  assert.deepEqual(live.sort(), ['banner', 'connection', 'fault', 'note', 'said']);
});
