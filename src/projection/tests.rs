//! Folds are folds: wherever they are cut, kept and resumed, they come to the same.

use std::sync::Arc;

use antiphon_schemas::{
    BotName, Entry, Event, RoomName, Seq,
    event::{KeyCreated, KeyRevoked},
};
use proptest::prelude::*;

use super::{Projections, SNAPSHOT_VERSION, SnapshotData, view};
use crate::decide::tests::{EPOCH, LIMITS, config, erased, history, steps, steps_that_erase};

fn beginning() -> Projections {
    Projections::resume(EPOCH, LIMITS, SnapshotData::default())
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn folded_again_from_the_start_it_is_the_same(steps in steps()) {
        let (entries, mut live, mut again) = (history(&steps), beginning(), beginning());
        entries.iter().for_each(|entry| live.apply(entry));
        for entry in &entries {
            again.apply(entry);
            // What was applied before changes nothing.
            entries[..again.position.0 as usize].iter().for_each(|old| again.apply(old));
        }
        prop_assert_eq!(live.snapshot(), again.snapshot());
        prop_assert_eq!(&live.queue, &again.queue);
        for room in ["one", "two"].map(|name| RoomName::new(name).unwrap()) {
            let window = |p: &Projections| p.recent.window(&room, Seq::ZERO, usize::MAX);
            let (live, again) = (window(&live), window(&again));
            prop_assert_eq!(live.floor, again.floor);
            prop_assert_eq!(live.messages, again.messages);
        }
    }

    #[test]
    fn kept_written_read_and_resumed_at_any_cut_it_goes_on_the_same(steps in steps(), cut in any::<prop::sample::Index>()) {
        let entries = history(&steps);
        let cut = cut.index(entries.len() + 1);
        let mut live = beginning();
        entries[..cut].iter().for_each(|entry| live.apply(entry));
        let bytes = rmp_serde::to_vec_named(&live.snapshot()).unwrap();
        let kept: SnapshotData = rmp_serde::from_slice(&bytes).unwrap();
        prop_assert_eq!(&kept, &live.snapshot());
        let mut resumed = Projections::resume(EPOCH, LIMITS, kept);
        for entry in &entries[cut..] {
            live.apply(entry);
            resumed.apply(entry);
        }
        prop_assert_eq!(live.snapshot(), resumed.snapshot());
        // The lanes are rebuilt from the open messages; they must be the same, too.
        for bot in ["ann-bot", "bob-bot"].map(|name| antiphon_schemas::BotName::new(name).unwrap()) {
            prop_assert!(live.queue.waiting(&bot).eq(resumed.queue.waiting(&bot)));
            prop_assert!(live.queue.lanes(&bot).eq(resumed.queue.lanes(&bot)));
            prop_assert_eq!(live.queue.depth(&bot), resumed.queue.depth(&bot));
        }
        for room in ["one", "two"].map(|name| RoomName::new(name).unwrap()) {
            for priority in 0..=9 {
                prop_assert_eq!(live.queue.waiting_in_room(&room, priority), resumed.queue.waiting_in_room(&room, priority));
            }
        }
    }
}

