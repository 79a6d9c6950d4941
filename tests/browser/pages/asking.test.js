// Who is asked and what is said of it: the choice of bots, why a question waits, what is too long, and words without addresses.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { isKnown } from '../../../web/room/reasons.js';
import { harness, until } from '../harness.js';
import { answers, item, live, say, status, visit } from './talk.js';

const h = harness();

/** @typedef {import('playwright-core').Page} Page */

const BOTS = `
[[bots]]
name = "ada"
model = "builtin"

[[bots]]
name = "poet"
model = "builtin"
rooms = ["poems"]

[[bots]]
name = "ghost"
model = "remote"
`;

/** What can be chosen. @param {Page} page */
const choices = (page) => page.locator('#to option').allTextContents();

test('only bots that the room takes are offered, and the choice is kept for the room', async () => {
  const server = await h.server({ settings: BOTS });
  const ann = await visit(h, server, 'Ann', { path: '/r/poems' });
  await ann.locator('#to option', { hasText: 'Ask poet' }).waitFor({ state: 'attached' });
  assert.deepEqual(await choices(ann), ['Auto (ada)', 'Ask ada', 'Ask poet', 'Ask ghost (offline)', 'No bot']);
  await ann.locator('#to').selectOption('Ask poet');
  await ann.reload();
  await live(ann);
  await say(ann, 'A verse, please.');
  await answers(item(ann, 'A verse, please.')).getByText('poet', { exact: true }).waitFor();
  await ann.goto(`${server.url}/r/lobby`);
  await ann.locator('#to option', { hasText: 'Auto (ada)' }).waitFor({ state: 'attached' });
  assert.deepEqual(await choices(ann), ['Auto (ada)', 'Ask ada', 'Ask ghost (offline)', 'No bot']);
  assert.equal(await ann.locator('#to').inputValue(), '', 'another room has another choice');
});

test('a room without bots offers none', async () => {
  const server = await h.server({ settings: 'bots = []\n' });
  const ann = await visit(h, server, 'Ann');
  await ann.locator('#to').waitFor({ state: 'hidden' });
  await say(ann, 'Only people here.');
  await item(ann, 'Only people here.').waitFor();
});

test('a question to a bot that nobody answers for says so as long as that is so', async () => {
  const server = await h.server({ settings: BOTS });
  const [ann, bob] = [await visit(h, server, 'Ann'), await visit(h, server, 'Bob')];
  await ann.locator('#to option', { hasText: 'Ask ghost (offline)' }).waitFor({ state: 'attached' });
  await ann.locator('#to').selectOption('Ask ghost (offline)');
  await say(ann, 'Are you there?');
  for (const page of [ann, bob]) await status(item(page, 'Are you there?')).getByText('waiting: no worker for ghost is connected').waitFor();
  const body = JSON.stringify({ worker: 'box', bots: ['ghost'], claim_key: 'one', wait_ms: 10_000 });
  await fetch(`${server.url}/api/work/claim`, { method: 'POST', headers: { 'content-type': 'application/json' }, body });
  for (const page of [ann, bob]) await status(item(page, 'Are you there?')).getByText('claimed by box').waitFor();
  await ann.locator('#to').focus();
  await until('the choice knows', async () => (await choices(ann)).includes('Ask ghost'));
});

test('a text that is too long is counted, not sent, and stays in the field', async () => {
  const server = await h.server({ args: ['--text-bytes-max', '1000'] });
  const ann = await visit(h, server, 'Ann');
  await ann.locator('#text').fill('ü'.repeat(450));
  await ann.locator('#count').getByText('100 left').waitFor();
  const long = `${'ü'.repeat(500)}!`;
  await ann.locator('#text').fill(long);
  await ann.locator('#count').getByText('1 too long').waitFor();
  await ann.locator('#text').press('Enter');
  await ann.getByRole('alert').getByText('This message is too long by 1 bytes. Shorten it, or send it in parts.').waitFor();
  assert.equal(await ann.locator('#text').inputValue(), long);
  assert.equal(await ann.locator('#outbox .item').count(), 0);
  await ann.locator('#text').fill('short');
  assert.equal(await ann.locator('#count').textContent(), '');
  await ann.locator('#text').press('Enter');
  await item(ann, 'short').waitFor();
});

test('what the server refused goes back into the field, with what it replied to', async () => {
  h.allow('refused');
  const server = await h.server({ args: ['--text-bytes-max', '1000'] });
  await server.post('lobby', 'What do you think?', { to: [] });
  const ann = await visit(h, server, 'Ann');
  await ann.route('**/api/rooms/lobby/bots', (route) => route.fulfill({ json: { bots: [], default: null, text_bytes_max: 10_000 } })); // before it was set lower
  await ann.reload();
  await live(ann);
  await item(ann, 'What do you think?').locator('.text').click();
  await item(ann, 'What do you think?').getByRole('button', { name: 'Reply' }).click();
  await say(ann, `Too much: ${'x'.repeat(1_000)}`);
  const refused = ann.locator('#outbox .item');
  await refused.getByText('not sent: This message is too long.', { exact: true }).waitFor();
  await ann.locator('#text').fill('another thought');
  await refused.getByRole('button', { name: 'Edit' }).click();
  await ann.locator('#note', { hasText: 'Send or clear what you are writing first.' }).waitFor();
  await ann.locator('#text').fill('');
  await ann.locator('#text').press('ArrowUp');
  await refused.waitFor({ state: 'detached' });
  assert.match(await ann.locator('#text').inputValue(), /^Too much: x+$/);
  await ann.locator('#quote', { hasText: 'Program: What do you think?' }).waitFor();
  await say(ann, 'Enough.');
  await item(ann, 'Enough.').getByRole('button', { name: 'Program: What do you think?' }).waitFor();
});

test('visitors read no address and no code when a model is away', async () => {
  const server = await h.server({ settings: '[[bots]]\nname = "antiphon"\nmodel = "openai:gone"\n', args: ['--openai-base-url', 'http://127.0.0.1:9/v1', '--attempts-max', '2', '--retry-base-ms', '10'] });
  const ann = await visit(h, server, 'Ann');
  await say(ann, 'Hello?');
  await status(item(ann, 'Hello?')).getByText('waiting: antiphon cannot be reached right now · ').waitFor();
  assert.doesNotMatch((await ann.locator('body').textContent()) ?? '', /127\.0\.0\.1|model-unreachable|attempts-used-up/);
});

test('every refusal of a route that the page uses has a sentence', async () => {
  const server = await h.server();
  const { paths } = await server.get('/openapi.json');
  const used = Object.entries(paths).filter(([path]) => /^\/api\/(rooms|messages|events)\b/.test(path) && !path.endsWith('/erase'));
  const codes = used.flatMap(([, methods]) => Object.values(methods)).flatMap(({ responses }) => Object.entries(responses))
    .filter(([answer, { content }]) => Number(answer) >= 400 && content?.['application/problem+json'])
    .flatMap(([, { description }]) => description.replace(/:.*| and as elsewhere/g, '').split(', '));
  assert.ok(codes.length > 40);
  assert.deepEqual([...new Set(codes)].filter((code) => !isKnown(code)), []);
});
