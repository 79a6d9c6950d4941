// What did not work, in words for people: each code of the bots has a sentence, and no sentence has anything of the operator's.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';

import { errorWords, isKnown, reasonWords, refusalWords } from '../../../web/room/reasons.js';

const MODEL = new URL('../../../consumers/bot/src/model.rs', import.meta.url);

test('every code with which a bot fails has a sentence', async () => {
  const [, codes = ''] = /pub mod codes \{(.*?)\n\}/s.exec(await readFile(MODEL, 'utf8')) ?? [];
  const found = [...codes.matchAll(/: &str = "([a-z-]+)"/g)].map(([, code]) => code ?? '');
  assert.ok(found.length > 8, 'the codes were found');
  assert.deepEqual(found.filter((code) => !isKnown(code)), []);
});

test('a reason is said by its code alone: no address, no key, no words of the model server', () => {
  assert.equal(reasonWords('model-unreachable: nobody answers at http://127.0.0.1:11434; is the model\'s server running?', 'poet'), 'poet cannot be reached right now');
  assert.equal(reasonWords('attempts-used-up: model-timeout: 60 s', 'poet'), 'poet took too long');
  assert.equal(reasonWords('attempts-used-up: no heartbeat from `gpu-2`', 'poet'), 'poet stopped responding');
  assert.equal(reasonWords('my-own-code: /home/ann/model.bin is missing', 'poet'), 'poet could not answer');
  assert.equal(reasonWords('constructor', 'poet'), 'poet could not answer');
  assert.equal(reasonWords(''), 'the bot could not answer');
});

test('a refusal is said by its code; what the page itself says stays as it is', () => {
  assert.equal(refusalWords('unknown-bot', 'There is no bot `x` in this room; GET /api/queues lists the bots.'), 'This bot does not answer in this room.');
  assert.equal(refusalWords('brand-new', '`x` at /api/y.'), 'The server did not accept this (brand-new).');
  assert.equal(refusalWords('toString'), 'The server did not accept this (toString).');
  assert.equal(errorWords({ code: 'unreachable', detail: 'The server cannot be reached.' }), 'The server cannot be reached.');
  assert.equal(errorWords(new Error('100 messages wait to be sent already.')), '100 messages wait to be sent already.');
});