proptest! {
    #![proptest_config(config())]

    /// Goal: folding the log after texts were erased gives the same state as folding it before, wherever that
    /// was kept and resumed, and however many of the texts are still there.
    #[test]
    fn an_erased_log_folds_to_what_a_living_node_has(
        steps in steps_that_erase(),
        cut in any::<prop::sample::Index>(),
        act in any::<prop::sample::Index>(),
    ) {
        let entries = history(&steps);
        let mut live = beginning();
        entries.iter().for_each(|entry| live.apply(entry));
        // Kept at some point, and resumed when everything was erased; and with some of it erased only.
        let (cut, act) = (cut.index(entries.len() + 1), act.index(entries.len() + 1));
        let mut kept = beginning();
        entries[..cut].iter().for_each(|entry| kept.apply(entry));
        let gone = erased(&entries);
        let half: Vec<_> = gone[..act].iter().chain(&entries[act..]).cloned().collect();
        let mut others = [Projections::resume(EPOCH, LIMITS, kept.snapshot()), beginning(), beginning()];
        for (other, log) in others.iter_mut().zip([&gone, &gone, &half]) {
            log.iter().for_each(|entry| other.apply(entry));
            prop_assert_eq!(live.snapshot(), other.snapshot());
            prop_assert_eq!(&live.queue, &other.queue);
            for (id, seq) in gone.iter().filter_map(|entry| Some((view::posted_id(entry)?, entry.header.seq))) {
                if seq.0 > cut as u64 {
                    let record = |p: &Projections| p.newest.record(&id, None);
                    prop_assert_eq!(record(&live), record(other));
                    prop_assert_eq!(live.newest.posted(&id), other.newest.posted(&id));
                }
            }
        }
        for room in ["one", "two"].map(|name| RoomName::new(name).unwrap()) {
            let window = |p: &Projections| p.recent.window(&room, Seq::ZERO, usize::MAX).messages;
            for other in &others[1..] {
                prop_assert_eq!(window(&live), window(other));
            }
            for message in window(&live) {
                let hidden = message.text.is_empty() && message.redacted;
                prop_assert!(hidden == message.redacted && (&*message.author.name != "erased" || hidden));
            }
        }
        let told = format!("{live:?}");
        for entry in entries.iter().filter(|entry| gone[entry.header.seq.0 as usize - 1].body != entry.body) {
            if let Event::MessagePosted(e) = &entry.event {
                prop_assert!(!told.contains(&format!("{:?}", e.text)), "nothing in memory has it");
            }
        }
    }
}

#[test]
#[should_panic(expected = "a hole")]
fn a_hole_is_never_folded_over() {
    use crate::decide::tests::Step;
    let posts: Vec<_> = (0..3).map(|message| Step::Post { message, room: 0, bot: None, priority: 5 }).collect();
    let (entries, mut projections) = (history(&posts), beginning());
    projections.apply(&entries[0]);
    projections.apply(&entries[2]);
}

/// Keys made and revoked, some of them twice, some revoked before they are made.
fn keys() -> impl Strategy<Value = Vec<(usize, bool)>> {
    proptest::collection::vec((0..6usize, any::<bool>()), 0..40)
}

fn key_entries(steps: &[(usize, bool)]) -> Vec<Arc<Entry>> {
    let event = |(n, made): &(usize, bool)| -> Event {
        let key_id: Arc<str> = format!("{n:012}").into();
        let bots = vec![BotName::new("helper").unwrap()];
        match made {
            true => KeyCreated { key_sha256: format!("{n:064}").into(), key_id, worker: "w".into(), bots }.into(),
            false => KeyRevoked { key_id }.into(),
        }
    };
    (1..).zip(steps).map(|(seq, step)| crate::decide::tests::roomless(seq, event(step))).collect()
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_key_is_good_from_the_first_time_it_is_made_until_it_is_revoked_and_never_again(
        steps in keys(),
        cut in any::<prop::sample::Index>(),
    ) {
        let entries = key_entries(&steps);
        let cut = cut.index(entries.len() + 1);
        let mut live = beginning();
        entries[..cut].iter().for_each(|entry| live.apply(entry));
        let bytes = rmp_serde::to_vec_named(&live.snapshot()).unwrap();
        let kept: SnapshotData = rmp_serde::from_slice(&bytes).unwrap();
        prop_assert_eq!(kept.version, SNAPSHOT_VERSION);
        let mut resumed = Projections::resume(EPOCH, LIMITS, kept);
        for entry in &entries[cut..] {
            live.apply(entry);
            resumed.apply(entry);
        }
        prop_assert_eq!(live.snapshot(), resumed.snapshot());
        prop_assert_eq!(live.keys.freeze().into_data(), resumed.keys.freeze().into_data());

        // The rules, as plainly as they can be said.
        for n in 0..6 {
            let said = |made: bool| steps.iter().position(|step| *step == (n, made));
            let good = said(true).is_some() && said(false).is_none();
            let (id, sha256) = (format!("{n:012}"), format!("{n:064}"));
            prop_assert_eq!(live.keys.by_id(&id).map(|key| key.created_at_ms), said(true).filter(|_| good).map(|at| at as u64 + 1));
            prop_assert_eq!(live.keys.by_sha256(&sha256).is_some(), good);
            prop_assert_eq!(live.keys.is_revoked(&id), said(false).is_some());
        }
        let ids: Vec<_> = live.keys.live().iter().map(|key| key.created_at_ms).collect();
        prop_assert!(ids.is_sorted(), "oldest first");
    }
}
