// The small bar of a message: reply, copy, link … There is one for the whole page; it goes to the message under the
// pointer, or to the one that has the focus, so that thousands of messages do not carry thousands of buttons.

import { actButton, make } from '../parts/dom.js';

/** @typedef {{ act: string, words: string }} Offer */

export class Toolbar {
  #element = make('div', { className: 'tools', role: 'toolbar', aria: { label: 'This message' } });
  /** @type {HTMLElement | null} */
  #at = null;

  /**
   * @param {HTMLElement} area with the messages (`.msg`)
   * @param {(id: string) => Offer[]} offers what can be done with a message
   */
  constructor(area, offers) {
    this.offers = offers;
    const go = (/** @type {Event} */ { target }) => {
      const message = target instanceof Element ? target.closest('.msg') : null;
      if (message instanceof HTMLElement && message !== this.#at) this.show(message);
    };
    area.addEventListener('pointerover', (event) => { if (!this.#element.contains(document.activeElement)) go(event); }, { passive: true });
    area.addEventListener('focusin', go);
    area.addEventListener('click', go);
    area.addEventListener('pointerleave', () => {
      const focused = document.activeElement?.closest('.msg');
      if (!(focused instanceof HTMLElement && area.contains(focused))) this.hide();
      else if (focused !== this.#at) this.show(focused); // the pointer had taken it from there
    });
  }

  /** @param {HTMLElement} message */
  show(message) {
    this.#at = message;
    this.#element.replaceChildren(...this.offers(message.dataset.id ?? '').map(({ act, words }) => actButton(act, words, 'tool')));
    if (this.#element.childElementCount === 0) return this.hide();
    message.append(this.#element);
  }

  hide() {
    this.#at = null;
    this.#element.remove();
  }

  /** Offers something else in the place of the button that was pressed. @param {string} act @param {string} words */
  replace(act, words) {
    const button = document.activeElement;
    if (!(button instanceof HTMLButtonElement) || !this.#element.contains(button)) return;
    button.dataset.act = act;
    button.textContent = words;
  }
}
