// The words about where things stand: one honest line for each answer, and the banner about the connection. Pure.

import { span } from '../parts/time.js';
import { isOpen } from './model.js';
import { reasonWords, refusalWords } from './reasons.js';

/**
 * @typedef {import('./model.js').Item} Item
 * @typedef {'stop' | 'retry' | 'regenerate' | 'again' | 'edit' | 'discard'} Action
 * @typedef {'quiet' | 'busy' | 'good' | 'bad'} Tone
 * @typedef {{ text: string, tone: Tone, actions: Action[] }} Status
 * @typedef {import('../client/types.js').Status} Connection
 * @typedef {Map<string, Pick<import('./ask.js').Bot, 'state'>>} Bots
 */

/** A speed is said only after so long: before that it is a guess. */
const SPEED_AFTER_MS = 1_000;

/** A short break is not worth a word. */
const BANNER_AFTER_MS = 2_000;

/**
 * The line below a question. An empty text means that there is nothing to say.
 *
 * @param {Item} item
 * @param {number} now ms
 * @param {Bots} [bots] the room's, by name, as far as they are known
 * @returns {Status}
 */
export function statusOf(item, now, bots) {
  const status = item.pending ? unsentStatus(item.pending) : askedStatus(item, now, bots);
  return item.error ? { ...status, text: `${status.text} (${item.error})`, tone: 'bad' } : status;
}

/** @param {import('./model.js').OutboxItem} post @returns {Status} */
function unsentStatus({ state, why, code, position }) {
  if (position) return line('sent', 'quiet');
  switch (state) {
    case 'failed': return line(`not sent: ${code ? refusalWords(code, why) : why}`, 'bad', 'edit', 'again', 'discard');
    case 'parked': return line('kept by the server until its storage is back', 'busy');
    case 'sending': return line('sending', 'quiet');
    default: return line(why ? `not sent yet: ${code ? refusalWords(code, why) : why}` : 'not sent yet; it goes out by itself', 'busy', 'discard');
  }
}

/** @param {Item} item @param {number} now @param {Bots} [bots] @returns {Status} */
function askedStatus(item, now, bots) {
  const { message, replies, failure } = item;
  const why = reasonWords(failure?.reason ?? message.reason ?? '', message.bot);
  switch (message.status) {
    case 'waiting': return line(waiting(item, now, bots), failure ? 'bad' : 'busy', 'stop');
    case 'claimed': return line(claimed(item), 'busy', 'stop');
    case 'answered': return line(replies.length ? tookWords(item, replies.length - 1) : 'answered', 'good', 'regenerate');
    case 'failed': return line(`no answer: ${why}`, 'bad', 'retry');
    case 'dead': return line(`no answer: ${why}${message.reason?.startsWith('attempts-used-up') ? ' (tried several times)' : ''}`, 'bad', 'retry');
    case 'cancelled': return line('stopped', 'quiet', 'retry');
    default: return line('', 'quiet');
  }
}

/** @param {string} text @param {Tone} tone @param {...Action} actions @returns {Status} */
const line = (text, tone, ...actions) => ({ text, tone, actions });

/** @param {Item} item @param {number} now @param {Bots} [bots] */
function waiting({ message, stage, failure }, now, bots) {
  const bot = message.bot ?? '';
  if (failure?.retryAt) {
    return `${failure.away ? 'waiting: ' : ''}${reasonWords(failure.reason, message.bot)} · ${tryAt(failure.retryAt, now)}`;
  }
  switch (bots?.get(bot)?.state) {
    case 'no-worker': return `waiting: no worker for ${bot} is connected`;
    case 'paused': return `waiting: ${bot} is unavailable at the moment`;
    default: // its turn has not come
  }
  return stage?.ahead === undefined ? 'queued' : `queued as number ${stage.ahead + 1}`;
}

/** @param {string} at @param {number} now */
function tryAt(at, now) {
  const seconds = Math.ceil((Date.parse(at) - now) / 1_000);
  return seconds > 0 ? `next try in ${seconds} s` : 'trying again';
}

