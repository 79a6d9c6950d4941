// Children by key: those whose key stays keep their element, so that focus, selection and scrolling inside them stay.

/** @typedef {{ key: string, make: () => HTMLElement, update?: (element: HTMLElement) => void }} Part */

/** @type {WeakMap<Element, string>} */
const KEYS = new WeakMap();

/**
 * Makes `parent`'s children those of `parts`, in this order. A part with a known key keeps its element and is updated;
 * any other is made (and updated too). What is no longer named goes.
 *
 * @param {HTMLElement} parent
 * @param {(Part | false | null | undefined)[]} parts
 */
export function keep(parent, parts) {
  const wanted = parts.filter((part) => Boolean(part)).map((part) => /** @type {Part} */ (part));
  const keys = new Set(wanted.map(({ key }) => key));
  /** @type {Map<string, HTMLElement>} */
  const known = new Map();
  for (const child of [...parent.children]) {
    const key = KEYS.get(child);
    if (key === undefined) continue; // somebody else's, e.g. the toolbar
    if (keys.has(key)) known.set(key, /** @type {HTMLElement} */ (child));
    else child.remove(); // first of all, so that what stays need not be moved
  }
  let place = parent.firstElementChild;
  for (const part of wanted) {
    const element = known.get(part.key) ?? part.make();
    KEYS.set(element, part.key);
    part.update?.(element);
    if (element === place) place = place.nextElementSibling;
    else parent.insertBefore(element, place);
  }
}
