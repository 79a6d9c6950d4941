//! Pages of the log as bytes, over a connection of its own that asks for the next pages before they are wanted.
//!
//! ```text
//! XRANGE a ─▶  XRANGE b ─▶  XRANGE c ─▶          asked for, while
//!                    ◀─ page a                   this one comes and is looked at
//! ```
//!
//! Promises:
//! - a page is given out whole or not at all; nothing is asked twice on a connection that failed;
//! - a page that the server cuts off, for its `client-output-buffer-limit`, is asked for again in smaller ones;
//! - at most [`ASKED_MAX`] pages are asked for, each of about [`PAGE_BYTES`] and never more than [`ANSWER_BYTES_MAX`];
//! - reading here and there asks for nothing ahead: only who reads on is read ahead for.
//!
//! Not here: what is in a page (`codec`), where the server is (`connect`).

use std::{collections::VecDeque, time::Duration};

use antiphon_schemas::Seq;
use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Instant, timeout},
};

use super::{
    address::{Address, Host},
    codec,
    connect::{Stream, command, lost, stream},
    resp::{self, End, Odd, Token},
    trouble::{Kind, Trouble, broken, refused},
};
use crate::log::Error;

/// A page of the longest texts takes a slow network some seconds.
pub(super) const ANSWER_MAX: Duration = Duration::from_secs(30);
/// Entries in a page: a node that asks meanwhile waits about a millisecond.
const PAGE_ENTRIES: usize = 1_000;
/// Entries in the first page, before their size is known.
const PAGE_ENTRIES_FIRST: usize = 64;
/// A page has at most this many times the entries of the one before.
const GROWTH: usize = 4;
/// What a page is meant to have; also for a node that waits meanwhile.
const PAGE_BYTES: usize = 1 << 20;
/// What no page has: if entries are suddenly that much longer it is asked for again, with fewer.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// How often a page that was cut off is asked for again: once as it was, for a connection that was idle, then each time with
/// `1 / GROWTH` of it. [`PAGE_ENTRIES`] are one by then.
const TRIES_MAX: usize = 6;
/// Pages that are asked for at once: one is looked at, one is on its way, one is being gathered by the server.
const ASKED_MAX: usize = 3;
/// An idle connection may have been closed by the server or a firewall; after this long a new one is opened.
const IDLE_MAX: Duration = Duration::from_secs(10);
/// Read at least so much at once.
const READ_BYTES: usize = 64 << 10;

/// The pages of a log, from any position.
pub(super) struct Pages {
    address: Address,
    host: Host,
    key: String,
    line: Option<Line>,
    /// Entries of the next page.
    entries: usize,
    /// What it is meant to have: [`PAGE_BYTES`], and less once one was cut off.
    bytes: usize,
    /// Where the page after the last one begins.
    next: Seq,
    /// Pages that were read one after the other.
    in_a_row: usize,
}

/// A connection, and what was asked on it.
struct Line {
    stream: Stream,
    buffer: BytesMut,
    /// The first position of each page, and how many entries at most.
    asked: VecDeque<(Seq, usize)>,
    used: Instant,
}

/// Why there is no page.
enum Broken {
    Trouble(Trouble),
    Odd(Odd),
    /// It is larger than [`ANSWER_BYTES_MAX`].
    TooLarge,
}

impl From<Trouble> for Broken {
    fn from(trouble: Trouble) -> Broken {
        Broken::Trouble(trouble)
    }
}

impl From<Odd> for Broken {
    fn from(odd: Odd) -> Broken {
        Broken::Odd(odd)
    }
}

impl Pages {
    /// Of the log `key` on this server. Connects when something is asked for.
    pub(super) fn new(address: Address, host: Host, key: String) -> Pages {
        let (entries, bytes) = (PAGE_ENTRIES_FIRST, PAGE_BYTES);
        Pages { address, host, key, line: None, entries, bytes, next: Seq::ZERO, in_a_row: 0 }
    }

    /// Drops what was requested ahead: a reader that seeks, or returns later, needs the state at that time.
    pub(super) fn leave(&mut self) {
        self.next = Seq::ZERO;
        self.line.iter_mut().for_each(Line::leave);
    }

