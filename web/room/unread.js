// What the reader has not seen yet: how many, and from which message on (where the divider stands). Pure.

/** @typedef {import('./model.js').Message} Message */

export class Unread {
  count = 0;
  /** The first unread message; it stays, also when all are seen, until there is a new first one. @type {string | null} */
  from = null;

  /**
   * Messages came.
   *
   * @param {Message[]} messages in order
   * @param {boolean} watched whether the reader sees them come
   * @param {(message: Message) => string | null} place the item in which a message stands, or null if it is one's own
   * @returns {string[]} items whose divider comes or goes
   */
  came(messages, watched, place) {
    if (watched) return [];
    /** @type {string[]} */
    const moved = [];
    for (const message of messages) {
      const item = place(message);
      if (item === null) continue;
      if (this.count === 0) moved.push(...this.#begin(item));
      this.count += 1;
    }
    return moved;
  }

  /** @param {string} item */
  #begin(item) {
    const moved = [this.from, item].flatMap((id) => id ?? []);
    this.from = item;
    return moved;
  }

  /** The reader is at the end and looks at it. */
  seen() {
    this.count = 0;
  }

  /** The reader says something, and so has read all. @returns {string[]} items whose divider goes */
  clear() {
    const moved = this.from ? [this.from] : [];
    this.from = null;
    this.count = 0;
    return moved;
  }
}
