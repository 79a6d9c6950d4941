// Who the reader is: a name and a colour, chosen once and kept in this browser.

import { hexOf, rgbOf, rgbOfName } from '../parts/color.js';
import { isVisible } from './visible.js';

/** @typedef {{ name: string, color: string }} Who */

const NAME_KEY = 'antiphon-name';
const COLOR_KEY = 'antiphon-color';

/** As the server has it. */
export const NAME_BYTES_MAX = 128;

/**
 * @param {import('./storage.js').Kept} storage
 * @returns {Who | null} null as long as no name was chosen. A colour of the older systems (nine digits) is understood.
 */
export function loadWho(storage) {
  const name = storage.getItem(NAME_KEY) ?? '';
  return nameFault(name) ? null : { name, color: hexOf(rgbOf(storage.getItem(COLOR_KEY)) ?? rgbOfName(name)) };
}

/** @param {import('./storage.js').Kept} storage @param {Who} who */
export function saveWho(storage, { name, color }) {
  storage.setItem(NAME_KEY, name);
  storage.setItem(COLOR_KEY, color);
}

/** @param {string} name @returns {string} what is wrong with a name; '' if nothing is */
export function nameFault(name) {
  if (!isVisible(name)) return 'Please give a name.';
  if (/[\u0000-\u001f\u007f-\u009f]/.test(name)) return 'A name has no control characters.';
  if (new TextEncoder().encode(name).length > NAME_BYTES_MAX) return 'This name is too long.';
  return '';
}

/** @param {string} name @param {Iterable<string>} taken @returns {string} what is wrong with a name that looks like another's; '' if nothing is */
export function takenFault(name, taken) {
  const plain = (/** @type {string} */ one) => one.normalize('NFKC').replace(/[\s\p{Cf}]/gu, '').toLowerCase();
  return [...taken].some((other) => plain(other) === plain(name)) ? 'This is the name of a bot. Please choose another.' : '';
}

/**
 * The dialog that asks for both.
 *
 * @param {{ dialog: HTMLDialogElement, form: HTMLFormElement, name: HTMLInputElement, color: HTMLInputElement }} parts
 * @param {import('./storage.js').Kept} storage
 * @param {(who: Who) => void} onChosen
 * @param {() => Iterable<string>} taken names that nobody may choose: those of the bots
 * @returns {{ ask: () => void }}
 */
export function whoDialog({ dialog, form, name, color }, storage, onChosen, taken) {
  let colorChosen = false;
  color.addEventListener('input', () => { colorChosen = true; });
  name.addEventListener('input', () => {
    name.setCustomValidity('');
    if (!colorChosen && name.value) color.value = hexOf(rgbOfName(name.value.trim()));
  });
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    const who = { name: name.value.trim(), color: color.value };
    const fault = nameFault(who.name) || takenFault(who.name, taken());
    name.setCustomValidity(fault);
    if (fault) return void form.reportValidity();
    saveWho(storage, who);
    dialog.close();
    onChosen(who);
  });
  return {
    ask() {
      const who = loadWho(storage);
      colorChosen = who !== null;
      if (who) [name.value, color.value] = [who.name, who.color];
      dialog.showModal();
      name.select();
    },
  };
}
