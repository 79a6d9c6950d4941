// What a key means on the room page. Pure: the caller does it.

/**
 * @typedef {'send' | 'edit-last' | 'stop' | 'drop-quote' | 'help' | 'compose' | 'up' | 'down' | 'reply' | 'copy' | 'link'} Deed
 * @typedef {{ key: string, shiftKey: boolean, ctrlKey: boolean, metaKey: boolean, altKey: boolean, isComposing: boolean }} Key
 * @typedef {{ place: 'composer' | 'log' | 'message' | 'field' | 'page', empty: boolean, quoting: boolean, touch?: boolean }} Where
 *   `place` is what has the focus (`field`: another field or a dialog), `empty` whether the composer is, `quoting` whether
 *   a reply to a message is being written, `touch` whether the keyboard is one on the screen, which has no Shift+Enter
 */

/**
 * @param {Key} key
 * @param {Where} where
 * @returns {Deed | null} null: the browser's own meaning
 */
export function deedOf(key, where) {
  if (where.place === 'composer' && key.key === 'Enter' && !key.isComposing && (key.ctrlKey || key.metaKey)) return 'send';
  if (key.isComposing || key.ctrlKey || key.metaKey || key.altKey || where.place === 'field') return null;
  if (key.key === 'Escape') return where.quoting ? 'drop-quote' : 'stop';
  if (where.place === 'composer') return inComposer(key, where);
  if (key.key === '?') return 'help';
  if (key.key === '/') return 'compose';
  if (where.place === 'message') return onMessage(key);
  return where.place === 'log' ? ({ ArrowUp: /** @type {const} */ ('up'), ArrowDown: /** @type {const} */ ('down') }[key.key] ?? null) : null;
}

/** @param {Key} key @param {Where} where @returns {Deed | null} */
function inComposer({ key, shiftKey }, { empty, touch }) {
  if (key === 'Enter') return shiftKey || touch ? null : 'send';
  return empty && key === 'ArrowUp' ? 'edit-last' : null;
}

/** @param {Key} key @returns {Deed | null} */
function onMessage({ key }) {
  switch (key) {
    case 'ArrowUp': return 'up';
    case 'ArrowDown': return 'down';
    case 'r': return 'reply';
    case 'c': return 'copy';
    case 'l': return 'link';
    default: return null;
  }
}
