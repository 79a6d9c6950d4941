//! Wires the parts together: listens, opens the log, starts node, bots and HTTP, reports what it did, and shuts down cleanly.
//!
//! Shutdown order: no new connections → bots finish or release → feeds end → requests finish → the notary signs the rest
//! → node, log and index close. A second signal ends the process at once; nothing acknowledged is lost.
//! When a critical task dies, the server shuts down in the same way as far as it can within `DIED_STOP_MAX`, and names it.
//! Not here: settings (`config`), what the parts do, opening the log (`store`).

pub(crate) mod descriptors;
mod store;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use antiphon_bot::{BadSpec, Bot, Breaker, Model};
use antiphon_kit::{Consumer, Profile};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use self::{descriptors::Share, store::Store};
use crate::{
    audit::{
        keys,
        notary::{Notary, Pace},
        store::paths,
    },
    clock::Clock,
    config::{Config, LogKind, REMOTE, RoomPattern, slots_default},
    decide::{BotRule, Policy},
    http::{self, App, BotStatus, Hosts, Limits, Listening},
    log::file,
    model::{self, Lessons},
    node::{self, Node},
    outbox, projection,
    tasks::{End, Ended, Kind, Tasks},
    work::{BotSlots, WorkerPool},
};

/// Prints a line for the operator; nobody reading it is no reason to stop.
macro_rules! say {
    ($($arguments:tt)*) => {{
        use std::io::Write;
        let _ = writeln!(std::io::stdout(), $($arguments)*);
    }};
}

/// How long replies in progress may take after a signal.
const DRAIN: Duration = Duration::from_secs(10);
/// How long requests in progress may take after that.
const REQUESTS_GRACE: Duration = Duration::from_secs(5);
/// How long stopping may take once a critical task has died: a supervisor is waiting to restart the process, and parts
/// that depend on the dead task may never finish.
const DIED_STOP_MAX: Duration = Duration::from_secs(5);
/// How long a start that failed because a task is gone waits to learn how that task ended.
const DIED_SOON: Duration = Duration::from_secs(1);

/// Why the server did not start, or why it stopped without being asked to; each is one line that says what to do.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum Error {
    #[error("port {} on {} is already in use; choose another with --listen {}:PORT, or stop the process that uses it", .0.port(), .0.ip(), .0.ip())]
    PortTaken(SocketAddr),
    #[error("cannot listen on {0}: {1}; choose another address with --listen")]
    Listen(SocketAddr, io::Error),
    #[error(transparent)]
    Open(#[from] file::OpenError),
    #[error(transparent)]
    Outbox(#[from] outbox::OpenError),
    #[error("cannot use `{}`: {}; make the data folder writable, or choose another with --data", .0.display(), .1)]
    Data(PathBuf, io::Error),
    #[error("the notary cannot sign: {0}")]
    Notary(#[from] keys::Error),
    #[error("the log cannot be read: {0}")]
    Start(#[from] node::Error),
    #[error("{0}")]
    Model(String),
    #[error("signals cannot be received: {0}")]
    Signals(io::Error),
    #[error(
        "{0}; the server has stopped because it cannot run without that task; restart it (nothing acknowledged is lost) and report this as a bug"
    )]
    TaskEnded(Ended),
}

/// A running server.
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    /// The node behind it.
    pub node: Node,
    pool: WorkerPool,
    notary: Option<Notary>,
    tasks: Tasks,
    stop: CancellationToken,
    drained: CancellationToken,
    serving: tokio::task::JoinHandle<End>,
    bots: Vec<String>,
}

