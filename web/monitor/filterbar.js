// The bar that narrows the lists: room, bot, states, words. It holds the one filter there is; the URL's query follows it.

import { make } from '../parts/dom.js';
import { noFilter, readFilter, roomsOf, stateCounts, TEXT_MAX, writeFilter, isNarrow } from './filters.js';
import { setText } from './table.js';
import { STATES } from './words.js';

/** @import { Filter } from './filters.js' */
/** @import { Ended, Open } from './types.js' */

export class FilterBar {
  /**
   * @param {HTMLFormElement} form empty
   * @param {() => void} changed
   */
  constructor(form, changed) {
    this.form = form;
    this.changed = changed;
    /** @type {Filter} */
    this.filter = readFilter(location.search);
    this.room = make('select', { id: 'filter-room', className: 'field' });
    this.bot = make('select', { id: 'filter-bot', className: 'field' });
    this.text = make('input', {
      id: 'filter-text', className: 'field', type: 'search', maxLength: TEXT_MAX, autocomplete: 'off', spellcheck: false, placeholder: 'text, author, worker, reason, id',
    });
    /** @type {Map<string, { box: HTMLInputElement, count: HTMLElement }>} */
    this.states = new Map();
    const pills = STATES.map(({ state, words }) => {
      const [box, count] = [make('input', { type: 'checkbox', value: state }), make('b')];
      this.states.set(state, { box, count });
      return make('label', { className: 'state-pill' }, box, make('span', null, words), count);
    });
    this.clear = make('button', { type: 'reset', className: 'button quiet small' }, 'Show all');
    form.append(
      field('Room', this.room), field('Bot', this.bot), field('Find', this.text),
      make('fieldset', null, make('legend', { className: 'visually-hidden' }, 'States'), ...pills), this.clear);
    form.addEventListener('submit', (event) => event.preventDefault());
    form.addEventListener('input', () => this.#read());
    form.addEventListener('reset', (event) => {
      event.preventDefault();
      this.#take(noFilter());
      this.text.focus();
    });
    addEventListener('popstate', () => this.#take(readFilter(location.search)));
    this.#show();
  }

  /**
   * Shows what there is to choose from.
   *
   * @param {{ messages: (Open | Ended)[], counted: (Open | Ended)[], bots: string[] }} there `counted`: those that pass but for their state
   */
  offer({ messages, counted, bots }) {
    options(this.room, 'all rooms', roomsOf(messages, this.filter.room), this.filter.room);
    options(this.bot, 'all bots', bots.includes(this.filter.bot) || !this.filter.bot ? bots : [...bots, this.filter.bot], this.filter.bot);
    const counts = stateCounts(counted);
    for (const [state, { count }] of this.states) {
      setText(count, String(counts.get(state) ?? 0));
      count.parentElement?.classList.toggle('none', !counts.get(state));
    }
  }

  #read() {
    const states = [...this.states].filter(([, { box }]) => box.checked).map(([state]) => state);
    this.#take({ room: this.room.value, bot: this.bot.value, states: new Set(states), text: this.text.value });
  }

  /** @param {Filter} filter */
  #take(filter) {
    this.filter = filter;
    this.#show();
    history.replaceState(history.state, '', `${location.pathname}${writeFilter(filter, location.search)}${location.hash}`);
    this.changed();
  }

  #show() {
    const { room, bot, states, text } = this.filter;
    for (const [select, value] of /** @type {const} */ ([[this.room, room], [this.bot, bot]])) {
      if (![...select.options].some((option) => option.value === value)) select.append(new Option(value || 'all', value));
      select.value = value;
    }
    if (this.text.value !== text) this.text.value = text;
    for (const [state, { box }] of this.states) box.checked = states.has(state);
    this.clear.hidden = !isNarrow(this.filter);
  }
}

/** @param {string} words @param {HTMLElement} control */
const field = (words, control) => make('div', { className: 'filter-field' }, make('label', { htmlFor: control.id }, words), control);

/**
 * @param {HTMLSelectElement} select
 * @param {string} all
 * @param {string[]} names
 * @param {string} chosen
 */
function options(select, all, names, chosen) {
  const wanted = ['', ...names];
  const same = select.options.length === wanted.length && wanted.every((value, at) => select.options[at]?.value === value);
  if (same && select.options[0]?.text === all) return;
  if (select === document.activeElement && select.options[0]?.text === all) return; // not under somebody's hands
  select.replaceChildren(...wanted.map((value) => new Option(value || all, value)));
  select.value = chosen;
}
