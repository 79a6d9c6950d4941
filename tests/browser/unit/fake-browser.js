// A browser for tests: tabs with a clock, locks, channels, storage and network that do what the test says.
//
// Time stands still but for `pass`. A tab may be hidden, frozen (what reaches it waits until it thaws) or killed (nothing of it
// happens any more, its locks are free). Not here: what answers over the network (fake-server.js).

/** @typedef {import('../../../web/client/env.js').Env} Env */

/** Lets everything that is under way happen, but for timers. */
export async function settle() {
  for (let i = 0; i < 5; i += 1) await new Promise((resolve) => { setImmediate(resolve); });
}

export class FakeBrowser {
  now = Date.parse('2026-01-01T00:00:00Z');
  /** @type {Map<string, string>} */
  stored = new Map();
  /** Bytes that fit into the storage. */
  quota = Infinity;
  /** @type {Set<FakeTab>} */
  tabs = new Set();
  /** @type {{ at: number, tab: FakeTab, act: () => void }[]} */
  timers = [];
  /** @type {Map<string, { held: Request | null, queue: Request[] }>} */
  locks = new Map();
  random = seeded(1);

  /** @param {{ connect(source: FakeSource): void, fetch(url: string, init: any, tab: FakeTab): Promise<Response> }} server */
  constructor(server) {
    this.server = server;
  }

  /** @param {Partial<Env>} [lacks] what this one has otherwise, e.g. `{ locks: null }` */
  tab(lacks = {}) {
    const tab = new FakeTab(this, lacks);
    this.tabs.add(tab);
    return tab;
  }

  /** Moves the clock on, timer by timer. @param {number} ms */
  async pass(ms) {
    await settle();
    const end = this.now + ms;
    for (;;) {
      const next = this.timers.filter((timer) => timer.at <= end).sort((a, b) => a.at - b.at)[0];
      if (!next) break;
      this.timers.splice(this.timers.indexOf(next), 1);
      this.now = Math.max(this.now, next.at);
      next.tab.run(next.act);
      await settle();
    }
    this.now = end;
  }

  /** The clock is set, time does not pass: what was to come in 5 s still comes in 5 s. @param {number} ms */
  jump(ms) {
    this.now += ms;
    for (const timer of this.timers) timer.at += ms;
  }

  /** Gives a lock that is free to who waits for it. @param {string} name */
  grant(name) {
    const lock = this.locks.get(name);
    if (!lock || lock.held) return;
    const next = lock.queue.shift();
    if (next) hold(this, name, next);
  }
}

/** @typedef {{ tab: FakeTab, work: (lock: any) => any, resolve: (value: any) => void, reject: (error: Error) => void }} Request */

/** @param {FakeBrowser} browser @param {string} name @param {Request} request */
function hold(browser, name, request) {
  const lock = browser.locks.get(name);
  if (!lock) return;
  lock.held = request;
  const release = () => {
    if (lock.held !== request) return;
    lock.held = null;
    browser.grant(name);
  };
  request.tab.run(async () => {
    try {
      request.resolve(await request.work({ name }));
    } catch (error) {
      request.reject(/** @type {Error} */ (error));
    }
    release();
  });
}

export class FakeTab {
  visible = true;
  online = true;
  frozen = false;
  dead = false;
  /** @type {unknown[]} what its console shows */
  errors = [];
  /** @type {FakeSource[]} every one that it opened */
  sources = [];
  /** @type {Map<string, Set<(key: string | null) => void>>} */
  #listeners = new Map();
  /** @type {(() => void)[]} */
  #waiting = [];
  /** @type {Set<{ name: string, onmessage: any, closed: boolean }>} */
  channels = new Set();

