//! Options that stay the same for all bots on one model, since another value would reload the model.
//!
//! Ollama compares the options with which a model was loaded ([`RUNNER_OPTIONS`]) with those of each request, and loads it
//! again when they differ: two bots on one model that disagree about `num_ctx` would have it loaded for every answer.
//! Promise: with pins applied, all requests for a model carry the same of these options, and a reply reports them as
//! they were sent.
//! Not here: which options a model knows. Source: `Runner` in Ollama's `api/types.go`, `needsReload` in `server/sched.go`.

use std::collections::BTreeMap;

use antiphon_kit::Profile;
use serde_json::Value;

/// Options that take effect when Ollama loads a model; the first six still do, the others did in older versions.
pub const RUNNER_OPTIONS: [&str; 12] = [
    "num_ctx",
    "num_batch",
    "num_gpu",
    "main_gpu",
    "use_mmap",
    "num_thread",
    "use_mlock",
    "low_vram",
    "f16_kv",
    "logits_all",
    "vocab_only",
    "numa",
];

/// Options that a model is asked with, whatever a delivery says. Empty unless made by [`Pins::of`].
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Pins {
    options: BTreeMap<String, Value>,
    /// Any other runner option would reload the model, so none is let through.
    runner: bool,
}

impl Pins {
    /// The pins of `model`, and a sentence for each bot that does not get what its profile says.
    ///
    /// `own` are the machine's own options: they stand over those of every profile, for every model. Of an Ollama model's
    /// runner options that `own` does not name, the first profile that names one decides.
    pub fn of<'a>(
        model: &str,
        own: &BTreeMap<String, Value>,
        profiles: impl IntoIterator<Item = &'a Profile>,
    ) -> (Pins, Vec<String>) {
        let runner = model.starts_with("ollama:");
        let mut pins = Pins { options: own.clone(), runner };
        let mut decided: BTreeMap<&str, &Profile> = BTreeMap::new();
        let mut overruled = Vec::new();
        for profile in profiles {
            let named = profile
                .options
                .iter()
                .filter(|(name, _)| own.contains_key(*name) || runner && RUNNER_OPTIONS.contains(&name.as_str()));
            for (name, value) in named {
                let Some(pinned) = pins.options.get(name) else {
                    pins.options.insert(name.clone(), value.clone());
                    decided.insert(name, profile);
                    continue;
                };
                if pinned == value {
                    continue;
                }
                let bot = &profile.name;
                overruled.push(match decided.get(name.as_str()) {
                    Some(first) => format!(
                        "bot `{bot}` is answered with {name} = {pinned} instead of {value}, as `{}` is on {model}, too, and \
                         says so first: two values would have the model loaded anew for each answer",
                        first.name
                    ),
                    None => format!("bot `{bot}` is answered with {name} = {pinned} instead of {value}, as this machine says"),
                });
            }
        }
        (pins, overruled)
    }

    /// Puts the pins into a bot's options.
    pub fn apply(&self, options: &mut BTreeMap<String, Value>) {
        if self.runner {
            options.retain(|name, _| !RUNNER_OPTIONS.contains(&name.as_str()));
        }
        options.extend(self.options.iter().map(|(name, value)| (name.clone(), value.clone())));
    }
}

#[cfg(test)]
mod tests {
    use antiphon_schemas::BotName;
    use serde_json::json;

    use super::*;
    use crate::prompt::tests::profile;

    fn options(json: Value) -> BTreeMap<String, Value> {
        serde_json::from_value(json).unwrap()
    }

    fn bot(name: &str, said: Value) -> Profile {
        Profile { name: BotName::new(name).unwrap(), options: options(said), ..profile() }
    }

    #[track_caller]
    fn check(model: &str, own: Value, bots: &[Profile], sent: &[Value], overruled: &[&[&str]]) {
        let (pins, sentences) = Pins::of(model, &options(own), bots);
        let got = bots.iter().map(|bot| {
            let mut options = bot.options.clone();
            pins.apply(&mut options);
            json!(options)
        });
        assert_eq!(got.collect::<Vec<_>>(), sent);
        assert_eq!(sentences.len(), overruled.len(), "{sentences:?}");
        for (sentence, words) in sentences.iter().zip(overruled) {
            words.iter().for_each(|word| assert!(sentence.contains(word), "`{word}` is not in: {sentence}"));
        }
    }

    #[test]
    fn the_first_bot_that_names_a_runner_option_decides_it_for_all_on_the_model() {
        let bots = [
            bot("a", json!({"num_ctx": 8192, "temperature": 0.5})),
            bot("b", json!({"num_ctx": 4096, "num_gpu": 20, "temperature": 1})),
            bot("c", json!({"num_ctx": 8192, "num_gpu": 20})),
        ];
        let sent = [
            json!({"num_ctx": 8192, "num_gpu": 20, "temperature": 0.5}),
            json!({"num_ctx": 8192, "num_gpu": 20, "temperature": 1}),
            json!({"num_ctx": 8192, "num_gpu": 20}),
        ];
        check("ollama:m", json!({}), &bots, &sent, &[&["`b`", "num_ctx = 8192", "4096", "`a`", "ollama:m"]]);
        let as_they_are: Vec<_> = bots.iter().map(|bot| json!(bot.options)).collect();
        check("openai:m", json!({}), &bots, &as_they_are, &[]);
    }

    #[test]
    fn what_the_machine_says_stands_over_every_profile() {
        let bots = [bot("a", json!({"num_ctx": 8192, "temperature": 0.5})), bot("b", json!({"num_ctx": 2048}))];
        let own = json!({"num_ctx": 2048, "temperature": 0});
        let sent = vec![json!({"num_ctx": 2048, "temperature": 0}); 2];
        let overruled: [&[&str]; 2] =
            [&["`a`", "num_ctx = 2048 instead of 8192", "machine"], &["`a`", "temperature = 0 instead of 0.5"]];
        check("ollama:m", own.clone(), &bots, &sent, &overruled);
        check("openai:m", own, &bots, &sent, &overruled);
    }

    #[test]
    fn an_option_that_a_profile_got_later_does_not_load_the_model_anew() {
        let (pins, _) = Pins::of("ollama:m", &BTreeMap::new(), &[bot("a", json!({}))]);
        let mut later = options(json!({"num_ctx": 1, "top_k": 2}));
        pins.apply(&mut later);
        assert_eq!(json!(later), json!({"top_k": 2}));
    }
}
