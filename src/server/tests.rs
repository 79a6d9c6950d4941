//! A server on a log whose appends panic: it says that it is dead, stops, and keeps nothing that may be half done.

use std::{
    future::pending,
    sync::atomic::{AtomicUsize, Ordering},
};

use antiphon_schemas::{Entry, Epoch, Seq};
use serde_json::json;
use tokio::time::Instant;

use super::*;
use crate::{
    config::Layer,
    log::{Append, Info, Log, Pending, Verdict, memory::MemoryLog},
};

/// A test that waits longer has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// A log in memory whose appends panic after this many.
struct Panicking {
    inner: MemoryLog,
    left: AtomicUsize,
}

impl Log for Panicking {
    fn info(&self) -> Info {
        self.inner.info()
    }
    fn tail(&self) -> Seq {
        self.inner.tail()
    }
    fn base(&self) -> Seq {
        self.inner.base()
    }
    fn get(&self, seqs: Vec<Seq>) -> Pending<'_, Vec<Arc<Entry>>> {
        self.inner.get(seqs)
    }
    fn trim(&self, upto: Seq) -> Pending<'_, Seq> {
        self.inner.trim(upto)
    }
    fn now_ms(&self) -> u64 {
        self.inner.now_ms()
    }
    fn append(&self, batch: Vec<Append>) -> Pending<'_, Vec<Verdict>> {
        let is_there = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok();
        assert!(is_there, "the disk burns");
        self.inner.append(batch)
    }
    fn read(&self, after: Seq, entries_max: usize) -> Pending<'_, Vec<Arc<Entry>>> {
        self.inner.read(after, entries_max)
    }
    fn beyond(&self, seq: Seq) -> Pending<'_, ()> {
        self.inner.beyond(seq)
    }
    fn load(&self, entries: Vec<Arc<Entry>>) -> Pending<'_, ()> {
        self.inner.load(entries)
    }
    fn erase(&self, positions: Vec<Seq>) -> Pending<'_, usize> {
        self.inner.erase(positions)
    }
    fn forget(&self, positions: &[Seq]) {
        self.inner.forget(positions);
    }
    fn close(&self) -> Pending<'_, ()> {
        self.inner.close()
    }
}

/// A server whose log takes `appends` batches, with its data in a folder.
async fn server(appends: usize) -> (Server, tempfile::TempDir) {
    server_of(appends, Clock::system(), Clock::system()).await
}

/// The same; the log has another clock than the machine.
async fn server_of(appends: usize, clock: Clock, of_log: Clock) -> (Server, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let layer = Layer { listen: Some("127.0.0.1:0".into()), model: Some("builtin".into()), ..Layer::default() };
    let config = Config::of_models(layer, &Default::default()).unwrap();
    let inner = MemoryLog::new(Epoch(7), of_log);
    let log = Arc::new(Panicking { inner, left: AtomicUsize::new(appends) });
    let store = Store { name: "here".into(), log, outbox: None, data: Some(dir.path().into()) };
    let listening = Listening::bind(config.listen).await.unwrap();
    (start_on(&config, listening, store, clock, Tasks::new()).await.unwrap(), dir)
}

/// Posts a message that asks nobody.
async fn post(address: SocketAddr) -> Result<reqwest::Response, reqwest::Error> {
    let body = json!({"id": uuid::Uuid::new_v4(), "author": {"name": "ann"}, "text": "hello", "to": []}).to_string();
    let request = antiphon_bot::http_client().post(format!("http://{address}/api/rooms/lobby/messages"));
    request.header("content-type", "application/json").body(body).send().await
}

async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let answer = antiphon_bot::http_client().get(format!("http://{address}{path}")).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

async fn live(address: SocketAddr) -> (u16, String) {
    get(address, "/health/live").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_conductor_is_not_live() {
    let (server, _dir) = server(0).await;
    assert_eq!(live(server.address).await.0, 200);
    assert_ne!(post(server.address).await.unwrap().status(), 201);
    timeout(PATIENCE, server.tasks.died()).await.unwrap();
    let (status, body) = live(server.address).await;
    assert_eq!(status, 503);
    assert!(body.contains("the task `conductor` panicked: the disk burns"), "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_death_of_the_conductor_stops_the_server_with_its_name_and_its_message() {
    let (server, _dir) = server(0).await;
    let address = server.address;
    let serving = async { serve(server, async || pending().await).await };
    let (served, _) = timeout(PATIENCE, async { tokio::join!(serving, post(address)) }).await.unwrap();
    let error = served.unwrap_err();
    let Error::TaskEnded(ended) = &error else { panic!("{error}") };
    assert_eq!((ended.task, &ended.how), ("conductor", &End::Panicked("the disk burns".into())));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_still_stops_a_healthy_server_without_an_error() {
    let (server, _dir) = server(usize::MAX).await;
    let mut signals = 1;
    let signal = async || {
        if signals == 0 {
            pending::<()>().await;
        }
        signals -= 1;
    };
    timeout(PATIENCE, serve(server, signal)).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_snapshot_is_written_once_the_conductor_has_panicked() {
    let snapshots = |dir: &tempfile::TempDir| {
        let names = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_string_lossy().contains("snapshot")).count()
    };
    // A server that stops in order writes one, so the test looks in the right place.
    let (orderly, dir) = server(usize::MAX).await;
    post(orderly.address).await.unwrap();
    orderly.stop().await;
    assert_ne!(snapshots(&dir), 0);

    // The first tick of the snapshots is over before there is anything to write.
    let (server, dir) = server(1).await;
    assert_eq!(post(server.address).await.unwrap().status(), 201);
    let _cut = post(server.address).await;
    timeout(PATIENCE, server.tasks.died()).await.unwrap();
    let begun = Instant::now();
    timeout(PATIENCE, server.node.stop()).await.unwrap();
    assert!(begun.elapsed() < PATIENCE);
    assert_eq!(snapshots(&dir), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_an_hour_off_is_said_by_health_and_metrics_and_the_server_stays_ready() {
    const NOW_MS: u64 = 1_700_000_000_000;
    for (log_ms, words) in [(NOW_MS + 3_700_000, "3700 s behind the log's"), (NOW_MS, "")] {
        let (clock, of_log) = (Clock::manual(NOW_MS).0, Clock::manual(log_ms).0);
        let (server, _dir) = server_of(usize::MAX, clock, of_log).await;
        for path in ["/health/live", "/health/ready"] {
            let (status, body) = get(server.address, path).await;
            let health: serde_json::Value = serde_json::from_str(&body).unwrap();
            assert_eq!((status, &health["clock_skew_ms"]), (200, &json!(log_ms - NOW_MS)), "{path}");
            let warning = health["warning"].as_str().unwrap_or_default();
            assert!(warning.contains(words) && words.is_empty() == warning.is_empty(), "{path}: {warning}");
        }
        let (_, metrics) = get(server.address, "/metrics").await;
        let sample = metrics.lines().find_map(|line| line.strip_prefix("antiphon_clock_skew_seconds "));
        assert_eq!(sample.unwrap().parse(), Ok((log_ms - NOW_MS) as f64 / 1_000.0), "{sample:?}");
    }
}
