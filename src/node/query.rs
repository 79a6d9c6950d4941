//! Reading: messages from memory where they are recent, from index and log where they are older.
//!
//! Promise: every message comes by `projection::view`, so a hidden text never leaves.

use std::{sync::Arc, time::Duration};

use antiphon_schemas::{
    Entry, MessageId, RoomName, Seq, time,
    wire::{AuthorKind, Lane, Message, Queue, Queues, Room, Rooms, Step, Timeline},
};

use super::{
    Error, Node, State as Shown, Surroundings,
    indexed::{Indexed, index_error},
};
use crate::{
    decide::{Fact, Prefetched},
    fanout::frame,
    index::{Page, Reader},
    log::{self, READ_BYTES_MAX},
    projection::{
        record::Record,
        view::{self, position},
    },
};

/// How long a reader waits for the view or the index to reach a position.
const REACH: Duration = Duration::from_secs(5);
/// Rooms in one answer.
const ROOMS_MAX: usize = 500;

/// Which of a room's messages.
#[derive(Debug, Clone, Copy, Default)]
pub struct Range {
    /// Newer than this; then the oldest of them come first in the choice.
    pub after: Option<Seq>,
    /// Older than this; without `after` the newest of them are chosen.
    pub before: Option<Seq>,
    /// How many at most.
    pub limit: usize,
    /// Only what people, or only what programs said.
    pub kind: Option<AuthorKind>,
}

impl Range {
    fn has(&self, message: &Message) -> bool {
        let seq = message.position.0.seq;
        self.after.is_none_or(|after| seq > after)
            && self.before.is_none_or(|before| seq < before)
            && self.kind.is_none_or(|kind| message.author.kind == kind)
    }
}

impl Node {
    /// Reads what a command needs to know about these messages.
    pub(super) async fn facts(&self, ids: &[MessageId]) -> Result<Prefetched, Error> {
        if ids.is_empty() {
            return Ok(Prefetched::none());
        }
        self.state().check_built()?;
        let reader = self.inner.index().index.reader();
        let mut facts = Prefetched { as_of: reader.position(), known: Vec::new() };
        for id in ids {
            // What the index does not have is newer than `as_of`, and the projections cover it.
            let Some(record) = reader.record(*id).map_err(index_error)? else { continue };
            let newest = self.state().projections.newest.posted(id).cloned();
            let posted = match newest {
                Some(posted) => Some(posted),
                None => self.entries_at(&[record.posted()], usize::MAX).await?.pop(),
            };
            facts.known.extend(posted.map(|posted| (*id, Fact { record, posted })));
        }
        Ok(facts)
    }

    /// A message's state, or `None` if there is no such message.
    ///
    /// # Errors
    /// [`Error::Log`], [`Error::Index`].
    pub async fn record(&self, id: MessageId) -> Result<Option<Record>, Error> {
        Ok(self.fact(id).await?.map(|fact| fact.record))
    }

    /// A message as everybody sees it.
    ///
    /// # Errors
    /// [`Error::Log`], [`Error::Index`].
    pub async fn message(&self, id: MessageId) -> Result<Option<Message>, Error> {
        let fact = self.fact(id).await?;
        Ok(fact.and_then(|fact| view::message_now(&fact.posted, self.epoch(), &fact.record)))
    }

    /// The messages of a room in a range, oldest first, and the position of the view.
    ///
    /// # Errors
    /// [`Error::Behind`] if the index does not catch up in time; [`Error::Log`], [`Error::Index`].
    pub async fn messages(&self, room: &RoomName, range: Range) -> Result<(Vec<Arc<Message>>, Seq), Error> {
        let newest_only = range.after.is_none() && range.before.is_none() && range.kind.is_none();
        let (recent, at) = {
            let state = self.state();
            state.check_built()?;
            let limit = if newest_only { range.limit } else { usize::MAX };
            let after = range.after.unwrap_or(Seq::ZERO);
            (state.projections.recent.part(room, after, limit), state.projections.position)
        };
        let window = recent.window();
        let floor = window.floor.unwrap_or(at);
        let mut messages: Vec<_> = window.messages.into_iter().filter(|m| range.has(m)).collect();
        let forward = range.after.is_some();
        if !forward && messages.len() > range.limit {
            messages.drain(..messages.len() - range.limit);
        }
        let older = if forward { range.after < Some(floor) } else { messages.len() < range.limit && floor > Seq::ZERO };
        if older {
            let before = range.before.unwrap_or(Seq::MAX).min(floor.next());
            let missing = if forward { range.limit } else { range.limit - messages.len() };
            let page =
                Page { after: range.after, before: Some(before), limit: missing, newest: !forward, kind: range.kind };
            let mut older = self.indexed_messages(room, page, floor).await?;
            older.append(&mut messages);
            messages = older;
        }
        messages.truncate(range.limit);
        Ok((messages, at))
    }

