//! How answers went: how many, how long each part took, what went wrong; by bot, room, hour, model or worker.
//!
//! Counted is what was *asked* within the part of the log that is read: a message that wants an answer, or a person's wish
//! for another try; of these, what the part tells about them.
//!
//! Promises: one walk; memory for what is open at a time, and for `SERIES_MAX` series with their histograms.
//! Not here: a percentile's error (`histogram`).

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use antiphon_schemas::{Entry, Event, MessageId, Stored, entry::Malformed, event::release, time};

use super::{histogram::Histogram, lanes::Lanes};

/// How many series are kept apart: a year of hours. Further ones are counted as [`OTHERS`].
const SERIES_MAX: usize = 10_000;
/// How many failure codes are kept apart in a series.
const CODES_MAX: usize = 100;
/// Where the rest is counted.
const OTHERS: &str = "(others)";
/// Where that is counted of which the log does not say it: the worker of what was never claimed, the model without a reply.
const NOBODY: &str = "-";

/// What makes a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum By {
    /// The bot that was asked.
    #[default]
    Bot,
    /// The room.
    Room,
    /// The hour in which it was asked, in UTC.
    Hour,
    /// The model, which only replies name.
    Model,
    /// The worker: a question belongs to the first that claimed it, an end to the last.
    Worker,
}

/// The numbers of one bot, room, hour, model or worker.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Series {
    /// Answers asked for.
    pub asked: u64,
    /// Answers given.
    pub answered: u64,
    /// Until the first claim.
    pub waiting: Histogram,
    /// From the claim to the first word, of answers.
    pub first_token: Histogram,
    /// From the wish to the answer.
    pub total: Histogram,
    /// Attempts that failed, by code.
    pub failures: BTreeMap<Arc<str>, u64>,
    /// Of these, those after which it was tried again.
    pub retries: u64,
    /// Claims that ended because nobody was heard of any more.
    pub takeovers: u64,
    /// Given up.
    pub dead: u64,
    /// Cancelled.
    pub cancelled: u64,
    /// Neither answered nor ended so far.
    pub open: u64,
}

impl Series {
    /// Attempts that failed.
    pub fn failed(&self) -> u64 {
        self.failures.values().sum()
    }
}

/// An answer that was asked for and is not there yet.
#[derive(Debug)]
struct Asked {
    bot: Arc<str>,
    room: Arc<str>,
    asked_at_ms: u64,
    worker: Option<Arc<str>>,
    waited_ms: Option<u64>,
    first_token_ms: Option<u64>,
    model: Option<Arc<str>>,
    /// The question itself is counted.
    counted: bool,
}

/// The fold.
#[derive(Debug, Default)]
pub struct Stats {
    by: By,
    open: HashMap<MessageId, Asked>,
    /// What has just failed for good: its `message.dead` may follow.
    failed: Option<(MessageId, Asked)>,
    series: BTreeMap<Arc<str>, Series>,
}

impl Stats {
    /// Nothing yet.
    pub fn by(by: By) -> Stats {
        Stats { by, ..Stats::default() }
    }

    /// Folds the next entry in; what says nothing about answers is not decoded.
    ///
    /// # Errors
    /// [`Malformed`], as [`Stored::entry`].
    pub fn apply(&mut self, stored: &Stored) -> Result<(), Malformed> {
        let kind = stored.kind();
        let failed = self.failed.as_ref().map(|(id, _)| *id);
        let ours = || stored.subjects().any(|id| self.open.contains_key(&id) || failed == Some(id));
        if matches!(kind, "message.posted" | "message.released")
            || (Lanes::are_moved_by(kind) || kind == "reply.posted") && ours()
        {
            self.apply_entry(&stored.entry()?);
        }
        Ok(())
    }

    /// The numbers, sorted by name; what is still open is counted so.
    pub fn finish(mut self) -> BTreeMap<Arc<str>, Series> {
        for (_, mut asked) in std::mem::take(&mut self.open) {
            self.of(&mut asked, true).open += 1;
        }
        self.series
    }

