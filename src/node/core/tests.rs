//! The core by itself, one input at a time: the test is the driver, so nothing here waits, sleeps or races.

use std::{collections::VecDeque, sync::Mutex};

use antiphon_schemas::{Event, RequestId, event::MessagePosted};
use futures_util::FutureExt;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::{
    super::tests::{policy, question},
    *,
};
use crate::{
    clock::Clock,
    decide::{Prefetched, post::Post},
    log::{self, Access, Append, BATCH_MAX, Draft, Log, Resynced, memory::MemoryLog},
    outbox::{Counts, Parked, Settled},
    projection::{Limits, Projections, SnapshotData},
};

const LIMITS: Limits = Limits { recent_messages: 100, rooms: 10 };
const WALL_MS: u64 = 1_700_000_000_000;
/// More effects than anything here comes to.
const STEPS_MAX: usize = 1_000;

/// An outbox whose disk can fail: what is on it stays readable.
#[derive(Default)]
struct Disk {
    pending: Mutex<Vec<Parked>>,
    fails: Mutex<bool>,
}

impl Disk {
    fn write<T>(&self, write: impl FnOnce(&mut Vec<Parked>) -> T) -> Result<T, log::Error> {
        match *self.fails.lock().unwrap() {
            true => Err(log::Error::Poisoned("fsync".into())),
            false => Ok(write(&mut self.pending.lock().unwrap())),
        }
    }

    fn park(&self, posts: Vec<Post>) -> Result<Vec<Parked>, log::Error> {
        let parked: Vec<_> = posts.into_iter().map(|post| Parked { post, at_ms: WALL_MS }).collect();
        self.write(|pending| pending.extend(parked.iter().cloned()))?;
        Ok(parked)
    }

    fn settle(&self, ends: Vec<(MessageId, Settled)>) -> Result<(), log::Error> {
        self.write(|pending| pending.retain(|parked| !ends.iter().any(|(id, _)| *id == parked.post.id)))
    }
}

impl Pending for Disk {
    fn counts(&self) -> Counts {
        Counts { pending: self.pending.lock().unwrap().len(), ..Counts::default() }
    }

    fn get(&self, id: &MessageId) -> Option<Parked> {
        self.pending.lock().unwrap().iter().find(|parked| parked.post.id == *id).cloned()
    }

    fn first(&self, n: usize) -> Vec<Parked> {
        self.pending.lock().unwrap().iter().take(n).cloned().collect()
    }
}

/// An index that has nothing yet: all is in memory.
struct NoIndex;

impl IndexProgress for NoIndex {
    fn applied(&self) -> Seq {
        Seq::ZERO
    }

    fn failed(&self) -> Option<String> {
        None
    }
}

/// A core and all that its effects act on.
struct Bench {
    core: Core,
    view: Arc<View>,
    log: MemoryLog,
    disk: Arc<Disk>,
    now: Now,
    effects: VecDeque<Effect>,
}

impl Bench {
    /// A core that follows a log which others share.
    fn new() -> Bench {
        let (clock, _) = Clock::manual(WALL_MS);
        let (view, disk) = (Arc::new(View::new(LIMITS, WALL_MS)), Arc::<Disk>::default());
        let now = Now { at: Instant::now(), wall_ms: WALL_MS };
        let (ready, _) = oneshot::channel();
        let (policy, outbox) = (Arc::new(policy()), Some(disk.clone() as Arc<dyn Pending>));
        let setup =
            Setup { view: view.clone(), policy, name: "here".into(), shared: true, outbox, seed: [7; 32], ready };
        let log = MemoryLog::new(Epoch(7), clock);
        let mut bench = Bench { core: Core::new(setup, now), view, log, disk, now, effects: VecDeque::new() };
        bench.open();
        bench
    }

    fn on(&mut self, input: Input) {
        self.effects.extend(self.core.on(self.now, input));
    }

    /// The log can be used, and everything that follows has happened.
    fn open(&mut self) {
        let (epoch, log_ms) = (self.log.info().epoch, self.log.now_ms());
        self.on(Input::Access { access: Access::Open { epoch }, log_ms });
        self.run();
        assert_eq!(self.condition(), "connected");
    }

