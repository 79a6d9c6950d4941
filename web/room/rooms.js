// The other rooms: a list with when something was last said, and which have something unread. It is asked for when it is
// opened and when the page is looked at again; there is no polling.

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
 * Which rooms to list: those whose name has the words, the latest first.
 *
 * @param {Room[]} rooms
 * @param {string} words
 */
export function listed(rooms, words) {
  const wanted = words.trim().toLowerCase();
  return rooms.filter(({ room }) => room.toLowerCase().includes(wanted))
    .sort((a, b) => (a.last_at < b.last_at ? 1 : -1)).slice(0, LISTED_MAX);
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

  /**
   * @param {{ list: HTMLElement, search: HTMLInputElement, dot: HTMLElement }} parts
   * @param {{ room: string, storage: import('./storage.js').Kept, rooms: (after?: string) => Promise<Page> }} outside
   */
  constructor(parts, outside) {
    this.parts = parts;
    this.outside = outside;
    parts.search.addEventListener('input', () => this.#draw());
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
    this.#draw();
  }

  #draw() {
    const { list, search, dot } = this.parts;
    const { room: here, storage } = this.outside;
    const unread = (/** @type {Room} */ room) => room.room !== here && hasUnread(room, storage);
    dot.hidden = !this.#rooms.some(unread);
    const now = Date.now();
    list.replaceChildren(...listed(this.#rooms, search.value).map((room) =>
      make('li', null, make('a', { href: `/r/${encodeURIComponent(room.room)}`, className: unread(room) ? 'has-unread' : '', aria: { current: room.room === here ? 'page' : null } },
        make('span', { className: 'name' }, room.room), unread(room) && make('span', { className: 'badge' }, 'new'),
        make('time', { dateTime: room.last_at, title: absolute(room.last_at) }, relative(room.last_at, now))))));
  }
}
