// The picture of a message's life: a row of bars for each try above a scale of time. Made of plain elements whose places are
// set from a script, so that one in flight can grow without being made anew. Each row also says in words what it shows.

import { make } from '../parts/dom.js';
import { span } from '../parts/time.js';
import { setText } from './table.js';
import { KINDS, rowWords, scaleOf, ticksOf } from './timeline.js';

/** @import { Bar, Kind, Life, Row } from './timeline.js' */

const LABEL_SHARE = 9; // per cent of the width from which a bar has its time written in it

export class Picture {
  constructor() {
    this.rows = make('ol', { className: 'tries' });
    this.axis = make('div', { className: 'ticks', aria: { hidden: true } });
    this.legend = make('ul', { className: 'legend', aria: { label: 'What the bars mean' } });
    this.element = make('div', { className: 'picture' }, this.rows, this.axis, this.legend);
    this.shape = ''; // everything but the times of what still grows
  }

  /** @param {Life} life */
  set(life) {
    const shape = JSON.stringify(life.rows.map(({ bars, end, attempt }) => [attempt, end, bars.map(({ kind, open }) => [kind, open])]));
    if (shape !== this.shape) {
      this.shape = shape;
      this.rows.replaceChildren(...life.rows.map(rowElement));
      const kinds = new Set(life.rows.flatMap(({ bars }) => bars.map(({ kind }) => kind)));
      const known = /** @type {Kind[]} */ (Object.keys(KINDS)).filter((kind) => kinds.has(kind));
      this.legend.replaceChildren(...known.map((kind) => make('li', null, make('span', { className: `bar ${kind}`, aria: { hidden: true } }), KINDS[kind])));
    }
    const place = scaleOf(life);
    life.rows.forEach((row, at) => this.#place(/** @type {Element} */ (this.rows.children[at]), row, place));
    this.#ticks(life, place);
  }

  /** @param {Element} element @param {Row} row @param {(at: number) => number} place */
  #place(element, row, place) {
    const [track, words] = [element.querySelector('.track'), element.querySelector('.row-words')];
    row.bars.forEach((bar, at) => {
      const drawn = /** @type {HTMLElement | undefined} */ (track?.children[at]);
      if (!drawn) return;
      const [left, right] = [place(bar.from), place(bar.to)];
      drawn.style.left = `${left}%`;
      drawn.style.width = `${right - left}%`;
      drawn.title = barWords(bar);
      setText(drawn, right - left > LABEL_SHARE ? span(bar.to - bar.from) : '');
    });
    if (words) setText(words, rowWords(row));
  }

  /** @param {Life} life @param {(at: number) => number} place */
  #ticks(life, place) {
    const ticks = ticksOf(life);
    const marks = life.gaps.map(({ from, to }) => ({ at: (place(from) + place(to)) / 2, words: `${span(to - from)} later`, className: 'tick gap' }));
    const all = [...ticks.map((ms) => ({ at: place(life.from + ms), words: ms === 0 ? '0' : span(ms), className: 'tick' })), ...marks];
    while (this.axis.children.length > all.length) this.axis.lastChild?.remove();
    all.forEach(({ at, words, className }, index) => {
      const drawn = /** @type {HTMLElement} */ (this.axis.children[index] ?? this.axis.appendChild(make('span')));
      drawn.className = className;
      drawn.style.left = `${at}%`;
      setText(drawn, words);
    });
  }
}

/** @param {Bar} bar */
const barWords = ({ kind, from, to, open }) => `${KINDS[kind]}: ${span(to - from)}${open ? ' so far' : ''}`;

/** @param {Row} row */
function rowElement({ attempt, worker, bars, end, good }) {
  const name = attempt ? `Try ${attempt}` : 'Not yet claimed';
  return make('li', null,
    make('p', { className: 'row-head' }, make('b', null, name), worker && ` ${worker}`,
      end && make('span', { className: `badge ${good ? 'good' : end === 'cancelled' ? 'plain' : 'bad'}` }, end)),
    make('div', { className: 'track', aria: { hidden: true } }, ...bars.map(({ kind, open }) => make('span', { className: `bar ${kind}${open ? ' open' : ''}` }))),
    make('p', { className: 'row-words' }));
}
