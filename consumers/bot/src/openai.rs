//! Servers that speak OpenAI's chat completions: `POST …/chat/completions`, answered by server-sent events.
//!
//! Promises:
//! - a server that says that it is loading its model is asked again until it has.
//!
//! Options of a bot stand in the request's body as they are, but cannot change what the bot relies on ([`OURS`]).
//! Not here: clocks (`bot`), how an answer is read (`decode`), tools, images.

use std::{collections::BTreeMap, future::Future, pin::Pin, sync::Arc, time::Duration};

use reqwest::{
    Client, RequestBuilder, Response, StatusCode, Url,
    header::{ACCEPT, CONTENT_TYPE},
};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    client::{below, read_all, read_answer, shown, status_error, transport_error},
    model::{Answer, Away, Event, Events, Model, ModelError, answer_of, codes},
    prompt::{Prompt, Turn},
    shape::{Fitted, Known, Shape, trial},
};

/// Fields of the request that no option replaces.
const OURS: [&str; 5] = ["model", "messages", "stream", "stream_options", "n"];
/// How often a server is asked that is loading its model, unless it says when to come back.
const LOADING_AGAIN: Duration = Duration::from_secs(1);
/// Longer estimates are wrong more often than not.
const LOADING_AGAIN_MAX: Duration = Duration::from_secs(30);
/// What servers say while they load a model: llama.cpp, Hugging Face, gateways.
const LOADING: [&str; 6] =
    ["loading model", "currently loading", "is loading", "model loading", "still loading", "warming up"];
/// A probe is for a person who waits.
const PROBE_MAX: Duration = Duration::from_secs(5);

/// A model behind an OpenAI-compatible server.
pub struct OpenAi {
    name: String,
    server: Server,
    known: Known,
}

#[derive(Clone)]
struct Server {
    client: Client,
    base: Url,
    key: Option<Arc<str>>,
    model: Arc<str>,
}

impl OpenAi {
    /// `model` on the server at `base` (which ends in `/v1` as a rule), with an API key if it wants one; `known`: how that
    /// wants to be asked.
    pub fn new(client: Client, base: Url, key: Option<&str>, model: &str, known: Known) -> OpenAi {
        let server = Server { client, base, key: key.map(Into::into), model: model.into() };
        OpenAi { name: format!("openai:{model}"), server, known }
    }
}

impl Model for OpenAi {
    fn name(&self) -> &str {
        &self.name
    }

    fn answer(&self, prompt: Arc<Prompt>) -> Answer {
        let (server, known) = (self.server.clone(), self.known.clone());
        answer_of(|events| async move {
            trial(&known, &prompt, None, &events, |fitted, shape| server.answer(fitted, shape, &events)).await
        })
    }

    fn tokens_option(&self) -> Option<&'static str> {
        Some("max_tokens")
    }

    fn known(&self) -> Option<&Known> {
        Some(&self.known)
    }

    fn probe(&self) -> Pin<Box<dyn Future<Output = Result<String, String>> + Send + '_>> {
        Box::pin(async {
            let Server { client, base, key, model } = &self.server;
            let at = shown(base);
            match list(client, base, key.as_deref(), PROBE_MAX).await {
                Ok(models) if models.iter().any(|there| **there == **model) => Ok(format!("{at} has `{model}`")),
                Ok(models) => {
                    let some = models.iter().take(8).map(String::as_str).collect::<Vec<_>>().join(", ");
                    Err(format!("{at} does not list `{model}`; it has e.g. {some}"))
                }
                // Not every server can list its models.
                Err(error) if error.code == codes::NOT_FOUND => {
                    Ok(format!("{at} answers, but does not list its models"))
                }
                Err(error) => Err(format!("{error}; check `OPENAI_BASE_URL` and `OPENAI_API_KEY`")),
            }
        })
    }
}

/// The ids of the models that a server lists.
pub(crate) async fn list(
    client: &Client,
    base: &Url,
    key: Option<&str>,
    within: Duration,
) -> Result<Vec<String>, ModelError> {
    let request = with_key(client.get(below(base, "models")), key).timeout(within).send();
    let response = request.await.map_err(|error| transport_error(&error, base))?;
    if response.status() != StatusCode::OK {
        return Err(status_error(response, base, "this server does not list its models").await);
    }
    let body = read_all(response, base).await?;
    let json: Value = serde_json::from_slice(&body).unwrap_or_default();
    let words = || format!("what answers at {} does not speak OpenAI's language", shown(base));
    let models = json["data"].as_array().ok_or_else(|| ModelError::permanent(codes::PROTOCOL, words()))?;
    Ok(models.iter().filter_map(|model| model["id"].as_str()).map(str::to_owned).collect())
}

fn with_key(request: RequestBuilder, key: Option<&str>) -> RequestBuilder {
    match key {
        Some(key) => request.bearer_auth(key),
        None => request,
    }
}

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    messages: &'a [Turn],
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_options: Option<Value>,
    #[serde(flatten)]
    options: BTreeMap<&'a str, &'a Value>,
}

/// Whether a server says that it loads its model, which is no failure to give up on.
fn is_loading(error: &ModelError) -> bool {
    let words = error.words.to_lowercase();
    error.code == codes::BUSY && LOADING.iter().any(|sign| words.contains(sign))
}

impl Server {
    /// One request, once the server has loaded its model, and its answer.
    async fn answer(&self, fitted: Fitted, shape: Shape, events: &Events) -> Result<Event, ModelError> {
        let response = self.ask(&fitted.prompt, shape, events).await?;
        read_answer(response, &self.base, events).await
    }

    /// Asks until the server has loaded its model.
    async fn ask(&self, prompt: &Prompt, shape: Shape, events: &Events) -> Result<Response, ModelError> {
        let named = |name: &'_ str| if name == "max_tokens" { shape.tokens_name() } else { "" };
        let options = prompt.options.iter().map(|(name, value)| match named(name) {
            "" => (name.as_str(), value),
            name => (name, value),
        });
        let body = Body {
            model: &self.model,
            messages: &prompt.turns,
            stream: true,
            stream_options: shape.counts().then(|| json!({ "include_usage": true })),
            options: options.filter(|(name, _)| !OURS.contains(name)).collect(),
        };
        let body = serde_json::to_string(&body).expect("strings and JSON values are always JSON");
        events.send(Event::Reading).await;
        let mut loading = false;
        loop {
            match self.send(body.clone()).await {
                Ok(response) if loading => {
                    events.send(Event::Reading).await;
                    return Ok(response);
                }
                Err(error) if is_loading(&error) => {
                    // Said once: asking again is no sign that the load moves on, so the clock runs.
                    if !std::mem::replace(&mut loading, true) {
                        events.send(Event::Loading).await;
                    }
                    let said = if let Some(Away::For(wait)) = error.away { wait } else { LOADING_AGAIN };
                    sleep(said.clamp(LOADING_AGAIN, LOADING_AGAIN_MAX)).await;
                }
                other => return other,
            }
        }
    }

    async fn send(&self, body: String) -> Result<Response, ModelError> {
        let request = with_key(self.client.post(below(&self.base, "chat/completions")), self.key.as_deref())
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "text/event-stream")
            .body(body);
        let response = request.send().await.map_err(|error| transport_error(&error, &self.base))?;
        if response.status() != StatusCode::OK {
            let missing = format!("no model `{}` there, or the address is wrong; check `OPENAI_BASE_URL`", self.model);
            return Err(status_error(response, &self.base, &missing).await);
        }
        Ok(response)
    }
}
