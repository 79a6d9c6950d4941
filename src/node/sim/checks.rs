//! What must always be true, and what must be true in the end.

use std::{
    collections::{BTreeMap, BTreeSet},
    task::{Context, Poll, Waker},
};

use antiphon_schemas::{Epoch, Event, MessageId, Seq, entry::is_erased, event::release};
use rand::RngExt;

use super::{
    super::{
        Claimed,
        core::{Answer, Answered, Command, Pending},
        erase::Due,
    },
    machine::LIMITS,
    plan::{MAX_AGE_MS, Plan, RETRY_BASE_MS},
    store::Store,
    world::World,
};
use crate::{
    fanout::{Feed, FeedItem, frame},
    projection::{Projections, SnapshotData},
};

/// A second, by clocks that drift and messages that take their time.
const TOLERANCE_MS: u64 = 3_000;

/// See the module header.
pub(super) struct Checks {
    plan: Plan,
    /// Posts that somebody was told are safe.
    acknowledged: BTreeSet<MessageId>,
    /// Posts whose id was somebody else's when they were repeated.
    refused: BTreeSet<MessageId>,
    /// The claims given out, by epoch and fence.
    fences: BTreeMap<(Epoch, Seq), String>,
    doubled: Option<String>,
    /// The log up to here was looked at.
    looked: usize,
    looked_epoch: Epoch,
    /// How often somebody asked for an answer again, in whatever epoch.
    asked_again: BTreeMap<MessageId, usize>,
    /// Since which true time each message waits, and when its last try failed.
    asked_ms: BTreeMap<MessageId, u64>,
    failed_ms: BTreeMap<MessageId, u64>,
    pub(super) failed_over_at: u64,
    feeds: BTreeMap<usize, Followed>,
}

/// A subscriber of room 0 on a machine.
struct Followed {
    process: u64,
    epoch: Epoch,
    feed: std::sync::Arc<Feed>,
    slot: u64,
    /// The last durable position of before it came.
    joined: Seq,
    seen: Vec<Seq>,
}

impl Checks {
    pub(super) fn new(plan: Plan) -> Checks {
        Checks {
            plan,
            acknowledged: BTreeSet::new(),
            refused: BTreeSet::new(),
            fences: BTreeMap::new(),
            doubled: None,
            looked: 0,
            looked_epoch: Epoch(1),
            asked_again: BTreeMap::new(),
            asked_ms: BTreeMap::new(),
            failed_ms: BTreeMap::new(),
            failed_over_at: 0,
            feeds: BTreeMap::new(),
        }
    }

    pub(super) fn acknowledged(&mut self, command: &Command, answered: &Answered) {
        if let (Command::Post(post), Answer::Entries(_) | Answer::Already(_) | Answer::Parked(_)) =
            (command, &answered.answer)
        {
            self.acknowledged.insert(post.id);
        }
    }

    /// How long ago the last failover was, in ms.
    pub(super) fn since_failover(&self, true_ms: u64) -> u64 {
        if self.failed_over_at == 0 { u64::MAX } else { true_ms - self.failed_over_at }
    }

    pub(super) fn refused(&mut self, id: MessageId) {
        self.refused.insert(id);
    }

    pub(super) fn claimed(&mut self, claimed: &Claimed) {
        let key = (claimed.epoch, claimed.held.fence);
        let holder = format!("{} of {}", claimed.reply_id, claimed.bot);
        if let Some(before) = self.fences.insert(key, holder.clone()) {
            self.doubled = Some(format!("claim {key:?} was given to {before} and to {holder}"));
        }
    }

    /// What was lost comes again.
    pub(super) fn failed_over(&mut self, store: &Store) {
        self.looked = self.looked.min(store.entries.len());
        self.looked_epoch = store.epoch;
    }
}

impl World {
    /// After each step of a machine.
    pub(super) fn check_step(&mut self, machine: usize) -> Result<(), String> {
        if let Some(doubled) = &self.checks.doubled {
            return Err(doubled.clone());
        }
        self.check_new_entries()?;
        self.check_certificate(machine)?;
        // These look at the whole log: now and then, and in the end.
        if self.rng.random_bool(0.03) {
            self.check_feed(machine)?;
        }
        if self.rng.random_bool(0.005) {
            self.check_fold(machine)?;
        }
        Ok(())
    }

