// What the reader has not seen yet: how many, and from which message on (there the divider is). Pure.

/** @typedef {import('./model.js').Message} Message */

export class Unread {
  count = 0;
  /** The item with the divider: that of the first unread message; it stays, also when all are seen, until there is a new first one. @type {string | null} */
  from = null;
  /** The first unread message itself, which may be an answer within the item. @type {string | null} */
  first = null;

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
      if (this.count === 0) moved.push(...this.#begin(item, message.id));
      this.count += 1;
    }
    return moved;
  }

  /** @param {string} item @param {string} first */
  #begin(item, first) {
    const moved = [this.from, item].flatMap((id) => id ?? []);
    this.from = item;
    this.first = first;
    return moved;
  }

  /** All are seen. */
  seen() {
    this.count = 0;
  }

  /** The reader says something, and so has read all. @returns {string[]} items whose divider goes */
  clear() {
    const moved = this.from ? [this.from] : [];
    this.from = null;
    this.first = null;
    this.count = 0;
    return moved;
  }
}
