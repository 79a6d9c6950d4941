//! The server from outside, over loopback: the numbers of the README.
//!
//! A real server process on the file log with fsync; load comes from this process, on the same machine. Each figure
//! stands beside the raw thing of the same run. CPU is the server's own, from /proc.
//! `cargo bench --bench bench -- server [posts|queue|publish|fanout|echo|idle|restart]`

use std::time::{Duration, Instant};

use antiphon::{
    clock::Clock,
    log::{Append, BATCH_MAX, Draft, Log, file},
    projection::{Limits, Projections, SnapshotData},
};
use antiphon_schemas::{
    BotName, MessageId, RequestId, RoomName, Seq,
    event::{Ask, Author, AuthorKind, Made, MessageClaimed, MessageCompleted, MessagePosted, ReplyPosted},
};
use uuid::Uuid;

use crate::{
    client::{self, Connection, Subscriber},
    measure::{block, fdatasync_ms, folder, median, p50_p99},
    process::{Audience, Server, echoes, post_stamped},
};

/// Runs of each figure; the median is quoted.
const RUNS: usize = 3;

pub(crate) fn run(part: Option<&str>) {
    let parts: [(&str, fn()); 7] = [
        ("posts", || block(posts())),
        ("queue", || block(queue())),
        ("publish", || block(publish())),
        ("fanout", || block(fanout())),
        ("echo", || block(echo())),
        ("idle", || block(idle())),
        ("restart", || block(restart())),
    ];
    parts.iter().filter(|(name, _)| part.is_none_or(|part| part == *name)).for_each(|(_, run)| run());
}

/// Posts acknowledged over HTTP by 32 connections, beside as many requests that touch no log.
async fn posts() {
    const CONNECTIONS: usize = 32;
    const TIME: Duration = Duration::from_secs(4);
    let (mut rates, mut raw, mut times) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let dir = folder();
        let server = Server::start(&dir.path().join("data"));
        for (path, rates) in [(None, &mut raw), (Some("load"), &mut rates)] {
            let until = Instant::now() + TIME;
            let tasks = (0..CONNECTIONS).map(|n| {
                let address = server.address.clone();
                tokio::spawn(async move {
                    let mut connection = Connection::open(&address).await;
                    let request = match path {
                        Some(room) => client::post(&format!("{room}{n}"), &"x".repeat(200), "[]"),
                        None => client::get("/health/live"),
                    };
                    let mut times = Vec::new();
                    while Instant::now() < until {
                        let at = Instant::now();
                        let status = connection.ask(&request).await;
                        assert!(status == 201 || status == 200, "status {status}");
                        times.push(at.elapsed().as_secs_f64() * 1e3);
                    }
                    times
                })
            });
            let mut all = Vec::new();
            for task in tasks.collect::<Vec<_>>() {
                all.extend(task.await.expect("a connection"));
            }
            rates.push(all.len() as f64 / TIME.as_secs_f64());
            if path.is_some() {
                let mut connection = Connection::open(&server.address).await;
                let metrics = connection.read(&client::get("/metrics")).await;
                let posted = metrics
                    .lines()
                    .find_map(|l| l.strip_prefix("antiphon_log_entries_total{kind=\"message.posted\"} "));
                assert_eq!(posted.and_then(|n| n.parse::<usize>().ok()), Some(all.len()), "none lost");
                times.push(all);
            }
        }
    }
    let (p50, p99) = p50_p99(times);
    let (rate, raw) = (median(rates), median(raw));
    println!("posts acknowledged, 32 connections   {rate:>8.0} /s   p50 {p50:.2} ms   p99 {p99:.2} ms   none lost");
    println!("  raw: GET without the log           {raw:>8.0} /s   ratio {:.2}", rate / raw);
}

