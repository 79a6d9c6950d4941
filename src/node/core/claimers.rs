//! Callers waiting for a message to answer, by the bots they answer for.
//!
//! Promises: for each bot, callers with its model loaded come first, in order of arrival, then the others; a caller that is
//! put back keeps its place; one that has gone is dropped when its turn comes, or at the latest when half of those kept have
//! gone; at most one waits under each reply id, the latest.
//!
//! Not here: which message they get (`decide::work`).

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Instant,
};

use antiphon_schemas::{BotName, MessageId};
use tokio::sync::oneshot;

use super::super::{Claimed, Error};
use crate::decide::{Prefetched, work::ClaimRequest};

/// Below this many nobody looks for those that have gone.
const SWEEP_MIN: usize = 256;

/// The reply to a waiting claim request.
#[derive(Debug)]
pub(crate) enum ClaimReply {
    /// Work.
    Claimed(Claimed),
    /// The time is over, or somebody else waits in its place.
    Nothing,
    /// What was read of its reply's id is too old: read it again and come back.
    Stale,
}

/// One that waits.
pub(crate) struct Claimer {
    /// Its place among those that wait, and what it is called.
    pub(crate) ticket: u64,
    /// Its model has to be loaded first.
    pub(crate) cold: bool,
    /// Until when it waits.
    pub(crate) until: Option<Instant>,
    /// A claim that it no longer accepts stays valid, because the caller will ask for it again.
    pub(crate) kept: bool,
    /// What was read of the id that its reply will have.
    pub(crate) facts: Prefetched,
    pub(crate) answer: oneshot::Sender<Result<ClaimReply, Error>>,
}

impl Claimer {
    /// Tells it; what it was told, if it has gone.
    pub(super) fn tell(self, told: Result<ClaimReply, Error>) -> Result<(), Result<ClaimReply, Error>> {
        self.answer.send(told)
    }
}

/// All that wait.
#[derive(Default)]
pub(super) struct Claimers {
    waiting: HashMap<u64, (ClaimRequest, Claimer)>,
    by_bot: BTreeMap<BotName, BTreeSet<(bool, u64)>>,
    by_reply: HashMap<MessageId, u64>,
    sweep_at: usize,
}

impl Claimers {
    /// Registers one, unless its time is over. An earlier one waiting for the same reply gets the answer that nothing came.
    pub(super) fn put(&mut self, wish: ClaimRequest, claimer: Claimer, now: Instant) {
        if claimer.until.is_some_and(|until| until <= now) {
            let _gone = claimer.tell(Ok(ClaimReply::Nothing));
            return;
        }
        if let Some(earlier) = self.by_reply.get(&wish.reply_id).copied()
            && let Some((_, earlier)) = self.take(earlier)
        {
            let _gone = earlier.tell(Ok(ClaimReply::Nothing));
        }
        let ticket = claimer.ticket;
        for bot in wish.bots.iter() {
            self.by_bot.entry(bot.clone()).or_default().insert((claimer.cold, ticket));
        }
        self.by_reply.insert(wish.reply_id, ticket);
        self.waiting.insert(ticket, (wish, claimer));
        self.sweep();
    }

    /// Takes one by its ticket.
    pub(super) fn take(&mut self, ticket: u64) -> Option<(ClaimRequest, Claimer)> {
        let (wish, claimer) = self.waiting.remove(&ticket)?;
        for bot in wish.bots.iter() {
            if let Some(of_bot) = self.by_bot.get_mut(bot) {
                of_bot.remove(&(claimer.cold, ticket));
                if of_bot.is_empty() {
                    self.by_bot.remove(bot);
                }
            }
        }
        self.by_reply.remove(&wish.reply_id);
        Some((wish, claimer))
    }

    /// Takes the one that waits for this reply.
    pub(super) fn take_for(&mut self, reply_id: &MessageId) -> Option<(ClaimRequest, Claimer)> {
        let ticket = *self.by_reply.get(reply_id)?;
        self.take(ticket)
    }

    /// Takes the next of a bot that is still there.
    pub(super) fn take_first(&mut self, bot: &BotName) -> Option<(ClaimRequest, Claimer)> {
        loop {
            let (_, ticket) = *self.by_bot.get(bot)?.first()?;
            let taken = self.take(ticket);
            if taken.as_ref().is_none_or(|(_, claimer)| !claimer.answer.is_closed()) {
                return taken;
            }
        }
    }

