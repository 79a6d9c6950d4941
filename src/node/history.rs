//! A room as it was: its messages as they stood at a position, by the index and a few entries each.
//!
//! Promises: what is hidden now is hidden in every look back; the cost is that of the messages listed, however long the log
//! is and however far back it was.
//! Not here: folding a log from its start to a moment (`replay::room`), which must come to the same.

use std::sync::Arc;

use antiphon_schemas::{
    Entry, Event, MessageId, RoomName, Seq, time,
    wire::{InFlight, Message, MessagesThen},
};

use super::{Error, Node, TRIES_MAX, indexed::index_error};
use crate::{
    index::{Page, Reader},
    log::DRAFTS_MAX,
    projection::{
        record::{Change, Record},
        view,
    },
};

/// Which moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// After this entry, and those that came in the same append.
    Position(Seq),
    /// After everything that the log had taken by then, in ms since 1970.
    Time(u64),
}

/// A message, and where it stood.
struct Stood {
    posted: Arc<Entry>,
    record: Record,
    /// The last entry up to then that set its state.
    said: Option<Arc<Entry>>,
}

impl Node {
    /// The newest messages of a room as they stood at a moment, older ones than `before`; at most `limit`.
    ///
    /// # Errors
    /// As [`Node::messages`].
    pub async fn messages_then(
        &self,
        room: &RoomName,
        moment: Moment,
        before: Option<Seq>,
        limit: usize,
    ) -> Result<MessagesThen, Error> {
        self.state().check_built()?;
        let now = self.position();
        self.index_reached(now).await?;
        let at = match moment {
            Moment::Position(seq) => seq.min(now),
            Moment::Time(at_ms) => self.position_at(at_ms, now).await?,
        };
        let at = self.end_of_append(at, now).await?;
        for _ in 0..TRIES_MAX {
            let reader = self.inner.index().index.reader();
            let before = before.map_or(at.next(), |before| before.min(at.next()));
            let page = Page { before: Some(before), limit, newest: true, ..Page::default() };
            let stood = self.stood(&reader, room, page, at).await?;
            let first = Page { limit: 1, ..Page::default() };
            let (first, last) = (self.said_at(&reader, room, first), Page { newest: true, ..first });
            let (first_at, last_at) = (first.await?, self.said_at(&reader, room, last).await?);
            let last_entry = reader.last_entry(room, at).map_err(index_error)?;
            let last_entry = self.entries_at(last_entry.as_slice(), usize::MAX).await?.pop();
            if !self.covers(&reader) {
                continue;
            }
            let epoch = self.epoch();
            return Ok(MessagesThen {
                in_flight: stood.iter().filter_map(|stood| stood.in_flight()).collect(),
                messages: stood.iter().filter_map(|stood| stood.message(epoch)).collect(),
                position: view::position(epoch, at),
                at: last_entry.map(|entry| time::rfc3339(entry.header.at_ms)),
                first_at,
                last_at,
            });
        }
        Err(Error::Busy)
    }

    /// The last position up to `now` whose entry is not later than a time: found by halving within its second.
    async fn position_at(&self, at_ms: u64, now: Seq) -> Result<Seq, Error> {
        let reader = self.inner.index().index.reader();
        let second = at_ms / 1_000 * 1_000;
        let mut low = match second.checked_sub(1) {
            Some(before) => reader.at(before).map_err(index_error)?.min(now),
            None => Seq::ZERO,
        };
        let mut high = reader.at(at_ms).map_err(index_error)?.min(now);
        while low < high {
            let middle = Seq(low.0 + (high.0 - low.0).div_ceil(2));
            let entry = self.entries_at(&[middle], usize::MAX).await?.pop();
            match entry.is_some_and(|entry| entry.header.at_ms <= at_ms) {
                true => low = middle,
                false => high = Seq(middle.0 - 1),
            }
        }
        Ok(low)
    }

