// Completes a bot's name after `@`: a list above the field, gone through with the arrows, taken with Enter, Tab or a click. Who
// takes a name asks that bot with this message.
//
// Not here: what `@name` means in a text that is sent without that (the server's rule).

import { make } from '../parts/dom.js';

/** @typedef {import('./ask.js').Bot} Bot */

/** So many names are shown at once. */
const SHOWN_MAX = 8;

/**
 * The name that is being written before the caret.
 *
 * @param {string} text
 * @param {number} caret
 * @returns {{ from: number, words: string } | null} `from`: where its `@` is
 */
export function writtenName(text, caret) {
  const found = /(?:^|[\s([{"'])@([\w.-]{0,64})$/.exec(text.slice(Math.max(0, caret - 80), caret));
  return found ? { from: caret - (found[1] ?? '').length - 1, words: found[1] ?? '' } : null;
}

/** @param {Bot[]} bots @param {string} words */
export const namesFor = (bots, words) => bots.filter(({ name }) => name.toLowerCase().startsWith(words.toLowerCase())).slice(0, SHOWN_MAX);

export class Names {
  /** @type {Bot[]} */
  #shown = [];
  #at = 0;

  /**
   * @param {{ text: HTMLTextAreaElement, list: HTMLElement }} parts
   * @param {{ bots: () => Bot[], taken: (name: string) => void }} outside `taken`: a bot was named
   */
  constructor(parts, outside) {
    this.parts = parts;
    this.outside = outside;
    const { text, list } = parts;
    text.addEventListener('input', () => this.#look());
    text.addEventListener('blur', () => this.#close());
    text.addEventListener('keydown', (event) => this.#key(event));
    list.addEventListener('pointerdown', (event) => {
      event.preventDefault(); // the field keeps the focus
      const option = event.target instanceof Element ? event.target.closest('[role=option]') : null;
      if (option) this.#take([...list.children].indexOf(option));
    });
  }

  get open() {
    return this.#shown.length > 0;
  }

  #written() {
    const { text } = this.parts;
    return text.selectionStart === text.selectionEnd ? writtenName(text.value, text.selectionStart) : null;
  }

  #look() {
    const written = this.#written();
    this.#show(written ? namesFor(this.outside.bots(), written.words) : []);
  }

  #close() {
    this.#show([]);
  }

  /** @param {Bot[]} bots */
  #show(bots) {
    const { text, list } = this.parts;
    this.#shown = bots;
    this.#at = 0;
    list.hidden = !this.open;
    list.replaceChildren(...bots.map(({ name, state, model }, at) =>
      make('li', { id: `name-${at}`, role: 'option' }, make('span', null, `@${name}`), make('span', { className: 'what' }, STATES[state] ?? model ?? ''))));
    this.#mark();
    if (!this.open) text.removeAttribute('aria-activedescendant');
  }

  #mark() {
    [...this.parts.list.children].forEach((option, at) => option.setAttribute('aria-selected', String(at === this.#at)));
    if (this.open) this.parts.text.setAttribute('aria-activedescendant', `name-${this.#at}`);
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (!this.open || event.isComposing) return;
    const by = event.key === 'ArrowDown' ? 1 : event.key === 'ArrowUp' ? -1 : 0;
    if (by !== 0) {
      this.#at = (this.#at + by + this.#shown.length) % this.#shown.length;
      this.#mark();
    } else if (event.key === 'Enter' || event.key === 'Tab') {
      this.#take(this.#at);
    } else if (event.key === 'Escape') {
      this.#close();
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation(); // it is not sent, and nothing is stopped
  }

  /** @param {number} at */
  #take(at) {
    const { text } = this.parts;
    const [written, bot] = [this.#written(), this.#shown[at]];
    if (!written || !bot) return this.#close();
    text.setRangeText(`@${bot.name} `, written.from, text.selectionStart, 'end');
    text.dispatchEvent(new Event('input'));
    this.#close();
    this.outside.taken(bot.name);
  }
}

/** @type {Record<string, string>} */
const STATES = { paused: 'unavailable', 'no-worker': 'offline' };
