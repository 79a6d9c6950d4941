// What the server sends to the monitor, as types for `tsc`: GET /api/monitor/events and GET /api/messages/{id}/timeline.
// Nothing runs here. Names are the wire's; `…_at` is RFC 3339, `…_ms` whole milliseconds, a position is a string.

/** @typedef {'answered' | 'failed' | 'dead' | 'cancelled'} EndedState */
/** @typedef {{ p50: number, p95: number, p99: number, max: number }} Spread */
/** @typedef {'waiting_ms' | 'first_token_ms' | 'total_ms'} SpreadName */

/**
 * @typedef {object} Health
 * @property {'connected' | 'degraded' | 'refusing'} state
 * @property {string | null} since
 * @property {string | null} reason
 * @property {number} parked posts that wait on this node's disk
 * @property {number} parked_refused of those, the ones that the log will not take
 * @property {string} log `file`, `memory` or `redis`
 * @property {string} durability what an acknowledged entry survives, as a sentence
 * @property {string} tail
 * @property {string} indexed
 * @property {number} subscribers
 */

/** @typedef {{ at: string, posted: number, answered: number, failed: number } & Record<SpreadName, Spread | null>} Minute */

/**
 * @typedef {object} QueuePart
 * @property {string} bot
 * @property {string | null} model
 * @property {number} waiting
 * @property {number} retrying
 * @property {number} claimed
 * @property {{ priority: number, second: boolean, waiting: number }[]} lanes
 * @property {string | null} paused why it takes nothing at the moment
 * @property {string | null} oldest_at since when the oldest waits
 * @property {Minute[]} minutes in which something happened, 60 at most; in an update those that changed
 * @property {number} posted in these minutes, as the rest
 * @property {number} answered
 * @property {number} failed tries
 * @property {number} retried
 * @property {number} takeovers claims that ended because nobody was heard of any more
 */
/** @typedef {QueuePart & Record<SpreadName, Spread | null>} Queue */

/**
 * @typedef {object} Open a message that wants an answer
 * @property {string} message_id
 * @property {string} room
 * @property {string} author empty if it cannot be read at the moment
 * @property {string} text its first 160 characters; empty once it is taken back
 * @property {string} bot
 * @property {number} priority
 * @property {boolean} second on the second lane of its priority
 * @property {string} asked_at
 * @property {string | null} position
 * @property {string} state `waiting`, `retrying`, `claimed`, or what its worker says: `loading-model`, `reading-prompt`, `writing`, another word
 * @property {string | null} since_at
 * @property {string | null} since the entry that made it wait, or gave it to its worker
 * @property {number | null} ahead how many were before it when this was told; see Store.aheadOf
 * @property {string | null} retry_at
 * @property {string | null} reason why it failed last
 * @property {number} attempt
 * @property {string | null} worker
 * @property {string | null} fence
 * @property {string | null} reply_id
 * @property {number | null} progress 0 to 1
 * @property {number} deltas
 * @property {number | null} first_token_ms
 */

/**
 * @typedef {object} Ended a message that has its answer, or gets none
 * @property {string} message_id
 * @property {string} room
 * @property {string} author empty if it cannot be read at the moment
 * @property {string} text
 * @property {string} bot
 * @property {EndedState} status
 * @property {string | null} reason
 * @property {string | null} asked_at
 * @property {string} ended_at
 * @property {string} position of the entry that ended it
 * @property {number | null} waited_ms
 * @property {number | null} first_token_ms
 * @property {number | null} total_ms
 * @property {number} attempts
 * @property {string | null} worker
 * @property {string | null} model
 * @property {string | null} reply_id
 * @property {string | null} reply its first 160 characters; empty once it is taken back
 */

/**
 * @typedef {object} Hold a message that a worker holds
 * @property {string} message_id
 * @property {string} room
 * @property {string} bot
 * @property {string} fence
 * @property {number} attempt
 * @property {string} claimed_at
 * @property {string | null} stage
 * @property {number | null} progress
 * @property {number} deltas
 */

/**
 * @typedef {object} Worker
 * @property {string} worker
 * @property {'in-process' | 'remote'} kind
 * @property {string[]} bots
 * @property {string[]} models
 * @property {number} waiting its wishes that wait for work
 * @property {Hold[]} holds
 * @property {string | null} last_seen_at
 */

/**
 * @typedef {object} Snapshot
 * @property {string} position
 * @property {string} at
 * @property {string} node
 * @property {string} version
 * @property {Health} health
 * @property {Queue[]} queues
 * @property {Open[]} open
 * @property {number} open_total
 * @property {Ended[]} ended
 * @property {string | null} since_at how far back `ended` and the minutes reach
 * @property {Worker[]} workers
 */

/**
 * @typedef {object} Update
 * @property {string} position
 * @property {string} at
 * @property {Health} [health]
 * @property {Queue[]} [queues]
 * @property {Open[]} [open]
 * @property {number} [open_total]
 * @property {string[]} [gone]
 * @property {Ended[]} [ended]
 * @property {number} [missed]
 * @property {Worker[]} [workers]
 * @property {string[]} [workers_gone]
 */

/** @typedef {{ event: string, position: string, at: string, ms: number, data: Record<string, any> }} Step */
/** @typedef {{ id: string, steps: Step[], total_ms: number }} Timeline */
/** @typedef {{ state: string, at: number, attempt: number }} Stage a live stage as this page saw it; `at` in ms */

export {};
