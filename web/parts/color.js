// Colours of authors. Pure. What a client gave as a colour is never handed to CSS as it is: it is read here into three
// numbers, and what cannot be read becomes a colour made from the author's name.

/** @typedef {[number, number, number]} Rgb */

/** The names that people and the older programs use; others are treated as no colour. @type {Record<string, string>} */
const NAMES = {
  black: '000000', white: 'ffffff', gray: '808080', grey: '808080', silver: 'c0c0c0', red: 'ff0000', maroon: '800000',
  orange: 'ffa500', yellow: 'ffff00', olive: '808000', lime: '00ff00', green: '008000', teal: '008080', cyan: '00ffff',
  aqua: '00ffff', blue: '0000ff', navy: '000080', purple: '800080', magenta: 'ff00ff', fuchsia: 'ff00ff', pink: 'ffc0cb',
  brown: 'a52a2a', gold: 'ffd700', indigo: '4b0082', violet: 'ee82ee', salmon: 'fa8072', tomato: 'ff6347', coral: 'ff7f50',
  turquoise: '40e0d0', crimson: 'dc143c', khaki: 'f0e68c', orchid: 'da70d6',
};

/**
 * Reads `#80c0ff`, `#8cf`, `rgb(128, 192, 255)`, a name, or the nine digits of the older systems, `128192255`.
 *
 * @param {string | null | undefined} color
 * @returns {Rgb | null}
 */
export function rgbOf(color) {
  const text = (color ?? '').trim().toLowerCase();
  const hex = /^#?([0-9a-f]{6})$/.exec(text)?.[1] ?? NAMES[text] ?? null;
  if (hex) return rgb([0, 2, 4].map((at) => parseInt(hex.slice(at, at + 2), 16)));
  const short = /^#([0-9a-f])([0-9a-f])([0-9a-f])$/.exec(text);
  if (short) return rgb(short.slice(1).map((digit) => parseInt(digit + digit, 16)));
  const three = /^(\d{3})(\d{3})(\d{3})$/.exec(text) ?? /^rgb\(\s*(\d{1,3})[\s,]+(\d{1,3})[\s,]+(\d{1,3})\s*\)$/.exec(text);
  return three ? rgb(three.slice(1).map(Number)) : null;
}

/** @param {number[]} parts @returns {Rgb | null} */
function rgb(parts) {
  return parts.every((part) => part >= 0 && part <= 255) ? [parts[0] ?? 0, parts[1] ?? 0, parts[2] ?? 0] : null;
}

/**
 * A middling, friendly colour that is always the same for a name.
 *
 * @param {string} name
 * @returns {Rgb}
 */
export function rgbOfName(name) {
  let hash = 2166136261; // FNV-1a
  for (let at = 0; at < name.length; at += 1) hash = Math.imul(hash ^ name.charCodeAt(at), 16777619) >>> 0;
  return hsl(hash % 360, 0.52, 0.5);
}

/** @param {number} hue 0-359 @param {number} saturation 0-1 @param {number} light 0-1 @returns {Rgb} */
function hsl(hue, saturation, light) {
  const reach = saturation * Math.min(light, 1 - light);
  const part = (/** @type {number} */ n) => {
    const k = (n + hue / 30) % 12;
    return Math.round(255 * (light - reach * Math.max(-1, Math.min(k - 3, 9 - k, 1))));
  };
  return [part(0), part(8), part(4)];
}

/**
 * An author's colour for CSS, and the ink that can be read on it (at least 4.5:1).
 *
 * @param {{ name: string, color?: string | null }} author
 * @returns {{ color: string, ink: '#000' | '#fff' }}
 */
export function paint(author) {
  const made = rgbOf(author.color) ?? rgbOfName(author.name);
  return { color: `rgb(${made.join(' ')})`, ink: luminance(made) > 0.179 ? '#000' : '#fff' };
}

/** @param {Rgb} color @returns {number} WCAG's relative luminance, 0-1 */
export function luminance(color) {
  const [r, g, b] = color.map((part) => {
    const share = part / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * (r ?? 0) + 0.7152 * (g ?? 0) + 0.0722 * (b ?? 0);
}

/** @param {Rgb} color @returns {string} `#80c0ff`, as `<input type=color>` wants it */
export const hexOf = (color) => `#${color.map((part) => part.toString(16).padStart(2, '0')).join('')}`;
