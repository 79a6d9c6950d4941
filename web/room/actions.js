// What can be done with a message, and doing it: the page's buttons and keys end here.

import { copyText } from '../parts/markdown.js';
import { isOpen } from './model.js';
import { errorWords } from './reasons.js';
import { statusOf } from './status.js';

/**
 * @typedef {import('./model.js').Message} Message
 * @typedef {import('./model.js').Item} Item
 * @typedef {import('./store.js').Store} Store
 * @typedef {{ cancel: (id: string) => Promise<unknown>, retry: (id: string) => Promise<unknown>, redact: (id: string) => Promise<unknown> }} Api
 * @typedef {{ room: string, store: Store, api: Api, composer: import('./composer.js').Composer, again: (id: string) => void,
 *   discard: (id: string) => boolean, draw: (ids: Set<string>) => void, note: (words: string) => void,
 *   jump: (id: string) => void, isOwn: (message: Message) => boolean, sure: () => void }} Parts
 *   `again`, `discard`: of what is in the outbox; `sure`: asks once more before something is taken back
 */

/**
 * What the toolbar of a message offers.
 *
 * @param {Store} store
 * @param {string} id of a message or an answer
 * @param {(message: Message) => boolean} isOwn
 * @returns {{ act: string, words: string }[]}
 */
export function offersOf(store, id, isOwn) {
  const [message, item] = [store.message(id), store.find(id)];
  if (!message || !item || message.redacted) return [];
  const again = item.replies.at(-1)?.id === id && statusOf(item, 0).actions.includes('regenerate');
  return [
    { act: 'reply', words: 'Reply' },
    { act: 'copy', words: 'Copy' },
    { act: 'link', words: 'Link' },
    ...(again ? [{ act: 'regenerate', words: 'Regenerate' }] : []),
    ...(again && message.notes?.some((note) => note.startsWith('cut-off: ')) ? [{ act: 'go-on', words: 'Go on' }] : []),
    ...(isOwn(message) && !isOpen(item) ? [{ act: 'take-back', words: 'Delete' }] : []),
  ];
}

/** The newest message of one's own that still waits for its answer. @param {Store} store @param {(message: Message) => boolean} isOwn @returns {Item | undefined} */
export function newestOpen(store, isOwn) {
  let newest;
  for (const id of store.open) {
    const item = store.items.get(id);
    if (item && isOwn(item.message) && (!newest || item.message.position > newest.message.position)) newest = item;
  }
  return newest;
}

/** The last message that somebody said here. @param {Store} store @param {(message: Message) => boolean} isOwn */
export function lastOwn(store, isOwn) {
  for (let at = store.order.length - 1; at >= 0; at -= 1) {
    const message = store.items.get(store.order[at] ?? '')?.message;
    if (message && isOwn(message) && !message.redacted) return message;
  }
  return undefined;
}

/** @param {Parts} parts @returns {(act: string, id: string, button?: HTMLElement) => void} `id`: of the message or answer that it is about */
export function actor(parts) {
  const { store, api, composer } = parts;
  const ask = (/** @type {(id: string) => Promise<unknown>} */ request, /** @type {string} */ id) => {
    const item = store.find(id);
    if (!item) return;
    const about = item.message.id;
    request(about).then(
      () => parts.draw(store.setError(about, '')),
      (/** @type {Error} */ error) => parts.draw(store.setError(about, errorWords(error))),
    );
  };
  const copy = async (/** @type {string} */ text, /** @type {string} */ words) => {
    parts.note((await copyText(text)) === false ? 'This browser does not let the page copy.' : words);
  };
  /** @type {Record<string, (id: string, button?: HTMLElement) => void>} */
  const actions = {
    stop: (id) => ask(api.cancel, id),
    retry: (id) => ask(api.retry, id),
    regenerate: (id) => ask(api.retry, id),
    again: (id) => parts.again(id),
    discard: (id) => void parts.discard(id),
    edit: (id) => {
      if (!composer.empty) return parts.note('Send or clear what you are writing first.');
      const body = store.pending.find(({ message }) => message.id === id)?.pending?.body;
      if (body && parts.discard(id)) composer.restore(body, body.reply_to ? store.message(body.reply_to) : undefined);
    },
    'take-back': () => parts.sure(),
    'take-back-surely': (id) => {
      api.redact(id).then(() => parts.note('Message deleted.'), (/** @type {Error} */ error) => parts.note(errorWords(error)));
    },
    copy: (id) => void copy(store.message(id)?.text ?? '', 'Copied.'),
    link: (id) => void copy(`${location.origin}/r/${encodeURIComponent(parts.room)}#m-${id}`, 'The link is copied.'),
    reply: (id) => {
      const message = store.message(id);
      if (message) composer.quote(message);
    },
    'go-on': (id) => {
      const message = store.message(id);
      if (!message) return;
      composer.quote(message);
      composer.put('Go on.');
      composer.focus();
    },
    jump: (_, button) => parts.jump(button?.dataset.to ?? ''),
    say: (_, button) => {
      composer.put(button?.textContent ?? '');
      composer.focus();
    },
  };
  return (act, id, button) => actions[act]?.(id, button);
}
