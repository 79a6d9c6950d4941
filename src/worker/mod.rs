//! A worker: answers for a server's bots from another machine, over HTTP that it opens itself.
//!
//! ```text
//!  slot ─ desk ─ claim (waits at the server) ─▶ hold ─ deltas, complete ─▶ server
//!                                                └ keep: heartbeats, stages ─▶
//!  events ◀─ claims, ended (one stream, always open) ─▶ claims ─ over ─▶ hold
//! ```
//!
//! Promises, beside those of the runtime (`work`), which is the same as in the server:
//! - as many claims as free slots, for bots whose model is well; a claim whose answer was lost is asked for again;
//! - a finished answer is handed in until the server takes or refuses it, however long that is away;
//! - what is no longer wanted is dropped at once, and with it the model's connection;
//! - a model is loaded ahead by a request of its own, and loaded once, whatever its bots would have;
//! - it goes on through every trouble but a refusal of its key, its name or its bots.
//!
//! Not here: the command (`cli`), the calls (`client`), models (`antiphon-bot`).
//! Start with [`run`], then `desk` (claiming), `hold` (a claim), `claims` (which are over), `events` (who says so).

mod claims;
mod desk;
mod events;
mod hold;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use antiphon_bot::{Bot, Breaker, Clocks, Model, Pins};
use antiphon_kit::{Consumer, Profile};
use antiphon_schemas::{
    BotName,
    wire::work::{BotProfiles, ModelState},
};
use futures_util::{
    FutureExt,
    future::{join_all, select_all},
};
use serde_json::Value;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{Mutex, watch},
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tracing::{info, warn};

use self::{claims::Claims, desk::RemoteDesk};
use crate::{
    client::{Backoff, Client, Failure},
    work::Crew,
};

/// First wait after a failure.
const WAIT_FIRST: Duration = Duration::from_millis(200);
/// Longest wait: a server that is back is found soon.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// What a model's server says about what is loaded is believed for so long.
const WARMTH_MAX: Duration = Duration::from_secs(5);
/// After a second signal nobody waits longer than this for what is given back.
const GIVE_UP_MAX: Duration = Duration::from_secs(5);

/// What a worker needs to know.
pub(crate) struct Settings {
    /// The servers, with the key.
    pub(crate) client: Client,
    /// Where they are, for people.
    pub(crate) server: String,
    /// Its name.
    pub(crate) name: Arc<str>,
    /// Its bots; their names are unique.
    pub(crate) bots: Vec<Chosen>,
    /// How long a model may take.
    pub(crate) clocks: Clocks,
    /// Options that stand over those of every bot.
    pub(crate) options: BTreeMap<String, Value>,
    /// Replies side by side.
    pub(crate) slots: usize,
    /// How long replies under way may take after a signal.
    pub(crate) grace: Duration,
}

/// A bot to answer for, and by what. Bots on the same model share it and its breaker.
pub(crate) struct Chosen {
    /// The bot.
    pub(crate) name: BotName,
    /// Its model.
    pub(crate) model: Arc<dyn Model>,
    /// Whether that is well.
    pub(crate) breaker: Breaker,
}

/// Why a worker ended by itself; each is one line that says what to do.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Error {
    /// The server does not take this worker.
    #[error("the server does not take this worker: {0}")]
    Denied(String),
    /// A bot that is not there, or not for this key.
    #[error("this worker may not answer for `{bot}`: {there}; see --bot, and the server's configuration")]
    UnknownBot {
        /// The bot.
        bot: BotName,
        /// Those that there are.
        there: String,
    },
    /// No signals.
    #[error("signals cannot be received: {0}")]
    Signals(Arc<io::Error>),
}

