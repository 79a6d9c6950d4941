//! Ollama: `POST /api/chat`, answered line by line (NDJSON).
//!
//! Promises:
//! - the model is loaded by a request of its own that no reply owns, since Ollama gives up a load when the client that
//!   asked for it goes away. One load at a time per set of options; all replies wait for the same one;
//! - the load and the answer carry the same options, since other options would reload the model;
//! - a prompt that is too long is refused, so that it can be cut and said (`shape`), unless the bot's options say `truncate`;
//! - an answer without `done: true` broke off: a repeat guard inside Ollama ends streams so.
//!
//! Options of a bot go to `options`; [`LIFTED`] stand beside it.
//! Not here: clocks (`bot`), how an answer is read (`decode`), pulling models.

use std::{
    collections::{BTreeMap, HashMap},
    future::Future,
    pin::{Pin, pin},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use antiphon_kit::BoxFuture;
use reqwest::{Client, Response, StatusCode, Url, header::CONTENT_TYPE};
use serde::Serialize;
use serde_json::Value;
use tokio::{sync::watch, task::AbortHandle, time::timeout};

use crate::{
    client::{below, error_in, read_all, read_answer, read_some, shown, status_error, transport_error},
    model::{Answer, Event, Events, Model, ModelError, answer_of, codes},
    prompt::{Prompt, Turn},
    shape::{Fitted, Known, trial},
};

/// Options that Ollama takes beside `options`.
const LIFTED: [&str; 4] = ["think", "keep_alive", "format", "truncate"];
/// How long a model stays loaded after its last answer, if the bot says nothing else: a pause in a conversation.
const KEEP_ALIVE: &str = "30m";
/// A model that is loaded says so at once; only a longer wait is shown as loading.
const LOADING_SHOWN_AFTER: Duration = Duration::from_millis(200);
/// No load takes longer: 400 GB from a slow disk. It frees a load that hangs although the connection stands.
const LOAD_MAX: Duration = Duration::from_secs(30 * 60);
/// Asking which models are loaded is quick; the caller is about to take work and must not wait for it.
const WARM_MAX: Duration = Duration::from_millis(500);
/// A probe is for a person who waits.
const PROBE_MAX: Duration = Duration::from_secs(5);

/// A model on an Ollama server. Make one per server and model, and share it: it owns the loads.
pub struct Ollama {
    name: String,
    server: Server,
    loads: Arc<Loads>,
    known: Known,
}

#[derive(Clone)]
struct Server {
    client: Client,
    base: Url,
    model: Arc<str>,
}

/// How a load ended; `None` while it is under way.
type Loaded = watch::Receiver<Option<Result<(), ModelError>>>;

/// Loads under way, by the options as JSON. A std mutex: never held across an `.await`.
#[derive(Default)]
struct Loads(Mutex<HashMap<String, (Loaded, AbortHandle)>>);

impl Drop for Loads {
    fn drop(&mut self) {
        let loads = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        loads.values().for_each(|(_, task)| task.abort());
    }
}

impl Ollama {
    /// `model` on the server at `base`, e.g. `llama3.2` at `http://127.0.0.1:11434`; `known`: how that wants to be asked.
    pub fn new(client: Client, base: Url, model: &str, known: Known) -> Ollama {
        let server = Server { client, base, model: model.into() };
        Ollama { name: format!("ollama:{model}"), server, loads: Arc::default(), known }
    }
}

impl Model for Ollama {
    fn name(&self) -> &str {
        &self.name
    }

    fn answer(&self, prompt: Arc<Prompt>) -> Answer {
        let (server, loads, known) = (self.server.clone(), self.loads.clone(), self.known.clone());
        answer_of(|events| async move {
            // What a load has shown is learnt with the answer.
            let refused = match known.shape().preloads() {
                true => loads.wait(&server, &prompt.options, &events).await.map_or_else(refusal, |()| Ok(false))?,
                false => false,
            };
            events.send(Event::Reading).await;
            let num_ctx = prompt.options.get("num_ctx").and_then(Value::as_u64).and_then(|n| u32::try_from(n).ok());
            let end = trial(&known, &prompt, num_ctx, &events, |fitted, _| server.answer(fitted, &events)).await?;
            if refused {
                known.takes_no_preload();
            }
            Ok(end)
        })
    }

    fn tokens_option(&self) -> Option<&'static str> {
        Some("num_predict")
    }

    fn known(&self) -> Option<&Known> {
        Some(&self.known)
    }

    fn probe(&self) -> Pin<Box<dyn Future<Output = Result<String, String>> + Send + '_>> {
        Box::pin(async {
            let (at, model) = (shown(&self.server.base), &self.server.model);
            let models = list(&self.server.client, &self.server.base, PROBE_MAX).await.map_err(|error| {
                format!("{error}; start it with `ollama serve`, or set `OLLAMA_HOST` to where it is")
            })?;
            match models.iter().any(|there| is(there, model)) {
                true => Ok(format!("Ollama at {at} has `{model}`")),
                false if models.is_empty() => {
                    Err(format!("Ollama at {at} has no model yet: run `ollama pull {model}`"))
                }
                false => Err(format!(
                    "Ollama at {at} has no `{model}` (it has {}): run `ollama pull {model}`",
                    models.join(", ")
                )),
            }
        })
    }

    fn warm(&self) -> BoxFuture<'_, Option<bool>> {
        Box::pin(async {
            let loaded = names(&self.server.client, &self.server.base, "api/ps", WARM_MAX).await.ok()?;
            Some(loaded.iter().any(|there| is(there, &self.server.model)))
        })
    }

    fn preload(&self, options: &BTreeMap<String, Value>) -> BoxFuture<'static, Result<(), ModelError>> {
        if !self.known.shape().preloads() {
            return Box::pin(std::future::ready(Ok(())));
        }
        let loaded = self.loads.join(&self.server, options);
        Box::pin(ended(loaded))
    }
}

