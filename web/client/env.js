// What the client needs from outside of itself, as one small object: tests pass in their own.
//
// A browser may lack any of it: no locks on pages that came by plain HTTP, no storage in private windows.

/**
 * @typedef {Pick<EventSource, 'readyState' | 'close' | 'addEventListener'> & { onopen: any, onerror: any }} Source
 * @typedef {{ postMessage(message: any): void, close(): void, onmessage: any }} Channel
 * @typedef {{ request(name: string, options: LockOptions, work: (lock: any) => any): Promise<any> }} Locks
 * @typedef {Pick<Storage, 'length' | 'key' | 'getItem' | 'setItem' | 'removeItem'>} KeyValue
 */

/**
 * @typedef {object} Env
 * @property {() => number} now ms since 1970; may jump
 * @property {() => number} random from 0 to 1
 * @property {(count: number) => Uint8Array} bytes random ones
 * @property {(ms: number, act: () => void) => () => void} later acts once after a time; gives what calls it off
 * @property {typeof fetch} fetch
 * @property {(url: string) => Source} source
 * @property {Locks | null} locks
 * @property {((name: string) => Channel) | null} channel
 * @property {KeyValue | null} storage
 * @property {(error: unknown) => void} report shows a page's own mistake in the console
 * @property {() => boolean} online
 * @property {() => boolean} visible
 * @property {(what: 'online' | 'offline' | 'visible' | 'hide' | 'show' | 'storage', act: (key: string | null) => void) => () => void} on
 *   `hide`: the page is left or frozen; `show`: it is there again; `storage`: another tab changed that key, or all (null)
 */

/** @type {Record<string, [() => EventTarget, string][]>} */
const EVENTS = {
  online: [[() => window, 'online']],
  offline: [[() => window, 'offline']],
  visible: [[() => document, 'visibilitychange']],
  hide: [[() => window, 'pagehide'], [() => document, 'freeze']],
  show: [[() => window, 'pageshow'], [() => document, 'resume']],
  storage: [[() => window, 'storage']],
};

/** @returns {Env} this browser's */
export function browserEnv() {
  return {
    now: () => Date.now(),
    random: () => Math.random(),
    bytes: (count) => crypto.getRandomValues(new Uint8Array(count)),
    later(ms, act) {
      const timer = setTimeout(act, ms);
      return () => clearTimeout(timer);
    },
    fetch: (input, init) => fetch(input, init),
    source: (url) => new EventSource(url),
    locks: navigator.locks ?? null,
    channel: typeof BroadcastChannel === 'function' ? (name) => new BroadcastChannel(name) : null,
    storage: storage(),
    report: (error) => reportError(error),
    online: () => navigator.onLine,
    visible: () => document.visibilityState === 'visible',
    on(what, act) {
      /** @param {Event} event */
      const listener = (event) => {
        if (what === 'visible' && document.visibilityState !== 'visible') return;
        act(event instanceof StorageEvent ? event.key : null);
      };
      for (const [target, name] of EVENTS[what]) target().addEventListener(name, listener);
      return () => EVENTS[what].forEach(([target, name]) => target().removeEventListener(name, listener));
    },
  };
}

/** Reading the property alone may throw, where a browser is told to keep nothing. */
function storage() {
  try {
    return window.localStorage;
  } catch {
    return null;
  }
}
