// What tests of the room page say and look at, in the words of the page: visitors with names, what they write, and what
// stands in the log.

/** @typedef {import('playwright-core').Page} Page */
/** @typedef {import('playwright-core').Locator} Locator */
/** @typedef {import('../harness.js').Server} Server */

/**
 * Options of a browser whose reader has chosen a name.
 * @param {Server} server
 * @param {string} name
 * @returns {import('playwright-core').BrowserContextOptions}
 */
export const named = (server, name) => ({
  storageState: { cookies: [], origins: [{ origin: server.url, localStorage: [{ name: 'antiphon-name', value: name }] }] },
});

/**
 * The page of a room, live, in a browser of its own.
 * @param {ReturnType<typeof import('../harness.js').harness>} h
 * @param {Server} server
 * @param {string} name
 * @param {{ path?: string, options?: import('playwright-core').BrowserContextOptions }} [more]
 */
export async function visit(h, server, name, { path = '/r/lobby', options } = {}) {
  const page = await h.page(server, path, { options: { ...named(server, name), ...options } });
  await live(page);
  return page;
}

/** @param {Page} page */
export const live = (page) => page.locator('#connection[data-state=live]').waitFor();

/** @param {Page} page @param {string} text */
export async function say(page, text) {
  await page.locator('#text').fill(text);
  // Where the keyboard is on the screen Enter is a new line.
  if (await page.evaluate(() => matchMedia('(any-pointer: fine)').matches)) await page.locator('#text').press('Enter');
  else await page.locator('#send').tap();
}

/** A message with all that stands under it. @param {Page} page @param {string} text of the message itself */
export const item = (page, text) => page.locator('#log .item').filter({ has: page.locator('> .msg:not(.answer) > .text', { hasText: text }) });

/** The answers under a message that stand open. @param {Locator} of */
export const answers = (of) => of.locator('> .msg.answer');

/** The line below a message. @param {Locator} of */
export const status = (of) => of.locator('> .status');

/** Everything that stands in the log and below it, from top to bottom. @param {Page} page @returns {Promise<string[]>} */
export const shown = (page) => page.locator('#log .msg > .text, #outbox .msg > .text').allTextContents();

/**
 * Waits until the page shows so many texts; the caller compares them.
 * @param {Page} page
 * @param {number} count
 */
export async function showing(page, count) {
  await page.waitForFunction((wanted) => document.querySelectorAll('#log .msg > .text').length >= wanted, count);
  return shown(page);
}

/**
 * Posts many messages, in their order, that nobody answers.
 * @param {Server} server
 * @param {string} room
 * @param {string[]} texts
 * @returns {Promise<any[]>} what the server said to each
 */
export async function fill(server, room, texts) {
  const posted = [];
  const AT_ONCE = 100;
  for (let from = 0; from < texts.length; from += AT_ONCE) {
    posted.push(...await Promise.all(texts.slice(from, from + AT_ONCE).map((text) => server.post(room, text, { to: [] }))));
  }
  return posted;
}

/** What has the keyboard's focus, in short. @param {Page} page @returns {Promise<string>} */
export const focus = (page) => page.evaluate(() => {
  const at = document.activeElement;
  if (!at || at === document.body) return 'body';
  return at.id ? `#${at.id}` : `${at.localName}.${at.className.split(' ')[0]}: ${(at.textContent ?? '').trim().slice(0, 40)}`;
});

/** How far it is to the end, in px. @param {Page} page */
export const gap = (page) => page.evaluate(() => {
  const area = /** @type {HTMLElement} */ (document.getElementById('scroll'));
  return Math.floor(Math.max(0, area.scrollHeight - area.clientHeight - area.scrollTop));
});
