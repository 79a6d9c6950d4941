// One EventSource that is always there: made anew when it breaks, is silent, or is sent away.
//
// Promises:
// - the browser's own reconnect is never relied on: it gives up for good when a proxy answers 502, and keeps the old address;
// - waits grow from 1 s to 15 s, with jitter, so that browsers do not come back all at once; `wake` comes back at once;
// - 45 s without an event are a dead stream: the server sends a heartbeat every 15 s;
// - after `stop` and after each new connection nothing of an older one is heard.
// Not here: what the events mean (hub.js).

/** Names of events that carry a position, so that their id is one; other events repeat the last one's. */
const DURABLE = new Set([
  'snapshot', 'reset', 'message.posted', 'message.claimed', 'message.released', 'message.failed', 'message.dead',
  'message.cancelled', 'message.completed', 'message.redacted', 'message.erased', 'reply.posted',
]);
const LIVE = ['reply.started', 'reply.delta', 'reply.snapshot', 'reply.reset', 'reply.progress', 'heartbeat', 'state', 'room', 'update'];

export const WAIT_MS = { first: 1_000, max: 15_000 };
/** Three heartbeats. */
export const SILENCE_MS = 45_000;
/** Whoever comes back to a page wants to know now, and a heartbeat is due after 15 s. */
const STALE_MS = 20_000;
/** A stream that was only opened to say `busy` has said so by then. */
const OPEN_MS = 100;
/** If the server says `busy` without a time. */
const BUSY_MS = 5_000;

/**
 * @typedef {{ state: 'connecting' | 'live' | 'broken' | 'busy', since: number, retryAt: number | null }} StreamStatus
 */

export class Stream {
  /** @type {StreamStatus} */
  status;
  #env;
  #url;
  #onEvent;
  #onStatus;
  /** @type {import('./env.js').Source | null} */
  #source = null;
  #wait = WAIT_MS.first;
  #heardAt = 0;
  #calls = { timer: () => {}, opened: () => {} };

  /**
   * @param {import('./env.js').Env} env
   * @param {object} use
   * @param {() => string} use.url asked anew for each connection
   * @param {(event: import('./types.js').RoomEvent) => void} use.onEvent all but `busy`
   * @param {(status: StreamStatus) => void} [use.onStatus]
   */
  constructor(env, { url, onEvent, onStatus = () => {} }) {
    this.#env = env;
    this.#url = url;
    this.#onEvent = onEvent;
    this.#onStatus = onStatus;
    this.status = { state: 'connecting', since: env.now(), retryAt: null };
  }

  get running() {
    return this.#source !== null || this.status.retryAt !== null;
  }

  /** Connects if it is not connected. */
  start() {
    if (!this.running) this.renew();
  }

  /** A new connection now, whatever there was. Until it answers, the state stays what it was. */
  renew() {
    this.#drop();
    this.#be(this.status.state);
    const source = this.#env.source(this.#url());
    this.#source = source;
    source.onopen = () => {
      this.#calls.opened = this.#env.later(OPEN_MS, () => this.#be('live'));
    };
    source.onerror = () => this.#again('broken');
    for (const name of [...DURABLE, ...LIVE]) {
      source.addEventListener(name, (event) => {
        if (source === this.#source) this.#heard(name, /** @type {MessageEvent} */ (event));
      });
    }
    source.addEventListener('busy', (event) => {
      if (source === this.#source) this.#again('busy', parse(/** @type {MessageEvent} */ (event).data)?.retry_ms ?? BUSY_MS);
    });
    this.#watch();
  }

  /** Somebody looks, or the network is back: no waiting, and no trust in what has long been silent. */
  wake() {
    const heardAgo = this.#env.now() - this.#heardAt;
    const stale = this.status.state === 'live' && (heardAgo > STALE_MS || heardAgo < 0);
    if (this.status.retryAt !== null || stale) this.renew();
  }

  /** Connects if it is time: a browser makes the timers of a hidden page late. */
  due() {
    if (this.status.retryAt !== null && this.status.retryAt <= this.#env.now()) this.renew();
  }

  /** Ends it; `start` begins again. */
  stop() {
    this.#drop();
    this.#wait = WAIT_MS.first;
    this.#be('connecting');
  }

  #drop() {
    this.#calls.timer();
    this.#calls.opened();
    if (!this.#source) return;
    this.#source.onopen = this.#source.onerror = null;
    this.#source.close();
    this.#source = null;
  }

  /**
   * @param {string} name
   * @param {MessageEvent} event
   */
  #heard(name, event) {
    const data = parse(event.data);
    if (data === undefined) return this.#again('broken'); // cut by something on the way
    this.#wait = WAIT_MS.first;
    this.#watch();
    this.#calls.opened();
    this.#be('live');
    return this.#onEvent({ name, data, id: DURABLE.has(name) ? event.lastEventId : '' });
  }

  #watch() {
    this.#heardAt = this.#env.now();
    this.#calls.timer();
    this.#calls.timer = this.#env.later(SILENCE_MS, () => this.#again('broken'));
  }

  /**
   * Comes back after a while.
   * @param {'broken' | 'busy'} state
   * @param {number} [ms]
   */
  #again(state, ms = this.#wait) {
    this.#drop();
    const wait = Math.round(state === 'busy' ? ms * (1 + this.#env.random()) : ms * (0.5 + this.#env.random() / 2));
    if (state === 'broken') this.#wait = Math.min(this.#wait * 2, WAIT_MS.max);
    this.#calls.timer = this.#env.later(wait, () => this.renew());
    this.#be(state, this.#env.now() + wait);
  }

  /**
   * @param {StreamStatus['state']} state
   * @param {number | null} retryAt
   */
  #be(state, retryAt = null) {
    const same = state === this.status.state;
    if (same && retryAt === this.status.retryAt) return;
    this.status = { state, since: same ? this.status.since : this.#env.now(), retryAt };
    this.#onStatus(this.status);
  }
}

/** @param {string} text */
function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
