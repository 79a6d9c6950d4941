//! Words while they are written: taken from whoever holds the claim, shown here, told to the other nodes.
//!
//! Promises: only the live claim may speak, and its pieces count in order; every node's text is a prefix of what was
//! written: a piece that comes too early is left out, and the writer's node says the whole text so far once a second,
//! so that a node that missed something, or came late, has it again. What other nodes say is never trusted with more than
//! that: it changes no entry.

use std::{
    collections::VecDeque,
    sync::{Arc, PoisonError},
    time::Duration,
};

use antiphon_schemas::{
    MessageId, Seq,
    wire::feed::{Delta, Progress, ReplySnapshot},
};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tracing::debug;

use super::{Error, REPLY_BYTES_MAX, State, Word, conductor::Conductor};
use crate::{
    decide::{Facts, work, work::Held},
    fanout::{Frame, feed::Wake, frame},
};

/// Words are gathered so long before the other nodes are told: one live entry a node instead of one a word.
const GATHER: Duration = Duration::from_millis(20);
/// The whole text so far is said this often, for nodes that missed a piece.
const WHOLE_EVERY: Duration = Duration::from_secs(1);
/// A word about a claim that this node has not seen yet waits so long for it.
const EARLY_MAX: Duration = Duration::from_secs(1);
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
    Stage(Arc<str>),
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
    early: VecDeque<(Instant, Said)>,
}

impl Live {
    pub(super) fn new(shared: bool) -> Live {
        Live { shared, said: Vec::new(), spoke: None, whole: None, early: VecDeque::new() }
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
            self.whole.get_or_insert_with(|| Instant::now() + WHOLE_EVERY);
        }
    }
}

impl Conductor {
    /// A live word: only of the live claim, and pieces only in order.
    pub(super) fn word(&mut self, held: Held, word: Word) -> Result<(), Error> {
        let inner = self.inner.clone();
        let mut guard = inner.state.write().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *guard;
        let (_, claim) = work::holder(&state.projections, &Facts::none(), held)?;
        let lease = Duration::from_millis(claim.lease_ms);
        let message_id = held.message_id;
        let Some(writing) = state.writing.get_mut(&message_id) else { return Ok(()) };
        let (frame, said) = match word {
            Word::Heartbeat => (None, Some(SaidWord::Heartbeat)),
            Word::Stage(stage) => {
                let progress = Progress { message_id, stage: stage.clone(), ahead: None, progress: None };
                (Some(frame::live("reply.progress", &progress)), Some(SaidWord::Stage(stage)))
            }
            Word::Delta { index, .. } if index < writing.next_index => (None, None),
            Word::Delta { index, .. } if index > writing.next_index => {
                return Err(Error::DeltaGap { expected: writing.next_index });
            }
            Word::Delta { text, .. } if writing.text.len() + text.len() > REPLY_BYTES_MAX => {
                return Err(Error::ReplyTooLong);
            }
            Word::Delta { index, text } => {
                writing.next_index += 1;
                writing.text.push_str(&text);
                let reply_id = writing.reply_id;
                let delta = frame::live("reply.delta", &Delta { message_id, reply_id, index, text: text.clone() });
                (Some(Frame { shows: Some(reply_id), ..delta }), Some(SaidWord::Delta { index, text }))
            }
        };
        let wake = frame.and_then(|frame| Some(inner.feeds.get(&writing.room)?.push([frame])));
        drop(guard);
        wake.into_iter().for_each(Wake::wake);
        if let Some(said) = said {
            self.live.tell(held, said);
        }
        self.timers.set(message_id, Some(Instant::now() + lease));
        Ok(())
    }

    /// Tells the other nodes what was gathered, and once a second the whole of what is being written here.
    pub(super) fn speak(&mut self) {
        let now = Instant::now();
        if self.live.whole.is_some_and(|at| at <= now) {
            let inner = self.inner.clone();
            let state = inner.state.read().unwrap_or_else(PoisonError::into_inner);
            let mut writing = false;
            for (message, text) in &state.writing {
                let Some(claim) = state.projections.queue.claim(message) else { continue };
                if text.next_index == 0 || !self.claims.contains_key(&claim.fence) {
                    continue;
                }
                let word = SaidWord::Whole { next_index: text.next_index, text: text.text.as_str().into() };
                self.live.said.push(Said { message: *message, fence: claim.fence, word });
                writing = true;
            }
            self.live.whole = writing.then_some(now + WHOLE_EVERY);
        }
        let said = std::mem::take(&mut self.live.said);
        if !said.is_empty() {
            self.live.spoke = Some(now);
            if let Ok(words) = rmp_serde::to_vec(&said) {
                self.inner.log.say(words.into());
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
        let lease = Duration::from_millis(claim.lease_ms);
        let message_id = said.message;
        let wake = shown(state, said).and_then(|(room, frame)| Some(inner.feeds.get(&room)?.push([frame])));
        drop(guard);
        wake.into_iter().for_each(Wake::wake);
        self.timers.set(message_id, Some(Instant::now() + lease));
    }
}

/// Changes the text in flight by a word of another node; what a subscriber is told of it.
fn shown(state: &mut State, said: Said) -> Option<(antiphon_schemas::RoomName, Frame)> {
    let message_id = said.message;
    let writing = state.writing.get_mut(&message_id)?;
    let (reply_id, bot) = (writing.reply_id, writing.bot.clone());
    let frame = match said.word {
        SaidWord::Heartbeat => return None,
        SaidWord::Stage(stage) => {
            frame::live("reply.progress", &Progress { message_id, stage, ahead: None, progress: None })
        }
        SaidWord::Delta { index, text } => {
            if index != writing.next_index || writing.text.len() + text.len() > REPLY_BYTES_MAX {
                return None;
            }
            writing.next_index += 1;
            writing.text.push_str(&text);
            frame::live("reply.delta", &Delta { message_id, reply_id, index, text })
        }
        SaidWord::Whole { next_index, text } => {
            if next_index <= writing.next_index || text.len() > REPLY_BYTES_MAX {
                return None;
            }
            writing.next_index = next_index;
            writing.text = text.as_ref().into();
            let text = text.as_ref().into();
            frame::live("reply.snapshot", &ReplySnapshot { message_id, reply_id, bot, next_index, text })
        }
    };
    Some((writing.room.clone(), Frame { shows: Some(reply_id), ..frame }))
}
