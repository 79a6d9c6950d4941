// What the monitor knows: a snapshot, and the updates after it, folded into one state. Pure: no DOM, no clock, no network.
// Promises: everything is kept by its key (bot, message id, worker), so an update of one thing changes one thing; what is
// kept is bounded; `Changes` names exactly what is to be drawn again (changes.js).
// Not here: sentences (why.js), filters (filters.js), time as it passes (the caller gives the present).

/**
 * @import { Ended, Health, Minute, Open, Queue, Snapshot, Stage, Update, Worker } from './types.js'
 * @import { Changes } from './changes.js'
 */

import { noChanges } from './changes.js';

export const OPEN_MAX = 500; // as many as the server lists
export const ENDED_MAX = 200; // likewise; older ones are in the rooms and in `antiphon replay`
export const MINUTES_MAX = 60; // what the plots show
export const STAGES_MAX = 32; // live stages remembered of one message: more than a few tries have

const HOUR_MS = 3_600_000;

/** Held ones come first, whatever their workers say that they do. @param {Open} open */
const rank = ({ state }) => (state === 'waiting' ? 1 : state === 'retrying' ? 2 : 0);

/**
 * The order of the list, as the server has it: held ones by their claims; waiting ones as they will be claimed; then those
 * that wait for their next try. Ties go by id, so the order is total.
 *
 * @param {Open} a
 * @param {Open} b
 * @returns {number}
 */
export function compareOpen(a, b) {
  return rank(a) - rank(b) || within(a, b) || byText(a.message_id, b.message_id);
}

/** @param {Open} a @param {Open} b two of one rank */
function within(a, b) {
  if (a.state === 'retrying') return byText(a.retry_at ?? '', b.retry_at ?? '');
  if (a.state !== 'waiting') return byText(a.fence ?? '', b.fence ?? '');
  return b.priority - a.priority || Number(a.second) - Number(b.second) || byText(a.since ?? '', b.since ?? '');
}

/** @param {string} a @param {string} b */
const byText = (a, b) => (a < b ? -1 : a > b ? 1 : 0);

export class Store {
  constructor() {
    this.known = false; // whether a snapshot came
    this.position = '';
    this.node = '';
    this.version = '';
    /** @type {string | null} */
    this.sinceAt = null;
    /** Server time of the newest news, ms since 1970; ages are computed against it. */
    this.at = 0;
    /** @type {Health | null} */
    this.health = null;
    /** @type {Map<string, Queue>} */
    this.queues = new Map();
    /** @type {Map<string, Open>} */
    this.open = new Map();
    this.openTotal = 0;
    /** @type {Map<string, Ended>} */
    this.ended = new Map();
    /** Ended ones that came too fast to be listed. */
    this.missed = 0;
    /** @type {Map<string, Worker>} */
    this.workers = new Map();
    /** @type {Map<string, Stage[]>} */
    this.stages = new Map();
    /** @type {Open[]} */
    this.sorted = [];
    /** @type {Map<string, number>} */
    this.ahead = new Map(); // of waiting ones
  }

  /**
   * Everything anew; what only this page knows (live stages) stays for messages that are still listed.
   *
   * @param {Snapshot} data
   * @returns {Changes}
   */
  snapshot(data) {
    const { stages } = this;
    Object.assign(this, new Store(), { known: true, stages });
    this.node = data.node;
    this.version = data.version;
    this.sinceAt = data.since_at;
    this.update(data);
    for (const id of stages.keys()) this.#forget(id);
    return { ...noChanges(), all: true, health: true };
  }

  /**
   * @param {Update} data
   * @returns {Changes}
   */
  update(data) {
    const changes = noChanges();
    this.at = Date.parse(data.at);
    this.position = data.position;
    if (data.health) {
      this.health = data.health;
      changes.health = true;
    }
    for (const queue of data.queues ?? []) {
      const minutes = mergedMinutes(this.queues.get(queue.bot)?.minutes ?? [], queue.minutes, this.at);
      this.queues.set(queue.bot, { ...queue, minutes });
      changes.queues.add(queue.bot);
    }
    for (const id of data.gone ?? []) {
      if (this.open.delete(id)) changes.open.add(id);
    }
    for (const open of data.open ?? []) {
      this.#stage(open);
      this.open.set(open.message_id, open);
      changes.open.add(open.message_id);
      if (this.ended.has(open.message_id)) changes.ended.add(open.message_id); // asked again
    }
    this.openTotal = data.open_total ?? this.openTotal;
    if (changes.open.size > 0) this.#sort(changes);
    this.#end(data.ended ?? [], changes);
    this.missed += data.missed ?? 0;
    for (const worker of data.workers ?? []) {
      this.workers.set(worker.worker, worker);
      changes.workers.add(worker.worker);
    }
    for (const name of data.workers_gone ?? []) {
      if (this.workers.delete(name)) changes.workers.add(name);
    }
    for (const id of data.gone ?? []) this.#forget(id);
    return changes;
  }

