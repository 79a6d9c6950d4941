//! A reply as it grows: a model's words in, what may be shown out.
//!
//! Promises: what left concatenates to the text; thoughts, marks of templates and whatever the filters cut never leave; a bound
//! that is reached after words were shown (time, tokens, bytes, a text that only repeats itself) ends the answer there, and a
//! note says so. A silence in the middle is no bound but a failure: the model may be gone.
//! Not here: clocks (`watch`), what an end means for the message (`bot`).

use std::sync::Arc;

use antiphon_kit::{Closed, Outbox, Usage};

use crate::{
    filter::Filter,
    model::{Event, Finish, ModelError, codes, plain},
    prompt::Prompt,
    repeats::Repeats,
    thoughts::{Stretch, Thoughts},
    watch::Watch,
};

/// The longest answer taken from a model, before filters; a longer one is cut there and ends as `length`. Far above
/// what anybody reads, far below what an entry can hold.
pub const REPLY_BYTES_MAX: usize = 256 << 10;
/// As many notes on an answer as anybody reads, and as a server takes.
const NOTES_MAX: usize = 8;

/// How long an answer may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// In tokens; each piece of a model has at least one.
    pub(crate) tokens: Option<u32>,
    /// In bytes, before filters.
    pub(crate) bytes: usize,
}

/// Why writing ended without an answer.
pub(crate) enum Stop {
    /// The model's error.
    Failed(ModelError),
    /// Nobody takes the words any more.
    Unwanted,
    /// What was shown turned out to be a thought.
    WasThought,
}

impl From<Closed> for Stop {
    fn from(Closed: Closed) -> Stop {
        Stop::Unwanted
    }
}

/// What was written.
pub(crate) struct Written {
    /// All that has left.
    pub(crate) text: String,
    /// What people should know beside it.
    pub(crate) notes: Vec<String>,
    /// There were thoughts.
    pub(crate) thought: bool,
    /// The prompt as it was sent, if it was not sent as it was asked for.
    pub(crate) sent: Option<Arc<Prompt>>,
}

/// A reply being written.
pub(crate) struct Writing<'a> {
    outbox: &'a mut Outbox,
    thoughts: Thoughts,
    filter: Filter,
    written: Written,
    limits: Limits,
    /// Bytes that may still be taken from the model.
    left: usize,
    /// Pieces that were taken, thoughts included.
    pieces: u32,
    repeats: Repeats,
    repeats_in_thought: Repeats,
    stage: Stage,
}

/// What people were told of last.
#[derive(Clone, Copy, PartialEq)]
enum Stage {
    Nothing,
    Waiting,
    Thinking,
    Writing,
}

