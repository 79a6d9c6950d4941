//! One moment of the index, to be asked as often as wished.
//!
//! Promises: every answer of one [`Reader`] belongs to the same position; an answer costs a few microseconds plus its
//! own length. Synchronous: pages that are not in memory are read from disk.
//! Not here: waiting for a position (`Indexer::applied`).

use std::sync::Arc;

use antiphon_schemas::{MessageId, RoomName, Seq, event::AuthorKind};
use redb::{ReadOnlyTable, ReadableDatabase};

use super::{
    codec::{self, Class},
    error::Error,
    store::{ERASURES, MESSAGES, META, Meta, ROOMS, RUNS, Store, TIMES, meta_of},
};
use crate::projection::record::Record;

/// Which of a room's messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Page {
    /// Only later ones than this position.
    pub after: Option<Seq>,
    /// Only earlier ones than this position.
    pub before: Option<Seq>,
    /// At most this many.
    pub limit: usize,
    /// If there are more, the newest of them instead of the oldest.
    pub newest: bool,
    /// Only those of people, or only those of programs.
    pub kind: Option<AuthorKind>,
}

/// What is known of a room in which something was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomSummary {
    /// Its name.
    pub room: RoomName,
    /// Messages and replies ever posted, redacted ones too.
    pub messages: u64,
    /// Where something was last said.
    pub last_seq: Seq,
    /// When something was last said, in ms since 1970.
    pub last_at_ms: u64,
}

/// One moment of the index. Cheap to clone.
#[derive(Clone)]
pub struct Reader(Arc<Moment>);

struct Moment {
    messages: ReadOnlyTable<&'static [u8; 16], &'static [u8]>,
    runs: ReadOnlyTable<&'static [u8], ()>,
    rooms: ReadOnlyTable<&'static str, (u64, u64, u64)>,
    times: ReadOnlyTable<u64, u64>,
    erasures: ReadOnlyTable<u64, &'static [u8]>,
    meta: Meta,
    // Last: the tables cannot be read once their database is closed.
    store: Arc<Store>,
}

impl Reader {
    pub(super) fn open(store: &Arc<Store>) -> Result<Reader, Error> {
        let read = store.db.begin_read()?;
        Ok(Reader(Arc::new(Moment {
            messages: read.open_table(MESSAGES)?,
            runs: read.open_table(RUNS)?,
            rooms: read.open_table(ROOMS)?,
            times: read.open_table(TIMES)?,
            erasures: read.open_table(ERASURES)?,
            meta: meta_of(&read.open_table(META)?)?.1,
            store: store.clone(),
        })))
    }

    pub(super) fn meta(&self) -> Meta {
        self.0.meta
    }

    /// The last entry that it knows of.
    pub fn position(&self) -> Seq {
        self.0.meta.position
    }

    /// What is known of a message or reply; `None` if no entry up to here speaks of it.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Damaged`]: read the log instead.
    pub fn record(&self, id: MessageId) -> Result<Option<Record>, Error> {
        self.guard(|| {
            let Some(stored) = self.0.messages.get(id.as_bytes())? else { return Ok(None) };
            codec::decode(stored.value()).map(Some).ok_or_else(|| Error::Damaged(format!("record of {id}")))
        })
    }

    /// What is known of messages and replies, by id, from the first one after `after`.
    ///
    /// # Errors
    /// As [`Reader::record`].
    pub fn records(&self, after: Option<MessageId>, limit: usize) -> Result<Vec<(MessageId, Record)>, Error> {
        use std::ops::Bound::{Excluded, Unbounded};
        self.guard(|| {
            let mut records = Vec::new();
            let after = after.as_ref().map(MessageId::as_bytes);
            for row in self.0.messages.range::<&[u8; 16]>((after.map_or(Unbounded, Excluded), Unbounded))?.take(limit) {
                let (id, stored) = row?;
                let id = MessageId(uuid::Uuid::from_bytes(*id.value()));
                let record = codec::decode(stored.value());
                records.push((id, record.ok_or_else(|| Error::Damaged(format!("record of {id}")))?));
            }
            Ok(records)
        })
    }

    /// The positions of a room's messages and replies, oldest first.
    ///
    /// # Errors
    /// As [`Reader::record`].
    pub fn messages(&self, room: &RoomName, page: Page) -> Result<Vec<Seq>, Error> {
        let after = page.after.unwrap_or_default();
        let end = if page.newest { End::Newest } else { End::Oldest };
        self.merged(room, Class::said_by(page.kind), after, page.before.unwrap_or(BEYOND), page.limit, end)
    }

