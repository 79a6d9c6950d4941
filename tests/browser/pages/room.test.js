// The page of a room in Chromium, against a real server that may be killed and a model that does what the test says.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { harness, until } from '../harness.js';
import { answers, fill, item, live, named, say, showing, shown, status, visit } from './talk.js';

const h = harness();

/** @typedef {import('playwright-core').Page} Page */

/** The answer that is being written, as far as it is. @param {Page} page @param {string} text */
const growing = (page, text) => page.locator('.msg.answer.writing > .text').getByText(text, { exact: true }).waitFor();

test('two people talk in one room, and both see the words of an answer before it is whole', async () => {
  const model = await h.model();
  const server = await h.server({ model });
  const [ann, bob] = [await visit(h, server, 'Ann'), await visit(h, server, 'Bob')];
  await ann.getByRole('heading', { name: 'Nothing has been said here yet' }).waitFor();
  await say(ann, 'How many moons are there?');
  await item(bob, 'How many moons are there?').getByText('Ann', { exact: true }).waitFor();
  const first = await model.asked();
  await first.say('One ');
  for (const page of [ann, bob]) await growing(page, 'One');
  await first.say('for each of us.');
  for (const page of [ann, bob]) {
    await growing(page, 'One for each of us.');
    await status(item(page, 'moons')).getByText('writing').waitFor();
    assert.equal(await page.locator('.msg.answer').getAttribute('aria-busy'), 'true');
  }
  await first.finish();
  for (const page of [ann, bob]) await status(item(page, 'moons')).getByText(/^\[human → AI reply: \d+(\.\d)? m?s\]$/).waitFor();
  await say(bob, 'Thank you.');
  await (await model.asked()).answer('You are welcome.');
  for (const page of [ann, bob]) {
    await answers(item(page, 'Thank you.')).getByText('You are welcome.').waitFor();
    assert.deepEqual(await shown(page), ['How many moons are there?', 'One for each of us.', 'Thank you.', 'You are welcome.']);
    assert.equal(await page.locator('#outbox').textContent(), '');
  }
});

test('a page that is reloaded in the middle of an answer shows the text so far and its end, once', async () => {
  const model = await h.model();
  const server = await h.server({ model });
  const ann = await visit(h, server, 'Ann');
  await say(ann, 'Count.');
  const answer = await model.asked();
  await answer.say('one, two, ');
  await growing(ann, 'one, two,');
  await ann.reload();
  await growing(ann, 'one, two,');
  await answer.say('three, ');
  await growing(ann, 'one, two, three,');
  await answer.say('four.');
  await answer.finish();
  await status(item(ann, 'Count.')).getByText('[human → AI reply').waitFor();
  assert.deepEqual(await shown(ann), ['Count.', 'one, two, three, four.']);
  await ann.reload();
  await live(ann);
  assert.deepEqual(await showing(ann, 2), ['Count.', 'one, two, three, four.']);
});

test('anybody stops an answer, also after a reload; what was said stays and is marked', async () => {
  const model = await h.model();
  const server = await h.server({ model });
  const [ann, bob] = [await visit(h, server, 'Ann'), await visit(h, server, 'Bob')];
  await say(ann, 'Tell me everything.');
  const answer = await model.asked();
  await answer.say('In the beginning');
  await growing(bob, 'In the beginning');
  await bob.reload();
  await growing(bob, 'In the beginning');
  await status(item(bob, 'everything')).getByRole('button', { name: 'Stop' }).click();
  await answer.gone();
  for (const page of [ann, bob]) {
    await status(item(page, 'everything')).getByText('stopped', { exact: true }).waitFor();
    await answers(item(page, 'everything')).getByText('stopped here').waitFor();
    assert.deepEqual(await shown(page), ['Tell me everything.', 'In the beginning']);
  }
  await bob.reload();
  await status(item(bob, 'everything')).getByText('stopped', { exact: true }).waitFor();
  await status(item(bob, 'everything')).getByRole('button', { name: 'Retry' }).click();
  await (await model.asked()).answer('No.');
  for (const page of [ann, bob]) await answers(item(page, 'everything')).getByText('No.', { exact: true }).waitFor();
});

