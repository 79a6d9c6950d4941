//! Words while they are written: taken from whoever holds the claim, shown here, told to the other nodes.
//!
//! Promises: only the live claim may speak, and its pieces count in order; every node's text is a prefix of what was
//! written: a piece that comes too early is left out, and the writer's node says the whole text so far once a second,
//! so that a node that missed something, or came late, has it again. What other nodes say is never trusted with more than
//! that: it changes no entry.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Arc, PoisonError},
    time::Duration,
};

use antiphon_schemas::{
    MessageId, RoomName, Seq,
    wire::feed::{Delta, Progress, ReplySnapshot},
};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tracing::debug;

use super::{Error, Heard, REPLY_BYTES_MAX, Stage, State, Word, Writing, conductor::Conductor};
use crate::{
    decide::{Facts, work, work::Held},
    fanout::{Frame, feed::Wake, frame},
    log::UPDATE_BYTES_MAX,
    projection::queue::{Claim, Open},
};

/// Words are gathered so long before the other nodes are told: one live entry a node instead of one a word.
const GATHER: Duration = Duration::from_millis(20);
/// The whole text so far is said this often, for nodes that missed a piece.
const WHOLE_EVERY: Duration = Duration::from_secs(1);
/// A word about a claim that this node has not seen yet waits so long for it.
const EARLY_MAX: Duration = Duration::from_secs(1);
/// What a worker does that sends pieces.
const WRITES: &str = "writing";
/// So many of them wait; the whole text makes up for more.
const EARLY_WORDS_MAX: usize = 1_024;

/// A live word as nodes tell it each other.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Said {
    message: MessageId,
    fence: Seq,
    word: SaidWord,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
enum SaidWord {
    Heartbeat,
    Stage { stage: Arc<str>, progress: Option<f32> },
    Delta { index: u32, text: Arc<str> },
    Whole { next_index: u32, text: Arc<str> },
}

/// What waits to be told, and what came too early.
pub(super) struct Live {
    /// There are other nodes to tell.
    shared: bool,
    said: Vec<Said>,
    spoke: Option<Instant>,
    whole: Option<Instant>,
    /// The claims whose last word was said here: this node says their whole texts.
    speaks: HashSet<Seq>,
    early: VecDeque<(Instant, Said)>,
}

impl Live {
    pub(super) fn new(shared: bool) -> Live {
        Live { shared, said: Vec::new(), spoke: None, whole: None, speaks: HashSet::new(), early: VecDeque::new() }
    }

    /// When there is something to say.
    pub(super) fn due(&self) -> Option<Instant> {
        let words = (!self.said.is_empty()).then(|| self.spoke.map_or_else(Instant::now, |spoke| spoke + GATHER));
        [words, self.whole].into_iter().flatten().min()
    }

    /// What was said belongs to another history.
    pub(super) fn forget(&mut self) {
        *self = Live::new(self.shared);
    }

    fn tell(&mut self, held: Held, word: SaidWord) {
        if self.shared {
            self.said.push(Said { message: held.message_id, fence: held.fence, word });
            self.speaks.insert(held.fence);
            self.whole.get_or_insert_with(|| Instant::now() + WHOLE_EVERY);
        }
    }
}

/// What is said, in updates that the log takes: the longest reply fits, and what its place takes besides.
fn updates(said: Vec<Said>) -> Vec<Vec<Said>> {
    /// Half of what an update may have: ids, stages and the encoding have the rest.
    const TEXT_BYTES_MAX: usize = UPDATE_BYTES_MAX / 2;
    /// What a word takes besides its text, at least: so many short ones fit, too.
    const WORD_BYTES: usize = 64;
    let (mut updates, mut bytes): (Vec<Vec<Said>>, usize) = (Vec::new(), usize::MAX);
    for said in said {
        let more = WORD_BYTES
            + match &said.word {
                SaidWord::Delta { text, .. } | SaidWord::Whole { text, .. } => text.len(),
                SaidWord::Stage { stage, .. } => stage.len(),
                SaidWord::Heartbeat => 0,
            };
        bytes = bytes.saturating_add(more);
        match updates.last_mut().filter(|_| bytes <= TEXT_BYTES_MAX) {
            Some(last) => last.push(said),
            None => {
                updates.push(vec![said]);
                bytes = more;
            }
        }
    }
    updates
}

