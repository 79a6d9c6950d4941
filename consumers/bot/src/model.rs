//! What a model is to a bot: a prompt in, a stream of events out; its errors and the clocks that watch it.
//!
//! Promises wanted of every model (checked in `bot`'s tests against the fake server):
//! - the stream ends with [`Event::Done`] or with an error, never silently;
//! - nothing happens before the stream is polled, and dropping it closes the connection;
//! - text comes in whole characters and in order; an event is bounded in size.
//!
//! Not here: filters, prompts, retries. Clocks are kept by the bot, so that no model can forget them.

use std::{
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use antiphon_kit::{BoxFuture, Usage};
use futures_util::{Stream, stream};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::mpsc;

use crate::{prompt::Prompt, shape::Known};

/// Something that continues a conversation.
pub trait Model: Send + Sync + 'static {
    /// Its name as people write it, e.g. `ollama:llama3.2`.
    fn name(&self) -> &str;

    /// The answer to `prompt`, event by event. Asks only when polled.
    fn answer(&self, prompt: Arc<Prompt>) -> Answer;

    /// The option by which it is told how many tokens an answer may have.
    fn tokens_option(&self) -> Option<&'static str> {
        None
    }

    /// What is known of how its server wants to be asked; `None` for a model without a server.
    fn known(&self) -> Option<&Known> {
        None
    }

    /// Whether it could answer now: a sentence on what is there, or on what is missing and how to mend it.
    fn probe(&self) -> Pin<Box<dyn Future<Output = Result<String, String>> + Send + '_>>;

    /// Whether it is loaded and can begin to answer at once; `None` when its server does not tell, or not soon.
    fn warm(&self) -> BoxFuture<'_, Option<bool>> {
        Box::pin(std::future::ready(None))
    }

    /// Has it loaded with these options, where it has to be. Begins when called; dropping the future, which waits for the
    /// end of the load, does not stop it.
    fn preload(&self, options: &BTreeMap<String, Value>) -> BoxFuture<'static, Result<(), ModelError>> {
        let _ = options;
        Box::pin(std::future::ready(Ok(())))
    }
}

/// A stream of events that ends with [`Event::Done`] or an error.
pub type Answer = Pin<Box<dyn Stream<Item = Result<Event, ModelError>> + Send>>;

/// One thing that a model says while it answers. Every event is a sign of life.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// It is being loaded, and something moved since the last sign.
    Loading,
    /// It is loaded and reads the prompt.
    Reading,
    /// It thinks these words, which are not shown.
    Thinking(String),
    /// The next words; never empty.
    Text(String),
    /// The prompt was sent so, which is not how it was asked for.
    Sent(Arc<Prompt>),
    /// What people should know about the answer beside its words, as `code: words`.
    Note(String),
    /// The end.
    Done {
        /// Why it stopped.
        finish: Finish,
        /// Tokens, if it tells.
        usage: Option<Usage>,
    },
}

/// Why a model stopped; any other reason is an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// It had said what it wanted to say.
    Stop,
    /// It reached a limit.
    Length,
}

impl Finish {
    /// As written in a reply: `stop` or `length`.
    pub fn as_str(self) -> &'static str {
        match self {
            Finish::Stop => "stop",
            Finish::Length => "length",
        }
    }
}

/// Codes of failures; each is written as `code: words`. They never change meaning.
pub mod codes {
    /// Nobody answers at the model's address.
    pub const UNREACHABLE: &str = "model-unreachable";
    /// The stream ended before the model said that it was done.
    pub const BROKE_OFF: &str = "model-broke-off";
    /// The model's server says that something went wrong there.
    pub const ERROR: &str = "model-error";
    /// The model's server has too much to do, or is starting.
    pub const BUSY: &str = "model-busy";
    /// There is no such model.
    pub const NOT_FOUND: &str = "model-not-found";
    /// The model's server does not take this request.
    pub const REFUSED: &str = "model-refused";
    /// The key is missing, wrong or not allowed to.
    pub const KEY: &str = "model-key";
    /// What came back is not what such a server says.
    pub const PROTOCOL: &str = "model-protocol";
    /// The model stopped for a reason that is not known to be a whole answer.
    pub const FINISH: &str = "model-finish";
    /// One of the clocks ran out.
    pub const TIMEOUT: &str = "model-timeout";
    /// Nothing was left of the answer, or nothing came.
    pub const EMPTY: &str = "empty-answer";
    /// The runtime no longer wants the answer.
    pub const UNWANTED: &str = "unwanted";
}