    /// Each new entry: nobody's claim is taken away without need, nobody is given up or tried again before the time.
    fn check_new_entries(&mut self) -> Result<(), String> {
        let (checks, store) = (&mut self.checks, &self.store);
        while checks.looked < store.entries.len() {
            let (entry, true_ms) = (&store.entries[checks.looked], store.true_ms[checks.looked]);
            checks.looked += 1;
            match &entry.event {
                Event::MessagePosted(e) => drop(checks.asked_ms.insert(e.id, true_ms)),
                Event::MessageFailed(e) => drop(checks.failed_ms.insert(e.message_id, true_ms)),
                Event::MessageReleased(e) => {
                    if &*e.reason == release::RETRY_ASKED {
                        *checks.asked_again.entry(e.message_id).or_default() += 1;
                        checks.asked_ms.insert(e.message_id, true_ms);
                    }
                    let failed = checks.failed_ms.get(&e.message_id).copied().unwrap_or(0);
                    if &*e.reason == release::RETRY_DUE && true_ms + TOLERANCE_MS < failed + RETRY_BASE_MS / 2 {
                        return Err(format!(
                            "{} was tried again {} ms after it failed",
                            e.message_id,
                            true_ms - failed
                        ));
                    }
                    if &*e.reason == release::LEASE_OVER && checks.plan.nodes == 1 {
                        return Err(format!("{} was taken from a holder that was alive", e.message_id));
                    }
                }
                Event::MessageDead(e) => {
                    let asked = checks.asked_ms.get(&e.message_id).copied().unwrap_or(0);
                    // A process that starts after a step of the clock cannot know that there was one.
                    let knows = checks.failed_over_at == 0 && !(checks.plan.steps && checks.plan.kills);
                    if &*e.reason == "too-old" && true_ms + TOLERANCE_MS < asked + MAX_AGE_MS && knows {
                        return Err(format!("{} was too old after {} ms", e.message_id, true_ms - asked));
                    }
                    if e.reason.contains("no heartbeat") && checks.plan.nodes == 1 {
                        return Err(format!(
                            "{} was given up although its holder was alive: {}",
                            e.message_id, e.reason
                        ));
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// A follower of the room gets each durable event once, in order, in what it was given and in what comes.
    fn check_feed(&mut self, machine: usize) -> Result<(), String> {
        let to = &self.machines[machine];
        let (epoch, position, built) = {
            let state = to.view.state();
            (state.epoch, state.projections.position, state.built)
        };
        let stale = self.checks.feeds.get(&machine).is_none_or(|f| f.process != to.process || f.epoch != epoch);
        if stale {
            if built {
                let feed = to.view.feeds.follow(&super::world::room(0));
                let followed =
                    Followed { process: to.process, epoch, slot: feed.end(), feed, joined: position, seen: Vec::new() };
                self.checks.feeds.insert(machine, followed);
            }
            return Ok(());
        }
        let Some(followed) = self.checks.feeds.get_mut(&machine) else { return Ok(()) };
        let mut cx = Context::from_waker(Waker::noop());
        let known = &to.known.position;
        while followed.feed.end() > followed.slot {
            let bytes = match followed.feed.poll_take(&mut followed.slot, &mut cx) {
                Poll::Ready(FeedItem::Frames(bytes, _)) => bytes,
                // A text was taken back, and what was before it fell off: the log has it.
                Poll::Ready(FeedItem::Lagged) => {
                    let last = followed.seen.last().copied().unwrap_or(followed.joined);
                    let missed = to.seen.iter().filter(|entry| entry.header.seq > last && entry.header.seq <= *known);
                    let missed = missed.filter(|entry| frame::of_entry(entry, epoch, false).is_some());
                    followed.seen.extend(missed.map(|entry| entry.header.seq));
                    followed.slot = followed.feed.end();
                    break;
                }
                _ => break,
            };
            let text = std::str::from_utf8(&bytes).expect("frames are text");
            for id in text.lines().filter_map(|line| line.strip_prefix("id: ")) {
                let cursor: antiphon_schemas::Cursor = id.parse().expect("a cursor");
                if followed.seen.last().is_some_and(|last| *last >= cursor.seq) || cursor.seq <= followed.joined {
                    return Err(format!("a follower saw {} after {:?}", cursor.seq, followed.seen.last()));
                }
                followed.seen.push(cursor.seq);
            }
        }
        if self.store.epoch == epoch && self.store.up {
            let (joined, seen) = (followed.joined.0 as usize, &followed.seen);
            let upto = (position.0 as usize).min(self.store.entries.len()).max(joined);
            let there = self.store.entries[joined..upto].iter().filter(|entry| entry.header.room.is_some());
            // Kinds that a feed does not carry are not in it.
            let there = there.filter(|entry| frame::of_entry(entry, epoch, false).is_some());
            let there: Vec<Seq> = there.map(|entry| entry.header.seq).collect();
            if there != *seen {
                let same = seen.iter().zip(&there).take_while(|(a, b)| a == b).count();
                let (seen, there) = (&seen[same..], &there[same..]);
                return Err(format!("a follower of {machine} saw {seen:?} of {there:?} from {epoch}"));
            }
        }
        Ok(())
    }

    /// What a node calls erased is not in the log's bytes.
    fn check_certificate(&mut self, machine: usize) -> Result<(), String> {
        let to = &mut self.machines[machine];
        let done = to.view.erasing.agenda(|agenda| agenda.done());
        // Looked at when it says more than before.
        if std::mem::replace(&mut to.certified, done) == done {
            return Ok(());
        }
        if to.view.state().epoch != self.store.epoch || done == Seq::ZERO {
            return Ok(());
        }
        for entry in self.store.entries.iter().filter(|entry| entry.header.seq <= done) {
            let Event::MessageErased(e) = &entry.event else { continue };
            for seq in &e.positions {
                if !is_erased(&self.store.entries[seq.0 as usize - 1].body) {
                    return Err(format!("{} calls entry {seq} erased, and its text is there", to.name));
                }
            }
        }
        Ok(())
    }

    /// A node's state is the fold of the log.
    fn check_fold(&self, machine: usize) -> Result<(), String> {
        let to = &self.machines[machine];
        let state = to.view.state();
        if !state.built || state.epoch != self.store.epoch {
            return Ok(());
        }
        // A text that another node has erased already is not in the bytes from which this node's state was folded.
        let later = self.store.entries.iter().skip(state.projections.position.0 as usize);
        if later.into_iter().any(|entry| matches!(entry.event, Event::MessageErased(_))) {
            return Ok(());
        }
        let mut folded = Projections::resume(state.epoch, LIMITS, SnapshotData::default());
        for entry in self.store.entries.iter().take(state.projections.position.0 as usize) {
            folded.apply(entry);
        }
        if folded.snapshot() != state.projections.snapshot() {
            return Err(format!("the state of {} is not the fold of the log", to.name));
        }
        Ok(())
    }

    /// Whether everything is where it belongs.
    pub(super) fn has_settled(&self) -> bool {
        self.unsettled().is_empty()
    }

    /// What has not settled yet.
    pub(super) fn unsettled(&self) -> String {
        let mut what = Vec::new();
        if !self.actors.is_idle() {
            what.push(format!("{} wishes or claims are under way", self.actors.wanted.len()));
        }
        for machine in &self.machines {
            let state = machine.view.state();
            let open = state.projections.queue.iter().count();
            let behind = state.projections.position != self.store.tail() || state.epoch != self.store.epoch;
            let parked = machine.disk.counts().pending;
            if machine.erasing || machine.view.erasing.agenda(|agenda| agenda.due(self.is_shared())) != Due::Never {
                what.push(format!("{} has texts to erase", machine.name));
            }
            if machine.core.is_none() || !self.store.up || behind || open > 0 || parked > 0 {
                what.push(format!(
                    "{}: running {}, at {} of {}, {open} open, {parked} parked, {}",
                    machine.name,
                    machine.core.is_some(),
                    state.projections.position,
                    self.store.tail(),
                    state.condition.as_str()
                ));
            }
        }
        what.join("; ")
    }

    /// In the end: nothing acknowledged is lost or doubled, every asking has at most one answer, every caller an answer.
    pub(super) fn check_end(&mut self) -> Result<(), String> {
        let mut posts: BTreeMap<MessageId, usize> = BTreeMap::new();
        let mut replies = BTreeSet::new();
        let mut answered: BTreeMap<MessageId, usize> = BTreeMap::new();
        let mut erased = BTreeSet::new();
        for entry in &self.store.entries {
            match &entry.event {
                Event::MessagePosted(e) => *posts.entry(e.id).or_default() += 1,
                Event::ReplyPosted(e) if !replies.insert(e.id) => {
                    return Err(format!("reply {} is in the log twice", e.id));
                }
                Event::Erased(_) => erased.extend(entry.header.subjects.iter().copied()),
                Event::MessageCompleted(e) => {
                    let times = answered.entry(e.message_id).or_default();
                    *times += 1;
                    // A failover may have lost that it was asked again, and kept the answers.
                    if *times > 1 + self.checks.asked_again.get(&e.message_id).copied().unwrap_or(0) {
                        return Err(format!("{} was answered {times} times", e.message_id));
                    }
                }
                Event::MessageErased(e) => {
                    for seq in &e.positions {
                        if !is_erased(&self.store.entries[seq.0 as usize - 1].body) {
                            return Err(format!("entry {seq} was to be erased, and its text is there in the end"));
                        }
                    }
                }
                _ => {}
            }
        }
        let set_aside: BTreeSet<MessageId> =
            self.machines.iter().flat_map(|machine| machine.disk.refused.lock().unwrap().clone()).collect();
        for id in &self.checks.acknowledged {
            let there = posts.get(id).copied().unwrap_or(0) + usize::from(erased.contains(id));
            if there == 0 && !set_aside.contains(id) && !self.checks.refused.contains(id) {
                return Err(format!("{id} was acknowledged and is not in the log"));
            }
        }
        if let Some((id, n)) = posts.iter().find(|(_, n)| **n > 1) {
            return Err(format!("{id} is in the log {n} times"));
        }
        for machine in 0..self.machines.len() {
            self.check_fold(machine)?;
            self.check_feed(machine)?;
        }
        Ok(())
    }
}
