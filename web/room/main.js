// Which page of a room it is: as it is now, or as it was (`?at=…`); and what is said where no room can be.

import { Api, isRoomName } from '../client.js';
import { byId, make } from '../parts/dom.js';
import { note, startBar } from './bar.js';
import { startRoom } from './page.js';
import { slugOf } from './rooms.js';
import { keptBy } from './storage.js';

const name = nameOf(location.pathname);
const room = name && isRoomName(name) ? name : '';
const at = new URLSearchParams(location.search).get('at');

if (room === '') noRoom(name);
else if (at === null) startRoom(room);
else await lookBack(at);

/** @param {string} path @returns {string} '' if it cannot be read */
function nameOf(path) {
  try {
    return decodeURIComponent(/^\/r\/([^/]+)/.exec(path)?.[1] ?? 'lobby');
  } catch {
    return '';
  }
}

/** No room can have the name in the address. @param {string} name */
function noRoom(name) {
  document.title = 'No such room · Antiphon';
  document.body.classList.add('no-room');
  const slug = slugOf(name);
  byId('scroll').replaceChildren(make('div', { className: 'nowhere' }, make('h2', null, 'No room can have this name'),
    make('p', null, 'The name of a room has the letters a to z, digits, and the signs . _ ~ -'),
    make('p', null, slug && make('a', { href: `/r/${slug}` }, `Go to ${slug}`), slug && ' or ', make('a', { href: '/' }, slug ? 'to the lobby' : 'Go to the lobby'))));
  startBar({ room: 'no such room', storage: keptBy(() => localStorage), rooms: new Api('').rooms, note });
}

/** @param {string} at */
async function lookBack(at) {
  const { openLookback } = await import('../lookback/lookback.js');
  document.title = `${room}, looking back · Antiphon`;
  document.body.classList.add('looking-back');
  byId('look').setAttribute('role', 'main'); // the room's own <main> is not shown
  const api = new Api('');
  startBar({ room, storage: keptBy(() => localStorage), rooms: api.rooms, note });
  openLookback({ room, at, api, container: byId('look'), onLeave: () => location.assign(`/r/${encodeURIComponent(room)}`) });
}
