// The dialog about one message: where it stands and why, its life as a picture, what was asked and answered, every step, the
// ways to its room and to looking back. It asks for the timeline when it opens and when the stream says that the message moved
// on; in between the picture of one in flight grows by the clock alone.

import { actButton, make } from '../parts/dom.js';
import { absolute, span } from '../parts/time.js';
import { Picture } from './picture.js';
import { setText } from './table.js';
import { lifeOf, stepWords } from './timeline.js';
import { isFailure, isOpen, measured, pairWords, positionWords, shownAuthor, shownText, stateOf, stateTone, stateWords } from './words.js';
import { whyOf } from './why.js';

/** @import { Ended, Open, Step, Timeline } from './types.js' */
/** @import { Context } from './rows.js' */

const GROW_MS = 100; // how often the picture of one in flight is drawn
const GROW_CALM_MS = 1_000; // for those who want less motion
const STEPS_SHOWN = 200; // newest; a message that was tried oftener is for `antiphon replay why`

export class LifeDialog {
  /**
   * @param {HTMLDialogElement} dialog
   * @param {{ timeline(id: string): Promise<unknown>, refusal(error: unknown): string, context(): Context, left(): void }} needs
   *   `context` gives the present; `left` is called when it is closed
   */
  constructor(dialog, needs) {
    this.dialog = dialog;
    this.needs = needs;
    this.id = '';
    /** @type {Timeline | null} */
    this.timeline = null;
    this.asking = false;
    this.behind = false;
    this.seen = ''; // the state that the timeline was asked for in
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.growing = undefined;
    this.picture = new Picture();
    this.title = make('h2', { id: 'life-title', dir: 'auto' });
    this.state = make('span', { className: 'badge' });
    this.by = make('span', { className: 'by' });
    this.why = make('p', { className: 'life-why' });
    this.note = make('p', { className: 'note', role: 'status' });
    this.deeds = make('p', { className: 'deeds' });
    this.figures = make('dl', { className: 'figures' });
    this.texts = make('div', { className: 'texts' });
    this.steps = make('div', { className: 'steps', role: 'region', tabIndex: 0, aria: { label: 'Every step' } });
    const close = actButton('close', 'Close');
    dialog.setAttribute('aria-labelledby', 'life-title');
    dialog.replaceChildren(
      make('header', null, this.title, close), make('p', { className: 'life-line' }, this.state, this.by), this.why, this.note, this.deeds,
      this.picture.element, this.figures, this.texts, this.steps);
    dialog.addEventListener('close', () => this.#closed());
    dialog.addEventListener('click', (event) => {
      if (isOutside(dialog, event) || (event.target instanceof Element && event.target.closest('[data-act=close]'))) dialog.close();
    });
  }

  /** @param {string} id */
  open(id) {
    this.id = id;
    this.timeline = null;
    this.seen = '';
    this.picture.element.hidden = true;
    this.texts.replaceChildren();
    this.steps.replaceChildren();
    this.#deeds();
    this.draw();
    if (!this.dialog.open) this.dialog.showModal();
    this.dialog.scrollTop = 0;
  }

  /** The server is there again: asks for what could not be had. */
  again() {
    if (this.id && !this.timeline) this.#ask();
  }

  /** What is known of the message changed, or a second passed. */
  draw() {
    if (!this.id) return;
    const context = this.needs.context();
    const known = context.store.find(this.id);
    const seen = known ? `${stateOf(known)} ${isOpen(known) ? known.fence : known.position} ${known.text}` : 'unknown';
    if (seen !== this.seen) {
      this.seen = seen;
      this.#ask();
      this.#deeds();
    }
    this.#head(known, context);
    this.#grow(context);
  }

  /** @param {Open | Ended | undefined} known @param {Context} context */
  #head(known, context) {
    const posted = this.timeline?.steps.find(({ event }) => event === 'message.posted')?.data;
    const text = known?.text ?? posted?.text;
    setText(this.title, text === undefined ? 'A message' : shownText(text).slice(0, 160));
    const name = known ? stateOf(known) : '';
    this.state.className = `badge ${stateTone(name)}`;
    this.state.hidden = !name;
    setText(this.state, stateWords(name));
    const [author, room, bot] = known ? [known.author, known.room, known.bot] : [posted?.author?.name, posted?.room, posted?.bot];
    setText(this.by, room ? `${shownAuthor(author)} in ${room}${bot ? `, to ${bot}` : ''}` : '');
    const why = known && isOpen(known) ? whyOf(known, context.store, context.now) : null;
    this.why.classList.toggle('stuck', why?.stuck ?? false);
    const ended = known && !isOpen(known) ? `${pairWords(known)}${known.reason ? ` ${known.reason}` : ''}` : '';
    setText(this.why, why?.text ?? ended);
    this.why.hidden = !this.why.textContent;
    const note = context.noteOf(this.id);
    if (note) setText(this.note, note);
    this.note.hidden = !note && !this.note.textContent;
    this.#figures(known, context.now);
  }

