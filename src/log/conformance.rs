//! The suite that every backend passes: one test a promise of `log`, and the reference trace.
//!
//! A backend's tests say `suite!(|clock| …)` with an expression that opens a fresh, empty log on that clock; the
//! expression runs inside a tokio runtime.
//! Not here: what only one backend can do (crash, reopen, salvage).

mod erase;
mod get;
mod random;
mod trim;

use std::sync::{Arc, atomic::Ordering};

use antiphon_schemas::{
    Entry, Event, MessageId, RequestId, RoomName, Seq,
    event::{Author, AuthorKind, MessageCancelled, MessagePosted, Unknown},
};
use bytes::Bytes;
use uuid::Uuid;

use super::{Append, BATCH_MAX, Draft, Error, Log, READ_BYTES_MAX, SCAN_MAX, Verdict};
use crate::clock::Clock;

/// Opens a fresh, empty log on a clock; whatever it needs on disk lives as long as the log's `Arc`.
pub(crate) type Open = fn(Clock) -> Arc<dyn Log>;

macro_rules! suite {
    ($open:expr) => {
        $crate::log::conformance::suite!(@each $open,
            positions_are_gapless_and_entries_are_read_back_as_appended
            an_append_is_refused_when_a_newer_entry_shares_a_subject
            an_append_sees_those_before_it_in_the_same_batch
            a_lost_answer_is_found_by_its_request_id
            further_behind_than_the_scan_is_behind
            a_position_beyond_the_tail_has_diverged
            fresh_ids_need_no_scan
            time_never_runs_backwards
            now_is_the_time_that_the_next_entry_gets
            unknown_kinds_are_carried_through
            a_read_is_bounded_and_goes_on_where_it_stopped
            what_is_at_single_positions_comes_in_order_and_as_it_is_read
            a_get_is_bounded_and_gives_a_beginning
            positions_that_are_not_there_are_named
            waiting_beyond_a_position_ends_when_something_is_appended
            load_takes_entries_verbatim_and_refuses_gaps
            an_erased_entry_is_read_without_its_body_and_nothing_else_changes
            what_cannot_be_erased_is_refused_and_nothing_is_erased
            a_missed_entry_that_was_erased_comes_without_its_body
            erasing_beside_appends_loses_none_of_them
            what_was_trimmed_is_said_to_be_gone_and_the_log_goes_on
            the_newest_entries_cannot_be_trimmed
            what_was_trimmed_counts_as_erased
            a_closed_log_refuses_appends
            invalid_batches_write_nothing
            a_dropped_append_still_happens
            side_by_side_appends_have_one_winner
            random_traces_give_the_reference_entries
        );
    };
    (@each $open:expr, $($name:ident)*) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            $crate::log::conformance::$name($open).await;
        })*
    };
}
pub(crate) use suite;

pub(crate) use self::{erase::*, get::*, random::*, trim::*};

const START_MS: u64 = 1_000_000;

pub(crate) fn id(n: u128) -> MessageId {
    MessageId(Uuid::from_u128(n))
}

pub(crate) fn room(name: &str) -> RoomName {
    RoomName::new(name).unwrap()
}

/// A draft of a person's post with a salt made from its id, so that two backends get the same bytes.
pub(crate) fn post(n: u128, text: &str) -> Draft {
    let event = MessagePosted {
        id: id(n),
        author: Author { name: "ann".into(), kind: AuthorKind::Human, color: None },
        text: text.into(),
        to: None,
        ask: None,
        reply_to: None,
        hops: 0,
        said_at_ms: None,
    };
    Draft::new(Some(room("lobby")), event.into(), n.to_be_bytes()).unwrap()
}

fn cancel(n: u128) -> Draft {
    Draft::new(Some(room("lobby")), MessageCancelled { message_id: id(n) }.into(), n.to_be_bytes()).unwrap()
}

pub(crate) fn append(after: u64, request: u128, subjects: &[u128], drafts: Vec<Draft>) -> Append {
    Append {
        after: Seq(after),
        request: RequestId(Uuid::from_u128(request)),
        subjects: subjects.iter().copied().map(id).collect(),
        drafts,
        moves: vec![],
    }
}

