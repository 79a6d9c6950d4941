// One open room of one tab: what it is handed, and how it gets its first snapshot when another tab has the stream.

import { query, roomPath } from './api.js';
import { Order } from './order.js';
import { Stream } from './stream.js';

export class Feed {
  order = new Order();
  /** @type {Stream | null} */
  #peek = null;
  #use;
  #told = '';
  /** When somebody was last asked for what is missing, ms since 1970. */
  askedAt = -Infinity;

  /**
   * @param {object} use
   * @param {string} use.room
   * @param {number} use.limit messages in a snapshot
   * @param {(event: import('./types.js').RoomEvent) => void} use.onEvent
   * @param {(status: import('./types.js').Status) => void} use.onStatus
   */
  constructor(use) {
    this.#use = use;
    this.room = use.room;
    this.limit = use.limit;
  }

  get cursor() {
    return this.order.cursor;
  }

  /**
   * Says how the stream is, if that has changed.
   * @param {import('./types.js').Status} status
   */
  tell(status) {
    const text = JSON.stringify(status);
    if (text === this.#told) return;
    this.#told = text;
    this.#use.onStatus(status);
  }

  /**
   * Hands on what is new in order; whether something before it is missing.
   * @param {import('./types.js').Sent} event
   */
  put(event) {
    const { events, missed } = this.order.put(event);
    for (const { name, data, id } of events) this.#use.onEvent({ name, data, id });
    return missed;
  }

  /**
   * Takes the first snapshot over a stream of its own, which ends with it. What other tabs tell meanwhile waits in the order,
   * so nothing is lost in between.
   *
   * @param {import('./env.js').Env} env
   * @param {string} base
   * @param {(missed: boolean) => void} done
   */
  peek(env, base, done) {
    if (this.#peek || this.cursor !== '') return;
    this.#peek = new Stream(env, {
      url: () => `${base}${roomPath(this.room)}/events${query({ limit: this.limit })}`,
      onEvent: (event) => {
        if (event.name !== 'snapshot') return;
        this.stopPeek();
        done(this.put({ ...event, prev: '' }));
      },
    });
    this.#peek.start();
  }

  stopPeek() {
    this.#peek?.stop();
    this.#peek = null;
  }

  wake() {
    this.#peek?.wake();
  }
}
