// Which page of a room it is: as it is now, or as it was (`?at=…`).

import { byId } from '../parts/dom.js';
import { Api } from '../client.js';
import { note, startBar } from './bar.js';
import { startRoom } from './page.js';
import { keptBy } from './storage.js';

const room = decodeURIComponent(/^\/r\/([^/]+)/.exec(location.pathname)?.[1] ?? 'lobby');
const at = new URLSearchParams(location.search).get('at');

if (at === null) startRoom(room);
else await lookBack(at);

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
