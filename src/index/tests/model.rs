//! The model: every question is answered by looking at every entry; and random logs in random batches against it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use antiphon_schemas::{Entry, Event, MessageId, RoomName, Seq, event::AuthorKind};
use proptest::prelude::*;

use super::*;
use crate::{
    index::{Page, Reader, RoomSummary},
    projection::record::{Change, Record},
};

/// Asserts that `reader` answers as these entries say, which must be all up to its position.
pub(super) fn assert_is_fold_of(reader: &Reader, entries: &[Arc<Entry>]) {
    assert_eq!(reader.position().0, entries.len() as u64);
    assert_records(reader, entries);
    assert_rooms(reader, entries);
    for entry in entries {
        let at_ms = entry.header.at_ms;
        for at_ms in [at_ms - 1_000, at_ms] {
            let expected = entries.partition_point(|e| e.header.at_ms / 1_000 <= at_ms / 1_000);
            assert_eq!(reader.at(at_ms).unwrap().0, expected as u64, "at {at_ms}");
        }
    }
    assert_eq!(reader.at(u64::MAX).unwrap(), reader.position());
}

fn assert_records(reader: &Reader, entries: &[Arc<Entry>]) {
    let mut records: BTreeMap<MessageId, Record> = (0..=255).map(|n| (id(n), Record::default())).collect();
    for entry in entries {
        for (id, change) in Change::of(entry) {
            records.entry(id).or_default().apply(entry.header.seq, &change);
        }
    }
    for (id, record) in records {
        let expected = Some(record).filter(|record| !record.positions.is_empty());
        assert_eq!(reader.record(id).unwrap(), expected, "{id}");
    }
}

fn assert_rooms(reader: &Reader, entries: &[Arc<Entry>]) {
    let names: BTreeSet<&RoomName> = entries.iter().filter_map(|e| e.header.room.as_ref()).collect();
    let mut summaries = Vec::new();
    for room in names {
        let of_room = || entries.iter().filter(|e| e.header.room.as_ref() == Some(room));
        let seqs = |of: &dyn Fn(&Entry) -> bool| of_room().filter(|e| of(e)).map(|e| e.header.seq).collect::<Vec<_>>();
        let page = |kind| Page { limit: usize::MAX, kind, ..Page::default() };
        assert_eq!(reader.entries(room, Seq::ZERO, Seq::MAX, usize::MAX).unwrap(), seqs(&|_| true));
        assert_eq!(reader.messages(room, page(None)).unwrap(), seqs(&|e| speaker(e).is_some()));
        for kind in [AuthorKind::Human, AuthorKind::Bot] {
            assert_eq!(reader.messages(room, page(Some(kind))).unwrap(), seqs(&|e| speaker(e) == Some(kind)));
        }
        if let Some(last) = of_room().rfind(|e| speaker(e).is_some()) {
            let messages = seqs(&|e| speaker(e).is_some()).len() as u64;
            let (last_seq, last_at_ms) = (last.header.seq, last.header.at_ms);
            summaries.push(RoomSummary { room: room.clone(), messages, last_seq, last_at_ms });
        }
    }
    assert_eq!(reader.rooms(None, usize::MAX).unwrap(), summaries);
}

/// Who said something with this entry, if anybody did.
fn speaker(entry: &Entry) -> Option<AuthorKind> {
    match &entry.event {
        Event::MessagePosted(posted) => Some(posted.author.kind),
        Event::ReplyPosted(_) => Some(AuthorKind::Bot),
        Event::Erased(e) if &*e.kind == "message.posted" => Some(AuthorKind::Human),
        Event::Erased(e) if &*e.kind == "reply.posted" => Some(AuthorKind::Bot),
        _ => None,
    }
}

