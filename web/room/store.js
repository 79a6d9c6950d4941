// What the room page knows: the events of the feed, folded into items. Pure: no DOM, no clock, no network.
//
// Items stand in the order of the log. Every change returns the ids of the items that are to be drawn again; an id that is
// no longer among the items is to be removed. What is not in the log yet (the outbox) is apart, in `pending`.

import { HANDLERS } from './events.js';
import { interrupt, isAnswer, isOpen, newItem, OPEN, unsent } from './model.js';

/**
 * @typedef {import('./model.js').Message} Message
 * @typedef {import('./model.js').Item} Item
 * @typedef {import('./model.js').Draft} Draft
 * @typedef {import('./model.js').OutboxItem} OutboxItem
 * @typedef {import('./model.js').InFlight} InFlight
 * @typedef {{ name: string, data: any, id?: string }} FeedEvent
 */

/** So many messages stay on the page; the oldest go first, and can be read by looking back. */
export const KEPT_MAX = 5_000;

/**
 * The items of some messages, oldest first, e.g. of a look back.
 *
 * @param {Message[]} messages oldest first
 * @param {InFlight[]} inFlight answers that were being written
 * @returns {Item[]}
 */
export function itemsOf(messages, inFlight) {
  const store = new Store();
  store.apply({ name: 'snapshot', data: { messages, in_flight: inFlight } }, 0);
  return store.list();
}

export class Store {
  /** @type {Map<string, Item>} */
  items = new Map();
  /** Ids in the order of the log. @type {string[]} */
  order = [];
  /** What is not in the log yet, oldest first. @type {Item[]} */
  pending = [];
  /** Ids of the items that still wait for an answer. @type {Set<string>} */
  open = new Set();
  /** The colours of the bots that have answered: that of an answer being written. @type {Map<string, string>} */
  colors = new Map();
  /** The position of the newest message or answer. */
  newest = '';
  /** Messages and answers that came after all that was known, until somebody takes them. @type {Message[]} */
  #arrivals = [];
  /** reply → question. @type {Map<string, string>} */
  #questions = new Map();
  /** question that is not on the page → its answers that are, as items of their own. @type {Map<string, Set<string>>} */
  #orphans = new Map();
  #anew = false;
  /** @type {Set<string>} */
  #changed = new Set();

  list() {
    return this.order.map((id) => /** @type {Item} */ (this.items.get(id)));
  }

  /** All messages and answers, in the order of the log. @returns {Message[]} */
  messages() {
    return this.list().flatMap(({ message, replies }) => [message, ...replies]).sort((a, b) => (a.position < b.position ? -1 : 1));
  }

  /** The item of a message, or the item under which an answer stands. @param {string} id @returns {Item | undefined} */
  find(id) {
    return this.items.get(id) ?? this.items.get(this.#questions.get(id) ?? '');
  }

  /** A message or an answer. @param {string} id @returns {Message | undefined} */
  message(id) {
    const item = this.find(id);
    return item?.message.id === id ? item.message : item?.replies.find((reply) => reply.id === id);
  }

  /** The position of the oldest item; what is before it is history. */
  get oldest() {
    return this.items.get(this.order[0] ?? '')?.message.position ?? '';
  }

  /**
   * @param {FeedEvent} event
   * @param {number} now ms; only for the speed of writing
   * @returns {Set<string>}
   */
  apply({ name, data }, now) {
    const handle = HANDLERS[name];
    if (handle) handle(this, data, now);
    return this.#take();
  }

  /** Adds history. @param {Message[]} messages oldest first */
  older(messages) {
    // The newest first: then an answer finds its question missing, and is taken under it as soon as that comes.
    for (const message of [...messages].reverse()) this.put(message);
    return this.#take();
  }

  /** @param {OutboxItem[]} outbox oldest first @returns {Set<string>} */
  setOutbox(outbox) {
    for (const { message } of this.pending) this.#changed.add(message.id);
    this.pending = outbox.filter(({ id }) => !this.items.has(id)).map((post) => newItem(unsent(post), post));
    for (const { message } of this.pending) this.#changed.add(message.id);
    return this.#take();
  }

  /** Forgets the oldest beyond the bound. @param {number} max @returns {Set<string>} */
  trim(max = KEPT_MAX) {
    for (const id of this.order.slice(0, Math.max(0, this.order.length - max))) this.#remove(id);
    this.order = this.order.filter((id) => this.items.has(id));
    return this.#take();
  }

  /** Notes what the server said to an act on a message; an empty text takes it away. @param {string} id @param {string} error */
  setError(id, error) {
    this.about(id, (item) => { item.error = error; });
    return this.#take();
  }

  /** What is new since the last call, in order; the first snapshot is new as a whole. @returns {Message[]} */
  takeArrivals() {
    return this.#arrivals.splice(0);
  }

  #take() {
    const changed = this.#changed;
    this.#changed = new Set();
    return changed;
  }

  /** The next snapshot replaces everything: the log is another one. */
  startAnew() {
    this.#anew = true;
  }

