// The client of an Antiphon server for pages in a browser: rooms and the monitor live, posts that are not lost, the JSON API.
// This file is the door; its contract, with an example, is docs/client.md. It needs no build and no other file than client/.
//
// Promises of `openRoom`:
// - events come in the order of the room's stream; durable ones (with an id) once per call, whatever happens to connections,
//   tabs and servers; words of a reply (`reply.delta`) are never repeated or out of order;
// - all tabs and rooms of a browser share one connection, where the browser can (client/tabs.js, client/hub.js);
// - what is sent is kept before it is sent, and sent until the server has answered (client/outbox.js).

import { Api, ApiError } from './client/api.js';
import { Feed } from './client/feed.js';
import { Hub } from './client/hub.js';
import { uuid } from './client/id.js';
import { Outbox, OutboxFull } from './client/outbox.js';
import { Stream } from './client/stream.js';
import { browserEnv } from './client/env.js';

export { Api, ApiError, OutboxFull, uuid };

/**
 * @typedef {import('./client/types.js').RoomEvent} RoomEvent
 * @typedef {import('./client/types.js').Status} Status
 * @typedef {import('./client/types.js').Post} Post
 * @typedef {import('./client/types.js').OutboxItem} OutboxItem
 * @typedef {import('./client/env.js').Env} Env
 */

/**
 * @typedef {object} RoomOptions
 * @property {string} [base] the server's address; '' is where this page came from
 * @property {number} [limit] messages in a snapshot, 1 to 500; 100 if absent
 * @property {(event: RoomEvent) => void} [onEvent]
 * @property {(status: Status) => void} [onStatus] at once and on every change
 * @property {(items: OutboxItem[]) => void} [onOutbox] this room's posts that are not in the log yet, oldest first; at once
 *   and on every change
 * @property {Env} [env] for tests
 */

/**
 * What the rooms of one server share.
 * @typedef {{ env: Env, base: string, hub: Hub, outbox: Outbox, api: Api, users: number }} Server
 */
/** @type {Set<Server>} */
const servers = new Set();
/** @type {Env | undefined} */
let browser;

const ROOM = /^(?!\.+$)[A-Za-z0-9._~-]{1,128}$/;

/** Whether a room can have this name. @param {string} name */
export const isRoomName = (name) => ROOM.test(name);

/**
 * Follows a room and speaks in it.
 *
 * @param {string} name 1-128 of `A-Z a-z 0-9 . _ ~ -`, not only dots
 * @param {RoomOptions} [options]
 * @throws {RangeError} if no room can have that name
 */
export function openRoom(name, options = {}) {
  if (!isRoomName(name)) throw new RangeError(`there is no room \`${name}\`: a name has 1-128 of A-Z a-z 0-9 . _ ~ -`);
  const { limit = 100, onEvent = () => {}, onStatus = () => {}, onOutbox = () => {} } = options;
  const server = serverOf(options);
  server.users += 1;
  const { env, hub, outbox, api } = server;
  const feed = new Feed({
    room: name,
    limit,
    onStatus: (status) => guarded(env, () => onStatus(status)),
    onEvent(event) {
      guarded(env, () => onEvent(event));
      // After the page has it, so that there is no moment in which it is nowhere.
      for (const id of posted(event)) outbox.seen(id);
    },
  });
  const unlisten = outbox.listen(name, (items) => guarded(env, () => onOutbox(items)));
  hub.open(feed);
  let open = true;
  return {
    api,
    /**
     * Says something: it is kept at once, and sent as soon as that is possible.
     *
     * @param {Post} post
     * @returns {OutboxItem}
     * @throws {OutboxFull} if too many wait already
     */
    send: (post) => outbox.add(name, post),
    /** Sends a failed item again. @param {string} id */
    again: (id) => outbox.again(id),
    /** Gives up an item that was not sent; false if it is too late. @param {string} id */
    discard: (id) => outbox.discard(id),
    /** Ends following. What is in the outbox stays there for the next time. */
    close() {
      if (!open) return;
      open = false;
      unlisten();
      hub.close(feed);
      server.users -= 1;
      if (server.users > 0) return;
      servers.delete(server);
      hub.end();
      outbox.end();
    },
  };
}

/** The server's address and the env of a call. @param {{ base?: string, env?: Env }} options */
function place(options) {
  return { base: (options.base ?? '').replace(/\/+$/, ''), env: options.env ?? (browser ??= browserEnv()) };
}

/** @param {RoomOptions} options @returns {Server} */
function serverOf(options) {
  const { base, env } = place(options);
  for (const server of servers) if (server.base === base && server.env === env) return server;
  const api = new Api(base, env);
  const hub = new Hub(env, base);
  const outbox = new Outbox(env, `antiphon:${base}:outbox`, api.post, () => hub.live);
  let well = false;
  hub.onStatus = (status) => {
    const now = status.state === 'live' && status.store === 'connected';
    if (now && !well) outbox.wake();
    well = now;
  };
  const server = { env, base, api, hub, outbox, users: 0 };
  servers.add(server);
  return server;
}

/** Ids of the posts that an event shows to be in the log. @param {RoomEvent} event @returns {string[]} */
function posted({ name, data }) {
  if (name === 'message.posted') return [data.id];
  return name === 'snapshot' ? data.messages.map((/** @type {{ id: string }} */ { id }) => id) : [];
}

/** A page's mistake is shown in the console, and costs nobody else their events. @param {Env} env @param {() => void} act */
function guarded(env, act) {
  try {
    act();
  } catch (error) {
    env.report(error);
  }
}

/**
 * Follows everything that a server does: `snapshot` with the whole, then an `update` for what changes. Each page has a
 * connection of its own.
 *
 * @param {object} [options]
 * @param {string} [options.base]
 * @param {(data: any) => void} [options.onSnapshot] may come again at any time, and replaces everything
 * @param {(data: any) => void} [options.onUpdate]
 * @param {(status: Status) => void} [options.onStatus]
 * @param {Env} [options.env] for tests
 */
export function openMonitor(options = {}) {
  const { onSnapshot = () => {}, onUpdate = () => {}, onStatus = () => {} } = options;
  const { base, env } = place(options);
  let health = { state: 'connected', reason: null, parked: 0 };
  let told = '';
  const say = () => {
    const { state: store, reason = null, parked } = health;
    const rest = { online: env.online(), store, reason, parked, shared: false, leader: true };
    const status = /** @type {Status} */ ({ ...stream.status, ...rest });
    if (JSON.stringify(status) === told) return;
    told = JSON.stringify(status);
    guarded(env, () => onStatus(status));
  };
  const stream = new Stream(env, {
    url: () => `${base}/api/monitor/events`,
    onStatus: say,
    onEvent({ name, data }) {
      if (name !== 'snapshot' && name !== 'update') return;
      health = data.health ?? health;
      guarded(env, () => (name === 'snapshot' ? onSnapshot : onUpdate)(data));
      say();
    },
  });
  const wake = () => {
    say();
    if (stream.running) stream.wake();
  };
  const offs = [
    env.on('online', wake),
    env.on('offline', say),
    env.on('visible', wake),
    env.on('hide', () => stream.stop()),
    env.on('show', () => stream.start()),
  ];
  say();
  stream.start();
  return {
    api: new Api(base, env),
    /** Ends following. */
    close() {
      for (const off of offs) off();
      stream.stop();
    },
  };
}
