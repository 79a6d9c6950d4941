//! Servers that speak OpenAI's chat completions: `POST …/chat/completions`, answered by server-sent events.
//!
//! Promises:
//! - an answer ends well only with the finish reason `stop` or `length`; aborts, filters, tool calls, reasons not known
//!   and an end without any are failures (vLLM ends aborted answers with status 200, `abort` and `[DONE]`);
//! - read tolerantly: fields may be missing, `null` or more than we know, as near-compatible servers differ;
//! - a server that says that it is loading its model is asked again until it has.
//!
//! Options of a bot stand in the request's body as they are, but cannot change what the bot relies on ([`OURS`]).
//! Not here: clocks (`bot`), tools, images.

use std::{collections::BTreeMap, future::Future, pin::Pin, sync::Arc, time::Duration};

use antiphon_kit::{
    Usage,
    sse::{SseReader, TooLong},
};
use reqwest::{
    Client, RequestBuilder, Response, StatusCode, Url,
    header::{ACCEPT, CONTENT_TYPE},
};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::{
    client::{below, error_in, read_all, read_some, said_in, shown, status_error, transport_error},
    model::{Answer, Event, Events, Finish, Model, ModelError, answer_of, codes},
    prompt::{Prompt, Turn},
};

/// Fields of the request that no option replaces.
const OURS: [&str; 5] = ["model", "messages", "stream", "stream_options", "n"];
/// How often a server is asked that is loading its model; it offers nothing to wait on.
const LOADING_AGAIN: Duration = Duration::from_secs(1);
/// How long to wait for the token counts and `[DONE]` after the finish reason; the answer itself is complete.
const END_WAIT: Duration = Duration::from_secs(1);
/// A probe is for a person who waits.
const PROBE_MAX: Duration = Duration::from_secs(5);

/// A model behind an OpenAI-compatible server.
pub struct OpenAi {
    name: String,
    server: Server,
}

#[derive(Clone)]
struct Server {
    client: Client,
    base: Url,
    key: Option<Arc<str>>,
    model: Arc<str>,
}

impl OpenAi {
    /// `model` on the server at `base` (which ends in `/v1` as a rule), with an API key if it wants one.
    pub fn new(client: Client, base: Url, key: Option<&str>, model: &str) -> OpenAi {
        let server = Server { client, base, key: key.map(Into::into), model: model.into() };
        OpenAi { name: format!("openai:{model}"), server }
    }
}

impl Model for OpenAi {
    fn name(&self) -> &str {
        &self.name
    }

