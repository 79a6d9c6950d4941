// The queues as cards, one for each bot: how many wait and since when, how fast it goes, why it is paused, four small plots.

import { make } from '../parts/dom.js';
import { absolute } from '../parts/time.js';
import { hourOf, minutesTable, Plot, PLOTS } from './plots.js';
import { setText } from './table.js';
import { age, counted } from './words.js';

/** @import { Minute, Queue } from './types.js' */
/** @import { Store } from './store.js' */

const RATE_MS = 5 * 60_000; // the pace is that of the last five minutes

/**
 * @param {Minute[]} minutes
 * @param {number} now
 * @returns {string} answers per minute of late
 */
export function rateWords(minutes, now) {
  const late = minutes.filter(({ at }) => now - Date.parse(at) < RATE_MS);
  const rate = late.reduce((sum, { answered }) => sum + answered, 0) / (RATE_MS / 60_000);
  return rate < 10 ? rate.toFixed(1) : String(Math.round(rate));
}

/**
 * @param {Queue} queue
 * @returns {string} its lanes, if there is more to say than how many wait
 */
export function laneWords({ lanes }) {
  const words = lanes.map(({ priority, second, waiting }) => `priority ${priority}${second ? ', second lane' : ''}: ${waiting}`);
  return words.length > 1 || lanes.some(({ priority }) => priority !== 5) ? words.join(' · ') : '';
}

const FIGURES = /** @type {const} */ ([
  ['waiting', 'waiting'], ['claimed', 'in work'], ['retrying', 'retrying'], ['oldest', 'oldest waits'], ['rate', 'answers / min'],
  ['hour', 'last hour'], ['failed', 'failed tries'], ['takeovers', 'taken over'],
]);

class Card {
  /** @param {string} bot */
  constructor(bot) {
    this.model = make('span', { className: 'model' });
    this.workers = make('span', { className: 'badge plain' });
    this.pausedBadge = make('span', { className: 'badge warn', hidden: true }, 'paused');
    this.paused = make('p', { className: 'paused', hidden: true });
    this.lanes = make('p', { className: 'lanes', hidden: true });
    this.figures = new Map(FIGURES.map(([name]) => [/** @type {string} */ (name), make('dd')]));
    const figures = FIGURES.map(([name, words]) => make('div', { className: `figure ${name}` }, make('dt', null, words), this.figures.get(name)));
    this.plots = PLOTS.map((plot) => new Plot(plot));
    this.table = make('div', { className: 'minutes-scroll', tabIndex: 0, hidden: true, role: 'region', aria: { label: `Minutes of ${bot}` } });
    this.element = make('article', { className: 'queue', aria: { label: `Queue of ${bot}` } },
      make('div', { className: 'queue-facts' },
        make('header', null, make('h3', null, bot), this.model, this.pausedBadge, this.workers),
        this.paused, make('dl', { className: 'figures' }, ...figures), this.lanes),
      make('div', { className: 'plots' }, ...this.plots.map(({ element }) => element)),
      this.table);
    this.minute = -1;
    /** @type {Queue | null} */
    this.queue = null;
  }

  /** @param {Queue} queue @param {Store} store @param {number} now */
  set(queue, store, now) {
    this.queue = queue;
    setText(this.model, queue.model ?? '');
    this.pausedBadge.hidden = this.paused.hidden = queue.paused === null;
    setText(this.paused, queue.paused === null ? '' : `Takes nothing now: ${queue.paused}`);
    const lanes = laneWords(queue);
    this.lanes.hidden = !lanes;
    setText(this.lanes, lanes);
    const { waiting, claimed, retrying, takeovers } = queue;
    for (const [name, count] of Object.entries({ waiting, claimed, retrying, takeovers })) this.#count(name, count);
    this.#plot(now);
    this.#table();
    this.staff(store);
    this.tick(now);
  }

  /** @param {Store} store says who answers */
  staff(store) {
    if (!this.queue) return;
    const workers = store.workersOf(this.queue.bot);
    const free = workers.filter(({ waiting }) => waiting > 0).length;
    this.workers.className = workers.length ? 'badge plain' : 'badge warn';
    setText(this.workers, workers.length ? `${counted(workers.length, 'worker')}, ${free} free` : 'no worker answers');
  }

  /** @param {number} now */
  tick(now) {
    const { queue } = this;
    if (!queue) return;
    this.#figure('oldest', age(queue.oldest_at, now), queue.oldest_at === null);
    const oldest = this.figures.get('oldest');
    if (oldest) oldest.title = queue.oldest_at ? `since ${absolute(queue.oldest_at)}` : '';
    const minute = Math.floor(now / 60_000);
    if (minute === this.minute) return;
    this.#plot(now); // time moved the picture, though nothing happened
  }

  /** @param {number} now */
  #plot(now) {
    const { queue } = this;
    if (!queue) return;
    this.minute = Math.floor(now / 60_000);
    this.#figure('rate', rateWords(queue.minutes, now), false);
    const { answered, failed } = hourOf(queue.minutes, now);
    this.#count('hour', answered);
    this.#count('failed', failed);
    for (const plot of this.plots) plot.set(queue, now);
  }

  /** @param {boolean} shown the minutes as a table below the plots */
  tabled(shown) {
    this.table.hidden = !shown;
    this.#table();
  }

  #table() {
    if (this.table.hidden) this.table.replaceChildren();
    else if (this.queue) this.table.replaceChildren(minutesTable(this.queue));
  }

  /** @param {string} name @param {number} count */
  #count(name, count) {
    this.#figure(name, count.toLocaleString('en'), count === 0);
  }

  /** @param {string} name @param {string} text @param {boolean} none */
  #figure(name, text, none) {
    const cell = this.figures.get(name);
    if (!cell) return;
    setText(cell, text);
    cell.classList.toggle('none', none);
  }
}

/** All cards. */
export class Queues {
  /**
   * @param {HTMLElement} container
   * @param {HTMLButtonElement} toggle shows and hides the minutes as tables
   */
  constructor(container, toggle) {
    this.container = container;
    this.tabled = false;
    toggle.addEventListener('click', () => {
      this.tabled = !this.tabled;
      toggle.setAttribute('aria-expanded', String(this.tabled));
      for (const card of this.cards.values()) card.tabled(this.tabled);
    });
    /** @type {Map<string, Card>} */
    this.cards = new Map();
  }

  /**
   * @param {Store} store
   * @param {Set<string> | null} changed the bots whose cards are old; null: all
   * @param {string} bot empty, or the only one to show
   * @param {number} now
   */
  draw(store, changed, bot, now) {
    for (const [name, card] of this.cards) {
      if (store.queues.has(name)) continue;
      card.element.remove();
      this.cards.delete(name);
    }
    for (const [name, queue] of store.queues) {
      let card = this.cards.get(name);
      if (card && changed && !changed.has(name)) continue;
      if (!card) {
        card = new Card(name);
        this.cards.set(name, card);
        this.container.append(card.element);
        card.tabled(this.tabled);
      }
      card.set(queue, store, now);
    }
    for (const [name, { element }] of this.cards) element.hidden = Boolean(bot) && name !== bot;
  }

  /** @param {Store} store after workers came, went or took something */
  staff(store) {
    for (const card of this.cards.values()) card.staff(store);
  }

  /** @param {number} now */
  tick(now) {
    for (const card of this.cards.values()) card.tick(now);
  }
}
