// The room page: events go into a small store, and what changed is drawn from it once per frame.
// Text is always inserted as text. The id that we make for a post is also its element's id and what makes a second try
// harmless.

const KEPT = 500; // messages on the page; older ones are in the history
const SILENCE_MS = 45_000; // three heartbeats: a silent stream is a dead one
const WAIT_MS = { first: 1_000, max: 15_000 };
const NEAR_BOTTOM_PX = 60;

const room = decodeURIComponent(location.pathname.match(/^\/r\/([^/]+)/)?.[1] ?? 'lobby');
const api = `/api/rooms/${encodeURIComponent(room)}`;
const $ = (id) => document.getElementById(id);

// ---- store: what is known

/** id -> { message, state: 'sending' | 'unsent' | undefined, why, note, draft, replies: [message] } */
const items = new Map();
let changed = new Set(); // ids to draw again

const isAnswer = (message) => message.author.kind === 'bot' && message.model !== undefined;

function touch(id) {
  if (changed.size === 0) requestAnimationFrame(draw);
  changed.add(id);
}

function put(message) {
  const question = isAnswer(message) && items.get(message.reply_to);
  if (question) {
    if (question.draft?.reply_id === message.id) question.draft = undefined;
    question.message.status = 'answered';
    if (!question.replies.some((reply) => reply.id === message.id)) question.replies.push(message);
    return touch(question.message.id);
  }
  const item = items.get(message.id) ?? { replies: [] };
  items.delete(message.id); // and to the end: what the log has comes in its order
  items.set(message.id, Object.assign(item, { message, state: undefined, why: undefined }));
  touch(message.id);
  if (items.size > KEPT) drop(items.keys().next().value);
}

function drop(id) {
  items.delete(id);
  touch(id);
}

/** Changes the question that an event is about, if it is on the page. */
function about(id, change) {
  if (items.has(id)) change(items.get(id));
  touch(id);
}

function came(message) {
  put(message);
  $('said').textContent = `${message.author.name}: ${message.text}`; // for screen readers: whole messages only
}

/** A question goes on to another status; `note` says more. */
const moved = (status, note) => (event) =>
  about(event.message_id, (item) => {
    Object.assign(item, { note: note?.(event), error: undefined, draft: undefined });
    Object.assign(item.message, { status, reason: undefined });
  });

/** The draft of the reply that an event is about; a late event about one that is whole changes nothing. */
const drafted = (event, change) =>
  about(event.message_id, (item) => {
    if (item.replies.some((reply) => reply.id === event.reply_id)) return;
    if (item.draft?.reply_id !== event.reply_id) {
      item.draft = { reply_id: event.reply_id, bot: event.bot ?? item.message.bot, text: '', next: 0 };
    }
    change(item.draft, item);
  });

const clock = (at) => new Date(at).toLocaleTimeString();
const STAGES = { queued: 'waiting', 'loading-model': 'loading the model', 'reading-prompt': 'reading' };

const on = {
  snapshot({ messages, in_flight }) {
    $('log').replaceChildren();
    for (const [id, item] of items) item.state ? touch(id) : items.delete(id); // ours may not be there yet
    messages.forEach(put);
    in_flight.forEach(on['reply.snapshot']);
    draw();
  },
  'message.posted': came,
  'reply.posted': came,
  'message.claimed': moved('claimed', ({ bot }) => `${bot} has it`),
  'message.released': moved('waiting'),
  'message.failed': (event) => {
    const next = event.retry_at ? `; next try at ${clock(event.retry_at)}` : '';
    moved(next ? 'waiting' : 'failed', () => `failed: ${event.reason}${next}`)(event);
  },
  'message.dead': moved('dead', ({ reason }) => `given up: ${reason}`),
  'message.cancelled': moved('cancelled'),
  'message.completed': moved('answered'),
  'message.redacted'({ message_id }) {
    for (const { message, replies } of items.values()) {
      const hidden = [message, ...replies].find(({ id }) => id === message_id);
      if (hidden) Object.assign(hidden, { text: '', redacted: true, status: 'none' });
      if (hidden) touch(message.id);
    }
  },
  'message.erased'({ message_id }) {
    for (const { message, replies } of items.values()) {
      const erased = [message, ...replies].find(({ id }) => id === message_id);
      if (erased) Object.assign(erased, { author: { ...erased.author, name: 'erased', color: undefined }, model: undefined });
      if (erased) touch(message.id);
    }
  },
  'reply.started': (event) => drafted(event, () => {}),
  'reply.delta': (event) =>
    drafted(event, (draft, item) => {
      if (event.index !== draft.next) return; // seen already, or a gap that the next snapshot closes
      draft.next += 1;
      draft.text += event.text;
      item.note = undefined;
    }),
  'reply.snapshot': (event) =>
    drafted(event, (draft) => {
      if (event.next_index >= draft.next) Object.assign(draft, { next: event.next_index, text: event.text });
    }),
  'reply.reset': ({ message_id, reason }) =>
    about(message_id, (item) => Object.assign(item, { draft: undefined, note: `the answer begins anew: ${reason}` })),
  'reply.progress': ({ message_id, stage, ahead }) =>
    about(message_id, (item) => {
      item.note = ahead ? `waiting, ${ahead} before it` : (STAGES[stage] ?? stage);
    }),
  reset() {}, // a snapshot follows and replaces everything
  state({ state }) {
    store = state;
    const words = { degraded: 'the store is away; posts are kept', refusing: 'the store is not what it was; no posts are taken' };
    connection(state, words[state] ?? 'connected');
    for (const [id, item] of items) if (item.state) touch(id);
  },
  busy: () => connection('broken', 'the server is busy; coming back by itself'),
  heartbeat() {},
};

