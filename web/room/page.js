// A room as it is now: makes the parts of the page and joins them. Events go into the store; what changed is drawn by the
// list once per frame.

import { openRoom } from '../client.js';
import { paint } from '../parts/color.js';
import { byId } from '../parts/dom.js';
import { plain } from '../parts/markdown.js';
import { actor, lastOwn, newestOpen, offersOf } from './actions.js';
import { Announcer } from './announce.js';
import { Ask } from './ask.js';
import { note, startBar } from './bar.js';
import { Composer } from './composer.js';
import { connectionView } from './connection.js';
import { History } from './history.js';
import { onKeys } from './keyboard.js';
import { List } from './list.js';
import { isAnswer } from './model.js';
import { Names } from './names.js';
import { errorWords } from './reasons.js';
import { Scroll } from './scroll.js';
import { Seen } from './seen.js';
import { ticks } from './status.js';
import { keptBy } from './storage.js';
import { KEPT_MAX, Store } from './store.js';
import { Toolbar } from './toolbar.js';
import { loadWho, whoDialog } from './who.js';

/**
 * @typedef {import('./model.js').Message} Message
 * @typedef {import('./store.js').FeedEvent} FeedEvent
 */

/** Messages in the first snapshot. */
const LIMIT = 100;

/** The model that only shows how a room works. */
const BUILTIN = 'builtin';

/** How the bots are is asked this often while something waits for one, and when somebody looks at the choice. */
const WAITING_MS = 5_000;
const LOOKED_AT_MS = 1_000;

/** More than the bound by so much may be on the page: dropping the oldest walks over all. */
const TRIM_SLACK = 200;

/** Of whoever has no name yet. */
const NOBODY_COLOR = '#d6d3cb';

