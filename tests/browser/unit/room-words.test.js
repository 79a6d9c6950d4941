// The room's small decisions: status lines, the banner, keys, unread messages, sentences, what is kept.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { sentencesEnd } from '../../../web/room/announce.js';
import { bytesOf, lengthWords } from '../../../web/room/composer.js';
import { deedOf } from '../../../web/room/keys.js';
import { newItem } from '../../../web/room/model.js';
import { namesFor, writtenName } from '../../../web/room/names.js';
import { hasUnread, listed, slugOf } from '../../../web/room/rooms.js';
import { bannerOf, statusOf, titleOf, tookWords } from '../../../web/room/status.js';
import { keptBy } from '../../../web/room/storage.js';
import { Unread } from '../../../web/room/unread.js';
import { isVisible } from '../../../web/room/visible.js';
import { loadWho, nameFault, saveWho, takenFault } from '../../../web/room/who.js';

/** @typedef {import('../../../web/room/model.js').Item} Item */
/** @typedef {import('../../../web/room/model.js').Message} Message */

const NOW = Date.parse('2026-03-01T10:00:10Z');

/** @param {Partial<Message>} message @param {Partial<Item>} [more] @returns {Item} */
function item(message, more = {}) {
  const whole = { id: 'q', room: 'lobby', author: { name: 'Ada', kind: 'human' }, text: '', at: '2026-03-01T10:00:00Z', reply_to: null, position: '1', status: 'none', ...message };
  return { ...newItem(/** @type {Message} */ (whole)), ...more };
}

const reply = /** @type {Message} */ ({ ...item({}).message, id: 'r', at: '2026-03-01T10:00:04.200Z', model: 'm', total_ms: 1_500 });
const draft = { replyId: 'r', bot: 'eliza', text: 'some words', next: 2, since: NOW - 5_000, last: NOW - 3_000, words: 24 };

test('one honest line says where each answer stands, and what can be done', () => {
  const claim = { worker: 'gpu-2', bot: 'eliza', at: '' };
  /** @type {[Item, string, string[]][]} */
  const said = [
    [item({ status: 'none' }), '', []],
    [item({ status: 'waiting' }), 'queued', ['stop']],
    [item({ status: 'waiting' }, { stage: { stage: 'queued', ahead: 2 } }), 'queued as number 3', ['stop']],
    [item({ status: 'claimed' }, { claim }), 'claimed by gpu-2', ['stop']],
    [item({ status: 'claimed' }), 'claimed', ['stop']],
    [item({ status: 'claimed' }, { claim, stage: { stage: 'loading-model', progress: 0.4 } }), 'loading model 40 %', ['stop']],
    [item({ status: 'claimed' }, { claim, stage: { stage: 'reading-prompt' } }), 'reading', ['stop']],
    [item({ status: 'claimed' }, { claim, draft: { ...draft, last: NOW - 4_500 } }), 'writing', ['stop']],
    [item({ status: 'claimed' }, { claim, draft }), 'writing · 12 words/s', ['stop']],
    [item({ status: 'answered' }, { replies: [reply] }), '[human → AI reply: 4.2 s]', ['regenerate']],
    [item({ status: 'waiting', bot: 'eliza' }, { failure: { reason: 'model-unreachable: nobody answers at http://10.0.0.7:11434', retryAt: '2026-03-01T10:00:18Z', attempt: 1 } }), 'eliza cannot be reached right now · next try in 8 s', ['stop']],
    [item({ status: 'waiting', bot: 'eliza' }, { failure: { reason: 'model-busy: 503', retryAt: '2026-03-01T10:00:18Z', attempt: 1, away: true } }), 'waiting: eliza is busy or still starting · next try in 8 s', ['stop']],
    [item({ status: 'failed', bot: 'eliza', reason: 'model-key: 401 at https://key@internal' }), 'no answer: eliza is not set up correctly; please tell the operator', ['retry']],
    [item({ status: 'failed', reason: 'Traceback (most recent call last)' }), 'no answer: the bot could not answer', ['retry']],
    [item({ status: 'dead', reason: 'too-old' }), 'no answer: the question waited too long', ['retry']],
    [item({ status: 'dead', bot: 'eliza', reason: 'attempts-used-up: model-unreachable: nobody answers at http://10.0.0.7' }), 'no answer: eliza cannot be reached right now (tried several times)', ['retry']],
    [item({ status: 'cancelled' }), 'stopped', ['retry']],
    [item({ status: 'answered' }, { replies: [reply], error: 'Too late.' }), '[human → AI reply: 4.2 s] (Too late.)', ['regenerate']],
  ];
  for (const [state, text] of /** @type {const} */ ([['no-worker', 'waiting: no worker for eliza is connected'], ['paused', 'waiting: eliza is unavailable at the moment'], ['ready', 'queued as number 1']])) {
    const waits = item({ status: 'waiting', bot: 'eliza' }, { stage: { stage: 'queued', ahead: 0 } });
    assert.equal(statusOf(waits, NOW, new Map([['eliza', { state }]])).text, text);
  }
  for (const [one, text, actions] of said) {
    const status = statusOf(one, NOW);
    assert.deepEqual([status.text, status.actions], [text, actions]);
  }
});

