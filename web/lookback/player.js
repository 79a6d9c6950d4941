// Plays a room: goes from message to message, with the pauses that were between them, made shorter.

/** A silence of hours is not waited for, and what came at once can still be seen to come one by one. */
const PAUSE_MS = { least: 150, most: 1_500 };

/** @param {number} gap ms between two messages @param {number} factor how many times faster */
export const pauseOf = (gap, factor) => Math.min(Math.max(gap / factor, PAUSE_MS.least), PAUSE_MS.most);

export class Player {
  /**
   * @param {object} parts
   * @param {() => Promise<{gap: number, at: number}|'end'|'later'>} parts.peek the next message: how long after the moment
   *   that is shown it came; `later` while that moment is still being asked for
   * @param {(at: number) => void} parts.go
   * @param {() => number} parts.factor how many times faster
   * @param {(playing: boolean) => void} parts.changed
   * @param {import('./latest.js').Clock} parts.clock
   */
  constructor({ peek, go, factor, changed, clock }) {
    this.peek = peek;
    this.go = go;
    this.factor = factor;
    this.changed = changed;
    this.clock = clock;
    this.turn = 0; // each start and stop is another one: what belongs to an earlier one is over
    this.playing = false;
  }

  toggle() {
    if (this.playing) this.stop();
    else this.start();
  }

  start() {
    this.playing = true;
    this.turn += 1;
    this.changed(true);
    void this.next(this.turn);
  }

  stop() {
    if (!this.playing) return;
    this.playing = false;
    this.turn += 1;
    this.changed(false);
  }

  /** @param {number} turn */
  async next(turn) {
    const found = await this.peek();
    if (turn !== this.turn) return;
    if (found === 'end') return this.stop();
    const pause = found === 'later' ? PAUSE_MS.least : pauseOf(found.gap, this.factor());
    this.clock.later(pause, () => {
      if (turn !== this.turn) return;
      if (found !== 'later') this.go(found.at);
      void this.next(turn);
    });
  }
}
