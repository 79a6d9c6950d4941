// The monitor page: the stream goes into the store, and what changed is drawn once per frame; ages tick once a second; deeds
// go to the server and come back over the stream. Wires the parts, decides nothing.

import { openMonitor } from '../client.js';
import { byId, oncePerFrame } from '../parts/dom.js';
import { Actions, refusalWords, RETRY_ALL_MAX } from './actions.js';
import { Bulk } from './bulk.js';
import { addChanges, noChanges } from './changes.js';
import { FilterBar } from './filterbar.js';
import { isNarrow, matcher } from './filters.js';
import { Header } from './header.js';
import { LifeDialog } from './life.js';
import { Queues } from './queues.js';
import { DONE_COLUMNS, FAILED_COLUMNS, OPEN_COLUMNS } from './rows.js';
import { Store } from './store.js';
import { KeyedTable, setText } from './table.js';
import { isFailure } from './words.js';
import { WORKER_COLUMNS } from './workers.js';

/** @import { Ended, Open, Worker } from './types.js' */
/** @import { Link } from './header.js' */
/** @import { Context } from './rows.js' */

const TICK_MS = 1_000;

const store = new Store();
let changes = noChanges();
/** @type {Link} */
let link = { state: 'connecting', since: Date.now(), retryAt: null };
let heardAt = performance.now(); // when the newest news came: the server's clock goes on from there
let lostAt = 0; // when the stream was lost; 0 while it is there

/** While nothing comes, time stands still: ages that go on would say what nobody knows. */
const serverNow = () => store.at + ((lostAt || performance.now()) - heardAt);

/** @returns {Context} */
const context = () => ({
  store,
  now: serverNow(),
  noteOf: (id) => actions.notes.get(id) ?? '',
  isBusy: (id) => actions.busy.has(id),
});

// ---- parts

const header = new Header({ link: byId('link'), banner: byId('banner'), health: byId('health'), reason: byId('reason') });
const queues = new Queues(byId('queue-cards'), byId('as-tables', HTMLButtonElement));
const keyOf = (/** @type {Open | Ended} */ { message_id }) => message_id;
const tables = {
  open: new KeyedTable(byId('open-table', HTMLTableElement), 'Messages that want an answer', OPEN_COLUMNS, keyOf),
  failed: new KeyedTable(byId('failed-table', HTMLTableElement), 'Messages that failed or were given up, newest first', FAILED_COLUMNS, keyOf),
  done: new KeyedTable(byId('done-table', HTMLTableElement), 'Finished messages, newest first', DONE_COLUMNS, keyOf),
  workers: new KeyedTable(byId('workers-table', HTMLTableElement), 'Workers', WORKER_COLUMNS, (/** @type {Worker} */ { worker }) => worker),
};
const drawSoon = oncePerFrame(draw);
const filters = new FilterBar(byId('filters', HTMLFormElement), () => {
  changes.all = true;
  drawSoon();
});
const monitor = openMonitor({
  base: '',
  onSnapshot(/** @type {any} */ data) {
    took(store.snapshot(data));
    life.again();
  },
  onUpdate: (/** @type {any} */ data) => took(store.update(data)),
  onStatus(/** @type {any} */ status) {
    link = status;
    lostAt = link.state === 'live' ? 0 : lostAt || performance.now();
    drawSoon();
  },
});
const actions = new Actions(monitor.api, (id) => {
  changes.open.add(id);
  changes.ended.add(id);
  drawSoon();
});
const life = new LifeDialog(byId('life', HTMLDialogElement), {
  timeline: (id) => monitor.api.timeline(id),
  refusal: refusalWords,
  context,
  left: () => inQuery('message', ''),
});
const bulk = new Bulk(byId('bulk', HTMLDialogElement), actions);

/** @param {import('./changes.js').Changes} more */
function took(more) {
  heardAt = performance.now();
  addChanges(changes, more);
  drawSoon();
}

// ---- drawing

/** @type {{ failed: Ended[], shown: number }} */
const lists = { failed: [], shown: 0 };

function draw() {
  const now = changes;
  changes = noChanges();
  header.link(link, Date.now());
  if (!store.known) return;
  document.body.classList.toggle('stale', link.state !== 'live');
  const [at, all] = [context(), now.all];
  header.health(store, at.now);
  if (all || now.queues.size > 0) queues.draw(store, all ? null : now.queues, filters.filter.bot, at.now);
  if (all || now.workers.size > 0) {
    queues.staff(store);
    drawWorkers(all ? null : now.workers, at);
  }
  if (all || now.open.size > 0 || now.ended.size > 0) drawMessages(all ? null : new Set([...now.open, ...now.ended]), at);
  life.draw();
}

