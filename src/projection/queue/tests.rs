//! Goal: what is kept of places is what the open messages say, in whatever order they were put in.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::decide::tests::{bot, config, history, steps};

/// What one who looks at every open message finds.
#[derive(Debug, Default, PartialEq)]
struct Found {
    waiting: BTreeMap<(u8, bool, Seq), MessageId>,
    waiting_in: BTreeMap<RoomName, BTreeMap<Seq, MessageId>>,
    claimed: BTreeSet<MessageId>,
    claimed_in: BTreeMap<RoomName, BTreeMap<Seq, MessageId>>,
    retrying: BTreeSet<(u64, MessageId)>,
    oldest_ms: BTreeMap<BotName, u64>,
}

fn found(queue: &Queue) -> Found {
    let mut found = Found::default();
    for (id, open) in queue.iter() {
        match &open.state {
            State::Waiting { since, since_ms } => {
                found.waiting.insert((9 - open.ask.priority, open.ask.second, *since), *id);
                found.waiting_in.entry(open.room.clone()).or_default().insert(*since, *id);
                let oldest_ms = found.oldest_ms.entry(open.ask.bot.clone()).or_insert(*since_ms);
                *oldest_ms = *since_ms.min(oldest_ms);
            }
            State::Claimed(claim) => {
                found.claimed.insert(*id);
                found.claimed_in.entry(open.room.clone()).or_default().insert(claim.fence, *id);
            }
            State::Retrying { at_ms } => drop(found.retrying.insert((*at_ms, *id))),
        }
    }
    found
}

fn check(queue: &Queue, rooms: &BTreeSet<RoomName>) -> Result<(), TestCaseError> {
    let found = found(queue);
    prop_assert!(queue.waiting_for_all().eq(found.waiting.values().copied()));
    prop_assert_eq!(queue.claimed().collect::<BTreeSet<_>>(), found.claimed);
    prop_assert!(queue.retrying().eq(found.retrying.iter().map(|(_, id)| *id)));
    for room in rooms {
        let (waiting, claimed) = (found.waiting_in.get(room), found.claimed_in.get(room));
        prop_assert!(queue.waiting_in(room).eq(waiting.into_iter().flat_map(|of| of.values().copied())));
        prop_assert!(queue.claimed_in(room).eq(claimed.into_iter().flat_map(|of| of.values().copied())));
    }
    for bot in [bot(0), bot(1)] {
        prop_assert_eq!(queue.oldest_ms(&bot), found.oldest_ms.get(&bot).copied());
    }
    Ok(())
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn who_looks_at_part_of_it_finds_what_the_whole_of_it_says(steps in steps()) {
        let (entries, mut queue) = (history(&steps), Queue::default());
        let rooms: BTreeSet<_> = entries.iter().filter_map(|entry| entry.header.room.clone()).collect();
        for entry in &entries {
            let before = queue.all();
            let open: BTreeMap<_, _> = queue.iter().map(|(id, open)| (*id, open.clone())).collect();
            queue.apply(entry);
            check(&queue, &rooms)?;
            // In no order, as from a copy; which is as it was.
            let again = Queue::with(before.iter().map(|(id, open)| (*id, open.clone())));
            check(&again, &rooms)?;
            prop_assert_eq!(before.iter().map(|(id, open)| (*id, open.clone())).collect::<BTreeMap<_, _>>(), open);
        }
    }

    #[test]
    fn a_message_that_was_just_put_on_its_lane_is_the_last_there(steps in steps()) {
        let mut queue = Queue::default();
        for entry in history(&steps) {
            queue.apply(&entry);
            let (id, ask) = match &entry.event {
                Event::MessagePosted(e) => (e.id, e.ask.as_ref()),
                Event::MessageReleased(e) => (e.message_id, Some(&e.ask)),
                _ => continue,
            };
            if let Some(ask) = ask {
                prop_assert_eq!(queue.ahead(&id), Some(queue.ahead_of_new(ask)));
            }
        }
    }
}
