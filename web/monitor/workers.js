// The columns of the table of workers: who answers for which bots, what each holds, and when it was last heard.

import { make } from '../parts/dom.js';
import { part, time } from './rows.js';
import { setText } from './table.js';
import { SILENT_MS } from './why.js';
import { age, counted, shownText, stateWords, wholeSpan } from './words.js';

/** @import { Worker } from './types.js' */
/** @import { Context } from './rows.js' */
/** @import { Column } from './table.js' */

const HOLDS_SHOWN = 8; // messages named in a worker's row; the rest is counted

/** @type {Column<Worker, Context>[]} */
export const WORKER_COLUMNS = [
  { label: 'Worker', name: 'worker', head: true, fill: (cell, { worker }) => setText(cell, worker) },
  { label: 'Kind', name: 'kind', fill: (cell, { kind }) => setText(cell, kind) },
  { label: 'Answers for', name: 'bots', fill: (cell, { bots }) => setText(cell, bots.join(', ') || '–') },
  { label: 'Models', name: 'models', fill: (cell, { models }) => setText(cell, models.join(', ') || '–') },
  {
    label: 'Does',
    name: 'does',
    live: true,
    make: (cell) => cell.append(make('span', { className: 'badge' })),
    fill(cell, worker, { now }) {
      const { words, tone } = workerState(worker, now);
      const badge = part(cell, 0);
      setText(badge, words);
      badge.className = `badge ${tone}`;
    },
  },
  { label: 'Holds', name: 'holds', live: true, fill: fillHolds },
  {
    label: 'Last heard',
    name: 'number age',
    live: true,
    fill: (cell, { last_seen_at: at }, { now }) => time(cell, at, at ? `${age(at, now)} ago` : 'not yet'),
  },
];

/**
 * @param {Worker} worker
 * @param {number} now
 * @returns {{ words: string, tone: string }}
 */
export function workerState({ kind, holds, waiting, last_seen_at }, now) {
  const silent = last_seen_at ? now - Date.parse(last_seen_at) : 0;
  if (kind === 'remote' && holds.length > 0 && silent > SILENT_MS) return { words: 'heartbeat missing', tone: 'bad' };
  if (holds.length > 0) return { words: waiting > 0 ? `works, ${waiting} free` : 'works', tone: '' };
  return waiting > 0 ? { words: waiting > 1 ? `${waiting} free` : 'free', tone: 'good' } : { words: 'away', tone: 'plain' };
}

/**
 * @param {HTMLElement} cell
 * @param {Worker} worker
 * @param {Context} context
 */
function fillHolds(cell, { holds }, { store, now }) {
  const shown = holds.slice(0, HOLDS_SHOWN);
  const key = `${shown.map(({ message_id }) => message_id).join()} ${holds.length}`;
  if (cell.dataset.holds !== key) {
    cell.dataset.holds = key;
    cell.replaceChildren(...shown.map(({ message_id, room: name }) => {
      const text = shownText(store.find(message_id)?.text ?? `a message in ${name}`);
      return make('span', { className: 'hold' }, make('button', { type: 'button', className: 'open', data: { act: 'life', id: message_id } }, text), make('span', { className: 'by' }));
    }));
    if (holds.length > shown.length) cell.append(`and ${counted(holds.length - shown.length, 'more', 'more')}`);
    if (holds.length === 0) cell.append('–');
  }
  shown.forEach(({ stage, progress, deltas, claimed_at }, at) => {
    const done = progress === null ? '' : ` ${Math.round(progress * 100)} %`;
    const words = `${stateWords(stage ?? 'claimed')}${done}${deltas ? `, ${counted(deltas, 'piece')}` : ''} · ${wholeSpan(now - Date.parse(claimed_at))}`;
    const by = cell.children[at]?.children[1];
    if (by) setText(by, words);
  });
}
