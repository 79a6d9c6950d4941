// Addresses in Markdown: where one begins and ends, and whether a link may go to it.
//
// Promises: an attempt to read one looks at ADDRESS_MAX characters at most.

/** A longer address is no link. It bounds also how far an attempt to read one goes. */
export const ADDRESS_MAX = 2_048;
const PARENS_MAX = 8; // within each other, in an address

/** What a backslash before it makes an ordinary character. */
export const PUNCTUATION = /[!-/:-@[-`{-~]/;
/** Those that are written; the other two thousand stay as they stand. */
const NAMED = new Map(
  Object.entries({
    amp: '&', lt: '<', gt: '>', quot: '"', apos: "'", nbsp: '\u00a0', copy: '©', reg: '®', hellip: '…', ndash: '–', mdash: '—', rarr: '→',
    larr: '←', times: '×', colon: ':', newline: '\n', tab: '\t',
  }),
);

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

/** An address in a sentence ends before its punctuation, and before a bracket that was not opened in it. @param {string} address */
export function untrail(address) {
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
export function entityAt(text, at) {
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
export function target(text, from) {
  if (text[from] !== '(') return null;
  const limit = Math.min(text.length, from + ADDRESS_MAX);
  let at = blanks(text, from + 1, limit);
  const pointed = text[at] === '<';
  if (pointed) at += 1;
  let address = '';
  for (let open = 0; at < limit; at += 1) {
    const char = text[at];
    if (pointed ? char === '>' : char <= ' ' || (char === ')' && open === 0)) break;
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