  /** @param {Open | Ended | undefined} known @param {number} now */
  #figures(known, now) {
    const rows = known
      ? isOpen(known)
        ? [['asked', `${span(now - Date.parse(known.asked_at))} ago`], ['first word', measured(known.first_token_ms)], ['pieces', String(known.deltas)], ['tries', String(known.attempt)], ['priority', String(known.priority)]]
        : [['waited', measured(known.waited_ms)], ['first word', measured(known.first_token_ms)], ['total', measured(known.total_ms)], ['tries', String(known.attempts)], ['model', known.model ?? '–']]
      : [];
    const old = this.figures.children;
    if (old.length !== rows.length || rows.some(([term], at) => old[at]?.firstChild?.textContent !== term)) {
      this.figures.replaceChildren(...rows.map(([term]) => make('div', { className: 'figure' }, make('dt', null, term), make('dd'))));
    }
    rows.forEach(([, value], at) => setText(/** @type {Element} */ (old[at]?.lastElementChild), value ?? ''));
  }

  /** The buttons and links that its state allows. */
  #deeds() {
    const { store } = this.needs.context();
    const known = store.find(this.id);
    const posted = this.timeline?.steps[0]?.data;
    const room = known?.room ?? posted?.room;
    const ended = known && !isOpen(known) ? known.position : this.timeline?.steps.at(-1)?.position;
    const held = document.activeElement instanceof HTMLElement && this.deeds.contains(document.activeElement);
    const act = known && isOpen(known) ? actButton('cancel', 'Cancel', 'button danger small')
      : known && actButton('retry', isFailure(known) ? 'Retry' : 'Ask again', 'button small');
    if (act) act.dataset.id = this.id;
    const base = roomPath(room);
    this.deeds.replaceChildren(...[
      act,
      base && make('a', { className: 'button quiet small', href: `${base}#m-${this.id}` }, 'Open in its room'),
      base && ended && make('a', { className: 'button quiet small', href: `${base}?at=${encodeURIComponent(ended)}` }, 'Look back to then'),
    ].filter((one) => one instanceof Node));
    if (held) /** @type {HTMLElement | null} */ (this.deeds.firstElementChild)?.focus();
  }

  /** Asks for the steps; one question at a time, the last one wins. */
  async #ask() {
    if (this.asking) {
      this.behind = true;
      return;
    }
    const { id } = this;
    this.asking = true;
    try {
      const timeline = /** @type {Timeline} */ (await this.needs.timeline(id));
      if (this.id === id) this.#came(timeline);
    } catch (error) {
      if (this.id === id) this.note.textContent = this.needs.refusal(error);
      this.note.hidden = false;
    } finally {
      this.asking = false;
      if (this.behind && this.id) {
        this.behind = false;
        this.#ask();
      }
    }
  }

  /** @param {Timeline} timeline */
  #came(timeline) {
    this.timeline = timeline;
    this.note.textContent = '';
    const said = timeline.steps.filter(({ event }) => event === 'message.posted' || event === 'reply.posted');
    this.texts.replaceChildren(...said.map(({ data }) =>
      make('figure', { className: data.model ? 'said reply' : 'said' },
        make('figcaption', null, shownAuthor(data.author?.name), data.model && ` · ${data.model}`, data.usage && ` · ${usageWords(data.usage)}`),
        make('blockquote', { tabIndex: 0, dir: 'auto' }, shownText(data.text)))));
    this.steps.replaceChildren(stepsTable(timeline.steps.slice(-STEPS_SHOWN), roomPath(timeline.steps[0]?.data.room)));
    this.#deeds();
    this.draw();
  }

  /** @param {Context} context draws the picture, and again soon if it grows */
  #grow({ store, now }) {
    const life = this.timeline && lifeOf(this.timeline, { stages: store.stages.get(this.id) ?? [], now });
    this.picture.element.hidden = !life;
    if (life) this.picture.set(life);
    clearTimeout(this.growing);
    if (!life?.open) return;
    const calm = matchMedia('(prefers-reduced-motion: reduce)').matches;
    this.growing = setTimeout(() => this.#grow(this.needs.context()), calm ? GROW_CALM_MS : GROW_MS);
  }

  #closed() {
    clearTimeout(this.growing);
    this.id = '';
    this.needs.left();
  }
}

/** @param {HTMLElement} dialog @param {MouseEvent} event @returns {boolean} whether the backdrop was meant */
function isOutside(dialog, { target, clientX, clientY, detail }) {
  const { left, right, top, bottom } = dialog.getBoundingClientRect();
  const inside = clientX >= left && clientX <= right && clientY >= top && clientY <= bottom;
  return target === dialog && detail > 0 && !inside; // a key's click has no place
}

/** @param {string | undefined} room @returns {string | undefined} its address */
const roomPath = (room) => room && `/r/${encodeURIComponent(room)}`;

/** @param {{ prompt_tokens?: number, completion_tokens?: number }} usage */
const usageWords = ({ prompt_tokens: read, completion_tokens: wrote }) => `${read ?? '?'} tokens read, ${wrote ?? '?'} written`;

/** @param {Step[]} steps @param {string | undefined} base the room's address, to look back to each of them */
function stepsTable(steps, base) {
  const row = (/** @type {Step} */ step) => {
    const time = make('time', { dateTime: step.at, title: absolute(step.at) }, step.at.slice(11, 23));
    const entry = positionWords(step.position);
    const link = base ? make('a', { href: `${base}?at=${encodeURIComponent(step.position)}`, title: `the room as it was then, ${step.position}` }, entry) : entry;
    return make('tr', null, make('th', { scope: 'row' }, time), make('td', { className: 'number' }, `+${span(step.ms)}`), make('td', null, stepWords(step)),
      make('td', { className: 'number' }, link));
  };
  const heads = [['When', ''], ['After', 'number'], ['What', ''], ['Entry', 'number']];
  return make('table', null,
    make('caption', null, 'Every step, as the log has it (UTC)'),
    make('thead', null, make('tr', null, ...heads.map(([name, className]) => make('th', { scope: 'col', className }, name)))),
    make('tbody', null, ...steps.map(row)));
}
