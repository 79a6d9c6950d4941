// The one stream of a browser for one server: the leading tab has it and tells the others, each tab hands on what its rooms
// have not had yet.
//
// ```text
//   leader   stream of all tabs' rooms ─▶ its own feeds
//            │ event, beat (how the stream is, how far each room)      ▲ join (rooms, cursors), missed, ask, wake
//   follower ▼ its feeds: once, in order                               │
// ```
// A room that the stream has not yet makes it anew, from the cursors of those who want it; a new tab gets its snapshot over a
// short stream of its own (feed.js), so that tabs which are there already miss nothing and see nothing twice.
// Whoever finds that something is missing says from where; the stream is then made anew from there for all.
// Not here: who leads (tabs.js), what is once and in order (order.js), posts (outbox.js).

import { query } from './api.js';
import { earlier } from './order.js';
import { Stream } from './stream.js';
import { Tabs } from './tabs.js';

/** The server's bound of rooms in one stream. */
export const ROOMS_MAX = 16;
/** Tabs that answer a new leader come together: one new stream serves them all. */
export const TOGETHER_MS = 50;
/** For those who missed something the stream is made anew at most this often. */
export const AGAIN_MS = 1_000;
/** Who misses something asks this often, as long as it does. */
export const ASK_MS = 2_000;

/** @typedef {import('./types.js').Status} Status */

/** @type {Pick<Status, 'store' | 'reason' | 'parked'>} */
const WELL = { store: 'connected', reason: null, parked: 0 };

export class Hub {
  /** @type {Set<import('./feed.js').Feed>} */
  #feeds = new Set();
  /** @type {Map<string, { rooms: Map<string, string>, forget: () => void }>} of the others; the leader's knowledge */
  #others = new Map();
  /** @type {Map<string, string>} how far the stream is in each of its rooms; '' before the snapshot. The leader's knowledge */
  #places = new Map();
  /** @type {Map<string, string>} from where rooms are wanted again; the leader's knowledge */
  #rewinds = new Map();
  /** The room of the events that come now. */
  #room = '';
  /** @type {(() => void) | null} */
  #renewal = null;
  #renewedAt = 0;
  /** When the leader was last told what this tab follows. */
  #joinedAt = 0;
  /** @type {Pick<Status, 'store' | 'reason' | 'parked'>} */
  #store = WELL;
  /** A connection says how the store is only if it is not well, or changes. */
  #storeSaid = false;
  /** @type {Pick<Status, 'state' | 'since' | 'retryAt'>} */
  #state;
  /** @type {string[]} rooms beyond the bound */
  #full = [];
  #asleep = false;
  #env;
  #base;
  #tabs;
  #stream;
  /** @type {(() => void)[]} */
  #offs;
  /** Called on every change of how the stream is. @type {(status: { state: Status['state'], store: Status['store'] }) => void} */
  onStatus = () => {};

