// Keys: finds out where the focus is, asks keys.js what the key means there, and has it done.

import { byId } from '../parts/dom.js';
import { deedOf } from './keys.js';

/**
 * @typedef {{ composer: import('./composer.js').Composer, scroll: import('./scroll.js').Scroll, act: (act: string, id: string) => void,
 *   stop: () => string | undefined, last: () => string | undefined, refused: () => string | undefined }} Parts
 *   `stop`: the message whose answer is to be stopped; `last`: what was said here last; `refused`: the newest that was not taken
 */

/** @param {Parts} parts */
export function onKeys(parts) {
  const { composer } = parts;
  const touch = !matchMedia('(any-pointer: fine)').matches; // a tablet with a mouse has a keyboard, too
  if (touch) byId('text').setAttribute('enterkeyhint', 'enter');
  document.addEventListener('keydown', (event) => {
    const focused = document.activeElement instanceof HTMLElement ? document.activeElement : document.body;
    const deed = deedOf(event, { place: placeOf(focused), empty: composer.empty, quoting: composer.quoting !== null, touch });
    if (deed && doIt(parts, deed, focused)) event.preventDefault();
  });
}

/** @param {HTMLElement} focused @returns {import('./keys.js').Where['place']} */
function placeOf(focused) {
  if (focused.id === 'text') return 'composer';
  if (focused.closest('dialog, [popover], input, select, textarea')) return 'field';
  if (focused.closest('.msg')) return 'message';
  return focused.id === 'log' ? 'log' : 'page';
}

/** @param {Parts} parts @param {import('./keys.js').Deed} deed @param {HTMLElement} focused @returns {boolean} whether there was something to do */
function doIt({ composer, act, stop, last, refused }, deed, focused) {
  const id = focused.closest('.msg')?.getAttribute('data-id') ?? '';
  switch (deed) {
    case 'send': composer.submit(); return true;
    case 'drop-quote': composer.dropQuote(); return true;
    case 'help': byId('help', HTMLDialogElement).showModal(); return true;
    case 'compose': composer.focus(); return true;
    case 'up': return step(focused, -1);
    case 'down': return step(focused, 1);
    case 'stop': {
      const open = stop();
      if (open) act('stop', open);
      return open !== undefined;
    }
    case 'edit-last': {
      const failed = refused();
      if (failed) {
        act('edit', failed);
        return true;
      }
      const text = last();
      if (text) composer.put(text);
      return text !== undefined;
    }
    default: act(deed, id); return true;
  }
}

/** From message to message; into the log from its end. @param {HTMLElement} focused @param {-1 | 1} by */
function step(focused, by) {
  const messages = [...byId('log').querySelectorAll('.msg')];
  const at = messages.findIndex((message) => message.contains(focused));
  const next = at < 0 ? messages.at(-1) : messages[at + by];
  if (!(next instanceof HTMLElement)) return false;
  next.focus();
  return true;
}