  /** @param {FakeBrowser} browser @param {Partial<Env>} lacks */
  constructor(browser, lacks) {
    this.browser = browser;
    /** @type {Env} */
    this.env = {
      now: () => browser.now,
      random: () => browser.random(),
      bytes: (count) => Uint8Array.from({ length: count }, () => Math.floor(browser.random() * 256)),
      later: (ms, act) => {
        let off = false; // a frozen tab may call off what is due already
        const timer = { at: browser.now + ms, tab: this, act: () => { if (!off) act(); } };
        browser.timers.push(timer);
        return () => {
          off = true;
          browser.timers = browser.timers.filter((other) => other !== timer);
        };
      },
      fetch: /** @type {any} */ ((/** @type {string} */ url, /** @type {any} */ init) => this.#answered(url, init)),
      source: (url) => {
        const source = new FakeSource(this, url);
        this.sources.push(source);
        queueMicrotask(() => browser.server.connect(source));
        return /** @type {any} */ (source);
      },
      locks: { request: (name, options, work) => this.#request(name, options, work) },
      channel: (name) => this.#channel(name),
      storage: this.#storage(),
      report: (error) => this.errors.push(error),
      online: () => this.online,
      visible: () => this.visible,
      on: (what, act) => {
        const all = this.#listeners.get(what) ?? new Set();
        this.#listeners.set(what, all.add(act));
        return () => all.delete(act);
      },
      ...lacks,
    };
  }

  /** Acts in this tab: later if it is frozen, never if it is dead. @param {() => void} act */
  run(act) {
    if (this.dead) return;
    if (this.frozen) this.#waiting.push(act);
    else act();
  }

  /** @param {string} what @param {string | null} [key] */
  happens(what, key = null) {
    this.run(() => [...(this.#listeners.get(what) ?? [])].forEach((act) => act(key)));
  }

  freeze() {
    this.frozen = true;
  }

  thaw() {
    this.frozen = false;
    this.#waiting.splice(0).forEach((act) => this.run(act));
  }

  /** As by the task manager: nothing is said to anybody. */
  kill() {
    this.dead = true;
    this.browser.tabs.delete(this);
    this.browser.timers = this.browser.timers.filter(({ tab }) => tab !== this);
    for (const source of this.sources) source.close();
    for (const [name, lock] of this.browser.locks) {
      lock.queue = lock.queue.filter(({ tab }) => tab !== this);
      if (lock.held?.tab === this) lock.held = null;
      this.browser.grant(name);
    }
  }

  /** The streams that are open now. */
  get open() {
    return this.sources.filter((source) => source.readyState !== 2);
  }

  /** @param {string} url @param {any} init */
  #answered(url, init) {
    return new Promise((resolve, reject) => {
      init.signal?.addEventListener('abort', () => reject(new Error('aborted')));
      this.browser.server.fetch(url, init, this).then(
        (response) => this.run(() => resolve(response)),
        (error) => this.run(() => reject(error)),
      );
    });
  }

  /** @param {string} name @param {LockOptions} options @param {(lock: any) => any} work */
  #request(name, options, work) {
    const { browser } = this;
    return new Promise((resolve, reject) => {
      const stop = () => this.run(() => reject(new DOMException('taken back', 'AbortError')));
      if (options.signal?.aborted) return stop();
      const lock = browser.locks.get(name) ?? { held: null, queue: [] };
      browser.locks.set(name, lock);
      const request = { tab: this, work, resolve, reject };
      if (options.steal) {
        const old = lock.held;
        lock.held = null;
        old?.tab.run(() => old.reject(new DOMException('stolen', 'AbortError')));
        return hold(browser, name, request);
      }
      if (options.ifAvailable && (lock.held || lock.queue.length > 0)) return this.run(async () => resolve(await work(null)));
      options.signal?.addEventListener('abort', () => {
        if (!lock.queue.includes(request)) return;
        lock.queue.splice(lock.queue.indexOf(request), 1);
        stop();
      });
      lock.queue.push(request);
      // As in a browser the answer never comes at once.
      queueMicrotask(() => browser.grant(name));
      return undefined;
    });
  }

  /** @param {string} name */
  #channel(name) {
    const channel = {
      name,
      closed: false,
      onmessage: /** @type {any} */ (null),
      postMessage: (/** @type {any} */ message) => {
        const data = structuredClone(message);
        for (const tab of this.browser.tabs) {
          for (const other of tab.channels) {
            if (tab === this || other.name !== name) continue;
            queueMicrotask(() => tab.run(() => { if (!other.closed) other.onmessage?.({ data }); }));
          }
        }
      },
      close: () => {
        channel.closed = true;
        this.channels.delete(channel);
      },
    };
    this.channels.add(channel);
    return channel;
  }

  #storage() {
    const { browser } = this;
    const told = (/** @type {string} */ key) => {
      for (const tab of browser.tabs) if (tab !== this) queueMicrotask(() => tab.happens('storage', key));
    };
    return {
      get length() {
        return browser.stored.size;
      },
      key: (/** @type {number} */ at) => [...browser.stored.keys()][at] ?? null,
      getItem: (/** @type {string} */ key) => browser.stored.get(key) ?? null,
      setItem: (/** @type {string} */ key, /** @type {string} */ value) => {
        const others = [...browser.stored].filter(([other]) => other !== key);
        const size = others.reduce((sum, [k, v]) => sum + k.length + v.length, key.length + value.length);
        if (size > browser.quota) throw new DOMException('full', 'QuotaExceededError');
        browser.stored.set(key, value);
        told(key);
      },
      removeItem: (/** @type {string} */ key) => {
        if (browser.stored.delete(key)) told(key);
      },
    };
  }
}

export class FakeSource {
  readyState = 0;
  onopen = /** @type {any} */ (null);
  onerror = /** @type {any} */ (null);
  #last = '';
  /** @type {Map<string, (event: any) => void>} */
  #listeners = new Map();

  /** @param {FakeTab} tab @param {string} url */
  constructor(tab, url) {
    this.tab = tab;
    this.url = new URL(url, 'http://server');
  }

  /** @param {string} name @param {any} act */
  addEventListener(name, act) {
    this.#listeners.set(name, act);
  }

  close() {
    this.readyState = 2;
  }

  open() {
    this.#happens(() => {
      this.readyState = 1;
      this.onopen?.({});
    });
  }

  /** An event; like a browser it repeats the last id if it has none. @param {string} name @param {any} data @param {string} [id] */
  emit(name, data, id) {
    const text = typeof data === 'string' ? data : JSON.stringify(data);
    this.#happens(() => {
      this.#last = id ?? this.#last;
      this.#listeners.get(name)?.({ data: text, lastEventId: this.#last });
    });
  }

  /** The connection breaks; `forGood` as after a 502, otherwise the browser would come back by itself. @param {boolean} [forGood] */
  fail(forGood = false) {
    this.#happens(() => {
      this.readyState = forGood ? 2 : 0;
      this.onerror?.({});
    });
  }

  /** @param {() => void} act */
  #happens(act) {
    this.tab.run(() => { if (this.readyState !== 2) act(); });
  }
}

/** Numbers from 0 to 1, the same for the same seed. @param {number} seed */
export function seeded(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
