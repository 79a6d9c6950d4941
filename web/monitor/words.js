// Small words of the monitor that several of its parts use: states, authors, pairs, positions. Pure.

import { millis, span } from '../parts/time.js';

/** @import { Ended, Open } from './types.js' */

/** The states in the order of a message's life: what it is called, and how its mark looks. */
export const STATES = /** @type {const} */ ([
  { state: 'waiting', words: 'waiting', tone: 'plain' },
  { state: 'retrying', words: 'retrying', tone: 'warn' },
  { state: 'claimed', words: 'claimed', tone: '' },
  { state: 'loading-model', words: 'loading', tone: '' },
  { state: 'reading-prompt', words: 'reading', tone: '' },
  { state: 'writing', words: 'writing', tone: '' },
  { state: 'answered', words: 'answered', tone: 'good' },
  { state: 'failed', words: 'failed', tone: 'bad' },
  { state: 'dead', words: 'given up', tone: 'bad' },
  { state: 'cancelled', words: 'cancelled', tone: 'plain' },
]);

const BY_STATE = new Map(STATES.map((known) => [/** @type {string} */ (known.state), known]));

/** @param {string} state @returns {string} `given up` */
export const stateWords = (state) => BY_STATE.get(state)?.words ?? state;

/** @param {string} state @returns {string} a class of `.badge` */
export const stateTone = (state) => BY_STATE.get(state)?.tone ?? '';

/** @param {string} state @returns {string} one of STATES: whatever else a worker says that it does, it holds the message */
export const knownState = (state) => (BY_STATE.has(state) ? state : 'claimed');

/** @param {Open | Ended} message @returns {string} */
export const stateOf = (message) => ('status' in message ? message.status : message.state);

/** @param {Open | Ended} message @returns {message is Open} whether it still wants an answer */
export const isOpen = (message) => 'state' in message;

/** @param {Open | Ended} message @returns {message is Ended} whether it ended without an answer, and nobody wanted that */
export const isFailure = (message) => 'status' in message && (message.status === 'failed' || message.status === 'dead');

/** @param {string | null | undefined} text @returns {string} */
export const shownText = (text) => text || '(deleted)';

/** @param {string} author @returns {string} */
export const shownAuthor = (author) => author || 'somebody';

/** @param {Ended} ended @returns {string} the pair as the old queue monitor showed it: `[human → AI reply: 4.2 s]` */
export function pairWords(ended) {
  if (ended.status !== 'answered') return `[human → no reply: ${stateWords(ended.status)}]`;
  return `[human → AI reply: ${ended.total_ms === null ? '?' : (ended.total_ms / 1000).toFixed(1)} s]`;
}

/**
 * @param {string | null | undefined} position
 * @returns {string} `#1204`: the part of it that counts entries
 */
export function positionWords(position) {
  const count = Number(position?.split('-').at(-1));
  return position && Number.isSafeInteger(count) ? `#${count.toLocaleString('en')}` : '–';
}

/**
 * @param {string | number | null} at
 * @param {number} now
 * @returns {string} how long ago, to the second: ages on this page all tick together
 */
export const age = (at, now) => (at === null ? '–' : wholeSpan(now - millis(at)));

/** @param {number} ms @returns {string} as `span`, but in whole seconds: `12 s`, `1 min 12 s` */
export function wholeSpan(ms) {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  return seconds < 60 ? `${seconds} s` : span(seconds * 1000);
}

/** @param {number | null | undefined} ms @returns {string} a measured time, or a dash */
export const measured = (ms) => (ms === null || ms === undefined ? '–' : span(ms));

/** @param {number} count @param {string} one @param {string} [many] @returns {string} `1 message`, `2 messages` */
export const counted = (count, one, many = `${one}s`) => `${count.toLocaleString('en')} ${count === 1 ? one : many}`;
