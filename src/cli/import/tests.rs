//! An import against a server that counts, cuts, delays and refuses.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicUsize, Ordering},
};

use antiphon_schemas::RoomName;
use serde_json::json;
use tokio::sync::Barrier;

use super::*;
use crate::cli::fake::{Answer, Fake, Request};

/// When each row was said, as it is sent.
const AT: &str = "2004-12-25T09:15:00.000Z";

fn line(room: &str, seq: u64, reply_to: Option<u64>) -> String {
    let kind = if seq.is_multiple_of(2) { "human" } else { "bot" };
    json!({"room": room, "seq": seq, "at": "2004-12-25T09:15:00Z", "author": "a", "kind": kind,
        "text": format!("{room} {seq}"), "reply_to": reply_to})
    .to_string()
}

fn posted(status: u16, request: &Request) -> Answer {
    let position = "0000000000000001-00-0000000000000001";
    let (room, id) = (room_of(request), request.json()["id"].clone());
    Answer::json(status, json!({"id": id, "room": room, "position": position, "at": "2026-11-22T08:27:00.000Z"}))
}

fn room_of(request: &Request) -> String {
    request.path.split('/').nth(3).unwrap().to_owned()
}

fn job(fake: &Fake) -> Job {
    let ms = Duration::from_millis;
    Job {
        client: fake.client(),
        answer: false,
        side_by_side: 4,
        limit: u64::MAX,
        read_ahead_bytes_max: READ_AHEAD_BYTES_MAX,
        patience: Duration::from_secs(20),
        backoff: Backoff::new(ms(1), ms(2)),
    }
}

async fn import(fake: &Fake, lines: &[String], change: impl FnOnce(&mut Job)) -> (Counts, anyhow::Result<()>) {
    let mut job = job(fake);
    change(&mut job);
    let mut counts = Counts::default();
    let input = io::Cursor::new(lines.join("\n"));
    let result = job.run(source::read(input), &Progress::new(None), &mut counts).await;
    (counts, result)
}

/// The texts of the posts that were answered, by room.
fn texts(fake: &Fake) -> HashMap<String, Vec<String>> {
    let mut rooms: HashMap<String, Vec<String>> = HashMap::new();
    for request in fake.requests() {
        let text = request.json()["text"].as_str().unwrap().to_owned();
        let texts = rooms.entry(room_of(&request)).or_default();
        // A try that was repeated comes right after itself.
        if texts.last() != Some(&text) {
            texts.push(text);
        }
    }
    rooms
}

