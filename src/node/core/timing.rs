//! What time does: deadlines are set by what the state says, and turn into commands when they have passed.
//!
//! Not here: the deadlines themselves (`deadlines`), what becomes of a message then (`decide::work`).

use std::time::Duration;

use antiphon_schemas::{MessageId, event::release, time::LogTime};
use tracing::warn;

use super::{Command, Core, Due, To};
use crate::{
    decide::{
        Prefetched,
        work::{self, Ages, End, Held},
    },
    projection::queue,
};

/// How soon a command of a deadline is tried again that the log could not take.
pub(super) const AFTER_FAILURE: Duration = Duration::from_secs(1);
/// Near enough for any timer; far deadlines are looked at again then.
const FAR: Duration = Duration::from_secs(24 * 3600);

impl Core {
    /// A sign of life of a claim's holder.
    pub(super) fn is_alive(&mut self, alive: Option<(Held, Duration)>) {
        if let Some((held, lease)) = alive {
            self.deadlines.set(held.message_id, Some((self.now.at + lease, Due::Lease(held.fence))));
        }
    }

    /// Turns deadlines that have passed into commands.
    pub(super) fn fire(&mut self) {
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
                    self.put(Command::End(held, End::Released(reason)), Prefetched::none(), To::Deadline);
                }
                Due::Look(at) => self.put(Command::Due(id, at), Prefetched::none(), To::Deadline),
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
    pub(super) fn arm_again(&mut self, command: Command) {
        let (id, due) = match command {
            Command::End(held, _) => (held.message_id, Due::Lease(held.fence)),
            Command::Due(id, at) => (id, Due::Look(at)),
            Command::Note(report) => {
                self.unnoted = Some((self.now.at + AFTER_FAILURE, report));
                return;
            }
            _ => return,
        };
        if !self.deadlines.has(id) {
            self.deadlines.set(id, Some((self.now.at + AFTER_FAILURE, due)));
        }
    }

    /// Whether this node gives messages up for their age.
    pub(super) fn judges_ages(&self) -> bool {
        !self.shared || self.clock.is_trusted()
    }

    pub(super) fn look_later(&mut self, id: MessageId, at: LogTime) {
        /// While ages are not judged here, others give them up.
        const UNTRUSTED: Duration = Duration::from_secs(60);
        let wait = if self.judges_ages() { AFTER_FAILURE } else { UNTRUSTED };
        if !self.deadlines.has(id) {
            self.deadlines.set(id, Some((self.now.at + wait, Due::Look(at))));
        }
    }
}
