// Markdown that grows: however a text is cut, the page ends as if it had come at once; and it ends soon.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { INLINE_MAX } from '../../../web/parts/markdown/inline.js';
import { ELEMENTS_MAX, Growing, TEXT_MAX } from '../../../web/parts/markdown/growing.js';
import { pair } from '../../../web/parts/markdown/spans.js';
import { Markdown, plain } from '../../../web/parts/markdown.js';
import { FakeElement, fakeDocument } from './fake-document.js';

/** @param {number} seed */
function random(seed) {
  return (/** @type {number} */ below) => {
    seed = (seed * 1_103_515_245 + 12_345) & 0x7fffffff;
    return Math.floor((seed / 0x80000000) * below);
  };
}

const PIECES = [
  'word', ' ', ' ', '\n', '\n', '\n\n', '*', '**', '_', '~~', '`', '```', '~~~', '\n```js\n', '\n```\n', '# ', '\n## ', '- ', '\n- ', '\n  - ', '\n1. ', '> ',
  '\n> ', '\n===\n', '\n---\n', '\n---', '[', ']', '](', '(', ')', '[a](https://b.example)', '![', '<', '>', '<https://c.example>', 'https://d.example/e)', '&amp;', '&', '\\', '|',
  '\n| a | b |\n|--|:-:|\n| c | d |\n', ' | ', '\n|-|-|\n', '    ', '\t', '\r\n', '- [ ] ', '- [x] ', '😀', 'שלום', '\u0000', '=', '2', '.',
];

/** @param {(below: number) => number} pick @param {number} count */
const someText = (pick, count) => Array.from({ length: count }, () => PIECES[pick(PIECES.length)]).join('');

function page() {
  const element = new FakeElement('div');
  return { element, markdown: new Markdown(/** @type {any} */ (element), fakeDocument) };
}

/** @param {string} text */
function atOnce(text) {
  const { element, markdown } = page();
  markdown.finish(text);
  return element;
}

test('a text that came in pieces looks as if it had come at once', () => {
  for (let seed = 1; seed <= 400; seed += 1) {
    const pick = random(seed);
    const text = someText(pick, 1 + pick(60));
    const { element, markdown } = page();
    for (let at = 0; at < text.length; at += 1 + pick(9)) markdown.set(text.slice(0, at));
    markdown.set(text);
    markdown.finish();
    assert.equal(`${element}`, `${atOnce(text)}`, `seed ${seed}: ${JSON.stringify(text)}`);
  }
});

test('a text that is another one is shown anew', () => {
  const { element, markdown } = page();
  markdown.set('# One\n\ntwo\n\n- three\n');
  markdown.set('another *text*');
  assert.equal(`${element}`, `${atOnce('another *text*')}`);
});

test('what did not change keeps its nodes', () => {
  const { element, markdown } = page();
  markdown.set('# Title\n\n- one\n- two\n\n```\ncode\n');
  const [title, list] = element.children;
  const first = element.all('li')[0];
  const code = element.all('code')[0].firstChild;
  markdown.set('# Title\n\n- one\n- two\n\n```\ncode\nmore code\n```\nwords *and');
  markdown.set('# Title\n\n- one\n- two\n\n```\ncode\nmore code\n```\nwords *and* more');
  assert.equal(element.children[0], title);
  assert.equal(element.children[1], list);
  assert.equal(element.all('li')[0], first);
  assert.equal(element.all('code')[0].firstChild, code, 'a selection in growing code stays');
  assert.equal(element.all('code')[0].text, 'code\nmore code');
});

test('a growing paragraph keeps the text node that it began with', () => {
  const { element, markdown } = page();
  markdown.set('some words');
  const node = element.all('p')[0].firstChild;
  markdown.set('some words and more and `code');
  markdown.set('some words and more and `code` after');
  assert.equal(element.all('p')[0].firstChild, node);
});

test('a last line that may become anything is held back until the text is whole', () => {
  const { element, markdown } = page();
  markdown.set('words\n-');
  assert.equal(element.text, 'words');
  assert.equal(element.all('p').length, 1, 'no title yet');
  markdown.set('words\n- item');
  assert.equal(element.all('li').length, 1);
  markdown.finish('words\n-');
  assert.equal(element.all('h4').length, 1);
});

test('an unclosed fence is code, half a link and half a mark are text', () => {
  assert.equal(atOnce('```rust\nfn main() {').all('pre').length, 1);
  assert.equal(atOnce('see [this](https://exam').all('a').length, 1, 'only the bare address');
  assert.equal(atOnce('**bold').text, '**bold');
});