/// Works until a signal ends it: replies under way may finish within the grace, the rest is given back; a second signal
/// gives everything back at once.
///
/// # Errors
/// [`Error`]: nothing that trying again would mend.
pub(crate) async fn run(settings: Settings) -> Result<(), Error> {
    let mut signals = Signals::new()?;
    let profiles = tokio::select! {
        profiles = profiles(&settings.client, Backoff::new(WAIT_FIRST, WAIT_MAX)) => profiles?,
        () = signals.next() => return Ok(()),
    };
    let (server, slots, grace) = (settings.server.clone(), settings.slots, settings.grace);
    let shared = Arc::new(Shared::new(settings, profiles)?);
    say(&format!("antiphon worker {} is {}", env!("CARGO_PKG_VERSION"), shared.name));
    say(&format!("  server    {server}"));
    let bots: Vec<_> = shared.bots.iter().map(|served| format!("{} on {}", served.name, served.bot.model())).collect();
    say(&format!("  bots      {}", bots.join(", ")));
    say(&format!("  slots     {slots}"));
    shared.work(slots, grace, &mut signals).await
}

/// The bots that the server has for this worker; asked until it answers.
async fn profiles(client: &Client, mut backoff: Backoff) -> Result<BotProfiles, Error> {
    let mut told = false;
    loop {
        match client.bots().await {
            Ok(profiles) => return Ok(profiles),
            Err(failure) if failure.retryable() => {
                if !std::mem::replace(&mut told, true) {
                    warn!("{failure}; trying again until somebody does");
                }
                sleep(backoff.wait()).await;
            }
            Err(failure) => return Err(Error::Denied(failure.to_string())),
        }
    }
}

/// What the parts of a worker share.
struct Shared {
    client: Client,
    name: Arc<str>,
    bots: Vec<Served>,
    claims: Claims,
    warmth: Mutex<Option<(Instant, Vec<ModelState>)>>,
    denied: watch::Sender<Option<Error>>,
    /// Whether the server is away, as far as claims tell.
    away: AtomicBool,
}

/// A bot that is answered for.
struct Served {
    name: BotName,
    bot: Arc<Bot>,
    consumer: Arc<dyn Consumer>,
    /// As the server had it at the start.
    profile: Profile,
}

impl Shared {
    fn new(settings: Settings, profiles: BotProfiles) -> Result<Shared, Error> {
        let profile = |bot: &BotName| {
            let there: Vec<_> = profiles.bots.iter().map(|profile| profile.name.as_str()).collect();
            let there =
                if there.is_empty() { "it has no bots for it".into() } else { format!("it has {}", there.join(", ")) };
            let found = profiles.bots.iter().find(|profile| profile.name == *bot).cloned();
            found.ok_or_else(|| Error::UnknownBot { bot: bot.clone(), there })
        };
        let mut wanted = Vec::new();
        for Chosen { name, model, breaker } in settings.bots {
            wanted.push((profile(&name)?, model, breaker));
        }
        let pins_of = |model: &str| {
            let on_it = wanted.iter().filter(|(_, other, _)| other.name() == model).map(|(profile, _, _)| profile);
            Pins::of(model, &settings.options, on_it)
        };
        let mut pinned: BTreeMap<String, Pins> = BTreeMap::new();
        for (_, model, _) in &wanted {
            if !pinned.contains_key(model.name()) {
                let (pins, overruled) = pins_of(model.name());
                overruled.iter().for_each(|sentence| warn!("{sentence}"));
                pinned.insert(model.name().into(), pins);
            }
        }
        let serve = |(profile, model, breaker): (Profile, Arc<dyn Model>, Breaker)| {
            let pins = pinned[model.name()].clone();
            let bot = Arc::new(Bot::new(model, settings.clocks, breaker).pinned(pins));
            Served { name: profile.name.clone(), consumer: bot.clone(), bot, profile }
        };
        Ok(Shared {
            bots: wanted.into_iter().map(serve).collect(),
            client: settings.client,
            name: settings.name,
            claims: Claims::default(),
            warmth: Mutex::default(),
            denied: watch::Sender::new(None),
            away: AtomicBool::new(false),
        })
    }

