// What Markdown means here: blocks, spans, and what must never come out of a text.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { safe } from '../../../web/parts/markdown/address.js';
import { Markdown } from '../../../web/parts/markdown.js';
import { FakeElement, fakeDocument } from './fake-document.js';

/** @param {string} text @returns {FakeElement} */
function shown(text) {
  const element = new FakeElement('div');
  new Markdown(/** @type {any} */ (element), fakeDocument).finish(text);
  return element;
}

/** The elements and their texts, without attributes. @param {string} text */
const tags = (text) => shown(text).children.join('').replaceAll(/ [\w-]+="(?:[^"\\]|\\.)*"/g, '').replaceAll('"', '');

/** @type {[string, string, string][]} what it is, text, elements */
const MEANS = [
  ['paragraphs', 'one\n\ntwo', '<p>one</p><p>two</p>'],
  ['a line break stays one', 'one\ntwo', '<p>one\\ntwo</p>'],
  ['titles begin below those of the page', '# one\n###### two ##', '<h3>one</h3><h6>two</h6>'],
  ['a line of = makes a title of what is above it', 'one\n===', '<h3>one</h3>'],
  ['seven hashes and a hash without a blank are text', '####### a\n#b', '<p>####### a\\n#b</p>'],
  ['a rule', 'a\n\n* * *\nb', '<p>a</p><hr></hr><p>b</p>'],
  ['a quote goes on without its mark', '> one\ntwo\n\nthree', '<blockquote><p>one\\ntwo</p></blockquote><p>three</p>'],
  ['lists within lists', '- a\n  - b\n- c', '<ul><li><p>a</p><ul><li><p>b</p></li></ul></li><li><p>c</p></li></ul>'],
  ['another mark begins another list', '- a\n+ b', '<ul><li><p>a</p></li></ul><ul><li><p>b</p></li></ul>'],
  ['code in an item', '1. a\n   ```\n   b\n   ```', '<ol><li><p>a</p><figure><figcaption><span>text</span><button>Copy</button></figcaption><pre><code>b</code></pre></figure></li></ol>'],
  ['a number other than 1 does not cut a paragraph', 'In the year\n1999. it was', '<p>In the year\\n1999. it was</p>'],
  ['a table', '| a | b |\n|---|:-:|\n| `c` | d\\|e |\nf', '<div><table><thead><tr><th>a</th><th>b</th></tr></thead><tbody><tr><td><code>c</code></td><td>d|e</td></tr><tr><td>f</td><td></td></tr></tbody></table></div>'],
  ['a table after a line of text', 'words\na | b\n--|--', '<p>words</p><div><table><thead><tr><th>a</th><th>b</th></tr></thead><tbody></tbody></table></div>'],
  ['bars without a line of dashes are text', 'a | b\nc | d', '<p>a | b\\nc | d</p>'],
  ['emphasis', '*a* __b__ ***c*** ~~d~~', '<p><em>a</em> <strong>b</strong> <em><strong>c</strong></em> <del>d</del></p>'],
  ['underscores within a word, single tildes and sums are text', 'snake_case_name ~5 2 * 3 * 4', '<p>snake_case_name ~5 2 * 3 * 4</p>'],
  ['emphasis across a link does not tear it', '*foo [bar* baz](https://a.example)*', '<p><em>foo <a>bar* baz</a></em></p>'],
  ['code spans', '`` a`b `` `c*d*`', '<p><code>a`b</code> <code>c*d*</code></p>'],
  ['escapes and entities', '\\*a\\* &amp; &#65; &nope;', '<p>*a* & A &nope;</p>'],
  ['an address in a sentence', 'See https://a.example/b_(c)_d, or (https://e.example).', '<p>See <a>https://a.example/b_(c)_d</a>, or (<a>https://e.example</a>).</p>'],
  ['an address without http', 'See www.a.example/x. Not awww.a.example', '<p>See <a>www.a.example/x</a>. Not awww.a.example</p>'],
  ['a mail address', 'Write to ann_b+c@mail.a.example, not to me@home or @ann.', '<p>Write to <a>ann_b+c@mail.a.example</a>, not to me@home or @ann.</p>'],
  ['an address in bold', '**https://a.example**', '<p><strong><a>https://a.example</a></strong></p>'],
  ['a link whose text is an address is one link', '[https://a.example](https://b.example)', '<p><a>https://a.example</a></p>'],
  ['a link around an image is one link', '[![alt](https://a.example/i.png)](https://b.example)', '<p><a>alt</a></p>'],
  ['a mail address in angles', '<me@a.example>', '<p><a>me@a.example</a></p>'],
  ['emoji and combined characters', '**👩‍👩‍👧** e\u0301', '<p><strong>👩‍👩‍👧</strong> e\u0301</p>'],
];

for (const [name, text, expected] of MEANS) test(`Markdown: ${name}`, () => assert.equal(tags(text), expected));

