// The text of one paragraph, heading or cell to a tree of spans, as CommonMark describes it.
//
// Promises: linear time. Line breaks stay in the text (a chat shows them); HTML is text; links go to http, https and
// mailto only, and what would be another link stays as it was written; an image is a link to it.
// Not here: blocks (blocks.js), DOM (paint.js).

import { run } from './lines.js';

/** Text beyond this many characters of one paragraph has no marks: it would be thousands of elements in one block. */
export const INLINE_MAX = 16 * 1024;
/** Spans within spans; one that is nested deeper is its text. */
export const SPANS_MAX = 16;
/** A longer address is no link. It bounds also how far an attempt to read one goes. */
export const ADDRESS_MAX = 2_048;
const PARENS_MAX = 8; // within an address

/**
 * @typedef {object} Span
 * @property {'text'|'code'|'em'|'strong'|'del'|'link'} type
 * @property {string} [text]    text, code
 * @property {Span[]} [spans]   em, strong, del, link
 * @property {string} [href]    link: an address that is safe to go to
 * @property {boolean} [soft]   link: a bare address or an image; within another link it is text
 * @property {number} [depth]   spans within it
 */

/** @typedef {{type: 'mark', char: string, length: number, opens: boolean, closes: boolean}} Mark */
/** @typedef {{char: string, length: number, left: number, closes: boolean, at: number}} Opener */

