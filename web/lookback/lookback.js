// The room as it was: /r/{room}?at=… with a bar to go through its time.
//
//   openLookback({ room, at, api, container, onLeave })
//
// Promises: what was taken back or erased since is hidden here too (the server leaves it out; nothing is kept longer than
// latest.js says); nothing here changes the room; the address follows, so that a moment can be passed on.
// Not here: which requests are made while the bar is dragged (latest.js), how items look (room/item.js).

import { make } from '../parts/dom.js';
import { absolute, millis, relative } from '../parts/time.js';
import { errorWords } from '../room/reasons.js';
import { Bar } from './bar.js';
import { Latest } from './latest.js';
import { List } from './list.js';
import { Player } from './player.js';
import { before, momentOf, scaleOf } from './scale.js';
import { itemsThen } from './then.js';

/** @typedef {import('./then.js').Then} Then */
/** @typedef {import('./latest.js').Moment} Moment */
/** @typedef {Pick<import('../client/api.js').Api, 'messages'>} MessagesApi */

/** Messages of a moment; earlier ones come when they are asked for. */
export const LIMIT = 100;
/** All that a moment may show, so that the page stays light. */
const SHOWN_MAX = 1_000;
/** The address is changed when the bar rests: browsers allow about a hundred changes in half a minute. */
const REST_MS = 300;

/** @param {{room: string, at: string, api: MessagesApi, container: HTMLElement, onLeave: () => void}} parts @returns {{close: () => void}} */
export function openLookback(parts) {
  const look = new Lookback(parts);
  look.go(momentOf(parts.at, Date.now()));
  return look;
}

/** @type {import('./latest.js').Clock} */
const clock = {
  now: () => performance.now(),
  later: (ms, work) => {
    const timer = setTimeout(work, ms);
    return () => clearTimeout(timer);
  },
};

class Lookback {
  /** @param {{room: string, api: MessagesApi, container: HTMLElement, onLeave: () => void}} parts */
  constructor({ room, api, container, onLeave }) {
    this.room = room;
    this.api = api;
    /** @type {Then|null} */
    this.then = null;
    this.at = 0; // the moment as a time, once it is known
    this.more = false; // whether there are earlier messages
    this.hash = location.hash; // of the first address: a message to show
    /** @type {(() => void)|null} */
    this.resting = null;
    this.banner = make('p', { className: 'banner', role: 'status' }, 'Looking back');
    this.list = new List(() => void this.older());
    this.bar = new Bar({ go: (at) => this.move(at), step: (way) => void this.step(way), play: () => this.player.toggle(), leave: onLeave }, Date.now);
    this.player = new Player({ peek: () => this.peek(), go: (at) => this.go(at), factor: () => this.bar.factor, changed: (playing) => this.bar.setPlaying(playing), clock });
    this.latest = new Latest({ load: (/** @type {Moment} */ at) => this.load(at), show: (then, at) => this.show(then, at), fail: (error) => this.fail(error), clock });
    container.replaceChildren(this.banner, this.list.element, this.bar.element);
  }

  close() {
    this.player.stop();
    this.latest.close();
    this.resting?.();
  }

  /** By hand: playing ends. @param {number} at */
  move(at) {
    this.player.stop();
    this.go(at);
  }

  /** @param {Moment} moment */
  go(moment) {
    if (typeof moment === 'number') this.bar.point((this.at = moment));
    this.latest.want(moment);
  }

  /** @param {Moment} at @returns {Promise<Then>} */
  load(at) {
    return this.api.messages(this.room, { at: typeof at === 'number' ? new Date(at).toISOString() : at, limit: LIMIT });
  }

  /** @param {Then} then @param {Moment} moment */
  show(then, moment) {
    this.then = then;
    this.more = then.messages.length >= LIMIT;
    this.bar.setScale(scaleOf(then));
    if (typeof moment === 'string') this.at = then.at ? millis(then.at) : Date.now();
    if (this.latest.settled) this.bar.point(this.at);
    this.draw();
    if (!this.hash.startsWith('#m-') || !this.list.goTo(this.hash.slice(3))) this.list.toEnd();
    this.hash = '';
    this.say(moment);
  }

  draw() {
    if (!this.then) return;
    const { messages, in_flight } = this.then;
    this.list.show(itemsThen(messages, in_flight), this.at, this.more && messages.length < SHOWN_MAX);
  }

  /** The words above, and the address. @param {Moment} moment */
  say(moment) {
    if (!this.then) return;
    const shown = typeof moment === 'number' ? moment : this.at;
    const time = make('time', { dateTime: new Date(shown).toISOString(), title: relative(shown, Date.now()) }, absolute(shown));
    this.banner.classList.remove('bad');
    this.banner.replaceChildren(make('span', null, 'The room as it was on ', time, `, position ${this.then.position}.`));
    this.resting?.();
    this.resting = clock.later(REST_MS, () => {
      const at = typeof moment === 'number' ? new Date(moment).toISOString() : moment;
      history.replaceState(history.state, '', `?at=${encodeURIComponent(at)}`);
    });
  }

  /** @param {unknown} error */
  fail(error) {
    this.player.stop();
    this.banner.classList.add('bad');
    this.banner.replaceChildren(`This moment cannot be shown. ${errorWords(error)}`);
  }

  /** To the message before or after the newest that is shown. @param {-1|1} way */
  async step(way) {
    this.player.stop();
    if (!this.then || !this.latest.settled) return;
    if (way < 0) {
      const to = before(this.then.messages, this.at);
      if (to !== null) this.go(to);
      return;
    }
    const from = this.at;
    const found = await this.peek();
    if (this.at === from && found !== 'later') this.go(found === 'end' ? Date.now() : found.at);
  }

  /** The message after the moment that is shown. @returns {Promise<{gap: number, at: number}|'end'|'later'>} */
  async peek() {
    if (!this.then || !this.latest.settled) return 'later';
    try {
      const { messages } = await this.api.messages(this.room, { after: this.then.position, limit: 1 });
      const at = messages.length > 0 ? millis(messages[0].at) : null;
      return at === null ? 'end' : { gap: at - this.at, at };
    } catch (error) {
      this.fail(error);
      return 'end';
    }
  }

  async older() {
    const then = this.then;
    if (!then || then.messages.length === 0) return;
    try {
      const { messages } = await this.api.messages(this.room, { at: then.position, before: then.messages[0].position, limit: LIMIT });
      if (this.then !== then) return; // another moment by now
      this.more = messages.length >= LIMIT;
      this.then = { ...then, messages: [...messages, ...then.messages] };
      this.list.above(() => this.draw());
    } catch (error) {
      this.fail(error);
    }
  }
}
