// The room's items as they were: from an answer of `GET …/messages?at=`. Pure.

import { itemsOf } from '../room/store.js';

/** @typedef {import('../room/model.js').Item} Item */
/** @typedef {import('../room/model.js').Message} Message */
/**
 * @typedef {object} Then
 * @property {Message[]} messages  the newest up to the moment, oldest first, each with the status that it had
 * @property {string|null} at      when the last entry of the room at or before the moment was written
 * @property {string} position     the position looked at
 * @property {string|null} first_at
 * @property {string|null} last_at
 * @property {{message_id: string, bot: string, worker: string, claimed_at: string}[]} in_flight
 */

/** @param {Message[]} messages @param {Then['in_flight']} inFlight @returns {Item[]} */
export function itemsThen(messages, inFlight) {
  const claims = new Map(inFlight.map(({ message_id, bot, worker, claimed_at }) => [message_id, { bot, worker, at: claimed_at }]));
  return itemsOf(messages, []).map((item) => ({ ...item, claim: claims.get(item.message.id) ?? null }));
}
