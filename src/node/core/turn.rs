//! One turn: an input is taken, what follows from it is settled, what waits is decided.

use std::{sync::Arc, time::Duration};

use antiphon_schemas::{Entry, MessageId, event::release, time::LogTime};
use tracing::{error, warn};

use super::{
    super::{Condition, Error, Heard, Word, places},
    Answer, Answered, Appending, Command, Core, Due, Effect, Input, Item, LookUp, Now, Reading, Request, To,
    drain::{Step, Way},
    live::{self, Live, Times},
    positions::POSITIONS_MAX,
    sequencer::{Decided, Turn, fresh_request},
    store::{self, Phase},
};
use crate::{
    decide::{
        Facts,
        work::{self, Ages, End, Held},
    },
    fanout::{feed::Wake, frame},
    log::{self, Access},
    projection::queue,
};

/// How long a gap between two turns must exceed the pulse to be a pause: less is a busy machine.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// How soon a command of a deadline is tried again that the log could not take.
pub(super) const AFTER_FAILURE: Duration = Duration::from_secs(1);
/// Near enough for any timer; far deadlines are looked at again then.
const FAR: Duration = Duration::from_secs(24 * 3600);

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
                    self.begin_read(Reading::Follow);
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
                    self.begin_read(Reading::Follow);
                }
            }
            Input::Heard(message) => Live::read(&message).into_iter().for_each(|said| self.hear(said, self.now.at)),
            Input::Indexed => {}
            Input::Time => self.fire(),
        }
        self.settle();
        std::mem::take(&mut self.effects)
    }

    /// Takes the time, and notices a pause: for so long nobody here could hear a heartbeat.
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
        self.view.skew_ms.store(self.clock.skew_ms(), std::sync::atomic::Ordering::Relaxed);
    }

    pub(super) fn times(&self) -> Times {
        Times { at: self.now.at, wall_ms: self.now.wall_ms, log: self.clock.now(self.now.at) }
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
                    let _gone = claimer.tell(Ok(super::Told::Nothing));
                }
            }
        }
    }

    pub(super) fn put(&mut self, command: Command, facts: Facts, answer: To) {
        let request = fresh_request(&mut self.rng);
        self.inbox.push_back(Item { command, facts, request, tries: 0, answer });
        self.unsettled = true;
    }

    /// A sign of life of a claim's holder.
    pub(super) fn is_alive(&mut self, alive: Option<(Held, Duration)>) {
        if let Some((held, lease)) = alive {
            self.deadlines.set(held.message_id, Some((self.now.at + lease, Due::Lease(held.fence))));
        }
    }

    fn say(&mut self, held: Held, word: Word) -> Result<Heard, Error> {
        let (view, times) = (self.view.clone(), self.times());
        let mut state = view.change();
        let spoken = self.live.word(&mut state, held, word, times)?;
        let heard = Heard { next_index: spoken.next_index, lease: spoken.lease };
        self.show_word(&view, state, held, spoken);
        Ok(heard)
    }

    /// Takes a word of another node, heard at `since`.
    pub(super) fn hear(&mut self, said: live::said::Said, since: std::time::Instant) {
        let (view, times) = (self.view.clone(), self.times());
        let held = Held { message_id: said.message, fence: said.fence };
        let mut state = view.change();
        if let Some(spoken) = self.live.hear(&mut state, said, since, times) {
            self.show_word(&view, state, held, spoken);
        }
    }

    fn show_word(
        &mut self,
        view: &super::View,
        state: std::sync::RwLockWriteGuard<'_, super::super::State>,
        held: Held,
        spoken: live::Spoken,
    ) {
        if let Some((open, claim)) =
            state.projections.queue.get(&held.message_id).zip(state.projections.queue.claim(&held.message_id))
        {
            view.roster.heard(claim, &open.ask.bot, self.now.wall_ms);
        }
        let feed = view.feeds.get(&spoken.room).filter(|_| !spoken.frames.is_empty());
        let wake = feed.map(|feed| feed.push(spoken.frames));
        drop(state);
        wake.into_iter().for_each(Wake::wake);
        view.monitor.stir();
        self.is_alive(Some((held, spoken.lease)));
    }

    /// Turns deadlines that have passed into commands.
    fn fire(&mut self) {
        if !self.store.is_open() {
            return;
        }
        while let Some((id, due)) = self.deadlines.take_due(self.now.at) {
            match due {
                Due::Lease(fence) => {
                    let held = Held { message_id: id, fence };
                    let reason = self.claims.owes(held).unwrap_or(release::LEASE_OVER);
                    if reason == release::LEASE_OVER {
                        warn!(message = %id, fence = fence.0, "no heartbeat within the lease: the claim is over");
                    }
                    self.put(Command::End(held, End::Released(reason)), Facts::none(), To::Deadline);
                }
                Due::Look(at) => self.put(Command::Due(id, at), Facts::none(), To::Deadline),
            }
        }
    }

    /// Sets the deadline of a message by the state that it is in now.
    pub(super) fn arm(&mut self, id: MessageId) {
        let view = self.view.clone();
        let state = view.state();
        let at = state.projections.queue.get(&id).and_then(|open| match &open.state {
            queue::State::Claimed(claim) => {
                let held = Held { message_id: id, fence: claim.fence };
                let lease = if self.claims.owes(held).is_some() { 0 } else { claim.lease_ms };
                Some((self.now.at + Duration::from_millis(lease), Due::Lease(claim.fence)))
            }
            _ => {
                let ages = Ages { now: self.clock.now(self.now.at), judged: true, behind: &self.behind };
                let (due, wait_ms) = work::due_at(&self.policy, &id, open, ages)?;
                Some((self.now.at + Duration::from_millis(wait_ms).min(FAR), Due::Look(due)))
            }
        });
        self.deadlines.set(id, at);
    }

    /// The deadline of a command that could not be carried out comes again.
    pub(super) fn arm_again(&mut self, command: &Command) {
        let (id, due) = match command {
            Command::End(held, _) => (held.message_id, Due::Lease(held.fence)),
            Command::Due(id, at) => (*id, Due::Look(*at)),
            _ => return,
        };
        if !self.deadlines.has(id) {
            self.deadlines.set(id, Some((self.now.at + AFTER_FAILURE, due)));
        }
    }

    /// What follows from the input, until nothing more does.
    fn settle(&mut self) {
        self.tell_late_news();
        while std::mem::take(&mut self.unsettled) {
            self.look();
            self.answer_applied();
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

    /// Live news whose time has come.
    fn tell_late_news(&mut self) {
        let now = self.now.at;
        if self.live.due(now).is_some_and(|at| at <= now) {
            self.effects.extend(self.live.speak(now).into_iter().map(Effect::Broadcast));
        }
        if self.positions.due(now).is_some_and(|at| at <= now) {
            self.positions.told(now);
            let state = self.view.state();
            let mut wakes = Vec::new();
            for (id, room, ahead) in places::places(&state, &self.policy, POSITIONS_MAX) {
                wakes.extend(self.view.feeds.get(room).map(|feed| feed.push([places::queued(id, ahead)])));
            }
            drop(state);
            wakes.into_iter().for_each(Wake::wake);
        }
    }

    fn may_append(&self) -> bool {
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

    /// Whether this node gives messages up for their age.
    fn judges_ages(&self) -> bool {
        !self.shared || self.clock.is_trusted()
    }

    fn look_later(&mut self, id: MessageId, at: LogTime) {
        /// While ages are not judged here, others give them up.
        const UNTRUSTED: Duration = Duration::from_secs(60);
        let wait = if self.judges_ages() { AFTER_FAILURE } else { UNTRUSTED };
        if !self.deadlines.has(id) {
            self.deadlines.set(id, Some((self.now.at + wait, Due::Look(at))));
        }
    }

    fn is_refusing(&self) -> bool {
        matches!(self.view.state().condition, Condition::Refusing { .. })
    }

    /// Puts the outbox's next write on its way, or offers what it holds.
    fn drain_outbox(&mut self) {
        let may_offer = self.may_append() && self.tail_repair.is_none() && self.looking_up.is_none();
        match self.drain.step(self.now.at, may_offer) {
            Some(Step::Settle { ends, purge }) => {
                self.effects.push(Effect::Settle(ends));
                self.effects.extend(purge.then_some(Effect::Purge));
            }
            Some(Step::Offer(posts)) => {
                let needs = posts.iter().map(|post| post.needs()).collect();
                self.look_up(LookUp::Drain(posts), needs);
            }
            None => {}
        }
    }

    /// Offers the next part of what was lost; at the end notes what became of it.
    fn repair_tail(&mut self) {
        let may_offer = self.may_append() && self.looking_up.is_none() && self.store.due().is_none();
        let Some(repair) = self.tail_repair.as_mut().filter(|repair| may_offer && repair.is_due()) else { return };
        if let Some(report) = repair.report(&self.name) {
            self.tail_repair = None;
            return self.put(Command::Note(report), Facts::none(), To::Deadline);
        }
        let (mut commands, mut needs) = (Vec::new(), Vec::new());
        for (place, command, of) in repair.next() {
            commands.push((place, command));
            needs.push(of);
        }
        self.look_up(LookUp::TailRepair(commands), needs);
    }

    fn look_up(&mut self, what: LookUp, needs: Vec<Vec<MessageId>>) {
        self.looking_up = Some((self.view.state().epoch, what));
        self.effects.push(Effect::LookUp(needs));
    }

    fn looked_up(&mut self, result: Result<Vec<Facts>, Error>) {
        let Some((epoch, what)) = self.looking_up.take() else { return };
        let current = {
            let state = self.view.state();
            state.built && state.epoch == epoch
        };
        let facts = match result {
            Ok(facts) => facts.into_iter().map(|facts| if current { facts } else { Facts::unknown() }),
            Err(failure) => {
                warn!(error = %failure, "what this node has to bring into the log cannot be looked up yet");
                return self.not_looked_up(what);
            }
        };
        match what {
            LookUp::Drain(posts) => {
                for (post, facts) in posts.into_iter().zip(facts) {
                    let id = post.id;
                    self.put(Command::Post(post), facts, To::Drain(id));
                }
            }
            LookUp::TailRepair(commands) => {
                for ((place, command), facts) in commands.into_iter().zip(facts) {
                    self.put(command, facts, To::TailRepair(place));
                }
            }
        }
    }

    fn not_looked_up(&mut self, what: LookUp) {
        match what {
            LookUp::Drain(_) => self.drain.not_offered(self.now.at),
            LookUp::TailRepair(commands) => {
                if let Some(repair) = &mut self.tail_repair {
                    commands.into_iter().for_each(|(place, command)| repair.again(place, command));
                }
                self.store.look_again(self.now.at);
            }
        }
    }

    /// Looks whether the log can be used, once nothing is under way that was decided against the history of before.
    fn look(&mut self) {
        let busy = self.appending.is_some()
            || self.reading.is_some()
            || self.lanes.is_running()
            || matches!(self.store.phase(), Phase::Rebuilding(_));
        if busy || self.stopped {
            return;
        }
        let Some(access) = self.store.take_look(self.now.at) else { return };
        let epoch = match access {
            Access::Open { epoch } => epoch,
            Access::Away { why } => return self.leave(why, false),
            Access::Empty => {
                let why = "the store is empty, but this node knows a history of it; put the data back, or accept it as a \
                           new log with `antiphon accept-empty-store`";
                return self.leave(why.into(), true);
            }
        };
        let (built, known) = {
            let state = self.view.state();
            (state.built, state.epoch)
        };
        if built && known == epoch {
            self.store.enter(Phase::CatchingUp);
            self.begin_read(Reading::CatchUp);
        } else {
            self.begin_rebuild(known);
        }
    }

    pub(super) fn begin_read(&mut self, reading: Reading) {
        let reach = match reading {
            Reading::Reach(tail) => Some(tail),
            _ => None,
        };
        self.reading = Some(reading);
        self.effects.push(Effect::Read { after: self.view.position(), reach });
    }

    /// A page of the log was read, or not.
    fn read(&mut self, result: Result<Vec<Arc<Entry>>, log::Error>) {
        let Some(reading) = self.reading.take() else { return };
        let entries = match result {
            Ok(entries) => entries,
            Err(log::Error::Away(why)) => return self.went_away(Vec::new(), &why),
            Err(failure) => {
                error!(error = %failure, "the log cannot be followed");
                return self.diverged(&failure.to_string());
            }
        };
        let empty = entries.is_empty();
        self.entries.extend(entries.into_iter().map(|entry| (entry.header.seq, entry)));
        self.apply();
        let position = self.view.position();
        match reading {
            Reading::CatchUp if empty => self.caught_up(),
            Reading::CatchUp => self.begin_read(Reading::CatchUp),
            Reading::Follow => {}
            Reading::Reach(until) if position >= until => {}
            // It ends earlier than it said: it is not what it was.
            Reading::Reach(_) if empty && !self.entries.is_empty() => {
                self.diverged(&format!("entry {} is not there", position.next()));
            }
            Reading::Reach(_) if empty => {}
            Reading::Reach(until) => self.begin_read(Reading::Reach(until)),
        }
    }

    /// Everything that came while the log was closed is applied: leases run again from now.
    fn caught_up(&mut self) {
        let open: Vec<_> = self.view.state().projections.queue.iter().map(|(id, _)| *id).collect();
        open.into_iter().for_each(|id| self.arm(id));
        self.opened();
    }

    pub(super) fn opened(&mut self) {
        self.store.enter(Phase::Open);
        if self.shared {
            self.lanes.request();
        }
        self.claims.resolve_doubts(self.now.at);
        self.view.erasing.opened(self.view.position());
        store::show(&self.view, Condition::Connected, self.drain.counts());
        self.unsettled = true;
        if let Some(ready) = self.ready.take() {
            let _ = ready.send(Ok(()));
        }
    }

    pub(super) fn leave(&mut self, why: Arc<str>, refusing: bool) {
        self.store.enter(Phase::Closed);
        let condition = store::trouble(&self.view, why, refusing, self.now.wall_ms);
        store::show(&self.view, condition, self.drain.counts());
        self.unsettled = true;
    }

    /// Shows how much is in the outbox.
    fn show_outbox(&mut self) {
        let condition = self.view.state().condition.clone();
        store::show(&self.view, condition, self.drain.counts());
    }

    /// The log is not what this node has applied, or cannot be read.
    pub(super) fn diverged(&mut self, why: &str) {
        self.leave(why.into(), false);
        self.store.look_again(self.now.at);
    }
}
