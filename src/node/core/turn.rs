//! One turn: an input is taken, what follows from it is settled, what waits is decided.

use std::{sync::atomic::Ordering, time::Duration};

use tracing::warn;

use super::{
    super::{Condition, Error},
    Answer, Answered, Appending, ClaimReply, Command, Core, Effect, Input, Item, Now, ReadGoal, Request, To,
    drain::Way,
    live::Live,
    sequencer::{Decided, Turn, fresh_request},
};
use crate::{
    decide::{Prefetched, work::Ages},
    fanout::frame,
    log::{self, Access},
};

/// How long a gap between two turns must exceed the pulse to be a pause: less is a busy machine.
const PAUSE_MIN: Duration = Duration::from_millis(100);

impl Core {
    /// Takes what happened; returns what is to be done.
    pub(in crate::node) fn on(&mut self, now: Now, input: Input) -> Vec<Effect> {
        self.begin(now);
        match input {
            Input::Requests(requests) => requests.into_iter().for_each(|request| self.take(request)),
            Input::Say { held, word, answer } => drop(answer.send(self.say(held, word))),
            Input::Appended(result) => self.appended(result),
            Input::Read(result) => self.read(result),
            Input::LookedUp(result) => self.looked_up(result),
            Input::Parked(result) => {
                let answers = self.drain.parked(result);
                self.answer_all(answers);
                self.show_outbox();
            }
            Input::Settled(result) => {
                self.drain.settled(result, self.now.at);
                self.show_outbox();
            }
            Input::Resynced(Err(log::Error::Away(why))) => {
                let _ = self.lanes.ended(Err(log::Error::Away(why.clone())), self.now.at);
                self.lanes.request();
                self.went_away(Vec::new(), &why);
            }
            Input::Resynced(result) => {
                if self.lanes.ended(result, self.now.at) {
                    self.begin_read(ReadGoal::Follow);
                }
            }
            Input::Rebuilt(result) => self.rebuilt(result),
            Input::Access { access, log_ms } => {
                if let Access::Open { .. } = access {
                    self.clock.read(log_ms, self.now.at);
                    self.show_skew();
                }
                self.store.told(access);
            }
            Input::Grown => {
                if self.follows().is_some() {
                    self.begin_read(ReadGoal::Follow);
                }
            }
            Input::Heard(message) => Live::read(&message).into_iter().for_each(|said| self.hear(said, self.now.at)),
            Input::Indexed => {}
            Input::Time => self.fire(),
        }
        self.settle();
        std::mem::take(&mut self.effects)
    }

    /// Reads the time, and notices a pause, during which no heartbeat could be received here.
    fn begin(&mut self, now: Now) {
        if let Some(last) = self.turned_at.filter(|_| self.deadlines.has_leases()) {
            let gap = now.at.saturating_duration_since(last);
            if gap > self.pulse() + PAUSE_MIN {
                warn!(
                    ms = gap.as_millis() as u64,
                    "this process did not run for a while; leases are postponed by that"
                );
                self.deadlines.postpone(gap);
            }
        }
        (self.now, self.turned_at) = (now, Some(now.at));
        self.unsettled = true;
    }

    pub(super) fn show_skew(&self) {
        self.view.skew_ms.store(self.clock.skew_ms(), Ordering::Relaxed);
    }

    fn take(&mut self, request: Request) {
        let view = self.view.clone();
        match request {
            Request::Stop { done } => self.stopping.push(done),
            Request::Probe => view.canary.push([frame::live("canary", &())]).wake(),
            Request::Command { answer, .. } if !self.stopping.is_empty() => drop(answer.send(Err(Error::Stopping))),
            Request::Claim { .. } if !self.stopping.is_empty() => {}
            Request::Command { epoch, answer, .. } if epoch != view.state().epoch => {
                // Its facts are those of another history.
                let position = view.position();
                let _ = answer.send(Ok(Answered { answer: Answer::Stale, epoch, position }));
            }
            Request::Command { command, facts, answer, .. } => self.put(command, facts, To::Caller(answer)),
            Request::Claim { wish, claimer } => {
                let alive = self.claims.ask(&view.state(), wish, claimer, self.now.at);
                self.is_alive(alive);
            }
            Request::Withdraw { ticket } => {
                if let Some((_, claimer)) = self.claims.claimers.take(ticket) {
                    let _gone = claimer.tell(Ok(ClaimReply::Nothing));
                }
            }
        }
    }

    pub(super) fn put(&mut self, command: Command, facts: Prefetched, answer: To) {
        let request = fresh_request(&mut self.rng);
        self.inbox.push_back(Item { command, facts, request, tries: 0, answer });
        self.unsettled = true;
    }

    /// What follows from the input, until nothing more does.
    fn settle(&mut self) {
        self.tell_late_news();
        while std::mem::take(&mut self.unsettled) {
            self.look();
            self.answer_applied();
            self.note_again();
            self.drain_outbox();
            self.repair_tail();
            if self.may_append() && self.shared && self.lanes.begin(self.now.at) {
                let state = self.view.state();
                let (at, lanes) = (state.projections.position, super::lanes::picture(&state.projections.queue));
                self.effects.push(Effect::ResyncLanes { at, lanes });
            }
            self.decide();
        }
        if !self.stopping.is_empty() && self.appending.is_none() && !self.drain.is_writing() && !self.stopped {
            self.stopped = true;
            self.effects.push(Effect::Stop(std::mem::take(&mut self.stopping)));
        }
    }

    pub(super) fn may_append(&self) -> bool {
        self.store.is_open()
            && self.appending.is_none()
            && self.reading.is_none()
            && !self.lanes.is_running()
            && self.waits_for_index().is_none()
    }

    fn decide(&mut self) {
        let (may_append, may_park) = (self.may_append(), !self.drain.is_writing());
        let open = self.store.is_open();
        let way = if self.is_refusing() { Way::Log } else { self.drain.way(open, self.tail_repair.is_some()) };
        let idle = self.inbox.is_empty() && (!may_append || self.claims.claimers.bots().next().is_none());
        let nothing_may = open && !may_append && !(may_park && way == Way::Outbox);
        if idle || nothing_may {
            return;
        }
        let (view, judged) = (self.view.clone(), self.judges_ages());
        let state = view.state();
        let turn = Turn {
            projections: &state.projections,
            built: state.built,
            policy: &self.policy,
            drain: &self.drain,
            deadlines: &self.deadlines,
            rng: &mut self.rng,
            ages: Ages { now: self.clock.now(self.now.at), judged, behind: &self.behind },
            open,
            may_append,
            may_park,
            way,
            unindexed: self.index.as_ref().and_then(|index| index.failed()),
        };
        let epoch = state.epoch;
        let decided = turn.decide(std::mem::take(&mut self.inbox), &mut self.claims);
        drop(state);
        let Decided { items, appends, park, answers, turned_away, early, later, waiting, .. } = decided;
        self.inbox = later;
        for (wish, claimer) in waiting {
            self.claims.claimers.put(wish, claimer, self.now.at);
        }
        if !items.is_empty() {
            self.appending = Some(Appending { epoch, items });
            self.effects.push(Effect::Append(appends));
        }
        let (posts, parked) = self.drain.park(park);
        if !posts.is_empty() {
            self.effects.push(Effect::Park(posts));
        }
        self.answer_all(answers);
        self.answer_all(parked);
        turned_away.into_iter().for_each(|item| self.turn_away(item));
        for (id, at) in early {
            self.look_later(id, at);
        }
    }

    fn is_refusing(&self) -> bool {
        matches!(self.view.state().condition, Condition::Refusing { .. })
    }
}
