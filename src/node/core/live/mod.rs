//! Words while they are written: taken from the holder of the claim, shown here, told to the other nodes.
//!
//! Promises: only the live claim may speak, and its pieces count in order; every node's text is a prefix of what was
//! written: a piece that comes too early is left out, and the node asks for the whole text, at most once a second. What
//! other nodes say is never trusted with more than that: it changes no entry.
//! Not here: how words are encoded (`said`), who may speak (`decide::work`).

pub(super) mod said;

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use antiphon_schemas::{
    MessageId, RoomName, Seq,
    time::LogTime,
    wire::feed::{Delta, Progress, ReplySnapshot},
};
use bytes::Bytes;
use tracing::debug;

use self::said::{Said, SaidWord};
use super::super::{Error, LiveUpdate, REPLY_BYTES_MAX, Stage, State, Text, Writing};
use crate::{
    decide::{Prefetched, work, work::Held},
    fanout::{Frame, frame},
    projection::queue::{Claim, Open},
};

/// How long words are gathered before the other nodes hear them: one live entry a node instead of one a word.
const GATHER: Duration = Duration::from_millis(20);
/// At most how often a node asks for the same text.
const WHOLE_EVERY: Duration = Duration::from_secs(1);
/// How long a word about a claim that this node has not seen yet is kept.
const EARLY_MAX: Duration = Duration::from_secs(1);
/// What a worker does that sends pieces.
const WRITES: &str = "writing";
/// At most so many early words are kept, of so many bytes; the whole text makes up for more.
const EARLY_WORDS_MAX: usize = 1_024;
const EARLY_BYTES_MAX: usize = 1 << 20;

/// What waits to be told, and what came too early.
pub(super) struct Live {
    /// There are other nodes to tell.
    shared: bool,
    said: Vec<Said>,
    spoke: Option<Instant>,
    /// The claims whose last word was said here: this node says their whole texts when asked; when it last did.
    speaks: HashMap<Seq, Option<Instant>>,
    /// When this node last asked for a text.
    asked: HashMap<Seq, Instant>,
    early: VecDeque<(Instant, Said)>,
    early_bytes: usize,
}

/// What a word changed.
pub(super) struct Spoken {
    pub(super) room: RoomName,
    pub(super) frames: Vec<Frame>,
    pub(super) next_index: u32,
    pub(super) lease: Duration,
}

/// The times that a word is judged and shown by.
#[derive(Clone, Copy)]
pub(super) struct Times {
    pub(super) at: Instant,
    pub(super) wall_ms: u64,
    pub(super) log: LogTime,
}

impl Live {
    pub(super) fn new(shared: bool) -> Live {
        Live {
            shared,
            said: Vec::new(),
            spoke: None,
            speaks: HashMap::new(),
            asked: HashMap::new(),
            early: VecDeque::new(),
            early_bytes: 0,
        }
    }

