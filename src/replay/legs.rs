//! The way of a question in time: waiting, each attempt, each wait for the next one, the first word, the writing.
//!
//! Promise (checked): each leg begins where the one before it ends, so that together they are the whole time.
//! Not here: reading the entries (`life`).

use antiphon_schemas::{Entry, Event};
use serde::Serialize;

/// What went on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// It waited on its lane.
    Queue,
    /// From a claim to the first word of the answer.
    FirstToken,
    /// From the first word to the whole answer in the log.
    Writing,
    /// From a claim to the answer, where the log does not tell when its first word came.
    Answering,
    /// From a claim that came to nothing to its end.
    LostTry,
    /// After a failure, until it was put on its lane again.
    RetryWait,
    /// After its end, until a person asked once more.
    Ended,
}

impl What {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            What::Queue => "queue",
            What::FirstToken => "first token",
            What::Writing => "writing",
            What::Answering => "answering",
            What::LostTry => "lost try",
            What::RetryWait => "wait for a retry",
            What::Ended => "ended",
        }
    }
}

/// A part of the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Leg {
    /// What went on.
    pub leg: What,
    /// When it began, in ms since 1970.
    pub from_ms: u64,
    /// How long it took.
    pub ms: u64,
}

/// How it ended, or its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Nobody was asked.
    #[default]
    NotAsked,
    /// It waits on its lane.
    Waiting,
    /// A worker holds it.
    Claimed,
    /// It waits for its next try.
    Retrying,
    /// There is an answer.
    Answered,
    /// It failed and will not be tried again.
    Failed,
    /// Given up.
    Dead,
    /// Cancelled.
    Cancelled,
}

impl Outcome {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Outcome::NotAsked => "not asked",
            Outcome::Waiting => "waiting",
            Outcome::Claimed => "claimed",
            Outcome::Retrying => "waiting for a retry",
            Outcome::Answered => "answered",
            Outcome::Failed => "failed",
            Outcome::Dead => "given up",
            Outcome::Cancelled => "cancelled",
        }
    }

    /// What happens in this state.
    fn leg(self) -> Option<What> {
        match self {
            Outcome::NotAsked => None,
            Outcome::Waiting => Some(What::Queue),
            Outcome::Claimed => Some(What::LostTry),
            Outcome::Retrying => Some(What::RetryWait),
            Outcome::Answered | Outcome::Failed | Outcome::Dead | Outcome::Cancelled => Some(What::Ended),
        }
    }
}

/// The whole way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Way {
    /// Its legs, in order, without the current one and without anything after its end.
    pub legs: Vec<Leg>,
    /// How it ended, or its state.
    pub outcome: Outcome,
    since_ms: u64,
    first_token_ms: Option<u64>,
    /// Whether anybody was asked can no longer be read.
    erased: bool,
}

impl Way {
    /// The way that these entries about one question tell, oldest first.
    pub fn of<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Way {
        let mut way = Way::default();
        entries.into_iter().for_each(|entry| way.apply(entry));
        way
    }

    /// From the post to its end, or to where the last leg ends.
    pub fn total_ms(&self) -> u64 {
        self.legs.iter().map(|leg| leg.ms).sum()
    }