    fn apply_entry(&mut self, entry: &Entry) {
        let at_ms = entry.header.at_ms;
        match &entry.event {
            Event::MessagePosted(e) => {
                if let Some(ask) = &e.ask {
                    self.ask(e.id, ask.bot.as_str(), entry);
                }
            }
            Event::MessageReleased(e) if &*e.reason == release::RETRY_ASKED => {
                self.ask(e.message_id, e.ask.bot.as_str(), entry);
            }
            Event::MessageReleased(e) if &*e.reason == release::LEASE_OVER => {
                self.change(&e.message_id, |series| series.takeovers += 1);
            }
            Event::MessageClaimed(e) => {
                let Some(asked) = self.open.get_mut(&e.message_id) else { return };
                let first = asked.worker.replace(e.worker.clone()).is_none();
                if first {
                    asked.waited_ms = Some(at_ms.saturating_sub(asked.asked_at_ms));
                    // Counted now, not at its end: by worker it belongs to this one.
                    self.change(&e.message_id, |_| {});
                }
            }
            Event::MessageFailed(e) => {
                let code = e.reason.split(':').next().unwrap_or_default().trim();
                let change = |series: &mut Series| {
                    let known = series.failures.len() < CODES_MAX || series.failures.contains_key(code);
                    *series.failures.entry(if known { code } else { OTHERS }.into()).or_default() += 1;
                    series.retries += u64::from(e.retry_at_ms.is_some());
                };
                match e.retry_at_ms {
                    Some(_) => self.change(&e.message_id, change),
                    None => {
                        let asked = self.end(&e.message_id, change);
                        self.failed = asked.map(|asked| (e.message_id, asked));
                    }
                }
            }
            Event::MessageDead(e) => {
                // In one append with the failure that was the last.
                if let Some((id, asked)) = self.failed.take().filter(|(id, _)| *id == e.message_id) {
                    self.open.insert(id, asked);
                }
                self.end(&e.message_id, |series| series.dead += 1);
            }
            Event::MessageCancelled(e) => {
                self.end(&e.message_id, |series| series.cancelled += 1);
            }
            Event::ReplyPosted(e) => {
                if let Some(asked) = self.open.get_mut(&e.message_id) {
                    asked.first_token_ms = e.made.first_token_ms;
                    asked.model = Some(e.made.model.clone());
                }
            }
            Event::MessageCompleted(e) => {
                let Some(asked) = self.open.get(&e.message_id) else { return };
                let (total_ms, first_token_ms) = (at_ms.saturating_sub(asked.asked_at_ms), asked.first_token_ms);
                self.end(&e.message_id, |series| {
                    series.answered += 1;
                    series.total.add(total_ms);
                    first_token_ms.into_iter().for_each(|ms| series.first_token.add(ms));
                });
            }
            _ => {}
        }
    }

    fn ask(&mut self, id: MessageId, bot: &str, entry: &Entry) {
        // Asked again after it had failed: what ends it later ends this asking.
        self.failed.take_if(|(failed, _)| *failed == id);
        let room = entry.header.room.as_ref().map_or(NOBODY, |room| room.as_str());
        let asked = Asked {
            bot: bot.into(),
            room: room.into(),
            asked_at_ms: entry.header.at_ms,
            worker: None,
            waited_ms: None,
            first_token_ms: None,
            model: None,
            counted: false,
        };
        if let Some(mut before) = self.open.insert(id, asked) {
            // The same post once more, after a store had lost its end.
            self.of(&mut before, true).open += 1;
        }
    }

    fn change(&mut self, id: &MessageId, change: impl FnOnce(&mut Series)) {
        if let Some(mut asked) = self.open.remove(id) {
            change(self.of(&mut asked, false));
            self.open.insert(*id, asked);
        }
    }

    fn end(&mut self, id: &MessageId, change: impl FnOnce(&mut Series)) -> Option<Asked> {
        let mut asked = self.open.remove(id)?;
        change(self.of(&mut asked, true));
        Some(asked)
    }

