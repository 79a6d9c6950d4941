//! A model's events under its clocks.
//!
//! ```text
//! load ─▶ first token ─▶ gap, gap, gap …          each from sign to sign; the total runs from the end of the load
//! ```
//!
//! Promise: only waiting for the model counts, not waiting for whoever takes the words.
//! Not here: what becomes of words that were said before a clock ran out (`bot`).

use futures_util::StreamExt;
use tokio::time::{Instant, timeout_at};

use crate::model::{Answer, Clocks, Event, ModelError, codes};

/// The events.
pub(crate) struct Watch {
    answer: Answer,
    clocks: Clocks,
    phase: Phase,
    /// When the total is over; it does not run while the model loads.
    end: Option<Instant>,
}

#[derive(Clone, Copy)]
enum Phase {
    Load,
    FirstToken,
    Gap,
}

impl Watch {
    /// The clocks begin to run.
    pub(crate) fn new(answer: Answer, clocks: Clocks) -> Watch {
        Watch { answer, clocks, phase: Phase::Load, end: None }
    }

    /// Whether the time for the whole answer is over.
    pub(crate) fn is_over(&self) -> bool {
        self.end.is_some_and(|end| Instant::now() >= end)
    }

    /// The next event.
    ///
    /// # Errors
    /// The model's, or [`codes::TIMEOUT`].
    pub(crate) async fn next(&mut self) -> Result<Event, ModelError> {
        let (wait, what) = match self.phase {
            Phase::Load => (self.clocks.load, "the model was not loaded"),
            Phase::FirstToken => (self.clocks.first_token, "no first word"),
            Phase::Gap => (self.clocks.gap, "no further word"),
        };
        let limit = Instant::now() + wait;
        let limit = self.end.map_or(limit, |end| limit.min(end));
        let event = match timeout_at(limit, self.answer.next()).await {
            Ok(Some(event)) => event?,
            Ok(None) => return Err(ModelError::retryable(codes::BROKE_OFF, "the answer ended before it was done")),
            Err(_) if Some(limit) == self.end => {
                let words = format!("the answer was not complete within {:?}", self.clocks.total);
                return Err(ModelError::retryable(codes::TIMEOUT, words));
            }
            Err(_) => return Err(ModelError::retryable(codes::TIMEOUT, format!("{what} within {wait:?}"))),
        };
        self.phase = match event {
            Event::Loading => Phase::Load,
            Event::Reading => Phase::FirstToken,
            Event::Thinking(_) | Event::Text(_) | Event::Done { .. } => Phase::Gap,
            Event::Note(_) | Event::Sent(_) => self.phase,
        };
        match self.phase {
            Phase::Load => self.end = None,
            Phase::FirstToken | Phase::Gap => _ = self.end.get_or_insert_with(|| Instant::now() + self.clocks.total),
        }
        Ok(event)
    }
}
