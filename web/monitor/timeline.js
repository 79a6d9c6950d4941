// A message's life as bars: what the log says (posted, claimed, failed …) and, finer, the live stages that this page saw.
// Pure: steps in, rows of bars out; one row for each try. Where it ends is where time stands, for one in flight.
// Not here: the picture's elements (picture.js).

import { span } from '../parts/time.js';

/** @import { Stage, Step, Timeline } from './types.js' */

/** @typedef {'waiting' | 'pause' | 'held' | 'loading' | 'reading' | 'first' | 'writing'} Kind */
/** @typedef {{ kind: Kind, from: number, to: number, open: boolean }} Bar times in ms since 1970; `open`: it goes on */
/**
 * @typedef {object} Row one try
 * @property {number} attempt 0 until it is claimed
 * @property {string} worker
 * @property {Bar[]} bars one after the other
 * @property {string} end how the try ended, in words; empty while it goes on
 * @property {boolean} good whether that was an answer
 */
/** @typedef {{ from: number, to: number, rows: Row[], gaps: { from: number, to: number }[], open: boolean }} Life */

/** What a bar is called. @type {Record<Kind, string>} */
export const KINDS = {
  waiting: 'waiting',
  pause: 'pause before the next try',
  held: 'claimed',
  loading: 'loading the model',
  reading: 'reading',
  first: 'until the first word',
  writing: 'writing',
};

/** @type {Record<string, Kind>} */
const OF_STAGE = { claimed: 'held', 'loading-model': 'loading', 'reading-prompt': 'reading', writing: 'writing' };

/** @type {Record<string, string>} */
const RELEASES = {
  'lease-over': 'its worker was not heard of any more',
  restarted: 'its worker began anew',
  goodbye: 'its worker gave it back',
  restored: 'the log was restored',
};

/**
 * @param {Timeline} timeline
 * @param {{ stages?: Stage[], now: number }} options live stages that were seen; the server's time, for one in flight
 * @returns {Life | null} null if nobody was asked
 */
export function lifeOf({ steps }, { stages = [], now }) {
  /** @type {Row[]} */
  const rows = [];
  /** @type {{ from: number, to: number }[]} */
  const gaps = [];
  /** @type {Bar | null} */
  let bar = null;
  let attempt = 0;
  let last = 0; // when the last row ended
  const begin = (/** @type {Kind} */ kind, /** @type {number} */ at) => { bar = { kind, from: at, to: at, open: true }; };
  const row = () => rows.at(-1) ?? newRow();
  const newRow = () => {
    const made = { attempt: 0, worker: '', bars: [], end: '', good: false };
    rows.push(made);
    return made;
  };
  const close = (/** @type {number} */ at, /** @type {number | null} */ firstWord = null) => {
    if (bar) row().bars.push(...pieces({ ...bar, to: Math.max(at, bar.from), open: false }, stages, firstWord));
    bar = null;
  };
  const end = (/** @type {number} */ at, /** @type {string} */ words, good = false) => {
    close(at);
    Object.assign(row(), { end: words, good });
    last = at;
  };
  for (const { event, at: when, data } of steps) {
    const at = Date.parse(when);
    switch (event) {
      case 'message.posted':
        if (!data.bot) break;
        newRow();
        begin('waiting', at);
        break;
      case 'message.claimed':
        close(at);
        attempt += 1;
        Object.assign(row(), { attempt, worker: String(data.worker ?? '') });
        begin('held', at);
        break;
      case 'reply.posted':
        close(at, typeof data.first_token_ms === 'number' ? data.first_token_ms : null);
        end(at, 'answered', true);
        break;
      case 'message.failed':
        end(at, `failed: ${data.reason ?? 'no reason given'}`);
        if (!data.retry_at) break;
        newRow();
        begin('pause', at);
        break;
      case 'message.released': {
        const running = /** @type {Bar | null} */ (bar);
        if (running && running.kind !== 'pause') end(at, RELEASES[data.reason] ?? `given back: ${data.reason}`);
        if (running?.kind === 'pause') close(at);
        else newRow();
        if (!running && last && at > last) gaps.push({ from: last, to: at }); // asked again after it had ended
        begin('waiting', at);
        break;
      }
      case 'message.dead':
        end(at, `given up: ${data.reason ?? 'no reason given'}`);
        break;
      case 'message.cancelled':
        end(at, 'cancelled');
        break;
      default: // completed says what the reply said; taken back and erased change no bar
    }
  }
  const running = /** @type {Bar | null} */ (bar);
  if (running) row().bars.push(...pieces({ ...running, to: Math.max(now, running.from), open: true }, stages, null));
  const bars = rows.flatMap((one) => one.bars);
  const [first] = bars;
  if (!first) return null;
  return { from: first.from, to: Math.max(...bars.map(({ to }) => to)), rows, gaps, open: running !== null };
}

