// The field in which one writes: what is written is kept per room, also over a reload; a message can be quoted; and who is
// to answer can be chosen.

/**
 * @typedef {{ text: string, to?: string[], reply_to?: string }} Said
 * @typedef {import('./model.js').Message} Message
 * @typedef {{ form: HTMLFormElement, text: HTMLTextAreaElement, to: HTMLSelectElement, quote: HTMLElement, quoteText: HTMLElement,
 *   fault: HTMLElement }} Parts
 */

/** Who is to answer: the room's rule, or nobody; anything else is a bot's name. */
const BY_RULE = '';
const NOBODY = '-';

export class Composer {
  /** The message that is replied to. @type {string | null} */
  quoting = null;

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

  focus() {
    this.parts.text.focus();
  }

  submit() {
    const { text, to, fault } = this.parts;
    if (text.value.trim() === '') return;
    /** @type {Said} */
    const said = { text: text.value };
    if (to.value !== BY_RULE) said.to = to.value === NOBODY ? [] : [to.value];
    if (this.quoting) said.reply_to = this.quoting;
    try {
      if (!this.outside.send(said)) return;
    } catch (error) {
      fault.textContent = error instanceof Error ? error.message : String(error);
      return;
    }
    this.dropQuote();
    this.put('');
  }

  /** Replaces what is written. @param {string} text */
  put(text) {
    this.parts.text.value = text;
    this.#keep();
    this.parts.text.setSelectionRange(text.length, text.length);
  }

  /** @param {Message} message */
  quote({ id, author, text }) {
    this.quoting = id;
    this.parts.quoteText.textContent = `${author.name}: ${text}`;
    this.parts.quote.hidden = false;
    this.focus();
  }

  dropQuote() {
    this.quoting = null;
    this.parts.quote.hidden = true;
  }

  /** The bots that can be asked. @param {string[]} names */
  setBots(names) {
    const { to } = this.parts;
    const chosen = to.value;
    to.replaceChildren(new Option('automatic answer', BY_RULE), ...names.map((name) => new Option(`${name} answers`, name)), new Option('no answer', NOBODY));
    to.value = [...to.options].some(({ value }) => value === chosen) ? chosen : BY_RULE;
  }

  /** Keeps the draft, and the field as high as its text. */
  #keep() {
    const { text, fault } = this.parts;
    const { storage } = this.outside;
    if (text.value) storage.setItem(this.key, text.value);
    else storage.removeItem(this.key);
    fault.textContent = '';
    text.style.height = 'auto';
    text.style.height = `${text.scrollHeight + 2}px`; // and the border; the style sheet bounds it
  }
}