    /// Messages that are in the index, once it has reached `floor`.
    pub(super) async fn indexed_messages(
        &self,
        room: &RoomName,
        page: Page,
        floor: Seq,
    ) -> Result<Vec<Arc<Message>>, Error> {
        self.index_reached(floor).await?;
        for _ in 0..super::TRIES_MAX {
            let reader = self.inner.index().index.reader();
            let posted = self.posted(&reader, room, page).await?;
            let epoch = self.epoch();
            let message =
                |(entry, record): &(Arc<Entry>, Record)| view::message_now(entry, epoch, record).map(Arc::new);
            let messages = posted.iter().filter_map(message).collect();
            if self.covers(&reader) {
                return Ok(messages);
            }
        }
        Err(Error::Busy)
    }

    /// The posts of a page, each with its current state.
    pub(super) async fn posted(
        &self,
        reader: &Reader,
        room: &RoomName,
        page: Page,
    ) -> Result<Vec<(Arc<Entry>, Record)>, Error> {
        let seqs = scan(reader, {
            let room = room.clone();
            move |reader| reader.messages(&room, page)
        })
        .await?;
        let mut posted: Vec<_> = self.entries_at(&seqs, usize::MAX).await?;
        posted.retain(|entry| view::posted_id(entry).is_some());
        let ids: Vec<_> = posted.iter().filter_map(|entry| view::posted_id(entry)).collect();
        let records = scan(reader, {
            let ids = ids.clone();
            move |reader| ids.iter().map(|id| reader.record(*id)).collect::<Result<Vec<_>, _>>()
        });
        let records = records.await?;
        let state = self.state();
        let newest = &state.projections.newest;
        let records = ids.iter().zip(records).map(|(id, record)| newest.record(id, record).unwrap_or_default());
        Ok(posted.into_iter().zip(records).collect())
    }

    /// Whether the projections still have everything newer than this reader. If not, what was made with it may lack a
    /// change, e.g. that a text is hidden: make it again with a new one.
    pub(super) fn covers(&self, reader: &Reader) -> bool {
        reader.position() >= self.state().projections.newest.floor()
    }

    /// The last messages of a room before a position that a model may see: none that are hidden.
    ///
    /// # Errors
    /// As [`Node::messages`].
    pub async fn context(&self, room: &RoomName, before: Seq, limit: usize) -> Result<Vec<Arc<Message>>, Error> {
        let range = Range { before: Some(before), limit, ..Range::default() };
        let (messages, _) = self.messages(room, range).await?;
        Ok(messages.into_iter().filter(|m| !m.redacted).collect())
    }

    /// Every event about a message, with the time between them; `None` if there is no such message.
    ///
    /// # Errors
    /// [`Error::Log`], [`Error::Index`].
    pub async fn timeline(&self, id: MessageId) -> Result<Option<Timeline>, Error> {
        let entries = self.history(id).await?;
        let Some(first_ms) = entries.first().map(|posted| posted.header.at_ms) else { return Ok(None) };
        let epoch = self.epoch();
        let mut steps: Vec<Step> = Vec::new();
        let mut last_ms = first_ms;
        for entry in entries {
            let (entry, redacted) = match view::posted_id(&entry) {
                Some(shown) => shown_by(entry, self.record(shown).await?),
                None => (entry, false),
            };
            steps.push(Step {
                event: entry.event.kind().into(),
                position: position(epoch, entry.header.seq),
                at: time::rfc3339(entry.header.at_ms),
                ms: entry.header.at_ms - last_ms,
                data: frame::value_of(&entry, epoch, redacted),
            });
            last_ms = entry.header.at_ms;
        }
        Ok(Some(Timeline { id, steps, total_ms: last_ms - first_ms }))
    }

