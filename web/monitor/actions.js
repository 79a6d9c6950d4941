// What a person asks of messages: cancel and retry, one or many. Each is a POST and becomes an entry in the log; the list
// changes when that entry comes back over the stream, never before. A refusal is kept in the server's words.
// No DOM here.

/** @typedef {{ cancel(id: string): Promise<unknown>, retry(id: string): Promise<unknown> }} Asks */
/** @typedef {'cancel' | 'retry'} Verb */

export const RETRY_ALL_MAX = 50; // at once: more would fill the lanes by one click
export const NOTES_MAX = 200; // refusals remembered

/** What went wrong, in words. @param {unknown} error @returns {string} */
export function refusalWords(error) {
  const { status, detail, message } = /** @type {{ status?: number, detail?: string, message?: string }} */ (error ?? {});
  if (status === 0) return 'the server cannot be reached';
  return detail || message || 'it did not work';
}

/** @param {unknown} error @returns {boolean} whether the next one would fare no better */
const endsAll = (error) => {
  const status = /** @type {{ status?: number }} */ (error ?? {}).status ?? 0;
  return status === 0 || status === 429 || status >= 500;
};

export class Actions {
  /**
   * @param {Asks} api
   * @param {(id: string) => void} changed a message's note, or whether it is busy
   */
  constructor(api, changed) {
    this.api = api;
    this.changed = changed;
    /** @type {Set<string>} */
    this.busy = new Set();
    /** @type {Map<string, string>} */
    this.notes = new Map();
  }

  /**
   * @param {Verb} verb
   * @param {string} id
   * @returns {Promise<string>} empty, or why not
   */
  async ask(verb, id) {
    if (this.busy.has(id)) return '';
    const error = await this.#ask(verb, id);
    return error === undefined ? '' : refusalWords(error);
  }

  /**
   * Retries one after the other, at most RETRY_ALL_MAX. What is refused is noted and the next one tried, unless the server is
   * away or has enough.
   *
   * @param {string[]} ids
   * @param {(done: number, of: number) => void} told after each
   * @returns {Promise<{ retried: number, refused: number, stopped: string }>} `stopped`: empty, or why it went no further
   */
  async retryAll(ids, told) {
    const chosen = ids.slice(0, RETRY_ALL_MAX);
    let [retried, refused] = [0, 0];
    for (const id of chosen) {
      const error = await this.#ask('retry', id);
      if (error !== undefined && endsAll(error)) return { retried, refused, stopped: refusalWords(error) };
      if (error === undefined) retried += 1;
      else refused += 1;
      told(retried + refused, chosen.length);
    }
    return { retried, refused, stopped: '' };
  }

  /** @param {Verb} verb @param {string} id @returns {Promise<unknown>} undefined, or the error */
  async #ask(verb, id) {
    this.busy.add(id);
    this.notes.delete(id);
    this.changed(id);
    try {
      await this.api[verb](id);
      return undefined;
    } catch (error) {
      this.notes.set(id, refusalWords(error));
      for (const old of this.notes.keys()) {
        if (this.notes.size <= NOTES_MAX) break;
        this.notes.delete(old);
      }
      return error ?? new Error('it did not work');
    } finally {
      this.busy.delete(id);
      this.changed(id);
    }
  }
}
