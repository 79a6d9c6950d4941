// The bar above a room, now and when looking back: the other rooms, and the help.

import { byId } from '../parts/dom.js';
import { errorWords } from './reasons.js';
import { Rooms } from './rooms.js';

/** @param {{ room: string, storage: import('./storage.js').Kept, rooms: (after?: string) => Promise<import('./rooms.js').Page>, note: (words: string) => void }} parts */
export function startBar({ room, storage, rooms: ask, note }) {
  const search = byId('rooms-search', HTMLInputElement);
  const rooms = new Rooms({ list: byId('rooms-list'), search, dot: byId('rooms-unread') }, { room, storage, rooms: ask });
  byId('room-name').textContent = room;
  const popover = byId('rooms');
  popover.addEventListener('toggle', () => {
    if (popover.matches(':popover-open') && matchMedia('(pointer: fine)').matches) search.focus(); // elsewhere a keyboard would cover the list
  });
  document.addEventListener('keydown', (event) => {
    if (event.key !== 'k' || !(event.ctrlKey || event.metaKey) || event.altKey || event.shiftKey || document.querySelector('dialog[open]')) return;
    event.preventDefault();
    popover.togglePopover();
  });
  popover.addEventListener('toggle', () => void rooms.refresh().catch((/** @type {Error} */ error) => note(errorWords(error))));
  byId('rooms-go').addEventListener('submit', (event) => {
    event.preventDefault();
    rooms.go();
  });
  byId('help-open').addEventListener('click', () => byId('help', HTMLDialogElement).showModal());
  rooms.refresh().catch(() => {}); // for the dot; asked for again when the list is opened
}

/** A note at the edge of the page stays so long. */
const NOTE_MS = 2_500;

/** Says something for a moment. @type {(words: string) => void} */
export const note = (() => {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  return (words) => {
    byId('note').textContent = words;
    clearTimeout(timer);
    timer = setTimeout(() => { byId('note').textContent = ''; }, NOTE_MS);
  };
})();
