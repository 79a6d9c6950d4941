//! The fold of a monitor against the statistics, the queue and the views of the same log.

use std::collections::{BTreeSet, HashSet};

use antiphon_schemas::Stored;
use proptest::prelude::*;

use super::*;
use crate::{
    decide::tests::{EPOCH, bot, config, history, steps, steps_that_erase},
    projection::{minutes::spread, queue::Queue},
    replay::{
        histogram::Histogram,
        stats::{By, Series, Stats},
    },
};

fn monitor() -> MonitorFold {
    MonitorFold::new(EPOCH, [bot(0), bot(1)])
}

fn fold(entries: &[Arc<Entry>]) -> MonitorFold {
    let mut monitor = monitor();
    entries.iter().for_each(|entry| monitor.apply(entry));
    monitor
}

fn queue(entries: &[Arc<Entry>]) -> Queue {
    let mut queue = Queue::default();
    entries.iter().for_each(|entry| queue.apply(entry));
    queue
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn its_numbers_are_those_that_replay_stats_tells_of_the_same_entries(steps in steps(), from: prop::sample::Index) {
        let entries = history(&steps);
        let tail = &entries[from.index(entries.len() + 1)..];
        let (monitor, mut stats) = (fold(tail), Stats::by(By::Bot));
        tail.iter().for_each(|entry| stats.apply(&Stored::from(&**entry)).unwrap());
        let series = stats.finish();
        for name in [bot(0), bot(1)] {
            let nothing = Series::default();
            let told = series.get(name.as_str()).unwrap_or(&nothing);
            let all = monitor.minutes(&name).unwrap().all();
            prop_assert_eq!(
                (all.posted, all.answered, all.failed, all.retried, all.takeovers),
                (told.asked, told.answered, told.failed(), told.retries, told.takeovers)
            );
            let spreads = |one: &Histogram, other: &Histogram| (spread(one), one.clone()) == (spread(other), other.clone());
            prop_assert!(spreads(&all.waiting, &told.waiting), "{:?} {:?}", all.waiting, told.waiting);
            prop_assert!(spreads(&all.first_token, &told.first_token));
            prop_assert!(spreads(&all.total, &told.total));
        }
    }

    #[test]
    fn it_knows_each_open_message_and_what_it_says(steps in steps_that_erase()) {
        let entries = history(&steps);
        let (monitor, queue) = (fold(&entries), queue(&entries));
        let open: HashSet<_> = queue.iter().map(|(id, _)| *id).collect();
        prop_assert_eq!(monitor.asked.keys().copied().collect::<HashSet<_>>(), open);
        for (id, open) in queue.iter() {
            let asked = monitor.open(id).unwrap();
            prop_assert_eq!((asked.attempts, asked.asked_at_ms), (open.attempts, Some(open.asked_at_ms)));
            let number = id.0.as_u128() - 1;
            prop_assert_eq!(&*asked.said.as_ref().unwrap().text, format!("message {number}"));
            let since = match &open.state {
                State::Waiting { since, .. } => *since,
                State::Claimed(claim) => claim.fence,
                State::Retrying { .. } => continue,
            };
            prop_assert_eq!(asked.since.map(|(seq, _)| seq), Some(since));
        }
        prop_assert_eq!(monitor.lacking(queue.iter().map(|(id, _)| id)), vec![]);
    }

    #[test]
    fn begun_anywhere_it_comes_to_the_same_but_for_what_it_cannot_know(
        steps in steps_that_erase(), from: prop::sample::Index, stop: prop::sample::Index,
    ) {
        let entries = history(&steps);
        let until = stop.index(entries.len() + 1);
        let from = from.index(until + 1);
        let whole = fold(&entries[..until]);
        // Some of it before what is open is looked at, some after.
        let middle = from + (until - from) / 2;
        let mut part = fold(&entries[from..middle]);
        part.take_in(queue(&entries[..middle]).iter());
        entries[middle..until].iter().for_each(|entry| part.apply(entry));
        let seen = &entries[from..until];
        let ended = |monitor: &MonitorFold| monitor.ended().cloned().collect::<Vec<_>>();
        let (mut met, mut known) = (HashSet::new(), HashMap::new());
        for (n, entry) in (from..).zip(seen) {
            if n == middle {
                met.extend(queue(&entries[..middle]).iter().map(|(id, _)| *id));
            }
            let mut end = |id| known.insert(id, met.contains(&id));
            match &entry.event {
                Event::MessagePosted(e) => drop(met.insert(e.id)),
                Event::MessageClaimed(e) => drop(met.insert(e.message_id)),
                Event::MessageReleased(e) => drop(met.insert(e.message_id)),
                Event::MessageFailed(e) if e.retry_at_ms.is_none() => drop(end(e.message_id)),
                Event::MessageDead(e) => drop(end(e.message_id)),
                Event::MessageCancelled(e) => drop(end(e.message_id)),
                Event::MessageCompleted(e) => drop(end(e.message_id)),
                _ => {}
            }
        }
        let newer: Vec<_> = ended(&whole).into_iter().filter(|e| known.get(&e.message_id) == Some(&true)).collect();
        prop_assert_eq!(newer.len(), ended(&part).len());
        for (whole, part) in newer.iter().zip(ended(&part)) {
            // Asked for the last time since it began.
            let knows_it = seen.iter().any(|entry| match &entry.event {
                Event::MessagePosted(e) => e.id == part.message_id,
                _ => false,
            });
            match knows_it {
                true => prop_assert_eq!(whole, &part),
                false => {
                    let same = |e: &EndedMessage| (e.message_id, e.status, e.reason.clone(), e.position, e.reply_id);
                    prop_assert_eq!(same(whole), same(&part));
                }
            }
        }
        let mut learned = part.clone();
        let open = queue(&entries[..until]);
        for id in part.lacking(open.iter().map(|(id, _)| id)) {
            learned.learn(id, None);
        }
        prop_assert_eq!(learned.lacking(open.iter().map(|(id, _)| id)), vec![]);
    }

    #[test]
    fn nothing_that_was_taken_back_is_in_it(steps in steps_that_erase()) {
        let entries = history(&steps);
        let monitor = fold(&entries);
        let (mut hidden, mut erased) = (BTreeSet::new(), BTreeSet::new());
        for entry in &entries {
            match &entry.event {
                Event::MessageRedacted(e) => drop(hidden.insert(e.message_id)),
                Event::MessageErased(e) => drop((hidden.insert(e.message_id), erased.insert(e.message_id))),
                _ => {}
            }
        }
        for ended in monitor.ended() {
            prop_assert_eq!(ended.text.is_empty(), hidden.contains(&ended.message_id), "{:?}", ended);
            prop_assert_eq!(&*ended.author == ERASED_AUTHOR, erased.contains(&ended.message_id));
            if let (Some(id), Some(reply)) = (&ended.reply_id, &ended.reply) {
                prop_assert_eq!(reply.is_empty(), hidden.contains(id));
            }
        }
        prop_assert!(monitor.ended.len() <= ENDED_MAX);
        let ids: BTreeSet<_> = monitor.ended().map(|ended| ended.message_id).collect();
        prop_assert_eq!(ids.len(), monitor.ended.len(), "one for each id");
    }
}

#[test]
fn a_long_text_is_cut_between_characters() {
    let long: Arc<str> = "ä".repeat(EXCERPT_CHARS + 1).into();
    assert_eq!(excerpt(&long).chars().count(), EXCERPT_CHARS);
    let short: Arc<str> = "ä".repeat(EXCERPT_CHARS).into();
    assert_eq!(excerpt(&short), short);
}