  /** Those that want an answer, in the order of the list. @returns {Open[]} */
  openList() {
    return this.sorted;
  }

  /**
   * How many of its bot's messages will be claimed before this one. Counted here: the server does not tell it anew when one
   * before it leaves.
   *
   * @param {string} id
   * @returns {number | null} null unless it waits
   */
  aheadOf(id) {
    return this.ahead.get(id) ?? null;
  }

  /** Ended ones, newest first. One that was asked again is not among them while it is open. @returns {Ended[]} */
  endedList() {
    return [...this.ended.values()].filter(({ message_id }) => !this.open.has(message_id)).reverse();
  }

  /**
   * @param {string} id
   * @returns {Open | Ended | undefined} as it stands now
   */
  find(id) {
    return this.open.get(id) ?? this.ended.get(id);
  }

  /**
   * Whether a worker answers for this bot, as far as this node knows.
   *
   * @param {string} bot
   * @returns {Worker[]}
   */
  workersOf(bot) {
    return [...this.workers.values()].filter(({ bots }) => bots.includes(bot));
  }

  /** @param {Changes} changes */
  #sort(changes) {
    this.sorted = [...this.open.values()].sort(compareOpen);
    for (const { message_id } of this.sorted.splice(OPEN_MAX)) {
      this.open.delete(message_id);
      this.#forget(message_id);
      changes.open.add(message_id);
    }
    const [before, perBot] = [this.ahead, new Map()];
    this.ahead = new Map();
    for (const { message_id, bot, state } of this.sorted) {
      if (state !== 'waiting') continue;
      const ahead = perBot.get(bot) ?? 0;
      perBot.set(bot, ahead + 1);
      this.ahead.set(message_id, ahead);
      if (before.get(message_id) !== ahead) changes.open.add(message_id);
    }
  }

  /**
   * Ended ones in the order of the entries that ended them. One that comes again (asked again, or taken back) stands for
   * what was known of it.
   *
   * @param {Ended[]} list
   * @param {Changes} changes
   */
  #end(list, changes) {
    if (list.length === 0) return;
    for (const ended of list) {
      this.ended.set(ended.message_id, ended);
      changes.ended.add(ended.message_id);
    }
    const sorted = [...this.ended.values()].sort((a, b) => byText(a.position, b.position));
    for (const { message_id } of sorted.splice(0, Math.max(0, sorted.length - ENDED_MAX))) changes.ended.add(message_id);
    const before = this.ended;
    this.ended = new Map(sorted.map((ended) => [ended.message_id, ended]));
    for (const id of before.keys()) this.#forget(id);
  }

  /**
   * Remembers when a message came into a stage. The log does not have the live ones.
   *
   * @param {Open} open
   */
  #stage(open) {
    const before = this.open.get(open.message_id);
    if (before?.state === open.state && before.attempt === open.attempt && before.fence === open.fence) return;
    const stages = this.stages.get(open.message_id) ?? [];
    const at = open.since_at && before?.since_at !== open.since_at ? Date.parse(open.since_at) : this.at;
    this.stages.set(open.message_id, [...stages, { state: open.state, at, attempt: open.attempt }].slice(-STAGES_MAX));
  }

  /** @param {string} id */
  #forget(id) {
    if (!this.open.has(id) && !this.ended.has(id)) this.stages.delete(id);
  }
}

/**
 * The minutes of the last hour: newer ones stand for older ones of the same time.
 *
 * @param {Minute[]} old
 * @param {Minute[]} more
 * @param {number} now
 * @returns {Minute[]}
 */
export function mergedMinutes(old, more, now) {
  const all = new Map([...old, ...more].map((minute) => [minute.at, minute]));
  return [...all.values()]
    .filter(({ at }) => now - Date.parse(at) < HOUR_MS)
    .sort((a, b) => byText(a.at, b.at))
    .slice(-MINUTES_MAX);
}
