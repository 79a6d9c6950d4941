// Blocks and spans to elements. What was painted before stays where the tree is the same object, and is changed in place
// where it only grew: selection and scroll positions stay, and a frame costs what changed.
//
// Promises: text is inserted as text; the only attributes whose values come from the text are a link's `href` and `title`
// (an address that address.js found safe). The document is given: a few lines of a fake one are enough for a test.
// Not here: what a click on "Copy" does (copy.js).

import { inline } from './inline.js';

/** @typedef {import('./blocks.js').Block} Block */
/** @typedef {import('./spans.js').Span} Span */
/** @typedef {Partial<Omit<Block, 'type'>> & Partial<Omit<Span, 'type'>> & {type: Block['type']|Span['type']}} Tree */
/** @typedef {Pick<Document, 'createElement'|'createTextNode'>} Maker */
/** @typedef {{tree: Tree, node: Node, body: HTMLElement|null, inner: Painted[]}} Painted  `body`: what `inner` stands in */

const LANGUAGE_MAX = 40; // characters of a code block's label

/**
 * Makes `parent` show `trees` where it showed `before`.
 * @param {Maker} maker @param {Node} parent @param {Painted[]} before @param {Tree[]} trees
 * @param {boolean} top whether these blocks stand in no other one
 * @returns {Painted[]} to be given as `before` the next time
 */
export function paint(maker, parent, before, trees, top = true) {
  const painted = trees.map((tree, at) => {
    const old = before[at];
    if (old?.tree === tree) return old;
    if (old && shape(old.tree) === shape(tree)) return repaint(maker, old, tree);
    const made = make(maker, tree, top);
    if (old) parent.replaceChild(made.node, old.node);
    else parent.appendChild(made.node);
    return made;
  });
  for (const old of before.slice(trees.length)) parent.removeChild(old.node);
  return painted;
}

/** Trees of one shape differ only in what is within them. @param {Tree} tree */
function shape(tree) {
  switch (tree.type) {
    case 'heading': return `heading ${tree.level}`;
    case 'list': return `list ${tree.kind} ${tree.start}`;
    case 'item': return `item ${tree.checked}`;
    case 'code-block': return `code-block ${tree.info}`;
    case 'cell': return `cell ${tree.align} ${tree.head}`;
    case 'link': return `link ${tree.href} ${tree.soft}`;
    default: return tree.type;
  }
}

/** @param {Tree} tree @returns {Tree[]} */
function within(tree) {
  if (tree.spans) return tree.spans;
  if (tree.type === 'table') return tree.blocks?.slice(1) ?? []; // its head is made with it
  return tree.blocks ?? (tree.text === undefined || isPlain(tree) ? [] : inline(tree.text));
}

/** Whether its text is all that it shows. @param {Tree} tree */
const isPlain = ({ type }) => type === 'text' || type === 'code' || type === 'code-block' || type === 'plain';

/** @param {Tree} tree */
const wordsIn = ({ type, text = '' }) => (type === 'code-block' && text.endsWith('\n') ? text.slice(0, -1) : text);

/** @param {Maker} maker @param {Painted} old @param {Tree} tree @returns {Painted} */
function repaint(maker, old, tree) {
  if (isPlain(tree)) {
    retext(/** @type {Text} */ (old.body?.firstChild ?? old.node), wordsIn(old.tree), wordsIn(tree));
    return { ...old, tree };
  }
  if (tree.type === 'list') loosen(/** @type {HTMLElement} */ (old.node), tree);
  return { ...old, tree, inner: old.body ? paint(maker, old.body, old.inner, within(tree), false) : [] };
}

/** What is there stays, so that a selection does. @param {Text} node @param {string} old @param {string} text */
function retext(node, old, text) {
  if (old === text) return;
  if (text.startsWith(old)) node.appendData(text.slice(old.length));
  else node.data = text;
}

/** @param {HTMLElement} node @param {Tree} tree */
const loosen = (node, tree) => node.setAttribute('class', tree.loose ? 'loose' : 'tight');

