//! Puts the parts together: listens, opens the log, starts node, bots and HTTP, says what it did, and ends cleanly.
//!
//! Order of the end: no new connections → bots finish or give back → feeds end → requests finish → the notary signs what is
//! there → node, log and index close. A second signal ends the process at once; nothing acknowledged is lost by that.
//! Not here: settings (`config`), what the parts do.

use std::{
    collections::HashMap,
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use antiphon_bot::{BadSpec, Bot, Breaker, Model};
use antiphon_kit::{Consumer, Profile};
use antiphon_schemas::Epoch;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    audit::{
        keys,
        notary::{Notary, Pace},
        store::paths,
    },
    clock::Clock,
    config::{Config, LogKind, REMOTE, RoomPattern, slots_default},
    decide::{BotRule, Policy},
    http::{self, App, BotStatus, Limits, Listening},
    log::{Log, file, memory::MemoryLog, redis as shared},
    model,
    node::{self, Node},
    outbox::{self, Outbox},
    projection,
    work::{Crew, Hand},
};

/// Prints a line for the operator; nobody reading it is no reason to stop.
macro_rules! say {
    ($($arguments:tt)*) => {{
        use std::io::Write;
        let _ = writeln!(std::io::stdout(), $($arguments)*);
    }};
}

/// The name of a node that has its log for itself.
const NAME_ALONE: &str = "in-process";
/// Replies under way may finish within this time after a signal.
const DRAIN: Duration = Duration::from_secs(10);
/// Requests under way may finish within this time after that.
const REQUESTS_GRACE: Duration = Duration::from_secs(5);

/// Why the server did not start; each is one line that says what to do.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum Error {
    #[error("port {} on {} is taken; choose another with --listen {}:PORT, or stop whoever has it", .0.port(), .0.ip(), .0.ip())]
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
}

/// A running server.
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    /// The node behind it.
    pub node: Node,
    crew: Crew,
    notary: Option<Notary>,
    stop: CancellationToken,
    drained: CancellationToken,
    serving: tokio::task::JoinHandle<()>,
    bots: Vec<String>,
}

/// Starts a server and serves until SIGINT or SIGTERM.
///
/// # Errors
/// [`Error`]: it did not start.
pub async fn run(config: Config) -> Result<(), Error> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Signals)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::Signals)?;
    let server = start(&config).await?;
    announce(&config, &server);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    say!("stopping: replies may finish within {} s; signal again to end at once", DRAIN.as_secs());
    tokio::select! {
        () = server.stop() => say!("stopped; nothing acknowledged is lost"),
        _ = interrupt.recv() => say!("ended at once"),
        _ = terminate.recv() => say!("ended at once"),
    }
    Ok(())
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
    let address = listening.address;
    let clock = Clock::system();
    let store = open_store(config, &clock).await?;
    let bots = bots(config).await?;
    let limits = projection::Limits { recent_messages: config.recent_messages, rooms: config.rooms_in_memory };
    let Store { name, log, outbox, data } = store;
    // Before the log is read: whoever has no key shall not wait for that to learn it.
    let key = data.as_deref().map(|data| keys::load_or_make(&paths(data), &format!("antiphon/{name}"))).transpose()?;
    let settings = node::Settings { name, log, outbox, clock, policy: policy(config), limits, data: data.clone() };
    let node = node::start(settings).await?;
    let notary = match (key, data) {
        (Some(key), Some(data)) => {
            let started = Notary::start(node.clone(), key, &data, Pace::default());
            Some(started.map_err(|e| Error::Data(paths(&data).folder, e))?)
        }
        // What is gone with the process needs no witness.
        _ => None,
    };
    let limits = Limits {
        text_bytes_max: config.text_bytes_max,
        subscribers_max: config.subscribers_max,
        loopback_names_only: !config.expose && address.ip().is_loopback(),
    };
    let (stop, drained) = (CancellationToken::new(), CancellationToken::new());
    let (status, hands): (Vec<_>, Vec<_>) = bots.into_iter().unzip();
    let names = status.iter().map(named).collect();
    let app = App::new(node.clone(), limits, status, stop.clone(), notary.clone());
    let router = http::router(app);
    let serving = http::serve(listening, router, config.subscribers_max, stop.clone(), drained.clone(), REQUESTS_GRACE);
    let serving = tokio::spawn(serving);
    let crew = Crew::start(&node, hands.into_iter().flatten().collect(), config.heartbeat);
    Ok(Server { address, node, crew, notary, stop, drained, serving, bots: names })
}

fn named(bot: &BotStatus) -> String {
    let name = &bot.profile.name;
    if bot.consumer.is_some() { format!("{name} on {}", bot.model) } else { format!("{name} on workers") }
}

impl Server {
    /// Ends in the order of the module header.
    pub async fn stop(self) {
        self.stop.cancel();
        self.crew.stop(DRAIN).await;
        self.node.end_feeds();
        self.drained.cancel();
        if self.serving.await.is_err() {
            warn!("the HTTP server ended badly");
        }
        if let Some(notary) = self.notary {
            notary.stop().await;
        }
        self.node.stop().await;
    }
}

