//! Reading the log of a real Redis from outside: every entry as it was written, or an error and nothing.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use antiphon_schemas::Stored;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

use super::*;
use crate::log::{
    conformance::read_all,
    redis::{History, address::Host, connect::command, pages::Pages},
};

const LOG: &str = "{antiphon:0}:log";

/// A log that was written by hand.
fn by_hand(redis: &Redis) {
    redis.command(&["HSET", "{antiphon:0}:meta", "epoch", "0000000000000007", "version", "1"]);
}

/// An entry that was written by hand, with so many bytes of body.
fn put_by_hand(redis: &Redis, seq: u64, bytes: usize) {
    let (nil, body) = (uuid::Uuid::nil().to_string(), "x".repeat(bytes));
    let fields = ["k", "weather", "s", "", "r", "", "t", "1", "v", "1", "q", &nil, "d", &body];
    let id = format!("{seq}-0");
    assert_eq!(redis.command(&[&["XADD", LOG, &id], &fields[..]].concat()), id);
}

async fn history(url: &str) -> History {
    History::open(&Address::parse(url).unwrap()).await.unwrap()
}

async fn rest(history: &mut History) -> Vec<Stored> {
    let mut all = Vec::new();
    loop {
        let page = history.read().await.unwrap();
        if page.is_empty() {
            return all;
        }
        all.extend(page);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_entry_is_read_from_outside_as_it_was_written() {
    let redis = Redis::start();
    let log = open(&redis.url(), "a").await;
    fill(&log, 1, 700).await;
    log.erase(vec![Seq(3), Seq(650)]).await.unwrap();
    let written = read_all(&log).await;
    let mut outside = history(&redis.url()).await;
    assert_eq!((outside.epoch(), outside.tail().await.unwrap()), (log.info().epoch, Seq(700)));
    let check = |read: &[Stored], after: usize| {
        let read: Vec<_> = read.iter().map(|stored| Arc::new(stored.entry().unwrap())).collect();
        let differs = read.iter().zip(&written[after..]).find(|(read, written)| read != written);
        assert_eq!((read.len(), differs), (written.len() - after, None));
    };
    check(&rest(&mut outside).await, 0);
    assert!(matches!(written[2].event, antiphon_schemas::Event::Erased(_)), "one of them");
    // Here and there, while others were asked for ahead.
    for after in [0, 690, 70, 0, 699, 700] {
        outside.seek(Seq(after));
        check(&rest(&mut outside).await, after as usize);
        outside.seek(Seq(1));
        outside.read().await.unwrap();
        outside.read().await.unwrap();
    }
    assert!(outside.read().await.unwrap().is_empty());
    log.close().await.unwrap();
    put_by_hand(&redis, 701, 4 << 20);
    put_by_hand(&redis, 702, 16);
    let long = rest(&mut outside).await;
    let bodies: Vec<_> = long.iter().map(|stored| (stored.seq().0, stored.body.len())).collect();
    assert_eq!(bodies, [(701, 4 << 20), (702, 16)]);
    assert!(long[0].body.iter().all(|byte| *byte == b'x') && long[0].kind() == "weather");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_that_are_suddenly_long_are_asked_for_in_smaller_pages() {
    let redis = Redis::start();
    by_hand(&redis);
    for seq in 1..=5 {
        put_by_hand(&redis, seq, 14 << 20);
    }
    let mut outside = history(&redis.url()).await;
    let lengths: Vec<_> = rest(&mut outside).await.iter().map(|stored| stored.body.len()).collect();
    assert_eq!(lengths, [14 << 20; 5]);
    put_by_hand(&redis, 6, 17 << 20);
    let why = outside.read().await.unwrap_err().to_string();
    assert!(why.contains("larger than anything that was asked for"), "{why}");
}

/// A way to a server on which of the pages that are asked for so many bytes come through and then none.
async fn narrow(server: u16, bytes: &'static AtomicUsize) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (client, _) = listener.accept().await.unwrap();
            let server = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
            tokio::spawn(async move {
                let ((mut from, mut to), (mut answers, mut asks)) = (client.into_split(), server.into_split());
                let mut first = [0; 4_096];
                let count = from.read(&mut first).await.unwrap();
                let pages = String::from_utf8_lossy(&first[..count]).contains("XRANGE");
                let most = if pages { bytes.load(Ordering::Relaxed) } else { usize::MAX } as u64;
                asks.write_all(&first[..count]).await.unwrap();
                tokio::spawn(async move { copy(&mut from, &mut asks).await });
                let _cut = copy(&mut (&mut answers).take(most), &mut to).await;
            });
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_is_cut_is_asked_for_again_in_smaller_ones_and_no_part_of_it_is_given_out() {
    static THROUGH: AtomicUsize = AtomicUsize::new(0);
    let redis = Redis::start();
    let log = open(&redis.url(), "a").await;
    fill(&log, 1, 400).await;
    let url = format!("redis://127.0.0.1:{}", narrow(redis.port(), &THROUGH).await);
    let mut outside = history(&url).await;
    for bytes in [0, 1, 3, 100] {
        THROUGH.store(bytes, Ordering::Relaxed);
        let why = outside.read().await.unwrap_err().to_string();
        assert!(why.contains("closed the connection") && outside.next() == Seq(1), "{why}");
    }
    // Some pages come through before each cut; then it is gone on where they end.
    for bytes in [5_000, 50_000] {
        THROUGH.store(bytes, Ordering::Relaxed);
        let mut outside = history(&url).await;
        let all = rest(&mut outside).await;
        let positions: Vec<_> = all.iter().map(|stored| stored.seq().0).collect();
        assert_eq!(positions, (1..=400).collect::<Vec<_>>(), "{bytes}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_went_away_is_gone_on_with_where_it_was_if_it_is_still_the_same() {
    let dir = tempfile::TempDir::new().unwrap();
    let redis = Redis::durable(dir.path());
    by_hand(&redis);
    (1..=3).for_each(|seq| put_by_hand(&redis, seq, 16));
    let mut outside = history(&redis.url()).await;
    assert_eq!(rest(&mut outside).await.len(), 3);
    redis.kill();
    for _ in 0..2 {
        assert!(matches!(outside.wait(Duration::from_secs(1)).await, Err(Error::Away(_))));
        assert!(matches!(outside.read().await, Err(Error::Away(_))));
    }
    redis.restart();
    assert!(outside.read().await.unwrap().is_empty());
    put_by_hand(&redis, 4, 16);
    outside.wait(Duration::from_secs(10)).await.unwrap();
    assert_eq!(rest(&mut outside).await[0].seq(), Seq(4));

    let mut others = [history(&redis.url()).await, history(&redis.url()).await];
    for (other, words) in others.iter_mut().zip(["has lost its end", "begun a new epoch"]) {
        rest(other).await;
        redis.kill();
        assert!(matches!(other.read().await, Err(Error::Away(_))));
        redis.restart();
        redis.command(&["XTRIM", LOG, "MAXLEN", "0"]);
        redis.command(&["XSETID", LOG, "0-0"]);
        let why = other.read().await.unwrap_err();
        assert!(matches!(&why, Error::Io(why) if why.contains(words)), "{why}");
        redis.command(&["HSET", "{antiphon:0}:meta", "epoch", "0000000000000008"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_server_refuses_is_said_with_what_to_do() {
    let redis = Redis::start();
    by_hand(&redis);
    put_by_hand(&redis, 1, 16);
    let few = ["ACL", "SETUSER", "few", "on", ">p", "~*", "+@all", "-xrange"];
    assert_eq!(redis.command(&few), "OK");
    let mut outside = history(&redis.url().replace("://", "://few:p@")).await;
    let why = outside.read().await.unwrap_err().to_string();
    assert!(why.contains("its ACL forbids") && why.contains("xrange"), "{why}");

    let mut outside = history(&redis.url().replace("://", "://few:p@")).await;
    redis.command(&["ACL", "SETUSER", "few", "resetpass", ">other", "+xrange"]);
    let why = outside.read().await.unwrap_err().to_string();
    assert!(why.contains("wants another password") && !why.contains(":p@"), "{why}");
    redis.command(&["ACL", "SETUSER", "few", ">p"]);
    assert_eq!(outside.read().await.unwrap().len(), 1, "mended meanwhile");
    let mut elsewhere = Pages::new(
        Address::parse(&format!("{}/3", redis.url())).unwrap(),
        Host { name: "127.0.0.1".into(), port: redis.port() },
        LOG.into(),
    );
    assert_eq!(elsewhere.read(Seq(1)).await.unwrap(), "*0\r\n", "another database");
}

/// A server that reports each request and answers by script.
async fn puppet() -> (Pages, mpsc::UnboundedReceiver<String>, mpsc::UnboundedSender<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (asked, asks) = mpsc::unbounded_channel();
    let (answers, mut told) = mpsc::unbounded_channel::<Vec<u8>>();
    tokio::spawn(async move {
        let (mut from, mut to) = listener.accept().await.unwrap().0.into_split();
        tokio::spawn(async move {
            let mut bytes = [0; 4_096];
            while let Ok(count @ 1..) = from.read(&mut bytes).await {
                let _ = asked.send(String::from_utf8_lossy(&bytes[..count]).into_owned());
            }
        });
        while let Some(answer) = told.recv().await {
            to.write_all(&answer).await.unwrap();
        }
    });
    let address = Address::parse(&format!("redis://127.0.0.1:{port}")).unwrap();
    (Pages::new(address, Host { name: "127.0.0.1".into(), port }, LOG.into()), asks, answers)
}

/// A page of so many entries, as far as `pages` looks.
fn full(entries: usize) -> Vec<u8> {
    format!("*{entries}\r\n{}", ":1\r\n".repeat(entries)).into_bytes()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_reads_on_is_read_ahead_for_and_who_looks_here_and_there_is_not() {
    let (mut pages, mut asks, answers) = puppet().await;
    let asking = |first: u64, count: usize| {
        let id = format!("{first}-0");
        String::from_utf8(command(&["XRANGE", LOG, &id, "+", "COUNT", &count.to_string()])).unwrap()
    };
    answers.send(full(64)).unwrap();
    pages.read(Seq(500)).await.unwrap();
    assert_eq!(asks.recv().await.unwrap(), asking(500, 64), "one");
    answers.send(full(256)).unwrap();
    pages.read(Seq(1)).await.unwrap();
    assert_eq!(asks.recv().await.unwrap(), asking(1, 256), "one, elsewhere");
    answers.send(full(1_000)).unwrap();
    pages.read(Seq(257)).await.unwrap();
    assert_eq!(asks.recv().await.unwrap(), asking(257, 1_000) + &asking(1_257, 1_000), "one ahead");
    answers.send(full(1_000)).unwrap();
    pages.read(Seq(1_257)).await.unwrap();
    assert_eq!(asks.recv().await.unwrap(), asking(2_257, 1_000) + &asking(3_257, 1_000), "two ahead");
    answers.send(full(1_000)).unwrap();
    pages.read(Seq(2_257)).await.unwrap();
    assert_eq!(asks.recv().await.unwrap(), asking(4_257, 1_000), "and no more");
    answers.send([full(1_000), full(7), full(1)].concat()).unwrap();
    assert_eq!(pages.read(Seq(9)).await.unwrap(), full(1), "what was asked for ahead is passed over");
    assert_eq!(asks.recv().await.unwrap(), asking(9, 1_000));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_loads_and_one_that_is_no_redis_are_told_apart() {
    for (answer, words) in [
        ("-LOADING Redis is loading the dataset in memory\r\n", "is still loading its data"),
        ("HTTP/1.1 400 Bad Request\r\n", "see whether a Redis listens there"),
        (":1\r\n", "something else than entries"),
    ] {
        let (mut pages, _asks, answers) = puppet().await;
        answers.send(answer.into()).unwrap();
        let why = pages.read(Seq(1)).await.unwrap_err().to_string();
        assert!(why.contains(words), "{why}");
    }
}
