//! Which claims are held, and which are over, in whatever order that comes to be known.
//!
//! Promise: a claim whose end was told before its own answer arrived is over from the start.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use antiphon_schemas::{
    MessageId,
    wire::{Position, work::HeldClaim},
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Ends that are remembered for claims whose answer is still under way: far more than there are slots.
const ENDED_MAX: usize = 1_024;

/// The claims of a worker.
#[derive(Default)]
pub(super) struct Claims(Mutex<State>);

#[derive(Default)]
struct State {
    held: HashMap<Position, Held>,
    ended: VecDeque<Position>,
}

struct Held {
    message_id: MessageId,
    since: Instant,
    over: CancellationToken,
}

impl Claims {
    /// Takes a claim; the token is cancelled when that is over.
    pub(super) fn take(&self, message_id: MessageId, fence: Position) -> CancellationToken {
        let mut state = self.state();
        let over = CancellationToken::new();
        if state.ended.contains(&fence) {
            over.cancel();
        }
        state.held.insert(fence, Held { message_id, since: Instant::now(), over: over.clone() });
        over
    }

    /// A claim is done with.
    pub(super) fn leave(&self, fence: Position) {
        self.state().held.remove(&fence);
    }

    /// A claim is over, as its server says.
    pub(super) fn end(&self, fence: Position) {
        let mut state = self.state();
        match state.held.get(&fence) {
            Some(held) => held.over.cancel(),
            None => {
                if state.ended.len() == ENDED_MAX {
                    state.ended.pop_front();
                }
                state.ended.push_back(fence);
            }
        }
    }

    /// The claims that were held already when somebody asked which are live, and that are not among the `listed`.
    pub(super) fn unlisted(&self, listed: &[HeldClaim], asked: Instant) -> Vec<HeldClaim> {
        let missing = |(fence, held): (&Position, &Held)| {
            let live = held.since >= asked || listed.iter().any(|claim| claim.fence == *fence);
            (!live).then_some(HeldClaim { message_id: held.message_id, fence: *fence })
        };
        self.state().held.iter().filter_map(missing).collect()
    }

    /// A std mutex: held for a few instructions, never across an `.await`.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use antiphon_schemas::{Cursor, Epoch, Seq};

    use super::*;

    fn fence(seq: u64) -> Position {
        Position(Cursor::new(Epoch(1), Seq(seq)))
    }

    #[test]
    fn a_claim_is_over_when_its_end_is_told_before_or_after_its_answer() {
        let (claims, id) = (Claims::default(), MessageId(uuid::Uuid::nil()));
        let before = claims.take(id, fence(1));
        assert!(!before.is_cancelled());
        claims.end(fence(1));
        claims.end(fence(2));
        assert!(before.is_cancelled() && claims.take(id, fence(2)).is_cancelled());
        assert!(!claims.take(id, fence(3)).is_cancelled());
        (0..2 * ENDED_MAX as u64).for_each(|n| claims.end(fence(10 + n)));
        assert_eq!(claims.state().ended.len(), ENDED_MAX);
    }

    #[test]
    fn a_list_of_live_claims_says_nothing_about_younger_ones() {
        let (claims, id) = (Claims::default(), MessageId(uuid::Uuid::nil()));
        let before = Instant::now();
        let [_a, _b, _c] = [1, 2, 3].map(|n| claims.take(id, fence(n)));
        claims.leave(fence(3));
        let listed = [HeldClaim { message_id: id, fence: fence(1) }];
        let missing = [HeldClaim { message_id: id, fence: fence(2) }];
        assert_eq!(claims.unlisted(&listed, Instant::now() + Duration::from_secs(1)), missing);
        assert_eq!(claims.unlisted(&listed, before), []);
    }
}
