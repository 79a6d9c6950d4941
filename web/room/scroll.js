// Where the reader is in the log. Who reads the newest stays there as it grows; who has scrolled up is left alone.

/** So near to the end counts as the end. */
const NEAR_PX = 48;

/** History is asked for when so much of what is there is left above. */
const AHEAD_PX = 900;

/** A message that was jumped to is marked for so long. */
const FLASH_MS = 2_000;

/** @typedef {'above' | 'in' | 'below'} Place where something is as seen from what is in sight */

export class Scroll {
  /** Whether the reader is at the end. */
  atEnd = true;
  #last = 0;

  /**
   * @param {HTMLElement} area what scrolls
   * @param {{ onMove: () => void, onTop: () => void }} listeners
   *   `onMove`: what is in sight may be another part now; `onTop`: history is wanted
   */
  constructor(area, listeners) {
    this.area = area;
    this.listeners = listeners;
    area.addEventListener('scroll', () => this.#moved(), { passive: true });
    // A keyboard that opens, a composer that grows; and the content: what was out of sight has its real height only once
    // it comes into sight (room.css, `.chunk`). The end stays in sight.
    const sizes = new ResizeObserver(() => {
      this.stay();
      listeners.onMove();
    });
    sizes.observe(area);
    for (const content of area.children) sizes.observe(content);
  }

  /** To the end, if the reader was there. To be called after every drawing. */
  stay() {
    if (!this.atEnd) return;
    this.area.scrollTop = Number.MAX_SAFE_INTEGER;
  }

  toEnd() {
    this.#setAtEnd(true);
    this.stay();
  }

  /** How much there is below what is seen. */
  #left() {
    return this.area.scrollHeight - this.area.clientHeight - this.area.scrollTop;
  }

  /** Upwards by hand leaves the end at once; being near the end is coming back to it. */
  #moved() {
    const { scrollTop } = this.area;
    const left = this.#left();
    if (left <= 2) this.#setAtEnd(true);
    else if (scrollTop < this.#last - 1) this.#setAtEnd(false);
    else if (left <= NEAR_PX) this.#setAtEnd(true);
    this.#last = scrollTop;
    this.listeners.onMove();
    if (scrollTop < AHEAD_PX) this.listeners.onTop();
  }

  /** @param {boolean} atEnd */
  #setAtEnd(atEnd) {
    if (atEnd === this.atEnd) return;
    this.atEnd = atEnd;
    this.listeners.onMove();
  }

  /** @param {HTMLElement} element within the area @returns {Place} */
  placeOf(element) {
    const [seen, its] = [this.area.getBoundingClientRect(), element.getBoundingClientRect()];
    if (its.bottom <= seen.top) return 'above';
    return its.top >= seen.bottom ? 'below' : 'in';
  }

  /**
   * Does something that changes what is above without moving what the reader sees.
   *
   * @param {() => void} change
   */
  hold(change) {
    if (this.atEnd) {
      change();
      return this.stay();
    }
    const top = this.area.getBoundingClientRect().top;
    const held = [...this.area.querySelectorAll('.item')].find((item) => item.getBoundingClientRect().bottom > top);
    const before = held?.getBoundingClientRect().top ?? 0;
    change();
    if (held?.isConnected) this.area.scrollTop += held.getBoundingClientRect().top - before;
  }

  /** Brings a message to the middle, marks it for a moment and gives it the focus. @param {HTMLElement} element */
  show(element) {
    this.#setAtEnd(false); // or drawing would go back to the end
    element.scrollIntoView({ block: 'center' });
    this.#setAtEnd(this.#left() <= NEAR_PX);
    element.focus({ preventScroll: true });
    element.classList.add('flash');
    setTimeout(() => element.classList.remove('flash'), FLASH_MS);
  }
}
