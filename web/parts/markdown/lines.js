// One line of Markdown: a cursor over it, and what kinds of block it can begin.
//
// Promises: each function here looks at each character of the line a fixed number of times; no regular expression that
// can go back over what it has read.
// Not here: which blocks are open (blocks.js), what stands within a paragraph (inline.js).

/** A table with more columns than this stays a paragraph: nobody reads one, and each cell is an element. */
export const COLUMNS_MAX = 64;

/** A cursor over one line. Columns are counted as CommonMark does: a tab goes to the next multiple of four. */
export class Line {
  /** @param {string} text without its line break */
  constructor(text) {
    this.text = text;
    this.at = 0;
    this.column = 0;
    this.pad = 0; // columns of a tab that was taken in part
    this.next = 0; // where the first character that is not blank stands
    this.indent = 0; // columns from here to it
    this.find();
  }

  find() {
    let [next, column] = [this.at, this.column + this.pad];
    for (; next < this.text.length; next += 1) {
      if (this.text[next] === ' ') column += 1;
      else if (this.text[next] === '\t') column += 4 - (column % 4);
      else break;
    }
    this.next = next;
    this.indent = column - this.column;
  }

  get blank() {
    return this.next >= this.text.length;
  }

  /** What follows the blanks. */
  get content() {
    return this.text.slice(this.next);
  }

  /** Everything from here on, blanks as they are. */
  get rest() {
    return ' '.repeat(this.pad) + this.text.slice(this.at);
  }

  /** Goes over `columns` of blanks, or over all there are. @param {number} columns */
  skip(columns) {
    let left = Math.min(columns, this.indent);
    this.indent -= left;
    while (left > 0) {
      if (this.pad === 0) {
        this.pad = this.text[this.at] === '\t' ? 4 - (this.column % 4) : 1;
        this.at += 1;
      }
      const taken = Math.min(left, this.pad);
      this.pad -= taken;
      this.column += taken;
      left -= taken;
    }
  }

  /** Goes over the blanks and `count` characters after them. @param {number} count */
  take(count) {
    this.column += this.indent + count;
    this.at = this.next + count;
    this.pad = 0;
    this.find();
  }
}

/** How many times `char` stands from `at` on. @param {string} text @param {number} at @param {string} char */
export function run(text, at, char) {
  let end = at;
  while (end < text.length && text[end] === char) end += 1;
  return end - at;
}

/** Three or more of `-`, `*` or `_` and nothing else. @param {string} content */
export function isRule(content) {
  const char = content[0];
  if (char !== '-' && char !== '*' && char !== '_') return false;
  let count = 0;
  for (const each of content) {
    if (each === char) count += 1;
    else if (each !== ' ' && each !== '\t') return false;
  }
  return count >= 3;
}

/** `# Title ##`. @param {string} content @returns {{level: number, text: string}|null} */
export function heading(content) {
  const level = run(content, 0, '#');
  if (level < 1 || level > 6 || !/^[ \t]?$/.test(content.slice(level, level + 1))) return null;
  const text = content.slice(level).trim();
  let end = text.length;
  while (end > 0 && text[end - 1] === '#') end -= 1;
  const closed = end === 0 || text[end - 1] === ' ' || text[end - 1] === '\t';
  return { level, text: closed ? text.slice(0, end).trim() : text };
}

/** The level of the heading that a line of `=` or `-` makes of the paragraph above it; 0 for other lines. @param {string} content */
export function underline(content) {
  const text = content.trimEnd();
  if (text[0] !== '=' && text[0] !== '-') return 0;
  if (run(text, 0, text[0]) !== text.length) return 0;
  return text[0] === '=' ? 1 : 2;
}

/** The beginning of a fenced code block. @param {string} content @returns {{mark: string, length: number, info: string}|null} */
export function fence(content) {
  const mark = content[0];
  if (mark !== '`' && mark !== '~') return null;
  const length = run(content, 0, mark);
  const info = content.slice(length).trim();
  return length < 3 || (mark === '`' && info.includes('`')) ? null : { mark, length, info };
}

/** Whether a line ends a fenced code block. @param {string} content @param {{mark: string, length: number}} fence */
export function isFenceEnd(content, { mark, length }) {
  const text = content.trimEnd();
  return text.length >= length && run(text, 0, mark) === text.length;
}

/**
 * The mark of a list item: `kind` is the same for items of one list.
 * @param {string} content @returns {{kind: string, width: number, start: number}|null}
 */
export function marker(content) {
  const [, number = '', kind] = /^(\d{1,9})?([-+*.)])(?=[ \t]|$)/.exec(content) ?? [];
  if (kind === undefined || (kind === '.' || kind === ')') !== (number !== '')) return null;
  return { kind, width: number.length + 1, start: Number(number) };
}

/** The cells of a table's row, or null if there are too many. @param {string} content @returns {string[]|null} */
export function cells(content) {
  const text = content.trim();
  const found = [];
  let cell = '';
  let from = text[0] === '|' ? 1 : 0;
  for (let at = from; at < text.length; at += 1) {
    if (text[at] === '\\' && text[at + 1] === '|') {
      cell += text.slice(from, at);
      from = at += 1;
    } else if (text[at] === '\\') {
      at += 1;
    } else if (text[at] === '|') {
      found.push((cell + text.slice(from, at)).trim());
      cell = '';
      from = at + 1;
    }
  }
  const last = (cell + text.slice(from)).trim();
  if (last || from < text.length) found.push(last);
  return found.length > COLUMNS_MAX ? null : found;
}

/** How the columns of a table are aligned, if this is the line below its head. @param {string} content @returns {string[]|null} */
export function columns(content) {
  if (!content.includes('|')) return null;
  for (const char of content) if (!'|-: \t'.includes(char)) return null;
  const found = cells(content);
  if (!found?.length) return null;
  const aligned = [];
  for (const cell of found) {
    const [left, right] = [cell.startsWith(':'), cell.length > 1 && cell.endsWith(':')];
    const dashes = cell.length - Number(left) - Number(right);
    if (dashes < 1 || run(cell, Number(left), '-') !== dashes) return null;
    aligned.push(left && right ? 'center' : right ? 'right' : left ? 'left' : '');
  }
  return aligned;
}