test('a blank line between items, and only there, gives a list space', () => {
  const classes = (/** @type {string} */ text) => shown(text).all('ul').map((list) => list.attributes.get('class'));
  assert.deepEqual(classes('- a\n- b\n\nc'), ['tight']);
  assert.deepEqual(classes('- a\n\n- b'), ['loose']);
  assert.deepEqual(classes('- a\n\n  b\n- c'), ['loose']);
  assert.deepEqual(classes('- a\n  - b\n\n  - c\n- d'), ['tight', 'loose']);
  assert.deepEqual(classes('> - a\n>\n> - b\n\n- a\n  > b\n  >\n- c'), ['loose', 'tight']);
});

test('a task says whether it is done', () => {
  const [todo, done] = shown('- [ ] a\n- [x] b').all('li').map((item) => item.attributes.get('class'));
  assert.deepEqual([todo, done], ['task', 'task done']);
});

test('code keeps its blanks and tabs, and says its language', () => {
  const block = shown('```make\nall:\n\techo  hi\n\n```');
  assert.equal(block.all('code')[0].text, 'all:\n\techo  hi\n');
  assert.equal(block.all('span')[0].text, 'make');
  assert.ok(block.all('button')[0].attributes.has('data-copy'));
});

test('HTML is text', () => {
  const text = '<script>alert(1)</script>\n\n<img src=x onerror=alert(1)>\n\n<div onclick="x">\n</div> <!-- --> <a href="javascript:x">y</a> &lt;script&gt;';
  const page = shown(text);
  assert.deepEqual(new Set(page.children.map((child) => child instanceof FakeElement && child.tag)), new Set(['p']));
  assert.equal(page.all('a').length + page.all('img').length + page.all('script').length, 0);
  assert.ok(page.text.startsWith('<script>alert(1)</script>'));
});

const SCRIPT = 'javascript';
const UNSAFE = [
  `${SCRIPT}:alert(1)`, `${'JaVaScRiPt'}:alert(1)`, ' javascript:alert(1)', 'java\tscript:alert(1)', 'java&#10;script:alert(1)', 'javascript&colon;alert(1)', '&#106;avascript:alert(1)',
  '&#x6A;avascript&#58;alert(1)', '\\javascript:alert(1)', 'javascript\\:alert(1)', '\u0001javascript:alert(1)', '\u0000javascript:alert(1)', 'data:text/html,<b>', 'data:text/html;base64,PHNjcmlwdD4=',
  'vbscript:x', 'file:///etc/passwd', 'blob:https://a.example/x', 'about:blank', 'view-source:https://a.example', 'filesystem:https://a.example/x', '//a.example', '/api/rooms', '#a', '../x', 'https://bank.example@evil.example',
  'https://bank.example:pw@evil.example', 'https://[', `https://a.example/${'a'.repeat(3_000)}`,
];

test('links go to http, https and mailto only, however the rest is written', () => {
  for (const address of UNSAFE) {
    for (const text of [`[x](${address})`, `[x](<${address}>)`, `![x](${address})`, `<${address}>`, `[x](${address} "title")`]) {
      const links = shown(text).all('a').map((link) => link.attributes.get('href') ?? '');
      for (const href of links) assert.match(href, /^https:\/\/a\.example\//, `${text} → ${href}`); // only one that stands in the text by itself
    }
    assert.equal(safe(address), null, address);
  }
});

test('a link opens apart, tells nobody where from, and says where it goes', () => {
  const [link] = shown('[bank](HTTPS://EVIL.example/%22%3E"x "title")  [a](https://раураl.example)').all('a').slice(-1);
  assert.equal(link.attributes.get('target'), '_blank');
  assert.equal(link.attributes.get('rel'), 'noopener noreferrer nofollow');
  assert.match(link.attributes.get('title') ?? '', /^https:\/\/xn--/, 'letters that look like others are seen for what they are');
});

test('an image is a link to it: nothing is fetched', () => {
  const page = shown('![a *cat*](https://a.example/cat.png)');
  assert.equal(page.all('img').length, 0);
  assert.equal(page.all('a')[0].attributes.get('href'), 'https://a.example/cat.png');
  assert.equal(page.all('a')[0].text, 'a cat');
});

test('attributes come from the text only as addresses, and no handler or style is ever set', () => {
  const page = shown('# a " onclick=x\n\n```js" onload=x\ncode\n```\n\n[a](https://a.example/"onmouseover=x)\n\n| " | b |\n|:--|--|\n\n3. x');
  const names = new Set([...page.toString().matchAll(/ ([\w-]+)="/g)].map(([, name]) => name));
  const known = ['dir', 'data-level', 'class', 'data-copy', 'type', 'tabindex', 'role', 'aria-label', 'href', 'title', 'target', 'rel', 'data-align', 'start'];
  for (const name of names) assert.ok(known.includes(name), name);
});

test('each block finds its own direction, and code in a line goes left to right by itself', () => {
  const page = shown('שלום `code --flag` עולם\n\n- אחת\n- two\n\n> ציטוט');
  assert.equal(page.children.length, 3);
  const [paragraph, , quote] = page.children;
  assert.ok(paragraph instanceof FakeElement && quote instanceof FakeElement);
  assert.equal(paragraph.attributes.get('dir'), 'auto');
  assert.equal(quote.attributes.get('dir'), 'auto');
  assert.deepEqual(page.all('li').map((item) => item.attributes.get('dir')), ['auto', 'auto']);
  assert.equal(page.all('code')[0].attributes.get('dir'), 'ltr');
});
