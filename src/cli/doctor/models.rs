//! The models: whether the server that each bot needs is there and knows the model.

use std::time::Duration;

use serde::Deserialize;

use super::Check;
use crate::{
    cli::client::innermost,
    config::{Config, OPENAI_BASE_URL},
};

const WHAT: &str = "model";
/// A list of names comes at once from a server that is well.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// One check per model that a bot names, or what would be found for those that name none.
pub(super) async fn check(config: &Config) -> anyhow::Result<Vec<Check>> {
    // Whoever was first has installed the same; that is no error.
    let _first = rustls::crypto::ring::default_provider().install_default();
    let http = reqwest::Client::builder().timeout(ANSWER_MAX).build()?;
    let mut models: Vec<Option<&str>> = config.bots.iter().map(|bot| bot.model.as_deref()).collect();
    models.sort_unstable();
    models.dedup();
    let mut checks = Vec::new();
    for model in models {
        checks.push(match model {
            None => found(&http, config).await,
            Some(name) => match name.split_once(':') {
                Some(("ollama", name)) => ollama(&http, config, name).await,
                Some((_, name)) => openai(&http, config, name).await,
                None => Check::ok(WHAT, "builtin: needs nothing"),
            },
        });
    }
    Ok(checks)
}

/// What the server would find at start.
async fn found(http: &reqwest::Client, config: &Config) -> Check {
    if let Ok(names) = ollama_models(http, config).await
        && let Some(first) = names.first()
    {
        let says =
            format!("none is set; an Ollama with {} model(s), e.g. {first}, is at {}", names.len(), config.ollama_url);
        return Check::ok(WHAT, says);
    }
    if config.openai_api_key.is_some() || config.openai_base_url.is_some() {
        let mut check = openai(http, config, "").await;
        check.says = format!("none is set; {}", check.says);
        return check;
    }
    Check::ok(WHAT, "none is set and no model server is there: the built-in model answers")
}

async fn ollama(http: &reqwest::Client, config: &Config, name: &str) -> Check {
    let url = &config.ollama_url;
    match ollama_models(http, config).await {
        Err(why) => Check::fail(
            WHAT,
            format!("ollama:{name}: no Ollama at {url} ({why})"),
            "start it with `ollama serve`, or say where it is with OLLAMA_HOST or ollama_url",
        ),
        Ok(names) if names.iter().any(|n| n == name || n.strip_suffix(":latest") == Some(name)) => {
            Check::ok(WHAT, format!("ollama:{name} is at {url}"))
        }
        Ok(_) => Check::fail(
            WHAT,
            format!("ollama:{name}: the Ollama at {url} does not have it"),
            format!("`ollama pull {name}`"),
        ),
    }
}

async fn ollama_models(http: &reqwest::Client, config: &Config) -> Result<Vec<String>, String> {
    #[derive(Deserialize)]
    struct Tags {
        #[serde(default)]
        models: Vec<Model>,
    }
    #[derive(Deserialize)]
    struct Model {
        name: String,
    }
    let response = http.get(format!("{}/api/tags", config.ollama_url)).send().await.map_err(|e| innermost(&e))?;
    let response = response.error_for_status().map_err(|e| e.to_string())?;
    let tags: Tags = response.json().await.map_err(|_| "what answers there is no Ollama".to_owned())?;
    Ok(tags.models.into_iter().map(|model| model.name).collect())
}

/// Whether the server takes the key and knows the model; any model if `name` is empty.
async fn openai(http: &reqwest::Client, config: &Config, name: &str) -> Check {
    #[derive(Deserialize)]
    struct List {
        data: Vec<Model>,
    }
    #[derive(Deserialize)]
    struct Model {
        id: String,
    }
    let url = config.openai_base_url.as_deref().unwrap_or(OPENAI_BASE_URL);
    let shown = format!("openai:{name} at {url}");
    let mut request = http.get(format!("{url}/models"));
    match &config.openai_api_key {
        Some(key) => request = request.bearer_auth(key.expose()),
        None if config.openai_base_url.is_none() => {
            let says = format!("{shown}: there is no key for it");
            return Check::fail(
                WHAT,
                says,
                "set OPENAI_API_KEY or OPENAI_API_KEY_FILE, or OPENAI_BASE_URL for a server of yours",
            );
        }
        None => {}
    }
    let response = match request.send().await {
        Ok(response) => response,
        Err(error) => {
            let says = format!("{shown}: nobody answers ({})", innermost(&error));
            return Check::fail(WHAT, says, "start that server, or say where it is with OPENAI_BASE_URL");
        }
    };
    let status = response.status();
    if matches!(status.as_u16(), 401 | 403) {
        return Check::fail(
            WHAT,
            format!("{shown}: it does not take the key ({status})"),
            "set OPENAI_API_KEY to a good one",
        );
    }
    match response.json::<List>().await {
        Ok(list) if status.is_success() => match list.data.iter().any(|m| m.id == name) || name.is_empty() {
            true => Check::ok(WHAT, format!("{shown} is there")),
            false => Check::warn(
                WHAT,
                format!("{shown}: not in its list of models"),
                format!("see {url}/models for the names"),
            ),
        },
        _ => Check::warn(
            WHAT,
            format!("{shown}: answers, but lists no models ({status})"),
            "see whether a post is answered",
        ),
    }
}
