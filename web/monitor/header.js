// The top of the monitor: whether the page is live, and how the node's log and outbox are.

import { make } from '../parts/dom.js';
import { absolute, clock, dayOf, dayWords } from '../parts/time.js';
import { setText } from './table.js';
import { age, counted, positionWords, wholeSpan } from './words.js';

/** @import { Health } from './types.js' */
/** @import { Store } from './store.js' */

/** @typedef {{ state: 'connecting' | 'live' | 'broken' | 'busy', since: number, retryAt: number | null, online?: boolean }} Link of client.js */

export const BANNER_AFTER_MS = 2_000; // a stream that is back at once is not worth a banner

/**
 * @param {Link} link
 * @param {number} now
 * @returns {string} for the banner; empty while all is well, or while it may still be well at once
 */
export function linkWords({ state, since, retryAt, online }, now) {
  if (state === 'live' || now - since < BANNER_AFTER_MS) return '';
  const next = retryAt && retryAt > now ? `; next try in ${wholeSpan(retryAt - now + 999)}` : '; trying now';
  const stands = 'These figures are from before the connection was lost.';
  if (state === 'busy') return `The server is busy${next}. ${stands}`;
  if (online === false) return `This device is offline since ${clock(since)}. ${stands}`;
  return `No connection since ${clock(since)}${next}. ${stands}`;
}

/**
 * What the store's state means, in words.
 *
 * @param {Health} health
 * @param {number} now
 * @returns {{ words: string, tone: string, more: string }}
 */
export function healthWords({ state, since, reason }, now) {
  const for_ = since ? ` for ${age(since, now)}` : '';
  if (state === 'connected') return { words: 'connected', tone: 'good', more: '' };
  const more = `${reason ?? 'no reason known'}${since ? `, since ${clock(since)}` : ''}`;
  return { words: `${state}${for_}`, tone: state === 'degraded' ? 'warn' : 'bad', more };
}

/** @param {string} at @param {number} now @returns {string} `14:03`, with its day if that is another */
const sinceWords = (at, now) => (dayOf(at) === dayOf(now) ? clock(at) : `${clock(at)}, ${dayWords(at, now)}`);

const PARTS = /** @type {const} */ ([
  ['store', 'Store'], ['outbox', 'Outbox'], ['log', 'Log'], ['tail', 'Last entry'], ['indexed', 'Index'], ['streams', 'Streams'], ['reach', 'History since'], ['node', 'Node'],
]);

export class Header {
  /**
   * @param {{ link: HTMLElement, banner: HTMLElement, health: HTMLElement, reason: HTMLElement }} places
   */
  constructor(places) {
    this.places = places;
    this.badge = make('span', { className: 'badge' });
    this.cells = new Map(PARTS.map(([name]) => [/** @type {string} */ (name), make('dd')]));
    places.health.append(...PARTS.map(([name, words]) => make('div', { className: `fact ${name}` }, make('dt', null, words), this.cells.get(name))));
    this.cells.get('store')?.append(this.badge);
  }

  /** @param {Link} link @param {number} now of this machine's clock, as `link` is */
  link(link, now) {
    const { link: place, banner } = this.places;
    const short = { connecting: 'connecting', live: 'live', broken: 'no connection', busy: 'server busy' }[link.state];
    if (place.dataset.state !== link.state) place.dataset.state = link.state;
    setText(place, short);
    const words = linkWords(link, now);
    banner.hidden = !words;
    setText(banner, words);
  }

  /** @param {Store} store @param {number} now the server's time */
  health(store, now) {
    const { health } = store;
    if (!health) return;
    const { words, tone, more } = healthWords(health, now);
    this.badge.className = `badge ${tone}`;
    setText(this.badge, words);
    this.places.reason.hidden = !more;
    this.places.reason.className = `banner ${tone}`;
    setText(this.places.reason, more && `The store is ${health.state === 'degraded' ? 'away' : 'refused'}: ${more}. ${counted(health.parked, 'post')} kept on this node.`);
    const refused = health.parked_refused ? `, ${health.parked_refused} refused` : '';
    this.#set('outbox', health.parked === 0 && !refused ? 'empty' : `${counted(health.parked, 'post')} parked${refused}`, health.parked > 0 || Boolean(refused));
    this.#set('log', `${health.log}: ${health.durability}`);
    this.#set('tail', positionWords(health.tail));
    this.#title('tail', health.tail);
    const behind = countOf(health.tail) - countOf(health.indexed);
    this.#set('indexed', behind > 0 ? `${behind.toLocaleString('en')} behind` : 'up to date');
    this.#set('streams', health.subscribers.toLocaleString('en'));
    this.#set('reach', store.sinceAt ? sinceWords(store.sinceAt, now) : 'nothing read yet');
    this.#title('reach', store.sinceAt ? absolute(store.sinceAt) : '');
    this.#set('node', `${store.node} ${store.version}`);
    this.#title('store', health.since ? `since ${absolute(health.since)}` : '');
  }

  /** @param {string} name @param {string} text @param {boolean} [loud] */
  #set(name, text, loud = false) {
    const cell = this.cells.get(name);
    if (!cell) return;
    setText(cell, text);
    cell.classList.toggle('loud', loud);
  }

  /** @param {string} name @param {string} words */
  #title(name, words) {
    const cell = this.cells.get(name);
    if (cell && cell.title !== words) cell.title = words;
  }
}

/** @param {string} position */
const countOf = (position) => Number(position.split('-').at(-1)) || 0;
