//! What a reader answers, by example.

use super::*;
use crate::index::Page;

/// Room `a`: a person at 1, 3, 5, 7, 9; a program at 2, 4, 6, 8; a claim at 10. Room `b`: a person at 11.
async fn busy() -> Index {
    let index = in_memory();
    let mut entries = Vec::new();
    for seq in 1..=9 {
        let kind = if seq % 2 == 0 { AuthorKind::Bot } else { AuthorKind::Human };
        entries.push(entry(seq, 1_000 * seq, 1, said(seq as u8, kind, false)));
    }
    entries.push(entry(10, 10_900, 1, event(1, 9, 0)));
    entries.push(entry(11, 60_000, 4, said(11, AuthorKind::Human, true)));
    apply_durably(&index, &entries).await;
    index
}

#[tokio::test]
async fn a_page_is_cut_by_after_before_limit_end_and_kind() {
    let reader = busy().await.reader();
    let (some, human, bot) = (|seq| Some(Seq(seq)), Some(AuthorKind::Human), Some(AuthorKind::Bot));
    let all = Page { limit: 100, ..Page::default() };
    let cases: &[(Page, &[u64])] = &[
        (all, &[1, 2, 3, 4, 5, 6, 7, 8, 9]),
        (Page { limit: 0, ..all }, &[]),
        (Page { limit: 3, ..all }, &[1, 2, 3]),
        (Page { limit: 3, newest: true, ..all }, &[7, 8, 9]),
        (Page { after: some(3), limit: 2, ..all }, &[4, 5]),
        (Page { after: some(3), limit: 2, newest: true, ..all }, &[8, 9]),
        (Page { before: some(4), limit: 2, newest: true, ..all }, &[2, 3]),
        (Page { before: some(4), limit: 2, ..all }, &[1, 2]),
        (Page { after: some(3), before: some(6), ..all }, &[4, 5]),
        (Page { after: some(3), before: some(4), ..all }, &[]),
        (Page { after: some(6), before: some(3), ..all }, &[]),
        (Page { after: some(9), ..all }, &[]),
        (Page { before: some(1), ..all }, &[]),
        (Page { after: Some(Seq::MAX), ..all }, &[]),
        (Page { after: Some(Seq::ZERO), before: Some(Seq::MAX), ..all }, &[1, 2, 3, 4, 5, 6, 7, 8, 9]),
        (Page { kind: human, limit: 2, ..all }, &[1, 3]),
        (Page { kind: human, limit: 2, newest: true, ..all }, &[7, 9]),
        (Page { kind: bot, after: some(2), ..all }, &[4, 6, 8]),
    ];
    for (page, expected) in cases {
        let seqs: Vec<u64> = reader.messages(&room_of("a"), *page).unwrap().iter().map(|seq| seq.0).collect();
        assert_eq!(seqs, *expected, "{page:?}");
    }
    assert_eq!(reader.messages(&room_of("b"), all).unwrap(), [Seq(11)]);
    assert_eq!(reader.messages(&room_of("nobody-here"), all).unwrap(), []);
}

#[tokio::test]
async fn a_rooms_entries_go_on_after_a_position_and_hold_what_nobody_said_too() {
    let reader = busy().await.reader();
    let of_a = |after, upto, limit| reader.entries(&room_of("a"), Seq(after), upto, limit).unwrap();
    assert_eq!(of_a(7, Seq::MAX, 100), [8, 9, 10].map(Seq));
    assert_eq!(of_a(7, Seq(9), 100), [8, 9].map(Seq));
    assert_eq!(of_a(7, Seq::MAX, 2), [8, 9].map(Seq));
    assert_eq!(of_a(10, Seq::MAX, 100), []);
    assert_eq!(of_a(9, Seq(9), 100), []);
}

#[tokio::test]
async fn rooms_come_by_name_with_what_was_last_said_there() {
    let reader = busy().await.reader();
    let all = reader.rooms(None, 100).unwrap();
    let seen: Vec<_> = all.iter().map(|r| (r.room.as_str(), r.messages, r.last_seq.0, r.last_at_ms)).collect();
    assert_eq!(seen, [("a", 9, 9, 9_000), ("b", 1, 11, 60_000)]);
    assert_eq!(reader.rooms(None, 1).unwrap(), all[..1]);
    assert_eq!(reader.rooms(Some("a"), 100).unwrap(), all[1..]);
    assert_eq!(reader.rooms(Some("b"), 100).unwrap(), []);
}

#[tokio::test]
async fn a_time_is_the_last_position_of_its_second_or_before() {
    let reader = busy().await.reader();
    let at: Vec<u64> = [0, 999, 1_000, 1_999, 9_500, 10_000, 59_999, 60_000].map(|ms| reader.at(ms).unwrap().0).into();
    assert_eq!(at, [0, 0, 1, 1, 9, 10, 10, 11]);
}

#[tokio::test]
async fn a_reader_stays_at_its_moment() {
    let index = in_memory();
    let log = traffic(600);
    apply_durably(&index, &log[..300]).await;
    let before = index.reader();
    apply_durably(&index, &log[300..]).await;
    model::assert_is_fold_of(&before, &log[..300]);
    model::assert_is_fold_of(&index.reader(), &log);
}
