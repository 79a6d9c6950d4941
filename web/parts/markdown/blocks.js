// Text to blocks, line by line, as CommonMark describes it, with tables, task lists and without what a chat must not have.
//
// Promises: a line costs its length times NESTING_MAX at most. A block that is closed is never touched again, so what
// did not change is the same object: that is how the painter knows. `fork` gives the tree as if the text ended here, at
// the cost of what is open; so the last, unfinished line can be tried on a fork and forgotten.
// Left out on purpose: HTML (it is text) and reference links (a line at the end would change what was painted long ago).
// Not here: what stands within a paragraph (inline.js); bounds on the whole text (growing.js).

import { Line, cells, columns, fence, heading, isFenceEnd, isRule, marker, underline } from './lines.js';

/** Open quotes, lists and items: a line that nests deeper is text. Sixteen lists are more than a page can show. */
export const NESTING_MAX = 32;

const CODE_ELEMENTS = 6; // a block of code with its label and button

/**
 * A node of the tree. `text` of paragraphs, headings and cells is Markdown still (inline.js reads it); that of code is as
 * it stands.
 * @typedef {object} Block
 * @property {'document'|'quote'|'list'|'item'|'paragraph'|'heading'|'code-block'|'rule'|'table'|'row'|'cell'|'plain'} type
 * @property {string} [text]      paragraph, heading, code-block, cell, plain
 * @property {Block[]} [blocks]   what is within: of lists items, of tables rows (the head first), of rows cells
 * @property {number} [level]     heading: 1 to 6
 * @property {string} [info]      code-block: the words after its fence
 * @property {string} [kind]      list: the mark of its items, one of `-+*.)`
 * @property {number} [start]     list: its first number
 * @property {boolean} [loose]    list: with blank lines between its items
 * @property {boolean|null} [checked]  item: of a task, whether it is done
 * @property {number} [indent]    item: the columns that what is within is indented by
 * @property {string} [align]     cell: 'left', 'center', 'right' or ''
 * @property {boolean} [head]     cell: of the table's head
 */

/** @typedef {Block & {blocks: Block[]}} Container */
/** @typedef {Block & {fence?: {mark: string, length: number, indent: number}, blanks?: string[], aligns?: string[]}} Leaf */

const isList = (/** @type {Block} */ block) => block.type === 'list';

/** A parser: what is open, outermost first, and the leaf that lines are added to. What is open is not yet in its parent. */
export class Blocks {
  constructor() {
    /** @type {Container[]} */
    this.stack = [{ type: 'document', blocks: [] }];
    /** @type {Leaf|null} */
    this.leaf = null;
    this.blankIn = -1; // if the last line was blank: where in the stack the innermost quote around it stands, or 0
    this.elements = 0; // that what was read so far will be shown with, about
  }

  /** The tree as if the text ended here; this parser goes on unchanged. @returns {Blocks} */
  fork() {
    const fork = new Blocks();
    fork.stack = this.stack.map((open) => ({ ...open, blocks: open.blocks.slice() }));
    fork.leaf = this.leaf && { ...this.leaf, blanks: this.leaf.blanks?.slice(), blocks: this.leaf.blocks?.slice() };
    fork.blankIn = this.blankIn;
    return fork;
  }

  /** Closes everything. @returns {Block[]} */
  end() {
    this.close(1);
    return this.stack[0].blocks;
  }

  /** @param {string} text one line, without its break */
  line(text) {
    const line = new Line(text);
    const matched = this.match(line);
    const all = matched === this.stack.length;
    if (all && this.leaf?.type === 'code-block' && this.code(this.leaf, line)) return;
    if (line.blank) return this.blank(matched);
    this.begin(line, matched);
    this.blankIn = -1;
  }

  /** Goes into the open containers that this line continues. @param {Line} line @returns {number} how many */
  match(line) {
    let depth = 1;
    for (; depth < this.stack.length; depth += 1) {
      const open = this.stack[depth];
      if (open.type === 'quote') {
        if (!takeQuote(line)) break;
      } else if (open.type === 'item') {
        const empty = depth === this.stack.length - 1 && !this.leaf && open.blocks.length === 0;
        if (line.blank ? empty : line.indent < (open.indent ?? 0)) break;
        line.skip(open.indent ?? 0);
      }
    }
    return depth;
  }