/// Questions acknowledged over HTTP by 32 connections while so many wait for the same bot: how long the queue is must not matter.
async fn queue() {
    const CONNECTIONS: usize = 32;
    const TIME: Duration = Duration::from_secs(4);
    let mut first = None;
    for waiting in [0, 10_000, 100_000, 900_000] {
        let dir = folder();
        let settings = "queue_max = 1000000\n[[bots]]\nname = \"far\"\nmodel = \"remote\"\n";
        std::fs::write(dir.path().join("antiphon.toml"), settings).expect("settings");
        let server = Server::start(&dir.path().join("data"));
        let ask = async |count: usize, until: Option<Instant>| {
            let tasks = (0..CONNECTIONS).map(|n| {
                let address = server.address.clone();
                tokio::spawn(async move {
                    let mut connection = Connection::open(&address).await;
                    let request = client::post(&format!("load{n}"), &"x".repeat(200), "[\"far\"]");
                    let mut asked = 0;
                    while asked < count && until.is_none_or(|until| Instant::now() < until) {
                        let status = connection.ask(&request).await;
                        assert!(status == 201, "status {status}");
                        asked += 1;
                    }
                    asked
                })
            });
            let mut all = 0;
            for task in tasks.collect::<Vec<_>>() {
                all += task.await.expect("a connection");
            }
            all
        };
        ask(waiting / CONNECTIONS, None).await;
        let cpu = server.cpu();
        let asked = ask(usize::MAX, Some(Instant::now() + TIME)).await;
        let rate = asked as f64 / TIME.as_secs_f64();
        let cpu = (server.cpu() - cpu).as_secs_f64() / (asked as f64 / 1e6);
        let ratio = rate / *first.get_or_insert(rate);
        println!("questions, {waiting:>7} wait            {rate:>8.0} /s   ratio {ratio:.2}   {cpu:.1} CPU s per M");
    }
}

/// From the start of a post to its arrival at subscribers, for 1, 100 and 1,000 of them.
async fn publish() {
    for (subscribers, posts, pause) in [(1, 1_000, 2), (100, 300, 10), (1_000, 200, 50)] {
        let (mut runs, mut raw, mut cpu) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..RUNS {
            let dir = folder();
            raw.push(fdatasync_ms(dir.path()));
            let server = Server::start(&dir.path().join("data"));
            let clock = Instant::now();
            let audience = Audience::open(&server, subscribers, clock, posts).await;
            let before = server.cpu();
            post_stamped(&server.address, clock, posts, Some(Duration::from_millis(pause))).await;
            let all = audience.latencies().await;
            cpu.push((server.cpu() - before).as_secs_f64() / (all.len() as f64 / 1e6));
            runs.push(all);
        }
        let (p50, p99) = p50_p99(runs);
        let (raw, cpu) = (median(raw), median(cpu));
        println!(
            "publish → SSE, {subscribers:>4} subscribers, {:>3}/s   p50 {p50:.2} ms   p99 {p99:.2} ms   (raw fdatasync {raw:.3} ms, {:.1}x)   {cpu:.1} CPU s per M",
            1_000 / pause,
            p50 / raw
        );
    }
}

/// Server CPU per million deliveries when posts come in bursts: 1,000 subscribers, 16 connections that post at once.
async fn fanout() {
    const SUBSCRIBERS: usize = 1_000;
    const POSTS: usize = 2_000;
    const CONNECTIONS: usize = 16;
    let mut cpu = Vec::new();
    for _ in 0..RUNS {
        let dir = folder();
        let server = Server::start(&dir.path().join("data"));
        let clock = Instant::now();
        let audience = Audience::open(&server, SUBSCRIBERS, clock, POSTS).await;
        let before = server.cpu();
        let writers = (0..CONNECTIONS).map(|_| {
            let address = server.address.clone();
            tokio::spawn(async move { post_stamped(&address, clock, POSTS / CONNECTIONS, None).await })
        });
        for writer in writers.collect::<Vec<_>>() {
            writer.await.expect("a writer");
        }
        let deliveries = audience.latencies().await.len();
        cpu.push((server.cpu() - before).as_secs_f64() / (deliveries as f64 / 1e6));
    }
    println!(
        "fan-out to 1,000, bursts of 16        {:.2} server CPU s per M deliveries, posting included",
        median(cpu)
    );
}

/// Post → claim → first word → completed, seen by a subscriber; the built-in model without pauses.
async fn echo() {
    const MESSAGES: usize = 400;
    let (mut runs, mut raw) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let dir = folder();
        raw.push(fdatasync_ms(dir.path()));
        let server = Server::start(&dir.path().join("data"));
        runs.push(echoes(&server, &server, MESSAGES).await);
    }
    let (p50, p99) = p50_p99(runs);
    println!(
        "echo: post → claim → words → done     p50 {p50:.2} ms   p99 {p99:.2} ms   (raw fdatasync {:.3} ms, 3 needed)",
        median(raw)
    );
}

