// The server's JSON routes as functions.
//
// Promises: each gives the parsed answer, or throws an `ApiError` with the server's code and sentence; nothing waits for
// longer than `ANSWER_MS`. Not here: the streams (stream.js), trying again (outbox.js). The shapes are in /openapi.json.

import { browserEnv } from './env.js';

/** An answer that takes longer than this will not come; a server takes as long at most to read a body. */
export const ANSWER_MS = 30_000;
/** Bodies of at most this size are sent to the end even when the page is closed meanwhile; browsers allow 64 KiB. */
const KEEPALIVE_CHARS_MAX = 20_000;

/** What the server did not do, and why. */
export class ApiError extends Error {
  /**
   * @param {number} status of the answer; 0 if there was none
   * @param {string} code stable, e.g. `queue-full`; `unreachable` if there was no answer, `http` if it was not this server's
   * @param {string} detail a sentence
   * @param {number | null} retryAfter ms to wait, if the server said so
   */
  constructor(status, code, detail, retryAfter = null) {
    super(detail);
    this.name = 'ApiError';
    this.status = status;
    this.code = code;
    this.detail = detail;
    this.retryAfter = retryAfter;
  }
}

export class Api {
  #env;

  /**
   * @param {string} [base] the server's address, without a slash at its end; '' is where this page came from
   * @param {import('./env.js').Env} [env]
   */
  constructor(base = '', env = browserEnv()) {
    this.base = base;
    this.#env = env;
  }

  /**
   * Says something: `{ id, room, position, at }`, or the same without a position while the server keeps it for its store.
   * The same id and content again is the same message.
   *
   * @param {string} room
   * @param {import('./types.js').Post & { id?: string }} body
   */
  post = (room, body) => this.#ask('POST', `${roomPath(room)}/messages`, body);

  /**
   * Messages of a room, oldest first: `{ messages, position }`.
   *
   * @param {string} room
   * @param {{ before?: string, after?: string, limit?: number, kind?: 'human' | 'bot', at?: string | number }} [range]
   */
  messages = (room, range = {}) => this.#ask('GET', `${roomPath(room)}/messages${query(range)}`);

  /** @param {string} id */
  message = (id) => this.#ask('GET', messagePath(id));

  /** Everything that happened to a message. @param {string} id */
  timeline = (id) => this.#ask('GET', `${messagePath(id)}/timeline`);

  /** No answer is wanted any more. @param {string} id */
  cancel = (id) => this.#ask('POST', `${messagePath(id)}/cancel`, {});

  /** An answer is wanted (again). @param {string} id */
  retry = (id) => this.#ask('POST', `${messagePath(id)}/retry`, {});

  /** Hides a message for good. @param {string} id */
  redact = (id) => this.#ask('DELETE', messagePath(id));

  /** Rooms by name, after one. @param {string} [after] */
  rooms = (after) => this.#ask('GET', `/api/rooms${query({ after })}`);

  /** Who can be asked in a room, and how long a text may be: `{ bots, default, text_bytes_max }`. @param {string} room */
  bots = (room) => this.#ask('GET', `${roomPath(room)}/bots`);

  queues = () => this.#ask('GET', '/api/queues');

  workers = () => this.#ask('GET', '/api/workers');

  /** How the server is, also when it is not well. */
  health = () => this.#ask('GET', '/health/ready', undefined, (body) => typeof body?.position === 'string');

  /**
   * @param {string} method
   * @param {string} path
   * @param {object} [content]
   * @param {(body: any) => boolean} [answers] whether a body is the answer whatever its status
   * @returns {Promise<any>}
   */
  async #ask(method, path, content, answers = () => false) {
    const body = content && JSON.stringify(content);
    const given = new AbortController();
    const cancel = this.#env.later(ANSWER_MS, () => given.abort());
    try {
      const response = await this.#env.fetch(this.base + path, {
        method,
        signal: given.signal,
        cache: 'no-store',
        keepalive: body !== undefined && body.length <= KEEPALIVE_CHARS_MAX,
        ...(body && { body, headers: { 'content-type': 'application/json' } }),
      });
      const text = await response.text();
      const json = parsed(text);
      if ((response.ok && json !== undefined) || answers(json)) return json;
      throw problem(response, json);
    } catch (error) {
      if (error instanceof ApiError) throw error;
      throw new ApiError(0, 'unreachable', 'The server cannot be reached.');
    } finally {
      cancel();
    }
  }
}

/** @param {string} text */
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/**
 * A refusal, or what a proxy on the way made of it.
 *
 * @param {Pick<Response, 'ok' | 'status' | 'headers'>} response
 * @param {any} json
 */
function problem(response, json) {
  const seconds = Number.parseFloat(response.headers.get('retry-after') ?? '');
  const after = Number.isFinite(seconds) ? seconds * 1000 : null;
  // Something else than the server said 200, as a page to log in at: that is no answer to go by.
  const status = response.ok ? 502 : response.status;
  const detail = typeof json?.detail === 'string' ? json.detail : `The server answered with status ${response.status}.`;
  return new ApiError(status, typeof json?.code === 'string' ? json.code : 'http', detail, after);
}

/** @param {string} room */
export const roomPath = (room) => `/api/rooms/${encodeURIComponent(room)}`;
/** @param {string} id */
const messagePath = (id) => `/api/messages/${encodeURIComponent(id)}`;

/** @param {Record<string, string | number | undefined | null>} params */
export function query(params) {
  const given = Object.entries(params).filter(([, value]) => value !== undefined && value !== null);
  const text = given.map(([name, value]) => `${name}=${encodeURIComponent(String(value))}`).join('&');
  return text && `?${text}`;
}