    /// When there is something to say.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        (!self.said.is_empty()).then(|| self.spoke.map_or(now, |spoke| spoke + GATHER))
    }

    /// What was said belongs to another history.
    pub(super) fn forget(&mut self) {
        *self = Live::new(self.shared);
    }

    /// A claim is over.
    pub(super) fn end(&mut self, fence: Seq) {
        self.speaks.remove(&fence);
        self.asked.remove(&fence);
    }

    /// A live word: only of the live claim, and pieces only in order.
    pub(super) fn word(
        &mut self,
        state: &mut State,
        held: Held,
        word: LiveUpdate,
        times: Times,
    ) -> Result<Spoken, Error> {
        let (open, claim) = work::holder(&state.projections, &Prefetched::none(), held)?;
        let lease = Duration::from_millis(claim.lease_ms);
        let message_id = held.message_id;
        // Every claim applied has one; the last resort is an empty one.
        let writing = state.writing.entry(message_id).or_insert_with(|| Writing::new(open, claim, None));
        let (mut frames, mut said) = (Vec::new(), Vec::new());
        match word {
            LiveUpdate::Heartbeat => {
                said.push(SaidWord::Heartbeat);
                if writing.next_index > 0 {
                    said.push(SaidWord::Written { next_index: writing.next_index });
                }
            }
            LiveUpdate::Stage { stage, progress } => {
                writing.comes_to(&stage, progress, times.wall_ms);
                said.push(SaidWord::Stage { stage: stage.clone(), progress });
                frames.push(frame::live("reply.progress", &Progress { message_id, stage, ahead: None, progress }));
            }
            LiveUpdate::Delta { index, .. } if index < writing.next_index => {}
            LiveUpdate::Delta { index, before: None, .. } if index > writing.next_index => {
                return Err(Error::DeltaGap { expected: writing.next_index });
            }
            LiveUpdate::Delta { index, text, before } => {
                let missing = before.filter(|_| index > writing.next_index);
                let shown = missing.as_deref().unwrap_or(&writing.text);
                if !shown.starts_with(writing.text.as_str()) {
                    return Err(Error::TextMismatch);
                }
                if shown.len() + text.len() > REPLY_BYTES_MAX {
                    return Err(Error::ReplyTooLong);
                }
                if let Some(missing) = missing {
                    frames.push(writing.jump(message_id, index, &missing));
                    said.push(SaidWord::Whole { next_index: index, text: missing });
                }
                said.push(SaidWord::Delta { index, text: text.clone() });
                frames.push(writing.push(message_id, &text, claim, times));
            }
        }
        if self.shared {
            self.speaks.entry(held.fence).or_default();
            self.said.extend(said.into_iter().map(|word| Said { message: message_id, fence: held.fence, word }));
        }
        Ok(Spoken { room: writing.room.clone(), frames, next_index: writing.next_index, lease })
    }

    /// What was gathered, for the other nodes.
    pub(super) fn speak(&mut self, now: Instant) -> Vec<Bytes> {
        self.spoke = Some(now);
        said::encode(std::mem::take(&mut self.said))
    }

    /// The words of another node.
    pub(super) fn read(message: &Bytes) -> Vec<Said> {
        said::decode(message).unwrap_or_else(|why| {
            debug!(%why, "live words that cannot be read");
            Vec::new()
        })
    }

    /// What came before its claim did, and not too long ago.
    pub(super) fn take_early(&mut self, now: Instant) -> Vec<(Instant, Said)> {
        self.early_bytes = 0;
        let early = std::mem::take(&mut self.early);
        early.into_iter().filter(|(at, _)| *at + EARLY_MAX > now).collect()
    }

    /// Takes a word of another node, heard at `since`.
    pub(super) fn hear(&mut self, state: &mut State, said: Said, since: Instant, times: Times) -> Option<Spoken> {
        let Said { message, fence, word } = said;
        if fence > state.projections.position {
            let bytes = match &word {
                SaidWord::Delta { text, .. } | SaidWord::Whole { text, .. } => text.len(),
                _ => 0,
            };
            if self.early.len() < EARLY_WORDS_MAX && self.early_bytes + bytes <= EARLY_BYTES_MAX {
                self.early_bytes += bytes;
                self.early.push_back((since, Said { message, fence, word }));
            }
            return None;
        }
        let claim = state.projections.queue.claim(&message).filter(|claim| claim.fence == fence)?;
        let lease = Duration::from_millis(claim.lease_ms);
        let writing = state.writing.get_mut(&message)?;
        let mut frames = Vec::new();
        match word {
            SaidWord::Heartbeat => {}
            SaidWord::Ask => {
                // Asking is not a sign of life of the worker.
                self.tell_whole(message, fence, writing, times.at);
                return None;
            }
            SaidWord::Written { next_index } => {
                if next_index > writing.next_index {
                    self.ask(message, fence, times.at);
                }
            }
            SaidWord::Stage { stage, progress } => {
                writing.comes_to(&stage, progress, times.wall_ms);
                let message_id = message;
                frames.push(frame::live("reply.progress", &Progress { message_id, stage, ahead: None, progress }));
            }
            SaidWord::Delta { index, text } => {
                // Its worker has gone over to that node.
                self.speaks.remove(&fence);
                if index == writing.next_index && writing.text.len() + text.len() <= REPLY_BYTES_MAX {
                    frames.push(writing.push(message, &text, claim, times));
                } else if index > writing.next_index {
                    self.ask(message, fence, times.at);
                }
            }
            SaidWord::Whole { next_index, text } => {
                if next_index > writing.next_index && text.len() <= REPLY_BYTES_MAX {
                    frames.push(writing.jump(message, next_index, &text));
                }
            }
        }
        Some(Spoken { room: writing.room.clone(), frames, next_index: writing.next_index, lease })
    }

    fn ask(&mut self, message: MessageId, fence: Seq, now: Instant) {
        if self.asked.get(&fence).is_none_or(|asked| *asked + WHOLE_EVERY <= now) {
            self.asked.insert(fence, now);
            self.said.push(Said { message, fence, word: SaidWord::Ask });
        }
    }

    fn tell_whole(&mut self, message: MessageId, fence: Seq, writing: &Writing, now: Instant) {
        let Some(told) = self.speaks.get_mut(&fence) else { return };
        if writing.next_index > 0 && told.is_none_or(|told| told + WHOLE_EVERY / 4 <= now) {
            *told = Some(now);
            let word = SaidWord::Whole { next_index: writing.next_index, text: writing.text.as_str().into() };
            self.said.push(Said { message, fence, word });
        }
    }
}