    /// The positions of everything that happened in a room after one position and up to another (that one too),
    /// oldest first, at most `limit`.
    ///
    /// # Errors
    /// As [`Reader::record`].
    pub fn entries(&self, room: &RoomName, after: Seq, upto: Seq, limit: usize) -> Result<Vec<Seq>, Error> {
        self.merged(room, Class::ALL, after, upto.min(Seq::MAX).next(), limit, End::Oldest)
    }

    /// The position of the last thing that happened in a room up to a position.
    ///
    /// # Errors
    /// As [`Reader::record`].
    pub fn last_entry(&self, room: &RoomName, upto: Seq) -> Result<Option<Seq>, Error> {
        Ok(self.merged(room, Class::ALL, Seq::ZERO, upto.min(Seq::MAX).next(), 1, End::Newest)?.pop())
    }

    /// Rooms in which something was said, by name, from the first one after `after`.
    ///
    /// # Errors
    /// As [`Reader::record`].
    pub fn rooms(&self, after: Option<&str>, limit: usize) -> Result<Vec<RoomSummary>, Error> {
        use std::ops::Bound::{Excluded, Unbounded};
        self.guard(|| {
            let mut rooms = Vec::new();
            for row in self.0.rooms.range::<&str>((after.map_or(Unbounded, Excluded), Unbounded))?.take(limit) {
                let (name, row) = row?;
                let room = RoomName::new(name.value()).map_err(|_| Error::Damaged("name of a room".into()))?;
                let (messages, last_seq, last_at_ms) = row.value();
                rooms.push(RoomSummary { room, messages, last_seq: Seq(last_seq), last_at_ms });
            }
            Ok(rooms)
        })
    }

    /// What was erased after a position: where each `message.erased` is, and what it names, oldest first.
    ///
    /// # Errors
    /// As [`Reader::record`].
    pub fn erasures(&self, after: Seq, limit: usize) -> Result<Vec<(Seq, Vec<Seq>)>, Error> {
        self.guard(|| {
            let mut erasures = Vec::new();
            for row in self.0.erasures.range(after.next().0..)?.take(limit) {
                let (seq, positions) = row?;
                let seq = Seq(seq.value());
                let positions = codec::positions_of(positions.value());
                erasures.push((seq, positions.ok_or_else(|| Error::Damaged(format!("what {seq} erases")))?));
            }
            Ok(erasures)
        })
    }

    /// The last position at or before a time in ms since 1970, to the second: what happened later within the same
    /// second counts as before. 0 if nothing had happened yet.
    ///
    /// # Errors
    /// As [`Reader::record`].
    pub fn at(&self, at_ms: u64) -> Result<Seq, Error> {
        self.guard(|| match self.0.times.range(at_ms / 1_000 + 1..)?.next().transpose()? {
            Some((_, first)) => Ok(Seq(first.value().saturating_sub(1))),
            None => Ok(self.position()),
        })
    }

    /// The first or last `limit` positions between two (neither included), over several of a room's runs.
    fn merged(
        &self,
        room: &RoomName,
        classes: &[Class],
        after: Seq,
        before: Seq,
        limit: usize,
        end: End,
    ) -> Result<Vec<Seq>, Error> {
        if after.0.saturating_add(1) >= before.0 || limit == 0 {
            return Ok(Vec::new());
        }
        self.guard(|| {
            let (mut from, mut to, mut found) = (Vec::new(), Vec::new(), Vec::new());
            for class in classes {
                codec::run_key(&mut from, room.as_str(), *class, after.next());
                codec::run_key(&mut to, room.as_str(), *class, before);
                let mut run = self.0.runs.range(from.as_slice()..to.as_slice())?;
                for _ in 0..limit {
                    let next = match end {
                        End::Oldest => run.next(),
                        End::Newest => run.next_back(),
                    };
                    let Some(row) = next else { break };
                    found.push(codec::run_seq(row?.0.value()).ok_or_else(|| Error::Damaged("key of a run".into()))?);
                }
            }
            found.sort_unstable();
            match end {
                End::Oldest => found.truncate(limit),
                End::Newest => drop(found.drain(..found.len().saturating_sub(limit))),
            }
            Ok(found)
        })
    }

    /// Reads; damage found on the way condemns the file.
    fn guard<T>(&self, read: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
        read().inspect_err(|error| {
            if error.condemns() {
                tracing::error!(%error, "reading the index failed");
                self.0.store.condemn();
            }
        })
    }
}

/// After every position that there can be.
const BEYOND: Seq = Seq(Seq::MAX.0 + 1);

#[derive(Clone, Copy)]
enum End {
    Oldest,
    Newest,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("meta", &self.0.meta).finish()
    }
}
