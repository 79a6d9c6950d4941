// What the reader has seen of a room: keeps how far it was read, counts the rest in the title, and shows two ways: down to the
// newest message, up to the first unread one.
//
// Unread messages count as read once the first of them was in sight and the newest is: who comes back to more than a screen
// of them still finds the first. Not here: counting (unread.js), where what was read is kept (rooms.js).

import { byId, settled } from '../parts/dom.js';
import { isAfter, keepSeen, seenUpTo } from './rooms.js';
import { titleOf } from './status.js';
import { Unread } from './unread.js';

/** @typedef {import('./model.js').Message} Message */

/**
 * @typedef {{ room: string, storage: import('./storage.js').Kept, store: import('./store.js').Store, scroll: import('./scroll.js').Scroll,
 *   isOwn: (message: Message) => boolean, element: (id: string) => HTMLElement | undefined, draw: (ids: string[]) => void,
 *   back: (position: string) => Promise<void>, jump: (id: string) => Promise<void> }} Parts
 *   `element`: of a message; `draw`: items have changed; `back`: loads history back to a position; `jump`: brings a message
 *   into sight
 */

export class Seen {
  unread = new Unread();
  #begun = false;
  /** Whether the first unread message was in sight. */
  #reached = false;
  /** How far the room was read when it was opened. */
  #read = '';
  /** Whether there may be unread messages before the first on the page. */
  #more = false;

  /** @param {Parts} parts */
  constructor(parts) {
    this.parts = parts;
    byId('to-end').addEventListener('click', () => parts.scroll.toEnd());
    byId('to-unread').addEventListener('click', () => void this.#toFirst());
    byId('all-read').addEventListener('click', () => this.#allRead());
    document.addEventListener('visibilitychange', () => settled(() => this.look()));
  }

  /** Whether the reader sees what comes. */
  get #watched() {
    return this.parts.scroll.atEnd && document.visibilityState === 'visible';
  }

  /** The first messages are there. @param {Message[]} messages @param {boolean} more whether the room has earlier ones */
  begin(messages, more) {
    this.#begun = true;
    this.#read = seenUpTo(this.parts.storage, this.parts.room);
    const fresh = messages.filter(({ position }) => isAfter(position, this.#read));
    this.#more = more && fresh.length > 0 && fresh.length === messages.length;
    this.#come(fresh, false);
    this.#title();
  }

  /** @param {Message[]} messages */
  came(messages) {
    this.#come(messages, this.#watched);
    this.#title();
    settled(() => this.look());
  }

  /** @param {Message[]} messages @param {boolean} watched */
  #come(messages, watched) {
    const before = this.unread.count;
    const { draw } = this.parts;
    draw(this.unread.came(messages, watched, (message) => this.#place(message)));
    if (before === 0 && this.unread.count > 0) this.#reached = false;
  }

  /** @param {Message} message */
  #place(message) {
    const { isOwn, store } = this.parts;
    return isOwn(message) ? null : (store.find(message.id)?.message.id ?? null);
  }

  /** Looks at what is in sight now: to be called when the layout has come to rest, or the reader has moved. */
  look() {
    if (!this.#begun) return;
    const { scroll, room, storage, store } = this.parts;
    const where = this.#first();
    if (where === 'in' && document.visibilityState === 'visible') this.#reached = true;
    if (this.#watched && (this.#reached || this.unread.count === 0)) {
      this.unread.seen();
      keepSeen(storage, room, store.newest);
    }
    this.#title();
    this.#ways(scroll.atEnd, where);
  }

  /** Where the first unread message is. @returns {import('./scroll.js').Place | null} */
  #first() {
    const { count, first } = this.unread;
    const element = count > 0 && first ? this.parts.element(first) : undefined;
    return element ? this.parts.scroll.placeOf(element) : null;
  }

  /** @param {boolean} atEnd @param {import('./scroll.js').Place | null} where */
  #ways(atEnd, where) {
    const { count } = this.unread;
    const down = byId('to-end');
    say(down, count > 0 && where !== 'above' ? `${count} new ↓` : 'To the newest ↓');
    down.hidden = atEnd;
    byId('unread').hidden = count === 0 || this.#reached || where !== 'above';
    say(byId('to-unread'), `${count}${this.#more ? '+' : ''} new ↑`);
  }

  /** Up to the first unread message, also if it is not on the page yet. */
  async #toFirst() {
    const { back, draw, jump, store } = this.parts;
    if (this.#more) {
      await back(this.#read);
      this.#more = false;
      draw(this.unread.clear());
      this.#come(store.messages().filter(({ position }) => isAfter(position, this.#read)), false);
    }
    await jump(this.unread.first ?? '');
  }

  #title() {
    const title = titleOf(this.parts.room, this.unread.count);
    if (document.title !== title) document.title = title;
  }

  #allRead() {
    this.#reached = true;
    this.parts.scroll.toEnd();
    this.look();
    byId('text').focus({ preventScroll: true });
  }

  /** The reader says something, and so has read all. */
  spoke() {
    this.parts.draw(this.unread.clear());
    this.look();
  }
}

/** @param {HTMLElement} element @param {string} words */
function say(element, words) {
  if (element.textContent !== words) element.textContent = words;
}