    /// Every entry about a message, oldest first; none if there is no such message.
    pub(super) async fn history(&self, id: MessageId) -> Result<Vec<Arc<Entry>>, Error> {
        let Some(fact) = self.fact(id).await? else { return Ok(Vec::new()) };
        self.entries_at(&fact.record.positions, usize::MAX).await
    }

    /// The rooms by name, a page at a time.
    ///
    /// # Errors
    /// [`Error::Behind`], [`Error::Index`].
    pub async fn rooms(&self, after: Option<&RoomName>) -> Result<Rooms, Error> {
        self.state().check_built()?;
        self.index_reached(self.position()).await?;
        let (reader, after) = (self.inner.index().index.reader(), after.cloned());
        let page =
            scan(&reader, move |reader| reader.rooms(after.as_ref().map(|after| after.as_str()), ROOMS_MAX)).await?;
        let next = (page.len() == ROOMS_MAX).then(|| page.last().map(|room| room.room.clone())).flatten();
        let room = |room: crate::index::RoomSummary| Room {
            room: room.room,
            messages: room.messages,
            last_at: time::rfc3339(room.last_at_ms),
            position: position(self.epoch(), room.last_seq),
        };
        Ok(Rooms { rooms: page.into_iter().map(room).collect(), next })
    }

    /// Every bot's queue.
    pub fn queues(&self, surroundings: &dyn Surroundings) -> Queues {
        let now_ms = self.inner.log.now_ms();
        let bots = self.policy().bots.iter().map(|bot| &bot.name);
        let (seen, position) = {
            let state = self.state();
            let queue = &state.projections.queue;
            let seen = bots.map(|bot| {
                let lanes = queue.lanes(bot);
                let lanes = lanes.map(|(priority, second, n)| Lane { priority, second, waiting: n as u64 }).collect();
                (bot, queue.depth(bot), lanes, queue.oldest_ms(bot))
            });
            (seen.collect::<Vec<_>>(), position(state.epoch, state.projections.position))
        };
        let queues = seen.into_iter().map(|(bot, depth, lanes, oldest_ms)| Queue {
            bot: bot.clone(),
            model: surroundings.model(bot),
            waiting: depth.waiting as u64,
            retrying: depth.retrying as u64,
            claimed: depth.claimed as u64,
            oldest_wait_ms: oldest_ms.map_or(0, |since_ms| now_ms.saturating_sub(since_ms)),
            lanes,
            paused: surroundings.paused(bot),
        });
        Queues { queues: queues.collect(), position }
    }

    /// Waits, 5 s at most, until the view has reached a position.
    ///
    /// # Errors
    /// [`Error::Behind`] when the time is over.
    pub async fn reached(&self, seq: Seq) -> Result<(), Error> {
        let mut applied = self.inner.view.applied.subscribe();
        let reached = tokio::time::timeout(REACH, applied.wait_for(|at| *at >= seq)).await;
        reached.ok().and_then(Result::ok).map(|_| ()).ok_or(Error::Behind)
    }

    pub(super) async fn index_reached(&self, seq: Seq) -> Result<(), Error> {
        let Indexed { index, applied: mut indexed } = self.inner.index();
        if let Some(failure) = index.failed() {
            return Err(Error::Index(failure.to_string()));
        }
        let reached = tokio::time::timeout(REACH, indexed.wait_for(|at| *at >= seq)).await;
        reached.ok().and_then(Result::ok).map(|_| ()).ok_or(Error::Behind)
    }