    fn answer(&self, prompt: Arc<Prompt>) -> Answer {
        let server = self.server.clone();
        answer_of(|events| async move {
            let response = server.ask(&prompt, &events).await?;
            server.read(response, &events).await
        })
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
    stream_options: Value,
    #[serde(flatten)]
    options: BTreeMap<&'a str, &'a Value>,
}

impl Server {
    /// Asks until the server has loaded its model.
    async fn ask(&self, prompt: &Prompt, events: &Events) -> Result<Response, ModelError> {
        let options = prompt.options.iter().map(|(name, value)| (name.as_str(), value));
        let body = Body {
            model: &self.model,
            messages: &prompt.turns,
            stream: true,
            stream_options: json!({ "include_usage": true }),
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
                Err(error) if error.code == codes::BUSY && error.words.to_lowercase().contains("loading model") => {
                    // Said once: asking again is no sign that the load moves on, so the clock runs.
                    if !std::mem::replace(&mut loading, true) {
                        events.send(Event::Loading).await;
                    }
                    sleep(LOADING_AGAIN).await;
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
        let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if kind.starts_with("application/json") {
            let said = said_in(&read_some(response).await).unwrap_or_else(|| "an answer in one piece".into());
            return Err(ModelError::retryable(codes::PROTOCOL, format!("the server does not stream; it says: {said}")));
        }
        Ok(response)
    }

    async fn read(&self, mut response: Response, events: &Events) -> Result<Event, ModelError> {
        let (mut reader, mut arrived) = (SseReader::new(), Vec::new());
        let (mut finish, mut usage) = (None, None);
        loop {
            let chunk = match finish {
                None => response.chunk().await.map_err(|error| transport_error(&error, &self.base))?,
                // The answer is complete; whatever happens now costs at most the token counts.
                Some(_) => timeout(END_WAIT, response.chunk()).await.unwrap_or(Ok(None)).unwrap_or(None),
            };
            let Some(chunk) = chunk else { break };
            let protocol = |TooLong| ModelError::retryable(codes::PROTOCOL, "the server sent an event without end");
            reader
                .push(&chunk, &mut arrived)
                .or_else(|error| if finish.is_some() { Ok(()) } else { Err(protocol(error)) })?;
            for event in arrived.drain(..) {
                if event.data.trim() == "[DONE]" {
                    let _ = timeout(END_WAIT, response.chunk()).await;
                    return ended(finish, usage);
                }
                let said = read_data(&event.data)?;
                if said.thinks {
                    events.send(Event::Thinking).await;
                }
                if let Some(text) = said.text {
                    events.send(Event::Text(text)).await;
                }
                usage = said.usage.or(usage);
                finish = finish.or(said.finish);
            }
        }
        ended(finish, usage)
    }
}

fn ended(finish: Option<Finish>, usage: Option<Usage>) -> Result<Event, ModelError> {
    let broke_off = || ModelError::retryable(codes::BROKE_OFF, "the server ended the answer without a finish reason");
    finish.map(|finish| Event::Done { finish, usage }).ok_or_else(broke_off)
}

/// What one event says.
#[derive(Debug, PartialEq)]
struct Said {
    thinks: bool,
    text: Option<String>,
    finish: Option<Finish>,
    usage: Option<Usage>,
}

fn read_data(data: &str) -> Result<Said, ModelError> {
    let not_json = |_| ModelError::retryable(codes::PROTOCOL, "the server sent an event that is not JSON");
    let json: Value = serde_json::from_str(data).map_err(not_json)?;
    if json.get("error").is_some_and(|error| !error.is_null()) || json["object"] == "error" {
        let words = error_in(&json).unwrap_or_else(|| "no words".into());
        return Err(ModelError::retryable(codes::ERROR, format!("the server broke off: {words}")));
    }
    let choice = &json["choices"][0];
    let delta = |field: &str| choice["delta"][field].as_str().filter(|text| !text.is_empty());
    let finish = match choice["finish_reason"].as_str() {
        None | Some("") => None,
        Some(reason) => Some(Finish::known(reason).ok_or_else(|| {
            ModelError::retryable(codes::FINISH, format!("the server ended the answer with `{reason}`"))
        })?),
    };
    let tokens = |field: &str| json["usage"][field].as_u64();
    Ok(Said {
        thinks: delta("reasoning_content").or(delta("reasoning")).is_some(),
        // A refusal is what the model has to say.
        text: delta("content").or(delta("refusal")).map(str::to_owned),
        finish,
        usage: tokens("completion_tokens")
            .map(|completion_tokens| Usage { prompt_tokens: tokens("prompt_tokens").unwrap_or(0), completion_tokens }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_near_compatible_servers_are_read() {
        let said = |text: Option<&str>, finish| Said { thinks: false, text: text.map(Into::into), finish, usage: None };
        let nothing = || said(None, None);
        for (data, expected) in [
            (r#"{"choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":null}]}"#, said(Some("hi"), None)),
            (r#"{"choices":[{"delta":{"content":"hi"},"finish_reason":""}],"unknown":[1]}"#, said(Some("hi"), None)),
            (r#"{"choices":[{"delta":{"role":"assistant","content":null}}]}"#, nothing()),
            (r#"{"choices":[{"delta":{},"finish_reason":"length"}],"error":null}"#, said(None, Some(Finish::Length))),
            (r#"{"choices":[{"delta":{"content":""},"finish_reason":"stop"}]}"#, said(None, Some(Finish::Stop))),
            (r#"{"choices":[],"prompt_filter_results":[]}"#, nothing()),
            (r#"{"choices":[{"delta":{"refusal":"No."}}]}"#, said(Some("No."), None)),
            (
                r#"{"choices":[{"delta":{"content":null,"reasoning_content":"hm"}}]}"#,
                Said { thinks: true, ..nothing() },
            ),
            (
                r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":5,"total_tokens":8}}"#,
                Said { usage: Some(Usage { prompt_tokens: 3, completion_tokens: 5 }), ..nothing() },
            ),
            (r#"{"choices":null,"usage":null}"#, nothing()),
        ] {
            assert_eq!(read_data(data), Ok(expected), "{data}");
        }
    }

    #[test]
    fn what_is_no_part_of_an_answer_is_an_error() {
        for (data, code) in [
            (r#"{"error":{"message":"engine died"}}"#, codes::ERROR),
            (r#"{"object":"error","message":"engine died"}"#, codes::ERROR),
            (r#"{"choices":[{"delta":{},"finish_reason":"abort"}]}"#, codes::FINISH),
            (r#"{"choices":[{"delta":{},"finish_reason":"content_filter"}]}"#, codes::FINISH),
            (r#"{"choices":[{"delta":{},"finish_reason":"tool_calls"}]}"#, codes::FINISH),
            ("hello", codes::PROTOCOL),
        ] {
            assert_eq!(read_data(data).map_err(|error| error.code), Err(code), "{data}");
        }
    }
}