async fn one(log: &dyn Log, append: Append) -> Verdict {
    log.append(vec![append]).await.unwrap().remove(0)
}

#[track_caller]
fn appended(verdict: Verdict) -> Vec<Arc<Entry>> {
    match verdict {
        Verdict::Appended(entries) => entries,
        other => panic!("expected an append, got {other:?}"),
    }
}

pub(crate) async fn read_all(log: &dyn Log) -> Vec<Arc<Entry>> {
    let mut all: Vec<Arc<Entry>> = Vec::new();
    loop {
        let after = all.last().map_or(Seq(log.base().0 - 1), |e| e.header.seq);
        let more = log.read(after, 100).await.unwrap();
        if more.is_empty() {
            return all;
        }
        all.extend(more);
    }
}

pub(crate) async fn positions_are_gapless_and_entries_are_read_back_as_appended(open: Open) {
    let log = open(Clock::manual(START_MS).0);
    assert_eq!(log.tail(), Seq::ZERO);
    assert!(log.read(Seq::ZERO, 10).await.unwrap().is_empty());
    let mut written = Vec::new();
    for n in 1..=50 {
        let drafts = (0..n % 3 + 1).map(|i| post(n * 10 + i, &format!("text {n} ☃"))).collect();
        written.extend(appended(one(&*log, append(log.tail().0, n, &[n * 10], drafts)).await));
    }
    let read = read_all(&*log).await;
    assert_eq!(read, written);
    assert!(read.iter().map(|e| e.header.seq.0).eq(1..=log.tail().0));
    assert!(log.read(log.tail(), 10).await.unwrap().is_empty());
    assert!(log.read(Seq(u64::MAX), 10).await.unwrap().is_empty());
}

pub(crate) async fn an_append_is_refused_when_a_newer_entry_shares_a_subject(open: Open) {
    let log = open(Clock::manual(START_MS).0);
    appended(one(&*log, append(0, 1, &[1], vec![post(1, "a")])).await);
    appended(one(&*log, append(1, 2, &[1], vec![cancel(1)])).await);
    appended(one(&*log, append(1, 3, &[2], vec![post(2, "b")])).await);
    let Verdict::Conflict(missed) = one(&*log, append(1, 4, &[9, 1], vec![cancel(1)])).await else {
        panic!("a newer entry shares a subject")
    };
    assert_eq!(missed.iter().map(|e| e.header.seq.0).collect::<Vec<_>>(), [2, 3], "all that is newer, in order");
    assert_eq!(log.tail(), Seq(3), "nothing was written");
    appended(one(&*log, append(3, 5, &[1], vec![cancel(1)])).await);
}

pub(crate) async fn an_append_sees_those_before_it_in_the_same_batch(open: Open) {
    let log = open(Clock::manual(START_MS).0);
    let batch = vec![
        append(0, 1, &[1], vec![post(1, "first")]),
        append(0, 2, &[1], vec![post(1, "second")]),
        append(0, 3, &[2], vec![post(2, "other")]),
    ];
    let verdicts = log.append(batch).await.unwrap();
    assert!(matches!(&verdicts[0], Verdict::Appended(e) if e[0].header.seq == Seq(1)));
    assert!(matches!(&verdicts[1], Verdict::Conflict(m) if m.len() == 1 && m[0].header.seq == Seq(1)));
    assert!(matches!(&verdicts[2], Verdict::Appended(e) if e[0].header.seq == Seq(2)));
    assert_eq!(log.tail(), Seq(2));
}

pub(crate) async fn a_lost_answer_is_found_by_its_request_id(open: Open) {
    let log = open(Clock::manual(START_MS).0);
    let first = append(0, 77, &[1], vec![post(1, "a")]);
    drop(log.append(vec![first.clone()]).await);
    let Verdict::Conflict(missed) = one(&*log, first).await else { panic!("the first try had succeeded") };
    assert_eq!(missed[0].header.request, RequestId(Uuid::from_u128(77)));
    assert_eq!(log.tail(), Seq(1));
}

async fn fill(log: &dyn Log, count: u64) {
    for start in (0..count).step_by(BATCH_MAX) {
        let batch = start..count.min(start + BATCH_MAX as u64);
        let batch = batch.map(|n| append(0, 1, &[], vec![post(1_000_000 + u128::from(n), "fill")])).collect();
        log.append(batch).await.unwrap();
    }
}

