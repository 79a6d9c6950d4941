// How long the tasks of a page's main thread take, from Chromium's trace.

/** @typedef {{ name: string, ph: string, ts: number, dur?: number, tdur?: number, pid: number, tid: number, args?: any }} TraceEvent */

/**
 * @param {import('playwright-core').Page} page
 * @param {() => Promise<unknown>} work
 * @returns {Promise<{ own: number, clock: number }[]>} ms of each task that began while the work was done: `own` is what the
 *   thread computed, `clock` also counts the time in which other programs had the processor
 */
export async function mainThreadTasks(page, work) {
  const browser = page.context().browser();
  if (!browser) throw new Error('the page has no browser');
  await browser.startTracing(page, { categories: ['disabled-by-default-devtools.timeline', 'blink.user_timing'] });
  await page.evaluate(() => performance.mark('work begins'));
  await work();
  await page.evaluate(() => performance.mark('work ends'));
  const { traceEvents } = JSON.parse((await browser.stopTracing()).toString());
  /** @param {string} name @returns {TraceEvent} */
  const mark = (name) => traceEvents.find((/** @type {TraceEvent} */ event) => event.name === name);
  const [begin, end] = [mark('work begins'), mark('work ends')];
  return traceEvents
    .filter((/** @type {TraceEvent} */ { name, pid, tid, ts }) => name === 'RunTask' && pid === begin.pid && tid === begin.tid && ts >= begin.ts && ts <= end.ts)
    .map((/** @type {TraceEvent} */ { tdur = 0, dur = 0 }) => ({ own: tdur / 1_000, clock: dur / 1_000 }));
}

/** @param {number[]} values @param {number} share in percent; the nearest value, 0 of none */
export function percentile(values, share) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil((sorted.length * share) / 100) - 1)] ?? 0;
}
