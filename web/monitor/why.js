// Why is this message where it is? One sentence, from what the monitor knows. Pure.
// The most telling cause comes first: the store is away, the bot is paused, nobody answers for the bot, all are busy, its turn
// has not come.

import { clock, millis, span } from '../parts/time.js';
import { age, counted, wholeSpan } from './words.js';

/** @import { Open, Worker } from './types.js' */
/** @import { Store } from './store.js' */

/** A worker that holds something says so at least every 3 s; three times that without a word is worth saying. */
export const SILENT_MS = 10_000;

/** @typedef {{ text: string, stuck: boolean }} Why `stuck`: somebody should look at it */

/**
 * @param {Open} open
 * @param {Pick<Store, 'health' | 'queues' | 'workers' | 'workersOf' | 'aheadOf'>} store
 * @param {number} now the server's time, ms
 * @returns {Why}
 */
export function whyOf(open, store, now) {
  const { health } = store;
  const away = health && health.state !== 'connected' ? `the store is ${health.state === 'refusing' ? 'not what it was' : 'away'}` : '';
  if (open.state !== 'waiting' && open.state !== 'retrying') {
    const why = held(open, store, now);
    return away ? stuck(`${why.text}; ${away}, and it cannot end until it is back`) : why;
  }
  if (away) return stuck(`${away}; nothing is claimed until it is back`);
  return open.state === 'waiting' ? waiting(open, store) : retrying(open, store, now);
}

/** @param {string} text @returns {Why} */
const stuck = (text) => ({ text, stuck: true });

/** @param {string} text @returns {Why} */
const fine = (text) => ({ text, stuck: false });

/**
 * @param {Open} open
 * @param {Pick<Store, 'queues' | 'workersOf' | 'aheadOf'>} store
 */
function waiting(open, store) {
  const ahead = store.aheadOf(open.message_id) ?? open.ahead ?? 0;
  const lane = ahead === 0 ? 'next in its lane' : `${ahead.toLocaleString('en')} before it in its lane`;
  const again = open.reason ? `; it failed before: ${open.reason}` : '';
  const paused = store.queues.get(open.bot)?.paused;
  if (paused) return stuck(`${open.bot} is paused because ${firstClause(paused)}; ${lane}`);
  const workers = store.workersOf(open.bot);
  if (workers.length === 0) return stuck(`no worker answers for ${open.bot}; ${lane}`);
  if (workers.some((worker) => worker.waiting > 0)) {
    return fine((ahead === 0 ? 'next in its lane; a worker is free and takes it now' : `${lane}; a worker is free`) + again);
  }
  return fine(`${lane}; ${busyWords(workers)}${again}`);
}

/** A pause says much after its cause; all of it stands at the queue. @param {string} paused */
const firstClause = (paused) => paused.split(';')[0] ?? paused;

/** @param {Worker[]} workers */
function busyWords(workers) {
  const [first] = workers;
  if (workers.length > 1 || !first) return `its ${workers.length} workers are busy`;
  return first.holds.length > 0 ? `${first.worker} is busy with ${counted(first.holds.length, 'message')}` : `${first.worker} does not ask for work`;
}

/**
 * @param {Open} open
 * @param {Pick<Store, 'queues'>} store
 * @param {number} now
 */
function retrying(open, store, now) {
  const because = open.reason ? `: ${open.reason}` : '';
  const tried = open.attempt > 0 ? `try ${open.attempt} failed` : 'it failed';
  const paused = store.queues.get(open.bot)?.paused;
  const then = paused ? `; ${open.bot} is paused` : '';
  if (!open.retry_at) return fine(`${tried}${because}; it will be tried again${then}`);
  const left = millis(open.retry_at) - now;
  const due = left > 0 ? `retry due in ${wholeSpan(left + 999)}, at ${clock(open.retry_at)}` : 'retry due now';
  return { text: `${due}; ${tried}${because}${then}`, stuck: Boolean(paused) };
}

/**
 * @param {Open} open
 * @param {Pick<Store, 'workers'>} store
 * @param {number} now
 */
function held(open, store, now) {
  const who = open.worker ?? 'a worker';
  const worker = store.workers.get(who);
  const since = open.since_at ? ` since ${age(open.since_at, now)}` : '';
  const done = open.progress === null ? '' : ` (${Math.round(open.progress * 100)} %)`;
  const silent = worker?.kind === 'remote' && worker.last_seen_at ? now - millis(worker.last_seen_at) : 0;
  if (silent > SILENT_MS) return stuck(`heartbeat missing: ${who} was last heard ${wholeSpan(silent)} ago; its claim runs out soon`);
  switch (open.state) {
    case 'loading-model': return fine(`being loaded by ${who}${since}${done}`);
    case 'reading-prompt': return fine(`${who} reads the prompt${since}${done}`);
    case 'writing': return fine(`${who} writes${since}: ${counted(open.deltas, 'piece')}${firstWord(open)}`);
    case 'claimed': return fine(`claimed by ${who}${since}; no word yet`);
    default: return fine(`${who} says: ${open.state}${done}${since}`);
  }
}

/** @param {Open} open */
const firstWord = (open) => (open.first_token_ms === null ? '' : `, the first after ${span(open.first_token_ms)}`);