pub(crate) async fn further_behind_than_the_scan_is_behind(open: Open) {
    let log = open(Clock::manual(START_MS).0);
    fill(&*log, SCAN_MAX + 1).await;
    let tail = Seq(SCAN_MAX + 1);
    assert!(
        matches!(one(&*log, append(0, 2, &[1], vec![post(1, "a")])).await, Verdict::Behind { tail: t } if t == tail)
    );
    assert_eq!(log.tail(), tail, "nothing was written");
    appended(one(&*log, append(1, 2, &[1], vec![post(1, "a")])).await);
}

pub(crate) async fn a_position_beyond_the_tail_has_diverged(open: Open) {
    let log = open(Clock::manual(START_MS).0);
    fill(&*log, 3).await;
    for subjects in [&[1][..], &[]] {
        let verdict = one(&*log, append(4, 2, subjects, vec![post(1, "a")])).await;
        assert!(matches!(verdict, Verdict::Diverged { tail: Seq(3) }), "{verdict:?}");
    }
    assert_eq!(log.tail(), Seq(3));
}

pub(crate) async fn fresh_ids_need_no_scan(open: Open) {
    let log = open(Clock::manual(START_MS).0);
    fill(&*log, SCAN_MAX + 10).await;
    appended(one(&*log, append(0, 2, &[], vec![post(1, "a")])).await);
}

pub(crate) async fn time_never_runs_backwards(open: Open) {
    let (clock, at) = Clock::manual(START_MS);
    let log = open(clock);
    let mut times = Vec::new();
    for (n, now) in [START_MS, START_MS + 5, 3, START_MS + 4, START_MS + 9].into_iter().enumerate() {
        at.store(now, Ordering::Relaxed);
        times
            .push(appended(one(&*log, append(0, 1, &[], vec![post(n as u128, "t")])).await)[0].header.at_ms - START_MS);
    }
    assert_eq!(times, [0, 5, 5, 5, 9]);
}

pub(crate) async fn now_is_the_time_that_the_next_entry_gets(open: Open) {
    let (clock, at) = Clock::manual(START_MS);
    let log = open(clock);
    for (n, now) in [START_MS, START_MS + 5_000, 3, START_MS + 9_000].into_iter().enumerate() {
        at.store(now, Ordering::Relaxed);
        let expected = log.now_ms();
        let entry = appended(one(&*log, append(0, 1, &[], vec![post(n as u128, "t")])).await).remove(0);
        assert_eq!((entry.header.at_ms, log.now_ms()), (expected, expected), "the clock says {now}");
    }
    at.store(START_MS + 20_000, Ordering::Relaxed);
    assert_eq!(log.now_ms(), START_MS + 20_000, "it goes on while nothing is appended");
}

pub(crate) async fn unknown_kinds_are_carried_through(open: Open) {
    let log = open(Clock::manual(START_MS).0);
    let data = Bytes::from_static(b"\xc1 from a later version");
    let event = Event::Unknown(Unknown { kind: "weather.changed".into(), data, subjects: vec![id(5), id(6)] });
    let draft = Draft::new(None, event.clone(), [9; 16]).unwrap();
    appended(one(&*log, append(0, 1, &[], vec![draft.clone()])).await);
    let entry = read_all(&*log).await.remove(0);
    assert_eq!((&entry.event, &entry.body, &entry.header.subjects), (&event, &draft.body, &[id(5), id(6)].into()));
    let verdict = one(&*log, append(0, 2, &[6], vec![post(6, "a")])).await;
    assert!(matches!(verdict, Verdict::Conflict(_)), "its subjects count");
}

pub(crate) async fn a_read_is_bounded_and_goes_on_where_it_stopped(open: Open) {
    let log = open(Clock::manual(START_MS).0);
    let text = "x".repeat(60_000);
    for n in 0..40 {
        one(&*log, append(0, 1, &[], vec![post(n, &text)])).await;
    }
    assert_eq!(log.read(Seq(3), 2).await.unwrap().iter().map(|e| e.header.seq.0).collect::<Vec<_>>(), [4, 5]);
    let page = log.read(Seq::ZERO, 1_000).await.unwrap();
    assert!(!page.is_empty() && page.len() < 40, "{} entries", page.len());
    assert!(page.iter().map(|e| e.body.len()).sum::<usize>() <= READ_BYTES_MAX + 70_000);
    assert_eq!(read_all(&*log).await.len(), 40);
}

