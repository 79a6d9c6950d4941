// Small plots of the last hour: one bar a minute, newest on the right. What is drawn is reckoned by pure functions; a plot
// keeps its few nodes and sets their paths, whatever changes. The words say what the picture says, and a table has it all.

import { make } from '../parts/dom.js';
import { clock, millis, span } from '../parts/time.js';
import { measured } from './words.js';

/** @import { Minute, Queue, Spread, SpreadName } from './types.js' */

export const SLOTS = 60;
const MINUTE_MS = 60_000;
const HEIGHT = 100; // of the picture's own scale; CSS gives the real one
const WIDTH = 0.82; // of a bar; the rest is the gap to the next
const SVG = 'http://www.w3.org/2000/svg';

/** @typedef {{ slot: number, from: number, to: number }} Piece a piece of a bar, in the values' unit */
/** @typedef {{ name: string, pieces: Piece[] }} Layer */
/** @typedef {{ layers: Layer[], max: number }} Drawing */

/**
 * @param {string} at when a minute begins
 * @param {number} now
 * @returns {number} 59 is the minute that runs, 0 the first of the hour; less has gone
 */
export const slotOf = (at, now) => SLOTS - 1 - (Math.floor(now / MINUTE_MS) - Math.floor(millis(at) / MINUTE_MS));

/** @param {Minute[]} minutes @param {number} now @returns {{ slot: number, minute: Minute }[]} those that are in the picture */
const placed = (minutes, now) =>
  minutes.map((minute) => ({ slot: slotOf(minute.at, now), minute })).filter(({ slot }) => slot >= 0 && slot < SLOTS);

/**
 * What is in the picture, together. The server's own sums may reach further back: over the last 60 minutes in which something
 * happened.
 *
 * @param {Minute[]} minutes
 * @param {number} now
 * @returns {{ posted: number, answered: number, failed: number }}
 */
export function hourOf(minutes, now) {
  const all = placed(minutes, now).map(({ minute }) => minute);
  const sum = (/** @type {'posted' | 'answered' | 'failed'} */ name) => all.reduce((total, minute) => total + minute[name], 0);
  return { posted: sum('posted'), answered: sum('answered'), failed: sum('failed') };
}

/**
 * Answered below, failed tries on top of them, and a line at what was asked for where that was more.
 *
 * @param {Minute[]} minutes
 * @param {number} now
 * @returns {Drawing}
 */
export function throughput(minutes, now) {
  const all = placed(minutes, now);
  const max = Math.max(1, ...all.map(({ minute }) => Math.max(minute.posted, minute.answered + minute.failed)));
  const line = max / 40;
  const layer = (/** @type {string} */ name, /** @type {(minute: Minute) => [number, number]} */ reach) => ({
    name,
    pieces: all.map(({ slot, minute }) => ({ slot, from: reach(minute)[0], to: reach(minute)[1] })).filter(({ from, to }) => to > from),
  });
  return {
    max,
    layers: [
      layer('answered', ({ answered }) => [0, answered]),
      layer('failed', ({ answered, failed }) => [answered, answered + failed]),
      layer('posted', ({ posted, answered, failed }) => (posted > answered + failed ? [posted - line, posted] : [0, 0])),
    ],
  };
}

/**
 * Up to the median, from there to p95, from there to p99.
 *
 * @param {Minute[]} minutes
 * @param {SpreadName} name
 * @param {number} now
 * @returns {Drawing}
 */
export function spreads(minutes, name, now) {
  /** @type {{ slot: number, spread: Spread }[]} */
  const all = placed(minutes, now).flatMap(({ slot, minute }) => (minute[name] ? [{ slot, spread: minute[name] }] : []));
  const max = Math.max(1, ...all.map(({ spread }) => spread.p99));
  const line = max / 40; // so that a bar of 0 ms is seen
  return {
    max,
    layers: [
      { name: 'p50', pieces: all.map(({ slot, spread }) => ({ slot, from: 0, to: Math.max(line, spread.p50) })) },
      { name: 'p95', pieces: all.map(({ slot, spread }) => ({ slot, from: spread.p50, to: spread.p95 })) },
      { name: 'p99', pieces: all.map(({ slot, spread }) => ({ slot, from: spread.p95, to: spread.p99 })) },
    ],
  };
}

/**
 * @param {Piece[]} pieces
 * @param {number} max the value at the top
 * @returns {string} of an SVG path, in a picture of 60 by 100
 */
export function pathOf(pieces, max) {
  const y = (/** @type {number} */ value) => HEIGHT - (Math.min(value, max) / max) * HEIGHT;
  return pieces
    .filter(({ from, to }) => to > from)
    .map(({ slot, from, to }) => `M${round(slot + (1 - WIDTH) / 2)} ${round(y(to))}h${WIDTH}V${round(y(from))}h-${WIDTH}z`)
    .join('');
}

const round = (/** @type {number} */ value) => Math.round(value * 100) / 100;

/** @param {Spread | null} spread @returns {string} */
export const spreadWords = (spread) =>
  spread ? `p50 ${span(spread.p50)} · p95 ${span(spread.p95)} · p99 ${span(spread.p99)}` : 'none yet';

