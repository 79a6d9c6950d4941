// Looking back: the scrub bar's steps, which requests are made while it is dragged, and playing.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { GAP_MS, KEPT_MAX, KEPT_MS, Latest } from '../../../web/lookback/latest.js';
import { Player, pauseOf } from '../../../web/lookback/player.js';
import { STEPS, before, momentOf, scaleOf, stepOf, timeOf } from '../../../web/lookback/scale.js';
import { itemsThen } from '../../../web/lookback/then.js';

const at = (/** @type {number} */ second) => new Date(Date.UTC(2026, 0, 1, 12, 0, second)).toISOString();
const ms = (/** @type {number} */ second) => Date.parse(at(second));

/** A clock that goes on when it is told to. */
function handClock() {
  let time = 0;
  /** @type {{at: number, work: () => void}[]} */
  let timers = [];
  return {
    now: () => time,
    later(/** @type {number} */ wait, /** @type {() => void} */ work) {
      const timer = { at: time + wait, work };
      timers.push(timer);
      return () => {
        timers = timers.filter((each) => each !== timer);
      };
    },
    /** @param {number} wait */
    async pass(wait) {
      time += wait;
      const due = timers.filter((timer) => timer.at <= time);
      timers = timers.filter((timer) => timer.at > time);
      for (const { work } of due) work();
      await settle();
    },
  };
}

/** All that waits for promises only has run. */
const settle = () => new Promise((done) => {
  setImmediate(done);
});

/** Answers when told to. */
function handServer() {
  /** @type {Map<number|string, {resolve: (answer: string) => void, reject: (error: Error) => void}>} */
  const open = new Map();
  /** @type {(number|string)[]} */
  const asked = [];
  return {
    asked,
    load: (/** @type {number|string} */ moment) => {
      asked.push(moment);
      return /** @type {Promise<string>} */ (new Promise((resolve, reject) => {
        open.set(moment, { resolve, reject });
      }));
    },
    async answer(/** @type {number|string} */ moment) {
      open.get(moment)?.resolve(`then ${moment}`);
      await settle();
    },
    async refuse(/** @type {number|string} */ moment) {
      open.get(moment)?.reject(new Error('no'));
      await settle();
    },
  };
}

function latest() {
  const clock = handClock();
  const server = handServer();
  /** @type {string[]} */
  const shown = [];
  const asks = new Latest({ load: server.load, show: (answer) => shown.push(answer), fail: (_, moment) => shown.push(`failed ${moment}`), clock });
  return { clock, server, shown, asks };
}

test('the bar goes from the first message to the last, and its end is the present', () => {
  const scale = scaleOf({ first_at: at(0), last_at: at(50) });
  assert.ok(scale);
  assert.equal(stepOf(scale, ms(0)), 0);
  assert.equal(stepOf(scale, ms(25)), STEPS / 2);
  assert.equal(stepOf(scale, ms(50)), STEPS);
  assert.equal(stepOf(scale, ms(50) - 1), STEPS - 1, 'only the end is the end');
  assert.equal(stepOf(scale, ms(-5)), 0);
  assert.equal(stepOf(scale, ms(500)), STEPS);
  for (let step = 0; step < STEPS; step += 1) assert.equal(stepOf(scale, timeOf(scale, step, ms(999))), step);
  assert.equal(timeOf(scale, STEPS, ms(999)), ms(999));
});

test('a room of one message has a bar with two ends', () => {
  const scale = scaleOf({ first_at: at(3), last_at: at(3) });
  assert.ok(scale);
  assert.equal(timeOf(scale, 0, ms(9)), ms(3));
  assert.equal(stepOf(scale, ms(3)), STEPS);
  assert.equal(stepOf(scale, ms(2)), 0);
  assert.equal(scaleOf({ first_at: null, last_at: null }), null);
});

test('a step back goes to the message before the newest one that is shown', () => {
  const messages = [{ at: at(1) }, { at: at(4) }, { at: at(4) }, { at: at(9) }];
  assert.equal(before(messages, ms(20)), ms(4));
  assert.equal(before(messages, ms(4)), ms(1));
  assert.equal(before(messages, ms(1)), null);
  assert.equal(before([], ms(1)), null);
});

test('an address says a time, milliseconds, a position or now', () => {
  assert.equal(momentOf('now', 5), 5);
  assert.equal(momentOf(at(7), 5), ms(7));
  assert.equal(momentOf(String(ms(7)), 5), ms(7));
  const position = 'fdec9198e5d77334-00-0000000000000005';
  assert.equal(momentOf(position, 5), position);
  assert.equal(momentOf('2026-01-01-00', 5), '2026-01-01-00', 'what is no time is left to the server');
});

