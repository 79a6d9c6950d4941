// Between times and the steps of the scrub bar, and from message to message. Pure.
//
// The bar goes from the room's first message to its last; its last step is the present, whatever came since.

import { millis } from '../parts/time.js';

/** Steps of the bar: more than it has pixels on most screens. */
export const STEPS = 1_000;
/** PageUp and PageDown go so far. */
export const PAGE_STEPS = 50;

/** @type {Record<string, number>} */
const UNITS_MS = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** @typedef {{first: number, last: number}} Scale  ms since 1970 */

/**
 * @param {{first_at?: string|null, last_at?: string|null}} answer
 * @returns {Scale|null} null: there is nothing to look back at
 */
export function scaleOf({ first_at, last_at }) {
  return first_at && last_at ? { first: millis(first_at), last: millis(last_at) } : null;
}

/** @param {Scale} scale @param {number} at @returns {number} the step of a time, 0 to STEPS; STEPS only from the end on */
export function stepOf({ first, last }, at) {
  if (at >= last) return STEPS;
  return Math.min(STEPS - 1, Math.max(0, Math.round(((at - first) / (last - first)) * STEPS)));
}

/** @param {Scale} scale @param {number} step @param {number} now @returns {number} the time of a step */
export function timeOf({ first, last }, step, now) {
  if (step >= STEPS) return Math.max(now, last);
  return Math.round(first + ((last - first) * Math.max(0, step)) / STEPS);
}

/** When the message before the one that is the newest at `at` was posted. @param {{at: string}[]} messages oldest first @param {number} at @returns {number|null} */
export function before(messages, at) {
  const times = messages.map((message) => millis(message.at)).filter((time) => time <= at);
  const newest = Math.max(...times);
  const earlier = times.filter((time) => time < newest);
  return earlier.length > 0 ? Math.max(...earlier) : null;
}

/**
 * What `at` in an address means: `now`, milliseconds, a time, `2h` (ago), or a position, which only the server understands.
 * @param {string} at @param {number} now @returns {number|string}
 */
export function momentOf(at, now) {
  if (at === 'now' || at === '') return now;
  if (/^\d{10,15}$/.test(at)) return Number(at);
  const [, count, unit = ''] = /^(\d{1,6})([smhd])$/.exec(at) ?? []; // ago, as `antiphon replay --at` has it
  if (count) return now - Number(count) * (UNITS_MS[unit] ?? 0);
  const time = Date.parse(at);
  return Number.isNaN(time) || !/^\d{4}-\d\d-\d\d/.test(at) ? at : time;
}
