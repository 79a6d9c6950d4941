//! The open messages in the order in which a monitor lists them: what workers hold, then what waits in the order in which it
//! will be claimed, then what waits for a retry.
//!
//! Promise (checked): of a bot's waiting messages those before one in the list are exactly those that are claimed before it,
//! also where the list ends early.
//! Cost: a look at each lane, at what is held, and at those that are listed.

use std::collections::HashMap;

use antiphon_schemas::{BotName, MessageId};

use super::queue::{Open, Queue, State};

/// The list.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct OpenList {
    /// The first of them.
    pub rows: Vec<Row>,
    /// How many are open.
    pub total: usize,
}

/// One of the list.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The message.
    pub id: MessageId,
    /// Where it stands.
    pub open: Open,
    /// How many are claimed before it, if it waits.
    pub ahead: Option<u64>,
}

/// The first `max` open messages.
pub fn open_list(queue: &Queue, max: usize) -> OpenList {
    let mut claimed: Vec<_> = queue.claimed().filter_map(|id| Some((queue.claim(&id)?.fence, id))).collect();
    claimed.sort_unstable();
    let order = claimed.into_iter().map(|(_, id)| id).chain(queue.waiting_for_all()).chain(queue.retrying());
    let mut before: HashMap<BotName, u64> = HashMap::new();
    let rows = order.take(max).filter_map(|id| {
        let open = queue.get(&id)?.clone();
        let ahead = matches!(open.state, State::Waiting { .. }).then(|| {
            let before = before.entry(open.ask.bot.clone()).or_default();
            *before += 1;
            *before - 1
        });
        Some(Row { id, open, ahead })
    });
    OpenList { rows: rows.collect(), total: queue.len() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::decide::tests::{bot, config, history, steps};

    /// Where a message stands in the list: sorts.
    fn place(row: &Row) -> (u8, u64, u64, MessageId) {
        match &row.open.state {
            State::Claimed(claim) => (0, claim.fence.0, 0, row.id),
            State::Waiting { since, .. } => {
                let ask = &row.open.ask;
                (1, u64::from(9 - ask.priority.min(9)) * 2 + u64::from(ask.second), since.0, row.id)
            }
            State::Retrying { at_ms } => (2, *at_ms, 0, row.id),
        }
    }

    proptest! {
        #![proptest_config(config())]

        #[test]
        fn the_list_is_the_queue_in_the_order_of_its_lanes(steps in steps(), max in 0..30usize) {
            let mut queue = Queue::default();
            for entry in history(&steps) {
                queue.apply(&entry);
                let all = open_list(&queue, usize::MAX);
                prop_assert_eq!((all.total, all.rows.len()), (queue.iter().count(), queue.iter().count()));
                let ranks: Vec<_> = all.rows.iter().map(place).collect();
                prop_assert!(ranks.is_sorted());
                for bot in [bot(0), bot(1)] {
                    let waiting = all.rows.iter().filter(|row| row.open.ask.bot == bot && row.ahead.is_some());
                    let waiting: Vec<_> = waiting.map(|row| row.id).collect();
                    prop_assert_eq!(&waiting, &queue.waiting(&bot).collect::<Vec<_>>());
                    let oldest = waiting.iter().filter_map(|id| match queue.get(id)?.state {
                        State::Waiting { since_ms, .. } => Some(since_ms),
                        _ => None,
                    });
                    prop_assert_eq!(queue.oldest_ms(&bot), oldest.min());
                }
                for row in &all.rows {
                    prop_assert_eq!(Some(&row.open), queue.get(&row.id));
                    prop_assert_eq!(row.ahead, queue.ahead(&row.id).map(|ahead| ahead as u64));
                }
                let some = open_list(&queue, max);
                prop_assert_eq!(&some.rows[..], &all.rows[..max.min(all.rows.len())]);
                prop_assert_eq!(some.total, all.total);
            }
        }
    }
}
