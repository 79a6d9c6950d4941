//! What the store lost on its way back: offered to `decide` in order, then noted as `log.repaired`.
//!
//! Not here: what is offered and what fits (`decide::repair`), which entries are lost (`log`).

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use antiphon_schemas::{
    Entry, Epoch, MessageId, Seq,
    event::{LogRepaired, NotRepaired},
};
use tracing::{info, warn};

use super::{super::Error, Answer, Command, drain::OWN_MAX};
use crate::decide::repair;

/// What was lost on its way back into the log.
pub(super) struct TailRepair {
    /// What is still to be offered, in its order.
    queue: BTreeMap<i64, Command>,
    /// The place before all that were given.
    front: i64,
    /// How many have no answer yet.
    left: usize,
    /// How many keys and revocations are not back yet.
    keys: usize,
    before: Epoch,
    after: Seq,
    offered: usize,
    refused: Vec<NotRepaired>,
}

impl TailRepair {
    /// Plans what is to be offered of what the epoch `before` has lost; `None` if that is nothing. What an `earlier` repair
    /// has not brought back yet was later in the log, and comes after it.
    pub(super) fn plan(earlier: Option<TailRepair>, before: Epoch, lost: &[Arc<Entry>]) -> Option<TailRepair> {
        let Some(first) = lost.first() else { return earlier };
        let (plan, after) = (repair::plan(lost), Seq(first.header.seq.0 - 1));
        let offered = plan.offered();
        let restored: HashSet<_> = plan.restores.iter().flat_map(|restore| restore.needs()).collect();
        let restores = plan.restores.into_iter().map(Command::Restore);
        // What the store kept and nobody restores is hidden first: until then it is shown.
        let (late, first): (Vec<_>, Vec<_>) = plan.changes.into_iter().partition(|(id, _)| restored.contains(id));
        let [first, late] = [first, late].map(|c| c.into_iter().map(|(id, change)| Command::Change(id, change)));
        let mut repair = earlier.unwrap_or_else(|| TailRepair {
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
        Some(repair)
    }

    /// Whether all keys and revocations are back.
    pub(super) fn has_all_keys(&self) -> bool {
        self.keys == 0
    }

    /// Whether the next part can be offered, or the report made.
    pub(super) fn is_due(&self) -> bool {
        self.left == 0
    }

    /// Takes the next part that is to be offered, each with its place and what must be known of it.
    pub(super) fn next(&mut self) -> Vec<(i64, Command, Vec<MessageId>)> {
        let mut part = Vec::new();
        while part.len() < OWN_MAX
            && let Some((place, command)) = self.queue.pop_first()
        {
            let needs = match &command {
                Command::Restore(restore) => restore.needs(),
                Command::Change(id, _) => vec![*id],
                _ => vec![],
            };
            part.push((place, command, needs));
        }
        self.left += part.len();
        part
    }

    /// Something could not be offered: its turn comes again.
    pub(super) fn again(&mut self, place: i64, command: Command) {
        self.left = self.left.saturating_sub(1);
        self.queue.insert(place, command);
    }

    /// What became of something lost; `true` if it was a key.
    pub(super) fn done(&mut self, place: i64, command: Command, result: Result<Answer, Error>) -> bool {
        let why = match result {
            Err(Error::Refused(why)) => Some(why),
            Ok(Answer::Stale) | Err(_) => {
                self.again(place, command);
                return false;
            }
            Ok(_) => None,
        };
        self.left = self.left.saturating_sub(1);
        if let Command::Key(_) = command {
            // Never refused.
            self.keys -= 1;
            return true;
        }
        let Some(why) = why else { return false };
        match command {
            Command::Restore(restore) => self.refused.push(restore.refused(&why)),
            Command::Change(id, change) => self.refused.push(repair::refused_change(id, change, &why)),
            _ => {}
        }
        if let Some(refused) = self.refused.last() {
            warn!(message = ?refused.id, kind = %refused.kind, %why, "something that was lost does not fit any more");
        }
        false
    }

    /// The report, once all is offered.
    pub(super) fn report(&mut self, node: &str) -> Option<LogRepaired> {
        if self.left > 0 || !self.queue.is_empty() {
            return None;
        }
        let refused = std::mem::take(&mut self.refused);
        let report = repair::report(node, self.before, self.after, self.offered, refused);
        let (again, refused) = (report.again, report.refused.len());
        info!(offered = report.offered, again, refused, "what was lost was offered again");
        Some(report)
    }
}
