// Where the outbox keeps its items: one key each in the browser's storage, so that tabs never overwrite each other's, and in
// the page's own memory what the storage does not take.

/**
 * @typedef {object} Kept
 * @property {number} place in the order of writing
 * @property {number} until when something is to be done about it, ms since 1970; 0 for nothing
 * @property {import('./types.js').OutboxItem} item
 */

export class ItemStorage {
  /** @type {Map<string, Kept>} */
  #memory = new Map();
  #storage;
  #prefix;

  /**
   * @param {import('./env.js').KeyValue | null} storage
   * @param {string} prefix
   */
  constructor(storage, prefix) {
    this.#storage = storage;
    this.#prefix = prefix;
  }

  /** In the order of writing. */
  all() {
    const stored = this.#keys().flatMap((key) => this.#read(key) ?? []);
    const all = [...stored.filter(({ item }) => !this.#memory.has(item.id)), ...this.#memory.values()];
    return all.sort((a, b) => a.place - b.place || (a.item.id < b.item.id ? -1 : 1));
  }

  /** @param {string} id */
  get(id) {
    return this.#memory.get(id) ?? this.#read(this.#prefix + id);
  }

  /**
   * Gives back what is kept: `kept` says whether it outlives the page.
   * @param {Kept} kept
   */
  put(kept) {
    const { id } = kept.item;
    const durable = { ...kept, item: { ...kept.item, kept: true } };
    try {
      if (!this.#storage) throw new Error('no storage');
      this.#storage.setItem(this.#prefix + id, JSON.stringify(durable));
      this.#memory.delete(id);
      return durable;
    } catch {
      const here = { ...kept, item: { ...kept.item, kept: false } };
      this.#memory.set(id, here);
      return here;
    }
  }

  /** @param {string} id */
  remove(id) {
    this.#memory.delete(id);
    try {
      this.#storage?.removeItem(this.#prefix + id);
    } catch {
      return; // forbidden: then there is nothing in it either
    }
  }

  #keys() {
    try {
      const count = this.#storage?.length ?? 0;
      const keys = Array.from({ length: count }, (_, at) => this.#storage?.key(at) ?? '');
      return keys.filter((key) => key.startsWith(this.#prefix));
    } catch {
      return [];
    }
  }

  /**
   * @param {string} key
   * @returns {Kept | undefined} nothing if it is not there, or not what this version writes
   */
  #read(key) {
    try {
      const kept = JSON.parse(this.#storage?.getItem(key) ?? '');
      const good = typeof kept.place === 'number' && kept.item.body.id === kept.item.id && this.#prefix + kept.item.id === key;
      return good ? kept : undefined;
    } catch {
      return undefined;
    }
  }
}
