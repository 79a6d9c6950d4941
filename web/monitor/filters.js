// What the monitor is narrowed to: room, bot, states, words. Pure; kept in the URL's query, so that a view can be linked.

import { knownState, STATES, stateOf } from './words.js';

/** @import { Ended, Open } from './types.js' */

/**
 * @typedef {object} Filter
 * @property {string} room empty: all
 * @property {string} bot empty: all
 * @property {Set<string>} states empty: all
 * @property {string} text words that must all occur; empty: all
 */

export const TEXT_MAX = 200; // of the words looked for: the query must stay a sensible URL
export const ROOMS_MAX = 200; // offered to choose from

/** @returns {Filter} */
export const noFilter = () => ({ room: '', bot: '', states: new Set(), text: '' });

/** @param {Filter} filter @returns {boolean} */
export const isNarrow = (filter) => Boolean(filter.room || filter.bot || filter.states.size || filter.text.trim());

/**
 * @param {string} query `location.search`
 * @returns {Filter} what it says; what it does not know is left out
 */
export function readFilter(query) {
  const params = new URLSearchParams(query);
  const asked = (params.get('state') ?? '').split(',');
  const states = STATES.map(({ state }) => /** @type {string} */ (state)).filter((state) => asked.includes(state));
  return {
    room: params.get('room') ?? '',
    bot: params.get('bot') ?? '',
    states: new Set(states),
    text: (params.get('q') ?? '').slice(0, TEXT_MAX),
  };
}

/**
 * @param {Filter} filter
 * @param {string} query the query as it is: what is not a filter's stays
 * @returns {string} empty, or with its `?`
 */
export function writeFilter(filter, query) {
  const params = new URLSearchParams(query);
  const words = { room: filter.room, bot: filter.bot, state: [...filter.states].join(','), q: filter.text.trim() };
  for (const [name, value] of Object.entries(words)) {
    if (value) params.set(name, value);
    else params.delete(name);
  }
  const text = params.toString().replaceAll('%2C', ','); // a list of states is nicer to read
  return text ? `?${text}` : '';
}

/**
 * Makes the test of a filter once, for many messages.
 *
 * @param {Filter} filter
 * @param {{ anyState?: boolean }} [options] `anyState`: as if no states were chosen
 * @returns {(message: Open | Ended) => boolean}
 */
export function matcher(filter, { anyState = false } = {}) {
  const words = filter.text.toLowerCase().split(/\s+/).filter(Boolean);
  return (message) => {
    if (filter.room && message.room !== filter.room) return false;
    if (filter.bot && message.bot !== filter.bot) return false;
    if (!anyState && filter.states.size > 0 && !filter.states.has(knownState(stateOf(message)))) return false;
    if (words.length === 0) return true;
    const text = searched(message);
    return words.every((word) => text.includes(word));
  };
}

/** @param {Open | Ended} message everything about it that a person might type */
function searched(message) {
  const { text, author, room, bot, reason, worker, message_id } = message;
  const more = 'status' in message ? `${message.reply ?? ''} ${message.model ?? ''}` : '';
  return `${text} ${author} ${room} ${bot} ${reason ?? ''} ${worker ?? ''} ${message_id} ${more}`.toLowerCase();
}

/**
 * How many there are of each state.
 *
 * @param {Iterable<Open | Ended>} messages
 * @returns {Map<string, number>}
 */
export function stateCounts(messages) {
  const counts = new Map(STATES.map(({ state }) => [/** @type {string} */ (state), 0]));
  for (const message of messages) {
    const state = knownState(stateOf(message));
    counts.set(state, (counts.get(state) ?? 0) + 1);
  }
  return counts;
}

/**
 * The rooms to choose from: those of the listed messages, and the one chosen.
 *
 * @param {Iterable<Open | Ended>} messages
 * @param {string} chosen
 * @returns {string[]} by name
 */
export function roomsOf(messages, chosen) {
  const rooms = new Set(chosen ? [chosen] : []);
  for (const { room } of messages) {
    if (rooms.size >= ROOMS_MAX) break;
    rooms.add(room);
  }
  return [...rooms].sort();
}
