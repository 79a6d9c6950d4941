//! What may happen next: `decide(state, command) -> events or refusal`, as pure functions.
//!
//! Promises: no clock, no randomness, no I/O: time, jitter and fresh ids are arguments; the same arguments give the
//! same events, so a command whose append met a conflict is simply decided again.
//! Not here: appending, waiting, timers (`node`).
//! Start with [`post`], then [`work`] (claims and their ends), [`change`] (cancel, retry, redact, erase), [`key`] (who may answer from
//! outside) and [`repair`] (entries that a store has lost).

pub mod change;
pub mod key;
mod mention;
pub mod post;
pub mod repair;
#[cfg(test)]
pub(crate) mod tests;
pub mod work;

use std::sync::Arc;

use antiphon_schemas::{BotName, Entry, Event, MessageId, RoomName, Seq, event::Ask, wire::Status};

use crate::projection::{Projections, record::Record};

/// A room's share of a priority's first lane; its further posts go onto the second, which is read after the first,
/// so that a flood in one room does not starve the rest.
pub const FIRST_LANE_PER_ROOM: u32 = 4;

/// The operator's settings that decisions depend on.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Waiting messages per bot; more are rejected.
    pub queue_max: usize,
    /// Attempts before a message is given up.
    pub attempts_max: u32,
    /// Questions older than this are no longer answered.
    pub max_age_ms: u64,
    /// How long a claim stays valid without a heartbeat.
    pub lease_ms: u64,
    /// The wait after the first failure; doubles with each further one.
    pub retry_base_ms: u64,
    /// The longest wait after a failure.
    pub retry_max_ms: u64,
    /// Who answers, and where.
    pub bots: Vec<BotRule>,
}

/// Which posts a bot answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BotRule {
    /// Its name.
    pub name: BotName,
    /// Exact room names, or `prefix*`; empty: every room.
    pub rooms: Vec<String>,
    /// Answers posts that name nobody; else only those that name it.
    pub answers_all: bool,
}

impl BotRule {
    /// Whether the bot is there in this room.
    pub fn serves(&self, room: &RoomName) -> bool {
        let fits = |pattern: &String| match pattern.strip_suffix('*') {
            Some(prefix) => room.as_str().starts_with(prefix),
            None => room.as_str() == pattern,
        };
        self.rooms.is_empty() || self.rooms.iter().any(fits)
    }
}

impl Policy {
    /// The bot that answers a person's post that names none: the first that serves the room and answers all.
    pub fn default_bot(&self, room: &RoomName) -> Option<&BotName> {
        self.bots.iter().find(|b| b.answers_all && b.serves(room)).map(|b| &b.name)
    }

    /// Whether this bot can be asked in this room.
    pub fn can_ask(&self, bot: &BotName, room: &RoomName) -> bool {
        self.bots.iter().any(|b| b.name == *bot && b.serves(room))
    }

    /// The refusal of a bot that cannot be asked in this room: it names those that can.
    fn unknown_bot(&self, bot: &BotName, room: &RoomName) -> Refusal {
        let known = self.bots.iter().filter(|b| b.serves(room)).map(|b| b.name.clone()).collect();
        Refusal::UnknownBot { bot: bot.clone(), known }
    }
}

/// One message, read from index and log before a command is decided.
#[derive(Debug, Clone, PartialEq)]
pub struct Fact {
    /// Its record at [`Prefetched::as_of`].
    pub record: Record,
    /// The entry that posted it.
    pub posted: Arc<Entry>,
}

/// What a command needs from index and log, read at one position beforehand; the projections cover what is newer.
#[derive(Debug, Clone, PartialEq)]
pub struct Prefetched {
    /// The position at which they were read.
    pub as_of: Seq,
    /// The messages found; one that is missing did not exist then.
    pub known: Vec<(MessageId, Fact)>,
}

impl Prefetched {
    /// For commands that need none.
    pub fn none() -> Prefetched {
        Prefetched { as_of: Seq::MAX, known: Vec::new() }
    }

