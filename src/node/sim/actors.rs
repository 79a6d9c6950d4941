//! People who post, retry, cancel, hide and erase; bots that claim, write, answer, fail, and sometimes die.
//!
//! People repeat what was not acknowledged, on any machine, under the same id. Bots live in their machine's process: they
//! sleep and die with it.

use std::time::Duration;

use antiphon_schemas::{
    MessageId,
    event::{Author, AuthorKind, Made, release},
};
use rand::{RngExt, rngs::StdRng};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::{
    super::{
        Claimed, Error, Heard, LiveUpdate,
        core::{Answer, Answered, ClaimReply, Claimer, Command, Input, Request},
    },
    schedule::What,
    world::{World, bot, room},
};
use crate::decide::{
    Prefetched, Refusal,
    change::Change,
    post::Post,
    work::{ClaimRequest, End, Held},
};

/// How long somebody waits for an answer before asking again.
const PATIENCE: Duration = Duration::from_secs(20);
const HEARTBEAT: Duration = Duration::from_secs(3);

pub(super) type Answering = oneshot::Receiver<Result<Answered, Error>>;

/// Something that a person wants done.
pub(super) struct Wanted {
    pub(super) command: Command,
    asked: Option<(Duration, Answering)>,
    again_at: Duration,
}

/// One bot's slot.
pub(super) struct Slot {
    pub(super) machine: usize,
    bot: usize,
    pub(super) doing: Doing,
}

pub(super) enum Doing {
    Idle { until: Duration },
    Waits(oneshot::Receiver<Result<ClaimReply, Error>>),
    Works(Box<Work>),
}

/// A claim that is worked on.
pub(super) struct Work {
    pub(super) claimed: Claimed,
    text: String,
    index: u32,
    beat_at: Duration,
    write_at: Duration,
    said: Option<oneshot::Receiver<Result<Heard, Error>>>,
    end: Option<End>,
    ending: Option<Answering>,
}

/// See the module header.
pub(super) struct Actors {
    pub(super) wanted: Vec<Wanted>,
    pub(super) slots: Vec<Slot>,
    pub(super) posted: Vec<MessageId>,
    tickets: u64,
}

impl Actors {
    pub(super) fn new(machines: usize) -> Actors {
        let slots = (0..machines).flat_map(|machine| (0..2).map(move |bot| (machine, bot)));
        let slots = slots.map(|(machine, bot)| Slot { machine, bot, doing: Doing::Idle { until: Duration::ZERO } });
        Actors { wanted: Vec::new(), slots: slots.collect(), posted: Vec::new(), tickets: 1 }
    }

    /// A machine's process is gone, and its bots with it.
    pub(super) fn killed(&mut self, machine: usize) {
        for slot in self.slots.iter_mut().filter(|slot| slot.machine == machine) {
            slot.doing = Doing::Idle { until: Duration::ZERO };
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.wanted.is_empty() && self.slots.iter().all(|slot| !matches!(slot.doing, Doing::Works(_)))
    }
}

impl World {
    /// People and bots act.
    pub(super) fn act(&mut self) {
        self.hear_answers();
        if self.is_busy() && self.rng.random_bool(0.15) {
            let command = self.wish();
            self.actors.wanted.push(Wanted { command, asked: None, again_at: Duration::ZERO });
        }
        if self.plan.failovers && self.rng.random_bool(0.02) {
            self.replicate();
        }
        for n in 0..self.actors.wanted.len() {
            self.ask(n);
        }
        for n in 0..self.actors.slots.len() {
            let machine = self.actors.slots[n].machine;
            let there = self.machines[machine].core.is_some() && self.machines[machine].paused_until <= self.at;
            if there && self.machines[machine].view.state().built {
                self.work(n);
            }
        }
    }