    async fn work(self: Arc<Shared>, slots: usize, grace: Duration, signals: &mut Signals) -> Result<(), Error> {
        // Aborted when this returns.
        let mut beside = JoinSet::new();
        beside.spawn(events::follow(self.clone()));
        self.preload(&mut beside);
        let crew = Crew::of((0..slots).map(|_| RemoteDesk::new(self.clone())));
        tokio::select! {
            () = signals.next() => {}
            why = self.denied() => return Err(why),
        }
        say(&format!(
            "stopping: replies may finish within {} s; signal again to give them back at once",
            grace.as_secs()
        ));
        let give_up = crew.give_up();
        let mut stopped = std::pin::pin!(crew.stop(grace));
        tokio::select! {
            () = &mut stopped => {}
            () = signals.next() => {
                give_up.cancel();
                let _in_time = timeout(GIVE_UP_MAX, stopped).await;
            }
            why = self.denied() => return Err(why),
        }
        say("stopped");
        Ok(())
    }

    /// Has every model loaded before somebody waits for it.
    fn preload(&self, beside: &mut JoinSet<()>) {
        let mut begun = Vec::new();
        for served in &self.bots {
            let model = served.bot.model().to_owned();
            if begun.contains(&model) {
                continue;
            }
            let loaded = served.bot.preload(&served.profile.options);
            begun.push(model.clone());
            beside.spawn(async move {
                if let Err(why) = loaded.await {
                    warn!(%model, %why, "the model could not be loaded ahead");
                }
            });
        }
    }

    /// The bots whose model is well; waits for the first.
    async fn ready(&self) -> Vec<&Served> {
        loop {
            let ready: Vec<_> =
                self.bots.iter().filter(|served| served.consumer.ready().now_or_never().is_some()).collect();
            if !ready.is_empty() {
                return ready;
            }
            info!("no bot's model is well; nothing is claimed until one is tried again");
            select_all(self.bots.iter().map(|served| served.consumer.ready())).await;
        }
    }

    /// The models, as far as their servers say whether they are loaded.
    async fn warmth(&self) -> Vec<ModelState> {
        let mut known = self.warmth.lock().await;
        if let Some((at, models)) = &*known
            && at.elapsed() < WARMTH_MAX
        {
            return models.clone();
        }
        let mut bots: BTreeMap<&str, &Bot> = BTreeMap::new();
        bots.extend(self.bots.iter().map(|served| (served.bot.model(), &*served.bot)));
        let states = bots
            .into_iter()
            .map(|(name, bot)| async move { bot.warm().await.map(|warm| ModelState { name: name.into(), warm }) });
        let models: Vec<_> = join_all(states).await.into_iter().flatten().collect();
        *known = Some((Instant::now(), models.clone()));
        models
    }

    /// Something did not go through, or does again: told on change only, once for all slots.
    fn lost(&self, failure: &Failure) {
        if !self.away.swap(true, Relaxed) {
            warn!("no work can be claimed: {failure}; trying again");
        }
    }

    fn found(&self) {
        if self.away.swap(false, Relaxed) {
            info!("the server is there again");
        }
    }

    /// Ends the worker if the server does not want it.
    fn deny(&self, failure: &Failure) -> bool {
        let denied = matches!(failure.code(), Some("no-key" | "bad-key" | "not-your-bot" | "not-your-name"));
        if denied {
            self.denied.send_if_modified(|why| {
                let first = why.is_none();
                why.get_or_insert_with(|| Error::Denied(failure.to_string()));
                first
            });
        }
        denied
    }

    async fn denied(&self) -> Error {
        let mut denied = self.denied.subscribe();
        match denied.wait_for(Option::is_some).await.ok().and_then(|why| why.clone()) {
            Some(why) => why,
            // The sender lives in `self`.
            None => std::future::pending().await,
        }
    }
}

/// The wait after so many failures in a row.
fn pause(failures: u32) -> Duration {
    let whole = WAIT_FIRST.saturating_mul(1 << (failures.saturating_sub(1)).min(16)).min(WAIT_MAX);
    Backoff::new(whole, whole).wait()
}

/// SIGINT and SIGTERM.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> Result<Signals, Error> {
        let of = |kind| signal(kind).map_err(|why| Error::Signals(Arc::new(why)));
        Ok(Signals { interrupt: of(SignalKind::interrupt())?, terminate: of(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Prints a line for the operator; nobody reading it is no reason to stop.
fn say(line: &str) {
    use std::io::Write;
    let _ = writeln!(io::stdout(), "{line}");
}