const PUNCTUATION = /[!-/:-@[-`{-~]/;
const SPACE = /^\s?$/u; // also the beginning and the end
const WORD_EDGE = /[\p{P}\p{S}]/u;
const NAMED = new Map(Object.entries({ amp: '&', lt: '<', gt: '>', quot: '"', apos: "'", nbsp: '\u00a0', copy: '©', reg: '®', hellip: '…', ndash: '–', mdash: '—', rarr: '→', larr: '←', times: '×', colon: ':', newline: '\n', tab: '\t' }));

/** @param {string} text @returns {Span[]} */
export function inline(text) {
  const spans = new Scan(text.slice(0, INLINE_MAX)).spans();
  return text.length > INLINE_MAX ? merge([...spans, plainText(text.slice(INLINE_MAX))]) : spans;
}

/** The words without marks. @param {Span[]} spans @returns {string} */
export const wordsOf = (spans) => spans.map(({ text, spans: within }) => text ?? wordsOf(within ?? [])).join('');

/**
 * The address as the browser understands it, if it is one that a link may go to.
 * @param {string} address @returns {string|null}
 */
export function safe(address) {
  if (address.length > ADDRESS_MAX) return null;
  let url;
  try {
    url = new URL(address);
  } catch {
    return null;
  }
  // A name before the host makes an address look like another one: https://bank.example@evil.example
  const known = ['http:', 'https:', 'mailto:'].includes(url.protocol);
  return known && !url.username && !url.password ? url.href : null;
}

/** @param {string} text @returns {Span} */
const plainText = (text) => ({ type: 'text', text });

class Scan {
  /** @param {string} text */
  constructor(text) {
    this.text = text;
    this.at = 0;
    /** @type {(Span|Mark)[]} */
    this.found = [];
    /** @type {{at: number, image: boolean}[]} */
    this.brackets = []; // open ones: where they stand in `found`
    this.closed = 0; // how many of them can be no link any more, since there is one within
    /** @type {Map<number, number[]>|null} */
    this.ticks = null; // where runs of backticks stand, last first, by length
  }

  spans() {
    const special = /[\\`*_~[\]!<&]|https?:\/\//gi;
    const { text } = this;
    while (this.at < text.length) {
      special.lastIndex = this.at;
      const next = special.exec(text)?.index ?? text.length;
      this.words(text.slice(this.at, next));
      this.at = next;
      if (next < text.length && !this.special(text[next])) {
        this.words(text[next]);
        this.at = next + 1;
      }
    }
    return pair(this.found);
  }

  /** @param {string} words */
  words(words) {
    if (words) this.found.push(plainText(words));
  }

  /** Takes what begins here, or says that it is only a character. @param {string} char @returns {boolean} */
  special(char) {
    switch (char) {
      case '\\': return this.escape();
      case '`': return this.code();
      case '*': case '_': case '~': return this.mark(char);
      case '[': return this.bracket(false);
      case '!': return this.text[this.at + 1] === '[' && this.bracket(true);
      case ']': return this.link();
      case '<': return this.pointed();
      case '&': return this.entity();
      default: return this.bare();
    }
  }

  escape() {
    const next = this.text[this.at + 1] ?? '';
    if (next !== '\n' && !PUNCTUATION.test(next)) return false;
    if (next !== '\n') this.words(next);
    this.at += next === '\n' ? 1 : 2; // before a line break it says only that the break is meant
    return true;
  }

  entity() {
    const [whole, character] = entityAt(this.text, this.at);
    this.words(character);
    this.at += whole.length;
    return whole !== '';
  }

  code() {
    this.ticks ??= runsOf(this.text, '`');
    const length = run(this.text, this.at, '`');
    const from = this.at + length;
    const ends = this.ticks.get(length) ?? [];
    while (ends.length > 0 && ends[ends.length - 1] < from) ends.pop();
    const end = ends.pop();
    if (end === undefined) {
      this.words(this.text.slice(this.at, from));
      this.at = from;
      return true;
    }
    let text = this.text.slice(from, end).replaceAll('\n', ' ');
    if (text.startsWith(' ') && text.endsWith(' ') && text.trim() !== '') text = text.slice(1, -1);
    this.found.push({ type: 'code', text });
    this.at = end + length;
    return true;
  }

  /** A run of `*`, `_` or `~~`: whether it can open or close a span. @param {string} char */
  mark(char) {
    const length = run(this.text, this.at, char);
    const from = this.at;
    this.at += length;
    const [before, after] = [characterBefore(this.text, from), String.fromCodePoint(this.text.codePointAt(this.at) ?? 32)];
    const [spaceBefore, spaceAfter] = [SPACE.test(before), SPACE.test(after)];
    const [edgeBefore, edgeAfter] = [WORD_EDGE.test(before), WORD_EDGE.test(after)];
    const left = !spaceAfter && (!edgeAfter || spaceBefore || edgeBefore);
    const right = !spaceBefore && (!edgeBefore || spaceAfter || edgeAfter);
    const opens = char === '_' ? left && (!right || edgeBefore) : left;
    const closes = char === '_' ? right && (!left || edgeAfter) : right;
    if (char === '~' && length !== 2) this.words(this.text.slice(from, this.at));
    else this.found.push({ type: 'mark', char, length, opens, closes });
    return true;
  }

  /** @param {boolean} image */
  bracket(image) {
    this.brackets.push({ at: this.found.length, image });
    this.words(image ? '![' : '[');
    this.at += image ? 2 : 1;
    return true;
  }

  link() {
    const bracket = this.brackets.pop();
    if (!bracket) return false;
    if (this.brackets.length < this.closed) {
      this.closed = this.brackets.length;
      return false;
    }
    const found = target(this.text, this.at + 1);
    const href = found && safe(found.address);
    if (!href) return false;
    this.at = found.end;
    const within = flat(pair(this.found.splice(bracket.at + 1)));
    this.found.pop(); // the bracket
    this.found.push(span('link', within.length > 0 ? within : [plainText(href)], { href, soft: bracket.image }));
    if (!bracket.image) this.closed = this.brackets.length;
    return true;
  }

  /** `<https://…>` and `<name@host>`. */
  pointed() {
    const rule = /<(?:([a-z][a-z0-9+.-]{1,31}:[^\s<>]*)|([\w.+-]{1,64}@[\w-]+(?:\.[\w-]+)+))>/iy;
    rule.lastIndex = this.at;
    const [whole, address, mail] = rule.exec(this.text) ?? [];
    const href = whole && safe(address ?? `mailto:${mail}`);
    if (!whole || !href) return false;
    this.found.push(span('link', [plainText(address ?? mail)], { href, soft: true }));
    this.at += whole.length;
    return true;
  }

  /** An address that stands in the text. */
  bare() {
    if (/[\p{L}\p{N}]/u.test(characterBefore(this.text, this.at))) return this.over(4);
    const rule = /https?:\/\/[^\s<>"`[\]|\u3000-\u303f\uff00-\uff0f]+/iy;
    rule.lastIndex = this.at;
    const address = untrail(rule.exec(this.text)?.[0] ?? '');
    const href = safe(address);
    if (!href) return this.over(Math.max(address.length, 4)); // and not once more from its middle
    this.found.push(span('link', [plainText(address)], { href, soft: true }));
    this.at += address.length;
    return true;
  }

  /** Takes some characters as they are. @param {number} count */
  over(count) {
    this.words(this.text.slice(this.at, this.at + count));
    this.at += count;
    return true;
  }
}