impl Writing {
    /// Nothing of it was heard yet. `seen_at`: when this node saw the claim being made.
    pub(in crate::node) fn new(open: &Open, claim: &Claim, seen_at: Option<Instant>) -> Writing {
        Writing {
            room: open.room.clone(),
            reply_id: claim.reply_id,
            bot: open.ask.bot.clone(),
            next_index: 0,
            text: Text::default(),
            first_ms: None,
            stage: None,
            seen_at,
        }
    }

    /// Takes note of what its worker is doing.
    fn comes_to(&mut self, name: &std::sync::Arc<str>, progress: Option<f32>, now_ms: u64) {
        let before = self.stage.take().filter(|stage| stage.name == *name);
        let since_ms = before.map_or(now_ms, |stage| stage.since_ms);
        self.stage = Some(Stage { name: name.clone(), progress, since_ms });
    }

    /// Takes the next piece.
    fn push(&mut self, message_id: MessageId, text: &std::sync::Arc<str>, claim: &Claim, times: Times) -> Frame {
        let (reply_id, index) = (self.reply_id, self.next_index);
        let since_claim = match self.seen_at {
            Some(seen_at) => times.at.saturating_duration_since(seen_at).as_millis() as u64,
            None => times.log.ms_since(LogTime::from_log_ms(claim.at_ms)),
        };
        self.first_ms.get_or_insert(since_claim);
        // Not every worker says so.
        if self.stage.as_ref().is_none_or(|stage| &*stage.name != WRITES) {
            self.comes_to(&WRITES.into(), None, times.wall_ms);
        }
        self.next_index += 1;
        self.text.push_str(text);
        let delta = frame::live("reply.delta", &Delta { message_id, reply_id, index, text: text.clone() });
        Frame { shows: Some(reply_id), ..delta }
    }

    /// Takes everything before a piece.
    fn jump(&mut self, message_id: MessageId, next_index: u32, text: &str) -> Frame {
        let (reply_id, bot) = (self.reply_id, self.bot.clone());
        self.next_index = next_index;
        self.text = text.into();
        let snapshot = ReplySnapshot { message_id, reply_id, bot, next_index, text: text.into() };
        Frame { shows: Some(reply_id), ..frame::live("reply.snapshot", &snapshot) }
    }
}
