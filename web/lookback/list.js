// The messages of a look back as elements: those that stay keep theirs while one goes from moment to moment.

import { make } from '../parts/dom.js';
import { renderItem, updateItem } from '../room/item.js';
import { keep } from '../room/keep.js';

/** @typedef {import('../room/model.js').Item} Item */
/** @typedef {import('../room/model.js').Message} Message */

export class List {
  /** @param {() => void} older asks for the messages before those that are there */
  constructor(older) {
    this.log = make('div', { className: 'look-log' });
    this.older = make('button', { type: 'button', className: 'button quiet small', hidden: true, onclick: older }, 'Earlier messages');
    this.empty = make('p', { className: 'look-empty', hidden: true }, 'Nothing had been said here yet.');
    this.element = make('div', { className: 'look-scroll', role: 'region', tabIndex: 0, aria: { label: 'Messages then' } },
      make('div', { className: 'column' }, make('p', { className: 'look-older' }, this.older), this.log, this.empty));
    this.log.addEventListener('click', (event) => this.clicked(event));
  }

  /** @param {Item[]} items @param {number} now the moment @param {boolean} more whether there are earlier ones */
  show(items, now, more) {
    /** @type {Map<string, Message>} */
    const known = new Map(items.flatMap(({ message, replies }) => [message, ...replies].map((each) => [each.id, each])));
    const contextOf = (/** @type {number} */ index) => ({ now, previous: items[index - 1] ?? null, find: (/** @type {string} */ id) => known.get(id), live: false });
    keep(this.log, items.map((item, index) => ({
      key: item.message.id,
      make: () => renderItem(item, contextOf(index)),
      update: (element) => updateItem(element, item, contextOf(index)),
    })));
    this.empty.hidden = items.length > 0;
    this.older.hidden = !more;
  }

  toEnd() {
    this.element.scrollTop = this.element.scrollHeight;
  }

  /** Puts messages above without moving what is seen. @param {() => void} change */
  above(change) {
    const { scrollHeight, scrollTop } = this.element;
    change();
    this.element.scrollTop = scrollTop + this.element.scrollHeight - scrollHeight;
  }

  /** @param {string} id of a message @returns {boolean} whether it is there */
  goTo(id) {
    const found = this.log.querySelector(`[data-id="${CSS.escape(id)}"].msg`);
    found?.scrollIntoView({ block: 'center' });
    if (found instanceof HTMLElement) found.focus({ preventScroll: true });
    return found !== null;
  }

  /** A quoted line leads to what it quotes. @param {Event} event */
  clicked(event) {
    const quote = event.target instanceof Element ? event.target.closest('[data-act="jump"]') : null;
    if (quote instanceof HTMLElement) this.goTo(quote.dataset.to ?? '');
  }
}
