//! What the log said to an append: entries are applied, callers answered, the rest decided again.
//!
//! Promise: every command ends in exactly one answer, whatever the log says.

use std::sync::Arc;

use antiphon_schemas::{Entry, Epoch, Seq};
use tracing::error;

use super::{
    super::{Error, TRIES_MAX},
    Answer, Answered, Answers, Appending, ClaimReply, Command, Core, Item, ReadGoal, To, Unanswered,
};
use crate::{
    decide::Prefetched,
    log::{self, Verdict},
};

impl Core {
    /// The append under way has ended.
    pub(super) fn appended(&mut self, result: Result<Vec<Verdict>, log::Error>) {
        let Some(Appending { epoch, items }) = self.appending.take() else { return };
        let verdicts = match result {
            Ok(verdicts) => verdicts,
            Err(log::Error::Away(why)) => return self.went_away(items, &why),
            Err(failure) => return self.failed(items, &failure),
        };
        let (mut again, mut behind) = (Vec::new(), None);
        for (mut item, verdict) in items.into_iter().zip(verdicts) {
            match verdict {
                Verdict::Appended(own) => {
                    self.entries.extend(own.iter().map(|e| (e.header.seq, e.clone())));
                    self.answer_later(epoch, item, own);
                    continue;
                }
                Verdict::Conflict(missed) => {
                    let own: Vec<_> = missed.iter().filter(|e| e.header.request == item.request).cloned().collect();
                    self.entries.extend(missed.into_iter().map(|e| (e.header.seq, e)));
                    if !own.is_empty() {
                        // The first try had succeeded; only its answer was lost.
                        self.answer_later(epoch, item, own);
                        continue;
                    }
                }
                Verdict::Behind { tail } => behind = behind.max(Some(tail)),
                Verdict::OutOfStep => self.lanes.request(),
                Verdict::Diverged { tail } => {
                    let why = format!("it ends at entry {tail}, before what this node has applied");
                    error!(why, "the log is not what this node has applied");
                    self.diverged(&why);
                    self.turn_away(item);
                    continue;
                }
            }
            item.tries += 1;
            if item.tries >= TRIES_MAX {
                self.answer(item, Err(Error::Busy));
            } else {
                again.push(item);
            }
        }
        // In front and in their order: they came first.
        again.into_iter().rev().for_each(|item| self.inbox.push_front(item));
        self.apply();
        if self.reading.is_none()
            && let Some(tail) = behind
        {
            // Without what others appended the next try is as far behind.
            self.begin_read(ReadGoal::Reach(tail));
        }
    }

    fn answer_later(&mut self, epoch: Epoch, item: Item, own: Vec<Arc<Entry>>) {
        let until = own.last().map_or(Seq::ZERO, |entry| entry.header.seq);
        self.unanswered.push(Unanswered { until, epoch, item, own });
    }

    /// Gives the answers whose entries are applied.
    pub(super) fn answer_applied(&mut self) {
        if self.unanswered.is_empty() {
            return;
        }
        let (epoch, position) = (self.view.state().epoch, self.view.position());
        let applied = |answer: &mut Unanswered| answer.epoch != epoch || answer.until <= position;
        let ready: Vec<_> = self.unanswered.extract_if(.., applied).collect();
        for Unanswered { epoch, item, own, until } in ready {
            match item.answer {
                To::Claimer(claimer) => self.hand_over(epoch, claimer, &own),
                To::Caller(answer) => {
                    let (position, answered) = (position.max(until), Answer::Entries(own));
                    let _ = answer.send(Ok(Answered { answer: answered, epoch, position }));
                }
                answer => self.answer(Item { answer, ..item }, Ok(Answer::Entries(own))),
            }
        }
    }

    pub(super) fn answer_all(&mut self, answers: Answers) {
        answers.into_iter().for_each(|(item, result)| self.answer(item, result));
    }

    /// Tells the one who waits for it.
    pub(super) fn answer(&mut self, item: Item, result: Result<Answer, Error>) {
        match item.answer {
            To::Caller(answer) => {
                let (epoch, position) = (self.view.state().epoch, self.view.position());
                let _ = answer.send(result.map(|answer| Answered { answer, epoch, position }));
            }
            To::Claimer(claimer) => match (result, item.command) {
                (Ok(Answer::Stands(_)), Command::Claim(wish)) => {
                    let view = self.view.clone();
                    let alive = self.claims.ask(&view.state(), wish, claimer, self.now.at);
                    self.is_alive(alive);
                }
                (Ok(_), _) => drop(claimer.tell(Ok(ClaimReply::Stale))),
                (Err(why), _) => drop(claimer.tell(Err(why))),
            },
            To::Drain(id) => {
                self.drain.done(id, result, self.now.at);
                self.unsettled = true;
            }
            To::TailRepair(place) => {
                if let Some(repair) = &mut self.tail_repair
                    && repair.done(place, item.command, result)
                {
                    self.look_for_lost_keys();
                }
                self.unsettled = true;
            }
            To::Deadline => {
                if result.is_err() {
                    self.arm_again(item.command);
                }
            }
        }
    }

    /// The log took nothing: everybody who waits hears why; what the deadlines wished comes again.
    fn failed(&mut self, items: Vec<Item>, failure: &log::Error) {
        error!(error = %failure, code = failure.code(), commands = items.len(), "the log took nothing");
        for item in items {
            self.answer(item, Err(Error::Log(failure.clone())));
        }
    }

    /// The log answered that it is away: whether it took these is not known now.
    pub(super) fn went_away(&mut self, items: Vec<Item>, why: &Arc<str>) {
        self.leave(why.clone(), false);
        self.store.look_again(self.now.at);
        let mut posts = Vec::new();
        for mut item in items {
            match (item.command, item.answer) {
                (Command::Post(mut post), To::Caller(answer)) if self.drain.has_outbox() => {
                    // It may be in the log by now: from here on its id is looked for.
                    post.fresh = false;
                    let (command, answer) = (Command::Post(post), To::Caller(answer));
                    posts.push(Item { command, answer, facts: Prefetched::unknown(), ..item });
                }
                (Command::Claim(wish), To::Claimer(claimer)) => self.claims.doubt(item.request, wish, claimer),
                (command @ Command::Note(_), answer) => {
                    // Twice is no harm.
                    item.tries = 0;
                    self.inbox.push_back(Item { command, answer, ..item });
                }
                (command, answer) => self.turn_away(Item { command, answer, ..item }),
            }
        }
        posts.into_iter().rev().for_each(|item| self.inbox.push_front(item));
    }

    /// A command that cannot be done while the store is away.
    pub(super) fn turn_away(&mut self, item: Item) {
        let why =
            self.view.state().condition.trouble().map_or_else(|| "it is unavailable".into(), |(_, why)| why.clone());
        match (item.command, item.answer) {
            (Command::Claim(wish), To::Claimer(claimer)) => self.claims.claimers.put(wish, claimer, self.now.at),
            (command, To::TailRepair(place)) => {
                if let Some(repair) = &mut self.tail_repair {
                    repair.again(place, command);
                }
            }
            (command, answer) => {
                let item = Item { command, answer, ..item };
                self.answer(item, Err(Error::Log(log::Error::Away(why))));
            }
        }
    }
}
