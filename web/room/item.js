// An item as elements: the question, its answers, the line that says where it stands. `updateItem` changes only what
// differs, so that selection and focus stay, and the words of a growing answer cost what its last block costs.
// Who listens to the buttons (`data-act`) is whoever shows the items.

import { paint } from '../parts/color.js';
import { actButton, make } from '../parts/dom.js';
import { Markdown, plain } from '../parts/markdown.js';
import { absolute, clock, dayOf, dayWords, millis } from '../parts/time.js';
import { keep } from './keep.js';
import { statusOf, tookWords } from './status.js';
import { isVisible } from './visible.js';

/**
 * @typedef {import('./model.js').Item} Item
 * @typedef {import('./model.js').Message} Message
 *
 * What an item needs to know of the rest: `previous` is the item above it, `find` gives the message that one replies to,
 * `unreadFrom` is the id of the first unread message, `colors` the bots' colours, `bots` how the room's bots are, `live`
 * whether acts (stop, retry …) are offered (they are if it is left out).
 * @typedef {{ now: number, previous?: Item | null, find?: (id: string) => Message | undefined, unreadFrom?: string | null,
 *   colors?: Map<string, string>, bots?: import('./status.js').Bots, live?: boolean }} Context
 *
 * @typedef {{ id: string, bot: string, color?: string | null, badge: string, at: string, text: string,
 *   state: 'whole' | 'writing' | 'interrupted' | 'redacted', note: string }} Answer
 */

/** Messages of one author that come within this time stand together. */
const GROUP_MS = 5 * 60_000;

/** The quoted line of an earlier message is cut here. */
const QUOTE_CHARS_MAX = 140;

/** A button is told apart from others like it by so much of the question. */
const ABOUT_CHARS_MAX = 40;

/** @type {Record<string, string>} */
const ACTS = { stop: 'Stop', retry: 'Retry', edit: 'Edit', again: 'Try again', discard: 'Discard' };

/** @param {Item} item @param {Context} context @returns {HTMLElement} */
export function renderItem(item, context) {
  const element = make('div', { id: `m-${item.message.id}`, data: { id: item.message.id } });
  updateItem(element, item, context);
  return element;
}

/** @param {HTMLElement} element one that `renderItem` made @param {Item} item @param {Context} context */
export function updateItem(element, item, context) {
  const { message } = item;
  const day = dayAbove(item, context);
  const grouped = day === '' && context.unreadFrom !== message.id && belongsTo(item, context.previous);
  const className = ['item', grouped && 'grouped', item.pending && `unsent ${item.pending.state}`].filter(Boolean).join(' ');
  if (element.className !== className) element.className = className;
  keep(element, [
    day !== '' && { key: `day ${day}`, make: () => make('div', { className: 'day' }, make('span', null, day)) },
    context.unreadFrom === message.id && { key: 'unread', make: () => make('div', { className: 'unread' }, make('span', null, 'new')) },
    { key: questionKey(item, context), make: () => question(message, context) },
    ...answersOf(item, context).map((answer) => ({
      key: `answer ${answer.id}`,
      make: () => answerElement(answer),
      update: (/** @type {HTMLElement} */ made) => updateAnswer(made, answer),
    })),
    item.replies.length > 1 && { key: `earlier ${item.replies.length}`, make: () => earlier(item) },
    { key: 'status', make: () => make('p', { className: 'status' }), update: (made) => updateStatus(made, item, context) },
  ]);
}

/** When it was said, as far as anybody knows: of what was imported, long before the log took it. @param {Message} message */
const shownAt = (message) => message.said_at ?? message.at;

/** The day that begins with this item, or ''. @param {Item} item @param {Context} context */
function dayAbove({ message }, { previous, now }) {
  return previous && dayOf(shownAt(previous.message)) === dayOf(shownAt(message)) ? '' : dayWords(shownAt(message), now);
}

/** Whether an item goes on with what its author said right before. @param {Item} item @param {Item | null} [previous] */
export function belongsTo({ message }, previous) {
  if (!previous || previous.message.status !== 'none' || previous.replies.length > 0 || message.reply_to) return false;
  const [one, other] = [message.author, previous.message.author];
  const near = Math.abs(millis(shownAt(message)) - millis(shownAt(previous.message))) < GROUP_MS;
  return near && one.name === other.name && one.kind === other.kind && (one.color ?? '') === (other.color ?? '');
}

/** @param {Item} item @param {Context} context */
function questionKey({ message }, context) {
  const quoted = message.reply_to ? context.find?.(message.reply_to) : undefined;
  return ['question', message.at, message.redacted, message.author.name, quoted?.id, quoted?.redacted].join(' ');
}

/** @param {Message} message @param {Context} context */
function question(message, context) {
  const badge = message.author.kind === 'bot' ? (message.model ?? 'bot') : '';
  return make('article', { className: 'msg', tabIndex: -1, data: { id: message.id }, aria: { label: `${message.author.name}, ${clock(shownAt(message))}` } },
    head(message.author, shownAt(message), badge), message.reply_to && quote(message.reply_to, context.find?.(message.reply_to)),
    textElement(message.redacted ? null : message.text));
}

/** @param {string} id @param {Message} [message] */
function quote(id, message) {
  const words = message ? [make('bdi', null, shownName(message.author)), ': ', make('bdi', null, message.redacted ? 'message deleted' : plain(message.text).slice(0, QUOTE_CHARS_MAX))] : ['an earlier message'];
  return make('button', { type: 'button', className: 'quote', title: 'Go to this message', data: { act: 'jump', to: id } }, ...words);
}

/** A name of which nothing is seen would be nobody's. @param {{ name: string }} author */
const shownName = ({ name }) => (isVisible(name) ? name : '(no name)');