const KIB_64 = 64 * 1024;
/** @type {Record<string, string>} */
const ADVERSARIAL = {
  'stars': '*', 'stars and words': '*a ', 'stars around words': '*a*', 'words in stars': '**a *b ', 'closers': 'a* ', 'three kinds': '*a _b ~~c ',
  'underscores': '_a_b', 'opening brackets': '[', 'closing brackets': ']', 'bracket pairs': '[]', 'links that do not end': '[a](', 'links in links': '[a](b',
  'images': '![', 'pointed targets': '[a](<b', 'titles': '[a](b "c', 'titles in brackets': '[a](b (c', 'backticks': '`', 'backticks of many lengths': '` `` ``` ',
  'quotes': '> ', 'quotes without blanks': '>', 'lists': '- ', 'lists in lists': '- a\n  ', 'numbers': '1. ', 'quotes and lists': '> - ', 'fences': '```\n', 'pointed': '<a:', 'entities': '&#', 'addresses': 'https://',
  'address and brackets': 'https://a.b/)', 'backslashes': '\\', 'bars': '|', 'cells': '|a', 'lines': '\n', 'short lines': 'a\n', 'short paragraphs': 'a\n\n', 'blanks': ' ', 'tabs': '\t', 'rules': '---\n', 'titles by hashes': '# a\n', 'tildes': '~~a~~',
  'task': '- [ ] ', 'rule that is none': '- - - x', 'delimiter rows': 'a|b\n-|-\n', 'emoji': '😀*',
};

for (const [name, piece] of Object.entries(ADVERSARIAL)) {
  test(`64 KiB of ${name} take little time and stay within bounds`, () => {
    const text = piece.repeat(Math.ceil(KIB_64 / piece.length)).slice(0, KIB_64);
    new Growing().read(text, true); // compiled
    const best = Math.min(...[1, 2, 3].map(() => timed(() => atOnce(text))));
    assert.ok(best < 250, `${best.toFixed(1)} ms`);
    assert.ok(atOnce(text).depth < 60);
  });
}

test('marks that find no other half are looked for once', () => {
  const mark = (/** @type {string} */ char, /** @type {boolean} */ opens) => ({ type: /** @type {const} */ ('mark'), char, length: 1, opens, closes: !opens });
  const marks = [...Array.from({ length: 50_000 }, () => mark('*', true)), ...Array.from({ length: 50_000 }, () => mark('_', false))];
  assert.ok(timed(() => pair(marks)) < 500);
});

test('a long text in many frames costs what is new in each, not the text', () => {
  const text = 'some **bold** words with `code` in a paragraph\n\n'.repeat(2_000);
  const { markdown } = page();
  const took = timed(() => {
    for (let at = 0; at < text.length; at += 50) markdown.set(text.slice(0, at));
  });
  assert.ok(took < 3_000, `${took.toFixed(0)} ms`);
});

/** Milliseconds of the processor, whatever else the machine does. @param {() => void} run */
function timed(run) {
  const began = process.cpuUsage();
  run();
  const { user, system } = process.cpuUsage(began);
  return (user + system) / 1_000;
}

test('nested spans, quotes and lists stay shallow', () => {
  for (const piece of ['*a **b ', '> ', '- ', '[', '1. ']) {
    const closing = piece === '*a **b ' ? 'c** d* '.repeat(2_000) : '';
    assert.ok(atOnce(piece.repeat(2_000) + closing).depth < 60, piece);
  }
});

test('a table with too many columns is text', () => {
  const wide = (/** @type {string} */ cell) => `|${cell}`.repeat(1_000);
  assert.equal(atOnce(`${wide('a')}\n${wide('-')}\n${wide('b')}`).all('table').length, 0);
});

test('what is beyond the bounds is plain text, and nothing is lost', () => {
  const line = 'some **words** here\n\n';
  const text = line.repeat(Math.ceil((TEXT_MAX * 4) / line.length));
  const element = atOnce(text);
  assert.equal(element.children.length, TEXT_MAX / line.length + 1 + (TEXT_MAX % line.length ? 1 - ((TEXT_MAX / line.length) % 1) : 0));
  assert.ok(element.text.endsWith(line), 'the end is there, as it was written');
  const many = '- a\n'.repeat(ELEMENTS_MAX);
  assert.ok(atOnce(many).all('li').length <= ELEMENTS_MAX / 2 + 1);
  const long = '*a* '.repeat(INLINE_MAX);
  assert.equal(atOnce(long).all('em').length, INLINE_MAX / 4);
  assert.ok(atOnce(long).text.endsWith('*a* *a*'));
});

test('a text that grows beyond the bounds grows in its last node', () => {
  const { element, markdown } = page();
  const text = 'a line of words\n'.repeat((TEXT_MAX * 2) / 16);
  markdown.set(text);
  const last = element.children.at(-1);
  markdown.set(`${text}and more`);
  assert.equal(element.children.at(-1), last);
  assert.ok(element.text.endsWith('and more'));
});

test('plain gives the words on one line', () => {
  assert.equal(plain('# Title\n\nsome **bold** [link](https://a.example) and `code`\n\n- one\n- two\n\n```\nx = 1\n```'), 'Title some bold link and code one two x = 1');
});
