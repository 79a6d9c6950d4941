//! A reply as it grows: a model's words in, what may be shown out.
//!
//! Promises: what left concatenates to the text; thoughts, marks of templates and whatever the filters cut never leave.
//! Not here: clocks (`watch`), what an end means for the message (`bot`).

use std::sync::Arc;

use antiphon_kit::{Closed, Outbox, Usage};

use crate::{
    filter::Filter,
    model::{Event, Finish, ModelError, plain},
    prompt::Prompt,
    thoughts::{Stretch, Thoughts},
    watch::Watch,
};

/// The longest answer taken from a model, before filters; a longer one is cut there and ends as `length`. Far above
/// what anybody reads, far below what an entry can hold.
pub const REPLY_BYTES_MAX: usize = 256 << 10;
/// As many notes on an answer as anybody reads, and as a server takes.
const NOTES_MAX: usize = 8;

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
    /// Bytes that may still be taken from the model.
    left: usize,
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
    pub(crate) fn new(outbox: &'a mut Outbox, thoughts: Thoughts, filter: Filter) -> Writing<'a> {
        let written = Written { text: String::new(), notes: Vec::new(), thought: false, sent: None };
        Writing { outbox, thoughts, filter, written, left: REPLY_BYTES_MAX, stage: Stage::Nothing }
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
            match model.next().await.map_err(Stop::Failed)? {
                Event::Loading => self.stage(Stage::Waiting, "loading-model").await?,
                Event::Reading => self.stage(Stage::Waiting, "reading-prompt").await?,
                Event::Thinking(_) => self.thinking().await?,
                Event::Note(note) => self.note(note),
                Event::Sent(prompt) => self.written.sent = Some(prompt),
                Event::Text(text) => {
                    if let Some(finish) = self.take(&text).await? {
                        return Ok((finish, None));
                    }
                }
                Event::Done { finish, usage } => {
                    self.flush().await?;
                    return Ok((finish, usage));
                }
            }
        }
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
            return Ok(Some(Finish::Length));
        }
        Ok(None)
    }

    async fn flush(&mut self) -> Result<(), Stop> {
        let stretches = self.thoughts.finish();
        self.say(stretches).await?;
        let rest = self.filter.finish();
        Ok(self.show(rest).await?)
    }

    async fn say(&mut self, stretches: Vec<Stretch>) -> Result<(), Closed> {
        for stretch in stretches {
            match stretch {
                Stretch::Thought(_) => self.thinking().await?,
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
