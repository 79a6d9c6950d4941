// Making and finding elements. Text goes in as text, always: nothing here reads a string as HTML.

/**
 * Makes an element: `make('p', { className: 'text', title: 'when' }, 'words', anotherElement)`.
 * `props` are properties of the element; `data` and `aria` are maps of attributes (`data-…`, `aria-…`). Children that are
 * null, undefined or false are left out.
 *
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Record<string, unknown> | null} [props]
 * @param {...(Node | string | null | undefined | false)} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function make(tag, props, ...children) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(props ?? {})) {
    if (value === undefined || value === null) continue;
    if (key === 'data' || key === 'aria') attributes(made, key, /** @type {Record<string, unknown>} */ (value));
    else if (key === 'role' || key === 'for') made.setAttribute(key, String(value));
    else Object.assign(made, { [key]: value });
  }
  for (const child of children) if (child || child === '') made.append(child);
  return made;
}

/**
 * @param {Element} element
 * @param {'data' | 'aria'} kind
 * @param {Record<string, unknown>} values
 */
function attributes(element, kind, values) {
  for (const [name, value] of Object.entries(values)) {
    if (value !== undefined && value !== null) element.setAttribute(`${kind}-${name}`, String(value));
  }
}

/**
 * A button that says what it does to whoever listens further up: `data-act` names the deed.
 *
 * @param {string} act
 * @param {string} words
 * @param {string} [className]
 * @param {string} [about] what it is about, for those who hear the button without what is around it
 */
export function actButton(act, words, className = 'button quiet small', about = '') {
  return make('button', { type: 'button', className, data: { act }, aria: { label: about ? `${words}: ${about}` : null } }, words);
}

/**
 * The element of the page with this id. It must be there: the page's own HTML has it.
 *
 * @template {HTMLElement} T
 * @param {string} id
 * @param {new () => T} [kind]
 * @returns {T}
 */
export function byId(id, kind) {
  const found = document.getElementById(id);
  if (!found || (kind && !(found instanceof kind))) throw new Error(`the page has no #${id} of that kind`);
  return /** @type {T} */ (found);
}

/**
 * Does something once what was changed now is laid out. In a hidden tab that is when it is seen again.
 *
 * @param {() => void} work
 */
export function settled(work) {
  requestAnimationFrame(() => setTimeout(work)); // the frame lays out after its callbacks
}

/**
 * Makes `work` run at most once per animation frame, however often it is asked for. In a hidden tab it waits until the
 * tab is seen again, as frames do.
 *
 * @param {() => void} work
 * @returns {() => void} asks for it
 */
export function oncePerFrame(work) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      work();
    });
  };
}
