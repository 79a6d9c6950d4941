// The figures of the page: `./scripts/bench page`, on a quiet machine. They judge nothing; README.md says what they should be.
//
// How smoothness is measured. Chromium's own trace gives the length of every task of the page's main thread (`longtask`
// entries would begin at 50 ms, and say nothing of those below). One run: a reader opens the room at its end, scrolls up with
// the wheel until the first of 5,000 messages is on the page (the page fetches them 50 at a time), and down again to the
// end; a step of the wheel is 3,000 px and comes with each frame; all the time the model writes a piece every 5 ms. Counted
// are the tasks between the first step and the last that are longer than a frame of 60 Hz; shorter ones nobody can feel.
// `own` is what the thread computed, `clock` also counts the time in which other programs had the processor.

import { test } from 'node:test';

import { harness } from './harness.js';
import { stream, text, wheelTo } from './pages/reading.js';
import { fill, say, visit } from './pages/talk.js';
import { mainThreadTasks, percentile } from './pages/trace.js';

/** @typedef {ReturnType<typeof lengths>} Lengths */

const h = harness();

const MESSAGES = 5_000;
const RUNS = 3;
const FRAME_MS = 1_000 / 60;

test('5,000 messages scrolled while an answer streams', async () => {
  const model = await h.model();
  const server = await h.server({ model });
  await fill(server, 'lobby', Array.from({ length: MESSAGES - RUNS }, (_, at) => text(at)));
  /** @type {{ own: Lengths, clock: Lengths, pieces: number }[]} */
  const runs = [];
  for (let run = 0; run < RUNS; run += 1) {
    const page = await visit(h, server, 'Ann');
    await say(page, `question ${run}`);
    const writing = stream(await model.asked());
    await page.locator('.msg.answer.writing').waitFor();
    await page.mouse.move(400, 300);
    const tasks = await mainThreadTasks(page, async () => {
      await wheelTo(page, 'beginning');
      await wheelTo(page, 'end');
    });
    const pieces = await writing.end();
    runs.push({ own: lengths(tasks.map(({ own }) => own)), clock: lengths(tasks.map(({ clock }) => clock)), pieces });
    console.log(JSON.stringify(runs.at(-1)));
    await page.close();
  }
  for (const by of /** @type {const} */ (['own', 'clock'])) {
    const median = (/** @type {'p95' | 'longest'} */ what) => percentile(runs.map((run) => run[by][what]), 50).toFixed(0);
    console.log(`${by}: p95 of the tasks longer than a frame ${median('p95')} ms, the longest ${median('longest')} ms (medians of ${RUNS} runs)`);
  }
});

/** @param {number[]} tasks ms of each */
function lengths(tasks) {
  const long = tasks.filter((ms) => ms > FRAME_MS);
  return { tasks: tasks.length, long: long.length, p95: percentile(long, 95), longest: percentile(tasks, 100) };
}
