// Bad days by the dozen: tabs come, freeze and die, the network and the server fail, all at random. In the end every tab has been
// handed everything once and in order, and every post is in the log once.
//
// A failure prints its seed; `ANTIPHON_SEED=7 node --test tests/browser/unit/client-chaos.test.js` runs that one alone.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { openRoom } from '../../../web/client.js';
import { FakeBrowser, seeded, settle } from './fake-browser.js';
import { FakeServer } from './fake-server.js';

const SEEDS = process.env.ANTIPHON_SEED
  ? [Number(process.env.ANTIPHON_SEED)]
  : Array.from({ length: process.env.ANTIPHON_SOAK ? 2_000 : 60 }, (_, i) => i + 1);
const STEPS = 120;
const TABS_MAX = 8;
const ROOMS = ['lobby', 'dev', 'ops'];

class Day {
  server = new FakeServer();
  browser = new FakeBrowser(this.server);
  /** @type {any[]} rooms that are open in tabs that live */
  views = [];
  /** @type {{ id: string, room: string, text: string }[]} */
  sent = [];
  counter = 0;

  /** @param {number} seed @param {any} lacks */
  constructor(seed, lacks) {
    this.random = seeded(seed);
    this.browser.random = seeded(seed + 1_000_000);
    this.lacks = lacks;
  }

  /** @template T @param {T[]} list @returns {T} */
  one(list) {
    return list[Math.floor(this.random() * list.length)];
  }

  open() {
    const tabs = [...this.browser.tabs];
    const tab = tabs.length >= TABS_MAX || (tabs.length > 0 && this.random() < 0.2) ? this.one(tabs) : this.browser.tab(this.lacks);
    if (tab.frozen) return;
    const view = { tab, room: this.one(ROOMS), got: /** @type {any[]} */ ([]), drafts: new Map(), status: /** @type {any} */ (null), handle: /** @type {any} */ (null), outbox: [] };
    this.views.push(view);
    view.handle = openRoom(view.room, {
      env: tab.env,
      limit: 500,
      onStatus: (status) => { view.status = status; },
      onOutbox: (/** @type {any} */ items) => { view.outbox = items; },
      onEvent: ({ name, data, id }) => {
        if (name === 'reset') view.got = [];
        else if (name === 'snapshot') {
          view.got = data.messages.map((/** @type {any} */ message) => message.id);
          view.drafts = new Map(data.in_flight.map((/** @type {any} */ d) => [d.reply_id, d.text]));
        } else if (id !== '') {
          view.got.push(data.id);
          view.drafts.delete(data.id);
        } else if (name === 'reply.snapshot') view.drafts.set(data.reply_id, data.text);
        else if (name === 'reply.delta') view.drafts.set(data.reply_id, (view.drafts.get(data.reply_id) ?? '') + data.text);
      },
    });
  }

  /** @param {import('./fake-browser.js').FakeTab} tab */
  kill(tab) {
    tab.kill();
    this.views = this.views.filter((view) => view.tab !== tab);
  }

  word() {
    const open = [...this.server.drafts.values()];
    if (open.length < 3 && this.random() < 0.3) this.server.word(this.one(ROOMS), `r${(this.counter += 1)}`, 'first ');
    else if (open.length > 0) {
      const { room, reply_id } = this.one(open);
      if (this.random() < 0.8) this.server.word(room, reply_id, `w${(this.counter += 1)} `);
      else this.server.append(room, 'reply.posted', { id: reply_id, room });
    }
  }

  send() {
    const view = this.one(this.views.filter(({ tab }) => !tab.frozen));
    if (!view) return;
    const text = `t${(this.counter += 1)}`;
    const { id } = view.handle.send({ text, author: { name: 'Ann' } });
    this.sent.push({ id, room: view.room, text });
  }

