//! Folds are folds: wherever they are cut, kept and resumed, they come to the same.

use antiphon_schemas::{RoomName, Seq};
use proptest::prelude::*;

use super::{Kept, Projections};
use crate::decide::tests::{EPOCH, LIMITS, config, history, steps};

fn beginning() -> Projections {
    Projections::resume(EPOCH, LIMITS, Kept::default())
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
        prop_assert_eq!(live.keep(), again.keep());
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
        let bytes = rmp_serde::to_vec_named(&live.keep()).unwrap();
        let kept: Kept = rmp_serde::from_slice(&bytes).unwrap();
        prop_assert_eq!(&kept, &live.keep());
        let mut resumed = Projections::resume(EPOCH, LIMITS, kept);
        for entry in &entries[cut..] {
            live.apply(entry);
            resumed.apply(entry);
        }
        prop_assert_eq!(live.keep(), resumed.keep());
        // The lanes are made anew from the open messages; they must be the same, too.
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

#[test]
#[should_panic(expected = "a hole")]
fn a_hole_is_never_folded_over() {
    use crate::decide::tests::Step;
    let posts: Vec<_> = (0..3).map(|message| Step::Post { message, room: 0, bot: None, priority: 5 }).collect();
    let (entries, mut projections) = (history(&posts), beginning());
    projections.apply(&entries[0]);
    projections.apply(&entries[2]);
}