/// What one page is of: the room's messages that are within, then the limit.
fn page_of(entries: &[Arc<Entry>], room: &RoomName, page: Page) -> Vec<Seq> {
    let within = |seq: Seq| page.after.is_none_or(|after| seq > after) && page.before.is_none_or(|before| seq < before);
    let mut seqs: Vec<Seq> = entries
        .iter()
        .filter(|e| e.header.room.as_ref() == Some(room) && within(e.header.seq))
        .filter(|e| speaker(e).is_some_and(|kind| page.kind.is_none_or(|wanted| wanted == kind)))
        .map(|e| e.header.seq)
        .collect();
    if page.newest {
        seqs.drain(..seqs.len().saturating_sub(page.limit));
    } else {
        seqs.truncate(page.limit);
    }
    seqs
}

proptest! {
    #![proptest_config(crate::decide::tests::config())]

    /// Goal: an index that has applied a log before texts were erased is the index of the erased log.
    #[test]
    fn it_is_the_fold_of_the_erased_log_whenever_the_texts_went(
        steps in crate::decide::tests::steps_that_erase(),
        cuts in proptest::collection::vec(1..40_usize, 1..20),
        act in any::<prop::sample::Index>(),
    ) {
        let entries = crate::decide::tests::history(&steps);
        let gone = crate::decide::tests::erased(&entries);
        let act = act.index(entries.len() + 1);
        let half: Vec<_> = gone[..act].iter().chain(&entries[act..]).cloned().collect();
        for log in [&entries, &gone, &half] {
            let index = in_memory();
            let (mut rest, mut cuts) = (&log[..], cuts.iter().cycle());
            while !rest.is_empty() {
                let (batch, after) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
                index.shared.store.apply(batch).unwrap();
                rest = after;
            }
            index.publish().unwrap();
            let reader = index.reader();
            if !entries.is_empty() {
                assert_records(&reader, &gone);
                assert_rooms(&reader, &gone);
            }
            let named = entries.iter().filter_map(|entry| match &entry.event {
                Event::MessageErased(e) => Some((entry.header.seq, e.positions.clone())),
                _ => None,
            });
            let named: Vec<_> = named.collect();
            assert_eq!(reader.erasures(Seq::ZERO, usize::MAX).unwrap(), named);
            if let [(first, _), ..] = named[..] {
                assert_eq!(reader.erasures(first, 2).unwrap(), named[1..named.len().min(3)]);
            }
        }
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    proptest::collection::vec((0..10_u8, 0..12_u8, 0..5_u8, 0..900_u16), 1..200)
}

fn page() -> impl Strategy<Value = Page> {
    let position = || proptest::option::of((0..220_u64).prop_map(Seq));
    let kind = prop_oneof![Just(None), Just(Some(AuthorKind::Human)), Just(Some(AuthorKind::Bot))];
    (position(), position(), 0..30_usize, any::<bool>(), kind).prop_map(|(after, before, limit, newest, kind)| Page {
        after,
        before,
        limit,
        newest,
        kind,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_index_is_the_fold_of_its_entries_however_they_are_cut(
        steps in steps(), cuts in proptest::collection::vec((1..40_usize, 0..10_usize), 1..20),
        pages in proptest::collection::vec((1..5_u8, page()), 20),
    ) {
        let entries = entries(&steps);
        let index = in_memory();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let indexer = Indexer::flushing(index.clone(), NEVER).unwrap();
            let mut done = 0;
            for (len, again) in cuts.iter().cycle() {
                // A batch may begin with entries that were already given: they are skipped.
                let end = entries.len().min(done + len);
                applied(&indexer, &entries[done - done.min(*again)..end]).await;
                done = end;
                if done == entries.len() {
                    break;
                }
            }
            indexer.close();
        });
        let reader = index.reader();
        assert_is_fold_of(&reader, &entries);
        for (room, page) in pages {
            let room = room_of(["", "a", "a-", "aa", "b"][usize::from(room)]);
            prop_assert_eq!(reader.messages(&room, page).unwrap(), page_of(&entries, &room, page), "{} {:?}", room, page);
        }
    }
}