  /**
   * @param {import('./env.js').Env} env
   * @param {string} base
   */
  constructor(env, base) {
    this.#env = env;
    this.#base = base;
    this.#state = { state: 'connecting', since: env.now(), retryAt: null };
    this.#stream = new Stream(env, {
      url: () => this.#address(),
      onEvent: (event) => this.#came(event),
      onStatus: (status) => this.#be(status),
    });
    this.#tabs = new Tabs(env, `antiphon:${base}`, {
      onRole: (role) => this.#role(role),
      onMessage: (message) => this.#told(message),
    });
    this.#offs = [
      env.on('online', () => this.#wake()),
      env.on('offline', () => this.#say()),
      env.on('visible', () => this.#wake()),
      env.on('hide', () => this.#sleep()),
      env.on('show', () => this.#rise()),
    ];
    this.#tabs.start();
  }

  /** @param {import('./feed.js').Feed} feed */
  open(feed) {
    this.#feeds.add(feed);
    feed.tell(this.status(feed.room));
    this.#attend(feed);
  }

  /** @param {import('./feed.js').Feed} feed */
  close(feed) {
    feed.stopPeek();
    this.#feeds.delete(feed);
    if (this.#leads) this.#settle();
    else this.#join();
  }

  /** Ends everything; no method may be called afterwards. */
  end() {
    for (const off of this.#offs) off();
    this.#sleep();
  }

  /** @param {string} room @returns {Status} */
  status(room) {
    const { role } = this.#tabs;
    const full = this.#full.includes(room);
    return {
      ...this.#state,
      ...(full && { state: /** @type {const} */ ('busy'), retryAt: null }),
      ...this.#store,
      ...(full && { reason: `More than ${ROOMS_MAX} rooms are open in this browser; close one.` }),
      online: this.#env.online(),
      shared: role === 'leader' || role === 'follower',
      leader: this.#leads,
    };
  }

  get live() {
    return this.#state.state === 'live';
  }

  get #leads() {
    return this.#tabs.role === 'leader' || this.#tabs.role === 'alone';
  }

  // ---- as leader

  /** All rooms that somebody wants, and the earliest position that somebody of those who have one is at. */
  #wanted() {
    /** @type {Map<string, string>} */
    const rooms = new Map();
    const want = (/** @type {string} */ room, /** @type {string} */ cursor) => {
      const known = rooms.get(room);
      rooms.set(room, known && cursor ? earlier(known, cursor) : known || cursor);
    };
    for (const feed of this.#feeds) want(feed.room, feed.cursor);
    for (const { rooms: theirs } of this.#others.values()) theirs.forEach((cursor, room) => want(room, cursor));
    return rooms;
  }

  /** The rooms of one stream, and those that are too many. What the stream has already it keeps. */
  #plan() {
    const wanted = this.#wanted();
    const kept = [...this.#places.keys()].filter((room) => wanted.has(room));
    const rooms = [...new Set([...kept, ...wanted.keys()])];
    return { wanted, rooms: rooms.slice(0, ROOMS_MAX), full: rooms.slice(ROOMS_MAX) };
  }

  /** The stream's address now; its rooms go on where they are, or further back if somebody misses something. */
  #address() {
    const { wanted, rooms, full } = this.#plan();
    const from = (/** @type {string} */ room) => {
      const place = this.#places.get(room) || wanted.get(room) || '';
      const rewind = this.#rewinds.get(room);
      return place && rewind ? earlier(place, rewind) : place;
    };
    this.#places = new Map(rooms.map((room) => [room, from(room)]));
    this.#rewinds.clear();
    const others = full.join() !== this.#full.join();
    this.#full = full;
    if (others) {
      this.#tell('beat');
      this.#say();
    }
    this.#room = '';
    this.#storeSaid = false;
    this.#feeds.forEach((feed) => this.#peek(feed));
    const list = [...this.#places].map(([room, place]) => (place ? `${room}@${place}` : room)).join(',');
    const limit = Math.max(...[...this.#feeds].map((feed) => feed.limit), 1);
    return `${this.#base}/api/events${query({ rooms: list, limit })}`;
  }

  /** Makes the stream anew if it has not the rooms that are wanted. */
  #settle() {
    const { rooms, full } = this.#plan();
    if (rooms.length === 0) {
      this.#places.clear();
      return this.#stream.stop();
    }
    const same = rooms.length === this.#places.size && rooms.every((room) => this.#places.has(room));
    if (!this.#stream.running) this.#stream.start();
    else if (!same || full.length !== this.#full.length) this.#renew(TOGETHER_MS);
    return undefined;
  }

  /** @param {number} ms */
  #renew(ms) {
    this.#renewal ??= this.#env.later(ms, () => {
      this.#renewal = null;
      this.#renewedAt = this.#env.now();
      // One that waits for its time takes the change with it then.
      if (this.#leads && this.#stream.status.retryAt === null && this.#stream.running) this.#stream.renew();
    });
  }

  /** @param {import('./types.js').RoomEvent} event */
  #came(event) {
    const { name, data, id } = event;
    if (name === 'room') {
      this.#room = data.room;
    } else if (name === 'heartbeat') {
      if (!this.#storeSaid) this.#store = WELL;
      this.#tell('beat');
      this.#say();
    } else if (name === 'state') {
      this.#storeSaid = true;
      this.#store = { store: data.state, reason: data.reason, parked: data.parked };
      this.#tell('beat');
      this.#say();
    } else if (this.#places.has(this.#room)) {
      const sent = { ...event, prev: this.#places.get(this.#room) ?? '' };
      const room = this.#room;
      if (id !== '') this.#places.set(room, name === 'reset' ? '' : id);
      this.#tabs.tell({ kind: 'event', leads: true, room, event: sent });
      this.#hand(room, sent);
    }
  }

  /** @param {'lead' | 'beat'} kind */
  #tell(kind) {
    const { state, retryAt, since } = this.#state;
    const beat = { state: { state, retryAt, since }, store: this.#store, places: this.#places, full: this.#full };
    this.#tabs.tell({ kind, leads: true, ...beat });
  }

  /**
   * Somebody lacks what comes after a position.
   * @param {string} room
   * @param {string} cursor
   */
  #rewind(room, cursor) {
    if (!this.#places.has(room) || cursor === '') return;
    const known = this.#rewinds.get(room);
    this.#rewinds.set(room, known ? earlier(known, cursor) : cursor);
    const ago = this.#env.now() - this.#renewedAt;
    this.#renew(ago >= AGAIN_MS || ago < 0 ? TOGETHER_MS : AGAIN_MS - ago);
  }

  /** @param {string} tab */
  #forget(tab) {
    this.#others.get(tab)?.forget();
    if (this.#others.delete(tab) && this.#leads) this.#settle();
  }

  // ---- as follower

  #join() {
    if (this.#tabs.role !== 'follower') return;
    this.#joinedAt = this.#env.now();
    const rooms = new Map([...this.#feeds].filter(({ cursor }) => cursor !== '').map((feed) => [feed.room, feed.cursor]));
    this.#tabs.tell({ kind: 'join', rooms });
  }

  // ---- as either

  /** @param {import('./feed.js').Feed} feed */
  #attend(feed) {
    this.#peek(feed);
    if (this.#leads) this.#settle();
  }

  /**
   * Gets a room's first snapshot, unless it comes with the stream because that begins with it.
   * @param {import('./feed.js').Feed} feed
   */
  #peek(feed) {
    const { role } = this.#tabs;
    const goesOn = this.#leads && Boolean(this.#places.get(feed.room));
    if (feed.cursor !== '' || !(goesOn || role === 'follower')) return;
    feed.peek(this.#env, this.#base, (missed) => {
      this.#join();
      if (missed) this.#missed(feed);
    });
  }

  /**
   * @param {string} room
   * @param {import('./types.js').Sent} event
   */
  #hand(room, event) {
    for (const feed of this.#feeds) {
      if (feed.room === room && feed.put(event)) this.#missed(feed);
    }
  }

  /** @param {import('./feed.js').Feed} feed */
  #missed(feed) {
    const { room, cursor, askedAt } = feed;
    const ago = this.#env.now() - askedAt;
    if (ago >= 0 && ago < ASK_MS) return;
    feed.askedAt = this.#env.now();
    if (this.#leads) this.#rewind(room, cursor);
    else this.#tabs.tell({ kind: 'missed', room, cursor });
  }

  /** @param {import('./tabs.js').Role} role */
  #role(role) {
    this.#renewal?.();
    this.#renewal = null;
    if (role === 'leader' || role === 'alone') {
      for (const feed of this.#feeds) feed.stopPeek();
      this.#tell('lead');
      this.#settle();
    } else {
      for (const { forget } of this.#others.values()) forget();
      this.#others.clear();
      this.#places.clear();
      this.#rewinds.clear();
      this.#stream.stop();
      if (role === 'follower') {
        this.#join();
        this.#tabs.tell({ kind: 'ask' });
        for (const feed of this.#feeds) this.#attend(feed);
      }
    }
    this.#say();
  }

  /** @param {any} message */
  #told(message) {
    const { kind, from } = message;
    if (this.#leads) {
      if (kind === 'join') {
        const forget = this.#others.get(from)?.forget ?? this.#tabs.whenGone(from, () => this.#forget(from));
        this.#others.set(from, { rooms: message.rooms, forget });
        this.#settle();
        this.#tell('beat');
      } else if (kind === 'missed') {
        this.#rewind(message.room, message.cursor);
      } else if (kind === 'ask') {
        this.#stream.due();
        this.#tell('beat');
      } else if (kind === 'wake') {
        this.#stream.wake();
      }
      return undefined;
    }
    if (kind === 'event') return this.#hand(message.room, message.event);
    if (kind === 'lead') this.#join();
    if (kind === 'lead' || kind === 'beat') this.#learn(message);
    return undefined;
  }

  /** What the leader says of its stream. @param {any} beat */
  #learn({ state, store, places, full }) {
    this.#state = state;
    this.#store = store;
    this.#full = full;
    this.#say();
    const known = [...this.#feeds].every(({ room, cursor }) => cursor === '' || places.has(room) || full.includes(room));
    const ago = this.#env.now() - this.#joinedAt;
    if (!known && (ago >= ASK_MS || ago < 0)) this.#join();
    for (const feed of this.#feeds) {
      if (feed.order.lacks(places.get(feed.room) ?? '')) this.#missed(feed);
      // A reset whose snapshot did not come.
      else if (feed.cursor === '') this.#attend(feed);
    }
  }

  /** @param {import('./stream.js').StreamStatus} status */
  #be(status) {
    if (!this.#leads) return;
    if (status.state === 'live' && this.#state.state !== 'live' && !this.#storeSaid) this.#store = WELL;
    this.#state = { ...status };
    this.#tell('beat');
    this.#say();
  }

  #say() {
    for (const feed of this.#feeds) feed.tell(this.status(feed.room));
    this.onStatus({ state: this.#state.state, store: this.#store.store });
  }

  #wake() {
    if (this.#asleep) return;
    this.#say();
    if (this.#leads) this.#stream.wake();
    else this.#tabs.tell({ kind: 'wake' });
    this.#tabs.check();
    for (const feed of this.#feeds) feed.wake();
  }

  #sleep() {
    if (this.#asleep) return;
    this.#asleep = true;
    for (const feed of this.#feeds) feed.stopPeek();
    this.#tabs.stop();
  }

  #rise() {
    if (!this.#asleep) return;
    this.#asleep = false;
    this.#tabs.start();
  }
}
