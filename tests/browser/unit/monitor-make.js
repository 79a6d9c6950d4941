// Made-up things of the monitor for its tests.

/** @import { Ended, Health, Minute, Open, Queue, Snapshot, Spread, Worker } from '../../../web/monitor/types.js' */

export const NOW = Date.parse('2026-03-01T12:00:00.000Z');

/** @param {number} [ms] from NOW */
export const at = (ms = 0) => new Date(NOW + ms).toISOString();

/** @param {number} seq */
export const position = (seq) => `b1d34770292cccf3-00-${String(seq).padStart(16, '0')}`;

/** @param {string} id @param {Partial<Open>} [more] @returns {Open} */
export const open = (id, more = {}) => ({
  message_id: id, room: 'lobby', author: 'ann', text: `text of ${id}`, bot: 'poet', priority: 5, second: false, asked_at: at(-5_000),
  position: position(1), state: 'waiting', since_at: at(-5_000), since: position(1), ahead: 0, retry_at: null, reason: null, attempt: 0,
  worker: null, fence: null, reply_id: null, progress: null, deltas: 0, first_token_ms: null, ...more,
});

/** @param {string} id @param {Partial<Ended>} [more] @returns {Ended} */
export const ended = (id, more = {}) => ({
  message_id: id, room: 'lobby', author: 'ann', text: `text of ${id}`, bot: 'poet', status: 'answered', reason: null, asked_at: at(-9_000),
  ended_at: at(-4_800), position: position(9), waited_ms: 700, first_token_ms: 400, total_ms: 4_200, attempts: 1, worker: 'gpu-1',
  model: 'mistral', reply_id: `reply-${id}`, reply: 'a reply', ...more,
});

/** @param {Partial<Worker>} [more] @returns {Worker} */
export const worker = (more = {}) => ({
  worker: 'gpu-1', kind: 'remote', bots: ['poet'], models: ['mistral'], waiting: 0, holds: [], last_seen_at: at(-1_000), ...more,
});

/** @param {number} p50 @returns {Spread} */
export const spread = (p50) => ({ p50, p95: 2 * p50, p99: 4 * p50, max: 5 * p50 });

/** @param {number} ago minutes before NOW @param {Partial<Minute>} [more] @returns {Minute} */
export const minute = (ago, more = {}) => ({
  at: at(-ago * 60_000), posted: 1, answered: 1, failed: 0, waiting_ms: spread(100), first_token_ms: null, total_ms: null, ...more,
});

/** @param {Partial<Queue>} [more] @returns {Queue} */
export const queue = (more = {}) => ({
  bot: 'poet', model: 'mistral', waiting: 0, retrying: 0, claimed: 0, lanes: [], paused: null, oldest_at: null, minutes: [], posted: 0,
  answered: 0, failed: 0, retried: 0, takeovers: 0, waiting_ms: null, first_token_ms: null, total_ms: null, ...more,
});

/** @param {Partial<Health>} [more] @returns {Health} */
export const health = (more = {}) => ({
  state: 'connected', since: null, reason: null, parked: 0, parked_refused: 0, log: 'file', durability: 'on disk', tail: position(9),
  indexed: position(9), subscribers: 1, ...more,
});

/** @param {Partial<Snapshot>} [more] @returns {Snapshot} */
export const snapshot = (more = {}) => ({
  position: position(9), at: at(), node: 'n1', version: '0.1.0', health: health(), queues: [queue()], open: [], open_total: 0, ended: [],
  since_at: at(-60_000), workers: [worker()], ...more,
});
