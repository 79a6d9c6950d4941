// Who is to answer: the bots that this room takes, and how each is. The choice is kept per room.

/**
 * @typedef {'ready' | 'paused' | 'no-worker'} BotState
 * @typedef {{ name: string, color: string | null, model: string | null, state: BotState, waiting: number }} Bot
 * @typedef {{ bots: Bot[], default: string | null, text_bytes_max: number }} RoomBots
 */

/** Values of the choice: the room's rule, or nobody; anything else is a bot's name, which has no such signs. */
const BY_RULE = '';
const NOBODY = '-';

/** @type {Record<string, string>} */
const STATES = { paused: ' (unavailable)', 'no-worker': ' (offline)' };

export class Ask {
  /** By name. @type {Map<string, Bot>} */
  bots = new Map();
  /** What was chosen before a bot was named in a message. @type {string | null} */
  #before = null;

  /**
   * @param {HTMLSelectElement} select
   * @param {{ room: string, storage: import('./storage.js').Kept }} outside
   */
  constructor(select, { room, storage }) {
    this.select = select;
    const key = `antiphon-to:${room}`;
    const kept = storage.getItem(key) ?? BY_RULE;
    // There before the room's bots are known: what is sent at once goes to whom it went before.
    this.#offer([option('Auto', BY_RULE), ...(kept === BY_RULE || kept === NOBODY ? [] : [option(`Ask ${kept}`, kept)]), option('No bot', NOBODY)], kept);
    select.addEventListener('change', () => {
      this.#before = null;
      if (select.value === BY_RULE) storage.removeItem(key);
      else storage.setItem(key, select.value);
    });
  }

  /** What a post says of it. @returns {string[] | undefined} */
  get to() {
    const { value } = this.select;
    if (value === BY_RULE) return undefined;
    return value === NOBODY ? [] : [value];
  }

  /** For the next message only: one that was named in it. @param {string} name */
  name(name) {
    this.#before ??= this.select.value;
    this.choose([name]);
  }

  /** A message is on its way: what was chosen before holds again. */
  sent() {
    if (this.#before !== null) this.#keep(this.#before);
    this.#before = null;
  }

  /** As a post said it. @param {string[] | undefined} to */
  choose(to) {
    this.#keep(to === undefined ? BY_RULE : (to[0] ?? NOBODY));
  }

  /** @param {string} value */
  #keep(value) {
    if ([...this.select.options].some((one) => one.value === value)) this.select.value = value;
  }

  /** @param {RoomBots} room */
  set({ bots, default: byRule }) {
    this.bots = new Map(bots.map((bot) => [bot.name, bot]));
    const rule = byRule === null ? [] : [option(`Auto (${byRule})`, BY_RULE)];
    const nobody = option('No bot', byRule === null ? BY_RULE : NOBODY);
    this.#offer([...rule, ...bots.map(({ name, state }) => option(`Ask ${name}${STATES[state] ?? ''}`, name)), nobody], this.select.value);
    const place = this.select.closest('label') ?? this.select;
    place.hidden = bots.length === 0;
  }

  /** @param {HTMLOptionElement[]} options @param {string} chosen */
  #offer(options, chosen) {
    const same = this.select.options.length === options.length && options.every((one, at) => one.isEqualNode(this.select.options[at] ?? null));
    if (!same) this.select.replaceChildren(...options); // an open list would close
    this.select.value = options.some(({ value }) => value === chosen) ? chosen : (options[0]?.value ?? '');
  }
}

/** @param {string} words @param {string} value */
const option = (words, value) => new Option(words, value);