    /// The bots that somebody waits for.
    pub(super) fn bots(&self) -> impl Iterator<Item = &BotName> {
        self.by_bot.keys()
    }

    /// Forgets those that have gone, if they may be many.
    fn sweep(&mut self) {
        if self.waiting.len() < self.sweep_at.max(SWEEP_MIN) {
            return;
        }
        let gone = self.waiting.iter().filter(|(_, (_, claimer))| claimer.answer.is_closed());
        let gone: Vec<_> = gone.map(|(ticket, _)| *ticket).collect();
        gone.into_iter().for_each(|ticket| drop(self.take(ticket)));
        self.sweep_at = self.waiting.len() * 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Answer = oneshot::Receiver<Result<ClaimReply, Error>>;

    fn bot(name: &str) -> BotName {
        BotName::new(name).unwrap()
    }

    fn one(ticket: u64, bots: &[&str], cold: bool) -> (ClaimRequest, Claimer, Answer) {
        let (answer, told) = oneshot::channel();
        let bots = bots.iter().map(|name| bot(name)).collect();
        let reply_id = crate::log::conformance::id(ticket.into());
        let wish = ClaimRequest { bots, worker: "w".into(), incarnation: None, reply_id, keyed: true };
        (wish, Claimer { ticket, cold, until: None, kept: true, facts: Prefetched::none(), answer }, told)
    }

    fn put(claimers: &mut Claimers, ticket: u64, bots: &[&str], cold: bool) -> Answer {
        let (wish, claimer, told) = one(ticket, bots, cold);
        claimers.put(wish, claimer, Instant::now());
        told
    }

    fn first(claimers: &mut Claimers, name: &str) -> Option<u64> {
        claimers.take_first(&bot(name)).map(|(_, claimer)| claimer.ticket)
    }

    #[test]
    fn warm_ones_come_first_and_whoever_is_taken_waits_for_no_other_bot() {
        let mut claimers = Claimers::default();
        let _told = [
            put(&mut claimers, 1, &["a", "b"], true),
            put(&mut claimers, 2, &["a"], false),
            put(&mut claimers, 3, &["b", "a"], false),
        ];
        assert_eq!(first(&mut claimers, "b"), Some(3));
        assert_eq!(first(&mut claimers, "a"), Some(2));
        assert_eq!(first(&mut claimers, "a"), Some(1));
        assert_eq!(first(&mut claimers, "b"), None);
        assert_eq!(claimers.bots().count(), 0);
    }

    #[test]
    fn who_is_put_back_keeps_its_place() {
        let mut claimers = Claimers::default();
        let _told = [put(&mut claimers, 1, &["a"], false), put(&mut claimers, 2, &["a"], false)];
        let (wish, claimer) = claimers.take_first(&bot("a")).unwrap();
        claimers.put(wish, claimer, Instant::now());
        assert_eq!(first(&mut claimers, "a"), Some(1));
    }

    #[test]
    fn whoever_has_gone_is_passed_over_and_in_the_end_forgotten() {
        let mut claimers = Claimers::default();
        drop(put(&mut claimers, 1, &["a"], false));
        let _told = put(&mut claimers, 2, &["a"], false);
        assert_eq!(first(&mut claimers, "a"), Some(2));
        (10..10 + 10 * SWEEP_MIN as u64).for_each(|ticket| drop(put(&mut claimers, ticket, &["a"], false)));
        assert!(claimers.waiting.len() <= SWEEP_MIN, "{}", claimers.waiting.len());
    }

    #[test]
    fn one_waits_under_a_key_and_nobody_beyond_its_time() {
        let mut claimers = Claimers::default();
        let mut earlier = put(&mut claimers, 1, &["a"], false);
        let (mut wish, claimer, mut later) = one(2, &["a"], false);
        wish.reply_id = crate::log::conformance::id(1);
        claimers.put(wish, claimer, Instant::now());
        assert!(matches!(earlier.try_recv(), Ok(Ok(ClaimReply::Nothing))));
        assert!(later.try_recv().is_err());
        assert_eq!(claimers.take_for(&crate::log::conformance::id(1)).map(|(_, c)| c.ticket), Some(2));

        let (wish, claimer, mut late) = one(3, &["a"], false);
        let until = Some(Instant::now());
        claimers.put(wish, Claimer { until, ..claimer }, Instant::now());
        assert!(matches!(late.try_recv(), Ok(Ok(ClaimReply::Nothing))));
        assert_eq!(first(&mut claimers, "a"), None);
    }
}
