// Whether a text shows anything at all: a name or a message of nothing but blanks, control and format characters is empty to
// whoever reads it. Pure.

/**
 * Anything that is not a blank, a control or format character, or made to be ignored; U+2800 is a blank of Braille. What is not
 * assigned yet, or for private use, may show. The server has the same rule: schemas/src/visible.rs.
 */
const SHOWN = /[^\s\p{Cc}\p{Cf}\p{Cs}\p{Z}\p{Default_Ignorable_Code_Point}\u2800]/u;

/** @param {string} text */
export const isVisible = (text) => SHOWN.test(text);