test('while one moment is asked for, only the last that is wanted meanwhile is asked for next', async () => {
  const { clock, server, shown, asks } = latest();
  for (const moment of [1, 2, 3, 4]) asks.want(moment);
  assert.deepEqual(server.asked, [1]);
  await clock.pass(GAP_MS);
  await server.answer(1);
  assert.deepEqual(server.asked, [1, 4]);
  await server.answer(4);
  assert.deepEqual(shown, ['then 1', 'then 4']);
  assert.ok(asks.settled);
});

test('requests keep a distance, and the last moment wanted is always shown', async () => {
  const { clock, server, shown, asks } = latest();
  asks.want(1);
  await server.answer(1);
  asks.want(2);
  asks.want(3);
  assert.deepEqual(server.asked, [1]);
  assert.ok(!asks.settled);
  await clock.pass(GAP_MS);
  assert.deepEqual(server.asked, [1, 3]);
  await server.answer(3);
  assert.deepEqual(shown, ['then 1', 'then 3']);
});

test('a failure is told only if nothing newer is wanted, and the next one is asked for', async () => {
  const { clock, server, shown, asks } = latest();
  asks.want(1);
  asks.want(2);
  await clock.pass(GAP_MS);
  await server.refuse(1);
  await server.refuse(2);
  assert.deepEqual(shown, ['failed 2']);
});

test('what was seen lately comes at once, but not for long: it may have been taken back', async () => {
  const { clock, server, shown, asks } = latest();
  asks.want(1);
  await server.answer(1);
  asks.want(1);
  assert.deepEqual(shown, ['then 1', 'then 1']);
  assert.deepEqual(server.asked, [1]);
  await clock.pass(KEPT_MS);
  asks.want(1);
  assert.deepEqual(server.asked, [1, 1]);
});

test('only so many answers are kept', async () => {
  const { clock, server, asks } = latest();
  for (let moment = 0; moment < KEPT_MAX * 2; moment += 1) {
    asks.want(moment);
    await clock.pass(GAP_MS);
    await server.answer(moment);
  }
  assert.equal(asks.kept.size, KEPT_MAX);
  assert.ok(!asks.kept.has(0) && asks.kept.has(KEPT_MAX * 2 - 1));
});

test('nothing is asked for after it is closed', async () => {
  const { clock, server, asks } = latest();
  asks.want(1);
  await server.answer(1);
  asks.want(2);
  asks.close();
  await clock.pass(GAP_MS * 2);
  assert.deepEqual(server.asked, [1]);
});

test('playing keeps the pauses, shorter and within bounds', () => {
  assert.equal(pauseOf(5_000, 10), 500);
  assert.equal(pauseOf(3_600_000, 10), 1_500);
  assert.equal(pauseOf(1, 100), 150);
});

test('playing goes from message to message, waits for what is still asked for, and ends at the end', async () => {
  const clock = handClock();
  /** @type {({gap: number, at: number}|'end'|'later')[]} */
  const next = [{ gap: 5_000, at: 1 }, 'later', { gap: 1_000, at: 2 }, 'end'];
  /** @type {(number|boolean)[]} */
  const seen = [];
  const player = new Player({ peek: () => Promise.resolve(next.shift() ?? 'end'), go: (moment) => seen.push(moment), factor: () => 10, changed: (playing) => seen.push(playing), clock });
  player.start();
  await settle();
  await clock.pass(499);
  assert.deepEqual(seen, [true]);
  await clock.pass(1);
  assert.deepEqual(seen, [true, 1]);
  await clock.pass(150);
  await clock.pass(150);
  assert.deepEqual(seen, [true, 1, 2, false]);
});

test('pausing ends what was about to come, also when it goes on at once', async () => {
  const clock = handClock();
  let peeks = 0;
  /** @type {number[]} */
  const seen = [];
  const player = new Player({ peek: () => Promise.resolve({ gap: 1_000, at: (peeks += 1) }), go: (moment) => seen.push(moment), factor: () => 10, changed: () => {}, clock });
  player.start();
  await settle();
  player.stop();
  player.start();
  await settle();
  await clock.pass(150);
  assert.deepEqual(seen, [2]);
});

test('who had claimed a message then is known, and nothing is offered as being written', () => {
  const author = { name: 'ada', kind: /** @type {const} */ ('human') };
  const message = { id: 'a', room: 'lobby', author, text: 'hi', at: at(0), reply_to: null, position: '1', status: /** @type {const} */ ('claimed') };
  const [item] = itemsThen([message], [{ message_id: 'a', bot: 'eliza', worker: 'gpu-2', claimed_at: at(1) }]);
  assert.deepEqual(item.claim, { bot: 'eliza', worker: 'gpu-2', at: at(1) });
  assert.equal(item.draft, null);
  assert.equal(itemsThen([{ ...message, status: 'waiting' }], [])[0].claim, null);
});