  /** A line for open code. @param {Leaf} leaf @param {Line} line @returns {boolean} whether it was one */
  code(leaf, line) {
    if (leaf.fence) {
      if (line.indent < 4 && isFenceEnd(line.content, leaf.fence)) this.closeLeaf();
      else {
        line.skip(leaf.fence.indent);
        leaf.text += `${line.rest}\n`;
      }
      this.blankIn = -1;
      return true;
    }
    if (line.blank) {
      line.skip(4);
      leaf.blanks?.push(line.rest); // of indented code: they count only if more code follows
      this.blankIn = this.quoteAround(this.stack.length);
      return true;
    }
    if (line.indent < 4) return false;
    line.skip(4);
    leaf.text += `${[...(leaf.blanks ?? []), line.rest].join('\n')}\n`;
    leaf.blanks = [];
    this.blankIn = -1;
    return true;
  }

  /** @param {number} matched */
  blank(matched) {
    this.blankIn = this.quoteAround(matched);
    if (matched < this.stack.length) this.close(matched);
    else this.closeLeaf();
  }

  /** The place of the innermost quote among the first `depth` that are open; 0 without one. @param {number} depth */
  quoteAround(depth) {
    while (depth > 1 && this.stack[depth - 1].type !== 'quote') depth -= 1;
    return depth - 1;
  }

  /** A line that is not blank: the blocks that it begins, or text. @param {Line} line @param {number} matched */
  begin(line, matched) {
    let open = matched; // containers that this line is in; the others close as soon as it turns out not to be lazy
    const continues = () => open === this.stack.length && this.leaf?.type === 'paragraph';
    for (;;) {
      if (line.indent >= 4) {
        if (this.leaf?.type === 'paragraph') break;
        this.close(open);
        line.skip(4);
        return this.openLeaf({ type: 'code-block', text: `${line.rest}\n`, info: '', blanks: [] });
      }
      const content = line.content;
      if (content[0] === '>' && this.stack.length < NESTING_MAX) {
        this.close(open);
        takeQuote(line);
        this.open({ type: 'quote', blocks: [] });
        open = this.stack.length;
        if (line.blank) return;
        continue;
      }
      if (continues() && this.retitle(content)) return;
      if (this.single(content, open, line.indent)) return;
      const mark = this.stack.length < NESTING_MAX ? marker(content) : null;
      const bare = mark && content.length === mark.width;
      if (!mark || (continues() && (content.slice(mark.width).trim() === '' || mark.start > 1))) break;
      this.close(open);
      this.item(line, mark);
      open = this.stack.length;
      if (bare || line.blank) return;
    }
    this.text(line, open);
  }

  /** Blocks of one line, and fences. @param {string} content @param {number} open @param {number} indent @returns {boolean} */
  single(content, open, indent) {
    const title = content[0] === '#' ? heading(content) : null;
    const fenced = title ? null : fence(content);
    if (!title && !fenced && !isRule(content)) return false;
    this.close(open);
    if (fenced) this.openLeaf({ type: 'code-block', text: '', info: fenced.info, fence: { ...fenced, indent } });
    else this.add(title ? { type: 'heading', ...title } : { type: 'rule' });
    return true;
  }

  /** A line that changes what the open paragraph is: into a heading or the head of a table. @param {string} content @returns {boolean} */
  retitle(content) {
    const text = this.leaf?.text ?? '';
    const level = underline(content);
    const aligns = level ? null : columns(content);
    if (!level && !aligns) return false;
    if (level) {
      this.leaf = { type: 'heading', level, text };
      this.closeLeaf();
      return true;
    }
    const from = text.lastIndexOf('\n') + 1;
    const names = cells(text.slice(from));
    if (!aligns || names?.length !== aligns.length) return false;
    this.leaf = null;
    if (from > 0) this.add({ type: 'paragraph', text: text.slice(0, from - 1) });
    this.openLeaf({ type: 'table', aligns, blocks: [this.row(names, aligns, true)] });
    return true;
  }

