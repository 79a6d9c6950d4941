//! The rules, said once more and plainly.

use super::*;

/// A message's state according to the rules.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Stands {
    Waiting { since: u64 },
    Retrying { at_ms: u64 },
    Claimed { fence: u64 },
    Ended(Status),
}

#[derive(Debug, Clone)]
pub(super) struct Modelled {
    pub(super) room: usize,
    pub(super) bot: Option<usize>,
    pub(super) priority: u8,
    pub(super) second: bool,
    pub(super) asked_at_ms: u64,
    pub(super) attempts: u32,
    pub(super) stands: Stands,
    pub(super) redacted: bool,
    pub(super) erased: bool,
    pub(super) answers: u32,
}

/// The rules, as plainly as they can be said: one record a message, everything else is searched for.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) messages: BTreeMap<usize, Modelled>,
    pub(super) tail: u64,
}

/// What the model expects of a wish.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Expected {
    Kinds(Vec<&'static str>),
    Already,
    Stands(Status),
    Nothing,
    Refused(Refusal),
}

impl Modelled {
    pub(super) fn status(&self) -> Status {
        match self.stands {
            Stands::Waiting { .. } | Stands::Retrying { .. } => Status::Waiting,
            Stands::Claimed { .. } => Status::Claimed,
            Stands::Ended(status) => status,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        !matches!(self.stands, Stands::Ended(_))
    }

    pub(super) fn too_old(&self, now_ms: u64) -> bool {
        now_ms >= self.asked_at_ms + MAX_AGE_MS
    }
}

impl Model {
    pub(super) fn waiting(&self) -> impl Iterator<Item = (usize, u64, &Modelled)> {
        self.messages.iter().filter_map(|(n, m)| match m.stands {
            Stands::Waiting { since } => Some((*n, since, m)),
            _ => None,
        })
    }

    /// The messages that wait for a bot, in the order in which they are claimed.
    pub(super) fn line(&self, bot: usize) -> Vec<usize> {
        let mut line: Vec<_> = self.waiting().filter(|(_, _, m)| m.bot == Some(bot)).collect();
        line.sort_by_key(|(_, since, m)| (9 - m.priority, m.second, *since));
        line.into_iter().map(|(n, ..)| n).collect()
    }

    pub(super) fn in_room(&self, room: usize, priority: u8) -> usize {
        self.waiting().filter(|(_, _, m)| (m.room, m.priority) == (room, priority)).count()
    }

    pub(super) fn full(&self, n: usize) -> Option<Expected> {
        let waiting = self.line(n).len();
        (waiting >= QUEUE_MAX).then(|| Expected::Refused(Refusal::QueueFull { bot: bot(n), waiting }))
    }

    /// Puts a message on its lane again; the entry that does it is the next one.
    pub(super) fn back(&mut self, n: usize) {
        let (room, priority) = (self.messages[&n].room, self.messages[&n].priority);
        let second = self.in_room(room, priority) >= FIRST_LANE_PER_ROOM as usize;
        let since = self.tail + 1;
        let message = self.messages.get_mut(&n).unwrap();
        (message.second, message.stands) = (second, Stands::Waiting { since });
    }

    pub(super) fn end(&mut self, n: usize, status: Status) {
        self.messages.get_mut(&n).unwrap().stands = Stands::Ended(status);
    }

    /// What must come of a wish, and what it does to the model. `came` is looked at for what chance decides: when a
    /// retry is due.
    pub(super) fn act(&mut self, step: &Step, now_ms: u64, came: &Came) -> Expected {
        let expected = self.expect(step, now_ms, came);
        if let Expected::Kinds(kinds) = &expected {
            self.tail += kinds.len() as u64;
        }
        expected
    }

