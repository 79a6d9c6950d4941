//! What the node itself brings into the log: posts of the outbox, and what a store has lost.
//!
//! Not here: their order and bookkeeping (`drain`, `tail_repair`).

use antiphon_schemas::MessageId;
use tracing::warn;

use super::{super::Error, Command, Core, Effect, LookUp, To, drain::Step};
use crate::decide::Prefetched;

impl Core {
    /// Writes a repair's report that the log could not take before.
    pub(super) fn note_again(&mut self) {
        if let Some((at, report)) = self.unnoted.take() {
            match at <= self.now.at && self.store.is_open() {
                true => self.put(Command::Note(report), Prefetched::none(), To::Deadline),
                false => self.unnoted = Some((at, report)),
            }
        }
    }

    /// Puts the outbox's next write on its way, or offers what it holds.
    pub(super) fn drain_outbox(&mut self) {
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
    pub(super) fn repair_tail(&mut self) {
        let may_offer = self.may_append() && self.looking_up.is_none() && self.store.due().is_none();
        let Some(repair) = self.tail_repair.as_mut().filter(|repair| may_offer && repair.is_due()) else { return };
        if let Some(report) = repair.report(&self.name) {
            self.tail_repair = None;
            return self.put(Command::Note(report), Prefetched::none(), To::Deadline);
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

    pub(super) fn looked_up(&mut self, result: Result<Vec<Prefetched>, Error>) {
        let Some((epoch, what)) = self.looking_up.take() else { return };
        let current = {
            let state = self.view.state();
            state.built && state.epoch == epoch
        };
        let facts = match result {
            Ok(facts) => facts.into_iter().map(|facts| if current { facts } else { Prefetched::unknown() }),
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
}
