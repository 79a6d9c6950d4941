// Each event once and in order, from whichever stream it comes: what a tab hands on of what it is sent about one room.
//
// A tab may be sent the same event twice (by two leaders for a moment, or by a stream that was made anew for another tab)
// and may miss some (while it was frozen). Positions tell: they have a fixed width, so those of one epoch sort as text.
// Pure: no clock, no I/O.

/** Events that came before the first snapshot did; of more the oldest are let go, which is noticed afterwards. */
export const EARLY_MAX = 1_000;
/** Replies in progress, and ones that are over, that are remembered of a room; late words of older ones pass. */
const REPLIES_MAX = 500;

/** @param {string} position */
const epochOf = (position) => position.slice(0, 16);

/**
 * Whether whoever has seen everything up to `a` has seen `b`.
 * @param {string} a
 * @param {string} b
 */
export const covers = (a, b) => b === '' || (epochOf(a) === epochOf(b) && b <= a);

/**
 * The earlier of two positions; of two epochs the second, which is the one that somebody asks for.
 * @param {string} a
 * @param {string} b
 */
export const earlier = (a, b) => (epochOf(a) === epochOf(b) && a < b ? a : b);

export class Order {
  /** The last position that was handed on; '' until there was a snapshot. */
  cursor = '';
  /** @type {Map<string, number>} reply id → index of the delta that is wanted */
  #drafts = new Map();
  /** @type {Set<string>} replies that are complete or given up */
  #over = new Set();
  /** @type {import('./types.js').Sent[]} */
  #early = [];

  /**
   * @param {import('./types.js').Sent} event
   * @returns {{ events: import('./types.js').Sent[], missed: boolean }} what to hand on now; whether something before it is
   *   missing, so that the stream must be read again from `cursor`. It is not handed on then: it comes again.
   */
  put(event) {
    if (event.name === 'reset') {
      this.#clear();
      return { events: [event], missed: false };
    }
    if (this.cursor === '') return this.#first(event);
    const verdict = this.#judge(event);
    return { events: verdict === 'take' ? [event] : [], missed: verdict === 'missed' };
  }

  /**
   * Whether something up to `position` is missing.
   * @param {string} position
   */
  lacks(position) {
    return this.cursor !== '' && !covers(this.cursor, position);
  }

  #clear() {
    this.cursor = '';
    this.#drafts.clear();
    this.#over.clear();
    this.#early = [];
  }

  /** @param {import('./types.js').Sent} event */
  #first(event) {
    if (event.name !== 'snapshot') {
      this.#early.push(event);
      if (this.#early.length > EARLY_MAX) this.#early.shift();
      return { events: [], missed: false };
    }
    this.cursor = event.id;
    for (const { reply_id, next_index } of event.data.in_flight) this.#drafts.set(reply_id, next_index);
    const after = this.#early.map((early) => this.put(early));
    this.#early = [];
    return { events: [event, ...after.flatMap(({ events }) => events)], missed: after.some(({ missed }) => missed) };
  }

  /**
   * @param {import('./types.js').Sent} event
   * @returns {'take' | 'drop' | 'missed'}
   */
  #judge({ name, data, id, prev }) {
    if (id !== '' && covers(this.cursor, id)) return 'drop';
    // A snapshot that nobody asked for stands for events that did not come.
    if (name === 'snapshot' || !covers(this.cursor, prev)) return 'missed';
    if (id === '') return this.#live(name, data);
    if (epochOf(id) !== epochOf(this.cursor)) return 'missed';
    this.cursor = id;
    if (name === 'reply.posted') this.#end(data.id);
    return 'take';
  }

  /**
   * @param {string} name
   * @param {any} data
   * @returns {'take' | 'drop' | 'missed'}
   */
  #live(name, data) {
    const reply = data.reply_id;
    if (!name.startsWith('reply.') || reply === undefined) return 'take';
    if (this.#over.has(reply)) return 'drop';
    const next = this.#drafts.get(reply);
    switch (name) {
      case 'reply.started':
        if (next !== undefined) return 'drop';
        this.#wants(reply, 0);
        return 'take';
      case 'reply.delta':
        if (data.index < (next ?? 0)) return 'drop';
        if (data.index > (next ?? 0)) return 'missed'; // until a `reply.snapshot` comes
        this.#wants(reply, data.index + 1);
        return 'take';
      case 'reply.snapshot':
        if (next !== undefined && data.next_index <= next) return 'drop';
        this.#wants(reply, data.next_index);
        return 'take';
      case 'reply.reset':
        this.#end(reply);
        return 'take';
      default:
        return 'take';
    }
  }

  /**
   * @param {string} reply
   * @param {number} index
   */
  #wants(reply, index) {
    if (!this.#drafts.has(reply) && this.#drafts.size >= REPLIES_MAX) drop(this.#drafts);
    this.#drafts.set(reply, index);
  }

  /** @param {string} reply */
  #end(reply) {
    this.#drafts.delete(reply);
    if (this.#over.size >= REPLIES_MAX) drop(this.#over);
    this.#over.add(reply);
  }
}

/**
 * Takes out the oldest.
 * @param {Map<string, unknown> | Set<string>} kept
 */
function drop(kept) {
  for (const key of kept.keys()) {
    kept.delete(key);
    return;
  }
}