// ---- drawing

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

/** Colours are given as `#80c0ff`, by name, or as the older nine digits `128192255`. */
function css(color) {
  const old = /^(\d{3})(\d{3})(\d{3})$/.exec(color ?? '');
  return old ? `rgb(${old.slice(1).map(Number).join(' ')})` : (color ?? '');
}

function head(author, at, badge = author.kind === 'bot' && 'bot') {
  const line = element('div', 'head');
  const dot = element('span', 'dot');
  dot.style.backgroundColor = css(author.color);
  line.append(dot, element('span', 'author', author.name));
  if (badge) line.append(element('span', 'badge', badge));
  const title = new Date(at).toLocaleString();
  if (at) line.append(Object.assign(element('time', '', clock(at)), { dateTime: at, title }));
  return line;
}

const body = (message) => element('p', 'text', message.redacted ? '(taken back)' : message.text);

const small = (words, onclick) => Object.assign(element('button', 'small', words), { type: 'button', onclick });

const seconds = (from, to) => ((Date.parse(to.at) - Date.parse(from.at)) / 1000).toFixed(1);

/** The words below a question: where its answer is. */
function words({ message, state, why, note, draft, replies }) {
  if (state === 'sending') return store === 'degraded' ? 'kept by the server until its store is back' : 'sending';
  if (state === 'unsent') return `not sent: ${why}`;
  const because = note ?? message.reason;
  switch (message.status) {
    case 'waiting': return because ?? 'waiting for an answer';
    case 'claimed': return draft?.text ? `${draft.bot ?? 'the bot'} is writing` : (because ?? 'being answered');
    case 'answered': return replies.length ? `[human → AI reply: ${seconds(message, replies.at(-1))} s]` : '';
    case 'failed': return note ?? `failed: ${message.reason ?? 'no reason given'}`;
    case 'dead': return note ?? `given up: ${message.reason ?? 'no reason given'}`;
    case 'cancelled': return 'no answer wanted any more';
    default: return '';
  }
}

function status(item) {
  const { message, state, error } = item;
  const bad = state === 'unsent' || error || ['failed', 'dead'].includes(message.status);
  const line = element('p', bad ? 'status bad' : 'status', words(item) + (error ? ` (${error})` : ''));
  const act = (verb) => () => change(message.id, verb);
  if (state === 'unsent') {
    line.append(small('Try again', () => send(item)), small('Discard', () => drop(message.id)));
  } else if (!state && ['waiting', 'claimed'].includes(message.status)) line.append(small('Cancel', act('cancel')));
  else if (!state && ['failed', 'dead'].includes(message.status)) line.append(small('Retry', act('retry')));
  return line;
}

function render(item) {
  const { message, state, draft, replies } = item;
  const made = element('li', state ? `message ${state}` : 'message');
  made.id = `m-${message.id}`;
  made.append(head(message.author, message.at), body(message), status(item));
  for (const reply of replies) {
    const answer = element('article', 'message');
    answer.append(head(reply.author, reply.at, reply.model), body(reply));
    made.append(answer);
  }
  if (draft) {
    const growing = element('article', 'message growing');
    growing.setAttribute('aria-busy', 'true');
    growing.append(head({ name: draft.bot ?? 'bot', kind: 'bot' }), body(draft));
    made.append(growing);
  }
  return made;
}