/// Memory of an idle subscriber.
async fn idle() {
    const SUBSCRIBERS: usize = 2_000;
    let mut sizes = Vec::new();
    for _ in 0..RUNS {
        let dir = folder();
        let server = Server::start(&dir.path().join("data"));
        let mut warm = Vec::new();
        for _ in 0..100 {
            warm.push(Subscriber::open(&server.address, "lobby").await);
        }
        let before = server.memory_kib();
        let mut open = Vec::new();
        for _ in 0..SUBSCRIBERS {
            open.push(Subscriber::open(&server.address, "lobby").await);
        }
        sizes.push((server.memory_kib() - before) as f64 / SUBSCRIBERS as f64);
    }
    println!("idle SSE connection                   {:.1} KiB", median(sizes));
}

/// A log of a million entries: folded from segments, and a server on it killed and started again.
async fn restart() {
    const MESSAGES: u128 = 250_000;
    let dir = folder();
    let data = dir.path().join("data");
    let log = file::FileLog::open_folder(&data, file::Options::default(), Clock::system()).expect("a log");
    let mut batch = Vec::new();
    for n in 0..MESSAGES {
        batch.push(answered(n));
        if batch.len() == BATCH_MAX {
            log.append(std::mem::take(&mut batch)).await.expect("an append");
        }
    }
    log.append(batch).await.expect("an append");
    let entries = log.tail().0;
    let mut rates = Vec::new();
    for _ in 0..RUNS {
        let at = Instant::now();
        let limits = Limits { recent_messages: 500, rooms: 1_024 };
        let mut projections = Projections::resume(log.info().epoch, limits, SnapshotData::default());
        let mut read = log.read(Seq::ZERO, 4_096).await.expect("entries");
        while let Some(position) = read.last().map(|entry| entry.header.seq) {
            let fold = async {
                read.iter().for_each(|entry| projections.apply(entry));
                projections.newest.forget(position);
            };
            let (next, ()) = tokio::join!(log.read(position, 4_096), fold);
            read = next.expect("entries");
        }
        rates.push(entries as f64 / at.elapsed().as_secs_f64());
    }
    log.close().await.expect("a clean end");
    drop(log);
    println!("fold of {entries} entries from segments   {:.2} M entries/s", median(rates) / 1e6);
    let first = Server::start(&data);
    println!("first start, index built from nothing      {:.0} ms", first.started.as_secs_f64() * 1e3);
    // The snapshot of the first ten seconds.
    while !data.join("snapshot").exists() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let mut connection = Connection::open(&first.address).await;
    for n in 0..1_000 {
        assert_eq!(connection.ask(&client::post("after", &n.to_string(), "[]")).await, 201);
    }
    drop(first);
    let mut times = Vec::new();
    for _ in 0..RUNS {
        let server = Server::start(&data);
        times.push(server.started.as_secs_f64() * 1e3);
    }
    println!("start on {entries} entries after kill -9    {:.0} ms", median(times));
}

/// A question with its whole life: four entries.
fn answered(n: u128) -> Append {
    let room = RoomName::new(&format!("room-{}", n % 100)).expect("a name");
    let bot = BotName::new("antiphon").expect("a name");
    let (id, reply) = (MessageId(Uuid::from_u128(n * 2 + 1)), MessageId(Uuid::from_u128(n * 2 + 2)));
    let author = |name: &str, kind| Author { name: name.into(), kind, color: None };
    let made = Made {
        model: "builtin".into(),
        prompt_sha256: "0".repeat(64).into(),
        finish: "stop".into(),
        ..Made::default()
    };
    let events: Vec<antiphon_schemas::Event> = vec![
        MessagePosted {
            id,
            author: author("ann", AuthorKind::Human),
            text: "How do I mount an ISO image without burning it first?".into(),
            to: None,
            ask: Some(Ask { bot: bot.clone(), priority: 5, second: false }),
            reply_to: None,
            hops: 0,
            said_at_ms: None,
        }
        .into(),
        MessageClaimed {
            message_id: id,
            reply_id: reply,
            bot,
            worker: "bench".into(),
            incarnation: None,
            attempt: 1,
            lease_ms: 10_000,
        }
        .into(),
        ReplyPosted {
            id: reply,
            message_id: id,
            author: author("antiphon", AuthorKind::Bot),
            text: "With mount -o loop, as root; no burning is needed for that.".into(),
            hops: 1,
            made: made.into(),
        }
        .into(),
        MessageCompleted { message_id: id, reply_id: reply, fence: Seq(2), ms: 3 }.into(),
    ];
    let drafts = events.into_iter().map(|e| Draft::new(Some(room.clone()), e, n.to_be_bytes()).expect("a draft"));
    Append {
        after: Seq::ZERO,
        request: RequestId(Uuid::from_u128(n)),
        subjects: vec![],
        drafts: drafts.collect(),
        moves: vec![],
    }
}