    /// The entries from a position on, as the answer to `XRANGE`.
    ///
    /// # Errors
    /// [`Error::Away`], [`Error::Io`]; the next call reconnects. [`Error::Damaged`] by an entry that is too large.
    pub(super) async fn read(&mut self, first: Seq) -> Result<Bytes, Error> {
        self.in_a_row = if first == self.next { self.in_a_row + 1 } else { 0 };
        let mut tries = 0;
        loop {
            let mut line = match self.line.take().filter(|line| line.used.elapsed() < IDLE_MAX) {
                Some(line) => line,
                None => {
                    let stream = stream(&self.address, &self.host).await.map_err(|e| broken(&e.at, &e.trouble))?;
                    Line { stream, buffer: BytesMut::new(), asked: VecDeque::new(), used: Instant::now() }
                }
            };
            let late = || Trouble::new(Kind::TimedOut, format!("no page within {} s", ANSWER_MAX.as_secs()));
            match timeout(ANSWER_MAX, self.page(&mut line, first)).await.unwrap_or_else(|_| Err(late().into())) {
                Ok((page, asked)) => {
                    line.used = Instant::now();
                    self.line = Some(line);
                    self.next = Seq(first.0 + asked as u64);
                    return Ok(page);
                }
                Err(Broken::TooLarge) if self.entries > 1 => self.entries = (self.entries / GROWTH).max(1),
                Err(Broken::TooLarge) => {
                    let why = format!("an entry has more than {} MiB, which none of ours has", ANSWER_BYTES_MAX >> 20);
                    return Err(codec::damaged(&self.key, codec::id_of(first).as_bytes(), why));
                }
                Err(Broken::Trouble(trouble)) if trouble.kind == Kind::Ended && tries < TRIES_MAX => {
                    if tries > 0 {
                        self.entries = (self.entries / GROWTH).max(1);
                        self.bytes = (self.bytes / GROWTH).max(1);
                    }
                    (self.in_a_row, tries) = (0, tries + 1);
                }
                Err(Broken::Trouble(trouble)) if trouble.kind == Kind::Ended => {
                    let (at, entries) = (self.host.to_string(), self.entries);
                    let said = format!(
                        "{}, also when asked for {entries} entries: see its client-output-buffer-limit",
                        trouble.said
                    );
                    return Err(broken(&at, &Trouble { said, ..trouble }));
                }
                Err(Broken::Trouble(trouble)) => return Err(broken(&self.host.to_string(), &trouble)),
                Err(Broken::Odd(odd)) => {
                    let why = format!("{}: it answered {}; see whether a Redis listens there", self.host, odd.0);
                    return Err(Error::Io(why));
                }
            }
        }
    }

    /// The page from a position on, and how many entries it was asked for.
    async fn page(&mut self, line: &mut Line, first: Seq) -> Result<(Bytes, usize), Broken> {
        // What was asked for ahead in vain.
        while line.asked.front().is_some_and(|(at, _)| *at != first) {
            line.answer().await?;
            line.asked.pop_front();
        }
        let mut next = line.asked.back().map_or(first, |(at, entries)| Seq(at.0 + *entries as u64));
        let mut asking = Vec::new();
        while line.asked.len() < (1 + self.in_a_row).min(ASKED_MAX) {
            asking.extend(command(&[
                "XRANGE",
                &self.key,
                &codec::id_of(next),
                "+",
                "COUNT",
                &self.entries.to_string(),
            ]));
            line.asked.push_back((next, self.entries));
            next = Seq(next.0 + self.entries as u64);
        }
        if !asking.is_empty() {
            line.stream.write_all(&asking).await.map_err(lost)?;
            line.stream.flush().await.map_err(lost)?;
        }
        let page = line.answer().await?;
        let (_, asked) = line.asked.pop_front().expect("it was asked for");
        let entries = match resp::token(&page, 0)? {
            Some((Token::Error(said), _)) => return Err(refused(&page[said]).into()),
            Some((Token::Array(entries), _)) => entries,
            _ => return Err(Odd("XRANGE with something else than entries").into()),
        };
        if entries == asked {
            let fit = self.bytes / (page.len() / entries).max(1);
            self.entries = fit.min(asked * GROWTH).clamp(1, PAGE_ENTRIES);
        } else {
            // The end: what comes behind it is asked for when it is wanted.
            line.leave();
        }
        Ok((page, asked))
    }
}

impl Line {
    /// What is still to come belongs to no position that anybody asks for.
    fn leave(&mut self) {
        self.asked.iter_mut().for_each(|(at, _)| *at = Seq::ZERO);
    }

    /// The next answer, whole.
    async fn answer(&mut self) -> Result<Bytes, Broken> {
        let mut end = End::new();
        loop {
            if let Some(len) = end.look(&self.buffer)? {
                return Ok(self.buffer.split_to(len).freeze());
            }
            if self.buffer.len() > ANSWER_BYTES_MAX {
                return Err(Broken::TooLarge);
            }
            if self.buffer.capacity() - self.buffer.len() < READ_BYTES {
                self.buffer.reserve(PAGE_BYTES.max(self.buffer.len()));
            }
            if self.stream.read_buf(&mut self.buffer).await.map_err(lost)? == 0 {
                return Err(lost(std::io::ErrorKind::UnexpectedEof.into()).into());
            }
        }
    }
}