function draw() {
  const ids = changed;
  changed = new Set();
  const [scroll, log] = [$('scroll'), $('log')];
  const stick = scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < NEAR_BOTTOM_PX;
  for (const id of ids) {
    const [old, item] = [$(`m-${id}`), items.get(id)];
    if (!item) { old?.remove(); continue; }
    const text = old?.querySelector('.growing .text');
    if (text && item.draft && old.dataset.shape === shape(item)) { text.textContent = item.draft.text; continue; }
    const focused = old?.contains(document.activeElement);
    const made = render(item);
    made.dataset.shape = shape(item);
    if (old && old.className === made.className) old.replaceWith(made);
    else {
      old?.remove();
      const unsent = item.state ? null : log.querySelector(':scope > .sending, :scope > .unsent');
      log.insertBefore(made, unsent); // what is not yet in the log stays below what is
    }
    if (focused) (made.querySelector('button') ?? $('text')).focus({ preventScroll: true });
  }
  $('empty').hidden = items.size > 0;
  if (stick) scroll.scrollTop = scroll.scrollHeight;
}

/** Everything about an item but the words of its draft: while that stays, only those are drawn. */
const shape = (item) =>
  JSON.stringify([words(item), item.error, item.replies.length, item.draft?.reply_id, item.message.redacted, item.message.author.name]);

// ---- asking the server

/** Resolves to nothing, or to what went wrong in words. */
async function ask(path, content) {
  const request = { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(content) };
  const response = await fetch(path, request).catch(() => undefined);
  if (!response) return 'the server cannot be reached';
  if (response.ok) return undefined;
  return (await response.json().catch(() => ({}))).detail ?? `the server said ${response.status}`;
}

async function change(id, verb) {
  const error = await ask(`/api/messages/${id}/${verb}`, {});
  about(id, (item) => { item.error = error; });
}

async function send(item) {
  Object.assign(item, { state: 'sending', why: undefined });
  touch(item.message.id);
  const { id, text, author: { name, color } } = item.message;
  const why = await ask(`${api}/messages`, { id, text, author: { name, color } });
  if (items.get(id) === item && item.state) {
    // Without an error it stays until its event comes: only that says where it stands.
    if (why) Object.assign(item, { state: 'unsent', why });
    touch(id);
  }
}

/** A random UUID, also where `crypto.randomUUID` is missing: on a page that came by plain HTTP. */
function uuid() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
}

// ---- the stream

let source, silence, wait = WAIT_MS.first, cursor;
let store = 'connected'; // whether the server reaches its store; a fresh stream says so only if it does not

function connection(state, text) {
  $('connection').dataset.state = state;
  $('connection').textContent = text;
}

function connect() {
  source?.close();
  const after = cursor ? `?after=${encodeURIComponent(cursor)}` : '';
  source = new EventSource(`${api}/events${after}`);
  const mine = source;
  source.onopen = () => {
    store = 'connected';
    connection('connected', 'connected');
  };
  source.onerror = () => {
    connection('broken', 'connection lost; trying again');
    if (mine.readyState === EventSource.CLOSED) again(mine); // otherwise the browser comes back by itself
  };
  for (const [name, handle] of Object.entries(on)) {
    source.addEventListener(name, (event) => {
      if (mine !== source) return;
      cursor = event.lastEventId || cursor;
      watch();
      if (name !== 'busy') wait = WAIT_MS.first;
      handle(JSON.parse(event.data));
    });
  }
  watch();
}

/** A new stream after a while, longer each time. */
function again(old) {
  if (old !== source) return;
  old.close();
  clearTimeout(silence);
  silence = setTimeout(connect, wait * (0.5 + Math.random() / 2));
  wait = Math.min(wait * 2, WAIT_MS.max);
}

function watch() {
  clearTimeout(silence);
  silence = setTimeout(() => {
    connection('broken', 'no sign of the server; trying again');
    again(source);
  }, SILENCE_MS);
}

// ---- the page

document.title = `${room} · Antiphon`;
$('room').value = room;
for (const id of ['name', 'color']) {
  $(id).value = localStorage.getItem(`antiphon-${id}`) ?? $(id).value;
  $(id).addEventListener('change', () => localStorage.setItem(`antiphon-${id}`, $(id).value));
}
$('go').addEventListener('submit', (event) => {
  event.preventDefault();
  location.assign(`/r/${encodeURIComponent($('room').value)}`);
});
$('say').addEventListener('submit', (event) => {
  event.preventDefault();
  const text = $('text').value;
  if (!text.trim()) return;
  const author = { name: $('name').value.trim(), kind: 'human', color: $('color').value };
  const item = { message: { id: uuid(), text, author, at: new Date().toISOString(), status: 'none' }, replies: [] };
  items.set(item.message.id, item);
  $('text').value = '';
  $('scroll').scrollTop = $('scroll').scrollHeight; // whoever speaks wants to see it
  send(item);
});
$('text').addEventListener('keydown', (event) => {
  if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  $('say').requestSubmit();
});
connect();
