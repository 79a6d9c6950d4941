// What each event of the feed does to the store, by its name on the stream. Pure. An event that is not here changes nothing.

import { changeMessage, interrupt, moveOn } from './model.js';
import { reasonWords } from './reasons.js';

/** @typedef {import('./store.js').Store} Store */

/** @type {Record<string, string>} */
const RELEASED = { 'lease-over': 'its worker stopped responding', restarted: 'the server restarted', goodbye: 'its worker left' };
const RELEASED_ELSE = 'it was started again';

/** How many words end in a piece of text. @param {string} text */
const wordsIn = (text) => text.match(/\S(?=\s|$)/g)?.length ?? 0;

/** @type {Record<string, (store: Store, data: any, now: number) => void>} */
export const HANDLERS = {
  snapshot: (store, { messages, in_flight }, now) => store.snapshot(messages, in_flight ?? [], now),
  reset: (store, { reason }) => { if (reason === 'other-epoch') store.startAnew(); },
  'message.posted': (store, message) => store.put(message),
  'reply.posted': (store, message) => store.put(message),
  'message.claimed': (store, { message_id, bot, worker, at }) =>
    store.about(message_id, (item) => {
      interrupt(item, 'another worker took over');
      Object.assign(item, { claim: { worker, bot, at }, stage: null, failure: null, error: '' });
      item.message = { ...item.message, status: 'claimed', reason: undefined };
    }),
  'message.released': (store, { message_id, reason }) =>
    store.about(message_id, (item) => moveOn(item, 'waiting', RELEASED[reason] ?? RELEASED_ELSE)),
  'message.failed': (store, { message_id, reason, attempt, retry_at, away }) =>
    store.about(message_id, (item) => {
      moveOn(item, retry_at ? 'waiting' : 'failed', reasonWords(reason, item.message.bot));
      item.failure = { reason, retryAt: retry_at ?? null, attempt, away: away === true };
    }),
  'message.dead': (store, { message_id, reason }) =>
    store.about(message_id, (item) => {
      moveOn(item, 'dead', reasonWords(reason, item.message.bot));
      item.message.reason = reason;
    }),
  'message.cancelled': (store, { message_id }) => store.about(message_id, (item) => moveOn(item, 'cancelled', 'it was stopped')),
  'message.completed': (store, { message_id }) => store.about(message_id, (item) => moveOn(item, 'answered', '')),
  'message.redacted': (store, { message_id }) =>
    store.about(message_id, (item) => {
      changeMessage(item, message_id, (message) => ({ ...message, text: '', redacted: true }));
      if (item.message.id === message_id) Object.assign(item, { draft: null, interrupted: null });
    }),
  'message.erased': (store, { message_id }) =>
    store.about(message_id, (item) =>
      changeMessage(item, message_id, (message) => ({ ...message, author: { kind: message.author.kind, name: 'erased' }, text: '', redacted: true }))),
  'reply.started': (store, event) => store.drafted(event, () => {}),
  'reply.delta': (store, event, now) =>
    store.drafted(event, (draft, item) => {
      if (event.index !== draft.next) return; // seen already, or a gap that the next snapshot closes
      if (draft.since === null) draft.since = now;
      else draft.words += wordsIn(event.text);
      draft.last = now;
      draft.next += 1;
      draft.text += event.text;
      item.interrupted = null;
    }),
  'reply.snapshot': (store, event, now) => store.written(event, now),
  'reply.reset': (store, { message_id, reason }) => store.about(message_id, (item) => interrupt(item, RELEASED[reason] ?? RELEASED_ELSE)),
  'reply.progress': (store, { message_id, stage, ahead, progress }) =>
    store.about(message_id, (item) => { item.stage = { stage, ahead, progress }; }),
};
