//! Which model each bot asks: its own, else the configured one, else what is found at start, else the built-in one.
//!
//! Not here: the models themselves (`antiphon-bot`). `lessons` is how each wants to be asked.

mod lessons;

use antiphon_bot::{BadSpec, Endpoints, ModelSpec, discover};
use reqwest::Client;

pub(crate) use self::lessons::Lessons;

use crate::config::{self, Config, REMOTE};

/// Where the model servers are.
///
/// # Errors
/// [`BadSpec`] names the setting that is not an address.
pub(crate) fn endpoints(config: &Config) -> Result<Endpoints, BadSpec> {
    let key = config.openai_api_key.as_ref().map(|key| key.expose());
    Endpoints::new(Some(&config.ollama_url), config.openai_base_url.as_deref(), key)
}

/// How long a model may take.
pub(crate) fn clocks(config: &Config) -> antiphon_bot::Clocks {
    let config::Clocks { load, first_token, gap, total } = config.clocks;
    antiphon_bot::Clocks { load, first_token, gap, total }
}

/// The model of every bot, in their order; `None` for those that only workers answer for.
///
/// # Errors
/// [`BadSpec`] if a name is not one of `builtin`, `ollama:NAME`, `openai:NAME`.
pub(crate) async fn of_bots(
    config: &Config,
    endpoints: &Endpoints,
    client: &Client,
) -> Result<Vec<Option<ModelSpec>>, BadSpec> {
    let found = match config.bots.iter().all(|bot| bot.model.is_some()) {
        true => None,
        false => discover(endpoints, client).await,
    };
    let of = |bot: &crate::config::Bot| match &bot.model {
        Some(name) if name == REMOTE => Ok(None),
        Some(name) => name.parse().map(Some),
        None => Ok(Some(found.clone().unwrap_or(ModelSpec::Builtin))),
    };
    config.bots.iter().map(of).collect()
}
