//! The index: entries applied a second, look-ups a second, and what opening it again costs.
//!
//! Entries are conversations side by side, each posted → claimed → reply.posted + completed, over rooms of uneven use;
//! made before the clock starts. A batch is one hand-over; the indexer merges what is queued, as in the server.

use std::{path::Path, sync::Arc, time::Instant};

use antiphon::index::{Index, Indexer, Page};
use antiphon_schemas::{
    BotName, Entry, Epoch, Event, Header, MessageId, RequestId, RoomName, Seq,
    event::{Ask, Author, AuthorKind, MessageClaimed, MessageCompleted, MessagePosted, ReplyPosted},
};
use uuid::Uuid;

/// Two entries of three are of messages that are open at the same time in other rooms.
const OPEN: usize = 64;
const ROOMS: usize = 100;
const ENTRIES: usize = 1_000_000;
const LOOKUPS: usize = 500_000;
/// Batches of each size that are waited for one by one.
const PACED: usize = 400;
const EPOCH: Epoch = Epoch(7);

/// Runs all of it and prints a line for each.
pub(crate) fn run() {
    let entries = conversations(ENTRIES);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    for batch in [64, 1_024] {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("index.redb");
        let index = Index::open(Some(&path), EPOCH, Seq::ZERO).expect("an index");
        runtime.block_on(apply(&index, &entries, batch));
        if batch == 64 {
            drop(index);
            let index = Index::open(Some(&folder.path().join("paced.redb")), EPOCH, Seq::ZERO).expect("an index");
            for batch in [1, 64, 1_024] {
                runtime.block_on(paced(&index, &entries, batch));
            }
        } else if batch == 1_024 {
            lookups(&index, &entries);
            drop(index);
            reopen(&path);
        }
    }
}

async fn apply(index: &Index, entries: &[Arc<Entry>], batch: usize) {
    let indexer = Indexer::start(index.clone()).expect("a thread");
    let mut applied = indexer.applied();
    let tail = entries.last().expect("entries").header.seq;
    let batches: Vec<Vec<Arc<Entry>>> = entries.chunks(batch).map(<[_]>::to_vec).collect();
    let start = Instant::now();
    let mut commits = 0_u64;
    let feed = async {
        for entries in batches {
            indexer.apply(entries).await;
        }
    };
    let watch = async {
        while *applied.borrow_and_update() < tail {
            applied.changed().await.expect("the indexer runs");
            commits += 1;
        }
    };
    tokio::join!(feed, watch);
    let (visible, flush) = (start.elapsed(), Instant::now());
    indexer.close();
    let rate = entries.len() as f64 / visible.as_secs_f64();
    println!(
        "index apply, batches of {batch:>5}: {:>8.0} entries/s, about {} entries a commit, close {} ms",
        rate,
        entries.len() as u64 / commits.max(1),
        flush.elapsed().as_millis(),
    );
}

/// Hand over, wait until it is visible, hand over the next: nothing is merged.
async fn paced(index: &Index, entries: &[Arc<Entry>], batch: usize) {
    let indexer = Indexer::start(index.clone()).expect("a thread");
    let mut applied = indexer.applied();
    let from = index.position().0 as usize;
    let mut took = Vec::new();
    for batch in entries[from..].chunks(batch).take(PACED) {
        let (last, entries) = (batch.last().expect("entries").header.seq, batch.to_vec());
        let start = Instant::now();
        indexer.apply(entries).await;
        applied.wait_for(|seq| *seq >= last).await.expect("the indexer runs");
        took.push(start.elapsed());
    }
    indexer.close();
    took.sort_unstable();
    let rate = (batch * took.len()) as f64 / took.iter().sum::<std::time::Duration>().as_secs_f64();
    println!(
        "index apply, one batch of {batch:>5} at a time: {rate:>8.0} entries/s, visible after p50 {} µs, p99 {} µs, max {} ms",
        took[took.len() / 2].as_micros(),
        took[took.len() * 99 / 100].as_micros(),
        took[took.len() - 1].as_millis(),
    );
}

fn lookups(index: &Index, entries: &[Arc<Entry>]) {
    let ids: Vec<MessageId> = entries.iter().flat_map(|e| e.header.subjects.first().copied()).collect();
    let scattered = |i: usize| ids[i.wrapping_mul(7_919) % ids.len()];
    let start = Instant::now();
    let found = (0..LOOKUPS).filter(|i| matches!(index.reader().record(scattered(*i)), Ok(Some(_)))).count();
    assert_eq!(found, LOOKUPS, "every id was applied");
    report("index record, hit", LOOKUPS, start);

    let start = Instant::now();
    let unknown =
        |i: usize| MessageId(Uuid::from_u128((i as u128).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)));
    let found = (0..LOOKUPS).filter(|i| !matches!(index.reader().record(unknown(*i)), Ok(None))).count();
    assert_eq!(found, 0, "no such id was applied");
    report("index record, miss", LOOKUPS, start);

    let pages = LOOKUPS / 20;
    for kind in [None, Some(AuthorKind::Human)] {
        let start = Instant::now();
        for i in 0..pages {
            let page =
                Page { before: Some(Seq((i * 37 % ENTRIES) as u64)), limit: 50, newest: true, kind, after: None };
            index.reader().messages(&room(i), page).expect("a page");
        }
        report(if kind.is_none() { "index page of 50" } else { "index page of 50 people's" }, pages, start);
    }
}