    fn away(&mut self) {
        self.on(Input::Access { access: Access::Away { why: "pulled the plug".into() }, log_ms: 0 });
        assert_eq!(self.condition(), "degraded");
    }

    /// Time passes, and what is due happens.
    fn pass(&mut self, by: Duration) {
        self.now.at += by;
        self.now.wall_ms += by.as_millis() as u64;
        self.on(Input::Time);
        self.run();
    }

    /// The other epoch of a log that has the first `keep` entries only.
    fn back_shorter(&mut self, keep: usize) {
        let kept = self.entries()[..keep].to_vec();
        let (clock, _) = Clock::manual(WALL_MS);
        self.log = MemoryLog::new(Epoch(self.log.info().epoch.0 + 1), clock);
        done(self.log.load(kept)).unwrap();
    }

    /// Carries out every effect until nothing more follows.
    fn run(&mut self) {
        for step in 0.. {
            let Some(effect) = self.effects.pop_front() else { return };
            assert!(step < STEPS_MAX, "it never comes to rest: {effect:?}");
            if let Some(input) = self.carry_out(effect) {
                self.on(input);
            }
        }
    }

    fn carry_out(&self, effect: Effect) -> Option<Input> {
        Some(match effect {
            Effect::Append(batch) => Input::Appended(done(self.log.append(batch))),
            Effect::Read { after, .. } => Input::Read(done(self.log.read(after, BATCH_MAX))),
            Effect::LookUp(needs) => Input::LookedUp(Ok(needs.iter().map(|_| Prefetched::none()).collect())),
            Effect::Park(posts) => Input::Parked(self.disk.park(posts)),
            Effect::Settle(ends) => Input::Settled(self.disk.settle(ends)),
            Effect::ResyncLanes { .. } => Input::Resynced(Ok(Resynced::InStep)),
            Effect::Rebuild => {
                let (epoch, entries) = (self.log.info().epoch, self.entries());
                let mut projections = Projections::resume(epoch, LIMITS, SnapshotData::default());
                entries.iter().for_each(|entry| projections.apply(entry));
                let (last, index) = (entries.last().cloned(), Arc::new(NoIndex));
                Input::Rebuilt(Ok(Box::new(Rebuilt { epoch, projections, last, lost: Vec::new(), index })))
            }
            Effect::Purge | Effect::Broadcast(_) | Effect::Index(_) | Effect::Forget(_) | Effect::Stop(_) => {
                return None;
            }
        })
    }

    /// Takes the one append that is to be done.
    fn take_append(&mut self) -> Vec<Append> {
        match self.effects.pop_front() {
            Some(Effect::Append(batch)) if self.effects.is_empty() => batch,
            other => panic!("{other:?}, {:?}", self.effects),
        }
    }

    /// Asks for a post that asks nobody.
    fn ask(&mut self, text: &str) -> oneshot::Receiver<Result<Answered, Error>> {
        let (answer, told) = oneshot::channel();
        let (command, epoch, facts) = (Command::Post(remark(text)), self.view.state().epoch, Prefetched::none());
        self.on(Input::Requests(vec![Request::Command { command, facts, epoch, answer }]));
        told
    }

    /// The same, carried out to its answer.
    fn post(&mut self, text: &str) -> Result<Answer, Error> {
        let mut told = self.ask(text);
        self.run();
        told.try_recv().unwrap().map(|answered| answered.answer)
    }

    /// An entry of another node, in the log but not here.
    fn elsewhere(&self, text: &str) {
        let Post { room, id, author, text, to, .. } = remark(text);
        let event = MessagePosted { id, author, text, to, ask: None, reply_to: None, hops: 0, said_at_ms: None };
        let drafts = vec![Draft::new(Some(room), event.into(), [1; 16]).unwrap()];
        let (after, request) = (Seq::ZERO, RequestId(Uuid::new_v4()));
        done(self.log.append(vec![Append { after, request, subjects: vec![], drafts, moves: vec![] }])).unwrap();
    }

    fn entries(&self) -> Vec<Arc<Entry>> {
        done(self.log.read(Seq::ZERO, usize::MAX)).unwrap()
    }

    fn texts(&self) -> Vec<String> {
        let text = |entry: &Arc<Entry>| match &entry.event {
            Event::MessagePosted(e) => Some(e.text.to_string()),
            _ => None,
        };
        self.entries().iter().filter_map(text).collect()
    }

