// Spans: what a paragraph's text consists of, and how its marks (`*`, `_`, `~~`) are paired.
//
// Promises: linear time; a tree of at most SPANS_MAX spans within each other.
// Not here: finding the marks (inline.js).

/** Spans within spans; one that is nested deeper is its text. */
export const SPANS_MAX = 16;

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

/** @param {string} text @returns {Span} */
export const plainText = (text) => ({ type: 'text', text });

/** The words without marks. @param {Span[]} spans @returns {string} */
export const wordsOf = (spans) => spans.map(({ text, spans: within }) => text ?? wordsOf(within ?? [])).join('');

/** A span around others; too deep a one is text. @param {'em'|'strong'|'del'|'link'} type @param {Span[]} spans @param {object} more @returns {Span} */
export function span(type, spans, more = {}) {
  const within = merge(spans);
  const depth = within.reduce((most, each) => Math.max(most, each.depth ?? 0), 0) + 1;
  return depth > SPANS_MAX ? plainText(wordsOf(within)) : { type, spans: within, depth, ...more };
}

/** Texts that stand side by side are one. @param {Span[]} spans @returns {Span[]} */
export function merge(spans) {
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
export const flat = (spans) =>
  spans.map((each) => {
    if (each.type === 'link') return plainText(wordsOf(each.spans ?? []));
    return each.spans ? { ...each, spans: flat(each.spans) } : each;
  });

/**
 * Pairs the marks: one walk from left to right, with a stack of those that wait for their other half. What a pair
 * encloses is the end of `out`, so each span is moved once.
 * @param {(Span|Mark)[]} found @returns {Span[]}
 */
export function pair(found) {
  /** @type {Span[]} */
  const out = [];
  /** @type {Opener[]} */
  const openers = [];
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