    /// The entries of a room in `(after, upto]`, some of them, and how far they reach.
    pub(super) async fn room_entries(
        &self,
        room: &RoomName,
        after: Seq,
        upto: Seq,
    ) -> Result<(Vec<Arc<Entry>>, Seq), Error> {
        /// Entries read at once: bounds what a subscriber that is far behind holds in memory.
        const PAGE: usize = 256;
        let reader = self.inner.index().index.reader();
        let indexed = reader.position().min(upto);
        if upto.0 - after.0 <= PAGE as u64 || indexed <= after {
            let mut entries = self.inner.log.read(after, PAGE).await?;
            entries.retain(|e| e.header.seq <= upto);
            let end = entries.last().map_or(upto, |e| e.header.seq);
            entries.retain(|e| e.header.room.as_ref() == Some(room));
            return Ok((entries, end));
        }
        let seqs = scan(&reader, {
            let room = room.clone();
            move |reader| reader.entries(&room, after, indexed, PAGE)
        })
        .await?;
        let entries = self.entries_at(&seqs, READ_BYTES_MAX).await?;
        let end = match entries.last() {
            Some(last) if entries.len() < seqs.len() || seqs.len() == PAGE => last.header.seq,
            _ => indexed,
        };
        Ok((entries, end))
    }

    /// An entry as it may be shown, and whether the text that it shows is hidden.
    pub(super) fn shown(&self, reader: &Reader, entry: Arc<Entry>) -> Result<(Arc<Entry>, bool), Error> {
        Ok(match view::posted_id(&entry) {
            Some(id) => shown_by(entry, self.record_in(reader, &id)?),
            None => (entry, false),
        })
    }

    pub(super) fn record_in(&self, reader: &Reader, id: &MessageId) -> Result<Option<Record>, Error> {
        let indexed = reader.record(*id).map_err(index_error)?;
        Ok(self.state().projections.newest.record(id, indexed))
    }

    async fn fact(&self, id: MessageId) -> Result<Option<Fact>, Error> {
        for _ in 0..super::TRIES_MAX {
            let facts = self.facts(&[id]).await?;
            let state = self.state();
            if facts.fresh(&state.projections) {
                return Ok(facts.look(&state.projections, &id));
            }
        }
        Err(Error::Busy)
    }

    /// The entries at these positions, which ascend; not all of them once their bodies have `bytes_max` together.
    pub(super) async fn entries_at(&self, seqs: &[Seq], bytes_max: usize) -> Result<Vec<Arc<Entry>>, Error> {
        let mut entries: Vec<Arc<Entry>> = Vec::with_capacity(seqs.len());
        let mut bytes = 0;
        while entries.len() < seqs.len() && bytes < bytes_max {
            let got = self.inner.log.get(seqs[entries.len()..].to_vec()).await.map_err(|error| match error {
                log::Error::Invalid(why) => {
                    Error::Index(format!("it names an entry that the log does not have: {why}"))
                }
                error => Error::Log(error),
            })?;
            bytes += got.iter().map(|entry| entry.body.len()).sum::<usize>();
            entries.extend(got);
        }
        Ok(entries)
    }
}

fn shown_by(entry: Arc<Entry>, record: Option<Record>) -> (Arc<Entry>, bool) {
    match record {
        Some(record) => (view::as_recorded(&entry, &record), record.redacted),
        None => (entry, false),
    }
}

impl Shown {
    /// Refuses to show the empty state of before the log was reached for the first time.
    ///
    /// # Errors
    /// [`Error::Log`]: it is away.
    pub(super) fn check_built(&self) -> Result<(), Error> {
        let why = || self.condition.trouble().map_or_else(|| "it is being read".into(), |(_, why)| why.clone());
        if self.built { Ok(()) } else { Err(Error::Log(log::Error::Away(why()))) }
    }
}

/// Reads more of the index than a record: on a thread that may wait for the disk.
async fn scan<T: Send + 'static>(
    reader: &Reader,
    read: impl FnOnce(&Reader) -> Result<T, crate::index::Error> + Send + 'static,
) -> Result<T, Error> {
    let reader = reader.clone();
    let read = tokio::task::spawn_blocking(move || read(&reader)).await;
    read.map_err(|error| Error::Index(format!("the read broke off: {error}")))?.map_err(index_error)
}