test('when the model fails its reason is shown, and Retry asks it again', async () => {
  const model = await h.model();
  const server = await h.server({ model });
  const ann = await visit(h, server, 'Ann');
  await say(ann, 'A long prompt');
  (await model.asked()).fail(400, 'this is not allowed');
  const line = status(item(ann, 'A long prompt'));
  await line.getByText('no answer: antiphon did not accept this message; it may be too long').waitFor();
  await line.getByRole('button', { name: 'Retry' }).click();
  const answer = await model.asked();
  assert.equal(answer.question, 'Ann: A long prompt');
  await answer.answer('Now it fits.');
  await line.getByText('[human → AI reply').waitFor();
  assert.deepEqual(await shown(ann), ['A long prompt', 'Now it fits.']);
});

test('an answer that breaks off is tried again; the words of the first try are kept until then', async () => {
  const model = await h.model();
  const server = await h.server({ model, args: ['--retry-base-ms', '5000'] });
  const ann = await visit(h, server, 'Ann');
  await say(ann, 'Go on.');
  const first = await model.asked();
  await first.say('Well, this');
  await growing(ann, 'Well, this');
  first.cut();
  await status(item(ann, 'Go on.')).getByText(/^antiphon was interrupted · (next try in \d s|trying again)$/).waitFor();
  const broken = item(ann, 'Go on.').locator('.msg.answer.interrupted');
  await broken.getByText('Well, this').waitFor();
  await broken.getByText(/^interrupted: /).waitFor();
  await (await model.asked()).answer('Well, that.');
  await status(item(ann, 'Go on.')).getByText('[human → AI reply').waitFor();
  assert.deepEqual(await shown(ann), ['Go on.', 'Well, that.']);
});

test('an answered message is asked again: the second answer stands under it, the first is folded away', async () => {
  const model = await h.model();
  const server = await h.server({ model });
  const [ann, bob] = [await visit(h, server, 'Ann'), await visit(h, server, 'Bob')];
  await say(ann, 'A name for a cat?');
  await (await model.asked()).answer('Cat.');
  await answers(item(ann, 'cat')).getByText('Cat.').click();
  await item(ann, 'cat').getByRole('button', { name: 'Regenerate' }).click();
  const again = await model.asked();
  assert.equal(again.question, 'Ann: A name for a cat?');
  await again.say('Mo');
  await growing(bob, 'Mo');
  await again.say('riarty.');
  await again.finish();
  for (const page of [ann, bob]) {
    await status(item(page, 'cat')).getByText('[asked again → AI reply').waitFor();
    assert.equal(await answers(item(page, 'cat')).locator('.text').textContent(), 'Moriarty.');
    await page.getByText('1 earlier answer').click();
    await page.locator('details.earlier').getByText('Cat.', { exact: true }).waitFor();
  }
});

test('the server is killed while one types and sends: nothing is lost, nothing is doubled, the draft stays', async () => {
  h.allow('server-gone');
  const model = await h.model();
  const server = await h.server({ model });
  const [ann, bob] = [await visit(h, server, 'Ann'), await visit(h, server, 'Bob')];
  await ann.locator('#to').selectOption('No bot');
  const texts = [];
  for (const round of ['first', 'second']) {
    await say(ann, `before the ${round} fall`);
    const typing = (async () => {
      for (const text of [`${round}: one`, `${round}: two`, `${round}: three`]) {
        texts.push(text);
        await ann.locator('#text').pressSequentially(text, { delay: 15 });
        await ann.locator('#text').press('Enter');
      }
    })();
    texts.push(`before the ${round} fall`);
    await server.kill();
    await typing;
    for (const page of [ann, bob]) await page.locator('#banner', { hasText: 'The connection is lost' }).waitFor();
    await ann.locator('#text').pressSequentially('a thought that is not wh', { delay: 5 });
    await server.start();
    for (const page of [ann, bob]) await page.locator('#banner').waitFor({ state: 'hidden' });
    await ann.waitForFunction(() => document.querySelectorAll('#outbox .item').length === 0);
    assert.equal(await ann.locator('#text').inputValue(), 'a thought that is not wh');
    await ann.reload();
    await live(ann);
    assert.equal(await ann.locator('#text').inputValue(), 'a thought that is not wh', 'also after a reload');
    await ann.locator('#text').fill('');
    await ann.locator('#to').selectOption('No bot');
  }
  const wanted = ['first', 'second'].flatMap((round) => [`before the ${round} fall`, `${round}: one`, `${round}: two`, `${round}: three`]);
  for (const page of [ann, bob]) assert.deepEqual(await showing(page, wanted.length), wanted);
  assert.deepEqual((await server.messages('lobby')).map(({ text }) => text), wanted);
  assert.equal(texts.length, wanted.length);
});

