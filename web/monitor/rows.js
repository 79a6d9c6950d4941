// The columns of the tables of messages: what stands in each cell, for those in flight, failed and finished.
// Buttons say what they do by `data-act`; main.js listens.

import { actButton, make } from '../parts/dom.js';
import { absolute, relative } from '../parts/time.js';
import { setText } from './table.js';
import { whyOf } from './why.js';
import { age, measured, pairWords, shownAuthor, shownText, stateOf, stateTone, stateWords } from './words.js';

/** @import { Ended, Open } from './types.js' */
/** @import { Column } from './table.js' */
/** @import { Store } from './store.js' */

/**
 * What cells need besides their item.
 *
 * @typedef {object} Context
 * @property {Store} store
 * @property {number} now the server's time, ms
 * @property {(id: string) => string} noteOf what the server said last when something was asked of it; may be empty
 * @property {(id: string) => boolean} isBusy whether something is being asked of it
 */

/** @typedef {Column<Open | Ended, Context>} MessageColumn */

/** @param {HTMLElement} cell @param {number} at @returns {HTMLElement} its child, which `make` put there */
export const part = (cell, at) => /** @type {HTMLElement} */ (cell.children[at]);

/**
 * A time that ticks. Its title is the absolute one.
 *
 * @param {HTMLElement} cell
 * @param {string | null} at
 * @param {string} words
 */
export function time(cell, at, words) {
  setText(cell, words);
  if (cell.dataset.at === (at ?? '')) return;
  cell.dataset.at = at ?? '';
  cell.title = at ? absolute(at) : '';
}

/** @type {MessageColumn} */
const state = {
  label: 'State',
  name: 'state',
  make: (cell) => cell.append(make('span', { className: 'badge' }), make('progress', { max: 1, hidden: true, aria: { label: 'done so far' } })),
  fill(cell, item) {
    const [badge, bar] = [part(cell, 0), /** @type {HTMLProgressElement} */ (cell.children[1])];
    const name = stateOf(item);
    if (badge.dataset.state !== name) {
      badge.dataset.state = name;
      badge.className = `badge ${stateTone(name)}`;
      badge.textContent = stateWords(name);
    }
    const progress = 'state' in item ? item.progress : null;
    bar.hidden = progress === null;
    if (progress !== null && bar.value !== progress) bar.value = progress;
  },
};

/** @type {MessageColumn} */
const message = {
  label: 'Message',
  name: 'message',
  head: true,
  make(cell) {
    cell.append(actButton('life', '', 'open'), make('span', { className: 'by', dir: 'auto' }));
    part(cell, 0).dir = 'auto';
  },
  fill(cell, item) {
    const text = shownText(item.text);
    setText(part(cell, 0), text);
    part(cell, 0).title = text;
    setText(part(cell, 1), shownAuthor(item.author));
  },
};

/** @type {MessageColumn} */
const room = {
  label: 'Room',
  name: 'room',
  make: (cell) => cell.append(make('a')),
  fill(cell, item) {
    const link = /** @type {HTMLAnchorElement} */ (cell.children[0]);
    if (link.textContent === item.room) return;
    link.textContent = item.room;
    link.href = `/r/${encodeURIComponent(item.room)}#m-${item.message_id}`;
  },
};

/** @type {MessageColumn} */
const bot = { label: 'Bot', name: 'bot', fill: (cell, item) => setText(cell, item.bot) };

/** @type {MessageColumn} */
const holder = { label: 'Holder', name: 'holder', fill: (cell, item) => setText(cell, item.worker ?? '–') };

/** @type {MessageColumn} */
const tries = {
  label: 'Tries',
  name: 'number',
  fill: (cell, item) => setText(cell, String('attempts' in item ? item.attempts : item.attempt)),
};

/** @type {MessageColumn} */
const asked = {
  label: 'Age',
  name: 'number age',
  live: true,
  fill: (cell, item, { now }) => time(cell, item.asked_at, age(item.asked_at, now)),
};

/** @type {MessageColumn} */
const endedAt = {
  label: 'Ended',
  name: 'number age',
  live: true,
  fill(cell, item, { now }) {
    if ('ended_at' in item) time(cell, item.ended_at, relative(item.ended_at, now));
  },
};

/** The cell's sentence and, below it, what the server said to the last deed. @param {HTMLElement} cell */
const sentence = (cell) => cell.append(make('span', { className: 'sentence' }), make('span', { className: 'note', hidden: true }));

/** @param {HTMLElement} cell @param {string} id @param {Context} context */
function fillNote(cell, id, { noteOf }) {
  const words = noteOf(id);
  part(cell, 1).hidden = !words;
  setText(part(cell, 1), words);
}

/** @type {MessageColumn} */
const why = {
  label: 'Why',
  name: 'why',
  live: true,
  make: sentence,
  fill(cell, item, context) {
    if (!('state' in item)) return;
    const { text, stuck } = whyOf(item, context.store, context.now);
    setText(part(cell, 0), text);
    cell.classList.toggle('stuck', stuck);
    fillNote(cell, item.message_id, context);
  },
};

/** @type {MessageColumn} */
const reason = {
  label: 'Reason',
  name: 'why',
  make: sentence,
  fill(cell, item, context) {
    setText(part(cell, 0), item.reason ?? 'no reason given');
    fillNote(cell, item.message_id, context);
  },
};

/**
 * @param {string} act
 * @param {string} words
 * @returns {MessageColumn}
 */
const deed = (act, words) => ({
  label: 'Action',
  name: 'deed',
  make: (cell) => cell.append(actButton(act, words)),
  fill(cell, item, { isBusy }) {
    const button = /** @type {HTMLButtonElement} */ (cell.children[0]);
    const busy = isBusy(item.message_id);
    button.setAttribute('aria-disabled', String(busy)); // not `disabled`: that would lose the focus
    const label = `${words}: ${shownText(item.text).slice(0, 60)}`;
    if (button.getAttribute('aria-label') !== label) button.setAttribute('aria-label', label);
  },
});

/** @type {MessageColumn} */
const pair = {
  label: 'Reply',
  name: 'pair',
  fill(cell, item) {
    if (!('status' in item)) return;
    setText(cell, pairWords(item));
    cell.classList.toggle('good', item.status === 'answered');
  },
};

/** @type {MessageColumn} */
const answer = {
  label: 'Answer',
  name: 'answer',
  make(cell) {
    cell.dir = 'auto';
  },
  fill(cell, item) {
    if (!('status' in item)) return;
    const text = item.status === 'answered' ? shownText(item.reply) : '–';
    setText(cell, text);
    cell.title = text;
  },
};

/**
 * @param {string} label
 * @param {'waited_ms' | 'first_token_ms'} name
 * @returns {MessageColumn}
 */
const lasted = (label, name) => ({
  label,
  name: 'number',
  fill: (cell, item) => setText(cell, 'status' in item ? measured(item[name]) : '–'),
});

export const OPEN_COLUMNS = [state, message, room, bot, why, holder, tries, asked, deed('cancel', 'Cancel')];
export const FAILED_COLUMNS = [state, message, room, bot, reason, holder, tries, endedAt, deed('retry', 'Retry')];
export const DONE_COLUMNS = [
  pair, message, answer, room, bot, lasted('Waited', 'waited_ms'), lasted('First word', 'first_token_ms'), tries, holder, endedAt,
];
