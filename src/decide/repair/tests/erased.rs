//! What was erased or hidden stays so, and one asking has one answer, in every order of two nodes' offers and of life between.

use super::*;

const CLAIM: Step = Step::Claim { bot: 0 };
const CANCEL: Step = Step::Change { message: 0, change: Change::Cancel };
const RETRY: Step = Step::Change { message: 0, change: Change::Retry };
const ERASE: Step = Step::Change { message: 0, change: Change::Erase };
const REDACT: Step = Step::Change { message: 0, change: Change::Redact };
/// Of the reply that the first claim promises, 1,001.
const REDACT_REPLY: Step = Step::Change { message: 1_000, change: Change::Redact };
const ERASE_REPLY: Step = Step::EraseReply { nth: 0 };
const ANSWER: Step = Step::End { message: 0, stale: false, how: How::Completed };
const FAIL: Step = Step::End { message: 0, stale: false, how: How::FailedForGood };

/// Both nodes' plans, offered in this order with life before and after each.
fn offered(kept: &[Arc<Entry>], lost: [&[Arc<Entry>]; 2], life: [&[Step]; 3]) -> World {
    let (mut world, plans) = (fork(kept), lost.map(plan));
    let live = |world: &mut World, steps: &[Step]| steps.iter().for_each(|step| drop(world.act(step)));
    live(&mut world, life[0]);
    carry_out(&mut world, &plans[0], &mut BTreeMap::new());
    live(&mut world, life[1]);
    carry_out(&mut world, &plans[1], &mut BTreeMap::new());
    live(&mut world, life[2]);
    holds(&world, &lost);
    world
}

/// What must hold of a log after offers of these entries.
pub(super) fn holds(world: &World, lost: &[&[Arc<Entry>]]) {
    no_asking_has_two_answers(&world.entries);
    for (message, open) in world.projections.queue.iter() {
        let promised = world.projections.queue.claim(message).map(|claim| claim.reply_id);
        let there = promised.and_then(|id| world.projections.newest.posted(&id));
        assert!(there.is_none(), "a claim promises an answer that is there already: {open:?}");
    }
    let log = erased(&world.entries);
    let posts = |id: MessageId| log.iter().filter(move |entry| view::posted_id(entry) == Some(id));
    let (records, shown) = (records(&log), |entry: &Arc<Entry>| view::message(entry, Epoch(1)).unwrap().text);
    for entry in lost.iter().copied().flatten() {
        match &entry.event {
            Event::MessageErased(e) => {
                posts(e.message_id).for_each(|entry| assert!(shown(entry).is_empty(), "it is back: {entry:?}"));
                assert!(records.get(&e.message_id).is_none_or(|(record, _)| record.erased), "{e:?}");
            }
            Event::MessageRedacted(e) => {
                assert!(records.get(&e.message_id).is_none_or(|(record, _)| record.redacted), "{e:?}");
            }
            _ => {}
        }
    }
}

/// The store kept the claim. One node knows that the answer was erased and its question asked again, the other knows nothing.
#[test]
fn a_worker_that_repeats_its_answer_cannot_bring_it_back_after_it_was_erased_and_its_question_asked_again() {
    let entries = history(&[post(0), CLAIM, ANSWER, ERASE_REPLY, RETRY]);
    let world = offered(&entries[..2], [&entries[2..], &[]], [&[], &[ANSWER], &[]]);
    assert_eq!(
        world.projections.newest.record(&id(0), None).unwrap().status,
        Status::Waiting,
        "asked again, by whom it may"
    );
}

/// What is erased or hidden somewhere is in the log, as that: only there can it stay so.
fn is_there(world: &World, lost: &[Arc<Entry>]) {
    let records = records(&world.entries);
    for entry in lost {
        let (id, erased) = match &entry.event {
            Event::MessageErased(e) => (e.message_id, true),
            Event::MessageRedacted(e) => (e.message_id, false),
            _ => continue,
        };
        let record = records.get(&id).map(|(record, _)| (record.redacted, record.erased || !erased));
        assert_eq!(record, Some((true, true)), "{id}");
    }
}

