//! The server from outside: the release binary as a process, and the loads that several benches put on it.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tokio::task::JoinHandle;

use crate::client::{self, Connection, Subscriber};

/// The release binary as a child; killed with SIGKILL when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: String,
    /// From its start until it listened.
    pub(crate) started: Duration,
}

impl Server {
    /// On a file log in this folder.
    pub(crate) fn start(data: &Path) -> Server {
        Server::start_with(data, &[])
    }

    /// With these arguments of `serve` besides, and the settings of an `antiphon.toml` beside the data folder.
    pub(crate) fn start_with(data: &Path, arguments: &[&str]) -> Server {
        let at = Instant::now();
        let mut child = Command::new(env!("CARGO_BIN_EXE_antiphon"))
            .args(["serve", "--listen", "127.0.0.1:0", "--model", "builtin", "--pace", "0", "--data"])
            .arg(data)
            .args(arguments)
            .current_dir(data.parent().expect("a folder in a folder"))
            .env("ANTIPHON_LOG", "error")
            .stdout(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().expect("piped")));
        let address = loop {
            let line = lines.next().expect("the server says where it listens").expect("UTF-8");
            if let Some((_, address)) = line.split_once("listens on http://") {
                break address.to_owned();
            }
        };
        let started = at.elapsed();
        std::thread::spawn(move || lines.for_each(drop));
        Server { child, address, started }
    }

    /// User and system CPU so far.
    pub(crate) fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("it runs");
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
        let ticks: u64 = fields[11..13].iter().map(|f| f.parse::<u64>().expect("a number")).sum();
        Duration::from_millis(ticks * 10)
    }

    pub(crate) fn memory_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let line = status.lines().find(|l| l.starts_with("VmRSS")).expect("a line");
        line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Subscribers of the lobby, each with its snapshot, that will read so many posts.
pub(crate) struct Audience(Vec<JoinHandle<Vec<f64>>>);

impl Audience {
    pub(crate) async fn open(server: &Server, subscribers: usize, clock: Instant, posts: usize) -> Audience {
        let mut readers = Vec::new();
        for _ in 0..subscribers {
            let mut subscriber = Subscriber::open(&server.address, "lobby").await;
            readers.push(tokio::spawn(async move { subscriber.latencies(clock, posts).await }));
        }
        Audience(readers)
    }

    /// How long each delivery took from the start of its post, in ms, once all are there.
    pub(crate) async fn latencies(self) -> Vec<f64> {
        let mut all = Vec::new();
        for reader in self.0 {
            all.extend(reader.await.expect("a reader"));
        }
        all
    }
}

/// Posts to the lobby, each with the time of its sending, one after the other with a pause between their starts.
pub(crate) async fn post_stamped(address: &str, clock: Instant, posts: usize, pause: Option<Duration>) {
    let mut connection = Connection::open(address).await;
    let mut ticks = pause.map(tokio::time::interval);
    for _ in 0..posts {
        if let Some(ticks) = &mut ticks {
            ticks.tick().await;
        }
        let text = format!("t{:016} {}", clock.elapsed().as_nanos(), "x".repeat(180));
        assert_eq!(connection.ask(&client::post("lobby", &text, "[]")).await, 201);
    }
}

/// Post → claim → words → completed, seen by a subscriber, so many times one after the other; in ms. The bot is the
/// built-in model without pauses.
pub(crate) async fn echoes(posted: &Server, seen: &Server, messages: usize) -> Vec<f64> {
    let mut subscriber = Subscriber::open(&seen.address, "lobby").await;
    let mut connection = Connection::open(&posted.address).await;
    let mut times = Vec::with_capacity(messages);
    for n in 0..messages {
        let at = Instant::now();
        assert_eq!(connection.ask(&client::post("lobby", &format!("hello {n}"), "[\"antiphon\"]")).await, 201);
        subscriber.until("event: message.completed").await;
        times.push(at.elapsed().as_secs_f64() * 1e3);
    }
    times
}