test('a post that is not in the log says so, and can be tried again or discarded once it failed', () => {
  const post = { id: 'q', room: 'lobby', body: { id: 'q', text: '', author: { name: 'Ada' } }, at: '', why: '', code: '', tries: 0, position: '', kept: true };
  const status = (/** @type {object} */ more) => statusOf(item({}, { pending: { ...post, state: 'pending', ...more } }), NOW);
  assert.equal(status({ state: 'sending' }).text, 'sending');
  assert.equal(status({}).text, 'not sent yet; it goes out by itself');
  assert.equal(status({ state: 'parked' }).text, 'kept by the server until its storage is back');
  assert.deepEqual(status({ state: 'failed', why: 'The text is too long.' }), { text: 'not sent: The text is too long.', tone: 'bad', actions: ['edit', 'again', 'discard'] });
  const detail = '`text` has 17000 bytes, and 16384 are allowed; post it in parts.';
  assert.equal(status({ state: 'failed', why: detail, code: 'text-too-long' }).text, 'not sent: This message is too long.');
  assert.equal(status({ position: 'p' }).text, 'sent');
});

test('a second answer counts from its own claim, not from the question', () => {
  const two = item({ status: 'answered' }, { replies: [reply, { ...reply, id: 'r2', at: '2026-03-01T12:00:00Z' }] });
  assert.equal(tookWords(two, 0), '[human → AI reply: 4.2 s]');
  assert.equal(tookWords(two, 1), '[asked again → AI reply: 1.5 s]');
});

test('a break of the connection is spoken of after two seconds, with when it is tried again', () => {
  const connection = { state: /** @type {const} */ ('broken'), since: NOW, retryAt: NOW + 5_000, online: true, store: /** @type {const} */ ('connected'), reason: null, parked: 0, shared: false, leader: true };
  assert.equal(bannerOf(connection, NOW + 1_900), null);
  assert.match(bannerOf(connection, NOW + 2_000)?.text ?? '', /connection is lost; trying again in 3 s\. What you send is kept/);
  assert.match(bannerOf({ ...connection, online: false }, NOW + 2_000)?.text ?? '', /offline/);
  assert.match(bannerOf({ ...connection, state: 'busy' }, NOW + 2_000)?.text ?? '', /busy/);
  assert.equal(bannerOf({ ...connection, state: 'live' }, NOW + 9_000), null);
  assert.match(bannerOf({ ...connection, state: 'live', store: 'degraded', parked: 1 }, NOW)?.text ?? '', /1 message waits/);
  assert.equal(bannerOf({ ...connection, state: 'live', store: 'refusing', reason: 'It is empty.' }, NOW)?.tone, 'bad');
});

test('the title counts what is unread', () => {
  assert.deepEqual([titleOf('lobby', 0), titleOf('lobby', 3), titleOf('lobby', 100)], ['lobby · Antiphon', '(3) lobby · Antiphon', '(99+) lobby · Antiphon']);
});

