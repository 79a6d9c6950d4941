// Takes the pictures of docs/images: `./scripts/shots`. A conversation in a real server, with a model that says what is written
// here; nothing in the pictures is drawn by hand. Not a test, but it fails like one if a page has a fault.

import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

import { harness } from './harness.js';

const IMAGES = fileURLToPath(new URL('../../docs/images/', import.meta.url));

/** @type {Record<string, import('playwright-core').BrowserContextOptions>} */
const LOOKS = {
  light: { viewport: { width: 1200, height: 860 } },
  dark: { viewport: { width: 1200, height: 860 }, colorScheme: 'dark' },
  phone: { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, hasTouch: true, isMobile: true },
};

/** High enough for all of its sections. */
const MONITOR_HEIGHT = 1360;

const MIRA = { name: 'Mira', color: '#e06c75' };
const TOMAS = { name: 'Tomás', color: '128192255' };
const NOOR = { name: 'Noor', color: '#c8a24a' };

/** Two bots of the model that the script plays; one that only workers answer for, and none is there. */
const SETTINGS = `
[[bots]]
name = "gardener"
color = "#3f9a6d"
slots = 4

[[bots]]
name = "archivist"
model = "remote"
rooms = ["archive"]
`;

const ADVICE = [
  'Tomatoes want **deep, rare** watering rather than a little every day:\n\n',
  '1. Water in the morning, at the root, about 10 l a plant.\n2. Wait until the soil is dry a finger deep.\n3. Mulch, so that it stays ',
];

/** As a model that takes its time. @param {import('./harness.js').Model} model @param {string} words */
async function answered(model, words) {
  const answer = await model.asked();
  await pause(500 + words.length * 5);
  await answer.say(words.slice(0, 10));
  await pause(words.length * 25);
  await answer.say(words.slice(10));
  await answer.finish();
}

const h = harness();

test('the pictures of the pages', async () => {
  const model = await h.model();
  const folder = await mkdtemp(join(tmpdir(), 'antiphon-shots-'));
  const config = join(folder, 'antiphon.toml');
  await writeFile(config, SETTINGS);
  const server = await h.server({ model, args: ['--config', config] });
  const post = (/** @type {string} */ room, /** @type {string} */ text, /** @type {object} */ author, more = {}) =>
    server.post(room, text, { author, ...more });

  await post('greenhouse', 'The sensor says **41 %**. This is how I read it:\n\n```python\ndef moisture(port="/dev/ttyUSB0"):\n    with serial.Serial(port, 9600, timeout=2) as line:\n        return int(line.readline()) / 10.23\n```', MIRA, { to: [] });
  const heat = await post('greenhouse', 'How hot will it get tomorrow?', TOMAS);
  await answered(model, '31 °C at three in the afternoon, and no wind. Open the roof before ten.');
  await post('greenhouse', 'Then let us put up the shade net today. I can be there at six.', NOOR, { to: [], reply_to: heat.id });

  // What the monitor shows besides: answers, one failure that nobody will try again, messages that nobody answers yet.
  for (const [room, text, author, words] of /** @type {[string, string, object, string][]} */ ([
    ['kitchen', 'What can I do with three kilograms of courgettes?', NOOR, 'Fritters, a gratin, and chutney from the rest.'],
    ['kitchen', 'Does basil keep in the freezer?', MIRA, 'As pesto without the cheese, yes: half a year.'],
    ['lobby', 'Hello, who is here?', TOMAS, 'The gardener. Ask me anything that grows.'],
  ])) {
    await post(room, text, author);
    await answered(model, words);
  }
  await post('lobby', 'Please draw me a plan of the beds.', NOOR);
  (await model.asked()).fail(400, 'this model writes words, not pictures');
  for (const text of ['When did we last change the soil?', 'Which beds had potatoes in 2024?']) await post('archive', text, TOMAS, { to: ['archivist'] });

  await post('greenhouse', 'What do the tomatoes need in such heat?', MIRA);
  const answer = await model.asked();
  await answer.say(ADVICE[0] ?? '');
  await answer.say(ADVICE[1] ?? '');

  for (const [look, options] of Object.entries(LOOKS)) {
    const localStorage = [{ name: 'antiphon-name', value: 'Mira' }, { name: 'antiphon-color', value: '224108117' }];
    const context = await h.context({ ...options, storageState: { cookies: [], origins: [{ origin: server.url, localStorage }] } });
    const room = await h.page(server, '/r/greenhouse', { in: context });
    await room.getByText('so that it stays').waitFor();
    await room.screenshot({ path: `${IMAGES}room-${look}.png` });

    const monitor = await h.page(server, '/monitor', { in: context });
    if (look !== 'phone') await monitor.setViewportSize({ width: 1440, height: MONITOR_HEIGHT });
    await monitor.getByText('What do the tomatoes need').first().waitFor();
    await monitor.screenshot({ path: `${IMAGES}monitor-${look}.png` });
    if (look !== 'light') continue;

    await monitor.getByText('What do the tomatoes need').first().click();
    await monitor.locator('dialog[open] svg, dialog[open] .bar').first().waitFor();
    await monitor.screenshot({ path: `${IMAGES}monitor-message.png` });

    const then = await h.page(server, `/r/greenhouse?at=${heat.position}`, { in: context });
    await then.getByText('How hot will it get').first().waitFor();
    await then.screenshot({ path: `${IMAGES}look-back.png` });
  }
  await answer.finish();
});
