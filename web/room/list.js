// The log's elements: what the store says has changed is drawn once per animation frame.
// The work of a frame is that of the changed items, not of all: nothing is measured here, and the order is walked from the
// end only as far as something new is to be placed.

import { make, oncePerFrame } from '../parts/dom.js';
import { renderItem, updateItem } from './item.js';

/**
 * @typedef {import('./store.js').Store} Store
 * @typedef {import('./model.js').Item} Item
 */

/**
 * So many items stand together in a chunk, and what is out of sight is left out of layout chunk by chunk (room.css): with
 * each of 5,000 items on its own, a frame of scrolling took 47 ms, most of it for finding out which ones are in sight;
 * with chunks it takes 6 ms, as with 100 items.
 */
const CHUNK = 50;

/** @param {Element} item @returns {Element | null | undefined} */
const above = (item) => item.previousElementSibling ?? item.parentElement?.previousElementSibling?.lastElementChild;

/** @param {Element} item @returns {Element | null | undefined} */
const below = (item) => item.nextElementSibling ?? item.parentElement?.nextElementSibling?.firstElementChild;

/** Puts an item before another, or at the end, into a chunk that has room. @param {HTMLElement} log @param {HTMLElement} item @param {Element | null} next */
function insert(log, item, next) {
  const chunk = next ? next.parentElement : log.lastElementChild;
  if (chunk && next && (next.previousElementSibling || chunk.childElementCount < CHUNK)) return void chunk.insertBefore(item, next);
  const other = next ? chunk?.previousElementSibling : chunk;
  if (other && other.childElementCount < CHUNK) return other.append(item);
  log.insertBefore(make('div', { className: 'chunk' }, item), next ? chunk : null);
}

export class List {
  /** @type {Map<string, HTMLElement>} */
  #elements = new Map();
  /** @type {Set<string>} */
  #changed = new Set();
  #ask;

  /**
   * @param {{ store: Store, log: HTMLElement, outbox: HTMLElement, unreadFrom: () => string | null,
   *   bots: () => import('./status.js').Bots, painted: () => void }} parts
   * `log` gets what is in the log, `outbox` (below it) what is not yet; `painted` is called after each drawing
   */
  constructor(parts) {
    this.parts = parts;
    this.#ask = oncePerFrame(() => this.paint());
  }

  /** Has these items drawn with the next frame. @param {Iterable<string>} ids */
  change(ids) {
    for (const id of ids) this.#changed.add(id);
    if (this.#changed.size > 0) this.#ask();
  }

  /** Draws what has changed, now. */
  paint() {
    const { store, painted } = this.parts;
    const changed = this.#changed;
    if (changed.size === 0) return;
    this.#changed = new Set();
    const focus = this.#focus();
    const unsent = new Set(store.pending.map(({ message }) => message.id));
    const fresh = new Set();
    for (const id of changed) {
      if (!store.items.has(id) && !unsent.has(id)) this.#remove(id);
      else if (store.items.has(id) && !this.#inLog(id)) fresh.add(id);
    }
    this.#place(fresh);
    for (const id of changed) if (!unsent.has(id)) this.#update(id, fresh);
    store.pending.forEach((item, at) => this.#drawUnsent(item, store.pending[at - 1]));
    if (focus && !focus.button.isConnected) this.#refocus(focus.id);
    painted();
  }

  /** The element of an item. @param {string} id */
  element(id) {
    return this.#elements.get(id);
  }

  /** @param {string} id */
  #inLog(id) {
    return this.#elements.get(id)?.parentElement?.parentElement === this.parts.log;
  }

  /** @param {string} id */
  #remove(id) {
    const element = this.#elements.get(id);
    if (!element) return;
    const next = below(element);
    const chunk = element.parentElement;
    element.remove();
    if (chunk?.className === 'chunk' && chunk.childElementCount === 0) chunk.remove();
    this.#elements.delete(id);
    this.#redraw(next);
  }

  /** Puts what is new where the order wants it. @param {Set<string>} fresh */
  #place(fresh) {
    const { store, log } = this.parts;
    let missing = fresh.size;
    /** @type {Element | null} */
    let next = null;
    for (let at = store.order.length - 1; at >= 0 && missing > 0; at -= 1) {
      const id = /** @type {string} */ (store.order[at]);
      if (fresh.has(id)) {
        insert(log, this.#make(id, store.items.get(store.order[at - 1] ?? '')), next);
        missing -= 1;
      }
      next = this.#elements.get(id) ?? next;
    }
  }

  /** What was sent from here keeps its element when the log has it. @param {string} id @param {Item | undefined} previous */
  #make(id, previous) {
    const item = /** @type {Item} */ (this.parts.store.items.get(id));
    const known = this.#elements.get(id);
    if (known) updateItem(known, item, this.#context(previous));
    const element = known ?? renderItem(item, this.#context(previous));
    this.#elements.set(id, element);
    return element;
  }

  /** Also the one below: whether that begins a day or a group depends on this one. @param {string} id @param {Set<string>} fresh */
  #update(id, fresh) {
    const element = this.#elements.get(id);
    if (!fresh.has(id)) this.#redraw(element);
    const next = element && below(element);
    if (next instanceof HTMLElement && !fresh.has(next.dataset.id ?? '')) this.#redraw(next);
  }

  /** @param {Element | null | undefined} element */
  #redraw(element) {
    if (!(element instanceof HTMLElement)) return;
    const { items } = this.parts.store;
    const item = items.get(element.dataset.id ?? '');
    if (item) updateItem(element, item, this.#context(items.get(above(element)?.getAttribute('data-id') ?? '')));
  }

  /** @param {Item} item @param {Item | undefined} above */
  #drawUnsent(item, above) {
    const { store, outbox } = this.parts;
    const { id } = item.message;
    const context = this.#context(above ?? store.items.get(store.order.at(-1) ?? ''));
    const known = this.#elements.get(id);
    if (known) return updateItem(known, item, context);
    const element = renderItem(item, context);
    this.#elements.set(id, element);
    outbox.append(element);
  }

  /** @param {Item | undefined} previous */
  #context(previous) {
    const { store, unreadFrom, bots } = this.parts;
    return { now: Date.now(), previous, find: (/** @type {string} */ id) => store.message(id), unreadFrom: unreadFrom(), colors: store.colors, bots: bots() };
  }

  #focus() {
    const button = document.activeElement;
    const id = button?.closest('.item')?.getAttribute('data-id');
    return button && id ? { button, id } : null;
  }

  /** A button that had the focus is gone, e.g. Stop at the end of an answer: its message takes the focus. @param {string} id */
  #refocus(id) {
    const message = this.#elements.get(id)?.querySelector('.msg') ?? this.parts.log;
    if (message instanceof HTMLElement) message.focus({ preventScroll: true });
  }
}
