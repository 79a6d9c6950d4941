// Posts that are not in the log yet: kept before they are sent, sent in order, one tab at a time, with the same id until the
// server has answered.
//
// Promises:
// - `add` keeps the post before anything is sent: a reload, a crash or a dead network lose nothing (in private windows, or with
//   a full storage, only this page keeps it: `kept` is false);
// - posts of one room are sent one after another, oldest first; one that cannot be sent holds up those after it, one that is
//   refused does not;
// - no answer, 5xx, 408 and 429 are tried again, 1 s to 15 s later or when the server says; other 4xx are `failed`, with its words;
// - sending twice is harmless, since the id is the same: that is why a tab that dies while it sends, and tabs without locks,
//   need no care.
// Not here: where items are kept (storage.js).

import { ANSWER_MS, ApiError } from './api.js';
import { uuid } from './id.js';
import { ItemStorage } from './storage.js';

/** Items in this browser and for this server: what is refused beyond is not lost but still in the hand of who writes. */
export const OUTBOX_MAX = 100;
export const WAIT_MS = { first: 1_000, max: 15_000 };
/** An answered post whose event does not come leaves after this time, if events come at all. */
export const SEEN_MS = 10_000;
/** What the server keeps for its store is asked for again, to learn of one that it had to refuse in the end. */
export const PARKED_MS = 30_000;
/** A tab that has not let go of the lock by then is frozen: one post takes 30 s at most. */
export const STEAL_MS = 40_000;
/** Nothing is looked at more often than this without a reason. */
const REST_MS = 100;

/** @typedef {import('./types.js').OutboxItem} OutboxItem */
/** @typedef {import('./storage.js').Kept} Kept */

/** There is no place for another post. */
export class OutboxFull extends Error {
  constructor() {
    super(`${OUTBOX_MAX} messages wait to be sent already; this one was not taken.`);
    this.name = 'OutboxFull';
  }
}

export class Outbox {
  /** @type {Map<string, Set<(items: OutboxItem[]) => void>>} */
  #listeners = new Map();
  /** No item waits for its time at the next flush. */
  #hurry = false;
  #running = false;
  #again = false;
  #timer = () => {};
  #env;
  #name;
  #post;
  #live;
  #storage;
  #offs;

  /**
   * @param {import('./env.js').Env} env
   * @param {string} name of the lock, and how keys in the storage begin
   * @param {(room: string, body: any) => Promise<{ position?: string }>} post
   * @param {() => boolean} live whether events come
   */
  constructor(env, name, post, live) {
    this.#env = env;
    this.#name = name;
    this.#post = post;
    this.#live = live;
    this.#storage = new ItemStorage(env.storage, `${name}:`);
    this.#offs = [
      env.on('storage', (key) => {
        if (key === null || key.startsWith(`${name}:`)) this.#changed();
        if (this.#due() !== null) this.flush();
      }),
      env.on('online', () => this.wake()),
      env.on('visible', () => this.wake()),
    ];
    this.flush();
  }

