//! The models: whether each one that a bot asks could answer now, and how it wants to be asked.

use std::time::Duration;

use antiphon_bot::{Known, ModelSpec, http_client, probe};

use super::Check;
use crate::{
    config::Config,
    model::{self, Lessons},
};

const WHAT: &str = "model";
/// A healthy model server lists its models at once.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// One check per model that a bot asks, found at start or named.
pub(super) async fn check(config: &Config) -> Vec<Check> {
    let client = http_client();
    let endpoints = match model::endpoints(config) {
        Ok(endpoints) => endpoints,
        Err(why) => return vec![Check::fail(WHAT, why.to_string(), "fix that setting")],
    };
    let specs = match model::of_bots(config, &endpoints, &client).await {
        Ok(specs) => specs,
        Err(why) => return vec![Check::fail(WHAT, why.to_string(), "fix that bot's `model`")],
    };
    let mut models: Vec<_> = specs.iter().flatten().map(|spec| (spec.to_string(), spec)).collect();
    models.sort_by(|a, b| a.0.cmp(&b.0));
    models.dedup_by(|a, b| a.0 == b.0);
    let (mut checks, lessons) = (Vec::new(), Lessons::of(config));
    for (name, spec) in models {
        if *spec == ModelSpec::Builtin && config.model.is_none() && config.openai_base_url.is_some() {
            let says = "builtin: no model found at OPENAI_BASE_URL, so the built-in one answers";
            checks.push(Check::warn(
                WHAT,
                says,
                "check OPENAI_BASE_URL and OPENAI_API_KEY, or choose a model with --model",
            ));
            continue;
        }
        let (given, learnt) = (lessons.given(&name).words(), lessons.learnt(&name).words());
        let manners = [("set", given), ("learnt", learnt)].into_iter().filter(|(_, words)| !words.is_empty());
        let manners: String = manners.map(|(from, words)| format!("\nasked with {words} ({from})")).collect();
        let model = spec.build(&endpoints, &client, config.pace, Known::default());
        checks.push(match tokio::time::timeout(ANSWER_MAX, probe(&*model)).await {
            Ok(Ok(says)) => Check::ok(WHAT, format!("{name}: {says}{manners}")),
            Ok(Err(why)) => Check::fail(WHAT, name, why),
            Err(_) => {
                Check::fail(WHAT, format!("{name}: no answer within {} s", ANSWER_MAX.as_secs()), "check its server")
            }
        });
    }
    checks
}