    fn wish(&mut self) -> Command {
        let known = self.actors.posted.len();
        let some = |rng: &mut StdRng, posted: &[MessageId]| posted[rng.random_range(0..posted.len())];
        let pick = self.rng.random_range(0..100);
        let change = match pick {
            _ if known == 0 => None,
            0..6 => Some(Change::Cancel),
            6..14 => Some(Change::Retry),
            14..17 => Some(Change::Redact),
            17..22 => Some(Change::Erase),
            _ => None,
        };
        if let Some(change) = change {
            return Command::Change(some(&mut self.rng, &self.actors.posted), change);
        }
        let id = MessageId(uuid::Builder::from_random_bytes(self.rng.random()).into_uuid());
        let to = match self.rng.random_range(0..10) {
            0..6 => vec![bot(self.rng.random_range(0..2))],
            _ => vec![],
        };
        let reply_to = (known > 0 && self.rng.random_bool(0.05)).then(|| some(&mut self.rng, &self.actors.posted));
        let room = room(0);
        self.actors.posted.push(id);
        Command::Post(Post {
            room,
            id,
            fresh: false,
            author: Author { name: "ann".into(), kind: AuthorKind::Human, color: None },
            text: format!("message {id}").into(),
            to: Some(to),
            priority: 5,
            reply_to,
            said_at_ms: None,
        })
    }

    /// Asks for what is wanted, if nobody is asked, on a machine that is there.
    fn ask(&mut self, n: usize) {
        let wanted = &self.actors.wanted[n];
        if wanted.asked.is_some() || wanted.again_at > self.at {
            return;
        }
        let machine = self.rng.random_range(0..self.machines.len());
        if self.machines[machine].core.is_none() {
            return;
        }
        let command = wanted.command.clone();
        let needs = match &command {
            Command::Post(post) => post.needs(),
            Command::Change(id, _) => vec![*id],
            _ => vec![],
        };
        let built = self.machines[machine].view.state().built;
        let facts = match (self.machines[machine].facts(&needs), &command) {
            _ if built => self.machines[machine].facts(&needs).unwrap_or_else(|_| Prefetched::unknown()),
            (_, Command::Post(_)) => Prefetched::unknown(),
            _ => return,
        };
        let (answer, asked) = oneshot::channel();
        let epoch = self.epoch_of(machine);
        self.actors.wanted[n].asked = Some((self.at + PATIENCE, asked));
        self.request(machine, Request::Command { command, facts, epoch, answer });
    }

    /// Takes the answers that have come.
    pub(super) fn hear_answers(&mut self) {
        let mut n = 0;
        while n < self.actors.wanted.len() {
            let wanted = &mut self.actors.wanted[n];
            let heard = match &mut wanted.asked {
                None => None,
                Some((until, asked)) => match asked.try_recv() {
                    Ok(answer) => Some(Some(answer)),
                    Err(oneshot::error::TryRecvError::Closed) => Some(None),
                    Err(oneshot::error::TryRecvError::Empty) => (*until <= self.at).then_some(None),
                },
            };
            let Some(heard) = heard else {
                n += 1;
                continue;
            };
            let done = match heard {
                Some(Ok(Answered { answer: Answer::Stale, .. })) | None => false,
                Some(Ok(answered)) => {
                    let command = wanted.command.clone();
                    self.checks.acknowledged(&command, &answered);
                    true
                }
                Some(Err(Error::Refused(refusal))) => {
                    if let (Command::Post(post), Refusal::IdTaken(_)) = (&wanted.command, &refusal) {
                        self.checks.refused(post.id);
                    }
                    true
                }
                Some(Err(_)) => false,
            };
            if done {
                self.actors.wanted.swap_remove(n);
            } else {
                let wait = Duration::from_millis(self.rng.random_range(10..1_000));
                let wanted = &mut self.actors.wanted[n];
                (wanted.asked, wanted.again_at) = (None, self.at + wait);
                n += 1;
            }
        }
    }

