// The text of one paragraph, heading or cell to a tree of spans, as CommonMark describes it.
//
// Promises: linear time. Line breaks stay in the text (a chat shows them); HTML is text; links go to http, https and
// mailto only, and what would be another link stays as it was written; an image is a link to it.
// Not here: blocks (blocks.js), DOM (paint.js).

import { PUNCTUATION, entityAt, safe, target, untrail } from './address.js';
import { run } from './lines.js';
import { flat, merge, pair, plainText, span } from './spans.js';

/** @typedef {import('./spans.js').Span} Span */
/** @typedef {import('./spans.js').Mark} Mark */

/** Text beyond this many characters of one paragraph has no marks: it would be thousands of elements in one block. */
export const INLINE_MAX = 16 * 1024;

const SPACE = /^\s?$/u; // also the beginning and the end
const ADDRESS = /(?:https?:\/\/|www\.)[^\s<>"`[\]|\u3000-\u303f\uff00-\uff0f]+/iy;
/** A host has a dot: `me@home` is none that mail could go to. */
const MAILBOX = /[\w.+-]{1,64}@[a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63}){1,8}/iy;
const WORD_EDGE = /[\p{P}\p{S}]/u;

/** @param {string} text @returns {Span[]} */
export function inline(text) {
  const spans = new Scan(text.slice(0, INLINE_MAX)).spans();
  return text.length > INLINE_MAX ? merge([...spans, plainText(text.slice(INLINE_MAX))]) : spans;
}

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
    const special = /[\\`*_~[\]!<&]|https?:\/\/|www\.|[\w.+-]{1,64}@[a-z0-9]/gi;
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

  /** An address that stands in the text: with http, with www, or of a mailbox. */
  bare() {
    const [local = ''] = this.read(/[\w.+-]{1,64}@/iy);
    if (/[\p{L}\p{N}]/u.test(characterBefore(this.text, this.at))) return this.over(local.length || 4);
    const [found = ''] = this.read(local ? MAILBOX : ADDRESS);
    const address = untrail(found);
    const scheme = local ? 'mailto:' : /^www\./i.test(address) ? 'https://' : '';
    const href = address && safe(scheme + address);
    if (!href) return this.over(Math.max(address.length, local.length, 4)); // and not once more from its middle
    this.found.push(span('link', [plainText(address)], { href, soft: true }));
    this.at += address.length;
    return true;
  }

  /** What a sticky rule finds here. @param {RegExp} rule */
  read(rule) {
    rule.lastIndex = this.at;
    return rule.exec(this.text) ?? [];
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
