// What this browser keeps for the page. Where it gives no storage (or no more of it), things are kept as long as the page is open.

/** @typedef {Pick<Storage, 'getItem' | 'setItem' | 'removeItem'>} Kept */

/** @param {() => Storage} open may throw: browsers refuse it in some settings @returns {Kept} */
export function keptBy(open) {
  /** @type {Map<string, string>} */
  const here = new Map();
  const attempt = (/** @type {(storage: Storage) => string | null | void} */ act) => {
    try {
      return act(open());
    } catch {
      return undefined;
    }
  };
  return {
    getItem: (key) => here.get(key) ?? attempt((storage) => storage.getItem(key)) ?? null,
    setItem(key, value) {
      const kept = attempt((storage) => {
        storage.setItem(key, value);
        return '';
      });
      if (kept === undefined) here.set(key, value);
      else here.delete(key);
    },
    removeItem(key) {
      here.delete(key);
      attempt((storage) => storage.removeItem(key));
    },
  };
}