/** @param {Maker} maker @param {Tree} tree @param {boolean} top @returns {Painted} */
function make(maker, tree, top) {
  if (tree.type === 'text') return { tree, node: maker.createTextNode(tree.text ?? ''), body: null, inner: [] };
  const { node, body, auto = false } = element(maker, tree);
  if (isPlain(tree)) body.appendChild(maker.createTextNode(wordsIn(tree)));
  const inner = isPlain(tree) ? [] : paint(maker, body, [], within(tree), false);
  // Last: with it, a browser looks through all of the text with each node that is added, until it finds a letter.
  if (auto || (top && node === body)) node.setAttribute('dir', 'auto');
  return { tree, node, body, inner };
}

/**
 * An element and, within it or itself, the one for its text or its children; `auto` if it finds its own direction
 * wherever it stands. The first words of a quote or an item say which way it goes, so what is in it has no `dir`.
 * @param {Maker} maker @param {Tree} tree @returns {{node: HTMLElement, body: HTMLElement, auto?: boolean}}
 */
function element(maker, tree) {
  /** @type {El} */
  const el = (tag, attributes = {}) => {
    const made = maker.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    return made;
  };
  const itself = (/** @type {HTMLElement} */ node, auto = false) => ({ node, body: node, auto });
  switch (tree.type) {
    case 'heading': return itself(el(`h${Math.min((tree.level ?? 1) + 2, 6)}`, { 'data-level': `${tree.level}` }));
    case 'quote': return itself(el('blockquote'), true);
    case 'list': return itself(list(el, tree));
    case 'item': return itself(item(el, tree), true);
    case 'code-block': return codeBlock(el, maker, tree);
    case 'rule': return itself(el('hr'));
    case 'table': return table(el, maker, tree);
    case 'row': return itself(el('tr'));
    case 'cell': return itself(el(tree.head ? 'th' : 'td', tree.align ? { 'data-align': tree.align } : {}), true);
    case 'plain': return itself(el('div', { class: 'plain' }));
    case 'code': return itself(el('code', { dir: 'ltr' }));
    case 'link': return itself(el('a', link(tree)));
    case 'em': case 'strong': case 'del': return itself(el(tree.type));
    default: return itself(el('p'));
  }
}

/** @typedef {(tag: string, attributes?: Record<string, string>) => HTMLElement} El */

/** @param {El} el @param {Tree} tree */
function list(el, tree) {
  const ordered = tree.kind === '.' || tree.kind === ')';
  const made = el(ordered ? 'ol' : 'ul', ordered && tree.start !== 1 ? { start: `${tree.start}` } : {});
  loosen(made, tree);
  return made;
}

/** The box of a task is drawn by the style sheet. @param {El} el @param {Tree} tree */
function item(el, tree) {
  return el('li', typeof tree.checked === 'boolean' ? { class: tree.checked ? 'task done' : 'task' } : {});
}

/** @param {Tree} tree @returns {Record<string, string>} */
function link({ href = '', soft }) {
  const safe = { href, title: href, target: '_blank', rel: 'noopener noreferrer nofollow' };
  return soft ? { ...safe, dir: 'ltr' } : safe;
}

/** @param {El} el @param {Maker} maker @param {Tree} tree */
function codeBlock(el, maker, tree) {
  const language = (tree.info ?? '').split(/\s/, 1)[0].slice(0, LANGUAGE_MAX);
  const [node, head, label, copy] = [el('figure', { class: 'code' }), el('figcaption'), el('span'), el('button', { type: 'button', 'data-copy': '' })];
  label.appendChild(maker.createTextNode(language || 'text'));
  copy.appendChild(maker.createTextNode('Copy'));
  head.appendChild(label);
  head.appendChild(copy);
  const [pre, body] = [el('pre', { dir: 'ltr', tabindex: '0', role: 'group', 'aria-label': `code, ${language || 'text'}` }), el('code')];
  pre.appendChild(body);
  node.appendChild(head);
  node.appendChild(pre);
  return { node, body };
}

/** @param {El} el @param {Maker} maker @param {Tree} tree */
function table(el, maker, tree) {
  const [node, inside, head, body] = [el('div', { class: 'table', tabindex: '0', role: 'group', 'aria-label': 'table' }), el('table'), el('thead'), el('tbody')];
  if (tree.blocks) paint(maker, head, [], tree.blocks.slice(0, 1), false);
  inside.appendChild(head);
  inside.appendChild(body);
  node.appendChild(inside);
  return { node, body };
}
