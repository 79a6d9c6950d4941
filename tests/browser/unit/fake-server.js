// A server for tests without a network: a log, its feeds, and posts, as docs/client.md and /openapi.json describe them.

/** @typedef {import('./fake-browser.js').FakeSource} FakeSource */
/** @typedef {{ seq: number, room: string, name: string, data: any }} Entry */

export class FakeServer {
  epoch = 1;
  /** @type {Entry[]} */
  log = [];
  /** @type {Map<string, { room: string, message_id: string, reply_id: string, bot: string, next_index: number, text: string }>} */
  drafts = new Map();
  /** @type {Map<FakeSource, string[]>} */
  followers = new Map();
  /** What connections and posts meet: nobody, or a proxy that answers 502. @type {'up' | 'down' | 'bad-gateway'} */
  state = 'up';
  /** Instead of an answer to a post: given its body. @type {((body: any) => Response | undefined) | undefined} */
  answer;
  /** The next posts are taken, but their answers get lost. */
  lost = 0;
  /** Bodies of all posts, in the order in which they came. @type {any[]} */
  posts = [];

  /** @param {number} seq */
  position(seq) {
    return `${this.epoch.toString(16).padStart(16, '0')}-00-${String(seq).padStart(16, '0')}`;
  }

  get tail() {
    return this.log.at(-1)?.seq ?? 0;
  }

  /** @param {string} room @param {string} name @param {any} data */
  append(room, name, data) {
    const entry = { seq: this.tail + 1, room, name, data };
    this.log.push(entry);
    if (name === 'reply.posted') this.drafts.delete(data.id);
    this.#tell(room, name, data, this.position(entry.seq));
    return entry;
  }

  /** @param {string} room @param {string} id */
  say(room, id) {
    return this.append(room, 'message.posted', { id, room, text: id });
  }

  /** The next word of a reply. @param {string} room @param {string} reply_id @param {string} text */
  word(room, reply_id, text) {
    const draft = this.drafts.get(reply_id) ?? { room, message_id: `of-${reply_id}`, reply_id, bot: 'eliza', next_index: 0, text: '' };
    this.drafts.set(reply_id, draft);
    if (draft.next_index === 0) this.#tell(room, 'reply.started', { message_id: draft.message_id, reply_id, bot: 'eliza' });
    this.#tell(room, 'reply.delta', { message_id: draft.message_id, reply_id, index: draft.next_index, text });
    draft.next_index += 1;
    draft.text += text;
  }

  beat() {
    for (const [source, rooms] of this.followers) {
      source.emit('room', { room: rooms[0] });
      source.emit('heartbeat', { at: '' });
    }
  }

  /** All connections break. @param {boolean} [forGood] */
  cut(forGood) {
    for (const source of [...this.followers.keys()]) {
      this.followers.delete(source);
      source.fail(forGood);
    }
  }

  /** Comes back with another history. */
  begin() {
    this.epoch += 1;
    this.log = [];
    this.drafts.clear();
  }

  /** Those that are connected now. */
  get connected() {
    return [...this.followers.keys()].filter((source) => source.readyState !== 2);
  }

  /** @param {FakeSource} source */
  connect(source) {
    if (this.state !== 'up') return source.fail(this.state === 'bad-gateway');
    source.open();
    const { pathname, searchParams } = source.url;
    const limit = Number(searchParams.get('limit') ?? 100);
    const one = pathname.match(/^\/api\/rooms\/([^/]+)\/events$/)?.[1];
    const wanted = one ? [one] : (searchParams.get('rooms') ?? '').split(',');
    const rooms = wanted.map((part) => part.split('@')[0]);
    this.followers.set(source, rooms);
    for (const part of wanted) this.#begin(source, part, limit, one === undefined);
    return undefined;
  }

  /** @param {FakeSource} source @param {string} part @param {number} limit @param {boolean} several */
  #begin(source, part, limit, several) {
    const [room, cursor] = part.split('@');
    if (several) source.emit('room', { room });
    const seq = cursor === undefined ? -1 : Number(cursor.slice(20));
    const good = cursor?.startsWith(this.position(0).slice(0, 20)) && seq <= this.tail;
    const drafts = [...this.drafts.values()].filter((draft) => draft.room === room);
    if (cursor !== undefined && good) {
      const missed = this.log.filter((entry) => entry.room === room && entry.seq > seq);
      for (const { name, data, seq: at } of missed) source.emit(name, data, this.position(at));
      for (const { room: _, ...draft } of drafts) source.emit('reply.snapshot', draft);
      return;
    }
    const here = this.position(this.tail);
    if (cursor !== undefined) source.emit('reset', { reason: 'other-epoch' }, here);
    const messages = this.log.filter((entry) => entry.room === room && entry.name.endsWith('.posted')).map(({ data }) => data);
    const in_flight = drafts.map(({ room: _, ...draft }) => draft);
    source.emit('snapshot', { messages: messages.slice(-limit), in_flight, position: here }, here);
  }

  /** @param {string} room @param {string} name @param {any} data @param {string} [id] */
  #tell(room, name, data, id) {
    for (const [source, rooms] of this.followers) {
      if (source.readyState === 2) this.followers.delete(source);
      else if (rooms.includes(room)) {
        if (source.url.pathname === '/api/events') source.emit('room', { room });
        source.emit(name, data, id);
      }
    }
  }

  /** @param {string} url @param {{ method: string, body?: string }} init @returns {Promise<Response>} */
  async fetch(url, init) {
    await null;
    if (this.state === 'down') throw new TypeError('Failed to fetch');
    if (this.state === 'bad-gateway') return new Response('<html>502 Bad Gateway</html>', { status: 502 });
    const room = url.match(/\/api\/rooms\/([^/]+)\/messages$/)?.[1];
    if (!room || init.method !== 'POST') return json(404, { code: 'no-such-path', detail: 'There is nothing.' });
    const body = JSON.parse(init.body ?? '');
    this.posts.push(body);
    const instead = this.answer?.(body);
    if (instead) return instead;
    const known = this.log.find(({ data }) => data.id === body.id);
    const entry = known ?? this.append(room, 'message.posted', { ...body, room });
    if (this.lost > 0) {
      this.lost -= 1;
      throw new TypeError('Failed to fetch');
    }
    return json(known ? 200 : 201, { id: body.id, room, position: this.position(entry.seq), at: '' });
  }
}

/** @param {number} status @param {any} body @param {Record<string, string>} [headers] */
export const json = (status, body, headers = {}) => new Response(JSON.stringify(body), { status, headers });