/// Whether a load failed because this server takes none: then the answer itself loads the model.
fn refusal(error: ModelError) -> Result<bool, ModelError> {
    if error.code == codes::REFUSED { Ok(true) } else { Err(error) }
}

/// Whether Ollama's name `there` is that of `model`: one without a tag means `latest`.
fn is(there: &str, model: &str) -> bool {
    there == model || there.strip_suffix(":latest") == Some(model)
}

/// The names of the models that an Ollama at `base` has, newest first.
pub(crate) async fn list(client: &Client, base: &Url, within: Duration) -> Result<Vec<String>, ModelError> {
    names(client, base, "api/tags", within).await
}

/// The names in one of Ollama's lists of models.
async fn names(client: &Client, base: &Url, path: &str, within: Duration) -> Result<Vec<String>, ModelError> {
    let request = client.get(below(base, path)).timeout(within).send();
    let response = request.await.map_err(|error| transport_error(&error, base))?;
    if response.status() != StatusCode::OK {
        return Err(status_error(response, base, "this is no Ollama").await);
    }
    let body = read_all(response, base).await?;
    let json: Value = serde_json::from_slice(&body).map_err(|_| not_ollama(base))?;
    let models = json["models"].as_array().ok_or_else(|| not_ollama(base))?;
    Ok(models.iter().filter_map(|model| model["name"].as_str()).map(str::to_owned).collect())
}

fn not_ollama(base: &Url) -> ModelError {
    ModelError::permanent(codes::PROTOCOL, format!("what answers at {} is not an Ollama", shown(base)))
}

/// The body of `/api/chat`; without messages it only loads the model.
#[derive(Serialize)]
struct Chat<'a> {
    model: &'a str,
    messages: &'a [Turn],
    stream: bool,
    options: BTreeMap<&'a str, &'a Value>,
    #[serde(flatten)]
    beside: BTreeMap<&'a str, Value>,
}

