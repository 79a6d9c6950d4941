//! What goes into the core and what comes out of it.
//!
//! An input is something that happened: a request, the end of something that the core had asked for, time. An effect is
//! something to be done outside: at most one append, one read, one rebuild, one write to the outbox and one look-up are
//! under way at a time, and each ends in exactly one input.
//! Answers to callers are sent by the core itself: sending on a oneshot channel never waits.

use std::{sync::Arc, time::Instant};

use antiphon_schemas::{
    Entry, Epoch, Event, MessageId, RequestId, Seq,
    event::{LogCheckpoint, LogRepaired},
    time::LogTime,
    wire::Status,
};
use bytes::Bytes;
use tokio::sync::oneshot;

use super::{super::Error, claimers::Claimer};
use crate::{
    decide::{
        Prefetched,
        change::Change,
        key::KeyWish,
        post::Post,
        repair::Restore,
        work::{ClaimRequest, End, Held},
    },
    log::{self, Access, Append, Lane, Resynced, Verdict},
    node::{Heard, LiveUpdate},
    outbox::{Parked, Settled},
    projection::Projections,
};
/// The time of a turn.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    /// Monotonic.
    pub(crate) at: Instant,
    /// For people, in ms since 1970.
    pub(crate) wall_ms: u64,
}

/// Something that happened.
pub(crate) enum Input {
    /// What callers ask for, in their order.
    Requests(Vec<Request>),
    /// A live word of the holder of a claim.
    Say { held: Held, word: LiveUpdate, answer: oneshot::Sender<Result<Heard, Error>> },
    /// [`Effect::Append`] has ended.
    Appended(Result<Vec<Verdict>, log::Error>),
    /// [`Effect::Read`] has ended.
    Read(Result<Vec<Arc<Entry>>, log::Error>),
    /// [`Effect::LookUp`] has ended: facts for each, in order.
    LookedUp(Result<Vec<Prefetched>, Error>),
    /// [`Effect::Park`] has ended.
    Parked(Result<Vec<Parked>, log::Error>),
    /// [`Effect::Settle`] has ended.
    Settled(Result<(), log::Error>),
    /// [`Effect::ResyncLanes`] has ended.
    Resynced(Result<Resynced, log::Error>),
    /// [`Effect::Rebuild`] has ended.
    Rebuilt(Result<Box<Rebuilt>, Error>),
    /// Whether the log can be used has changed; and what its clock says, in ms since 1970.
    Access { access: Access, log_ms: u64 },
    /// The log is longer than what is applied here: another node has appended.
    Grown,
    /// Live words of another node.
    Heard(Bytes),
    /// The index has come further.
    Indexed,
    /// The [deadline](super::Core::deadline) has passed.
    Time,
}

/// Something to be done.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Append these.
    Append(Vec<Append>),
    /// Read the next entries after a position; with `reach`, once the log has come so far, or after a short wait.
    Read { after: Seq, reach: Option<Seq> },
    /// Read what must be known of these messages, for each of the node's own commands.
    LookUp(Vec<Vec<MessageId>>),
    /// Put these posts on this node's disk.
    Park(Vec<Post>),
    /// Take these posts out of the outbox.
    Settle(Vec<(MessageId, Settled)>),
    /// Take what is settled off this node's disk.
    Purge,
    /// Compare the lanes with the queue, and put right what differs.
    ResyncLanes { at: Seq, lanes: Vec<Lane> },
    /// Fold the log from what the disk has of it.
    Rebuild,
    /// Tell the other nodes.
    Broadcast(Bytes),
    /// Index these.
    Index(Vec<Arc<Entry>>),
    /// Erase what this process keeps of these positions.
    Forget(Vec<Seq>),
    /// Close everything; then tell these.
    Stop(Vec<oneshot::Sender<()>>),
}