/// Why there is no answer, and what that means for the next one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {words}")]
pub struct ModelError {
    /// One of [`codes`].
    pub code: &'static str,
    /// For people; they stand in a public room, so no secrets.
    pub words: String,
    /// Whether the same again may help.
    pub retryable: bool,
    /// Whether it speaks against the model (and counts for the breaker) or only against this prompt.
    pub fault: bool,
    /// All that the server said, where that is more.
    pub said: Option<Arc<str>>,
    /// The model could not have answered: no try is used up, and when to come back.
    pub away: Option<Away>,
}

/// When a model that could not have answered may be asked again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Away {
    /// It did not say.
    Unsaid,
    /// After this time, as its server says.
    For(Duration),
}

/// The longest account of an error that is passed on, in characters.
const WORDS_MAX: usize = 300;

impl ModelError {
    /// Passing trouble: another try may help.
    pub fn retryable(code: &'static str, words: impl AsRef<str>) -> ModelError {
        ModelError { code, words: plain(words.as_ref()), retryable: true, fault: true, said: None, away: None }
    }

    /// Somebody has to mend something first.
    pub fn permanent(code: &'static str, words: impl AsRef<str>) -> ModelError {
        ModelError { retryable: false, ..ModelError::retryable(code, words) }
    }

    /// The model could not have answered, and may be asked again after `wait`.
    pub fn away(code: &'static str, words: impl AsRef<str>, wait: Option<Duration>) -> ModelError {
        ModelError { away: Some(wait.map_or(Away::Unsaid, Away::For)), ..ModelError::retryable(code, words) }
    }

    /// The same, with all that the server said.
    pub(crate) fn saying(self, said: &str) -> ModelError {
        ModelError { said: Some(said.into()), ..self }
    }

    /// This prompt will never do, others may.
    pub fn refused(words: impl AsRef<str>) -> ModelError {
        ModelError { fault: false, ..ModelError::permanent(codes::REFUSED, words) }
    }
}

/// One line without control characters, at most [`WORDS_MAX`] characters.
pub(crate) fn plain(words: &str) -> String {
    let mut chars = words.trim().chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut out: String = chars.by_ref().take(WORDS_MAX).collect();
    if chars.next().is_some() {
        out.push('…');
    }
    out
}

/// The longest that a clock can be set to: a day is as good as for ever, and far from any overflow.
const CLOCK_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// How long a model may take for what. In settings each is a number of milliseconds, e.g. `first_token_ms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Clocks {
    /// Until the model is loaded, restarted whenever the load makes progress. 300 s: Ollama's own limit for a stalled load.
    #[serde(rename = "load_ms", with = "millis")]
    pub load: Duration,
    /// From there to the first sign of an answer, a thought included. 120 s: a long prompt read on a slow processor.
    #[serde(rename = "first_token_ms", with = "millis")]
    pub first_token: Duration,
    /// Between two signs. 60 s: longer than any pause seen of a model that was still at work.
    #[serde(rename = "gap_ms", with = "millis")]
    pub gap: Duration,
    /// From beginning to end. 600 s: nobody waits longer for an answer.
    #[serde(rename = "total_ms", with = "millis")]
    pub total: Duration,
}

impl Default for Clocks {
    fn default() -> Clocks {
        let [load, first_token, gap, total] = [300, 120, 60, 600].map(Duration::from_secs);
        Clocks { load, first_token, gap, total }
    }
}

mod millis {
    use super::{Deserialize, Duration};

    pub(super) fn serialize<S: serde::Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        match Duration::from_millis(u64::deserialize(deserializer)?) {
            time if (Duration::from_millis(1)..=super::CLOCK_MAX).contains(&time) => Ok(time),
            _ => Err(serde::de::Error::custom("a clock has 1 ms to 24 h; leave it out for the default")),
        }
    }
}

/// Where the code of a model puts its events; waits until each is taken.
pub(crate) struct Events {
    to: mpsc::Sender<Event>,
    begun: AtomicBool,
    /// What comes before the first words. A std mutex: never held across an `.await`.
    preface: Mutex<Option<Preface>>,
}

