// The field in which one writes: what is written is kept per room, also over a reload; a message can be quoted; what is too long
// is counted and not sent.

import { make } from '../parts/dom.js';
import { isVisible } from './visible.js';

/**
 * @typedef {{ text: string, to?: string[], reply_to?: string }} Said
 * @typedef {import('./model.js').Message} Message
 * @typedef {{ form: HTMLFormElement, text: HTMLTextAreaElement, ask: import('./ask.js').Ask, quote: HTMLElement, quoteText: HTMLElement,
 *   count: HTMLElement, fault: HTMLElement }} Parts
 */

/** From this share of the longest text on it is said how much is left. */
const COUNT_FROM = 0.8;

const UTF8 = new TextEncoder();

/** @param {string} text @returns {number} its length as the server counts it */
export const bytesOf = (text) => UTF8.encode(text).length;

/**
 * What is said of a text's length.
 *
 * @param {number} bytes
 * @param {number} max
 * @returns {{ left: string, fault: string }} '' where there is nothing to say
 */
export function lengthWords(bytes, max) {
  const over = bytes - max;
  const number = Math.abs(over).toLocaleString('en');
  if (over > 0) return { left: `${number} too long`, fault: `This message is too long by ${number} bytes. Shorten it, or send it in parts.` };
  return { left: bytes >= max * COUNT_FROM ? `${number} left` : '', fault: '' };
}

export class Composer {
  /** The message that is replied to. @type {string | null} */
  quoting = null;
  /** The longest text that the server takes, once that is known. */
  #bytesMax = Infinity;

  /**
   * @param {Parts} parts
   * @param {{ room: string, storage: import('./storage.js').Kept, send: (said: Said) => boolean }} outside `send` tells whether it was taken;
   *   it throws when it cannot be
   */
  constructor(parts, outside) {
    this.parts = parts;
    this.outside = outside;
    this.key = `antiphon-draft:${outside.room}`;
    parts.text.value = outside.storage.getItem(this.key) ?? '';
    parts.text.addEventListener('input', () => this.#keep());
    parts.form.addEventListener('submit', (event) => {
      event.preventDefault();
      this.submit();
    });
    this.#keep();
  }

  get empty() {
    return this.parts.text.value === '';
  }

  /** @param {number} bytes */
  set bytesMax(bytes) {
    this.#bytesMax = bytes;
    this.#measure();
  }

  focus() {
    this.parts.text.focus();
  }

  submit() {
    const { text, ask, fault } = this.parts;
    if (!isVisible(text.value)) return;
    fault.textContent = this.#measure();
    if (fault.textContent !== '') return;
    /** @type {Said} */
    const said = { text: text.value };
    const { to } = ask;
    if (to) said.to = to;
    if (this.quoting) said.reply_to = this.quoting;
    try {
      if (!this.outside.send(said)) return;
    } catch (error) {
      fault.textContent = error instanceof Error ? error.message : String(error);
      return;
    }
    ask.sent();
    this.dropQuote();
    this.put('');
  }

  /** Replaces what is written. @param {string} text */
  put(text) {
    this.parts.text.value = text;
    this.#keep();
    this.parts.text.setSelectionRange(text.length, text.length);
  }

  /** What was to be said is in the field again. @param {Said} said @param {Message} [quoted] what it replied to */
  restore(said, quoted) {
    this.put(said.text);
    this.parts.ask.choose(said.to);
    if (quoted) this.quote(quoted);
    this.focus();
  }

  /** @param {Message} message */
  quote({ id, author, text }) {
    this.quoting = id;
    this.parts.quoteText.replaceChildren(make('bdi', null, author.name), ': ', make('bdi', null, text));
    this.parts.quote.hidden = false;
    this.focus();
  }

  dropQuote() {
    this.quoting = null;
    this.parts.quote.hidden = true;
  }

  /** Keeps the draft, and the field as high as its text. */
  #keep() {
    const { text, fault } = this.parts;
    const { storage } = this.outside;
    if (text.value) storage.setItem(this.key, text.value);
    else storage.removeItem(this.key);
    fault.textContent = '';
    this.#measure();
    text.style.height = 'auto';
    text.style.height = `${text.scrollHeight + 2}px`; // and the border; the style sheet bounds it
  }

  /** @returns {string} what is wrong with the length */
  #measure() {
    const { left, fault } = lengthWords(bytesOf(this.parts.text.value), this.#bytesMax);
    const { count } = this.parts;
    if (count.textContent !== left) count.textContent = left;
    count.classList.toggle('bad', fault !== '');
    return fault;
  }
}
