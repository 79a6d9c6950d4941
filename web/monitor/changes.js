// What is to be drawn again: named apart, gathered until the next frame. Pure.

export const CHANGES_MAX = 2_000; // ids named apart; a page that is not seen draws nothing for days, and then everything

/**
 * What an update changed. Sets hold keys.
 *
 * @typedef {object} Changes
 * @property {boolean} all everything is to be drawn again
 * @property {boolean} health
 * @property {Set<string>} queues
 * @property {Set<string>} open
 * @property {Set<string>} ended
 * @property {Set<string>} workers
 */

/** @returns {Changes} */
export const noChanges = () => ({
  all: false, health: false, queues: new Set(), open: new Set(), ended: new Set(), workers: new Set(),
});

/**
 * Adds what `more` changed to `changes`; too much becomes everything.
 *
 * @param {Changes} changes
 * @param {Changes} more
 */
export function addChanges(changes, more) {
  changes.all ||= more.all;
  changes.health ||= more.health;
  for (const key of /** @type {const} */ (['queues', 'open', 'ended', 'workers'])) {
    for (const id of more[key]) changes[key].add(id);
    changes.all ||= changes[key].size > CHANGES_MAX;
    if (changes.all) changes[key].clear();
  }
}
