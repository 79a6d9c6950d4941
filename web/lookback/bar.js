// The bar below a look back: from message to message, play, and any moment between the room's first and last message.

import { make } from '../parts/dom.js';
import { absolute, dayWords } from '../parts/time.js';
import { PAGE_STEPS, STEPS, stepOf, timeOf } from './scale.js';

/** @typedef {import('./scale.js').Scale} Scale */
/**
 * @typedef {object} Does  what the bar asks for
 * @property {(at: number) => void} go
 * @property {(way: -1|1) => void} step  to the message before or after
 * @property {() => void} play           begins or ends it
 * @property {() => void} leave
 */

const SPEEDS = [1, 10, 100];

export class Bar {
  /** @param {Does} does @param {() => number} now */
  constructor(does, now) {
    this.now = now;
    /** @type {Scale|null} */
    this.scale = null;
    this.range = make('input', { type: 'range', className: 'scrub', min: '0', max: `${STEPS}`, value: `${STEPS}`, disabled: true, aria: { label: 'Moment' } });
    this.playing = make('button', { type: 'button', className: 'button quiet small play', onclick: does.play }, 'Play');
    this.speed = make('select', { className: 'field speed', title: 'How fast', aria: { label: 'Speed' } }, ...SPEEDS.map((speed) => make('option', { value: `${speed}`, selected: speed === 10 }, `${speed}×`)));
    const button = (/** @type {string} */ words, /** @type {string} */ title, /** @type {() => void} */ onclick) =>
      make('button', { type: 'button', className: 'button quiet small', title, onclick, aria: { label: title } }, words);
    this.first = make('time', null);
    this.last = make('span', null, 'now');
    this.element = make('div', { className: 'look-bar', role: 'group', aria: { label: 'Moments of this room' } },
      make('div', { className: 'column' },
        make('div', { className: 'look-line' }, this.first, this.range, this.last),
        make('div', { className: 'look-line' },
          button('‹', 'To the message before', () => does.step(-1)), this.playing, this.speed, button('›', 'To the message after', () => does.step(1)),
          make('button', { type: 'button', className: 'button small leave', onclick: does.leave }, 'Back to now'))));
    this.range.addEventListener('input', () => {
      const at = this.scale && timeOf(this.scale, this.range.valueAsNumber, now());
      if (at !== null) does.go(at);
    });
    this.range.addEventListener('keydown', (event) => this.key(event, does));
  }

  /** Arrows go from message to message, which a step of a long bar would jump over. @param {KeyboardEvent} event @param {Does} does */
  key(event, does) {
    if (event.altKey || event.ctrlKey || event.metaKey || !this.scale) return;
    const way = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1 }[event.key];
    const page = { PageDown: -PAGE_STEPS, PageUp: PAGE_STEPS }[event.key];
    if (way === undefined && page === undefined) return;
    event.preventDefault();
    if (way) does.step(way > 0 ? 1 : -1);
    else if (page) does.go(timeOf(this.scale, Math.min(STEPS, Math.max(0, this.range.valueAsNumber + page)), this.now()));
  }

  /** Where the bar stands and what it says. @param {number} at ms */
  point(at) {
    if (this.scale) this.range.value = `${stepOf(this.scale, at)}`;
    this.range.setAttribute('aria-valuetext', absolute(at));
  }

  /** @param {Scale|null} scale */
  setScale(scale) {
    this.scale = scale;
    this.range.disabled = scale === null;
    if (!scale) return;
    this.first.dateTime = new Date(scale.first).toISOString();
    this.first.title = absolute(scale.first);
    this.first.textContent = dayWords(scale.first, this.now());
  }

  /** @param {boolean} playing */
  setPlaying(playing) {
    this.playing.textContent = playing ? 'Pause' : 'Play';
    this.playing.setAttribute('aria-pressed', String(playing));
  }

  get factor() {
    return Number(this.speed.value);
  }
}