impl<'a> Writing<'a> {
    /// Nothing is written yet.
    pub(crate) fn new(outbox: &'a mut Outbox, thoughts: Thoughts, filter: Filter, limits: Limits) -> Writing<'a> {
        let written = Written { text: String::new(), notes: Vec::new(), thought: false, sent: None };
        let (repeats, repeats_in_thought) = (Repeats::default(), Repeats::default());
        let (left, pieces, stage) = (limits.bytes, 0, Stage::Nothing);
        Writing { outbox, thoughts, filter, written, limits, left, pieces, repeats, repeats_in_thought, stage }
    }

    /// What was written so far.
    pub(crate) fn written(self) -> Written {
        self.written
    }

    /// Writes until the end; dropping `model` on return closes its connection.
    ///
    /// # Errors
    /// [`Stop`]: there will be no answer from this try.
    pub(crate) async fn run(&mut self, mut model: Watch) -> Result<(Finish, Option<Usage>), Stop> {
        loop {
            let event = match model.next().await {
                Ok(event) => event,
                Err(error) if model.is_over() => {
                    self.flush().await?;
                    if self.written.text.is_empty() {
                        return Err(Stop::Failed(error));
                    }
                    return Ok((self.cut_off("the time for an answer was over"), None));
                }
                Err(error) => return Err(Stop::Failed(error)),
            };
            self.pieces += u32::from(matches!(event, Event::Text(_) | Event::Thinking(_)));
            match event {
                Event::Loading => self.stage(Stage::Waiting, "loading-model").await?,
                Event::Reading => self.stage(Stage::Waiting, "reading-prompt").await?,
                Event::Thinking(thought) => {
                    self.thinking().await?;
                    self.ponder(&thought)?;
                }
                Event::Note(note) => self.note(note),
                Event::Sent(prompt) => self.written.sent = Some(prompt),
                Event::Text(text) => {
                    if let Some(finish) = self.take(&text).await? {
                        return Ok((finish, None));
                    }
                }
                Event::Done { finish, usage } => {
                    self.flush().await?;
                    if finish == Finish::Length {
                        self.cut_off("the model reached its limit of tokens");
                    }
                    return Ok((finish, usage));
                }
            }
            if let Some(tokens) = self.limits.tokens.filter(|tokens| self.pieces > *tokens) {
                self.flush().await?;
                return Ok((self.cut_off(&format!("an answer of this bot has {tokens} tokens at most")), None));
            }
        }
    }

    /// Notes that the answer ends before its end.
    fn cut_off(&mut self, why: &str) -> Finish {
        self.note(format!("cut-off: {why}"));
        Finish::Length
    }

    /// Looks at a thought.
    fn ponder(&mut self, thought: &str) -> Result<(), Stop> {
        if self.repeats_in_thought.push(thought) && self.written.text.is_empty() {
            let words = "the model's thoughts go round in a circle";
            return Err(Stop::Failed(ModelError { fault: false, ..ModelError::retryable(codes::EMPTY, words) }));
        }
        Ok(())
    }

    fn note(&mut self, note: String) {
        if self.written.notes.len() < NOTES_MAX {
            self.written.notes.push(plain(&note));
        }
    }

    /// Takes the model's next words; `Some` if the reply ends with them.
    async fn take(&mut self, text: &str) -> Result<Option<Finish>, Stop> {
        let end = (0..=self.left.min(text.len())).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
        let fits = &text[..end];
        self.left -= fits.len();
        // A text in the log may hold any character but NUL.
        let stretches = self.thoughts.push(&fits.replace('\0', ""));
        self.say(stretches).await?;
        if self.thoughts.unopened() {
            return Err(Stop::WasThought);
        }
        if self.filter.ended() {
            return Ok(Some(Finish::Stop));
        }
        if self.thoughts.over() {
            self.flush().await?;
            return Ok(Some(Finish::Stop));
        }
        if fits.len() < text.len() {
            self.flush().await?;
            let words = format!("an answer has {} bytes at most", self.limits.bytes);
            return Ok(Some(self.cut_off(&words)));
        }
        if self.repeats.push(fits) && !self.written.text.is_empty() {
            self.flush().await?;
            return Ok(Some(self.cut_off("it only repeated itself")));
        }
        Ok(None)
    }

    async fn flush(&mut self) -> Result<(), Stop> {
        let stretches = self.thoughts.finish();
        self.say(stretches).await?;
        let rest = self.filter.finish();
        Ok(self.show(rest).await?)
    }

    async fn say(&mut self, stretches: Vec<Stretch>) -> Result<(), Stop> {
        for stretch in stretches {
            match stretch {
                Stretch::Thought(thought) => {
                    self.thinking().await?;
                    self.ponder(&thought)?;
                }
                Stretch::Words(text) => {
                    // What stands between the thoughts and the first words belongs to neither.
                    let begins = self.written.thought && self.written.text.is_empty();
                    let shown = self.filter.push(if begins { text.trim_start() } else { &text });
                    self.show(shown).await?;
                }
            }
        }
        Ok(())
    }

    async fn thinking(&mut self) -> Result<(), Closed> {
        self.written.thought = true;
        self.stage(Stage::Thinking, "thinking").await
    }

    async fn stage(&mut self, stage: Stage, name: &'static str) -> Result<(), Closed> {
        if stage == Stage::Thinking && matches!(self.stage, Stage::Thinking | Stage::Writing) {
            return Ok(());
        }
        self.stage = stage;
        self.outbox.stage(name).await
    }

    async fn show(&mut self, text: String) -> Result<(), Closed> {
        if text.is_empty() {
            return Ok(());
        }
        if !matches!(std::mem::replace(&mut self.stage, Stage::Writing), Stage::Nothing | Stage::Writing) {
            self.outbox.stage("writing").await?;
        }
        self.written.text.push_str(&text);
        self.outbox.text(text).await
    }
}
