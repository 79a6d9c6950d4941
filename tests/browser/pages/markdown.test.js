// Texts with tricks, posted into a real room: nothing of them runs or is fetched, they can be read, and code can be copied.
// (The harness fails a test whose page has an error in its console or a report of its policy.)

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { harness, within } from '../harness.js';

/** @typedef {import('playwright-core').Page} Page */

const h = harness();
const NOBODY = { to: [] };

/** The text of a message. @param {Page} page @param {string} id */
const textOf = (page, id) => page.locator(`.msg[data-id="${id}"] .text`);

/** What an element shows, as a tree: the same for the same elements, classes and texts. @param {import('playwright-core').Locator} element */
const tree = (element) => element.evaluate((root) => {
  /** @param {Node} node @returns {string} */
  const words = (node) => {
    if (!(node instanceof Element)) return node.textContent ?? '';
    const attributes = [...node.attributes].map(({ name, value }) => ` ${name}=${value}`).join('');
    return `<${node.tagName}${attributes}>${[...node.childNodes].map(words).join('')}</>`;
  };
  return [...root.childNodes].map(words).join('');
});

const SCRIPT = 'javascript';
const TRICKS = [
  '<script>window.hacked = 1</script>',
  '<img src=x onerror="window.hacked = 1"> <svg onload="window.hacked = 1"> <iframe srcdoc="<script>parent.hacked = 1</script>"></iframe>',
  `[click](${SCRIPT}:window.hacked=1) [click](JaVa&#10;Script:window.hacked=1) <${SCRIPT}:window.hacked=1> [x](data:text/html,<script>1</script>)`,
  '![image](https://elsewhere.example/pixel.png) ![image](//elsewhere.example/x.png) https://elsewhere.example/bare',
  '[a](https://elsewhere.example/"onmouseover="window.hacked=1 "title\\" onclick=window.hacked=1")',
  '```"><script>window.hacked=1</script>\ncode\n```',
  '| <b onclick=window.hacked=1>a</b> | b |\n|---|---|\n| <script>window.hacked=1</script> | `<i>` |',
  `${'> '.repeat(200)}deep\n\n${'- '.repeat(200)}deep\n\n${'*a **b '.repeat(300)}${'c** d* '.repeat(300)}`,
  '\u202eturned around\u2066 by marks\n\n<style>body{display:none}</style>\n\n<meta http-equiv=refresh content=0>\n\n<base href=//elsewhere.example>',
];

test('scripts, handlers, odd links and images in messages are words, for everybody in the room and after a reload', async () => {
  const server = await h.server();
  const page = await h.page(server, '/r/tricks');
  /** @type {string[]} */
  const hosts = [];
  page.on('request', (request) => void hosts.push(new URL(request.url()).host));
  const ids = [];
  for (const text of TRICKS) ids.push((await server.post('tricks', text, NOBODY)).id);
  for (const reload of [false, true]) {
    if (reload) await page.reload();
    await textOf(page, ids[ids.length - 1]).waitFor();
    assert.equal(await textOf(page, ids[0]).innerText(), TRICKS[0]);
    const found = await page.evaluate(() => ({
      hacked: 'hacked' in window,
      elements: document.querySelectorAll('.text :is(script, img, svg, iframe, style, meta, base, b, i, object, embed, form, input)').length,
      attributes: [...document.querySelectorAll('.text *')].flatMap((element) => element.getAttributeNames()).filter((name) => /^on|^style$|^src/.test(name)),
      links: [...document.querySelectorAll('.text a')].map((link) => [link.getAttribute('href'), link.getAttribute('target'), link.getAttribute('rel')]),
      seen: document.body.offsetHeight,
    }));
    assert.equal(found.hacked, false);
    assert.equal(found.elements, 0);
    assert.deepEqual(found.attributes, []);
    assert.ok(found.seen > 0);
    assert.ok(found.links.length >= 2);
    for (const [href, target, rel] of found.links) {
      assert.match(href ?? '', /^https:\/\/elsewhere\.example\//);
      assert.equal(target, '_blank');
      assert.equal(rel, 'noopener noreferrer nofollow');
    }
  }
  assert.deepEqual(hosts.filter((host) => host !== '' && host !== new URL(server.url).host), [], 'nothing is asked of another host');
});

test('right-to-left text goes its way, block by block, and neither code in it nor its neighbours do', async () => {
  const server = await h.server();
  const text = 'שלום `git push --force` לכולם\n\nenglish again\n\n- אחת\n- two\n\n```\nlet x = "שלום";\n```';
  const { id } = await server.post('tricks', text, NOBODY);
  const page = await h.page(server, '/r/tricks');
  await textOf(page, id).waitFor();
  const directions = await textOf(page, id).evaluate((root) =>
    Object.fromEntries(['p:nth-of-type(1)', 'p:nth-of-type(1) code', 'p:nth-of-type(2)', 'li:nth-of-type(1)', 'li:nth-of-type(2)', 'pre'].map((what) => {
      const found = root.querySelector(what);
      return [what, found && getComputedStyle(found).direction];
    })));
  assert.deepEqual(directions, {
    'p:nth-of-type(1)': 'rtl', 'p:nth-of-type(1) code': 'ltr', 'p:nth-of-type(2)': 'ltr', 'li:nth-of-type(1)': 'rtl', 'li:nth-of-type(2)': 'ltr', pre: 'ltr',
  });
  const [mark, item] = await textOf(page, id).evaluate((root) => {
    const [list, first] = [root.querySelector('ul')?.getBoundingClientRect(), root.querySelector('li')?.getBoundingClientRect()];
    return [list?.right ?? 0, first?.right ?? 0];
  });
  assert.ok(mark - item > 10, 'the mark of a right-to-left item has its space at the right');
});

const LINES = Array.from({ length: 200 }, (_, index) => `\tif (line === ${index}) return "<b>&amp;</b>"; // ${'wide '.repeat(index === 7 ? 60 : 2)}`);
const CODE = LINES.join('\n');

test('a code block of 200 lines scrolls within itself, and Copy copies exactly its code', async () => {
  const server = await h.server();
  const { id } = await server.post('tricks', `look:\n\`\`\`js\n${CODE}\n\`\`\`\ndone`, NOBODY);
  const context = await h.context();
  await context.grantPermissions(['clipboard-read', 'clipboard-write'], { origin: server.url });
  const page = await h.page(server, '/r/tricks', { in: context });
  const code = textOf(page, id).locator('pre');
  await code.waitFor();
  const size = await code.evaluate((pre) => ({ height: pre.clientHeight, all: pre.scrollHeight, width: pre.clientWidth, wide: pre.scrollWidth, page: document.documentElement.scrollWidth - innerWidth }));
  assert.ok(size.all > size.height * 3, 'it is longer than it shows');
  assert.ok(size.wide > size.width, 'and wider');
  assert.ok(size.page <= 0, 'the page is not');
  const copy = textOf(page, id).getByRole('button', { name: 'Copy' });
  await copy.focus();
  await page.keyboard.press('Enter');
  await textOf(page, id).getByRole('button', { name: 'Copied' }).waitFor();
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), CODE);
  await copy.waitFor(); // it says Copy again
  await code.focus();
  await page.keyboard.press('PageDown');
  await page.waitForFunction((pre) => pre !== null && pre.scrollTop > 0, await code.elementHandle());
});

