// What reading a long room takes: many messages, an answer that does not end until it is told to, a wheel.

import { PATIENCE_MS } from '../harness.js';

/** @typedef {import('playwright-core').Page} Page */

const PIECE_EVERY_MS = 5;
/** From then on a piece a second: a slow machine shall not come to the longest reply that a server takes, 512 KiB. */
const QUICK_PIECES = 20_000;
const SLOW_PIECE_EVERY_MS = 1_000;
/** A step of the wheel: about three screens. */
const WHEEL_PX = 3_000;

/** Messages as people write them: most of one line, some of several, a list, a table, some code. @param {number} at */
export function text(at) {
  const line = `message ${at}: ${'the quick brown fox jumps over the lazy dog. '.repeat(1 + (at % 3))}`;
  if (at % 50 === 7) return `${line}\n\n\`\`\`js\n${'const answer = await model.asked();\n'.repeat(12)}\`\`\``;
  if (at % 50 === 17) return `${line}\n\n- one **bold** thing\n- another, with \`code\`\n  1. nested\n  2. more`;
  if (at % 50 === 27) return `${line}\n\n| name | size |\n|---|--:|\n| moon | 3,474 km |\n| earth | 12,742 km |`;
  return line;
}

/** Writes until it is told to stop, then says how many pieces there were. @param {import('../harness.js').Answer} answer */
export function stream(answer) {
  let going = true;
  let pieces = 0;
  const done = (async () => {
    while (going) {
      pieces += 1;
      await answer.say(pieces % 40 === 0 ? '\n\nA new paragraph: ' : `word **${pieces}** `);
      await new Promise((resolve) => { setTimeout(resolve, pieces < QUICK_PIECES ? PIECE_EVERY_MS : SLOW_PIECE_EVERY_MS); });
    }
    await answer.finish();
    return pieces;
  })();
  done.catch(() => {}); // of a test that failed; whoever calls `end` hears of it
  return { end: () => { going = false; return done; } };
}

/**
 * Turns the wheel, a step a frame, until the room's beginning or its end is reached. However slow the machine is, it goes on
 * while something moves.
 * @param {Page} page
 * @param {'beginning' | 'end'} where
 */
export async function wheelTo(page, where) {
  const by = where === 'end' ? WHEEL_PX : -WHEEL_PX;
  const frame = () => page.evaluate((to) => new Promise((resolve) => {
    requestAnimationFrame(() => {
      const byId = (/** @type {string} */ id) => /** @type {HTMLElement} */ (document.getElementById(id));
      const { scrollTop } = byId('scroll');
      const reached = to === 'end' ? byId('to-end').hidden : scrollTop === 0 && !byId('beginning').hidden;
      resolve({ reached, at: `${scrollTop} of ${document.querySelectorAll('#log .item').length}` });
    });
  }), where);
  let moved = { at: '', since: Date.now() };
  for (;;) {
    const { reached, at } = /** @type {{ reached: boolean, at: string }} */ (await frame());
    if (reached) return;
    if (at !== moved.at) moved = { at, since: Date.now() };
    if (Date.now() - moved.since > PATIENCE_MS) throw new Error(`the ${where} is not reached: nothing moves at ${at} messages`);
    await page.mouse.wheel(0, by);
  }
}