    /// Nothing could be read: a decision on these asks to read again.
    pub fn unknown() -> Prefetched {
        Prefetched { as_of: Seq::ZERO, known: Vec::new() }
    }

    /// Whether the projections still cover everything newer than these facts.
    pub fn fresh(&self, state: &Projections) -> bool {
        self.as_of >= state.newest.floor()
    }

    /// The message as of now.
    pub fn look(&self, state: &Projections, id: &MessageId) -> Option<Fact> {
        let known = self.known.iter().find(|(k, _)| k == id).map(|(_, fact)| fact);
        let record = state.newest.record(id, known.map(|fact| fact.record.clone()))?;
        let posted = state.newest.posted(id).or(known.map(|fact| &fact.posted))?.clone();
        Some(Fact { record, posted })
    }
}

/// What to do about a command that is not rejected.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// Append these events to this room, unless a newer entry touches one of the subjects.
    Append {
        /// The room.
        room: RoomName,
        /// Looked for in newer entries; empty for ids that no one else can know.
        subjects: Vec<MessageId>,
        /// All or none.
        events: Vec<Event>,
    },
    /// It has happened before: the entry that did it, and nothing to write.
    Already(Arc<Entry>),
    /// It already is as requested: nothing to write.
    Stands(Status),
}

/// Why a command is rejected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum Refusal {
    #[error("the id {0} is already used by another message; omit `id`, or choose a new UUID")]
    IdTaken(MessageId),
    #[error("a message can ask only one bot; name one in `to`")]
    OneBotOnly,
    #[error("there is no bot `{bot}` in this room; {}", key::there_are(.known))]
    UnknownBot { bot: BotName, known: Vec<BotName> },
    #[error("{waiting} messages are already waiting for `{bot}`; try again later")]
    QueueFull { bot: BotName, waiting: usize },
    #[error("the message that `reply_to` names is not in this room")]
    ReplyToElsewhere,
    #[error("there is no message {0}")]
    NoSuchMessage(MessageId),
    #[error("the message has already ended: {}", status_word(.0))]
    AlreadyEnded(Status),
    #[error("only a message that has ended can be asked again; this one is {}", status_word(.0))]
    NotFailed(Status),
    #[error("the message is hidden and cannot be asked again")]
    Redacted,
    #[error("the claim is no longer yours: `{worker}` has held the message since entry {fence}")]
    StaleFence { worker: Arc<str>, fence: Seq },
    #[error("this claim is over; the message is waiting for a new one")]
    ClaimOver,
    #[error("the claim with that key is over; claim again with a new `claim_key`")]
    KeyUsed,
    #[error("there is no bot `{bot}`; {}", key::there_are(.known))]
    NoSuchBot { bot: BotName, known: Vec<BotName> },
    #[error("there are already {} keys, the maximum; revoke unused ones", key::KEYS_MAX)]
    TooManyKeys,
    #[error("there is no key `{0}`; GET /api/keys lists them")]
    NoSuchKey(Arc<str>),
}

fn status_word(status: &Status) -> &'static str {
    match status {
        Status::None => "a message that asked no bot",
        Status::Waiting => "waiting",
        Status::Claimed => "claimed",
        Status::Answered => "answered",
        Status::Failed => "failed",
        Status::Dead => "dead",
        Status::Cancelled => "cancelled",
    }
}

/// The lane for an answer asked for in a room now.
fn lane(state: &Projections, room: &RoomName, bot: &BotName, priority: u8) -> Ask {
    let second = state.queue.waiting_in_room(room, priority) >= FIRST_LANE_PER_ROOM;
    Ask { bot: bot.clone(), priority, second }
}

fn room_for_one_more(state: &Projections, policy: &Policy, bot: &BotName) -> Result<(), Refusal> {
    let waiting = state.queue.depth(bot).waiting;
    if waiting >= policy.queue_max {
        return Err(Refusal::QueueFull { bot: bot.clone(), waiting });
    }
    Ok(())
}