/** @param {string} room */
export function startRoom(room) {
  const storage = keptBy(() => localStorage);
  const store = new Store();
  let who = loadWho(storage);
  let begun = false; // whether the first snapshot is there

  // ---- parts

  const announcer = new Announcer(byId('said'), plain);
  const connection = connectionView({ dot: byId('connection'), banner: byId('banner') });
  const scroll = new Scroll(byId('scroll'), { onMove: () => seen.look(), onTop: () => void older() });
  const list = new List({ store, log: byId('log'), outbox: byId('outbox'), unreadFrom: () => seen.unread.from, bots: () => ask.bots, painted });
  const seen = new Seen({ room, storage, store, scroll, isOwn, element: messageOf, draw: (ids) => list.change(ids), back: (position) => history.back(position), jump });
  const ask = new Ask(byId('to', HTMLSelectElement), { room, storage });
  const composer = new Composer(
    { form: byId('say', HTMLFormElement), text: byId('text', HTMLTextAreaElement), ask, quote: byId('quote'), quoteText: byId('quote-text'),
      count: byId('count'), fault: byId('fault') },
    { room, storage, send },
  );
  new Names({ text: byId('text', HTMLTextAreaElement), list: byId('names') }, { bots: () => [...ask.bots.values()], taken: (name) => ask.name(name) });
  const whoIs = whoDialog(
    { dialog: byId('who-dialog', HTMLDialogElement), form: byId('who-form', HTMLFormElement), name: byId('name', HTMLInputElement),
      color: byId('color', HTMLInputElement) },
    storage,
    (chosen) => {
      who = chosen;
      showWho();
      composer.submit(); // what was to be sent when the name was asked for
      composer.focus();
    },
    () => ask.bots.keys(),
  );
  const toolbar = new Toolbar(byId('log'), (id) => offersOf(store, id, isOwn));
  const client = openRoom(room, { limit: LIMIT, onEvent, onStatus: connection.set, onOutbox: (items) => list.change(store.setOutbox(items)) });
  const { api } = client;
  const history = new History({
    room, store, messages: api.messages, message: api.message, changed: showHistory,
    draw: (ids) => scroll.hold(() => { list.change(ids); list.paint(); }),
  });
  const act = actor({
    room, store, api, composer, note, isOwn, jump: (id) => void jump(id), draw: (ids) => list.change(ids),
    again: client.again, discard: client.discard, sure: () => toolbar.replace('take-back-surely', 'Delete for everyone?'),
  });

  // ---- what comes

  /** @param {FeedEvent} event */
  function onEvent(event) {
    list.change(store.apply(event, Date.now()));
    const came = store.takeArrivals();
    if (event.name === 'snapshot' && !begun) return begin(event.data.messages.length, came);
    if (came.length > 0) seen.came(came);
    if (event.name !== 'snapshot') came.forEach(readOut);
  }

  /** @param {number} count @param {Message[]} messages */
  function begin(count, messages) {
    begun = true;
    history.more = count >= LIMIT;
    seen.begin(messages, history.more);
    list.paint();
    showEmpty();
    showHistory();
    if (location.hash.startsWith('#m-')) void jump(location.hash.slice(3));
  }

  /** @param {Message} message */
  function readOut(message) {
    if (isOwn(message)) return;
    if (isAnswer(message)) announcer.whole(message.id, message.author.name, message.text);
    else announcer.message(message.author.name, message.text);
  }

  function painted() {
    for (const id of store.open) {
      const draft = store.items.get(id)?.draft;
      if (draft) announcer.grows(draft);
    }
    showEmpty();
    if (scroll.atEnd && store.order.length > KEPT_MAX + TRIM_SLACK) {
      history.more = true;
      list.change(store.trim());
    }
    scroll.stay();
  }

  // ---- what is seen

  /** @param {Message} message */
  function isOwn(message) {
    return message.author.kind === 'human' && message.author.name === who?.name;
  }

  /** The element of a message or an answer. @param {string} id @returns {HTMLElement | undefined} */
  function messageOf(id) {
    const element = list.element(store.find(id)?.message.id ?? '');
    const message = [...(element?.querySelectorAll('.msg') ?? [])].find((one) => one.getAttribute('data-id') === id);
    return message instanceof HTMLElement ? message : undefined;
  }

  function showEmpty() {
    byId('empty').hidden = !begun || store.order.length + store.pending.length > 0;
  }

  function showHistory() {
    const [more, button] = [history.more && !history.full, byId('older-load')];
    if (!more && document.activeElement === button) byId('log').focus({ preventScroll: true }); // or nothing would have it
    byId('older').hidden = !more;
    button.textContent = history.loading ? 'Loading …' : 'Earlier messages';
    const beginning = byId('beginning');
    beginning.hidden = !begun || store.order.length === 0 || (history.more && !history.full);
    beginning.textContent = history.full ? `Only the latest ${KEPT_MAX.toLocaleString('en')} messages are shown. Open Look back for older ones.` : `This is the beginning of ${room}.`;
  }

  async function older() {
    if (!begun) return;
    await history.older().catch((/** @type {Error} */ error) => note(errorWords(error)));
  }

  /** @param {string} id */
  async function jump(id) {
    try {
      const reached = await history.reach(id);
      if (!reached.found) {
        const at = reached.message.room === room ? `?at=${encodeURIComponent(reached.message.position)}` : '';
        return location.assign(`/r/${encodeURIComponent(reached.message.room)}${at}#m-${id}`);
      }
    } catch (error) {
      return note(errorWords(error));
    }
    const message = messageOf(id);
    if (message) scroll.show(message);
  }

  // ---- what is said

  /** @param {import('./composer.js').Said} said @returns {boolean} whether it was taken */
  function send(said) {
    if (!who) {
      whoIs.ask();
      return false;
    }
    client.send({ ...said, author: who });
    seen.spoke();
    scroll.toEnd(); // whoever speaks wants to see it
    return true;
  }

  function showWho() {
    byId('who-name').textContent = who?.name ?? 'Your name';
    const avatar = byId('who-avatar');
    const { color, ink } = paint(who ?? { name: '', color: NOBODY_COLOR });
    avatar.textContent = who ? ([...who.name][0] ?? '').toUpperCase() : '?';
    [avatar.style.backgroundColor, avatar.style.color] = [color, ink];
  }

  let askedAt = -Infinity;

  /** Asks who answers here, unless that was done just now. What waits says why. @param {number} ms */
  function askBots(ms) {
    if (performance.now() - askedAt < ms) return;
    askedAt = performance.now();
    api.bots(room).then((/** @type {import('./ask.js').RoomBots} */ answer) => {
      ask.set(answer);
      composer.bytesMax = answer.text_bytes_max;
      byId('empty-toy').hidden = ask.bots.get(answer.default ?? '')?.model !== BUILTIN;
      list.change(store.open);
    }, () => {}); // without it everything works as before
  }

  // ---- listeners

  byId('scroll').addEventListener('click', ({ target }) => {
    const button = target instanceof Element ? target.closest('[data-act]') : null;
    if (!(button instanceof HTMLElement)) return;
    act(button.dataset.act ?? '', button.closest('[data-id]')?.getAttribute('data-id') ?? '', button);
  });
  byId('to-end').addEventListener('click', () => { composer.focus(); });
  byId('older-load').addEventListener('click', () => void older());
  byId('quote-drop').addEventListener('click', () => composer.dropQuote());
  byId('who').addEventListener('click', () => whoIs.ask());
  byId('who-cancel').addEventListener('click', () => byId('who-dialog', HTMLDialogElement).close());
  addEventListener('hashchange', () => { if (location.hash.startsWith('#m-')) void jump(location.hash.slice(3)); });
  for (const event of /** @type {const} */ (['paste', 'drop'])) {
    byId('text').addEventListener(event, (given) => {
      const data = 'clipboardData' in given ? given.clipboardData : given.dataTransfer;
      if (!data || data.files.length === 0 || data.types.includes('text/plain')) return;
      given.preventDefault();
      note('Files cannot be sent here.');
    });
  }
  onKeys({
    composer,
    scroll,
    act,
    stop: () => newestOpen(store, isOwn)?.message.id,
    last: () => lastOwn(store, isOwn)?.text,
    refused: () => store.pending.findLast(({ pending }) => pending?.state === 'failed')?.message.id,
  });
  setInterval(() => {
    connection.tick(Date.now());
    const open = [...store.open].flatMap((id) => store.items.get(id) ?? []);
    list.change(open.filter(ticks).map(({ message }) => message.id));
    if (open.some(({ message }) => message.status === 'waiting') && document.visibilityState === 'visible') askBots(WAITING_MS);
  }, 1_000);
  for (const event of ['pointerdown', 'focus']) byId('to').addEventListener(event, () => askBots(LOOKED_AT_MS));

  if (matchMedia('(pointer: fine)').matches) composer.focus(); // elsewhere a keyboard would cover half of the page
  startBar({ room, storage, rooms: api.rooms, note });
  showWho();
  askBots(0);
}
