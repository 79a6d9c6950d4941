// What is before the first message on the page: loaded page by page, without moving what the reader sees, until the
// room's beginning or the page's bound.

import { KEPT_MAX } from './store.js';

/**
 * @typedef {{ status: number, detail: string }} Fault
 * @typedef {import('./model.js').Message} Message
 */

const PAGE = 50;

/** A jump far back loads so many at once. */
const JUMP_PAGE = 500;

export class History {
  /** Whether the room has messages before those on the page. */
  more = false;
  /** @type {Promise<void> | null} */
  #loading = null;

  /**
   * @param {{ room: string, store: import('./store.js').Store,
   *   messages: (room: string, query: { before: string, limit: number }) => Promise<{ messages: Message[] }>,
   *   message: (id: string) => Promise<Message>,
   *   draw: (ids: Set<string>) => void, changed: () => void }} parts
   * `draw` draws at once and keeps the reader's place; `changed` is told when `more`, `full` or `loading` did
   */
  constructor(parts) {
    this.parts = parts;
  }

  get full() {
    return this.parts.store.order.length >= KEPT_MAX;
  }

  get loading() {
    return this.#loading !== null;
  }

  /** Loads older messages, if there are any and nothing is being loaded. @param {number} [limit] @returns {Promise<void>} */
  older(limit = PAGE) {
    if (!this.more || this.full) return Promise.resolve();
    this.#loading ??= this.#load(limit).finally(() => {
      this.#loading = null;
      this.parts.changed();
    });
    this.parts.changed();
    return this.#loading;
  }

  /** @param {number} limit */
  async #load(limit) {
    const { room, store, messages, draw } = this.parts;
    const page = await messages(room, { before: store.oldest, limit });
    this.more = page.messages.length === limit;
    draw(store.older(page.messages));
  }

  /** Loads back to a position, as far as the page goes. @param {string} position */
  async back(position) {
    while (this.parts.store.oldest > position && this.more && !this.full) await this.older(JUMP_PAGE);
  }

  /**
   * Loads until a message is on the page.
   *
   * @param {string} id
   * @returns {Promise<{ found: true } | { found: false, message: Message }>} not found: it is in another room, or further
   *   back than the page goes
   */
  async reach(id) {
    const { room, store, message } = this.parts;
    if (store.message(id)) return { found: true };
    const wanted = await message(id);
    if (wanted.room === room) await this.back(wanted.position);
    return store.message(id) ? { found: true } : { found: false, message: wanted };
  }
}