    /// An append is one moment: nobody saw an answer whose question was still open.
    async fn end_of_append(&self, at: Seq, now: Seq) -> Result<Seq, Error> {
        if at == Seq::ZERO {
            return Ok(at);
        }
        let entries = self.inner.log.read(Seq(at.0 - 1), DRAFTS_MAX).await?;
        let request = entries.first().map(|entry| entry.header.request);
        let own = entries.iter().take_while(|entry| Some(entry.header.request) == request && entry.header.seq <= now);
        Ok(own.last().map_or(at, |entry| entry.header.seq))
    }

    /// The messages of a page, and the entries that said where each stood.
    async fn stood(&self, reader: &Reader, room: &RoomName, page: Page, at: Seq) -> Result<Vec<Stood>, Error> {
        let posted = self.posted(reader, room, page).await?;
        let mut stood: Vec<_> =
            posted.into_iter().map(|(posted, record)| Stood { posted, record, said: None }).collect();
        // From the last entry about each backwards: most often that one says it, or the one before.
        let mut open: Vec<(Seq, usize)> =
            (0..stood.len()).filter_map(|n| Some((stood[n].last(at.next())?, n))).collect();
        while !open.is_empty() {
            open.sort_unstable();
            let seqs: Vec<_> = open.iter().map(|(seq, _)| *seq).collect();
            let mut further = Vec::new();
            for ((seq, n), entry) in open.into_iter().zip(self.each_at(&seqs).await?) {
                let one = &mut stood[n];
                let says = Change::of(&entry).any(|(id, change)| Some(id) == one.id() && change.status.is_some());
                match says {
                    true => one.said = Some(entry),
                    false => further.extend(one.last(seq).map(|seq| (seq, n))),
                }
            }
            open = further;
        }
        Ok(stood)
    }

    /// The entry at each of these positions, which ascend; one may be asked for twice.
    async fn each_at(&self, seqs: &[Seq]) -> Result<Vec<Arc<Entry>>, Error> {
        let mut distinct = seqs.to_vec();
        distinct.dedup();
        let entries = self.entries_at(&distinct, usize::MAX).await?;
        let found = |seq: &Seq| entries.binary_search_by_key(seq, |entry| entry.header.seq).ok();
        let each = seqs.iter().map(|seq| found(seq).map(|at| entries[at].clone()));
        each.collect::<Option<_>>().ok_or_else(|| Error::Index("it names an entry that the log does not have".into()))
    }

    async fn said_at(&self, reader: &Reader, room: &RoomName, page: Page) -> Result<Option<String>, Error> {
        let seqs = reader.messages(room, page).map_err(index_error)?;
        let entry = self.entries_at(&seqs, usize::MAX).await?.pop();
        Ok(entry.map(|entry| time::rfc3339(entry.header.at_ms)))
    }
}

impl Stood {
    fn id(&self) -> Option<MessageId> {
        view::posted_id(&self.posted)
    }

    /// The last entry about it before a position.
    fn last(&self, before: Seq) -> Option<Seq> {
        let until = self.record.positions.partition_point(|seq| *seq < before);
        until.checked_sub(1).map(|last| self.record.positions[last])
    }

    fn message(&self, epoch: antiphon_schemas::Epoch) -> Option<Arc<Message>> {
        let id = self.id()?;
        let change = self.said.as_ref().and_then(|said| Change::of(said).find(|(of, _)| *of == id));
        let change = change.map(|(_, change)| change).unwrap_or_default();
        let posted = view::as_recorded(&self.posted, &self.record);
        let status = change.status.unwrap_or_default();
        view::message_as(&posted, epoch, status, change.reason, self.record.redacted).map(Arc::new)
    }

    fn in_flight(&self) -> Option<InFlight> {
        let said = self.said.as_ref()?;
        let Event::MessageClaimed(e) = &said.event else { return None };
        Some(InFlight {
            message_id: e.message_id,
            bot: e.bot.clone(),
            worker: e.worker.clone(),
            claimed_at: time::rfc3339(said.header.at_ms),
        })
    }
}