test('the server is killed in the middle of an answer: its words stay, and the answer comes anew, once', async () => {
  h.allow('server-gone');
  const model = await h.model();
  const server = await h.server({ model, args: ['--lease-ms', '1000'] });
  const ann = await visit(h, server, 'Ann');
  await say(ann, 'Are you there?');
  const first = await model.asked();
  await first.say('I am h');
  await growing(ann, 'I am h');
  await server.kill();
  await ann.locator('#banner', { hasText: 'The connection is lost' }).waitFor();
  assert.deepEqual(await shown(ann), ['Are you there?', 'I am h']);
  await server.start();
  const second = await model.asked();
  await item(ann, 'there?').locator('.msg.answer.interrupted').getByText('I am h').waitFor();
  await second.say('I am back');
  await growing(ann, 'I am back');
  await second.finish();
  await status(item(ann, 'there?')).getByText('[human → AI reply').waitFor();
  await ann.locator('#banner').waitFor({ state: 'hidden' });
  assert.deepEqual(await shown(ann), ['Are you there?', 'I am back']);
  assert.deepEqual((await server.messages('lobby')).map(({ text }) => text), ['Are you there?', 'I am back']);
});

test('what is said without a network waits, can be discarded, and is sent once when it is back', async () => {
  h.allow('offline', 'server-gone');
  const server = await h.server();
  const [ann, bob] = [await visit(h, server, 'Ann'), await visit(h, server, 'Bob')];
  await ann.locator('#to').selectOption('No bot');
  await ann.context().setOffline(true);
  await server.kill(); // or the stream that is open already would go on: Chromium only refuses new ones
  await server.start();
  await ann.locator('#banner', { hasText: 'You are offline.' }).waitFor();
  await say(ann, 'Is this thing on?');
  await say(ann, 'It seems not.');
  const unsent = ann.locator('#outbox .item');
  await unsent.nth(1).getByText('not sent yet').waitFor();
  assert.deepEqual(await shown(ann), ['Is this thing on?', 'It seems not.']);
  await unsent.nth(1).getByRole('button', { name: 'Discard' }).click();
  await ann.waitForFunction(() => document.querySelectorAll('#outbox .item').length === 1);
  await ann.context().setOffline(false);
  await ann.locator('#banner').waitFor({ state: 'hidden' });
  for (const page of [ann, bob]) assert.deepEqual(await showing(page, 1), ['Is this thing on?']);
  await ann.waitForFunction(() => document.querySelectorAll('#outbox .item').length === 0);
  assert.deepEqual((await server.messages('lobby')).map(({ text }) => text), ['Is this thing on?']);
});

test('a link to a message far up opens there, and the page stays there as others speak', async () => {
  const server = await h.server();
  const posted = await fill(server, 'lobby', Array.from({ length: 700 }, (_, at) => `message ${at}`));
  const all = await server.messages('lobby');
  const wanted = all[20];
  assert.equal(posted.length, 700);
  const ann = await visit(h, server, 'Ann', { path: `/r/lobby#m-${wanted.id}` });
  const place = () => ann.evaluate((id) => {
    const box = document.getElementById(`m-${id}`)?.getBoundingClientRect();
    return box && box.top >= 0 && box.bottom <= innerHeight ? Math.round(box.top) : null;
  }, wanted.id);
  await ann.waitForFunction((id) => document.activeElement?.getAttribute('data-id') === id, wanted.id);
  const top = await place();
  assert.notEqual(top, null, 'it is in sight');
  await server.post('lobby', 'somebody speaks', { to: [] });
  await ann.getByRole('button', { name: '1 new ↓' }).waitFor();
  assert.equal(await place(), top);
  await ann.getByRole('button', { name: '1 new ↓' }).click();
  await item(ann, 'somebody speaks').waitFor();
  await ann.waitForFunction(() => {
    const area = /** @type {HTMLElement} */ (document.getElementById('scroll'));
    return area.scrollHeight - area.clientHeight - area.scrollTop < 2;
  });
});

