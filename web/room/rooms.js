// The other rooms: a list with when something was last said, and which have something unread. It is asked for when it is
// opened and when the page is looked at again; there is no polling.

import { isRoomName } from '../client.js';
import { make } from '../parts/dom.js';
import { absolute, relative } from '../parts/time.js';

/**
 * @typedef {{ room: string, messages: number, last_at: string, position: string }} Room
 * @typedef {{ rooms: Room[], next?: string }} Page
 */

/** So many pages of rooms are read. */
const PAGES_MAX = 10;

/** So many are listed, the latest first; the others are found by name. */
const LISTED_MAX = 100;

/** The longest name of a room. */
const NAME_MAX = 128;

/** A position begins with the epoch of its log. */
const EPOCH_CHARS = 16;

/** How far each room was read is kept under this prefix. */
const SEEN = 'antiphon-seen:';

/** @param {import('./storage.js').Kept} storage @param {string} room @returns {string} the position up to which it was read; '' if never */
export const seenUpTo = (storage, room) => storage.getItem(SEEN + room) ?? '';

/** @param {import('./storage.js').Kept} storage @param {string} room @param {string} position */
export function keepSeen(storage, room, position) {
  if (position !== '' && position !== seenUpTo(storage, room)) storage.setItem(SEEN + room, position);
}

/**
 * Which rooms to list: those whose name has the words, the latest first; one that has exactly this name before all.
 *
 * @param {Room[]} rooms
 * @param {string} words
 * @returns {{ shown: Room[], more: number, fresh: string }} `more`: how many are left out; `fresh`: the room that the words can make, or ''
 */
export function listed(rooms, words) {
  const wanted = words.trim().toLowerCase();
  const exact = (/** @type {Room} */ { room }) => Number(room.toLowerCase() === wanted);
  const found = rooms.filter(({ room }) => room.toLowerCase().includes(wanted) || room.toLowerCase().includes(slugOf(wanted) || wanted))
    .sort((a, b) => exact(b) - exact(a) || (a.last_at < b.last_at ? 1 : -1));
  const fresh = slugOf(words);
  return { shown: found.slice(0, LISTED_MAX), more: Math.max(0, found.length - LISTED_MAX), fresh: rooms.some(({ room }) => room === fresh) ? '' : fresh };
}

/**
 * The nearest name that a room can have: without accents, with `-` for what lies between words.
 *
 * @param {string} words
 * @returns {string} '' if nothing is left of them
 */
export function slugOf(words) {
  const plain = words.trim().normalize('NFD').replace(/\p{M}/gu, '').replace(/ß/g, 'ss');
  const slug = plain.replace(/[^A-Za-z0-9._~-]+/g, '-').replace(/^-+|-+$/g, '').slice(0, NAME_MAX);
  return isRoomName(slug) ? slug : '';
}

/** Whether a position comes after what was read of a room; of another log nothing was read. @param {string} position @param {string} seen '' if it never was */
export const isAfter = (position, seen) => seen.slice(0, EPOCH_CHARS) === position.slice(0, EPOCH_CHARS) && position > seen;

/** A room that was read once and has gone on. @param {Room} room @param {import('./storage.js').Kept} storage */
export function hasUnread({ room, position }, storage) {
  return isAfter(position, seenUpTo(storage, room));
}

export class Rooms {
  /** @type {Room[]} */
  #rooms = [];
  /** Whether there are rooms beyond those that were read. */
  #beyond = false;

  /**
   * @param {{ list: HTMLElement, search: HTMLInputElement, dot: HTMLElement }} parts
   * @param {{ room: string, storage: import('./storage.js').Kept, rooms: (after?: string) => Promise<Page> }} outside
   */
  constructor(parts, outside) {
    this.parts = parts;
    this.outside = outside;
    parts.search.addEventListener('input', () => this.#draw());
    parts.list.parentElement?.addEventListener('keydown', (event) => this.#key(event));
  }

  /** Asks the server. What cannot be had leaves the list as it is. */
  async refresh() {
    /** @type {Room[]} */
    const rooms = [];
    /** @type {string | undefined} */
    let after;
    for (let pages = 0; pages < PAGES_MAX; pages += 1) {
      const page = await this.outside.rooms(after);
      rooms.push(...page.rooms);
      after = page.next;
      if (!after) break;
    }
    this.#rooms = rooms;
    this.#beyond = Boolean(after);
    this.#draw();
  }

  /** To the first room of the list, as Enter does. */
  go() {
    if (this.parts.search.value.trim() !== '') this.#links()[0]?.click();
  }

  #links() {
    return [...this.parts.list.querySelectorAll('a')];
  }

  /** Up and down through the list, from the field on. @param {KeyboardEvent} event */
  #key(event) {
    const by = event.key === 'ArrowDown' ? 1 : event.key === 'ArrowUp' ? -1 : 0;
    if (by === 0) return;
    const stops = [this.parts.search, ...this.#links()];
    const at = stops.findIndex((stop) => stop === document.activeElement);
    stops[Math.min(Math.max(at + by, 0), stops.length - 1)]?.focus();
    event.preventDefault();
  }

  #draw() {
    const { list, search, dot } = this.parts;
    const { room: here, storage } = this.outside;
    const unread = (/** @type {Room} */ room) => room.room !== here && hasUnread(room, storage);
    dot.hidden = !this.#rooms.some(unread);
    const now = Date.now();
    const { shown, more, fresh } = listed(this.#rooms, search.value);
    list.classList.toggle('searched', search.value.trim() !== '');
    const focused = this.#links().find((link) => link === document.activeElement)?.getAttribute('href');
    list.replaceChildren(
      ...shown.map((room) => make('li', null, make('a', { href: `/r/${encodeURIComponent(room.room)}`, className: unread(room) ? 'has-unread' : '', aria: { current: room.room === here ? 'page' : null } },
        make('span', { className: 'name' }, room.room), unread(room) && make('span', { className: 'badge' }, 'new'),
        make('time', { dateTime: room.last_at, title: absolute(room.last_at) }, relative(room.last_at, now))))),
      ...(more > 0 || this.#beyond ? [make('li', { className: 'rest' }, `${more > 0 ? `${more}${this.#beyond ? '+' : ''} more` : 'There are more'}. Type part of a name to find them.`)] : []),
      ...(fresh ? [make('li', null, make('a', { href: `/r/${fresh}`, className: 'fresh' }, 'Create room “', make('span', { className: 'name' }, fresh), '”'))] : []),
      ...(shown.length === 0 && !fresh ? [make('li', { className: 'rest' }, this.#rooms.length === 0 ? 'There are no rooms yet.' : 'A room’s name has the letters a to z, digits, and . _ ~ -')] : []),
    );
    // The list may be drawn again while a row has the focus.
    if (focused) (this.#links().find((link) => link.getAttribute('href') === focused) ?? search).focus();
  }
}