impl Conductor {
    /// A live word: only of the live claim, and pieces only in order.
    pub(super) fn word(&mut self, held: Held, word: Word) -> Result<Heard, Error> {
        let inner = self.inner.clone();
        let mut guard = inner.state.write().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *guard;
        let (open, claim) = work::holder(&state.projections, &Facts::none(), held)?;
        let lease = Duration::from_millis(claim.lease_ms);
        let message_id = held.message_id;
        // Every claim applied has one; the last resort is an empty one.
        let writing = state.writing.entry(message_id).or_insert_with(|| Writing::new(open, claim));
        let now_ms = inner.clock.now_ms();
        let (frames, said) = match word {
            Word::Heartbeat => (vec![], vec![SaidWord::Heartbeat]),
            Word::Stage { stage, progress } => {
                writing.comes_to(&stage, progress, now_ms);
                let said = SaidWord::Stage { stage: stage.clone(), progress };
                (
                    vec![frame::live("reply.progress", &Progress { message_id, stage, ahead: None, progress })],
                    vec![said],
                )
            }
            Word::Delta { index, .. } if index < writing.next_index => (vec![], vec![]),
            Word::Delta { index, before: None, .. } if index > writing.next_index => {
                return Err(Error::DeltaGap { expected: writing.next_index });
            }
            Word::Delta { index, text, before } => {
                let missing = before.filter(|_| index > writing.next_index);
                let shown = missing.as_deref().unwrap_or(&writing.text);
                if !shown.starts_with(writing.text.as_str()) {
                    return Err(Error::TextMismatch);
                }
                if shown.len() + text.len() > REPLY_BYTES_MAX {
                    return Err(Error::ReplyTooLong);
                }
                let (mut frames, mut said) = (Vec::with_capacity(2), Vec::with_capacity(2));
                if let Some(missing) = missing {
                    frames.push(writing.jump(message_id, index, &missing));
                    said.push(SaidWord::Whole { next_index: index, text: missing });
                }
                frames.push(writing.push(message_id, text.clone(), claim, now_ms));
                said.push(SaidWord::Delta { index, text });
                (frames, said)
            }
        };
        inner.roster.heard(claim, &writing.bot, now_ms);
        let next_index = writing.next_index;
        let feed = inner.feeds.get(&writing.room).filter(|_| !frames.is_empty());
        let wake = feed.map(|feed| feed.push(frames));
        drop(guard);
        wake.into_iter().for_each(Wake::wake);
        inner.monitor.stir();
        said.into_iter().for_each(|word| self.live.tell(held, word));
        self.timers.set(message_id, Some(Instant::now() + lease));
        Ok(Heard { next_index, lease })
    }

    /// Tells the other nodes what was gathered, and once a second the whole of what is being written here.
    pub(super) fn speak(&mut self) {
        let now = Instant::now();
        if self.live.whole.is_some_and(|at| at <= now) {
            let inner = self.inner.clone();
            let state = inner.state.read().unwrap_or_else(PoisonError::into_inner);
            let mut live = HashSet::new();
            for (message, text) in &state.writing {
                let Some(claim) = state.projections.queue.claim(message) else { continue };
                if !self.live.speaks.contains(&claim.fence) {
                    continue;
                }
                live.insert(claim.fence);
                if text.next_index == 0 {
                    continue;
                }
                let word = SaidWord::Whole { next_index: text.next_index, text: text.text.as_str().into() };
                self.live.said.push(Said { message: *message, fence: claim.fence, word });
            }
            self.live.whole = (!live.is_empty()).then_some(now + WHOLE_EVERY);
            self.live.speaks = live;
        }
        let said = std::mem::take(&mut self.live.said);
        if !said.is_empty() {
            self.live.spoke = Some(now);
            let updates = updates(said).into_iter().filter_map(|said| rmp_serde::to_vec(&said).ok());
            if let Some(shared) = self.inner.log.shared() {
                updates.for_each(|update| shared.broadcast(update.into()));
            }
        }
    }

    /// Takes what another node says.
    pub(super) fn heard(&mut self, words: &Bytes) {
        match rmp_serde::from_slice::<Vec<Said>>(words) {
            Ok(said) => said.into_iter().for_each(|said| self.hear(said)),
            // A node of another version: the final texts come through the log.
            Err(why) => debug!(%why, "live words that cannot be read"),
        }
    }