/// What the first words show, and what is reported before them.
type Preface = (Vec<Event>, Box<dyn FnOnce() + Send>);

impl Events {
    /// Hands over one event.
    pub(crate) async fn send(&self, event: Event) {
        if matches!(event, Event::Text(_) | Event::Thinking(_)) {
            self.begin().await;
        }
        // The receiver lives in the same stream as the sender: it cannot be gone while this runs.
        let _ = self.to.send(event).await;
    }

    /// Once there are words, `shows` is called, and `before` sent before them; what was set before is forgotten.
    pub(crate) fn set_preface(&self, before: Vec<Event>, shows: impl FnOnce() + Send + 'static) {
        *self.preface.lock().unwrap_or_else(PoisonError::into_inner) = Some((before, Box::new(shows)));
    }

    /// The answer has begun, or is over.
    pub(crate) async fn begin(&self) {
        self.begun.store(true, Relaxed);
        let preface = self.preface.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((before, shows)) = preface {
            shows();
            for event in before {
                let _ = self.to.send(event).await;
            }
        }
    }

    /// Whether there were words or thoughts.
    pub(crate) fn begun(&self) -> bool {
        self.begun.load(Relaxed)
    }
}

/// A stream out of straight-line code: what `work` sends, then how it ends. Nothing is spawned; dropping the stream
/// drops the work.
pub(crate) fn answer_of<W, F>(work: W) -> Answer
where
    W: FnOnce(Events) -> F,
    F: Future<Output = Result<Event, ModelError>> + Send + 'static,
{
    let (tx, mut rx) = mpsc::channel(1);
    let mut work = Some(Box::pin(work(Events { to: tx, begun: AtomicBool::new(false), preface: Mutex::default() })));
    let mut end = None;
    Box::pin(stream::poll_fn(move |cx| {
        if let Some(running) = &mut work
            && let std::task::Poll::Ready(result) = running.as_mut().poll(cx)
        {
            (work, end) = (None, Some(result));
        }
        match rx.poll_recv(cx) {
            std::task::Poll::Ready(Some(event)) => std::task::Poll::Ready(Some(Ok(event))),
            std::task::Poll::Ready(None) => std::task::Poll::Ready(end.take()),
            std::task::Poll::Pending => std::task::Poll::Pending,
        }
    }))
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;

    use super::*;

    #[tokio::test]
    async fn a_stream_gives_every_event_and_then_the_end() {
        let done = Event::Done { finish: Finish::Stop, usage: None };
        let end = done.clone();
        let mut answer = answer_of(|events| async move {
            for n in 0..5 {
                events.send(Event::Text(n.to_string())).await;
                tokio::task::yield_now().await;
            }
            Ok(end)
        });
        let mut seen = String::new();
        while let Some(event) = answer.next().await {
            match event.unwrap() {
                Event::Text(text) => seen.push_str(&text),
                other => assert_eq!((other, seen.as_str()), (done.clone(), "01234")),
            }
        }
        assert_eq!(seen, "01234");
    }

    #[test]
    fn clocks_are_read_in_milliseconds_and_a_misspelt_one_is_refused() {
        let read = |json: &str| serde_json::from_str::<Clocks>(json).map_err(|e| e.to_string());
        assert_eq!(read("{}"), Ok(Clocks::default()));
        assert_eq!(read(r#"{"gap_ms":1500}"#).unwrap().gap, Duration::from_millis(1500));
        assert!(read(r#"{"gap":1500}"#).unwrap_err().contains("gap_ms"));
        assert!(read(r#"{"gap_ms":0}"#).unwrap_err().contains("1 ms to 24 h"));
        assert!(read(r#"{"gap_ms":18446744073709551615}"#).unwrap_err().contains("1 ms to 24 h"));
        let clocks = Clocks::default();
        assert_eq!(read(&serde_json::to_string(&clocks).unwrap()), Ok(clocks));
    }

    #[test]
    fn an_account_of_an_error_is_one_short_line() {
        let error = ModelError::retryable(codes::ERROR, format!("  a\nb\u{1b}[31m {}", "x".repeat(5000)));
        assert!(error.words.starts_with("a b [31m x") && error.words.chars().count() == WORDS_MAX + 1);
        assert!(error.to_string().starts_with("model-error: a b"));
    }
}
