// A table whose rows are kept by key: only changed rows are filled, only moved ones are moved, the focus stays where it was.
// It is one stop for Tab: the arrow keys, Home, End and the page keys go from row to row.
// Not here: what is in the cells (rows.js), which items there are (store.js, filters.js).

import { make } from '../parts/dom.js';

/**
 * @template T, C
 * @typedef {object} Column
 * @property {string} label
 * @property {string} name the class of its cells
 * @property {boolean} [head] it names the row
 * @property {boolean} [live] it shows an age: it is filled again as time passes
 * @property {(cell: HTMLElement) => void} [make] what is in the cell from the start; all its buttons and links
 * @property {(cell: HTMLElement, item: T, context: C) => void} fill
 */

const PAGE_ROWS = 10; // that the page keys go

/**
 * Sets a text only if it is another one: what is unchanged costs no layout and keeps its selection.
 *
 * @param {Element} element
 * @param {string} text
 */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/**
 * @template T, C
 */
export class KeyedTable {
  /**
   * @param {HTMLTableElement} table without rows
   * @param {string} caption
   * @param {Column<T, C>[]} columns
   * @param {(item: T) => string} keyOf
   */
  constructor(table, caption, columns, keyOf) {
    this.columns = columns;
    this.keyOf = keyOf;
    /** @type {Map<string, { row: HTMLTableRowElement, cells: HTMLElement[], item: T }>} */
    this.rows = new Map();
    // The roles are told, because a phone shows the rows as cards, and what is not laid out as a table is not taken for one.
    const heads = columns.map(({ label, name }) => make('th', { scope: 'col', role: 'columnheader', className: name }, label));
    this.body = make('tbody', { role: 'rowgroup' });
    table.setAttribute('role', 'table');
    table.append(
      make('caption', { className: 'visually-hidden' }, caption),
      make('thead', { role: 'rowgroup' }, make('tr', { role: 'row' }, ...heads)),
      this.body);
    /** @type {HTMLElement | null} */
    this.current = null; // the row that Tab comes to
    this.body.addEventListener('focusin', (event) => this.#enter(rowAround(event.target)));
    this.body.addEventListener('keydown', (event) => this.#key(event));
  }

  /**
   * Shows exactly these items, in this order.
   *
   * @param {T[]} items
   * @param {Set<string> | null} changed keys of those to fill again; null: all
   * @param {C} context
   */
  set(items, changed, context) {
    const focused = /** @type {HTMLElement | null} */ (this.body.contains(document.activeElement) ? document.activeElement : null);
    const focusedRow = focused && rowAround(focused);
    const wanted = new Set(items.map(this.keyOf));
    const heir = focusedRow && !wanted.has(focusedRow.dataset.key ?? '') ? this.#heir(focusedRow, wanted) : null;
    for (const [key, { row }] of this.rows) {
      if (wanted.has(key)) continue;
      row.remove();
      this.rows.delete(key);
    }
    let next = this.body.firstElementChild;
    for (const item of items) {
      const row = this.#row(item, changed, context);
      if (row === next) next = row.nextElementSibling;
      else if (next?.nextElementSibling === row) next = row.nextElementSibling; // the one before it moves later
      else this.body.insertBefore(row, next);
    }
    if (!this.current?.isConnected) this.#enter(heir ?? this.body.firstElementChild);
    const target = focused?.isConnected ? focused : heir ? controls(heir)[0] : this.body.closest('section');
    if (focused && target && document.activeElement !== target) target.focus({ preventScroll: true });
  }

  /** @param {C} context fills what shows ages */
  tick(context) {
    for (const { item, cells } of this.rows.values()) {
      this.columns.forEach(({ live, fill }, at) => {
        const cell = cells[at];
        if (live && cell) fill(cell, item, context);
      });
    }
  }

  /**
   * @param {T} item
   * @param {Set<string> | null} changed
   * @param {C} context
   */
  #row(item, changed, context) {
    const key = this.keyOf(item);
    const known = this.rows.get(key);
    if (known && changed && !changed.has(key)) return known.row;
    const { row, cells } = known ?? this.#made(key, item);
    const kept = this.rows.get(key);
    if (kept) kept.item = item;
    this.columns.forEach(({ fill }, at) => {
      const cell = cells[at];
      if (cell) fill(cell, item, context);
    });
    return row;
  }

  /** @param {string} key @param {T} item */
  #made(key, item) {
    const cells = this.columns.map(({ name, label, head, make: content }) => {
      const cell = head
        ? make('th', { className: name, scope: 'row', role: 'rowheader', data: { label } })
        : make('td', { className: name, role: 'cell', data: { label } });
      content?.(cell);
      return cell;
    });
    const row = make('tr', { role: 'row', data: { key } }, ...cells);
    for (const control of controls(row)) control.tabIndex = -1;
    const made = { row, cells, item };
    this.rows.set(key, made);
    return made;
  }

  /** @param {HTMLElement} row that goes @param {Set<string>} wanted @returns {HTMLElement | null} who gets its focus */
  #heir(row, wanted) {
    const stays = (/** @type {Element | null} */ other) => other instanceof HTMLElement && wanted.has(other.dataset.key ?? '');
    for (let other = row.nextElementSibling; other; other = other.nextElementSibling) if (stays(other)) return /** @type {HTMLElement} */ (other);
    for (let other = row.previousElementSibling; other; other = other.previousElementSibling) if (stays(other)) return /** @type {HTMLElement} */ (other);
    return null;
  }

  /** @param {Element | null} row becomes the one that Tab comes to */
  #enter(row) {
    if (row === this.current) return;
    for (const control of this.current ? controls(this.current) : []) control.tabIndex = -1;
    this.current = /** @type {HTMLElement | null} */ (row);
    for (const control of row ? controls(row) : []) control.tabIndex = 0;
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const row = rowAround(event.target);
    if (!row || event.altKey || event.ctrlKey || event.metaKey) return;
    const rows = [...this.body.children];
    const at = rows.indexOf(row);
    /** @type {Record<string, number>} */
    const to = {
      ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: rows.length - 1, PageDown: at + PAGE_ROWS, PageUp: at - PAGE_ROWS,
    };
    const next = rows[Math.max(0, Math.min(rows.length - 1, to[event.key] ?? -1))];
    if (!(event.key in to) || !(next instanceof HTMLElement)) return;
    event.preventDefault();
    const column = controls(row).indexOf(/** @type {HTMLElement} */ (event.target));
    const targets = controls(next).filter((control) => !control.hidden);
    (targets[column] ?? targets[0])?.focus();
    next.scrollIntoView({ block: 'nearest' });
  }
}

/** @param {EventTarget | null} target @returns {HTMLElement | null} */
const rowAround = (target) => (target instanceof Element ? target.closest('tr') : null);

/** @param {Element} row @returns {HTMLElement[]} */
const controls = (row) => [.../** @type {NodeListOf<HTMLElement>} */ (row.querySelectorAll('button, a'))];