    /// Takes what came before its claim did, if that is here now.
    pub(super) fn heard_early(&mut self) {
        let oldest = Instant::now() - EARLY_MAX;
        for (at, said) in std::mem::take(&mut self.live.early) {
            if at > oldest {
                self.hear_since(said, at);
            }
        }
    }

    fn hear(&mut self, said: Said) {
        self.hear_since(said, Instant::now());
    }

    fn hear_since(&mut self, said: Said, since: Instant) {
        let inner = self.inner.clone();
        let mut guard = inner.state.write().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *guard;
        if said.fence > state.projections.position {
            drop(guard);
            if self.live.early.len() < EARLY_WORDS_MAX {
                self.live.early.push_back((since, said));
            }
            return;
        }
        let Some(claim) = state.projections.queue.claim(&said.message).filter(|claim| claim.fence == said.fence) else {
            return;
        };
        let (lease, now_ms) = (Duration::from_millis(claim.lease_ms), inner.clock.now_ms());
        if let Some(writing) = state.writing.get(&said.message) {
            inner.roster.heard(claim, &writing.bot, now_ms);
        }
        let message_id = said.message;
        // Its worker has gone over to that node.
        if matches!(said.word, SaidWord::Delta { .. }) {
            self.live.speaks.remove(&said.fence);
        }
        let wake = shown(state, said, now_ms).and_then(|(room, frame)| Some(inner.feeds.get(&room)?.push([frame])));
        drop(guard);
        wake.into_iter().for_each(Wake::wake);
        inner.monitor.stir();
        self.timers.set(message_id, Some(Instant::now() + lease));
    }
}

/// Changes the text in flight by a word of another node; what a subscriber is told of it.
fn shown(state: &mut State, said: Said, now_ms: u64) -> Option<(RoomName, Frame)> {
    let message_id = said.message;
    let claim = state.projections.queue.claim(&message_id)?;
    let writing = state.writing.get_mut(&message_id)?;
    let frame = match said.word {
        SaidWord::Heartbeat => return None,
        SaidWord::Stage { stage, progress } => {
            writing.comes_to(&stage, progress, now_ms);
            frame::live("reply.progress", &Progress { message_id, stage, ahead: None, progress })
        }
        SaidWord::Delta { index, text } => {
            if index != writing.next_index || writing.text.len() + text.len() > REPLY_BYTES_MAX {
                return None;
            }
            writing.push(message_id, text, claim, now_ms)
        }
        SaidWord::Whole { next_index, text } => {
            if next_index <= writing.next_index || text.len() > REPLY_BYTES_MAX {
                return None;
            }
            writing.jump(message_id, next_index, &text)
        }
    };
    Some((writing.room.clone(), frame))
}

impl Writing {
    /// Nothing of it was heard yet.
    pub(super) fn new(open: &Open, claim: &Claim) -> Writing {
        Writing {
            room: open.room.clone(),
            reply_id: claim.reply_id,
            bot: open.ask.bot.clone(),
            next_index: 0,
            text: String::new(),
            first_ms: None,
            stage: None,
        }
    }

    /// Takes note of what its worker is doing.
    fn comes_to(&mut self, name: &Arc<str>, progress: Option<f32>, now_ms: u64) {
        let before = self.stage.take().filter(|stage| stage.name == *name);
        let since_ms = before.map_or(now_ms, |stage| stage.since_ms);
        self.stage = Some(Stage { name: name.clone(), progress, since_ms });
    }

    /// Takes the next piece.
    fn push(&mut self, message_id: MessageId, text: Arc<str>, claim: &Claim, now_ms: u64) -> Frame {
        let (reply_id, index) = (self.reply_id, self.next_index);
        self.first_ms.get_or_insert(now_ms.saturating_sub(claim.at_ms));
        // Not every worker says so.
        if self.stage.as_ref().is_none_or(|stage| &*stage.name != WRITES) {
            self.comes_to(&WRITES.into(), None, now_ms);
        }
        self.next_index += 1;
        self.text.push_str(&text);
        let delta = frame::live("reply.delta", &Delta { message_id, reply_id, index, text });
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