    fn apply(&mut self, entry: &Entry) {
        let at_ms = entry.header.at_ms;
        // By the kind, since the body of some may be erased.
        let outcome = match &*entry.header.kind {
            "message.posted" => match &entry.event {
                Event::MessagePosted(e) if e.ask.is_some() => Outcome::Waiting,
                event => {
                    self.erased = matches!(event, Event::Erased(_));
                    Outcome::NotAsked
                }
            },
            "message.claimed" => Outcome::Claimed,
            "message.released" => Outcome::Waiting,
            "message.failed" => match &entry.event {
                Event::MessageFailed(e) if e.retry_at_ms.is_some() => Outcome::Retrying,
                _ => Outcome::Failed,
            },
            "message.dead" => Outcome::Dead,
            "message.cancelled" => Outcome::Cancelled,
            "reply.posted" => {
                if let Event::ReplyPosted(e) = &entry.event {
                    self.first_token_ms = e.made.first_token_ms;
                }
                return;
            }
            "message.completed" => Outcome::Answered,
            _ => return,
        };
        match self.outcome {
            Outcome::Claimed if outcome == Outcome::Answered => self.answered(at_ms),
            // The failure and the giving up are one.
            Outcome::Failed if outcome == Outcome::Dead => {}
            // What happened to it shows that somebody was asked, although that can no longer be read.
            Outcome::NotAsked if self.erased && &*entry.header.kind != "message.posted" => {
                self.push(What::Queue, at_ms)
            }
            before => before.leg().into_iter().for_each(|leg| self.push(leg, at_ms)),
        }
        (self.outcome, self.since_ms) = (outcome, at_ms);
    }

    fn answered(&mut self, at_ms: u64) {
        match self.first_token_ms.take() {
            Some(ms) => {
                // Measured by the worker's clock, which may go otherwise.
                self.push(What::FirstToken, self.since_ms.saturating_add(ms).min(at_ms));
                self.push(What::Writing, at_ms);
            }
            None => self.push(What::Answering, at_ms),
        }
    }

    fn push(&mut self, leg: What, to_ms: u64) {
        let (from_ms, ms) = (self.since_ms, to_ms.saturating_sub(self.since_ms));
        self.legs.push(Leg { leg, from_ms, ms });
        self.since_ms = self.since_ms.max(to_ms);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::decide::tests::{MESSAGES, config, history, id, steps};

    proptest! {
        #![proptest_config(config())]

        #[test]
        fn the_legs_follow_each_other_and_add_up_to_the_whole_time(steps in steps()) {
            let entries = history(&steps);
            for n in 0..MESSAGES {
                let about = || entries.iter().map(|e| &**e).filter(|e| e.header.subjects.contains(&id(n)));
                let way = Way::of(about());
                let mut at_ms = about().next().map_or(0, |e| e.header.at_ms);
                let (begin_ms, mut tries) = (at_ms, 0);
                for leg in &way.legs {
                    prop_assert_eq!(leg.from_ms, at_ms);
                    at_ms += leg.ms;
                    tries += u32::from(matches!(leg.leg, What::Writing | What::Answering | What::LostTry));
                }
                let mut moves = about().filter(|e| crate::replay::lanes::Lanes::are_moved_by(&e.header.kind));
                let last_ms = moves.next_back().map_or(0, |e| e.header.at_ms);
                if way.outcome == Outcome::NotAsked {
                    prop_assert!(way.legs.is_empty());
                } else {
                    prop_assert_eq!(at_ms, last_ms);
                    prop_assert_eq!(way.total_ms(), last_ms - begin_ms);
                }
                // Erased, the texts are gone and the way is the same.
                let erased: Vec<_> = about().map(|e| match &*e.header.kind {
                    "message.posted" => Entry::new(e.header.clone(), antiphon_schemas::entry::erased(&e.body).unwrap()).unwrap(),
                    _ => e.clone(),
                }).collect();
                let gone = Way::of(&erased);
                prop_assert_eq!(&gone.legs, &way.legs);
                prop_assert!(gone.outcome == way.outcome || way.outcome == Outcome::Waiting && gone.outcome == Outcome::NotAsked);

                let claims = about().filter(|e| matches!(e.event, Event::MessageClaimed(_))).count() as u32;
                prop_assert_eq!(tries, claims - u32::from(way.outcome == Outcome::Claimed));
                let last = about().rfind(|e| crate::replay::lanes::Lanes::are_moved_by(&e.header.kind));
                let answered = last.is_some_and(|e| matches!(e.event, Event::MessageCompleted(_)));
                prop_assert_eq!(way.outcome == Outcome::Answered, answered);
            }
        }
    }
}
