//! What the parts of a worker share: its bots and their models, its claims, and what the server thinks of it.
//!
//! Promise: what one part learns (the server is away, the key is revoked) is reported once.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use antiphon_bot::{Bot, Breaker, Model, Pins};
use antiphon_kit::{Consumer, Profile};
use antiphon_schemas::{
    BotName,
    wire::work::{BotProfiles, ModelState},
};
use futures_util::{
    FutureExt,
    future::{join_all, select_all},
};
use tokio::{
    sync::{Mutex, watch},
    task::JoinSet,
    time::Instant,
};
use tracing::{info, warn};

use super::{Chosen, Error, Settings, claims::Claims};
use crate::client::{Client, Failure};

/// How long a model server's answer about what is loaded is trusted.
const WARMTH_MAX: Duration = Duration::from_secs(5);

/// What the parts of a worker share.
pub(super) struct Shared {
    pub(super) client: Client,
    pub(super) name: Arc<str>,
    pub(super) bots: Vec<Served>,
    pub(super) claims: Claims,
    pub(super) warmth: Mutex<Option<(Instant, Vec<ModelState>)>>,
    pub(super) denied: watch::Sender<Option<Error>>,
    /// Whether the server is away, as far as claims tell.
    away: AtomicBool,
}

/// A bot that is answered for.
pub(super) struct Served {
    pub(super) name: BotName,
    pub(super) bot: Arc<Bot>,
    pub(super) consumer: Arc<dyn Consumer>,
    /// As the server had it at the start.
    pub(super) profile: Profile,
}

impl Shared {
    /// For the bots that were chosen, if the server has them.
    pub(super) fn new(settings: Settings, profiles: BotProfiles) -> Result<Shared, Error> {
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

    /// Has every model loaded before somebody waits for it.
    pub(super) fn preload(&self, beside: &mut JoinSet<()>) {
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
    pub(super) async fn ready(&self) -> Vec<&Served> {
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
    pub(super) async fn warmth(&self) -> Vec<ModelState> {
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

    /// A claim did not go through: told on change only, once for all slots.
    pub(super) fn lost(&self, failure: &Failure) {
        if !self.away.swap(true, Relaxed) {
            warn!("no work can be claimed: {failure}; trying again");
        }
    }

    /// The server is there.
    pub(super) fn found(&self) {
        if self.away.swap(false, Relaxed) {
            info!("the server is there again");
        }
    }

    /// Ends the worker if the server does not want it.
    pub(super) fn deny(&self, failure: &Failure) -> bool {
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

    /// Waits until the server does not want it.
    pub(super) async fn denied(&self) -> Error {
        let mut denied = self.denied.subscribe();
        match denied.wait_for(Option::is_some).await.ok().and_then(|why| why.clone()) {
            Some(why) => why,
            // The sender lives in `self`.
            None => std::future::pending().await,
        }
    }
}