test('a key means what its place makes of it', () => {
  const key = (/** @type {string} */ name, more = {}) => ({ key: name, shiftKey: false, ctrlKey: false, metaKey: false, altKey: false, isComposing: false, ...more });
  const composer = { place: /** @type {const} */ ('composer'), empty: true, quoting: false };
  assert.equal(deedOf(key('Enter'), composer), 'send');
  assert.equal(deedOf(key('Enter', { shiftKey: true }), composer), null);
  assert.equal(deedOf(key('Enter', { isComposing: true }), composer), null);
  assert.equal(deedOf(key('Enter'), { ...composer, touch: true }), null, 'a keyboard on the screen has no other way to a new line');
  assert.equal(deedOf(key('Enter', { ctrlKey: true }), { ...composer, touch: true }), 'send');
  assert.equal(deedOf(key('ArrowUp'), composer), 'edit-last');
  assert.equal(deedOf(key('ArrowUp'), { ...composer, empty: false }), null);
  assert.equal(deedOf(key('?'), composer), null);
  assert.equal(deedOf(key('Escape'), composer), 'stop');
  assert.equal(deedOf(key('Escape'), { ...composer, quoting: true }), 'drop-quote');
  const on = (/** @type {import('../../../web/room/keys.js').Where['place']} */ place, /** @type {string} */ name, more = {}) => deedOf(key(name, more), { place, empty: true, quoting: false });
  assert.equal(on('page', '?'), 'help');
  assert.equal(on('page', '/'), 'compose');
  assert.equal(on('log', 'ArrowUp'), 'up');
  assert.equal(on('message', 'r'), 'reply');
  assert.equal(on('message', 'c', { ctrlKey: true }), null);
  assert.equal(on('page', 'r'), null);
  assert.equal(on('field', 'Escape'), null);
});

test('what is not seen is counted and divided from what was, but not what one says oneself', () => {
  const unread = new Unread();
  const place = (/** @type {Message} */ { id }) => (id.startsWith('own') ? null : id);
  const come = (/** @type {string[]} */ ids, /** @type {boolean} */ watched) => unread.came(ids.map((id) => ({ ...reply, id })), watched, place);
  assert.deepEqual(come(['a'], true), []);
  assert.deepEqual(come(['own1', 'b', 'c'], false), ['b']);
  assert.deepEqual([unread.count, unread.from], [2, 'b']);
  unread.seen();
  assert.deepEqual([unread.count, unread.from], [0, 'b']); // the divider stays until there is another
  assert.deepEqual(come(['d'], false), ['b', 'd']);
  assert.deepEqual([unread.clear(), unread.count, unread.from], [['d'], 0, null]);
});

test('a text that nears its bound says how much is left, and one beyond it is a fault, in bytes as the server counts', () => {
  assert.deepEqual(lengthWords(bytesOf('a'.repeat(799)), 1_000), { left: '', fault: '' });
  assert.deepEqual(lengthWords(bytesOf('ü'.repeat(400)), 1_000), { left: '200 left', fault: '' });
  assert.deepEqual(lengthWords(1_000, 1_000), { left: '0 left', fault: '' });
  assert.deepEqual(lengthWords(18_500, 16_384), { left: '2,116 too long', fault: 'This message is too long by 2,116 bytes. Shorten it, or send it in parts.' });
});

test('a text or a name of which nothing is seen is empty', () => {
  for (const nothing of ['', ' \n\t', '\u200b', '\u2066\u2069', '\u202e\u00ad', '\u3164', '\u2800', '\ufe0f', '\u{e0061}']) assert.equal(isVisible(nothing), false, JSON.stringify(nothing));
  for (const something of ['a', '.', '👩‍🚀', 'ـ', '\u202eabc', '中']) assert.equal(isVisible(something), true, something);
  assert.equal(nameFault('\u200b\u2060'), 'Please give a name.');
});

test('whole sentences are read out, never half ones', () => {
  assert.equal(sentencesEnd('It is 4.5 m', 0), 0);
  assert.equal('It is so. Not'.slice(0, sentencesEnd('It is so. Not', 0)), 'It is so.');
  assert.equal(sentencesEnd('It is so. Not', 9), 9);
  assert.equal('One. "Two!" Thr'.slice(0, sentencesEnd('One. "Two!" Thr', 4)), 'One. "Two!"');
});

