// Which tab of this browser has the stream, and how tabs talk.
//
// One tab holds the Web Lock of the given name: the leader. Whoever waits for the lock becomes leader when it is let go: when
// that tab is closed, crashes, or is frozen. A leader that keeps the lock but does not answer (a visible tab asks after
// `QUIET_MS`) loses it: the lock is stolen. For a moment two tabs may both think that they lead; what they tell must be
// harmless twice (order.js).
//
// Each tab holds a lock of its own, too, so that a leader is told when one dies without a word.
// Without locks or channels (plain HTTP, old browsers) every tab is `alone`, which is to lead nobody.

import { uuid } from './id.js';

/** A follower that is looked at wants to hear something this often; a leader tells at least as often as its stream does. */
export const QUIET_MS = 5_000;
/** Who does not answer for so long is frozen: messages are answered at once, also by hidden tabs. */
export const ANSWER_MS = 2_000;

/** @typedef {'unknown' | 'alone' | 'leader' | 'follower'} Role */

export class Tabs {
  /** Of this tab, since it started. */
  id = '';
  /** @type {Role} */
  role = 'unknown';
  #env;
  #name;
  #use;
  /** @type {import('./env.js').Channel | null} */
  #channel = null;
  /** Aborted by `stop`: takes back every request for a lock. */
  #running = new AbortController();
  /** Aborted by whoever steals instead of waiting. */
  #queued = new AbortController();
  /** @type {(nothing: void) => void} */
  #release = () => {};
  /** @type {Promise<void>} */
  #held = Promise.resolve();
  /** @type {Set<object>} requests by which this tab has the lead: one that it queued for and one that steals may both get it */
  #grants = new Set();
  #quiet = () => {};

  /**
   * @param {import('./env.js').Env} env
   * @param {string} name of the lock and of the channel
   * @param {object} use
   * @param {(role: Role) => void} use.onRole on every change
   * @param {(message: any) => void} use.onMessage from other tabs; `from` is theirs
   */
  constructor(env, name, use) {
    this.#env = env;
    this.#name = name;
    this.#use = use;
  }

  start() {
    const { locks, channel } = this.#env;
    if (!locks || !channel) return this.#be('alone');
    this.#running = new AbortController();
    const mine = this.#running.signal;
    this.id = uuid(this.#env.bytes); // a new one each time: the lock of the last one may still be looked at
    this.#channel = channel(this.#name);
    this.#channel.onmessage = (/** @type {MessageEvent} */ { data }) => this.#heard(data);
    // Asked for first, so that it is held before anybody hears of this tab.
    this.#hold(this.#own(this.id), mine, () => aborted(mine));
    // Whether somebody leads is known at once; who does not lead waits for it.
    this.#compete({ ifAvailable: true });
  }

  /** Lets everything go; the others learn of it by the locks. */
  stop() {
    this.#running.abort();
    this.#queued.abort();
    this.#release();
    this.#grants.clear();
    this.#quiet();
    this.#channel?.close();
    this.#channel = null;
    this.#be('unknown');
  }

  /**
   * To all other tabs.
   * @param {object} message
   */
  tell(message) {
    this.#channel?.postMessage({ ...message, from: this.id });
  }

  /**
   * Acts once when a tab is gone; gives what calls it off.
   *
   * @param {string} tab
   * @param {() => void} act
   */
  whenGone(tab, act) {
    const watch = new AbortController();
    this.#hold(this.#own(tab), watch.signal, act);
    return () => watch.abort();
  }

  /** Is the leader there? Asked by a follower that comes to be looked at. */
  check() {
    if (this.role !== 'follower') return;
    this.#quiet();
    this.tell({ kind: 'ask' });
    this.#quiet = this.#env.later(ANSWER_MS, () => (this.#env.visible() ? this.#steal() : this.#listen()));
  }

  /** @param {string} tab */
  #own(tab) {
    return `${this.#name}:tab:${tab}`;
  }

  /** @param {any} message */
  #heard(message) {
    if (this.role === 'follower' && message.leads) this.#listen();
    this.#use.onMessage(message);
  }

  /** Hidden tabs do not ask: nobody waits, and the browser makes their timers late. */
  #listen() {
    this.#quiet();
    this.#quiet = this.#env.later(QUIET_MS, () => (this.#env.visible() ? this.check() : this.#listen()));
  }

  #follow() {
    this.#be('follower');
    this.#listen();
    this.#queued = new AbortController();
    this.#compete({ signal: this.#queued.signal });
  }

  #steal() {
    this.#queued.abort();
    this.#compete({ steal: true });
  }

  /** @returns {Promise<void>} that ends when the lead is let go */
  #lead() {
    this.#quiet();
    if (this.role !== 'leader') {
      this.#held = new Promise((release) => { this.#release = release; });
      this.#be('leader');
    }
    return this.#held;
  }

  /**
   * Leads if it gets the lock. `ifAvailable` may say no, a signal takes it back, and what was held may be stolen.
   * @param {LockOptions} options
   */
  async #compete(options) {
    const mine = this.#running.signal;
    const grant = {};
    try {
      await this.#locks.request(this.#name, options, (lock) => {
        if (mine.aborted) return undefined;
        if (!lock) return this.#follow();
        this.#grants.add(grant);
        return this.#lead();
      });
    } catch {
      if (mine.aborted) return;
      if (this.#grants.delete(grant) && this.#grants.size === 0) this.#follow();
      // A page whose origin may have no locks.
      else if (this.role === 'unknown') this.#be('alone');
    }
  }

  /**
   * @param {string} name
   * @param {AbortSignal} signal takes the request back
   * @param {() => any} work
   */
  async #hold(name, signal, work) {
    try {
      await this.#locks.request(name, { signal }, work);
    } catch {
      return; // taken back; or no locks at all, which `#compete` sees
    }
  }

  get #locks() {
    return /** @type {import('./env.js').Locks} */ (this.#env.locks);
  }

  /** @param {Role} role */
  #be(role) {
    if (role === this.role) return;
    this.role = role;
    this.#use.onRole(role);
  }
}

/** @param {AbortSignal} signal @returns {Promise<void>} */
const aborted = (signal) =>
  new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve());
  });