    pub(super) fn expect(&mut self, step: &Step, now_ms: u64, came: &Came) -> Expected {
        use Expected::{Already, Kinds, Nothing, Refused};
        match *step {
            Step::Wait { .. } => Nothing,
            Step::EraseReply { .. } => unreachable!("not among these steps"),
            Step::Post { message, room, bot, priority } => {
                if let Some(known) = self.messages.get(&message) {
                    let same = known.room == room && (known.erased || known.bot == bot);
                    return if same { Already } else { Refused(Refusal::IdTaken(id(message))) };
                }
                if let Some(full) = bot.and_then(|bot| self.full(bot)) {
                    return full;
                }
                let stands = Stands::Ended(Status::None);
                let asked_at_ms = now_ms;
                let (second, attempts, redacted, erased, answers) = (false, 0, false, false, 0);
                let new =
                    Modelled { room, bot, priority, second, asked_at_ms, attempts, stands, redacted, erased, answers };
                self.messages.insert(message, new);
                if bot.is_some() {
                    self.back(message);
                }
                Kinds(vec!["message.posted"])
            }
            Step::Claim { bot } => {
                let line = self.line(bot);
                let Some(n) = line.into_iter().next().filter(|n| !self.messages[n].too_old(now_ms)) else {
                    return Nothing;
                };
                let fence = self.tail + 1;
                let message = self.messages.get_mut(&n).unwrap();
                message.attempts += 1;
                message.stands = Stands::Claimed { fence };
                let Ok(Some(Decision::Append { subjects, .. })) = came else { panic!("{came:?}") };
                assert_eq!(subjects, &[id(n)], "the first in line");
                Kinds(vec!["message.claimed"])
            }
            Step::End { message: n, stale, how } => {
                let Some(message) = self.messages.get_mut(&n) else {
                    return Refused(Refusal::NoSuchMessage(id(n)));
                };
                match message.stands {
                    Stands::Ended(status) => return Refused(Refusal::AlreadyEnded(status)),
                    Stands::Waiting { .. } | Stands::Retrying { .. } => return Refused(Refusal::ClaimOver),
                    Stands::Claimed { fence } if stale => {
                        return Refused(Refusal::StaleFence { worker: "w".into(), fence: Seq(fence) });
                    }
                    Stands::Claimed { .. } => {}
                }
                let used_up = message.attempts >= ATTEMPTS_MAX;
                match how {
                    How::Completed => {
                        message.answers += 1;
                        self.end(n, Status::Answered);
                        Kinds(vec!["reply.posted", "message.completed"])
                    }
                    How::Failed if used_up => {
                        self.end(n, Status::Dead);
                        Kinds(vec!["message.failed", "message.dead"])
                    }
                    How::Failed => {
                        let Ok(Some(Decision::Append { events, .. })) = came else { panic!("{came:?}") };
                        let Event::MessageFailed(failed) = &events[0] else { panic!("{came:?}") };
                        let at_ms = failed.retry_at_ms.expect("attempts are left");
                        let whole = (RETRY_BASE_MS << (message.attempts - 1)).min(RETRY_MAX_MS);
                        assert!((whole / 2..=whole).contains(&(at_ms - now_ms)), "{} of {whole}", at_ms - now_ms);
                        message.stands = Stands::Retrying { at_ms };
                        Kinds(vec!["message.failed"])
                    }
                    How::FailedForGood => {
                        self.end(n, Status::Failed);
                        Kinds(vec!["message.failed"])
                    }
                    How::Released(release::LEASE_OVER) if used_up => {
                        self.end(n, Status::Dead);
                        Kinds(vec!["message.dead"])
                    }
                    How::Released(reason) => {
                        message.attempts -= u32::from(reason != release::LEASE_OVER);
                        self.back(n);
                        Kinds(vec!["message.released"])
                    }
                }
            }
            Step::Due { message: n } => {
                let Some(message) = self.messages.get(&n) else { return Nothing };
                match message.stands {
                    Stands::Ended(_) | Stands::Claimed { .. } => Nothing,
                    _ if message.too_old(now_ms) => {
                        self.end(n, Status::Dead);
                        Kinds(vec!["message.dead"])
                    }
                    Stands::Retrying { at_ms } if at_ms <= now_ms => {
                        self.back(n);
                        Kinds(vec!["message.released"])
                    }
                    _ => Nothing,
                }
            }
            Step::Change { message: n, change } => {
                let Some(message) = self.messages.get_mut(&n) else {
                    return Refused(Refusal::NoSuchMessage(id(n)));
                };
                let (status, open) = (message.status(), message.is_open());
                match change {
                    Change::Cancel if open => {
                        self.end(n, Status::Cancelled);
                        Kinds(vec!["message.cancelled"])
                    }
                    Change::Cancel if status == Status::Cancelled => Expected::Stands(status),
                    Change::Cancel => Refused(Refusal::AlreadyEnded(status)),
                    Change::Redact if message.redacted => Expected::Stands(status),
                    Change::Redact => {
                        message.redacted = true;
                        if !open {
                            return Kinds(vec!["message.redacted"]);
                        }
                        self.end(n, Status::Cancelled);
                        Kinds(vec!["message.cancelled", "message.redacted"])
                    }
                    Change::Erase if message.erased => Expected::Stands(status),
                    Change::Erase => {
                        let hide = (!std::mem::replace(&mut message.redacted, true)).then_some("message.redacted");
                        message.erased = true;
                        if open {
                            self.end(n, Status::Cancelled);
                        }
                        let cancel = open.then_some("message.cancelled");
                        Kinds(cancel.into_iter().chain(hide).chain(["message.erased"]).collect())
                    }
                    Change::Retry if open || status == Status::None => Refused(Refusal::NotFailed(status)),
                    Change::Retry if message.redacted => Refused(Refusal::Redacted),
                    Change::Retry => {
                        let bot = message.bot.expect("it has ended, so it was asked");
                        if let Some(full) = self.full(bot) {
                            return full;
                        }
                        let message = self.messages.get_mut(&n).unwrap();
                        assert!(message.answers <= 1, "each asking is answered once");
                        (message.attempts, message.asked_at_ms, message.answers) = (0, now_ms, 0);
                        self.back(n);
                        Kinds(vec!["message.released"])
                    }
                }
            }
        }
    }