pub(crate) async fn waiting_beyond_a_position_ends_when_something_is_appended(open: Open) {
    let log = open(Clock::manual(START_MS).0);
    let waiting = tokio::spawn({
        let log = log.clone();
        async move {
            log.beyond(Seq(1)).await.unwrap();
            log.tail()
        }
    });
    one(&*log, append(0, 1, &[], vec![post(1, "a")])).await;
    one(&*log, append(0, 1, &[], vec![post(2, "b")])).await;
    assert_eq!(waiting.await.unwrap(), Seq(2));
    log.beyond(Seq(1)).await.unwrap();
}

pub(crate) async fn load_takes_entries_verbatim_and_refuses_gaps(open: Open) {
    let source = open(Clock::manual(START_MS).0);
    fill(&*source, 600).await;
    let entries = read_all(&*source).await;
    let copy = open(Clock::manual(5).0);
    copy.load(entries[..400].to_vec()).await.unwrap();
    assert!(matches!(copy.load(entries[401..].to_vec()).await, Err(Error::Invalid(_))), "a gap");
    assert!(matches!(copy.load(entries[..1].to_vec()).await, Err(Error::Invalid(_))), "twice");
    assert_eq!(copy.tail(), Seq(400));
    copy.load(entries[400..].to_vec()).await.unwrap();
    let copied = read_all(&*copy).await;
    assert_eq!(copied, entries);
    assert!(copied.iter().zip(&entries).all(|(a, b)| a.hash() == b.hash()));
    let next = appended(one(&*copy, append(600, 2, &[1], vec![post(1, "a")])).await);
    assert_eq!((next[0].header.seq, next[0].header.at_ms), (Seq(601), START_MS), "goes on, not before the last entry");
}

pub(crate) async fn a_closed_log_refuses_appends(open: Open) {
    let log = open(Clock::manual(START_MS).0);
    fill(&*log, 3).await;
    log.close().await.unwrap();
    log.close().await.unwrap();
    assert!(matches!(log.append(vec![append(0, 1, &[], vec![post(1, "a")])]).await, Err(Error::Closed)));
}

pub(crate) async fn invalid_batches_write_nothing(open: Open) {
    let log = open(Clock::manual(START_MS).0);
    let good = append(0, 1, &[], vec![post(1, "a")]);
    let large = append(0, 1, &[], vec![post(2, &"x".repeat(antiphon_schemas::entry::BODY_BYTES_MAX))]);
    for bad in [append(0, 1, &[], vec![]), append(0, 1, &[], vec![post(1, "a"); 17]), large] {
        assert!(matches!(log.append(vec![good.clone(), bad]).await, Err(Error::Invalid(_))));
    }
    assert!(matches!(log.append(vec![good; BATCH_MAX + 1]).await, Err(Error::Invalid(_))));
    assert_eq!(log.tail(), Seq::ZERO);
}

pub(crate) async fn a_dropped_append_still_happens(open: Open) {
    let log = open(Clock::manual(START_MS).0);
    drop(log.append(vec![append(0, 1, &[], vec![post(1, "a")])]));
    log.beyond(Seq::ZERO).await.unwrap();
    assert_eq!(read_all(&*log).await.len(), 1);
}

pub(crate) async fn side_by_side_appends_have_one_winner(open: Open) {
    let log = open(Clock::manual(START_MS).0);
    for n in 0..50u128 {
        let after = log.tail().0;
        let racers = (0..8u128).map(|racer| {
            let log = log.clone();
            tokio::spawn(async move { one(&*log, append(after, racer, &[n], vec![post(n, &racer.to_string())])).await })
        });
        let mut winners = 0;
        for racer in racers.collect::<Vec<_>>() {
            match racer.await.unwrap() {
                Verdict::Appended(_) => winners += 1,
                Verdict::Conflict(missed) => assert_eq!(missed.len(), 1),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(winners, 1);
    }
    assert_eq!(log.tail(), Seq(50));
}