/// Where a node keeps what it knows.
struct Store {
    name: Arc<str>,
    log: Arc<dyn Log>,
    outbox: Option<Outbox>,
    /// The folder of index, snapshots and checkpoints.
    data: Option<PathBuf>,
}

async fn open_store(config: &Config, clock: &Clock) -> Result<Store, Error> {
    let name: Arc<str> = config.node.as_deref().unwrap_or(NAME_ALONE).into();
    match &config.log {
        LogKind::Memory => {
            let log = Arc::new(MemoryLog::new(Epoch(rand::random()), clock.clone()));
            Ok(Store { name, log, outbox: None, data: None })
        }
        LogKind::File => {
            let log = open_file(config, clock).await?;
            Ok(Store { name, log, outbox: None, data: Some(config.data.clone()) })
        }
        LogKind::Redis(address) => {
            // Apart from a file log in the same folder: that is another log.
            let data = config.data.join("redis");
            fs::create_dir_all(&data).map_err(|e| Error::Data(data.clone(), e))?;
            let folder = data.join("outbox");
            let outbox = match config.salvage {
                true => Outbox::salvage(folder, clock.clone()).await?,
                false => Outbox::open(folder, clock.clone()).await?,
            };
            // The outbox's lock is held from here on, so nobody else makes up a name.
            let name = node_name(config, &data)?;
            let log = shared::RedisLog::open(shared::Options {
                address: address.clone(),
                node: name.clone(),
                stamp: shared::Stamp::Store,
                known: node::remembered(&data),
            });
            Ok(Store { name, log: Arc::new(log), outbox: Some(outbox), data: Some(data) })
        }
    }
}

/// This node's name: as set, or as made up at the first start.
fn node_name(config: &Config, data: &Path) -> Result<Arc<str>, Error> {
    if let Some(name) = &config.node {
        return Ok(name.as_str().into());
    }
    let file = data.join("node");
    let wrong = |e| Error::Data(file.clone(), e);
    match fs::read_to_string(&file) {
        Ok(name) if !name.trim().is_empty() => Ok(name.trim().into()),
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(wrong(e)),
        _ => {
            let name = format!("node-{:08x}", rand::random::<u32>());
            fs::write(&file, format!("{name}\n")).map_err(wrong)?;
            Ok(name.into())
        }
    }
}

async fn open_file(config: &Config, clock: &Clock) -> Result<Arc<dyn Log>, Error> {
    let options =
        file::Options { segment_bytes: config.segment_bytes, salvage: config.salvage, ..file::Options::default() };
    let (data, clock) = (config.data.clone(), clock.clone());
    let opened = tokio::task::spawn_blocking(move || file::FileLog::open_folder(data, options, clock)).await;
    let log = opened.map_err(|e| Error::Model(format!("the log's opening broke: {e}")))??;
    let recovery = log.recovery();
    if recovery.cut_bytes > 0 {
        info!(bytes = recovery.cut_bytes, "cut the torn end that an earlier process left; it was never acknowledged");
    }
    if let Some(salvaged) = &recovery.salvaged {
        warn!("salvaged: {salvaged}");
    }
    Ok(Arc::new(log))
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
async fn bots(config: &Config) -> Result<Vec<(BotStatus, Option<Hand>)>, Error> {
    let client = antiphon_bot::http_client();
    let bad = |why: BadSpec| Error::Model(why.to_string());
    let endpoints = model::endpoints(config).map_err(bad)?;
    let specs = model::of_bots(config, &endpoints, &client).await.map_err(bad)?;
    let clocks = model::clocks(config);
    let mut shared: HashMap<String, (Arc<dyn Model>, Breaker)> = HashMap::new();
    let mut bots = Vec::new();
    for (bot, spec) in config.bots.iter().zip(specs) {
        let profile = Arc::new(Profile {
            name: bot.name.clone(),
            persona: bot.persona.clone(),
            context_messages: bot.context_messages,
            options: bot.options.clone(),
            filters: bot.filters.clone(),
        });
        let color: Option<Arc<str>> = bot.color.as_deref().map(Into::into);
        let Some(spec) = spec else {
            bots.push((BotStatus { profile, color, model: REMOTE.into(), consumer: None }, None));
            continue;
        };
        let model_name = spec.to_string();
        let fresh = || (spec.build(&endpoints, &client, config.pace), Breaker::new(rand::random()));
        let (model, breaker) = shared.entry(model_name.clone()).or_insert_with(fresh).clone();
        let consumer: Arc<dyn Consumer> = Arc::new(Bot::new(model, clocks, breaker));
        let slots = bot.slots.unwrap_or_else(|| slots_default(&model_name));
        let hand = Hand { profile: profile.clone(), color: color.clone(), consumer: consumer.clone(), slots };
        bots.push((BotStatus { profile, color, model: model_name, consumer: Some(consumer) }, Some(hand)));
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
    say!("  ack       {}", info.durability);
    if let Some(notary) = &server.notary {
        say!("  notary    {}", notary.verifier());
    }
    if !server.address.ip().is_loopback() {
        say!("  warning   everybody who reaches this address can read and post: there are no tokens yet");
    }
}

fn absolute(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf()).display().to_string()
}