/**
 * Cuts the bar of a claim into what was seen of it: stages, and the first word that the reply tells of.
 *
 * @param {Bar} bar
 * @param {Stage[]} stages
 * @param {number | null} firstWord ms from the claim
 * @returns {Bar[]}
 */
function pieces(bar, stages, firstWord) {
  if (bar.kind !== 'held') return [bar];
  const wrote = firstWord === null ? Infinity : Math.min(bar.from + firstWord, bar.to);
  const seen = stages.flatMap(({ state, at }) => {
    const kind = OF_STAGE[state];
    const here = kind && kind !== 'held' && at >= bar.from && at < Math.min(bar.to, wrote);
    return here && !(kind === 'writing' && wrote !== Infinity) ? [{ kind, at }] : [];
  });
  const cuts = [{ kind: /** @type {Kind} */ (firstWord === null ? 'held' : 'first'), at: bar.from }, ...seen];
  if (wrote !== Infinity) cuts.push({ kind: 'writing', at: wrote });
  return cuts
    .map(({ kind, at }, place) => {
      const next = cuts[place + 1];
      return { kind, from: at, to: next ? next.at : bar.to, open: bar.open && !next };
    })
    .filter(({ from, to, open }) => to > from || open);
}

/** @param {Row} row @returns {string} `waiting 1.2 s, reading 300 ms, writing 4.0 s; answered` */
export function rowWords({ bars, end, attempt, worker }) {
  const lasted = bars.map(({ kind, from, to, open }) => `${KINDS[kind]} ${open ? 'for ' : ''}${span(to - from)}`);
  const who = attempt ? `try ${attempt} by ${worker || 'a worker'}: ` : '';
  return `${who}${lasted.join(', ')}${end ? `; ${end}` : ''}`;
}

const GAP_SHARE = 6; // per cent of the width for time in which nothing was asked; hours of it would hide all else

/**
 * Where a time stands in the picture, in per cent of its width.
 *
 * @param {Life} life
 * @returns {(at: number) => number}
 */
export function scaleOf({ from, to, gaps }) {
  const idle = gaps.reduce((sum, gap) => sum + gap.to - gap.from, 0);
  const active = Math.max(1, to - from - idle);
  const room = 100 - GAP_SHARE * gaps.length;
  return (at) => {
    const before = gaps.filter((gap) => gap.from < at);
    const passed = before.reduce((sum, gap) => sum + Math.min(at, gap.to) - gap.from, 0);
    const shares = before.reduce((sum, gap) => sum + (GAP_SHARE * (Math.min(at, gap.to) - gap.from)) / (gap.to - gap.from), 0);
    return ((at - from - passed) / active) * room + shares;
  };
}

const STEPS_MS = [10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 10e3, 30e3, 60e3, 120e3, 300e3, 600e3, 1.8e6, 3.6e6, 7.2e6, 21.6e6, 86.4e6];
const TICKS_MAX = 6;

/**
 * @param {Life} life
 * @returns {number[]} round times since the beginning, in ms, for the axis; none if there are gaps
 */
export function ticksOf({ from, to, gaps }) {
  if (gaps.length > 0) return [];
  const length = to - from;
  const step = STEPS_MS.find((ms) => length / ms <= TICKS_MAX) ?? Math.ceil(length / TICKS_MAX / 86.4e6) * 86.4e6;
  return Array.from({ length: Math.floor(length / step) + 1 }, (_, at) => at * step);
}

/** What a step says, in words. @param {Step} step @returns {string} */
export function stepWords({ event, data }) {
  switch (event) {
    case 'message.posted': return data.bot ? `${data.author?.name || 'somebody'} asked ${data.bot}` : `${data.author?.name || 'somebody'} said it`;
    case 'message.claimed': return `claimed by ${data.worker}`;
    case 'reply.posted': return `${data.author?.name ?? 'the bot'} answered${data.model ? ` with ${data.model}` : ''}`;
    case 'message.completed': return `done, ${span(Number(data.ms ?? 0))} after the claim`;
    case 'message.failed': return `try ${data.attempt} failed: ${data.reason}${data.retry_at ? '; it will be tried again' : ''}`;
    case 'message.dead': return `given up: ${data.reason}`;
    case 'message.cancelled': return 'cancelled';
    case 'message.redacted': return 'deleted';
    case 'message.erased': return 'erased';
    case 'message.released':
      if (data.reason === 'retry-due') return 'the pause is over: back in its lane';
      if (data.reason === 'retry-asked') return 'somebody asked for another try';
      return `back in its lane: ${RELEASES[data.reason] ?? data.reason}`;
    default: return event;
  }
}
