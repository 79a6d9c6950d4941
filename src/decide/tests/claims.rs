//! Claims for several bots, and under keys that workers choose.

use super::*;

fn wish(bots: &[usize], key: &str) -> ClaimRequest {
    let bots = bots.iter().map(|n| bot(*n)).collect();
    ClaimRequest { bots, worker: "w".into(), incarnation: None, reply_id: work::reply_of("w", key), keyed: true }
}

impl World {
    fn ask(&mut self, message: usize, bot: usize, priority: u8) {
        let came = self.act(&Step::Post { message, room: 0, bot: Some(bot), priority });
        assert!(matches!(came, Ok(Some(Decision::Append { .. }))), "{came:?}");
    }

    fn wish(&self, wish: &ClaimRequest, busy: &[MessageId]) -> Came {
        let busy = busy.iter().copied().collect();
        work::claim(
            &self.projections,
            &Prefetched::none(),
            &self.policy,
            wish,
            Ages { now: self.now(), judged: true, behind: &HashMap::new() },
            &busy,
        )
    }

    /// The message that a wish is given; it is claimed.
    fn given(&mut self, bots: &[usize], key: &str) -> Option<MessageId> {
        let Decision::Append { room, subjects, events } = self.wish(&wish(bots, key), &[]).unwrap()? else {
            panic!("granted before");
        };
        events.iter().for_each(|event| self.append(&room, event));
        let Event::MessageClaimed(e) = &events[0] else { panic!("{events:?}") };
        assert_eq!(subjects, [e.message_id, e.reply_id], "the log refuses a second claim under the key");
        Some(e.message_id)
    }
}

#[test]
fn of_several_bots_the_most_urgent_head_comes_first_and_of_equals_the_oldest() {
    let mut world = World::new();
    world.ask(0, 1, 5);
    world.ask(1, 0, 5);
    world.ask(2, 0, 7);
    world.ask(3, 1, 2);
    let given: Vec<_> = (0..5).map(|n| world.given(&[0, 1], &n.to_string())).collect();
    assert_eq!(given, [Some(id(2)), Some(id(0)), Some(id(1)), Some(id(3)), None]);
}

#[test]
fn a_claim_is_only_for_the_bots_that_were_asked_for() {
    let mut world = World::new();
    world.ask(0, 1, 9);
    assert_eq!(world.given(&[0], "k"), None);
    assert_eq!(world.given(&[1], "k"), Some(id(0)));
}

#[test]
fn a_key_is_granted_once_while_its_claim_lives_and_never_after_its_reply() {
    let mut world = World::new();
    world.ask(0, 0, 5);
    world.ask(1, 0, 5);
    let granted = Ok(Some(Decision::Stands(Status::Claimed)));
    assert_eq!(world.given(&[0], "k"), Some(id(0)));
    assert_eq!(world.wish(&wish(&[0], "k"), &[]), granted);
    assert_eq!(world.wish(&wish(&[1], "k"), &[]), granted, "whatever else it says now");

    // Given back, the key is free again, and may be given the other message.
    world.act(&Step::End { message: 0, stale: false, how: How::Released(release::GOODBYE) }).unwrap();
    assert_eq!(world.given(&[0], "k"), Some(id(1)));
    world.act(&Step::End { message: 1, stale: false, how: How::Completed }).unwrap();
    assert_eq!(world.wish(&wish(&[0], "k"), &[]), Err(Refusal::KeyUsed));
}

#[test]
fn nothing_is_given_under_a_key_whose_claim_is_being_written() {
    let mut world = World::new();
    world.ask(0, 0, 5);
    let wish = wish(&[0], "k");
    assert_eq!(world.wish(&wish, &[wish.reply_id]), Ok(None));
    assert_eq!(world.wish(&wish, &[id(0)]), Ok(None));
}

#[test]
fn the_id_of_a_reply_is_the_workers_and_the_keys_alone() {
    let of = work::reply_of;
    let all = [of("w", "k"), of("w", "l"), of("v", "k"), of("wk", ""), of("", "wk")];
    assert_eq!(all.iter().collect::<std::collections::HashSet<_>>().len(), all.len());
    assert!(all.iter().all(|id| id.0.get_version_num() == 8 && id.0.get_variant() == uuid::Variant::RFC4122));
    assert_eq!(of("w", "k").to_string(), "c5cb744a-85c5-8bf7-9adb-800a5df829b4", "the same in all versions");
}