/** @param {string} text @param {number} at */
function characterBefore(text, at) {
  const low = text.charCodeAt(at - 1);
  return low >= 0xdc00 && low <= 0xdfff ? text.slice(at - 2, at) : text.slice(Math.max(at - 1, 0), at);
}

/** Where runs of a character begin, by their length, last first. @param {string} text @param {string} char */
function runsOf(text, char) {
  /** @type {Map<number, number[]>} */
  const runs = new Map();
  for (let at = text.indexOf(char); at >= 0; ) {
    const length = run(text, at, char);
    const same = runs.get(length);
    if (same) same.push(at);
    else runs.set(length, [at]);
    at = text.indexOf(char, at + length);
  }
  for (const same of runs.values()) same.reverse();
  return runs;
}

/** An address in a sentence ends before its punctuation, and before a bracket that was not opened in it. @param {string} address */
function untrail(address) {
  let open = 0;
  for (const char of address) open += char === '(' ? 1 : char === ')' ? -1 : 0;
  let end = address.length;
  for (; end > 0; end -= 1) {
    const last = address[end - 1];
    if (last === ')' && open < 0) open += 1;
    else if (!'?!.,:;*_~\''.includes(last)) break;
  }
  return address.slice(0, end);
}

/** @param {string} text @param {number} at @returns {[string, string]} what stands there and what it means; empty if nothing */
function entityAt(text, at) {
  const rule = /&(?:#x([0-9a-f]{1,6})|#([0-9]{1,7})|([a-z]{2,8}));/iy;
  rule.lastIndex = at;
  const [whole = '', hex, decimal, name] = rule.exec(text) ?? [];
  if (name) {
    const named = NAMED.get(name.toLowerCase());
    return named === undefined ? ['', ''] : [whole, named];
  }
  if (whole === '') return ['', ''];
  const code = hex ? Number.parseInt(hex, 16) : Number(decimal);
  const real = code > 0 && code <= 0x10ffff && (code < 0xd800 || code > 0xdfff);
  return [whole, real ? String.fromCodePoint(code) : '\ufffd'];
}

/** `(address "title")`. @param {string} text @param {number} from @returns {{address: string, end: number}|null} */
function target(text, from) {
  if (text[from] !== '(') return null;
  const limit = Math.min(text.length, from + ADDRESS_MAX);
  let at = blanks(text, from + 1, limit);
  const pointed = text[at] === '<';
  if (pointed) at += 1;
  let address = '';
  for (let open = 0; at < limit; at += 1) {
    const char = text[at];
    if (pointed ? char === '>' : SPACE.test(char) || (char === ')' && open === 0)) break;
    if (char === '\n' || char === '<') return null;
    if (char === '(' && (open += 1) > PARENS_MAX) return null;
    if (char === ')') open -= 1;
    const escaped = char === '\\' && PUNCTUATION.test(text[at + 1] ?? '');
    const [entity, meaning] = char === '&' ? entityAt(text, at) : ['', ''];
    if (escaped) at += 1;
    address += escaped ? text[at] : entity ? meaning : char;
    if (entity) at += entity.length - 1;
  }
  if (pointed) at += 1;
  const gap = blanks(text, at, limit);
  at = gap > at ? title(text, gap, limit) : gap;
  return at < limit && text[at] === ')' ? { address, end: at + 1 } : null;
}

/** Goes over a title and the blanks after it. @param {string} text @param {number} at @param {number} limit */
function title(text, at, limit) {
  const end = { '"': '"', "'": "'", '(': ')' }[text[at]];
  if (!end) return at;
  for (at += 1; at < limit && text[at] !== end; at += 1) if (text[at] === '\\') at += 1;
  return blanks(text, at + 1, limit);
}

/** @param {string} text @param {number} at @param {number} limit */
function blanks(text, at, limit) {
  while (at < limit && ' \t\n'.includes(text[at])) at += 1;
  return at;
}

/** A span around others; too deep a one is text. @param {'em'|'strong'|'del'|'link'} type @param {Span[]} spans @param {object} more @returns {Span} */
function span(type, spans, more = {}) {
  const within = merge(spans);
  const depth = within.reduce((most, each) => Math.max(most, each.depth ?? 0), 0) + 1;
  return depth > SPANS_MAX ? plainText(wordsOf(within)) : { type, spans: within, depth, ...more };
}

/** Texts that stand side by side are one. @param {Span[]} spans @returns {Span[]} */
function merge(spans) {
  /** @type {Span[]} */
  const merged = [];
  /** @type {Span|undefined} */
  let last;
  for (const each of spans) {
    if (each.type === 'text' && last?.type === 'text') last.text = `${last.text}${each.text}`;
    else merged.push((last = each.type === 'text' ? { ...each } : each));
  }
  return merged;
}

/** Without the links that may not stand within a link. @param {Span[]} spans @returns {Span[]} */
const flat = (spans) =>
  spans.map((each) => {
    if (each.type === 'link') return plainText(wordsOf(each.spans ?? []));
    return each.spans ? { ...each, spans: flat(each.spans) } : each;
  });

/**
 * Pairs the marks: one walk from left to right, with a stack of those that wait for their other half. What a pair
 * encloses is the end of `out`, so each span is moved once.
 * @param {(Span|Mark)[]} found @returns {Span[]}
 */
function pair(found) {
  /** @type {Span[]} */
  const out = [];
  /** @type {Opener[]} */
  let openers = [];
  /** @type {Map<string, number>} */
  const searched = new Map(); // by kind of closing mark: openers below this height are none for it
  for (const each of found) {
    if (each.type !== 'mark') {
      out.push(each);
      continue;
    }
    let left = each.length;
    const key = `${each.char}${each.opens}${each.length % 3}`;
    while (each.closes && left > 0) {
      const floor = searched.get(key) ?? 0;
      let at = openers.length - 1;
      while (at >= floor && !fits(openers[at], each)) at -= 1;
      if (at < floor) {
        searched.set(key, openers.length);
        break;
      }
      const opener = openers[at];
      const count = opener.left >= 2 && left >= 2 ? 2 : 1;
      const within = out.splice(opener.at + 1);
      opener.left -= count;
      left -= count;
      out[opener.at] = plainText(opener.char.repeat(opener.left));
      openers.length = opener.left > 0 ? at + 1 : at;
      if (opener.left === 0) out.pop();
      for (const [kind, height] of searched) if (height > openers.length) searched.set(kind, openers.length);
      out.push(span(each.char === '~' ? 'del' : count === 2 ? 'strong' : 'em', within));
    }
    if (left === 0) continue;
    if (each.opens) openers.push({ char: each.char, length: each.length, left, closes: each.closes, at: out.length });
    out.push(plainText(each.char.repeat(left)));
  }
  return merge(out);
}

/** @param {Opener} opener @param {Mark} closer */
function fits(opener, closer) {
  if (opener.char !== closer.char) return false;
  const both = opener.closes || closer.opens;
  return !both || (opener.length + closer.length) % 3 !== 0 || (opener.length % 3 === 0 && closer.length % 3 === 0);
}