  /** @type {[number, (day: Day) => void][]} how often, what */
  static HAPPENINGS = [
    [20, (day) => day.word()],
    [10, (day) => void day.server.say(day.one(ROOMS), `s${(day.counter += 1)}`)],
    [10, (day) => day.send()],
    [6, (day) => day.open()],
    [3, (day) => day.server.beat()],
    [2, (day) => day.kill(day.one([...day.browser.tabs]))],
    [2, (day) => day.one([...day.browser.tabs]).freeze()],
    [3, (day) => day.one([...day.browser.tabs]).thaw()],
    [2, (day) => { const tab = day.one([...day.browser.tabs]); tab.visible = !tab.visible; if (tab.visible) tab.happens('visible'); }],
    [1, (day) => { const tab = day.one([...day.browser.tabs]); tab.happens('hide'); tab.happens('show'); }],
    [2, (day) => day.server.cut(day.random() < 0.5)],
    [2, (day) => { day.server.state = day.one(['up', 'up', 'down', 'bad-gateway']); }],
    [2, (day) => { day.server.lost += 1; }],
    [1, (day) => { const { channels } = day.one([...day.browser.tabs]); channels.forEach((c) => { const f = c.onmessage; c.onmessage = null; setImmediate(() => { c.onmessage = f; }); }); }],
    [1, (day) => { const view = day.one(day.views.filter(({ tab }) => !tab.frozen)); view?.handle.close(); day.views = day.views.filter((v) => v !== view); }],
    [1, (day) => day.browser.jump(day.one([-3_600_000, 3_600_000]))],
  ];

  async step() {
    if (this.browser.tabs.size === 0) this.open();
    let at = this.random() * Day.HAPPENINGS.reduce((sum, [weight]) => sum + weight, 0);
    const [, happen] = Day.HAPPENINGS.find(([weight]) => (at -= weight) < 0) ?? Day.HAPPENINGS[0];
    happen(this);
    if (this.random() < 0.3) await settle();
    if (this.random() < 0.3) await this.browser.pass(Math.floor(this.random() ** 4 * 60_000));
  }

  async evening() {
    this.server.state = 'up';
    this.server.lost = 0;
    for (const tab of this.browser.tabs) {
      tab.thaw();
      tab.visible = true;
      tab.happens('visible');
    }
    while (this.views.length === 0) this.open();
    // A tab that missed the last word of all learns of it by the next one.
    for (const { room, reply_id } of [...this.server.drafts.values()]) this.server.word(room, reply_id, 'last');
    for (let i = 0; i < 8; i += 1) {
      await this.browser.pass(15_000);
      this.server.beat();
    }
    await this.browser.pass(5_000);
  }

  check() {
    for (const { room, got, drafts, status, outbox } of this.views) {
      const expected = this.server.log.filter((entry) => entry.room === room).map(({ data }) => data.id);
      assert.deepEqual(got, expected, `events of ${room}`);
      const words = [...this.server.drafts.values()].filter((draft) => draft.room === room);
      for (const { reply_id, text } of words) assert.equal(drafts.get(reply_id), text, `the words of ${reply_id}`);
      assert.deepEqual([status.state, outbox.length], ['live', 0]);
    }
    for (const room of ROOMS) {
      const posted = this.server.log.filter((entry) => entry.room === room && entry.data.text?.startsWith('t'));
      assert.deepEqual(posted.map(({ data }) => data.text), this.sent.filter((post) => post.room === room).map(({ text }) => text));
    }
    for (const tab of this.browser.tabs) assert.deepEqual(tab.errors, []);
    if (this.lacks.locks === undefined) assert.ok(this.server.connected.length <= 1, this.server.connected.map(({ url }) => url.href).join(' '));
  }
}

for (const [what, lacks, seeds] of /** @type {[string, any, number[]][]} */ ([
  ['many bad days end well', {}, SEEDS],
  ['many bad days without locks end well', { locks: null }, SEEDS.slice(0, Math.ceil(SEEDS.length / 4))],
])) {
  test(what, async () => {
    for (const seed of seeds) {
      const day = new Day(seed, lacks);
      for (let i = 0; i < STEPS; i += 1) await day.step();
      await day.evening();
      try {
        day.check();
      } catch (error) {
        throw new Error(`seed ${seed}: ${/** @type {Error} */ (error).message}`, { cause: error });
      }
      [...day.browser.tabs].forEach((tab) => day.kill(tab));
    }
  });
}