    fn work(&mut self, n: usize) {
        let at = self.at;
        let (machine, of) = (self.actors.slots[n].machine, self.actors.slots[n].bot);
        match &mut self.actors.slots[n].doing {
            Doing::Idle { until } if *until > at => {}
            Doing::Idle { .. } => {
                let name = self.machines[machine].name.clone();
                let reply_id = MessageId(uuid::Builder::from_random_bytes(self.rng.random()).into_uuid());
                let incarnation = Some(Uuid::from_u128(u128::from(self.machines[machine].process)));
                let worker = format!("{name}/{}/1", bot(of)).into();
                let wish = ClaimRequest { bots: [bot(of)].into(), worker, incarnation, reply_id, keyed: false };
                let (answer, told) = oneshot::channel();
                self.actors.tickets += 1;
                let ticket = self.actors.tickets;
                let claimer =
                    Claimer { ticket, cold: false, until: None, kept: false, facts: Prefetched::none(), answer };
                self.actors.slots[n].doing = Doing::Waits(told);
                self.request(machine, Request::Claim { wish, claimer });
            }
            Doing::Waits(told) => match told.try_recv() {
                Ok(Ok(ClaimReply::Claimed(claimed))) => {
                    self.checks.claimed(&claimed);
                    let write_at = at + Duration::from_millis(self.rng.random_range(10..6_000));
                    let work = Work {
                        claimed,
                        text: String::new(),
                        index: 0,
                        beat_at: at,
                        write_at,
                        said: None,
                        end: None,
                        ending: None,
                    };
                    self.actors.slots[n].doing = Doing::Works(Box::new(work));
                }
                Err(oneshot::error::TryRecvError::Empty) => {}
                _ => self.actors.slots[n].doing = Doing::Idle { until: at + Duration::from_millis(500) },
            },
            Doing::Works(_) => self.write(n),
        }
    }

    /// A bot at work: it beats, writes a few pieces, and ends.
    fn write(&mut self, n: usize) {
        let (at, machine) = (self.at, self.actors.slots[n].machine);
        let Doing::Works(work) = &mut self.actors.slots[n].doing else { return };
        if work.claimed.over.is_cancelled() {
            self.actors.slots[n].doing = Doing::Idle { until: at };
            return;
        }
        if let Some(said) = &mut work.said {
            match said.try_recv() {
                Ok(Err(Error::Refused(_))) => {
                    self.actors.slots[n].doing = Doing::Idle { until: at };
                    return;
                }
                Err(oneshot::error::TryRecvError::Empty) => {}
                _ => work.said = None,
            }
        }
        let held = work.claimed.held;
        if work.beat_at <= at {
            work.beat_at = at + HEARTBEAT;
            let (answer, _) = oneshot::channel();
            self.word(machine, held, LiveUpdate::Heartbeat, answer);
            return;
        }
        if let Some(ending) = &mut work.ending {
            match ending.try_recv() {
                Err(oneshot::error::TryRecvError::Empty) => {}
                Ok(Ok(Answered { answer: Answer::Entries(_), .. })) | Ok(Err(Error::Refused(_))) => {
                    self.actors.slots[n].doing = Doing::Idle { until: at };
                }
                // Not now: the same again.
                _ => {
                    work.ending = None;
                    work.write_at = at + Duration::from_millis(500);
                }
            }
            return;
        }
        if work.write_at > at {
            return;
        }
        let pieces = 3;
        if work.index < pieces && work.said.is_none() {
            let text = format!("word {} ", work.index);
            let index = work.index;
            (work.index, work.write_at) = (index + 1, at + Duration::from_millis(self.rng.random_range(20..4_000)));
            work.text.push_str(&text);
            let (answer, said) = oneshot::channel();
            work.said = Some(said);
            self.word(machine, held, LiveUpdate::Delta { index, text: text.into(), before: None }, answer);
        } else if work.said.is_none() {
            let end = work.end.get_or_insert_with(|| match self.rng.random_range(0..10) {
                0 => End::Failed { reason: "model-broke: simulated".into(), retryable: true },
                1 => End::Released(release::GOODBYE),
                _ => End::Completed {
                    author: Author { name: "bot".into(), kind: AuthorKind::Bot, color: None },
                    text: work.text.as_str().into(),
                    made: Made::default(),
                },
            });
            let command = Command::End(held, end.clone());
            let (answer, ending) = oneshot::channel();
            work.ending = Some(ending);
            let facts = self.machines[machine].facts(&[held.message_id]).unwrap_or_else(|_| Prefetched::unknown());
            let epoch = self.epoch_of(machine);
            self.request(machine, Request::Command { command, facts, epoch, answer });
        }
    }

    fn word(&mut self, machine: usize, held: Held, word: LiveUpdate, answer: oneshot::Sender<Result<Heard, Error>>) {
        let (process, wait) = (self.machines[machine].process, Duration::from_micros(self.rng.random_range(20..2_000)));
        self.after(wait, What::Arrive { machine, process, input: Input::Say { held, word, answer } });
    }
}
