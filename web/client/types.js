// The shapes that the client and its users share. No code.

/**
 * An event of a room: as it came over the stream, `data` parsed.
 * @typedef {object} RoomEvent
 * @property {string} name `snapshot`, `message.posted`, `reply.delta` …; see docs/client.md
 * @property {any} data
 * @property {string} id the position of a durable event; '' for live ones
 */

/**
 * A room's event on its way to a tab.
 * @typedef {RoomEvent & { prev: string }} Sent `prev`: the last position that came before it in its room's stream, '' if none
 */

/**
 * Whether events come.
 * @typedef {object} Status
 * @property {'connecting' | 'live' | 'broken' | 'busy'} state `broken`: lost, tried again by itself; `busy`: sent away for a while
 * @property {number} since ms since 1970: since when it is so
 * @property {number | null} retryAt when it is tried again, ms since 1970
 * @property {boolean} online what the browser thinks of its network
 * @property {'connected' | 'degraded' | 'refusing'} store whether the server reaches its store
 * @property {string | null} reason what is wrong, as a sentence, if it is known
 * @property {number} parked posts that wait on the server's disk
 * @property {boolean} shared one stream serves all tabs of this browser
 * @property {boolean} leader it is this tab that has it
 */

/**
 * What is said. Ids are UUIDs; `to`: absent for the room's rule, [] for nobody, or one bot.
 * @typedef {object} Post
 * @property {string} text
 * @property {{ name: string, color?: string }} author
 * @property {string[]} [to]
 * @property {string} [reply_to]
 * @property {number} [priority] 0 to 9
 */

/**
 * A post that is not in the log yet, as far as this browser knows.
 * @typedef {object} OutboxItem
 * @property {string} id the message's id
 * @property {string} room
 * @property {Post & { id: string }} body
 * @property {string} at when it was written, RFC 3339
 * @property {'pending' | 'sending' | 'parked' | 'failed'} state `parked`: the server keeps it until its store is back
 * @property {string} why what went wrong last, as a sentence, or ''
 * @property {string} code the same as the server's code, or ''
 * @property {number} tries
 * @property {string} position where it stands in the log, once that is known; its event is then under way
 * @property {boolean} kept it outlives this page; false where the browser gives no storage
 */

export {};