  /** @param {Message[]} messages @param {InFlight[]} inFlight @param {number} now */
  snapshot(messages, inFlight, now) {
    const gap = messages[0] !== undefined && this.newest !== '' && messages[0].position > this.newest;
    if (this.#anew || gap) this.#clear();
    this.#anew = false;
    messages.forEach((message) => this.put(message));
    const written = new Set(inFlight.map(({ message_id }) => message_id));
    for (const { id } of messages) {
      const item = this.items.get(id);
      if (item?.draft && !written.has(id)) interrupt(item, 'the connection was lost');
    }
    inFlight.forEach((reply) => this.written(reply, now));
  }

  #clear() {
    for (const id of this.order) this.#remove(id);
    this.order = [];
    this.newest = '';
  }

  /** @param {string} id */
  #remove(id) {
    const item = this.items.get(id);
    if (!item) return;
    for (const reply of item.replies) this.#questions.delete(reply.id);
    this.#orphans.get(item.message.reply_to ?? '')?.delete(id);
    this.items.delete(id);
    this.open.delete(id);
    this.#changed.add(id);
  }

  /** Takes a message or an answer to where it belongs. @param {Message} message */
  put(message) {
    if (message.position > this.newest) {
      this.newest = message.position;
      this.#arrivals.push(message);
    }
    const question = isAnswer(message) ? this.items.get(message.reply_to ?? '') : undefined;
    if (question) return this.#answer(question, message);
    const known = this.items.get(message.id);
    if (known) {
      known.message = message;
      if (!OPEN.has(message.status)) Object.assign(known, { claim: null, stage: null });
      return this.#touch(known);
    }
    const item = newItem(message);
    this.items.set(message.id, item);
    this.pending = this.pending.filter((other) => other.message.id !== message.id);
    this.#insert(message);
    if (isAnswer(message)) this.#orphan(message);
    this.#adopt(item);
    return this.#touch(item);
  }

  /** @param {Message} message */
  #insert({ id, position }) {
    const at = (/** @type {number} */ index) => this.items.get(this.order[index] ?? '')?.message.position ?? '';
    if (this.order.length === 0 || at(this.order.length - 1) <= position) return void this.order.push(id);
    let [low, high] = [0, this.order.length - 1];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (at(middle) < position) low = middle + 1;
      else high = middle;
    }
    this.order.splice(low, 0, id);
  }

  /** @param {Message} reply */
  #orphan(reply) {
    const question = reply.reply_to ?? '';
    this.#orphans.set(question, (this.#orphans.get(question) ?? new Set()).add(reply.id));
  }

  /** @param {Item} item */
  #adopt(item) {
    const ids = this.#orphans.get(item.message.id);
    if (!ids) return;
    this.#orphans.delete(item.message.id);
    const replies = [...ids].flatMap((id) => this.items.get(id)?.message ?? []);
    this.order = this.order.filter((id) => !ids.has(id));
    for (const reply of replies) {
      this.#remove(reply.id);
      this.#answer(item, reply);
    }
  }

  /** @param {Item} item @param {Message} reply */
  #answer(item, reply) {
    if (reply.author.color) this.colors.set(reply.author.name, reply.author.color);
    const at = item.replies.findIndex(({ id }) => id === reply.id);
    if (at >= 0) item.replies[at] = reply;
    else item.replies = [...item.replies, reply].sort((a, b) => (a.position < b.position ? -1 : 1));
    this.#questions.set(reply.id, item.message.id);
    if (item.draft?.replyId === reply.id) item.draft = null;
    if (item.interrupted && at < 0) item.interrupted = null;
    this.#touch(item);
  }

  /** @param {Item} item */
  #touch(item) {
    const { id } = item.message;
    if (isOpen(item)) this.open.add(id);
    else this.open.delete(id);
    this.#changed.add(id);
  }

  /** Changes the item of a message, if it is on the page. @param {string} id @param {(item: Item) => void} change */
  about(id, change) {
    const item = this.find(id);
    if (!item) return;
    change(item);
    this.#touch(item);
  }

  /**
   * The draft of the answer that an event is about. A late event, about one that is whole or no longer wanted, does nothing.
   *
   * @param {{ message_id: string, reply_id: string, bot?: string }} event
   * @param {(draft: Draft, item: Item) => void} change
   */
  drafted({ message_id, reply_id, bot }, change) {
    const known = this.items.get(message_id);
    if (!known || !isOpen(known) || known.replies.some(({ id }) => id === reply_id)) return;
    this.about(message_id, (item) => {
      if (item.draft?.replyId !== reply_id) {
        interrupt(item, 'it was started again');
        item.draft = { replyId: reply_id, bot: bot ?? item.claim?.bot ?? item.message.bot ?? 'bot', text: '', next: 0, since: null, last: 0, words: 0 };
      }
      if (item.draft) change(item.draft, item);
    });
  }

  /** An answer being written, of a snapshot or a look back. @param {InFlight} reply @param {number} now */
  written({ message_id, reply_id, bot, next_index = 0, text = '', worker, claimed_at }, now) {
    if (worker) this.about(message_id, (item) => { item.claim = { worker, bot, at: claimed_at ?? '' }; });
    if (reply_id === undefined) return;
    this.drafted({ message_id, reply_id, bot }, (draft, item) => {
      if (next_index < draft.next || text === '') return;
      item.interrupted = null;
      Object.assign(draft, { next: next_index, text, since: draft.since ?? now });
    });
  }
}
