//! A worker: answers for a server's bots from another machine, over HTTP that it opens itself.
//!
//! ```text
//!  slot ─ source ─ claim (waits at the server) ─▶ lease ─ deltas, complete ─▶ server
//!                                                └ keep: heartbeats, stages ─▶
//!  events ◀─ claims, ended (one stream, always open) ─▶ claims ─ over ─▶ lease
//! ```
//!
//! Promises, beside those of the runtime (`work`), which is the same as in the server:
//! - as many claims as free slots, for bots whose model is well; a claim whose answer was lost is asked for again;
//! - a finished answer is resent until the server takes or refuses it, however long the server is away;
//! - what is no longer wanted is dropped at once, and with it the model's connection;
//! - a model is loaded ahead by a request of its own, and loaded once, whatever its bots would have;
//! - it survives every failure but a refusal of its key, its name or its bots.
//!
//! Not here: the command (`cli`), the calls (`client`), models (`antiphon-bot`).
//! Start with [`run`], then `shared` (bots, models), `source` (claiming), `lease` (a claim), `claims` (which are over), `events` (who says so).

mod claims;
mod events;
mod lease;
mod shared;
mod source;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, io, sync::Arc, time::Duration};

use antiphon_bot::{Breaker, Clocks, Model};
use antiphon_schemas::{BotName, wire::work::BotProfiles};
use serde_json::Value;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    task::JoinSet,
    time::{sleep, timeout},
};
use tracing::warn;

use self::{shared::Shared, source::RemoteSource};
use crate::{
    client::{Backoff, Client},
    work::WorkerPool,
};

/// First wait after a failure.
const WAIT_FIRST: Duration = Duration::from_millis(200);
/// Longest wait: a server that is back is found soon.
const WAIT_MAX: Duration = Duration::from_secs(5);
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
    /// Options that override those of every bot.
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
    work(&shared, slots, grace, &mut signals).await
}

/// The bots that the server has for this worker; asked until it answers.
async fn profiles(client: &Client, mut backoff: Backoff) -> Result<BotProfiles, Error> {
    let mut told = false;
    loop {
        match client.bots().await {
            Ok(profiles) => return Ok(profiles),
            Err(failure) if failure.retryable() => {
                if !std::mem::replace(&mut told, true) {
                    warn!("{failure}; trying again");
                }
                sleep(backoff.wait()).await;
            }
            Err(failure) => return Err(Error::Denied(failure.to_string())),
        }
    }
}

/// Works until a signal, or until the server does not want it any more.
async fn work(shared: &Arc<Shared>, slots: usize, grace: Duration, signals: &mut Signals) -> Result<(), Error> {
    // Aborted when this returns.
    let mut beside = JoinSet::new();
    beside.spawn(events::follow(shared.clone()));
    shared.preload(&mut beside);
    let pool = WorkerPool::of((0..slots).map(|_| RemoteSource::new(shared.clone())));
    tokio::select! {
        () = signals.next() => {}
        why = shared.denied() => return Err(why),
    }
    say(&format!("stopping: replies may finish within {} s; signal again to give them back at once", grace.as_secs()));
    let give_up = pool.give_up();
    let mut stopped = std::pin::pin!(pool.stop(grace));
    tokio::select! {
        () = &mut stopped => {}
        () = signals.next() => {
            give_up.cancel();
            let _in_time = timeout(GIVE_UP_MAX, stopped).await;
        }
        why = shared.denied() => return Err(why),
    }
    say("stopped");
    Ok(())
}

/// The wait after this many failures in a row.
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
