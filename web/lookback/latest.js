// Asks for moments while the scrub bar is dragged.
//
// Promises: one request at a time, and none sooner than GAP_MS after the last; of what is wanted meanwhile only the
// last is asked for; answers are shown in the order in which they were asked for, and the last one wanted is always
// shown. What was seen lately is not asked for again, for KEPT_MS only: a message may be taken back at any time, and then
// it must not be seen in any look back.
// Not here: what is shown (lookback.js).

/** Between the starts of two requests: ten pictures a second look like a film, and cost the server little. */
export const GAP_MS = 100;
/** Answers that are kept, of a hundred messages each. */
export const KEPT_MAX = 50;
export const KEPT_MS = 30_000;

/** @typedef {number|string} Moment  ms since 1970, or a position */
/** @typedef {{now: () => number, later: (ms: number, work: () => void) => () => void}} Clock  `later` gives what calls it off */

/** @template T */
export class Latest {
  /**
   * @param {object} parts
   * @param {(moment: Moment) => Promise<T>} parts.load
   * @param {(answer: T, moment: Moment) => void} parts.show
   * @param {(error: unknown, moment: Moment) => void} parts.fail
   * @param {Clock} parts.clock
   */
  constructor({ load, show, fail, clock }) {
    this.load = load;
    this.show = show;
    this.fail = fail;
    this.clock = clock;
    /** @type {Moment|null} */
    this.wanted = null;
    this.flying = false;
    this.freeAt = -Infinity;
    /** @type {(() => void)|null} */
    this.callOff = null;
    /** @type {Map<Moment, {answer: T, at: number}>} */
    this.kept = new Map(); // the oldest first
  }

  /** Nothing is wanted that was not shown. */
  get settled() {
    return this.wanted === null && !this.flying;
  }

  /** @param {Moment} moment */
  want(moment) {
    this.wanted = moment;
    this.next();
  }

  close() {
    this.wanted = null;
    this.callOff?.();
    this.kept.clear();
  }

  next() {
    if (this.wanted === null || this.flying) return;
    const moment = this.wanted;
    const kept = this.kept.get(moment);
    const now = this.clock.now();
    if (kept && now - kept.at < KEPT_MS) {
      this.wanted = null;
      this.show(kept.answer, moment);
    } else if (now >= this.freeAt) {
      void this.ask(moment, now);
    } else {
      this.callOff ??= this.clock.later(this.freeAt - now, () => {
        this.callOff = null;
        this.next();
      });
    }
  }

  /** @param {Moment} moment @param {number} now */
  async ask(moment, now) {
    this.wanted = null;
    this.flying = true;
    this.freeAt = now + GAP_MS;
    try {
      const answer = await this.load(moment);
      this.keep(moment, answer);
      this.flying = false;
      this.show(answer, moment);
    } catch (error) {
      this.flying = false;
      if (this.wanted === null) this.fail(error, moment); // otherwise another is being asked for
    }
    this.next();
  }

  /** @param {Moment} moment @param {T} answer */
  keep(moment, answer) {
    this.kept.delete(moment);
    this.kept.set(moment, { answer, at: this.clock.now() });
    for (const oldest of this.kept.keys()) {
      if (this.kept.size <= KEPT_MAX) break;
      this.kept.delete(oldest);
    }
  }
}
