//! Goal: nothing that reads the state holds up the core, however many messages wait.
//!
//! Method: counts work (`projection::looks`), not time: within one hold of the state's lock, and of a whole post while a snapshot
//! is being written. Everything runs on the test's thread, whose looks are counted.

use std::fmt::Write;

use antiphon_schemas::{
    RequestId,
    event::{Ask, MessagePosted},
};

use super::{monitor::Nothing, *};
use crate::{log::Draft, projection::looks};

const CROWD: usize = 160_000;
const ROOMS: usize = 64;
/// At 200 ns for a look that misses every cache: a millisecond.
const LOOKS_MAX: u64 = 5_000;

fn room_of(n: usize) -> RoomName {
    if n == 0 { room() } else { RoomName::new(&format!("room-{n}")).unwrap() }
}

/// A log of so many questions that nobody has claimed.
async fn crowded(waiting: usize, clock: Clock) -> MemoryLog {
    let log = MemoryLog::new(Epoch(7), clock);
    let author = Author { name: "ann".into(), kind: AuthorKind::Human, color: None };
    let draft = |n: usize| {
        let id = MessageId(Uuid::from_u128(0x1234_5678_9abc_def1_u128.wrapping_mul(n as u128 + 1)));
        let ask = Some(Ask { bot: bot(), priority: 4 + (n % 3) as u8, second: n.is_multiple_of(2) });
        let event = MessagePosted {
            id,
            author: author.clone(),
            text: "hello".into(),
            to: None,
            ask,
            reply_to: None,
            hops: 0,
            said_at_ms: None,
        };
        Draft::new(Some(room_of(n % ROOMS)), event.into(), [0; 16]).unwrap()
    };
    let mut after = Seq::ZERO;
    for from in (0..waiting).step_by(1_600) {
        let append = |from: usize| {
            let drafts = (from..from + 16).map(draft).collect();
            let after = Seq(from as u64);
            Append { after, request: RequestId(Uuid::new_v4()), subjects: vec![], drafts, moves: vec![] }
        };
        let batch = (from..from + 1_600).step_by(16).map(append).collect();
        let verdicts = log.append(batch).await.unwrap();
        assert!(verdicts.iter().all(|verdict| matches!(verdict, Verdict::Appended(_))));
        after = log.tail();
    }
    assert_eq!(after, Seq(waiting as u64));
    log
}

#[tokio::test]
async fn with_160_000_messages_waiting_nothing_holds_the_state_for_more_than_5_000_looks() {
    let (clock, _) = Clock::manual(START_MS);
    let log = crowded(CROWD, clock.clone()).await;
    let node = node_on(Arc::new(log), clock, Policy { queue_max: 1_000_000, ..policy() }).await;
    assert_eq!(node.state().projections.queue.depth(&bot()).waiting, CROWD);
    let worker: Arc<str> = "box".into();
    let claimed = node.claim(&bot(), &worker, None).await.unwrap();
    looks::longest_hold();

    let mut seen = Vec::new();
    for _ in 0..2 {
        assert!(node.kept().unwrap().open.len() >= CROWD);
        seen.push(("a snapshot", looks::longest_hold()));
        let (being_written, before) = (node.state().projections.freeze(), looks::so_far());
        assert!(matches!(node.post(question("one more")).await, Ok(Placed::Posted(_))));
        seen.push(("a post", looks::so_far() - before));
        drop(being_written);

        drop(Follower::snapshot(node.clone(), room(), 50, None).await.unwrap());
        seen.push(("a join", looks::longest_hold()));
        let mut follower = Follower::resume(node.clone(), room(), Some(node.cursor(node.position())), 50);
        assert!(follower.catch_up().await.unwrap().1);
        seen.push(("a return", looks::longest_hold()));
        drop(node.watch(Arc::new(Nothing)).await.unwrap());
        seen.push(("a monitor", looks::longest_hold()));
        assert_eq!(node.queues(&Nothing).queues[0].claimed, 1);
        seen.push(("the queues", looks::longest_hold()));
        assert_eq!(node.workers(&Nothing).unwrap().workers[0].holds[0].message_id, claimed.held.message_id);
        seen.push(("the workers", looks::longest_hold()));
        drop(node.follow_worker(&worker).unwrap());
        seen.push(("a worker that follows its claims", looks::longest_hold()));
    }
    assert_ne!(seen.iter().map(|(_, looks)| *looks).max(), Some(0), "nothing is counted");
    let too_many = seen.iter().filter(|(_, looks)| *looks > LOOKS_MAX);
    let said = too_many.fold(String::new(), |mut said, (what, looks)| {
        let _ = write!(said, "{what}: {looks} looks; ");
        said
    });
    assert_eq!(said, "");
}

#[tokio::test]
async fn who_joins_a_room_is_told_the_place_of_a_message_however_far_back_it_waits() {
    let (clock, _) = Clock::manual(START_MS);
    let log = crowded(3_200, clock.clone()).await;
    let node = node_on(Arc::new(log), clock, Policy { queue_max: 1_000_000, ..policy() }).await;
    let quiet = RoomName::new("quiet").unwrap();
    let post = Post { room: quiet.clone(), priority: 0, ..question("when will it be my turn?") };
    node.post(post.clone()).await.unwrap();
    let (_, bytes) = Follower::snapshot(node, quiet, 50, None).await.unwrap();
    let mut events = Vec::new();
    SseReader::new().push(&bytes, &mut events);
    let told: serde_json::Value = serde_json::from_str(&events[1].data).unwrap();
    assert_eq!((&told["message_id"], &told["ahead"]), (&post.id.to_string().into(), &3_200.into()));
}
