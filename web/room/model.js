// The shapes of the room page and what can happen to one item. Pure.
//
// An item is a message with everything under it: its answers, the answer being written, the one that was interrupted.

/**
 * @typedef {{ name: string, kind: 'human' | 'bot', color?: string | null }} Author
 * @typedef {{ id: string, room: string, author: Author, text: string, at: string, said_at?: string, reply_to: string | null, position: string,
 *   status: 'none' | 'waiting' | 'claimed' | 'answered' | 'failed' | 'dead' | 'cancelled', reason?: string, redacted?: boolean,
 *   bot?: string, model?: string, total_ms?: number, first_token_ms?: number, finish?: string, notes?: string[] }} Message
 *
 * `next` is the index of the delta that is wanted; `since` (first words), `last` (latest) and the `words` between give
 * the speed.
 * @typedef {{ replyId: string, bot: string, text: string, next: number, since: number | null, last: number, words: number }} Draft
 * @typedef {{ worker: string, bot: string, at: string }} Claim
 * @typedef {{ stage: string, ahead?: number, progress?: number }} Stage
 * @typedef {{ reason: string, retryAt: string | null, attempt: number, away?: boolean }} Failure
 * @typedef {import('../client/types.js').OutboxItem} OutboxItem
 * @typedef {{ message: Message, replies: Message[], draft: Draft | null, interrupted: (Draft & { why: string }) | null,
 *   claim: Claim | null, stage: Stage | null, failure: Failure | null, pending: OutboxItem | null, error: string }} Item
 * @typedef {{ message_id: string, reply_id?: string, bot: string, next_index?: number, text?: string, worker?: string, claimed_at?: string }} InFlight
 */

/** A reply of a bot to a question. Messages of imported bots have no model: they are like everybody's.
 * @param {Message} message */
export const isAnswer = (message) => message.author.kind === 'bot' && message.model !== undefined && message.reply_to !== null;

export const OPEN = new Set(['waiting', 'claimed']);

/** Whether an answer is still to come. @param {Item} item */
export const isOpen = (item) => OPEN.has(item.message.status) && !item.pending;

/** @param {Message} message @param {OutboxItem | null} [pending] @returns {Item} */
export function newItem(message, pending = null) {
  return { message, replies: [], draft: null, interrupted: null, claim: null, stage: null, failure: null, pending, error: '' };
}

/** Keeps the words of an answer that will not go on. @param {Item} item @param {string} why */
export function interrupt(item, why) {
  if (item.draft?.text) item.interrupted = { ...item.draft, why };
  item.draft = null;
}

/** @param {OutboxItem} post @returns {Message} */
export function unsent({ id, room, body, at }) {
  const author = /** @type {Author} */ ({ ...body.author, kind: 'human' });
  return { id, room, author, text: body.text, at, reply_to: body.reply_to ?? null, position: '', status: 'none' };
}

/** @param {Item} item @param {Message['status']} status @param {string} why */
export function moveOn(item, status, why) {
  interrupt(item, why);
  Object.assign(item, { claim: null, stage: null, failure: null, error: '' });
  item.message = { ...item.message, status, reason: undefined };
}

/** @param {Item} item @param {string} id @param {(message: Message) => Message} change */
export function changeMessage(item, id, change) {
  if (item.message.id === id) item.message = change(item.message);
  item.replies = item.replies.map((reply) => (reply.id === id ? change(reply) : reply));
}
