// A text that grows: its blocks each time, at the cost of what came since.
//
// Promises: whole lines are read once; the unfinished last line is read on a fork. However the text was cut, the blocks
// of the whole are the same. A text that is not the old one with more at its end is read anew.
// Not here: the grammar (blocks.js).

import { Blocks } from './blocks.js';

/** @typedef {import('./blocks.js').Block} Block */

/** Characters that are read as Markdown, and elements that blocks are shown with; what is beyond is one plain text. A page must not freeze. */
export const TEXT_MAX = 128 * 1024;
export const ELEMENTS_MAX = 10_000;

/** So far a last line has only marks: with the next character it may be a list, a rule, a table or a title's underline. */
const UNCLEAR = /^[\s\d>#*+=_`~|:.)[\]-]{0,80}$/;

export class Growing {
  constructor() {
    this.blocks = new Blocks();
    this.seen = ''; // the lines that were read
  }

  /**
   * @param {string} text all of it so far
   * @param {boolean} whole whether it is all there will be; if not, an unclear last line is held back
   * @returns {Block[]}
   */
  read(text, whole) {
    if (!text.startsWith(this.seen)) Object.assign(this, new Growing());
    let from = this.seen.length;
    const full = () => from >= TEXT_MAX || this.blocks.elements >= ELEMENTS_MAX;
    for (let end = text.indexOf('\n', from); end >= 0 && !full(); end = text.indexOf('\n', from)) {
      this.blocks.line(lineOf(text, from, end));
      from = end + 1;
    }
    this.seen = text.slice(0, from);
    const fork = this.blocks.fork();
    if (full()) return from < text.length ? [...fork.end(), { type: 'plain', text: text.slice(from) }] : fork.end();
    const last = lineOf(text, from, text.length);
    if (last && (whole || !UNCLEAR.test(last))) fork.line(last);
    return fork.end();
  }
}

/** @param {string} text @param {number} from @param {number} end */
const lineOf = (text, from, end) => text.slice(from, text[end - 1] === '\r' ? end - 1 : end);