/** @param {{ name: string, kind: string, color?: string | null }} author @param {string} at @param {string} badge */
function head(author, at, badge) {
  const { color, ink } = paint(author);
  const avatar = make('span', { className: author.kind === 'bot' ? 'avatar of-bot' : 'avatar', aria: { hidden: true } }, [...author.name][0]?.toUpperCase() ?? '?');
  avatar.style.backgroundColor = color;
  avatar.style.color = ink;
  return make('header', { className: 'head' }, avatar, make('bdi', { className: 'author' }, shownName(author)),
    badge && make('span', { className: 'badge' }, badge),
    at && make('time', { dateTime: at, title: absolute(at) }, clock(at)));
}

/** @param {string | null} text null: taken back */
function textElement(text) {
  const made = make('div', { className: 'text' }, text === null && make('p', { className: 'taken-back' }, 'message deleted'));
  if (text !== null) grow(made, text, true);
  return made;
}

/** The answers that stand open: the newest, and the one being written or interrupted. @param {Item} item @param {Context} context @returns {Answer[]} */
function answersOf({ message, replies, draft, interrupted, failure }, { colors }) {
  const newest = replies.at(-1);
  const unfinished = (/** @type {import('./model.js').Draft} */ { replyId, bot, text }) => ({ id: replyId, bot, color: colors?.get(bot), badge: '', at: '', text });
  return [
    ...(newest ? [wholeAnswer(newest)] : []),
    ...(interrupted && interrupted.replyId !== draft?.replyId ? [{ ...unfinished(interrupted), state: /** @type {const} */ ('interrupted'), note: interruptedWords(interrupted.why, message.status, failure !== null) }] : []),
    ...(draft ? [{ ...unfinished(draft), state: /** @type {const} */ ('writing'), note: '' }] : []),
  ];
}

/** A reason that the line below says is not said twice. @param {string} why @param {Message['status']} status @param {boolean} failed */
function interruptedWords(why, status, failed) {
  if (status === 'cancelled') return 'stopped here';
  return failed || status === 'dead' || why === '' ? 'interrupted' : `interrupted: ${why}`;
}

/** @param {Message} reply @returns {Answer} */
function wholeAnswer({ id, author, model, at, text, redacted, notes = [] }) {
  return { id, bot: author.name, color: author.color, badge: model ?? 'bot', at, text, state: redacted ? 'redacted' : 'whole', note: redacted ? '' : notes.map(noteWords).join(' · ') };
}

/** A note without its code, `code: words`. @param {string} note */
const noteWords = (note) => note.replace(/^cut-off: /, 'cut off: ').replace(/^[a-z-]+: /, '');

/** What a text element shows; `markdown` is there while it grows. @type {WeakMap<Element, { text: string, markdown: Markdown | null }>} */
const SHOWN = new WeakMap();

/** @param {Answer} answer */
function answerElement(answer) {
  const made = make('article', { tabIndex: -1, data: { id: answer.id } });
  updateAnswer(made, answer);
  return made;
}

/** @param {HTMLElement} element @param {Answer} answer */
function updateAnswer(element, answer) {
  const { state, bot, badge, at, note } = answer;
  const className = `msg answer ${state}`;
  if (element.className !== className) {
    element.className = className;
    element.setAttribute('aria-busy', String(state === 'writing'));
    element.setAttribute('aria-label', at ? `${bot}, ${clock(at)}` : bot);
  }
  keep(element, [
    { key: `head ${bot} ${badge} ${at}`, make: () => head({ name: bot, kind: 'bot', color: answer.color }, at, badge) },
    state === 'redacted'
      ? { key: 'taken back', make: () => textElement(null) }
      : { key: 'text', make: () => make('div', { className: 'text' }), update: (made) => grow(made, answer.text, state !== 'writing') },
    note !== '' && { key: `note ${note}`, make: () => make('p', { className: 'note' }, note) },
  ]);
}

/** @param {HTMLElement} element @param {string} text the whole text so far @param {boolean} whole */
function grow(element, text, whole) {
  let shown = SHOWN.get(element);
  if (shown && shown.text === text && (whole ? !shown.markdown : shown.markdown)) return;
  if (!shown?.markdown) {
    element.replaceChildren();
    shown = { text: '', markdown: new Markdown(element) };
    SHOWN.set(element, shown);
  }
  shown.text = text;
  if (!whole) return shown.markdown?.set(text);
  shown.markdown?.finish(text);
  shown.markdown = null;
}

/** The answers before the newest. @param {Item} item */
function earlier(item) {
  const count = item.replies.length - 1;
  const made = make('details', { className: 'earlier' }, make('summary', null, count === 1 ? '1 earlier answer' : `${count} earlier answers`));
  made.append(...item.replies.slice(0, -1).map((reply, index) => {
    const answer = answerElement(wholeAnswer(reply));
    answer.append(make('p', { className: 'took' }, tookWords(item, index)));
    return answer;
  }));
  return made;
}

/** @param {HTMLElement} line @param {Item} item @param {Context} context */
function updateStatus(line, item, context) {
  const { text, tone, actions } = statusOf(item, context.now, context.bots);
  const offered = context.live === false ? [] : actions.filter((action) => ACTS[action]);
  const shape = [text, tone, ...offered].join('|');
  if (line.dataset.shape === shape) return;
  line.dataset.shape = shape;
  line.className = `status ${tone}`;
  line.hidden = text === '' && offered.length === 0;
  keep(line, [
    { key: 'words', make: () => make('span', { className: 'words' }), update: (made) => { made.textContent = text; } },
    ...offered.map((action) => ({ key: action, make: () => actButton(action, ACTS[action] ?? action, undefined, plain(item.message.text).slice(0, ABOUT_CHARS_MAX)) })),
  ]);
}