test('name and colour are kept; the nine digits of the older systems are understood', () => {
  const kept = new Map([['antiphon-name', 'Ada'], ['antiphon-color', '128192255']]);
  const storage = { getItem: (/** @type {string} */ key) => kept.get(key) ?? null, setItem: (/** @type {string} */ key, /** @type {string} */ value) => void kept.set(key, value), removeItem() {} };
  assert.deepEqual(loadWho(storage), { name: 'Ada', color: '#80c0ff' });
  saveWho(storage, { name: 'Grace', color: '#102030' });
  assert.deepEqual(loadWho(storage), { name: 'Grace', color: '#102030' });
  kept.clear();
  assert.equal(loadWho(storage), null);
  assert.notEqual(nameFault('  '), '');
  assert.notEqual(nameFault('a\u0007'), '');
  assert.notEqual(nameFault('ü'.repeat(65)), '');
  assert.equal(nameFault('Ångström 3'), '');
});

test('nobody takes the name of a bot, or one that looks like it', () => {
  for (const name of ['poet', 'Poet', 'p o\u200bet', 'ｐｏｅｔ']) assert.notEqual(takenFault(name, ['ada', 'poet']), '', name);
  assert.equal(takenFault('poetess', ['ada', 'poet']), '');
});

test('a browser that refuses storage, or has no more of it, still keeps things as long as the page is open', () => {
  const refused = keptBy(() => { throw new Error('SecurityError'); });
  refused.setItem('a', '1');
  assert.equal(refused.getItem('a'), '1');
  refused.removeItem('a');
  assert.equal(refused.getItem('a'), null);
});

test('what is no name of a room leads to the nearest one', () => {
  for (const [words, slug] of [['my room', 'my-room'], [' Café  Zoë! ', 'Cafe-Zoe'], ['a/b?c', 'a-b-c'], ['v1.2_x~y', 'v1.2_x~y'], ['日本', ''], ['..', ''], ['', ''], ['x'.repeat(200), 'x'.repeat(128)]]) assert.equal(slugOf(/** @type {string} */ (words)), slug);
});

test('a name is written from its @ on, not within a word or a mail address', () => {
  assert.deepEqual(writtenName('@po', 3), { from: 0, words: 'po' });
  assert.deepEqual(writtenName('ask @po and more', 7), { from: 4, words: 'po' });
  assert.deepEqual(writtenName('(@', 2), { from: 1, words: '' });
  assert.equal(writtenName('ann@po', 6), null);
  assert.equal(writtenName('@po et', 6), null);
  const bots = ['ada', 'Poet', 'poem'].map((name) => ({ name, color: null, model: null, state: /** @type {const} */ ('ready'), waiting: 0 }));
  assert.deepEqual(namesFor(bots, 'po').map(({ name }) => name), ['Poet', 'poem']);
});

test('rooms are listed by when something was last said; one that was never read has nothing unread', () => {
  const room = (/** @type {string} */ name, /** @type {string} */ at, n = 5) => ({ room: name, messages: 1, last_at: at, position: `${'e'.repeat(16)}-00-${n}` });
  const rooms = [room('alpha', '2026-01-01T00:00:00Z'), room('beta', '2026-01-03T00:00:00Z'), room('Alphabet', '2026-01-02T00:00:00Z')];
  const names = (/** @type {string} */ words) => listed(rooms, words).shown.map((one) => one.room);
  assert.deepEqual(names(''), ['beta', 'Alphabet', 'alpha']);
  assert.deepEqual(names(' alph '), ['Alphabet', 'alpha']);
  assert.deepEqual(names('alpha'), ['alpha', 'Alphabet'], 'the very name comes first');
  assert.deepEqual([listed(rooms, 'alph').fresh, listed(rooms, 'alpha').fresh, listed(rooms, '').fresh], ['alph', '', '']);
  const many = listed(Array.from({ length: 130 }, (_, at) => room(`r${at}`, '2026-01-01T00:00:00Z')), '');
  assert.deepEqual([many.shown.length, many.more], [100, 30]);
  const seen = (/** @type {string | null} */ position) => ({ getItem: () => position, setItem() {}, removeItem() {} });
  assert.equal(hasUnread(room('a', '', 5), seen(null)), false);
  assert.equal(hasUnread(room('a', '', 5), seen(`${'e'.repeat(16)}-00-4`)), true);
  assert.equal(hasUnread(room('a', '', 5), seen(`${'e'.repeat(16)}-00-5`)), false);
  assert.equal(hasUnread(room('a', '', 5), seen(`${'d'.repeat(16)}-00-4`)), false);
});