/** @param {Item} item */
function claimed({ claim, stage, draft }) {
  if (draft?.text) return ['writing', speed(draft)].filter(Boolean).join(' · ');
  const share = stage?.progress === undefined ? '' : ` ${Math.round(stage.progress * 100)} %`;
  switch (stage?.stage) {
    case 'loading-model': return `loading model${share}`;
    case 'reading-prompt': return `reading${share}`;
    case 'writing': return 'writing';
    case undefined: case 'queued': return claim ? `claimed by ${workerName(claim.worker)}` : 'claimed';
    default: return `${stage?.stage}${share}`;
  }
}

/** @param {import('./model.js').Draft} draft */
function speed({ since, last, words }) {
  const ms = since === null ? 0 : last - since;
  if (ms < SPEED_AFTER_MS || words === 0) return '';
  const rate = Math.max(1, Math.round(words / (ms / 1_000)));
  return `${rate} ${rate === 1 ? 'word' : 'words'}/s`;
}

/** Workers inside the server are `in-process/bot/1`: the first part says nothing to a reader. @param {string} name */
export const workerName = (name) => name.replace(/^in-process\//, '');

/**
 * How long an answer took: the first from the question on, a later one (asked again) from its claim on.
 *
 * @param {Item} item
 * @param {number} index of the answer
 */
export function tookWords({ message, replies }, index) {
  const reply = replies[index];
  if (!reply) return '';
  if (index === 0) return `[human → AI reply: ${span(Date.parse(reply.at) - Date.parse(message.at))}]`;
  return reply.total_ms === undefined ? '[asked again → AI reply]' : `[asked again → AI reply: ${span(reply.total_ms)}]`;
}

/** Whether the words of an item change by themselves as time goes on. @param {Item} item */
export const ticks = (item) => isOpen(item) && Boolean(item.failure?.retryAt);

/**
 * What the banner says about the connection; null when all is well or the break is too short to speak of.
 *
 * @param {Connection} connection
 * @param {number} now
 * @returns {{ text: string, tone: 'warn' | 'bad' } | null}
 */
export function bannerOf(connection, now) {
  const { state, since, retryAt, online, store, parked } = connection;
  if (state !== 'live') {
    if (now - since < BANNER_AFTER_MS) return null;
    const kept = 'What you send is kept and goes out by itself.';
    if (!online) return { text: `You are offline. ${kept}`, tone: 'warn' };
    if (state === 'connecting') return { text: 'Connecting to the server …', tone: 'warn' };
    if (state === 'busy') return { text: `The server is busy; ${again(retryAt, now)}. ${kept}`, tone: 'warn' };
    return { text: `The connection is lost; ${again(retryAt, now)}. ${kept}`, tone: 'warn' };
  }
  if (store === 'degraded') {
    const wait = parked > 0 ? ` ${parked} ${parked === 1 ? 'message waits' : 'messages wait'}.` : '';
    return { text: `The server cannot reach its storage. Messages are kept on its disk and delivered when it is back.${wait}`, tone: 'warn' };
  }
  if (store === 'refusing') return { text: 'The server is not accepting messages because its storage was replaced. Please tell the operator.', tone: 'bad' };
  return null;
}

/** @param {number | null} at @param {number} now */
function again(at, now) {
  const seconds = at === null ? 0 : Math.ceil((at - now) / 1_000);
  return seconds > 0 ? `trying again in ${seconds} s` : 'trying again';
}

/** Above this the title counts no further. */
const UNREAD_SHOWN_MAX = 99;

/** @param {string} room @param {number} unread @returns {string} the title of the page */
export function titleOf(room, unread) {
  const count = unread > UNREAD_SHOWN_MAX ? `${UNREAD_SHOWN_MAX}+` : unread;
  return `${unread > 0 ? `(${count}) ` : ''}${room} · Antiphon`;
}
