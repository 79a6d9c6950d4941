// What is shown of the connection: a dot in the bar, and a banner once a break lasts.

import { bannerOf } from './status.js';

/** @typedef {import('./status.js').Connection} Connection */

/** @type {Record<string, string>} */
const WORDS = { connecting: 'connecting', live: 'connected', broken: 'not connected', busy: 'the server is busy' };

/**
 * @param {{ dot: HTMLElement, banner: HTMLElement }} parts
 * @returns {{ set: (connection: Connection) => void, tick: (now: number) => void }} `tick`, about once a second: the words
 *   of a banner count down
 */
export function connectionView({ dot, banner }) {
  /** @type {Connection | null} */
  let connection = null;
  const words = /** @type {HTMLElement} */ (dot.firstElementChild);
  const tick = (/** @type {number} */ now) => {
    const shown = connection && bannerOf(connection, now);
    const className = `banner ${shown?.tone ?? ''}`.trim();
    if (banner.className !== className) banner.className = className;
    if (banner.textContent !== (shown?.text ?? '')) banner.textContent = shown?.text ?? '';
    banner.hidden = !shown;
  };
  return {
    set(next) {
      connection = next;
      dot.dataset.state = next.state === 'live' && next.store !== 'connected' ? next.store : next.state;
      const said = WORDS[next.state] ?? next.state;
      if (words.textContent !== said) words.textContent = said;
      dot.title = said;
      tick(Date.now());
    },
    tick,
  };
}