/// Starts a server and serves until SIGINT or SIGTERM, or until a critical task dies.
///
/// # Errors
/// [`Error::TaskEnded`]: a critical task died. Another [`Error`]: it did not start.
pub async fn run(config: Config) -> Result<(), Error> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Signals)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::Signals)?;
    let server = start(&config).await?;
    announce(&config, &server);
    serve(server, async || {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
    .await
}

/// Serves until the first signal, or until a critical task dies; then stops, at once after another signal.
async fn serve(server: Server, mut signal: impl AsyncFnMut()) -> Result<(), Error> {
    let tasks = server.tasks.clone();
    let died = tokio::select! {
        () = signal() => None,
        died = tasks.died() => Some(died),
    };
    let drain = match &died {
        None => {
            say!("stopping: replies may finish within {} s; signal again to end at once", DRAIN.as_secs());
            DRAIN
        }
        Some(died) => {
            say!("stopping: {died}");
            // Their end may not be taken any more; they are answered after the next start.
            Duration::ZERO
        }
    };
    let dead_too_long = async {
        tasks.died().await;
        sleep(DIED_STOP_MAX).await;
    };
    tokio::select! {
        () = server.stop_within(drain) => if tasks.dead().is_none() {
            say!("stopped; nothing acknowledged is lost");
        },
        () = signal() => say!("ended at once"),
        () = dead_too_long => warn!("not everything could be stopped in order"),
    }
    // It may also have died while the server stopped.
    match tasks.dead() {
        Some(ended) => Err(Error::TaskEnded(ended)),
        None => Ok(()),
    }
}

/// Starts a server.
///
/// # Errors
/// [`Error`]: it did not start.
pub async fn start(config: &Config) -> Result<Server, Error> {
    let listening = Listening::bind(config.listen).await.map_err(|e| match e.kind() {
        io::ErrorKind::AddrInUse => Error::PortTaken(config.listen),
        _ => Error::Listen(config.listen, e),
    })?;
    let (clock, tasks) = (Clock::system(), Tasks::new());
    let store = store::open(config, &clock, &tasks).await?;
    start_on(config, listening, store, clock, tasks).await
}

/// Starts a server on a log that is there.
async fn start_on(
    config: &Config,
    listening: Listening,
    store: Store,
    clock: Clock,
    tasks: Tasks,
) -> Result<Server, Error> {
    let address = listening.address;
    let bots = bots(config).await?;
    let limits = projection::Limits { recent_messages: config.recent_messages, rooms: config.rooms_in_memory };
    let Store { name, log, outbox, data } = store;
    // Before the log is read, which may take minutes: an unreadable key fails early.
    let key = data.as_deref().map(|data| keys::load_or_make(&paths(data), &format!("antiphon/{name}"))).transpose()?;
    let settings = node::Settings { name, log, outbox, clock, policy: policy(config), limits, data: data.clone() };
    let node = match node::start(settings, &tasks).await {
        Ok(node) => node,
        // The conductor is gone; how, is known in a moment.
        Err(node::Error::Stopping) => {
            let died = timeout(DIED_SOON, tasks.died()).await;
            return Err(died.map_or(Error::Start(node::Error::Stopping), Error::TaskEnded));
        }
        Err(failure) => return Err(failure.into()),
    };
    let notary = match (key, data) {
        (Some(key), Some(data)) => {
            let started = Notary::start(node.clone(), key, &data, Pace::default(), &tasks);
            Some(started.map_err(|e| Error::Data(paths(&data).folder, e))?)
        }
        // What is gone with the process needs no witness.
        _ => None,
    };
    let hosts = Hosts {
        exposed: config.expose || !address.ip().is_loopback(),
        allowed: config.allow_host.iter().map(|name| name.as_str().into()).collect(),
    };
    let share = Share::raise(config.subscribers_max);
    if let Some(shortage) = share.shortage() {
        warn!("{shortage}; {}", descriptors::MEND);
    }
    let limits = Limits { text_bytes_max: config.text_bytes_max, subscribers_max: share.subscribers, hosts };
    let (stop, drained) = (CancellationToken::new(), CancellationToken::new());
    let (status, slots): (Vec<_>, Vec<_>) = bots.into_iter().unzip();
    let names = status.iter().map(named).collect();
    let app = App::new(node.clone(), limits, status, stop.clone(), notary.clone(), tasks.clone());
    let router = http::router(app);
    let serving = http::serve(listening, router, share.connections, stop.clone(), drained.clone(), REQUESTS_GRACE);
    let serving = tasks.spawn("http", Kind::Critical, serving);
    let pool = WorkerPool::start(&node, slots.into_iter().flatten().collect(), config.heartbeat);
    Ok(Server { address, node, pool, notary, tasks, stop, drained, serving, bots: names })
}

fn named(bot: &BotStatus) -> String {
    let name = &bot.profile.name;
    if bot.consumer.is_some() { format!("{name} on {}", bot.model) } else { format!("{name} on workers") }
}

impl Server {
    /// Ends in the order of the module header.
    pub async fn stop(self) {
        self.stop_within(DRAIN).await;
    }

    /// The same; replies under way may finish within `drain`.
    async fn stop_within(self, drain: Duration) {
        self.tasks.stopping();
        self.stop.cancel();
        self.pool.stop(drain).await;
        self.node.end_feeds();
        self.drained.cancel();
        // `died` reports how it ended.
        let _end = self.serving.await;
        if let Some(notary) = self.notary {
            notary.stop().await;
        }
        self.node.stop().await;
    }
}

fn policy(config: &Config) -> Policy {
    let ms = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
    Policy {
        queue_max: config.queue_max,
        attempts_max: config.attempts_max,
        max_age_ms: ms(config.max_age),
        lease_ms: ms(config.lease),
        retry_base_ms: ms(config.retry_base),
        retry_max_ms: ms(config.retry_max),
        bots: config.bots.iter().map(rule).collect(),
    }
}

fn rule(bot: &crate::config::Bot) -> BotRule {
    let room = |pattern: &RoomPattern| match pattern {
        RoomPattern::Exact(room) => room.to_string(),
        RoomPattern::Prefix(prefix) => format!("{prefix}*"),
    };
    BotRule {
        name: bot.name.clone(),
        rooms: bot.rooms.iter().map(room).collect(),
        answers_all: bot.answers == crate::config::Answers::All,
    }
}

/// The bots, and what answers for each in this process, if anything does. Bots on the same model share it and its circuit
/// breaker.
async fn bots(config: &Config) -> Result<Vec<(BotStatus, Option<BotSlots>)>, Error> {
    let client = antiphon_bot::http_client();
    let bad = |why: BadSpec| Error::Model(why.to_string());
    let endpoints = model::endpoints(config).map_err(bad)?;
    let specs = model::of_bots(config, &endpoints, &client).await.map_err(bad)?;
    let (clocks, lessons) = (model::clocks(config), Lessons::of(config));
    let mut shared: HashMap<String, (Arc<dyn Model>, Breaker)> = HashMap::new();
    let mut bots = Vec::new();
    for (bot, spec) in config.bots.iter().zip(specs) {
        let profile = Arc::new(Profile {
            name: bot.name.clone(),
            persona: bot.persona.clone(),
            context_messages: bot.context_messages,
            options: bot.options.clone(),
            filters: bot.filters.clone(),
            answer: bot.answer,
        });
        let color: Option<Arc<str>> = bot.color.as_deref().map(Into::into);
        let Some(spec) = spec else {
            bots.push((BotStatus { profile, color, model: REMOTE.into(), consumer: None }, None));
            continue;
        };
        let model_name = spec.to_string();
        let known = || lessons.known(&model_name);
        let fresh = || (spec.build(&endpoints, &client, config.pace, known()), Breaker::new(rand::random()));
        let (model, breaker) = shared.entry(model_name.clone()).or_insert_with(fresh).clone();
        let consumer: Arc<dyn Consumer> = Arc::new(Bot::new(model, clocks, breaker));
        let slots = bot.slots.unwrap_or_else(|| slots_default(&model_name));
        let bot_slots = BotSlots { profile: profile.clone(), color: color.clone(), consumer: consumer.clone(), slots };
        bots.push((BotStatus { profile, color, model: model_name, consumer: Some(consumer) }, Some(bot_slots)));
    }
    Ok(bots)
}

/// What an operator wants to know after a start.
fn announce(config: &Config, server: &Server) {
    let info = server.node.info();
    for warning in &config.sources.warnings {
        warn!("{warning}");
    }
    say!("antiphon {} listens on http://{}", env!("CARGO_PKG_VERSION"), server.address);
    if config.log != LogKind::Memory {
        say!("  data      {}", absolute(&config.data));
    }
    if let LogKind::Redis(address) = &config.log {
        say!("  node      {}, on {address}", server.node.name());
    }
    say!("  log       {}, epoch {}, position {}", info.backend, info.epoch, server.node.position());
    if let Some((_, why)) = server.node.state().condition.trouble() {
        say!("  degraded  {why}; posts are kept in the data folder until the log is back");
    }
    say!("  bots      {}", if server.bots.is_empty() { "none".into() } else { server.bots.join(", ") });
    if !info.durability.is_empty() {
        say!("  ack       {}", info.durability);
    }
    if let Some(notary) = &server.notary {
        say!("  notary    {}", notary.verifier());
        say!("            (keep this key; `antiphon replay verify --key` checks the log against what it signed)");
    }
    if !server.address.ip().is_loopback() {
        say!("  warning   anyone who can reach this address can read and post: there are no access tokens yet");
    }
}

fn absolute(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf()).display().to_string()
}