test('Copy works also where the page came by plain HTTP and has no clipboard of its own', async () => {
  const server = await h.server();
  const { id } = await server.post('tricks', '```\nplain code\n```', NOBODY);
  const context = await h.context();
  await context.addInitScript(() => Object.defineProperty(navigator, 'clipboard', { value: undefined }));
  const page = await h.page(server, '/r/tricks', { in: context });
  await textOf(page, id).getByRole('button', { name: 'Copy' }).click();
  await textOf(page, id).getByRole('button', { name: 'Copied' }).waitFor();
  await page.locator('#text').focus();
  await page.keyboard.press('Control+V');
  assert.equal(await page.locator('#text').inputValue(), 'plain code');
});

const REPLY = '# Plan\n\nFirst *some **words*** and `co de`.\n\n- one\n- two [a](https://a.example/x)\n  1. nested\n\n| a | b |\n|---|--:|\n| 1 | 2 |\n\n```js\nconst x = "<b>";\n```\n\nThe *end*.';

test('an answer that comes in pieces is shown as it grows, keeps what is there, and ends as a reload shows it', async () => {
  const model = await h.model();
  const server = await h.server({ model });
  const page = await h.page(server, '/r/growing');
  await server.post('growing', 'Make a plan.');
  const answer = await model.asked();
  const text = page.locator('.msg.answer .text');
  const list = REPLY.indexOf('- two');
  await answer.say(REPLY.slice(0, list));
  await text.locator('li', { hasText: 'one' }).waitFor();
  const title = await text.locator('h3').elementHandle();
  const pieces = REPLY.slice(list).match(/[^]{1,3}/gu) ?? [];
  for (const piece of pieces) await answer.say(piece);
  await text.locator('p', { hasText: 'The end' }).waitFor();
  await answer.finish();
  await page.locator('.msg.answer.whole').waitFor();
  assert.ok(await title?.evaluate((element) => element.isConnected), 'what was painted first is still the same element');
  const grown = await tree(text);
  await page.reload();
  await page.locator('.msg.answer.whole').waitFor();
  assert.equal(await tree(text), grown);
  assert.match(grown, /<CODE>const x = "<b>";<\/>/);
});

test('a quarter of a megabyte of marks does not freeze the page while it streams in', async () => {
  const model = await h.model();
  const server = await h.server({ model });
  const page = await h.page(server, '/r/growing');
  await server.post('growing', 'Say much.');
  const answer = await model.asked();
  await page.evaluate(() => {
    const tasks = /** @type {number[]} */ ([]);
    Object.assign(window, { tasks });
    new PerformanceObserver((list) => tasks.push(...list.getEntries().map(({ duration }) => duration))).observe({ type: 'longtask' });
  });
  // Numbered: an answer that only repeats itself is cut off.
  const chapter = (/** @type {number} */ n) => `## Title ${n}\n\n${'some **bold *words*** and `code` '.repeat(8)}\n\n- a\n  - b\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n`;
  const whole = Array.from({ length: Math.floor((250 * 1024) / chapter(1_000).length) }, (_, n) => chapter(n)).join('');
  const send = async () => {
    for (let at = 0; at < whole.length; at += 8_192) await answer.say(whole.slice(at, at + 8_192));
    await answer.say('\nTHE END');
  };
  await within(send(), 'the answer is taken');
  await page.waitForFunction(() => document.querySelector('.msg.answer .text')?.textContent?.endsWith('THE END'));
  const { longest, elements } = await page.evaluate(() => ({
    longest: Math.max(0, .../** @type {any} */ (window).tasks),
    elements: document.querySelectorAll('.msg.answer .text *').length,
  }));
  assert.ok(longest < 5_000, `the longest task took ${longest} ms`); // on a machine that does other things as well
  assert.ok(elements < 30_000, `${elements} elements`);
});