fn reopen(path: &Path) {
    let bytes = std::fs::metadata(path).expect("the file").len();
    let start = Instant::now();
    let index = Index::open(Some(path), EPOCH, Seq(ENTRIES as u64)).expect("the index");
    assert_eq!(index.position(), Seq(ENTRIES as u64), "closed means durable");
    println!("index open again: {} ms for {ENTRIES} entries in {} MiB", start.elapsed().as_millis(), bytes >> 20);
}

fn report(what: &str, count: usize, start: Instant) {
    let took = start.elapsed();
    println!(
        "{what}: {:.0} /s, {:.2} µs each",
        count as f64 / took.as_secs_f64(),
        took.as_micros() as f64 / count as f64
    );
}

/// `count` entries of conversations, [`OPEN`] of them under way at any time.
pub(crate) fn conversations(count: usize) -> Vec<Arc<Entry>> {
    let bot = BotName::new("echo").expect("a bot's name");
    let id = |n: usize, kind: u128| {
        // As a UUID of version 7: milliseconds first, then something scattered.
        let scattered = (n as u128 * 2 + kind).wrapping_mul(0x9e37_79b9_7f4a_7c15) & 0xffff_ffff_ffff;
        MessageId(Uuid::from_u128((1_795_336_020_000 + n as u128 / 20) << 80 | 0x7 << 76 | scattered))
    };
    let (mut entries, mut fences) = (Vec::with_capacity(count), Vec::new());
    for step in 0.. {
        // In each step conversation `step` is posted, and the ones before it go on.
        let posted = MessagePosted {
            id: id(step, 0),
            author: Author { name: "somebody".into(), kind: AuthorKind::Human, color: None },
            text: "how do I mount a second disk at start?".into(),
            to: None,
            ask: Some(Ask { bot: bot.clone(), priority: 5, second: false }),
            reply_to: None,
            hops: 0,
            said_at_ms: None,
        };
        push(&mut entries, step, posted.into());
        if let Some(n) = step.checked_sub(OPEN / 2) {
            let claimed = MessageClaimed {
                message_id: id(n, 0),
                reply_id: id(n, 1),
                bot: bot.clone(),
                worker: "node-1/echo".into(),
                incarnation: None,
                attempt: 1,
                lease_ms: 10_000,
            };
            push(&mut entries, n, claimed.into());
            fences.push(Seq(entries.len() as u64));
        }
        if let Some(n) = step.checked_sub(OPEN) {
            let reply = ReplyPosted {
                id: id(n, 1),
                message_id: id(n, 0),
                author: Author { name: "echo".into(), kind: AuthorKind::Bot, color: None },
                text: "add a line to /etc/fstab and try it with mount -a".into(),
                hops: 1,
                made: Arc::default(),
            };
            push(&mut entries, n, reply.into());
            let completed = MessageCompleted { message_id: id(n, 0), reply_id: id(n, 1), fence: fences[n], ms: 12 };
            push(&mut entries, n, completed.into());
        }
        if entries.len() >= count {
            entries.truncate(count);
            return entries;
        }
    }
    unreachable!("steps have no end")
}

fn push(entries: &mut Vec<Arc<Entry>>, conversation: usize, event: Event) {
    let seq = entries.len() as u64 + 1;
    let header = Header {
        seq: Seq(seq),
        at_ms: 1_795_336_020_000 + seq / 20,
        request: RequestId(Uuid::from_u128(u128::from(seq))),
        kind: event.kind().into(),
        room: Some(room(conversation)),
        subjects: event.subjects(),
        version: antiphon_schemas::entry::VERSION,
    };
    let body = Entry::body_of(&event, [0; 16]).expect("an event");
    entries.push(Arc::new(Entry { header, body, event }));
}

/// Half of the conversations share a tenth of the rooms.
fn room(conversation: usize) -> RoomName {
    let scattered = conversation.wrapping_mul(7_919);
    let n = if conversation.is_multiple_of(2) { scattered % (ROOMS / 10) } else { scattered % ROOMS };
    RoomName::new(&format!("room-{n}")).expect("a room's name")
}