    /// The projections say of every message what the model says, and nothing more.
    pub(super) fn check(&self, projections: &Projections) {
        let queue = &projections.queue;
        assert_eq!(projections.position.0, self.tail);
        assert_eq!(queue.iter().count(), self.messages.values().filter(|m| m.is_open()).count());
        for (n, message) in &self.messages {
            let record = projections.newest.record(&id(*n), None).unwrap();
            let stands = (message.status(), message.redacted, message.erased);
            assert_eq!((record.status, record.redacted, record.erased), stands, "{n}");
            let open = queue.get(&id(*n));
            assert_eq!(open.is_some(), message.is_open(), "{n}");
            let Some(open) = open else { continue };
            assert_eq!((open.attempts, open.asked_at_ms), (message.attempts, message.asked_at_ms), "{n}");
            assert_eq!((&open.room, Some(&open.ask.bot)), (&room(message.room), message.bot.map(bot).as_ref()));
            let stands = match &open.state {
                State::Waiting { since, .. } => {
                    assert_eq!((open.ask.priority, open.ask.second), (message.priority, message.second), "{n}");
                    Stands::Waiting { since: since.0 }
                }
                State::Retrying { at_ms } => Stands::Retrying { at_ms: *at_ms },
                State::Claimed(claim) => {
                    assert!(queue.is_promised(&claim.reply_id));
                    Stands::Claimed { fence: claim.fence.0 }
                }
            };
            assert_eq!(stands, message.stands, "{n}");
        }
        for b in 0..2 {
            let name = bot(b);
            let line = self.line(b);
            assert!(queue.waiting(&name).eq(line.iter().map(|n| id(*n))), "the line of {name}");
            let ahead = line.iter().map(|n| queue.ahead(&id(*n)));
            assert!(ahead.eq((0..line.len()).map(Some)));
            assert_eq!(queue.lanes(&name).map(|(.., n)| n).sum::<usize>(), line.len());
            assert!(queue.lanes(&name).is_sorted_by_key(|(priority, second, _)| (9 - priority, second)));
            let of =
                |is: fn(&Stands) -> bool| self.messages.values().filter(|m| m.bot == Some(b) && is(&m.stands)).count();
            let depth = Depth {
                waiting: line.len(),
                retrying: of(|s| matches!(s, Stands::Retrying { .. })),
                claimed: of(|s| matches!(s, Stands::Claimed { .. })),
            };
            assert_eq!(queue.depth(&name), depth);
        }
        for r in 0..2 {
            for priority in 0..=9 {
                assert_eq!(queue.waiting_in_room(&room(r), priority) as usize, self.in_room(r, priority));
            }
        }
    }
}