  /** @param {string[]} texts @param {string[]} aligns @param {boolean} head @returns {Block} */
  row(texts, aligns, head) {
    this.elements += aligns.length + 1;
    return { type: 'row', blocks: aligns.map((align, at) => ({ type: 'cell', text: texts[at] ?? '', align, head })) };
  }

  /** @param {Line} line @param {{kind: string, width: number, start: number}} mark */
  item(line, mark) {
    const before = line.indent;
    line.take(mark.width);
    const blanks = line.blank || line.indent > 4 ? 1 : line.indent;
    line.skip(blanks);
    const top = this.stack[this.stack.length - 1];
    if (!isList(top) || top.kind !== mark.kind) {
      this.closeList();
      this.open({ type: 'list', kind: mark.kind, start: mark.start, loose: false, blocks: [] });
    } else if (this.blankIn === this.quoteAround(this.stack.length)) {
      top.loose = true;
    }
    this.open({ type: 'item', checked: null, indent: before + mark.width + blanks, blocks: [] });
  }

  /** Text: more of the open paragraph or table, or a new paragraph. @param {Line} line @param {number} open */
  text(line, open) {
    const text = line.content.trimEnd();
    const all = open === this.stack.length;
    if (this.leaf?.type === 'paragraph') {
      // Also when the line is not in all that is open: a paragraph goes on without its marks.
      this.leaf.text += `\n${text}`;
      return;
    }
    if (all && this.leaf?.type === 'table') {
      this.leaf.blocks?.push(this.row(cells(text) ?? [text], this.leaf.aligns ?? [], false));
      return;
    }
    this.close(open);
    this.closeList();
    const top = this.stack[this.stack.length - 1];
    const task = top.type === 'item' && top.blocks.length === 0 && /^\[([ xX])\][ \t]/.exec(text);
    if (task) top.checked = task[1] !== ' ';
    this.openLeaf({ type: 'paragraph', text: task ? text.slice(4).trimStart() : text });
  }

  /** A list whose item is closed goes on only with another item. */
  closeList() {
    if (isList(this.stack[this.stack.length - 1])) this.close(this.stack.length - 1);
  }

  /** @param {Container} block */
  open(block) {
    if (block.type !== 'item') this.make();
    this.elements += 1;
    this.stack.push(block);
  }

  /** @param {Leaf} leaf */
  openLeaf(leaf) {
    this.make();
    this.elements += leaf.type === 'code-block' ? CODE_ELEMENTS : 1;
    this.leaf = leaf;
  }

  /** @param {Block} block one that is whole */
  add(block) {
    this.make();
    this.elements += 1;
    this.stack[this.stack.length - 1].blocks.push(block);
  }

  /** Makes way for a new block: it is not in a list itself, and a blank line before it makes the list around it loose. */
  make() {
    this.closeLeaf();
    this.closeList();
    const depth = this.stack.length;
    const top = this.stack[depth - 1];
    if (top.type === 'item' && top.blocks.length > 0 && this.blankIn === this.quoteAround(depth)) this.stack[depth - 2].loose = true;
  }

  /** Closes all but the outermost `depth`, and the leaf. @param {number} depth */
  close(depth) {
    this.closeLeaf();
    while (this.stack.length > depth) {
      const closed = this.stack.pop();
      if (closed) this.stack[this.stack.length - 1].blocks.push(closed);
    }
  }

  closeLeaf() {
    if (this.leaf) this.stack[this.stack.length - 1].blocks.push(this.leaf);
    this.leaf = null;
  }
}

/** Goes over a quote's mark. @param {Line} line @returns {boolean} whether there was one */
function takeQuote(line) {
  if (line.indent >= 4 || line.text[line.next] !== '>') return false;
  line.take(1);
  line.skip(1);
  return true;
}