/// Goal: rooms go side by side, and each keeps its order. The first four requests are answered only when all four are
/// there, so they must have come from four rooms at once; a second request of a room while one is out is noticed.
#[tokio::test]
async fn rooms_go_side_by_side_and_each_keeps_its_order() {
    let (barrier, out) = (Arc::new(Barrier::new(4)), Arc::new(Mutex::new(HashMap::<String, usize>::new())));
    let most = Arc::new(AtomicUsize::new(0));
    let worst = most.clone();
    let fake = Fake::start_async(move |request, n| {
        let (barrier, out, most) = (barrier.clone(), out.clone(), most.clone());
        Box::pin(async move {
            let room = room_of(&request);
            let now = {
                let mut out = out.lock().unwrap();
                *out.entry(room.clone()).or_default() += 1;
                out[&room]
            };
            most.fetch_max(now, Ordering::Relaxed);
            if n < 4 {
                barrier.wait().await;
            }
            *out.lock().unwrap().get_mut(&room).unwrap() -= 1;
            posted(201, &request)
        })
    })
    .await;
    let lines: Vec<String> = ["a", "b", "c", "d", "e"].iter().flat_map(|r| (0..50).map(|n| line(r, n, None))).collect();
    let (counts, result) = import(&fake, &lines, |_| {}).await;
    result.unwrap();
    assert_eq!(counts, Counts { posted: 250, ..Counts::default() });
    assert_eq!(worst.load(Ordering::Relaxed), 1, "requests out at once in one room");
    for (room, texts) in texts(&fake) {
        assert_eq!(texts, (0..50).map(|n| format!("{room} {n}")).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_lost_connection_and_a_busy_server_are_tried_again_with_the_same_id_before_the_next_row() {
    let fake = Fake::start(|request, n| match n % 3 {
        0 => Answer::Cut,
        1 => Answer::problem(503, "busy"),
        _ => posted(if n == 2 { 200 } else { 201 }, request),
    })
    .await;
    let lines: Vec<String> = (0..10).map(|n| line("a", n, None)).collect();
    let (counts, result) = import(&fake, &lines, |_| {}).await;
    result.unwrap();
    assert_eq!(counts, Counts { posted: 9, already_there: 1, ..Counts::default() });
    assert_eq!(texts(&fake)["a"], (0..10).map(|n| format!("a {n}")).collect::<Vec<_>>());
    let ids: Vec<_> = fake.requests().iter().map(|r| r.json()["id"].to_string()).collect();
    assert_eq!(ids.len(), 30);
    ids.chunks(3).for_each(|tries| assert!(tries.iter().all(|id| *id == tries[0])));
}

#[tokio::test]
async fn what_is_sent_keeps_kind_and_reply_and_asks_nobody_unless_told() {
    let fake = Fake::start(|request, _| posted(201, request)).await;
    let lines = [line("a", 4, None), line("b", 4, None), line("a", 7, Some(4))];
    import(&fake, &lines, |job| job.side_by_side = 1).await.1.unwrap();
    import(&fake, &lines[..1], |job| job.answer = true).await.1.unwrap();
    let sent: Vec<_> = fake.requests().iter().map(Request::json).collect();
    let at = 1_103_966_100_000;
    let id = |room: &str, seq| row::message_id(&RoomName::new(room).unwrap(), seq, at).to_string();
    let by = |id: String| sent.iter().find(|s| s["id"] == id.as_str()).unwrap().clone();
    assert_eq!(
        by(id("a", 4)),
        json!({"id": id("a", 4), "text": "a 4", "author": {"name": "a"}, "to": [], "said_at": AT})
    );
    let reply = json!({"id": id("a", 7), "text": "a 7", "author": {"name": "a", "kind": "bot"}, "to": [], "reply_to": id("a", 4), "said_at": AT});
    assert_eq!(by(id("a", 7)), reply);
    assert_eq!(sent[3], json!({"id": id("a", 4), "text": "a 4", "author": {"name": "a"}, "said_at": AT}));
}

#[tokio::test]
async fn refused_rows_are_counted_and_the_rest_goes_on() {
    let fake = Fake::start(|request, _| match request.json()["text"].as_str().unwrap() {
        "a 1" => Answer::problem(400, "bad-text"),
        "a 2" => Answer::Whole(404, "text/html", "<p>not here".into()),
        _ => posted(201, request),
    })
    .await;
    let mut lines: Vec<String> = (0..4).map(|n| line("a", n, None)).collect();
    lines.insert(1, "{}".into());
    lines.push(line("a", 9, Some(8)));
    let (counts, result) = import(&fake, &lines, |_| {}).await;
    result.unwrap();
    assert_eq!(counts, Counts { posted: 3, refused: 3, unlinked: 1, ..Counts::default() });
}

/// The rows of room a: 1, its answer 2, and 3, which answers a row that the file lacks.
fn thread() -> [String; 3] {
    [line("a", 1, None), line("a", 2, Some(1)), line("a", 3, Some(99))]
}

#[tokio::test]
async fn a_reply_whose_root_is_refused_or_missing_is_posted_without_the_link() {
    let fake = Fake::start(|request, _| match request.json() {
        row if row["text"] == "a 1" => Answer::problem(400, "text-too-long"),
        row if row["reply_to"].is_string() => Answer::problem(400, "reply-to-elsewhere"),
        _ => posted(201, request),
    })
    .await;
    let (counts, result) = import(&fake, &thread(), |_| {}).await;
    result.unwrap();
    assert_eq!(counts, Counts { posted: 2, refused: 1, unlinked: 2, ..Counts::default() });
    assert_eq!(texts(&fake)["a"], ["a 1", "a 2", "a 3"]);
}

#[tokio::test]
async fn a_row_that_is_there_with_another_link_is_there() {
    let there = |id: &str, text: &str| {
        json!({"id": id, "room": "a", "author": {"name": "a", "kind": "bot", "color": null}, "text": text, "reply_to": null,
            "at": "2026-11-22T08:27:00.125Z", "position": "0000000000000001-00-0000000000000001", "status": "none"})
    };
    let fake = Fake::start(move |request, n| match n {
        0 => posted(200, request),
        1 | 3 => Answer::problem(409, "id-taken"),
        2 => Answer::json(200, there("00000000-0000-0000-0000-00000000000a", "a 2")),
        _ => Answer::json(200, there("00000000-0000-0000-0000-00000000000b", "something else")),
    })
    .await;
    let (counts, result) = import(&fake, &thread(), |_| {}).await;
    result.unwrap();
    assert_eq!(counts, Counts { already_there: 2, refused: 1, unlinked: 1, ..Counts::default() });
}

#[tokio::test]
async fn a_row_that_may_not_carry_its_time_is_posted_without_it_unless_it_may_not_be_posted_at_all() {
    let fake = Fake::start(|request, _| match request.json()["said_at"].is_string() {
        true => Answer::problem(403, "import-only"),
        false => posted(201, request),
    })
    .await;
    // The odd ones are of a bot, which only an import on the server's machine may say.
    let (counts, result) = import(&fake, &[line("a", 1, None), line("a", 2, None)], |_| {}).await;
    result.unwrap();
    assert_eq!(counts, Counts { posted: 1, refused: 1, undated: 1, ..Counts::default() });
}

#[test]
fn the_rate_is_that_of_rows_which_the_server_took() {
    let none = Counts { refused: 5, ..Counts::default() };
    assert_eq!(
        none.summary(0.1),
        "posted 0, already there 0, refused 5, without link 0, without date 0, seconds 0.1, rate 0/s\n"
    );
    let some = Counts { posted: 3, already_there: 1, refused: 5, unlinked: 2, undated: 1 };
    assert_eq!(
        some.summary(2.0),
        "posted 3, already there 1, refused 5, without link 2, without date 1, seconds 2.0, rate 2/s\n"
    );
}

#[tokio::test]
async fn the_limit_counts_rows() {
    let fake = Fake::start(|request, _| posted(201, request)).await;
    let lines: Vec<String> = (0..9).map(|n| line("a", n, None)).collect();
    let (counts, _) = import(&fake, &lines, |job| job.limit = 3).await;
    assert_eq!((counts.posted, fake.requests().len()), (3, 3));
}

#[tokio::test]
async fn a_server_that_stays_away_ends_the_import_with_the_reason() {
    let fake = Fake::start(|_, _| Answer::problem(503, "degraded")).await;
    let (counts, result) = import(&fake, &[line("a", 0, None)], |job| job.patience = Duration::from_millis(20)).await;
    let why = result.expect_err("given up").to_string();
    assert!(why.contains("degraded") && why.contains("run it again"), "{why}");
    assert_eq!(counts.all(), 0);
}

/// Goal: bounded memory. The server holds its first answer back; meanwhile the second chunk must stay in the channel.
#[tokio::test]
async fn rows_beyond_the_read_ahead_wait_where_they_are() {
    let (asked, go) = (Arc::new(tokio::sync::Notify::new()), Arc::new(tokio::sync::Notify::new()));
    let (asking, gone) = (asked.clone(), go.clone());
    let fake = Fake::start_async(move |request, n| {
        let (asking, gone) = (asking.clone(), gone.clone());
        Box::pin(async move {
            if n == 0 {
                asking.notify_one();
                gone.notified().await;
            }
            posted(201, &request)
        })
    })
    .await;
    let mut job = job(&fake);
    job.read_ahead_bytes_max = 300;
    let (tx, rx) = tokio::sync::mpsc::channel(1);
    let chunk = |numbers: std::ops::Range<u64>| {
        Ok(numbers.map(|n| source::Line { number: n, text: Some(line("a", n, None).into_bytes()) }).collect())
    };
    let running = tokio::spawn(async move {
        let mut counts = Counts::default();
        job.run(rx, &Progress::new(None), &mut counts).await.map(|()| counts.posted)
    });
    tx.send(chunk(0..3)).await.unwrap();
    tx.send(chunk(3..6)).await.unwrap();
    asked.notified().await;
    assert_eq!(tx.capacity(), 0, "the second chunk was taken although the first is still held");
    go.notify_one();
    drop(tx);
    assert_eq!(running.await.unwrap().unwrap(), 6);
}
