// Markdown that grows: an element that shows a text, painted again as often as more of it comes.
//
//   const body = new Markdown(element);
//   body.set('All of the text **so f');    // once per frame, the whole text so far
//   body.finish('All of the text **so far**.');
//
// Promises: `set` costs what came since and the block that is growing; blocks that did not change keep their nodes.
// However the text was cut, `finish` shows what the whole text at once would. Nothing in the text becomes markup, script
// or a request to another host. Bounds: growing.js (text, blocks), blocks.js (nesting), inline.js, spans.js, address.js (within paragraphs).
// Not here: highlighting.

import { copyText } from './markdown/copy.js';
import { Growing } from './markdown/growing.js';
import { inline } from './markdown/inline.js';
import { paint } from './markdown/paint.js';
import { wordsOf } from './markdown/spans.js';

/** @typedef {import('./markdown/blocks.js').Block} Block */

const COPIED_MS = 1_500;
/** What `plain` reads: a title or a notification shows less. */
const PLAIN_MAX = 2_000;

export { copyText };

export class Markdown {
  /**
   * @param {HTMLElement} element is emptied
   * @param {Pick<Document, 'createElement'|'createTextNode'>} [maker] the document, unless it is not the element's own
   */
  constructor(element, maker = element.ownerDocument) {
    element.replaceChildren();
    element.classList.add('markdown');
    element.addEventListener('click', copyClicked);
    this.element = element;
    this.maker = maker;
    this.text = '';
    this.growing = new Growing();
    /** @type {import('./markdown/paint.js').Painted[]} */
    this.painted = [];
  }

  /** @param {string} text all of it so far; a last line of which it is not clear what it will be is not shown yet */
  set(text) {
    this.text = text;
    this.show(this.growing.read(text, false));
  }

  /** The text is whole. @param {string} [text] all of it; without, what was set last */
  finish(text = this.text) {
    this.text = text;
    this.show(this.growing.read(text, true));
    this.growing = new Growing(); // what it kept is needed no more
  }

  /** @param {Block[]} blocks */
  show(blocks) {
    this.painted = paint(this.maker, this.element, this.painted, blocks);
  }
}

/** The words of a text without marks, on one line. @param {string} text */
export const plain = (text) => words(new Growing().read(text.slice(0, PLAIN_MAX), true)).replace(/\s+/g, ' ').trim();

/** @param {Block[]} blocks @returns {string} */
const words = (blocks) =>
  blocks
    .map(({ type, text, blocks: within }) => {
      if (text === undefined) return words(within ?? []);
      return type === 'code-block' || type === 'plain' ? text : wordsOf(inline(text));
    })
    .join(' ');

/** @param {Event} event */
async function copyClicked(event) {
  const button = event.target instanceof Element ? event.target.closest('[data-copy]') : null;
  const code = button?.closest('.code')?.querySelector('pre');
  if (!button || !code) return;
  button.textContent = (await copyText(code.textContent ?? '')) ? 'Copied' : 'Not copied';
  setTimeout(() => (button.textContent = 'Copy'), COPIED_MS);
}