    /// The series to which something belongs as far as is known by now. The question is counted where it first belongs;
    /// by model nobody knows that before its end.
    fn of(&mut self, asked: &mut Asked, ends: bool) -> &mut Series {
        let name: Arc<str> = match self.by {
            By::Bot => asked.bot.clone(),
            By::Room => asked.room.clone(),
            By::Hour => format!("{}:00Z", &time::rfc3339(asked.asked_at_ms)[..13]).into(),
            By::Model => asked.model.clone().unwrap_or_else(|| NOBODY.into()),
            By::Worker => asked.worker.clone().unwrap_or_else(|| NOBODY.into()),
        };
        let known = self.series.len() < SERIES_MAX || self.series.contains_key(&name);
        let series = self.series.entry(if known { name } else { OTHERS.into() }).or_default();
        if !asked.counted && (ends || self.by != By::Model) {
            asked.counted = true;
            series.asked += 1;
            asked.waited_ms.into_iter().for_each(|ms| series.waiting.add(ms));
        }
        series
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        decide::{
            change::Change,
            tests::{How, MAX_AGE_MS, Step, config, history, steps},
        },
        replay::tests::log,
    };

    fn sum(series: &BTreeMap<Arc<str>, Series>, of: impl Fn(&Series) -> u64) -> u64 {
        series.values().map(of).sum()
    }

    #[test]
    fn a_question_that_failed_and_is_given_up_after_it_was_asked_again_was_asked_twice() {
        let wait = || Step::Wait { ms: MAX_AGE_MS / 2 };
        let steps = [
            Step::Post { message: 0, room: 0, bot: Some(0), priority: 5 },
            Step::Claim { bot: 0 },
            Step::End { message: 0, stale: false, how: How::FailedForGood },
            Step::Change { message: 0, change: Change::Retry },
            wait(),
            wait(),
            Step::Wait { ms: 1 },
            Step::Due { message: 0 },
        ];
        let mut stats = Stats::by(By::Bot);
        log(&steps).iter().for_each(|stored| stats.apply(stored).unwrap());
        let series = stats.finish();
        let all = |of: fn(&Series) -> u64| sum(&series, of);
        assert_eq!((all(|s| s.asked), all(Series::failed), all(|s| s.dead), all(|s| s.open)), (2, 1, 1, 0));
    }

    proptest! {
        #![proptest_config(config())]

        #[test]
        fn however_it_is_split_up_the_numbers_are_those_of_the_log(steps in steps()) {
            let entries = history(&steps);
            let count = |kind: &dyn Fn(&Event) -> bool| entries.iter().filter(|e| kind(&e.event)).count() as u64;
            let asked = count(&|e| match e {
                Event::MessagePosted(e) => e.ask.is_some(),
                Event::MessageReleased(e) => &*e.reason == release::RETRY_ASKED,
                _ => false,
            });
            let answered = count(&|e| matches!(e, Event::MessageCompleted(_)));
            let failed = count(&|e| matches!(e, Event::MessageFailed(_)));
            let retries = count(&|e| matches!(e, Event::MessageFailed(e) if e.retry_at_ms.is_some()));
            let takeovers = count(&|e| matches!(e, Event::MessageReleased(e) if &*e.reason == release::LEASE_OVER));
            let dead = count(&|e| matches!(e, Event::MessageDead(_)));
            let cancelled = count(&|e| matches!(e, Event::MessageCancelled(_)));
            for by in [By::Bot, By::Room, By::Hour, By::Model, By::Worker] {
                let mut stats = Stats::by(by);
                log(&steps).iter().for_each(|stored| stats.apply(stored).unwrap());
                let open = stats.open.len() as u64;
                let series = stats.finish();
                let all = |of: fn(&Series) -> u64| sum(&series, of);
                prop_assert_eq!(all(|s| s.asked), asked, "{:?}", by);
                prop_assert_eq!(all(|s| s.answered), answered);
                prop_assert_eq!(all(Series::failed), failed);
                prop_assert_eq!(all(|s| s.retries), retries);
                prop_assert_eq!(all(|s| s.takeovers), takeovers);
                prop_assert_eq!(all(|s| s.dead), dead, "{:?}", by);
                prop_assert_eq!(all(|s| s.cancelled), cancelled);
                prop_assert_eq!(all(|s| s.open), open);
                prop_assert_eq!(all(|s| s.total.summary().map_or(0, |s| s.count)), answered);
                prop_assert_eq!(all(|s| s.first_token.summary().map_or(0, |s| s.count)), answered);
                prop_assert!(!series.contains_key(OTHERS));
            }
        }
    }
}
