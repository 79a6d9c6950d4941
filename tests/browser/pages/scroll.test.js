// Scrolling: through many messages while an answer streams, and that nobody is moved who has scrolled up.
//
// Not here: how smooth it is. That is a figure and needs a quiet machine: `./scripts/bench page`.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { SOAK, harness } from '../harness.js';
import { stream, text, wheelTo } from './reading.js';
import { answers, fill, gap, item, say, visit } from './talk.js';

const h = harness();

const MESSAGES = SOAK ? 5_000 : 1_000;

test(`${MESSAGES} messages are all there, in order, however one scrolls while an answer streams`, async () => {
  const model = await h.model();
  const server = await h.server({ model });
  await fill(server, 'lobby', Array.from({ length: MESSAGES - 1 }, (_, at) => text(at)));
  const page = await visit(h, server, 'Ann');
  await say(page, 'a question');
  const writing = stream(await model.asked());
  const answer = page.locator('.msg.answer.writing');
  await answer.waitFor();
  await page.mouse.move(400, 300);
  const ids = () => page.locator('#log .item').evaluateAll((items) => items.map(({ id }) => id));
  await wheelTo(page, 'beginning');
  const all = await ids();
  assert.equal(new Set(all).size, MESSAGES, 'all are on the page, each once');
  await wheelTo(page, 'end');
  assert.deepEqual(await ids(), all, 'none is lost on the way down');
  const pieces = await writing.end();
  const last = item(page, 'a question');
  await answers(last).and(page.locator(':not(.writing)')).waitFor();
  const words = (await answers(last).locator('> .text').textContent()) ?? '';
  assert.equal(words.match(/word \d+|A new paragraph:/g)?.length, pieces, 'no piece of the answer is lost');
});

test('who reads the newest stays there as an answer grows; who has scrolled up is not moved, and a pill leads down', async () => {
  const model = await h.model();
  const server = await h.server({ model });
  await fill(server, 'lobby', Array.from({ length: 60 }, (_, at) => text(at)));
  const [ann, bob] = [await visit(h, server, 'Ann'), await visit(h, server, 'Bob')];
  await say(ann, 'Tell me a long story.');
  const answer = await model.asked();
  await item(bob, 'long story').waitFor();
  await bob.mouse.move(400, 300);
  await bob.mouse.wheel(0, -900);
  const pill = bob.locator('#to-end');
  await pill.getByText('To the newest ↓').waitFor();
  const seen = () => bob.evaluate(() => {
    const area = /** @type {HTMLElement} */ (document.getElementById('scroll'));
    const { top } = area.getBoundingClientRect();
    const first = [...document.querySelectorAll('#log .item')].find((one) => one.getBoundingClientRect().bottom > top);
    return `${first?.id} ${Math.round(first?.getBoundingClientRect().top ?? 0)}`;
  });
  const before = await seen();
  for (let piece = 0; piece < 60; piece += 1) await answer.say(`And then, ${piece}:\n\n- one thing\n- another\n\n`);
  for (const page of [ann, bob]) await answers(item(page, 'long story')).getByText('And then, 59:').waitFor({ state: 'attached' });
  assert.equal(await gap(ann), 0, 'Ann sees the newest');
  assert.equal(await seen(), before, 'Bob sees what he saw');
  await answer.finish();
  await server.post('lobby', 'Meanwhile, elsewhere.', { to: [] });
  await pill.getByText('2 new ↓').waitFor();
  assert.equal(await seen(), before);
  assert.equal(await bob.title(), '(2) lobby · Antiphon');
  await pill.click();
  await pill.waitFor({ state: 'hidden' });
  await bob.waitForFunction(() => document.title === 'lobby · Antiphon');
  assert.equal(await gap(bob), 0);
  await server.post('lobby', 'And again.', { to: [] });
  await item(bob, 'And again.').waitFor();
  assert.equal(await gap(bob), 0, 'Bob is there to stay');
});

test('history comes as one scrolls up, without moving what one reads', async () => {
  const server = await h.server();
  await fill(server, 'lobby', Array.from({ length: 230 }, (_, at) => text(at)));
  const ann = await visit(h, server, 'Ann');
  await ann.waitForFunction(() => document.querySelectorAll('#log .item').length === 100);
  await ann.mouse.move(400, 300);
  await ann.mouse.wheel(0, -100_000);
  await ann.waitForFunction(() => document.querySelectorAll('#log .item').length > 100);
  const [first] = (await server.messages('lobby')).slice(-100);
  const top = await ann.evaluate((id) => document.getElementById(`m-${id}`)?.getBoundingClientRect().top ?? 0, first.id);
  assert.ok(Math.abs(top) < (ann.viewportSize()?.height ?? 0), `what was the first message is still in sight, at ${top}`);
  await wheelTo(ann, 'beginning');
  await ann.getByText('This is the beginning of lobby.').waitFor();
  assert.equal(await ann.locator('#log .item').count(), 230);
  assert.deepEqual(await ann.locator('#log .item').evaluateAll((items) => items.map(({ id }) => id)), (await server.messages('lobby')).map(({ id }) => `m-${id}`));
});
