//! Real Redis servers for tests: one, a cluster, a master with sentinels, and a wire that fails on demand.
//!
//! Promises: each server has a folder and a port of its own and ends with its value; what is waited for is a condition,
//! at most [`PATIENCE`]. A program that is missing is a panic that says who installs it, never a skipped test.
//! Not here: anything of ours. Only std and `tempfile`, so that unit tests, `it`, `sim` and benches can include it with
//! `#[path = "…/tests/support/redis.rs"] mod redis;`.
#![allow(
    dead_code,
    unused_imports,
    clippy::unwrap_used,
    reason = "each of the binaries that include it uses a part; the lints' exception for tests does not reach helpers"
)]

mod cluster;
mod resp;
mod sentinels;
mod wire;

use std::{
    collections::BTreeSet,
    fs, io,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

pub(crate) use cluster::Cluster;
pub(crate) use resp::{Client, Reply};
pub(crate) use sentinels::Sentinels;
use tempfile::TempDir;
pub(crate) use wire::Wire;

/// Longest wait for a condition, on a machine that has other things to do.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at a condition.
const LOOK: Duration = Duration::from_millis(5);

/// One server. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Redis {
    program: PathBuf,
    dir: PathBuf,
    port: u16,
    args: Vec<String>,
    password: Option<String>,
    child: Mutex<Option<Child>>,
    _own_dir: Option<TempDir>,
}

impl Redis {
    /// A server that keeps nothing.
    pub(crate) fn start() -> Redis {
        Redis::start_with(&[])
    }

    /// As [`Redis::start`], with these settings of `redis.conf`.
    pub(crate) fn start_with(settings: &[(&str, &str)]) -> Redis {
        Redis::run(&program(), settings)
    }

    /// As [`Redis::start_with`], with another server program (see [`newer_servers`]).
    pub(crate) fn run(program: &Path, settings: &[(&str, &str)]) -> Redis {
        let dir = TempDir::new().unwrap();
        let mut redis = Redis::launch(program, dir.path(), settings, &[]);
        redis._own_dir = Some(dir);
        redis
    }

    /// A server that has everything on disk before it answers, in `dir`.
    pub(crate) fn durable(dir: &Path) -> Redis {
        Redis::with(dir, &[("appendonly", "yes"), ("appendfsync", "always")])
    }

    /// A server in `dir` with these settings of `redis.conf`.
    pub(crate) fn with(dir: &Path, settings: &[(&str, &str)]) -> Redis {
        Redis::launch(&program(), dir, settings, &[])
    }

    /// `first` comes before the settings: a configuration file, `--sentinel`.
    fn launch(program: &Path, dir: &Path, settings: &[(&str, &str)], first: &[&str]) -> Redis {
        let mut args: Vec<String> = first.iter().map(|a| (*a).to_owned()).collect();
        let sentinel = first.contains(&"--sentinel");
        let usual =
            [("bind", "127.0.0.1"), ("save", ""), ("enable-debug-command", "yes"), ("repl-diskless-sync-delay", "0")];
        let usual = if sentinel { &usual[..1] } else { &usual[..] };
        for (key, value) in usual.iter().chain(settings) {
            args.extend([format!("--{key}"), (*value).to_owned()]);
        }
        let password = settings.iter().find(|(key, _)| *key == "requirepass").map(|(_, value)| (*value).to_owned());
        // The port may be taken between the look and the server's own try.
        for _ in 0..20 {
            let (program, dir) = (program.to_owned(), dir.to_owned());
            let (args, password, child) = (args.clone(), password.clone(), Mutex::new(None));
            let redis = Redis { program, dir, port: free_port(), args, password, child, _own_dir: None };
            if redis.spawn() {
                return redis;
            }
        }
        panic!("no redis-server starts; the last one said:\n{}", fs::read_to_string(dir.join("redis.log")).unwrap());
    }

    /// Starts the process and waits until it answers; false if it ends instead.
    fn spawn(&self) -> bool {
        let mut command = Command::new(&self.program);
        let port = self.port.to_string();
        command.args(&self.args).args(["--port", &port, "--logfile", "redis.log", "--dir"]).arg(&self.dir);
        command.current_dir(&self.dir).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let spawned = command.spawn();
        let mut child = spawned.unwrap_or_else(|e| {
            panic!(
                "cannot run `{}`: {e}; ./scripts/test installs redis-server where it is missing",
                self.program.display()
            )
        });
        let pid = format!("process_id:{}\r", child.id());
        let ready = until("redis-server answers", || {
            if child.try_wait().unwrap().is_some() {
                return Some(false);
            }
            // Not `client()`: that panics, and here it may just be too early.
            let mut client = Client::open(self.port, self.password.as_deref()).ok()?;
            let pong = client.ask(&["PING"]).ok()? == Reply::Text("PONG".into());
            let ours = client.ask(&["INFO", "server"]).ok()?.to_string().contains(&pid);
            (pong && ours).then_some(true)
        });
        *self.child.lock().unwrap() = ready.then_some(child);
        ready
    }

