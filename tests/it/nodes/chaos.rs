//! `kill -9` of a random node or of Redis, again and again, under load.

use std::{
    io::BufRead,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::Value;

use super::{Acked, BOTS, Place, all_there_once_and_answered_once, send_until_acknowledged, until_answered};
use crate::harness::{Dice, Server, assert_same, everything_shown, seed, soak};

/// Real messages of a chat: text and room.
pub(crate) fn real_messages(count: usize) -> Vec<(String, String)> {
    let file = std::fs::File::open("tests/data/ubuntu-irc-excerpt.jsonl.gz").unwrap();
    let lines = std::io::BufReader::new(flate2::read::GzDecoder::new(file)).lines();
    let message = |line: std::io::Result<String>| {
        let row: Value = serde_json::from_str(&line.unwrap()).unwrap();
        (row["room"].as_str().unwrap().to_owned(), row["text"].as_str().unwrap().to_owned())
    };
    lines.map(message).filter(|(_, text)| !text.trim().is_empty()).take(count).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_killed_every_post_is_there_once_and_has_one_answer() {
    let (posts, kills, pause_ms) = if soak() { (5_000, 40, 2_000) } else { (500, 8, 400) };
    let seed = seed();
    let mut dice = Dice(seed);
    let place = Arc::new(Place::new(2, &["--pace", "1", "--lease-ms", "1000"]));
    let mut nodes = [Some(place.start(0)), Some(place.start(1))];
    let messages = Arc::new(real_messages(posts));
    assert_eq!(messages.len(), posts);
    let (next, acked) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
    let killing = Arc::new(tokio::sync::watch::Sender::new(true));

    let mut clients = tokio::task::JoinSet::new();
    for client in 0..8u64 {
        let (place, messages, next, acked, killing) =
            (place.clone(), messages.clone(), next.clone(), acked.clone(), killing.subscribe());
        clients.spawn(async move {
            let http = antiphon_bot::http_client();
            let mut dice = Dice(seed ^ (client + 1));
            // So slowly that posts are under way until the last kill.
            let pace = Duration::from_millis(kills * pause_ms * 8 / posts as u64);
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                let Some((room, text)) = messages.get(n) else { return };
                let post = Acked { room: room.clone(), id: dice.uuid().to_string(), text: text.clone() };
                let (first, bot) = (dice.below(2) as usize, BOTS[dice.below(4) as usize]);
                send_until_acknowledged(&http, &place.addresses, first, &post, bot).await;
                acked.lock().unwrap().push(post);
                if *killing.borrow() {
                    tokio::time::sleep(pace).await;
                }
            }
        });
    }

    let mut killed = [0, 0, 0];
    for _ in 0..kills {
        tokio::time::sleep(Duration::from_millis(pause_ms / 2 + dice.below(pause_ms))).await;
        let who = dice.below(3) as usize;
        killed[who] += 1;
        let place = place.clone();
        let down = Duration::from_millis(dice.below(300));
        if who == 2 {
            place.redis.kill();
            tokio::time::sleep(down).await;
            tokio::task::spawn_blocking(move || place.redis.restart()).await.unwrap();
        } else {
            nodes[who].take().unwrap().kill();
            tokio::time::sleep(down).await;
            nodes[who] = Some(tokio::task::spawn_blocking(move || place.start(who)).await.unwrap());
        }
    }
    killing.send_replace(false);
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
    let acked = acked.lock().unwrap().clone();
    println!("{} posts acknowledged; kills of node 0, node 1, Redis: {killed:?}", acked.len());
    let [one, two]: [Server; 2] = nodes.map(Option::unwrap);

    until_answered(&one, &acked).await;
    until_answered(&two, &acked).await;
    all_there_once_and_answered_once(&one, &acked).await;
    place.lanes_are_empty();
    let shown = everything_shown(&one).await;
    assert_same(&shown, &everything_shown(&two).await, "both nodes");
    // One that knows nothing but the stream.
    let fresh = place.start(2);
    assert_same(&shown, &everything_shown(&fresh).await, "built from the stream");
}