/// A state folded from the log.
pub(crate) struct Rebuilt {
    pub(crate) epoch: Epoch,
    pub(crate) projections: Projections,
    /// The last entry folded in.
    pub(crate) last: Option<Arc<Entry>>,
    /// What this node has seen of the epoch before and the log no longer has.
    pub(crate) lost: Vec<Arc<Entry>>,
    pub(crate) index: Arc<dyn IndexProgress>,
}

/// How far the index has come.
pub(crate) trait IndexProgress: Send + Sync {
    /// The last position that readers of it see.
    fn applied(&self) -> Seq;
    /// Why it stopped for good.
    fn failed(&self) -> Option<String>;
}

/// What a node is asked to do.
#[expect(clippy::large_enum_variant, reason = "nearly all are commands, and the queue of them is bounded")]
pub(crate) enum Request {
    Command { command: Command, facts: Prefetched, epoch: Epoch, answer: oneshot::Sender<Result<Answered, Error>> },
    Claim { wish: ClaimRequest, claimer: Claimer },
    Withdraw { ticket: u64 },
    Probe,
    Stop { done: oneshot::Sender<()> },
}

/// A wish that may end in an append.
#[derive(Debug, Clone)]
pub(crate) enum Command {
    Post(Post),
    Change(MessageId, Change),
    End(Held, End),
    Due(MessageId, LogTime),
    Claim(ClaimRequest),
    Restore(Restore),
    Note(LogRepaired),
    Checkpoint(LogCheckpoint),
    Key(KeyWish),
}

impl Command {
    /// The message that it is about.
    pub(crate) fn message(&self) -> Option<MessageId> {
        match self {
            Command::Post(post) => Some(post.id),
            Command::Change(id, _) | Command::Due(id, _) => Some(*id),
            Command::End(held, _) => Some(held.message_id),
            Command::Restore(restore) => Some(restore.id),
            Command::Claim(_) | Command::Note(_) | Command::Checkpoint(_) | Command::Key(_) => None,
        }
    }

    /// The event that it is, if there is nothing to decide.
    pub(crate) fn fact(&self) -> Option<Event> {
        match self {
            Command::Note(noted) => Some(noted.clone().into()),
            Command::Checkpoint(checkpoint) => Some(checkpoint.clone().into()),
            _ => None,
        }
    }
}

/// What became of a command.
#[derive(Debug)]
pub(crate) enum Answer {
    /// Prefetched went stale before the decision: read them again.
    Stale,
    /// Appended.
    Entries(Vec<Arc<Entry>>),
    /// It had happened before.
    Already(Arc<Entry>),
    /// Nothing had to change.
    Stands(Status),
    /// On this node's disk, at this time.
    Parked(u64),
}

/// An answer, and where the node stood when it gave it: positions in the answer are of this epoch.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) answer: Answer,
    pub(crate) epoch: Epoch,
    pub(crate) position: Seq,
}

/// A command on its way, with the one who waits for it.
pub(crate) struct Item {
    pub(crate) command: Command,
    pub(crate) facts: Prefetched,
    pub(crate) request: RequestId,
    pub(crate) tries: u32,
    pub(crate) answer: To,
}

/// Commands that are done, and what became of them.
pub(crate) type Answers = Vec<(Item, Result<Answer, Error>)>;

/// Who hears what became of a command.
pub(crate) enum To {
    Caller(oneshot::Sender<Result<Answered, Error>>),
    Claimer(Claimer),
    /// The outbox, about this post.
    Drain(MessageId),
    /// The repair of a lost tail, about what has this place in it.
    TailRepair(i64),
    /// The node's own deadline, which comes again if it fails.
    Deadline,
}

impl To {
    /// Whether it is a command of the node's own that was accepted before: it is not refused for want of room.
    pub(crate) fn is_own(&self) -> bool {
        matches!(self, To::Drain(_) | To::TailRepair(_))
    }

    pub(crate) fn is_deadline(&self) -> bool {
        matches!(self, To::Deadline)
    }
}