    /// `redis://127.0.0.1:PORT`; with the password if there is one.
    pub(crate) fn url(&self) -> String {
        let password = self.password.as_ref().map_or(String::new(), |p| format!(":{p}@"));
        format!("redis://{password}127.0.0.1:{}", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Its folder: data and `redis.log`.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// SIGKILL; returns when it is gone and nothing listens on its port: a child that it had forked to write the disk keeps the
    /// socket a little longer, and resets who connects meanwhile.
    pub(crate) fn kill(&self) {
        if let Some(mut child) = self.child.lock().unwrap().take() {
            child.kill().unwrap();
            child.wait().unwrap();
            until("nothing listens any more", || TcpStream::connect(("127.0.0.1", self.port)).is_err().then_some(()));
        }
    }

    /// Kills it if it runs, and starts it with the same port, folder and settings.
    pub(crate) fn restart(&self) {
        self.kill();
        assert!(self.spawn(), "redis-server does not come back: {}", self.says());
    }

    /// SIGSTOP: it hangs, and its connections with it.
    pub(crate) fn stop(&self) {
        self.signal("-STOP");
    }

    /// SIGCONT after [`Redis::stop`].
    pub(crate) fn go_on(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.lock().unwrap().as_ref().expect("it runs").id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// A connection of its own, signed in.
    pub(crate) fn client(&self) -> Client {
        Client::open(self.port, self.password.as_deref()).unwrap_or_else(|e| panic!("{e}: {}", self.says()))
    }

    /// The answer to a command.
    pub(crate) fn ask(&self, command: &[&str]) -> Reply {
        self.client().ask(command).unwrap_or_else(|e| panic!("{command:?}: {e}"))
    }

    /// The answer to a command as text: parts of a list on lines of their own, an error as `(error) …`, nothing as
    /// `(nil)`.
    pub(crate) fn command(&self, command: &[&str]) -> String {
        self.ask(command).to_string()
    }

    /// The value of a line of `INFO`. Asked again if the connection is cut: a sentinel that changes a server's role cuts off
    /// all of its clients.
    pub(crate) fn info(&self, key: &str) -> Option<String> {
        let cut = |e: &io::Error| {
            use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
            matches!(e.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
        };
        let ask = || Client::open(self.port, self.password.as_deref())?.ask(&["INFO", "everything"]);
        let text = until("an answer to INFO", || match ask() {
            Err(e) if cut(&e) => None,
            answer => Some(answer.unwrap_or_else(|e| panic!("INFO: {e}: {}", self.says())).to_string()),
        });
        text.lines().find_map(|line| Some(line.strip_prefix(key)?.strip_prefix(':')?.trim().to_owned()))
    }

    /// What it wrote into its own log file.
    pub(crate) fn says(&self) -> String {
        fs::read_to_string(self.dir.join("redis.log")).unwrap_or_default()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.get_mut().ok().and_then(Option::take) {
            let _gone = child.kill();
            let _reaped = child.wait();
        }
    }
}

/// The server under test: `ANTIPHON_REDIS_SERVER`, else `redis-server` in PATH.
pub(crate) fn program() -> PathBuf {
    let given = std::env::var_os("ANTIPHON_REDIS_SERVER").filter(|p| !p.is_empty()).map(PathBuf::from);
    let found = given.or_else(|| in_path("redis-server"));
    found.expect("there is no redis-server in PATH; ./scripts/test installs it")
}

/// Other servers that are here: `valkey-server` in PATH, and those that `ANTIPHON_REDIS_SERVERS` names, with `:` between.
pub(crate) fn newer_servers() -> Vec<PathBuf> {
    let named = std::env::var_os("ANTIPHON_REDIS_SERVERS").unwrap_or_default();
    let named: Vec<_> = std::env::split_paths(&named).filter(|p| !p.as_os_str().is_empty()).collect();
    named.iter().for_each(|p| assert!(p.is_file(), "ANTIPHON_REDIS_SERVERS names {}, which is no file", p.display()));
    in_path("valkey-server").into_iter().chain(named).collect()
}

fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|p| p.is_file())
}

/// A port that is free now and that the system does not give to others by itself (its own begin at 32,768), so that a
/// server can come back to it. Each is given out once: who asked for it may not listen on it yet.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let seed = now ^ u64::from(std::process::id()) << 32;
    loop {
        let n = seed.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let port = 12_000 + (n >> 33) % 18_000;
        let port = u16::try_from(port).expect("below 30,000");
        // In this order: trying a port that was given out would listen on it for a moment.
        if GIVEN.lock().unwrap().insert(port) && TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Looks until there is an answer.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "waited {} s in vain: {what}", PATIENCE.as_secs());
        thread::sleep(LOOK);
    }
}