  end() {
    this.#timer();
    for (const off of this.#offs) off();
    this.#listeners.clear();
  }

  /**
   * Calls back at once and on every change; gives what ends it.
   *
   * @param {string} room
   * @param {(items: OutboxItem[]) => void} act
   */
  listen(room, act) {
    let last = '';
    const listener = (/** @type {OutboxItem[]} */ items) => {
      const text = JSON.stringify(items);
      if (text === last) return;
      last = text;
      act(items);
    };
    const listeners = this.#listeners.get(room) ?? new Set();
    this.#listeners.set(room, listeners.add(listener));
    listener(this.items(room));
    return () => listeners.delete(listener);
  }

  /** Oldest first. @param {string} room */
  items(room) {
    return this.#storage.all().flatMap(({ item }) => (item.room === room ? [item] : []));
  }

  /**
   * @param {string} room
   * @param {import('./types.js').Post} post
   * @returns {OutboxItem}
   * @throws {OutboxFull}
   */
  add(room, post) {
    const all = this.#storage.all();
    if (all.length >= OUTBOX_MAX) throw new OutboxFull();
    const id = uuid(this.#env.bytes);
    const item = this.#put({
      place: (all.at(-1)?.place ?? 0) + 1, // not the clock, which may jump
      until: 0,
      item: {
        id,
        room,
        body: { ...post, id },
        at: new Date(this.#env.now()).toISOString(),
        state: 'pending',
        why: '',
        code: '',
        tries: 0,
        position: '',
        kept: true,
      },
    });
    this.flush();
    return item;
  }

  /** Sends a failed item again; under a new id if the old one is somebody else's. @param {string} id */
  again(id) {
    const kept = this.#storage.get(id);
    if (kept?.item.state !== 'failed') return;
    const taken = kept.item.code === 'id-taken';
    if (taken) this.#storage.remove(id);
    const fresh = taken ? uuid(this.#env.bytes) : id;
    const item = { ...kept.item, id: fresh, body: { ...kept.item.body, id: fresh }, why: '', code: '' };
    this.#put({ ...kept, item: { ...item, state: 'pending' } });
    this.flush();
  }

  /**
   * Gives up an item that was not sent; false if it is too late for that.
   * @param {string} id
   */
  discard(id) {
    const state = this.#storage.get(id)?.item.state;
    if (state !== 'failed' && state !== 'pending') return false;
    this.#remove(id);
    return true;
  }

  /** The log has it. @param {string} id */
  seen(id) {
    if (this.#storage.get(id)) this.#remove(id);
  }

  /** The network or the server is back, or somebody looks: no waiting. */
  wake() {
    this.#hurry = true;
    this.flush();
  }

  /** Sends what is to be sent, unless another tab does so. */
  flush() {
    this.#again = true;
    if (this.#running) return;
    this.#running = true;
    this.#again = false;
    this.#timer();
    this.#locked(async (mine) => {
      this.#adopt();
      this.#prune();
      for (let next = this.#due(); next && mine(); next = this.#due()) await this.#send(next);
    }).finally(() => {
      this.#running = false;
      if (this.#again) this.flush();
      else this.#rest();
    });
  }

  /**
   * The next item to send, oldest first, or none now. What waits holds back what comes after it in its room.
   * @returns {Kept | null}
   */
  #due() {
    const held = new Set();
    for (const kept of this.#storage.all()) {
      const { item } = kept;
      if (held.has(item.room) || item.position !== '') continue;
      if (item.state === 'pending' && this.#over(kept, WAIT_MS.max)) return kept;
      if (item.state === 'parked' && this.#over(kept, PARKED_MS)) return kept;
      if (item.state === 'pending' || item.state === 'sending') held.add(item.room);
    }
    return null;
  }

  /**
   * Whether an item's time has come. One that is further off than it was ever set comes of a clock that was put back.
   * @param {Kept} kept
   * @param {number} longest
   */
  #over({ until }, longest) {
    const now = this.#env.now();
    return until <= now || until > now + longest;
  }

  /** Comes back when the next thing is to be done. */
  #rest() {
    const times = this.#storage.all().flatMap(({ item, until }) => {
      const stays = item.state === 'failed' || (item.position !== '' && !this.#live());
      return stays || until === 0 ? [] : until;
    });
    if (times.length === 0) return;
    const wait = Math.max(Math.min(...times) - this.#env.now(), REST_MS);
    this.#timer = this.#env.later(Math.min(wait, PARKED_MS), () => this.flush());
  }

  /** @param {Kept} kept */
  async #send(kept) {
    const tries = kept.item.tries + 1;
    const { id, room, body } = kept.item;
    const lease = this.#env.now() + ANSWER_MS;
    this.#put({ ...kept, until: lease, item: { ...kept.item, state: 'sending', tries } });
    /** @type {Partial<OutboxItem>} */
    let came;
    let ms = 0;
    try {
      const { position = '' } = await this.#post(room, body);
      came = { state: position ? 'sending' : 'parked', position, why: '', code: '' };
      ms = position ? SEEN_MS : PARKED_MS;
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      const again = error.status === 0 || error.status >= 500 || error.status === 429 || error.status === 408;
      if (again) ms = this.#wait(tries, error.retryAfter ?? 0);
      came = { state: again ? 'pending' : 'failed', why: error.detail, code: error.code };
    }
    // Its event may have been faster than the answer; then it is gone.
    const now = this.#storage.get(id);
    if (now) this.#put({ ...now, until: ms && this.#env.now() + ms, item: { ...now.item, ...came } });
  }

  /**
   * @param {number} tries
   * @param {number} asked
   */
  #wait(tries, asked) {
    const ms = Math.min(WAIT_MS.first * 2 ** (tries - 1), WAIT_MS.max);
    return Math.max(ms * (0.5 + this.#env.random() / 2), Math.min(asked, WAIT_MS.max));
  }

  /**
   * Takes on what was left behind. Whoever has the lock is the only one who sends, so what seems to be under way is not;
   * without locks that is known only when its time is over.
   */
  #adopt() {
    for (const kept of this.#storage.all()) {
      const { item } = kept;
      const left = item.state === 'sending' && item.position === '' && (this.#env.locks || this.#over(kept, ANSWER_MS));
      const hurried = this.#hurry && item.state === 'pending' && kept.until !== 0;
      if (left || hurried) this.#put({ ...kept, until: 0, item: { ...item, state: 'pending' } });
    }
    this.#hurry = false;
  }

  /** Lets go of what is in the log although its event did not come, as of a room that nobody looks at. */
  #prune() {
    for (const kept of this.#storage.all()) {
      if (kept.item.position !== '' && this.#over(kept, SEEN_MS) && this.#live()) this.#remove(kept.item.id);
    }
  }

  /**
   * Works under the lock of all tabs; without locks at once.
   * @param {(mine: () => boolean) => Promise<void>} work is told whether the lock is still its own
   */
  async #locked(work) {
    const { locks } = this.#env;
    if (!locks) return work(() => true);
    const queued = new AbortController();
    const calm = this.#late(() => queued.abort());
    let [begun, mine] = [false, true];
    const request = (/** @type {LockOptions} */ options) =>
      locks.request(this.#name, options, () => {
        calm();
        begun = true;
        return work(() => mine);
      });
    try {
      await request({ signal: queued.signal }).catch((error) => {
        if (begun || !queued.signal.aborted) throw error;
        return request({ steal: true });
      });
    } catch {
      mine = false; // stolen, because this page was frozen
      calm();
      if (!begun) return work(() => true); // an origin without locks
    }
    return undefined;
  }

  /**
   * Acts if the lock is not let go for too long, and somebody looks.
   * @param {() => void} act
   */
  #late(act) {
    let calm = () => {};
    const wait = () => {
      calm = this.#env.later(STEAL_MS, () => (this.#env.visible() ? act() : wait()));
    };
    wait();
    return () => calm();
  }

  /** @param {Kept} kept */
  #put(kept) {
    const { item } = this.#storage.put(kept);
    this.#changed();
    return item;
  }

  /** @param {string} id */
  #remove(id) {
    this.#storage.remove(id);
    this.#changed();
  }

  #changed() {
    for (const [room, listeners] of this.#listeners) {
      const items = this.items(room);
      for (const listener of [...listeners]) listener(items);
    }
  }
}
