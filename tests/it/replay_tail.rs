//! `replay tail --follow` of a Redis that goes away and comes back.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
};

use crate::{
    harness::{PATIENCE, antiphon, ended, signal},
    redis::Redis,
};

const LOG: &str = "{antiphon:0}:log";

fn begin(redis: &Redis, count: &str) -> Child {
    let mut tail = antiphon();
    tail.args(["replay", "tail", "--follow", "-n", count, "--log", &redis.url()]);
    tail.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Lines as they come.
fn lines(from: impl Read + Send + 'static) -> Receiver<String> {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || BufReader::new(from).lines().map_while(Result::ok).try_for_each(|line| tell.send(line)));
    told
}

/// Writes an entry of a kind that this version does not know.
fn put(redis: &Redis, seq: u64) {
    let (id, nil) = (format!("{seq}-0"), "00000000-0000-0000-0000-000000000000");
    let (kind, body) = (format!("weather.{seq}"), "x".repeat(16));
    let entry = ["XADD", LOG, &id, "k", &kind, "s", "", "r", "", "t", "1", "v", "1", "q", nil, "d", &body];
    assert_eq!(redis.command(&entry), id);
}

#[test]
fn a_redis_that_goes_away_is_waited_for_and_gone_on_with_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let redis = Redis::durable(dir.path());
    redis.command(&["HSET", "{antiphon:0}:meta", "epoch", "0000000000000007", "version", "1"]);
    (1..=3).for_each(|seq| put(&redis, seq));
    let mut tail = begin(&redis, "1");
    let (said, warned) = (lines(tail.stdout.take().unwrap()), lines(tail.stderr.take().unwrap()));
    let next = |from: &Receiver<String>, words: &str| {
        let line = from.recv_timeout(PATIENCE).unwrap();
        assert!(line.contains(words), "{words}: {line}");
    };
    next(&said, "weather.3");
    for seq in [4, 6] {
        put(&redis, seq);
        next(&said, &format!("weather.{seq}"));
        redis.kill();
        next(&warned, "waiting for it");
        redis.restart();
        put(&redis, seq + 1);
        next(&warned, "it is back");
        next(&said, &format!("weather.{}", seq + 1));
    }
    signal(tail.id(), "INT");
    assert_eq!(ended(&mut tail).code(), Some(0));
    assert!(said.recv_timeout(PATIENCE).is_err() && warned.recv_timeout(PATIENCE).is_err(), "each was said once");

    // What comes back as another log is not gone on with.
    let mut tail = begin(&redis, "1");
    let (said, warned) = (lines(tail.stdout.take().unwrap()), lines(tail.stderr.take().unwrap()));
    next(&said, "weather.7");
    redis.kill();
    next(&warned, "waiting for it");
    std::fs::remove_dir_all(dir.path().join("appendonlydir")).unwrap();
    redis.restart();
    next(&warned, "there is no log");
    assert_eq!(ended(&mut tail).code(), Some(1));
}