    fn condition(&self) -> &'static str {
        self.view.state().condition.as_str()
    }
}

fn remark(text: &str) -> Post {
    Post { to: Some(vec![]), ..question(text) }
}

/// What a log in memory says: at once.
fn done<T>(pending: impl Future<Output = T>) -> T {
    pending.now_or_never().expect("a log in memory does not wait")
}

#[test]
fn an_answer_that_waits_for_an_entry_before_its_own_keeps_the_epoch_of_its_append() {
    let mut bench = Bench::new();
    let mut told = bench.ask("mine");
    let batch = bench.take_append();
    bench.elsewhere("theirs");
    let appended = done(bench.log.append(batch));
    bench.on(Input::Appended(appended));
    assert!(told.try_recv().is_err(), "the entry before it is not applied yet");
    // Before that one can be read, the store comes back as another.
    assert!(matches!(bench.effects.pop_front(), Some(Effect::Read { .. })));
    bench.back_shorter(1);
    bench.on(Input::Access { access: Access::Open { epoch: Epoch(8) }, log_ms: WALL_MS });
    bench.on(Input::Read(Err(log::Error::Away("another master took over".into()))));
    bench.run();
    let answered = told.try_recv().unwrap().unwrap();
    let Answer::Entries(own) = answered.answer else { panic!("{answered:?}") };
    assert_eq!((answered.epoch, own[0].header.seq, bench.view.state().epoch), (Epoch(7), Seq(2), Epoch(8)));
}

#[test]
fn an_answer_of_the_log_that_comes_after_another_epoch_began_keeps_the_epoch_of_its_append() {
    let mut bench = Bench::new();
    let mut told = bench.ask("mine");
    let batch = bench.take_append();
    let appended = done(bench.log.append(batch));
    bench.back_shorter(0);
    bench.on(Input::Access { access: Access::Open { epoch: Epoch(8) }, log_ms: WALL_MS });
    bench.on(Input::Appended(appended));
    bench.run();
    let answered = told.try_recv().unwrap().unwrap();
    assert_eq!((answered.epoch, bench.view.state().epoch), (Epoch(7), Epoch(8)));
}

#[test]
fn once_the_outboxs_disk_has_failed_posts_go_to_the_log_and_what_it_held_is_drained_once() {
    let mut bench = Bench::new();
    bench.away();
    assert!(matches!(bench.post("kept"), Ok(Answer::Parked(_))));
    *bench.disk.fails.lock().unwrap() = true;
    assert!(matches!(bench.post("not kept"), Err(Error::Log(log::Error::Poisoned(_)))));
    assert!(matches!(bench.post("neither"), Err(Error::Log(log::Error::Away(_)))), "nothing more is tried there");
    bench.open();
    assert!(matches!(bench.post("after"), Ok(Answer::Entries(_))));
    for _ in 0..3 {
        bench.pass(Duration::from_secs(60));
        bench.away();
        bench.open();
    }
    assert_eq!(bench.texts(), ["kept", "after"]);
}

#[test]
fn a_disk_that_fails_when_the_outbox_is_to_forget_a_post_does_not_double_it() {
    let mut bench = Bench::new();
    bench.away();
    assert!(matches!(bench.post("kept"), Ok(Answer::Parked(_))));
    *bench.disk.fails.lock().unwrap() = true;
    bench.open();
    assert!(matches!(bench.post("after"), Ok(Answer::Entries(_))));
    for _ in 0..3 {
        bench.pass(Duration::from_secs(60));
    }
    assert_eq!(bench.texts(), ["kept", "after"]);
    assert_eq!(bench.disk.counts().pending, 1, "the next start finds it in the log");
}

#[test]
fn a_step_of_the_stores_clock_is_shown_as_soon_as_that_is_read_again() {
    const HOUR_MS: u64 = 3_600_000;
    let mut bench = Bench::new();
    assert_eq!(bench.view.skew_ms(), 0);
    bench.on(Input::Access { access: Access::Open { epoch: Epoch(7) }, log_ms: WALL_MS + HOUR_MS });
    assert_eq!(bench.view.skew_ms(), HOUR_MS as i64);
}
