//! What the store lost on its way back: offered to `decide` in order, then noted as `log.repaired`.
//!
//! Not here: what is offered and what fits (`decide::repair`), which entries are lost (`log`).

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use antiphon_schemas::{Entry, Epoch, Seq, event::NotRepaired};
use tokio::time::Instant;
use tracing::{info, warn};

use super::{
    Answer, Command, Error, Node,
    away::LOOK_AGAIN,
    conductor::{Conductor, To},
    parking::OWN_MAX,
};
use crate::decide::repair;

/// What was lost on its way back into the log.
pub(super) struct Repair {
    /// What is still to be offered, in its order.
    queue: BTreeMap<i64, Command>,
    /// The place before all that were given.
    front: i64,
    /// So many have no answer yet.
    left: usize,
    /// So many keys and revocations are not back yet.
    pub(super) keys: usize,
    before: Epoch,
    after: Seq,
    offered: usize,
    refused: Vec<NotRepaired>,
}

impl Conductor {
    /// Plans what is to be offered of what the epoch `before` has lost. What an earlier repair has not brought back yet was
    /// later in the log, and comes after it.
    pub(super) fn offer_lost(&mut self, before: Epoch, lost: &[Arc<Entry>]) {
        let Some(first) = lost.first() else { return self.look_for_lost_keys() };
        let (plan, after) = (repair::plan(lost), Seq(first.header.seq.0 - 1));
        let offered = plan.offered();
        let restored: HashSet<_> = plan.restores.iter().flat_map(|restore| restore.needs()).collect();
        let restores = plan.restores.into_iter().map(Command::Restore);
        // What the store kept and nobody restores is hidden first: until then it is shown.
        let (late, first): (Vec<_>, Vec<_>) = plan.changes.into_iter().partition(|(id, _)| restored.contains(id));
        let [first, late] = [first, late].map(|c| c.into_iter().map(|(id, change)| Command::Change(id, change)));
        let repair = self.repair.get_or_insert_with(|| Repair {
            queue: BTreeMap::new(),
            front: 0,
            left: 0,
            keys: 0,
            before,
            after,
            offered: 0,
            refused: Vec::new(),
        });
        (repair.before, repair.after) = (before, repair.after.min(after));
        repair.offered += offered;
        repair.refused.extend(plan.refused);
        repair.keys += plan.keys.len();
        let keys = plan.keys.into_iter().map(Command::Key);
        let commands: Vec<_> = keys.chain(first).chain(restores).chain(late).collect();
        for command in commands.into_iter().rev() {
            repair.queue.insert(repair.front, command);
            repair.front -= 1;
        }
        self.look_for_lost_keys();
    }

    /// Whether the next part of what was lost can be offered.
    pub(super) fn lost_is_due(&self) -> bool {
        self.repair.as_ref().is_some_and(|repair| repair.left == 0)
    }

    /// Something could not be offered: its turn comes again.
    pub(super) fn offer_again(&mut self, place: i64, command: Command) {
        if let Some(repair) = &mut self.repair {
            repair.left -= 1;
            repair.queue.insert(place, command);
        }
    }

    /// Brings what was lost before the decision, if it is its turn; notes what became of it at the end.
    pub(super) async fn bring_lost(&mut self) {
        let Some(repair) = self.repair.as_mut().filter(|repair| repair.left == 0) else { return };
        if repair.queue.is_empty() {
            let refused = std::mem::take(&mut repair.refused);
            let report = repair::report(&self.inner.name, repair.before, repair.after, repair.offered, refused);
            let (again, refused) = (report.again, report.refused.len());
            info!(offered = report.offered, again, refused, "what was lost was offered again");
            self.repair = None;
            return self.wish(Command::Note(report));
        }
        let node = Node { inner: self.inner.clone() };
        for _ in 0..OWN_MAX {
            let Some((place, command)) = self.repair.as_mut().and_then(|repair| repair.queue.pop_first()) else {
                break;
            };
            let needs = match &command {
                Command::Restore(restore) => restore.needs(),
                Command::Change(id, _) => vec![*id],
                Command::Key(_) => vec![],
                _ => continue,
            };
            let facts = node.facts(&needs).await;
            let Some(repair) = &mut self.repair else { return };
            match facts {
                Ok(facts) => {
                    repair.left += 1;
                    self.put(command, facts, To::Repair(place));
                }
                Err(failure) => {
                    warn!(error = %failure, "what was lost cannot be offered yet");
                    repair.queue.insert(place, command);
                    self.look_again = Some(Instant::now() + LOOK_AGAIN);
                    return;
                }
            }
        }
    }

    /// What became of something lost.
    pub(super) fn repaired(&mut self, place: i64, command: Command, result: Result<Answer, Error>) {
        let why = match result {
            Err(Error::Refused(why)) => Some(why),
            Ok(Answer::Stale) | Err(_) => return self.offer_again(place, command),
            Ok(_) => None,
        };
        let Some(repair) = &mut self.repair else { return };
        repair.left -= 1;
        if let Command::Key(_) = command {
            // Never refused.
            repair.keys -= 1;
            return self.look_for_lost_keys();
        }
        let Some(why) = why else { return };
        match command {
            Command::Restore(restore) => repair.refused.push(restore.refused(&why)),
            Command::Change(id, change) => repair.refused.push(repair::refused_change(id, change, &why)),
            _ => {}
        }
        if let Some(refused) = repair.refused.last() {
            warn!(message = ?refused.id, kind = %refused.kind, %why, "something that was lost does not fit any more");
        }
    }
}