test('a reply names what it replies to, and leads there', async () => {
  const server = await h.server();
  await fill(server, 'lobby', ['Who brings the cake?', ...Array.from({ length: 40 }, (_, at) => `chatter ${at}`)]);
  const [ann, bob] = [await visit(h, server, 'Ann'), await visit(h, server, 'Bob')];
  await item(ann, 'cake').locator('.text').click();
  await item(ann, 'cake').getByRole('button', { name: 'Reply' }).click();
  await ann.locator('#quote', { hasText: 'Program: Who brings the cake?' }).waitFor();
  await ann.locator('#to').selectOption('No bot');
  await say(ann, 'I do.');
  await ann.locator('#quote').waitFor({ state: 'hidden' });
  const reply = item(bob, 'I do.');
  await reply.getByRole('button', { name: 'Program: Who brings the cake?' }).click();
  const { id, reply_to } = (await server.messages('lobby')).find(({ text }) => text === 'I do.');
  assert.equal(await bob.evaluate(() => document.activeElement?.getAttribute('data-id')), reply_to);
  assert.notEqual(id, reply_to);
  assert.equal(await item(bob, 'cake').evaluate((element) => {
    const { top, bottom } = element.getBoundingClientRect();
    return top >= 0 && bottom <= innerHeight;
  }), true);
});

test('a tab out of sight counts in its title what came, and marks where it begins', async () => {
  const server = await h.server();
  await server.post('lobby', 'old news', { to: [] });
  const ann = await visit(h, server, 'Ann');
  const tab = await h.page(server, '/r/lobby', { in: ann });
  await live(tab);
  await item(tab, 'old news').waitFor();
  // Chromium without a screen never hides a tab, so the test says it.
  const see = (/** @type {'hidden' | 'visible'} */ state) => tab.evaluate((is) => {
    Object.defineProperty(document, 'visibilityState', { configurable: true, get: () => is });
    document.dispatchEvent(new Event('visibilitychange'));
  }, state);
  await see('hidden');
  for (const text of ['news one', 'news two']) await server.post('lobby', text, { to: [] });
  await tab.waitForFunction(() => document.title === '(2) lobby · Antiphon');
  assert.equal(await ann.title(), 'lobby · Antiphon', 'the tab in sight has read them');
  await item(tab, 'news one').locator('.unread').waitFor();
  assert.equal(await tab.locator('.unread').count(), 1);
  await see('visible');
  await tab.waitForFunction(() => document.title === 'lobby · Antiphon');
});

test('another room that was read and has gone on is marked in the list of rooms', async () => {
  const server = await h.server();
  await server.post('dev', 'first', { to: [] });
  const ann = await visit(h, server, 'Ann', { path: '/r/dev' });
  await item(ann, 'first').waitFor();
  await ann.goto(`${server.url}/r/lobby`);
  await live(ann);
  assert.equal(await ann.locator('#rooms-unread').isVisible(), false);
  await server.post('dev', 'second', { to: [] });
  await ann.reload();
  await ann.locator('#rooms-unread').waitFor();
  await ann.locator('#rooms-open').click();
  await ann.locator('#rooms-list').getByRole('link', { name: /^dev new/ }).click();
  await item(ann, 'second').locator('.unread').waitFor();
});

test('seven tabs of one browser are all live over one connection', async () => {
  const server = await h.server();
  const context = await h.context(named(server, 'Ann'));
  const tabs = await Promise.all(Array.from({ length: 7 }, () => h.page(server, '/r/lobby', { in: context })));
  await Promise.all(tabs.map(live));
  await tabs[3]?.locator('#to').selectOption('No bot');
  await say(/** @type {Page} */ (tabs[3]), 'to all of you');
  await Promise.all(tabs.map((tab) => item(tab, 'to all of you').waitFor()));
  for (const tab of tabs) assert.deepEqual(await shown(tab), ['to all of you']);
  await until('one stream is open', async () => (await server.subscribers()) === 1);
  await tabs[0]?.close();
  await server.post('lobby', 'and after one is gone', { to: [] });
  await Promise.all(tabs.slice(1).map((tab) => item(tab, 'and after one is gone').waitFor()));
});