/**
 * The four plots of a queue.
 *
 * @type {readonly { title: string, draw: (queue: Queue, now: number) => Drawing, words: (queue: Queue, now: number) => string,
 *   one: (minute: Minute) => string, top: (max: number) => string }[]}
 */
export const PLOTS = [
  {
    title: 'Answered',
    draw: (queue, now) => throughput(queue.minutes, now),
    words: ({ minutes }, now) => countWords(hourOf(minutes, now)),
    one: (minute) => countWords(minute),
    top: (max) => String(max),
  },
  timed('Waiting', 'waiting_ms'),
  timed('First word', 'first_token_ms'),
  timed('Total', 'total_ms'),
];

/** @param {{ posted: number, answered: number, failed: number }} counts */
function countWords({ posted, answered, failed }) {
  return `${answered} of ${posted} asked, ${failed} failed`;
}

/** @param {string} title @param {SpreadName} name */
function timed(title, name) {
  return {
    title,
    draw: (/** @type {Queue} */ queue, /** @type {number} */ now) => spreads(queue.minutes, name, now),
    words: (/** @type {Queue} */ queue) => spreadWords(queue[name]),
    one: (/** @type {Minute} */ minute) => spreadWords(minute[name]),
    top: span,
  };
}

/** One plot on the page. */
export class Plot {
  /** @param {typeof PLOTS[number]} plot */
  constructor(plot) {
    this.plot = plot;
    this.words = make('span', { className: 'plot-words' });
    this.top = make('span', { className: 'plot-top', aria: { hidden: true } });
    this.svg = document.createElementNS(SVG, 'svg');
    for (const [name, value] of Object.entries({ viewBox: `0 0 ${SLOTS} ${HEIGHT}`, preserveAspectRatio: 'none', role: 'img' })) {
      this.svg.setAttribute(name, value);
    }
    /** @type {Map<string, SVGPathElement>} */
    this.paths = new Map();
    this.element = make('figure', { className: 'plot' },
      make('figcaption', null, make('span', { className: 'plot-title' }, plot.title), this.words),
      make('div', { className: 'plot-ground' }, this.svg, this.top),
      make('p', { className: 'plot-axis', aria: { hidden: true } }, make('span', null, '60 min ago'), make('span', null, 'now')));
    /** @type {Queue | null} */
    this.queue = null;
    this.now = 0;
    this.svg.addEventListener('pointermove', (event) => this.#point(event));
    this.svg.addEventListener('pointerleave', () => this.#say(null));
  }

  /** @param {Queue} queue @param {number} now */
  set(queue, now) {
    Object.assign(this, { queue, now });
    const { layers, max } = this.plot.draw(queue, now);
    for (const { name, pieces } of layers) {
      let path = this.paths.get(name);
      if (!path) {
        path = document.createElementNS(SVG, 'path');
        path.setAttribute('class', name);
        this.paths.set(name, path);
        this.svg.append(path);
      }
      path.setAttribute('d', pathOf(pieces, max));
    }
    this.top.textContent = layers.some(({ pieces }) => pieces.length > 0) ? this.plot.top(max) : '';
    this.svg.setAttribute('aria-label', `${this.plot.title}, ${queue.bot}, the last hour: ${this.plot.words(queue, now)}`);
    this.#say(null);
  }

  /** @param {PointerEvent} event says the minute that is pointed at */
  #point(event) {
    const box = this.svg.getBoundingClientRect();
    const slot = Math.floor(((event.clientX - box.left) / box.width) * SLOTS);
    this.#say(placed(this.queue?.minutes ?? [], this.now).find((one) => one.slot === slot)?.minute ?? null);
  }

  /** @param {Minute | null} minute */
  #say(minute) {
    if (this.queue) this.words.textContent = minute ? `${clock(minute.at)}  ${this.plot.one(minute)}` : this.plot.words(this.queue, this.now);
  }
}

const TABLE_HEAD = ['Minute', 'Asked', 'Answered', 'Failed', ...['Waiting', 'First word', 'Total'].flatMap((name) => [`${name} p50`, 'p95', 'p99'])];
const SPREADS = /** @type {const} */ (['waiting_ms', 'first_token_ms', 'total_ms']);

/**
 * The same as a table, newest first.
 *
 * @param {Queue} queue
 * @returns {HTMLTableElement}
 */
export function minutesTable(queue) {
  const row = (/** @type {Minute} */ minute) => [
    clock(minute.at), minute.posted, minute.answered, minute.failed,
    ...SPREADS.flatMap((name) => [measured(minute[name]?.p50), measured(minute[name]?.p95), measured(minute[name]?.p99)]),
  ];
  const cells = (/** @type {Minute} */ minute) => row(minute).map((value, at) =>
    at === 0 ? make('th', { scope: 'row' }, String(value)) : make('td', null, String(value)));
  return make('table', { className: 'minutes' },
    make('caption', { className: 'visually-hidden' }, `${queue.bot}: the minutes of the last hour in which something happened`),
    make('thead', null, make('tr', null, ...TABLE_HEAD.map((name) => make('th', { scope: 'col' }, name)))),
    make('tbody', null, ...[...queue.minutes].reverse().map((minute) => make('tr', null, ...cells(minute)))));
}
