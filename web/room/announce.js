// What a screen reader hears of the answers: that one is being written, then whole sentences, never single words.
// The log itself is not live. What is said stands in a polite region of its own.

/** So much is said at once at most; the whole is in the log. */
const SAID_CHARS_MAX = 600;

/** So many lines stay in the region; what was read out is no longer needed. */
const LINES_MAX = 12;

/**
 * How far a growing text has come in whole sentences.
 *
 * @param {string} text
 * @param {number} from what was said already
 * @returns {number} the end of the last whole sentence; `from` if there is no new one
 */
export function sentencesEnd(text, from) {
  const ends = [...text.slice(from).matchAll(/[.!?…:][)\]"'”’]*(?=\s)|\n/g)];
  const last = ends.at(-1);
  return last ? from + last.index + last[0].length : from;
}

export class Announcer {
  /** answer → how much of it was said. @type {Map<string, number>} */
  #said = new Map();

  /** @param {HTMLElement} region with `aria-live=polite` @param {(text: string) => string} plain Markdown to words */
  constructor(region, plain) {
    this.region = region;
    this.plain = plain;
  }

  /** A message that came as a whole. @param {string} name @param {string} text */
  message(name, text) {
    this.say(`${name}: ${this.plain(text)}`);
  }

  /** An answer as far as it is. @param {{ replyId: string, bot: string, text: string }} draft */
  grows({ replyId, bot, text }) {
    const said = this.#said.get(replyId);
    if (said === undefined) {
      this.#said.set(replyId, 0);
      return this.say(`${bot} is writing an answer`);
    }
    const end = sentencesEnd(text, said);
    if (end === said) return;
    this.#said.set(replyId, end);
    this.say(this.plain(text.slice(said, end)));
  }

  /** An answer is whole: what was not said yet. @param {string} replyId @param {string} bot @param {string} text */
  whole(replyId, bot, text) {
    const said = this.#said.get(replyId) ?? 0;
    this.#said.delete(replyId);
    if (said < text.length) this.say(said === 0 ? `${bot}: ${this.plain(text)}` : this.plain(text.slice(said)));
  }

  /** @param {string} words */
  say(words) {
    const line = document.createElement('p');
    line.textContent = words.length > SAID_CHARS_MAX ? `${words.slice(0, SAID_CHARS_MAX)} …` : words;
    this.region.append(line);
    while (this.region.children.length > LINES_MAX) this.region.firstElementChild?.remove();
  }
}