impl<'a> Chat<'a> {
    fn new(model: &'a str, options: &'a BTreeMap<String, Value>, messages: &'a [Turn], stream: bool) -> Chat<'a> {
        let (beside, options): (Vec<_>, Vec<_>) =
            options.iter().map(|(name, value)| (name.as_str(), value)).partition(|(name, _)| LIFTED.contains(name));
        let mut beside: BTreeMap<_, _> = beside.into_iter().map(|(name, value)| (name, value.clone())).collect();
        beside.entry("keep_alive").or_insert_with(|| KEEP_ALIVE.into());
        if stream {
            // Else it leaves out of a prompt that is too long what it likes, the question's beginning too, and says nothing.
            beside.entry("truncate").or_insert(Value::Bool(false));
        }
        Chat { model, messages, stream, options: options.into_iter().collect(), beside }
    }
}

impl Loads {
    /// Waits until the model is loaded with these options; asks for it unless that is under way.
    async fn wait(
        &self,
        server: &Server,
        options: &BTreeMap<String, Value>,
        events: &Events,
    ) -> Result<(), ModelError> {
        let mut end = pin!(ended(self.join(server, options)));
        match timeout(LOADING_SHOWN_AFTER, &mut end).await {
            Ok(end) => end,
            Err(_) => {
                events.send(Event::Loading).await;
                end.await
            }
        }
    }

    /// The load with these options that is under way, or a new one.
    fn join(&self, server: &Server, options: &BTreeMap<String, Value>) -> Loaded {
        let body = Chat::new(&server.model, options, &[], false);
        let key = serde_json::to_string(&body).expect("strings and JSON values are always JSON");
        let mut loads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        loads.retain(|_, (loaded, task)| loaded.borrow().is_none() && !task.is_finished());
        if let Some((loaded, _)) = loads.get(&key) {
            return loaded.clone();
        }
        let (tx, loaded) = watch::channel(None);
        let (server, body) = (server.clone(), key.clone());
        // Owned by `Loads`, which aborts it when the model is dropped; it ends by itself after `LOAD_MAX`.
        let task = tokio::spawn(async move {
            let gave_up =
                |_| Err(ModelError::retryable(codes::TIMEOUT, format!("the model was not loaded within {LOAD_MAX:?}")));
            let result = timeout(LOAD_MAX, server.load(body)).await.unwrap_or_else(gave_up);
            tx.send_replace(Some(result));
        });
        loads.insert(key, (loaded.clone(), task.abort_handle()));
        loaded
    }
}

/// How a load ends.
async fn ended(mut loaded: Loaded) -> Result<(), ModelError> {
    let end = loaded.wait_for(Option::is_some).await.ok().and_then(|end| end.clone());
    end.unwrap_or_else(|| Err(ModelError::retryable(codes::ERROR, "the load of the model was given up")))
}

impl Server {
    async fn load(&self, body: String) -> Result<(), ModelError> {
        let response = self.send(body).await?;
        // Status 200 and an error in the body happen here, too.
        let said = serde_json::from_slice::<Value>(&read_some(response).await).unwrap_or_default();
        match said.get("error").and_then(|_| error_in(&said)) {
            Some(error) => {
                Err(ModelError::retryable(codes::ERROR, format!("Ollama could not load the model: {error}")))
            }
            None => Ok(()),
        }
    }

    /// One request and its answer.
    async fn answer(&self, fitted: Fitted, events: &Events) -> Result<Event, ModelError> {
        let body = Chat::new(&self.model, &fitted.prompt.options, &fitted.prompt.turns, true);
        let response =
            self.send(serde_json::to_string(&body).expect("strings and JSON values are always JSON")).await?;
        read_answer(response, &self.base, events).await
    }

    async fn send(&self, body: String) -> Result<Response, ModelError> {
        let request =
            self.client.post(below(&self.base, "api/chat")).header(CONTENT_TYPE, "application/json").body(body);
        let response = request.send().await.map_err(|error| transport_error(&error, &self.base))?;
        if response.status() == StatusCode::OK {
            return Ok(response);
        }
        let missing = format!("Ollama has no model `{0}`; run `ollama pull {0}`", self.model);
        Err(status_error(response, &self.base, &missing).await)
    }
}