/** @param {Set<string> | null} changed @param {Context} at */
function drawMessages(changed, at) {
  const [open, ended] = [store.openList(), store.endedList()];
  const passes = matcher(filters.filter);
  const anyState = matcher(filters.filter, { anyState: true });
  const [shown, finished] = [open.filter(passes), ended.filter(passes)];
  lists.failed = finished.filter(isFailure);
  const done = finished.filter((one) => !isFailure(one));
  tables.open.set(shown, changed, at);
  tables.failed.set(lists.failed, changed, at);
  tables.done.set(done, changed, at);
  const messages = [...open, ...ended];
  filters.offer({ messages, counted: messages.filter(anyState), bots: [...store.queues.keys()] });
  const beyond = store.openTotal > open.length ? `; the first ${open.length} of ${store.openTotal.toLocaleString('en')} are listed` : '';
  section('open', shown.length, open.length, beyond, 'Nothing waits.');
  const failures = ended.filter(isFailure).length;
  section('failed', lists.failed.length, failures, '', 'Nothing failed.');
  document.title = `${failures > 0 ? `(${failures} failed) ` : ''}Monitor · Antiphon`;
  section('done', done.length, ended.length - failures, store.missed ? `; ${store.missed} more came too fast to be listed` : '', 'Nothing has ended yet.');
  const most = Math.min(lists.failed.length, RETRY_ALL_MAX);
  const button = byId('retry-all', HTMLButtonElement);
  button.hidden = most === 0;
  setText(button, most < lists.failed.length ? `Retry the newest ${most} of these` : `Retry ${most === 1 ? 'this one' : `all ${most} of these`}`);
}

/** @param {Set<string> | null} changed @param {Context} at */
function drawWorkers(changed, at) {
  const { bot } = filters.filter;
  const workers = [...store.workers.values()].sort((a, b) => (a.worker < b.worker ? -1 : 1));
  const shown = bot ? workers.filter(({ bots }) => bots.includes(bot)) : workers;
  tables.workers.set(shown, changed, at);
  section('workers', shown.length, workers.length, '', 'No worker is known.');
}

/**
 * The words of a list: how many it has, and what stands there when it is empty.
 *
 * @param {string} name
 * @param {number} shown
 * @param {number} total
 * @param {string} more
 * @param {string} none
 */
function section(name, shown, total, more, none) {
  setText(byId(`${name}-count`), shown === total ? `${shown.toLocaleString('en')}${more}` : `${shown} of ${total} (${total - shown} hidden by the filter)${more}`);
  setText(byId(`${name}-total`), total.toLocaleString('en'));
  byId(`${name}-scroll`).hidden = shown === 0;
  const empty = byId(`${name}-empty`);
  empty.hidden = shown > 0;
  setText(empty, total > 0 && isNarrow(filters.filter) ? `No matches (${total.toLocaleString('en')} hidden by the filter).` : none);
}

function tick() {
  header.link(link, Date.now());
  if (!store.known || document.hidden) return;
  const at = context();
  header.health(store, at.now);
  queues.tick(at.now);
  for (const table of [tables.open, tables.failed, tables.done]) table.tick(at);
  tables.workers.tick(at);
  life.draw();
}

// ---- what people do

/** @param {string} name @param {string} value empty: away with it */
function inQuery(name, value) {
  const params = new URLSearchParams(location.search);
  if (value) params.set(name, value);
  else params.delete(name);
  const query = params.toString().replaceAll('%2C', ',');
  history.replaceState(history.state, '', `${location.pathname}${query ? `?${query}` : ''}${location.hash}`);
}

/** @param {string} id */
function show(id) {
  inQuery('message', id);
  life.open(id);
}

/** @param {'cancel' | 'retry'} verb @param {string} id */
async function ask(verb, id) {
  if (actions.busy.has(id)) return;
  const refused = await actions.ask(verb, id);
  const done = verb === 'cancel' ? 'Cancelled.' : 'Asked again.';
  byId('said').textContent = refused ? `Not done: ${refused}` : done;
}

document.addEventListener('click', (event) => {
  if (!(event.target instanceof Element)) return;
  const button = event.target.closest('button');
  const id = button?.dataset.id ?? event.target.closest('tr')?.dataset.key;
  const act = button?.dataset.act;
  if (button?.id === 'retry-all') bulk.open(lists.failed.map(keyOf));
  else if (id && (act === 'cancel' || act === 'retry')) ask(act, id);
  else if (id && act === 'life') show(id);
  else if (id && !button && !event.target.closest('a, #workers-table') && getSelection()?.isCollapsed) show(id); // anywhere in the row
});
document.addEventListener('visibilitychange', tick);
// Banners and the filters both stay in sight: one below the other.
new ResizeObserver(([entry]) => {
  document.documentElement.style.setProperty('--banners', `${entry?.contentRect.height ?? 0}px`);
}).observe(byId('banners'));
setInterval(tick, TICK_MS);

const asked = new URLSearchParams(location.search).get('message');
if (asked) show(asked);