#[test]
fn in_every_order_of_offers_and_life_the_erased_stays_erased_and_each_asking_has_one_answer() {
    let histories: [&[Step]; 9] = [
        &[post(0), CLAIM, ANSWER, ERASE_REPLY, RETRY],
        &[post(0), CLAIM, ANSWER, RETRY, ERASE_REPLY, CLAIM],
        &[post(0), CLAIM, ANSWER, ERASE_REPLY],
        &[post(0), CLAIM, ANSWER, REDACT_REPLY, RETRY],
        &[post(0), CLAIM, ERASE],
        &[post(0), CLAIM, ANSWER, ERASE, ERASE_REPLY],
        &[post(0), CLAIM, ANSWER, REDACT],
        &[post(0), CLAIM, FAIL, RETRY, CLAIM, ANSWER, ERASE_REPLY],
        &[post(0), CLAIM, ANSWER, RETRY, CLAIM, ANSWER, ERASE_REPLY, RETRY],
    ];
    let lives: [&[Step]; 5] = [&[], &[ANSWER], &[CANCEL], &[CANCEL, RETRY, CLAIM], &[CLAIM, ANSWER, RETRY, CLAIM]];
    let after = [CLAIM, ANSWER, RETRY, CLAIM, ANSWER];
    for steps in histories {
        let entries = history(steps);
        let whole = |kept: &usize| !matches!(&entries[..*kept].last().map(|e| &e.event), Some(Event::ReplyPosted(_)));
        for kept in (0..entries.len()).filter(whole) {
            for seen in kept..=entries.len() {
                let (all, some) = (&entries[kept..], &entries[kept..seen]);
                for [one, two] in lives.iter().flat_map(|one| lives.iter().map(move |two| [*one, *two])) {
                    is_there(&offered(&entries[..kept], [all, some], [one, two, &after]), all);
                    is_there(&offered(&entries[..kept], [some, all], [one, two, &after]), all);
                }
            }
        }
    }
}

/// More answers than come back with their question.
#[test]
fn an_erased_answer_comes_back_as_such_however_often_its_question_was_asked_again() {
    let again: Vec<_> = (0..EARLIER_MAX + 2).flat_map(|_| [RETRY, CLAIM, ANSWER]).collect();
    let entries = history(&[&[post(0), CLAIM, ANSWER][..], &again, &[ERASE_REPLY, RETRY]].concat());
    let lost = &entries[2..];
    is_there(&offered(&entries[..2], [lost, lost], [&[], &[ANSWER], &[CLAIM, ANSWER]]), lost);
    is_there(&offered(&[], [lost, &entries], [&[post(0)], &[], &[CLAIM, ANSWER]]), lost);
}

/// The answer of an earlier asking ended that one; it is no answer to what was asked since.
#[test]
fn whoever_asks_again_meanwhile_does_not_get_the_answer_of_before() {
    let entries = history(&[post(0), CLAIM, ANSWER]);
    let lost = &entries[2..];
    let world = offered(&entries[..2], [lost, lost], [&[], &[RETRY], &[]]);
    assert_eq!(world.projections.newest.record(&id(0), None).unwrap().status, Status::Waiting);
}

/// What versions before have left behind.
#[test]
fn a_log_that_has_an_erased_reply_twice_is_folded_and_gives_it_back_once_and_without_its_text() {
    let mut world = world(&[post(0), CLAIM, ANSWER, ERASE_REPLY, RETRY, CLAIM]);
    for n in [2, 3] {
        let entry = world.entries[n].clone();
        world.append(&room(0), &entry.event);
    }
    assert_eq!(world.projections.newest.record(&id(0), None).unwrap().status, Status::Answered);
    let all = world.entries.clone();
    for kept in 0..all.len() {
        let mut fork = fork(&all[..kept]);
        carry_out(&mut fork, &plan(&all[kept..]), &mut BTreeMap::new());
    }
    let mut fresh = World::new();
    assert_eq!(carry_out(&mut fresh, &plan(&all), &mut BTreeMap::new()), []);
    holds(&fresh, &[&all]);
}
