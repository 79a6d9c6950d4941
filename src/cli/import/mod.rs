//! `antiphon import`: imports conversations over HTTP, each room in order, several rooms in parallel.
//!
//! Promises:
//! - a second run adds nothing, and an interrupted one resumes, because ids are derived from the rows (`row`);
//! - one request at a time per room, so its order is kept, even through lost connections and a busy server;
//! - a row does not hang on the one that it answers: without that it is imported without the link;
//! - memory: [`READ_AHEAD_BYTES_MAX`] of waiting rows, and 16 bytes for each row of the file (for `reply_to`).
//!
//! Not here: what the server does with a post.
//! Start with [`Import::run`]; `source` reads, `row` parses, `rooms` chooses the next row.

mod progress;
mod rooms;
mod row;
mod source;

use std::{
    io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use antiphon_schemas::{
    time::rfc3339,
    wire::{AuthorKind, PostAuthor, PostMessage},
};
use anyhow::{Context, bail};
use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::time::Instant;

use self::{
    progress::Progress,
    rooms::{Item, Rooms},
    row::Times,
};
use super::{
    DONE, FAILED,
    client::{Backoff, Client, Failure, Server},
    complain,
};

/// Files often list one room after the other, so this much is read ahead to find other rooms to work on. A room of
/// 2,000 short messages takes 0.7 MiB, so 32 of them fit.
const READ_AHEAD_BYTES_MAX: usize = 32 << 20;
/// Refused rows that are shown, and as many that lost their link; the rest are counted.
const SHOWN_MAX: u64 = 10;
/// How long the import keeps trying without any success: longer than a server takes to restart.
const PATIENCE: Duration = Duration::from_secs(60);
const WAIT_FIRST: Duration = Duration::from_millis(100);
const WAIT_MAX: Duration = Duration::from_secs(5);

const EXAMPLES: &str = r#"A row is one JSON object a line, plain or gzip:
  {"room":"help","seq":7,"at":"2004-12-25T09:15:00Z","author":"will","kind":"human","text":"hi","reply_to":3}
kind is human or bot (bot only when importing on the server's machine); reply_to is the seq of an earlier row of the
room, or null. `at` is shown with the message when importing on the server's machine. A reply to a row that is missing, or that the server refuses (empty, too long), is imported without the
link; its line is named.

Examples:
  antiphon import old-chat.jsonl.gz              safe to repeat: rows that are already there are skipped
  zcat *.gz | antiphon import - --limit 10000    the first rows of many files

Uses up to 32 MiB for rows read ahead, and 16 bytes for each row of the file. Exit code 1 if any row was refused."#;

/// Import conversations from JSON Lines
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Import {
    /// The file, or `-` for stdin; gzip is detected
    file: PathBuf,
    /// Stop after this many rows
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Rooms to import in parallel
    #[arg(long, value_name = "N", default_value = "32", value_parser = clap::value_parser!(u16).range(1..=1024))]
    rooms: u16,
    /// Let the rooms' bots answer. The same row imported with and without this flag counts as two messages
    #[arg(long)]
    answer: bool,
    #[command(flatten)]
    server: Server,
}

/// How it went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) posted: u64,
    pub(super) already_there: u64,
    pub(super) refused: u64,
    /// Of those posted or already there: replies that are not linked to what they answer.
    pub(super) unlinked: u64,
    /// Of those posted: rows that are shown with the time of the import.
    pub(super) undated: u64,
}

impl Counts {
    fn all(&self) -> u64 {
        self.posted + self.already_there + self.refused
    }

    /// What stdout gets at the end; the rate is of rows that the server has taken.
    fn summary(self, seconds: f64) -> String {
        let Counts { posted, already_there, refused, unlinked, undated } = self;
        let rate = (posted + already_there) as f64 / seconds.max(0.001);
        format!(
            "posted {posted}, already there {already_there}, refused {refused}, without link {unlinked}, without date {undated}, seconds {seconds:.1}, rate {rate:.0}/s\n"
        )
    }
}

impl Import {
    pub(super) async fn run(self) -> anyhow::Result<u8> {
        let client = Client::new(&self.server)?;
        client.live().await?;
        let shown = || self.file.display().to_string();
        let input = source::open(&self.file).with_context(|| format!("cannot read {}", shown()))?;
        let total = progress::total(&self.file, self.limit).with_context(|| format!("cannot read {}", shown()))?;
        let job = Job {
            client,
            answer: self.answer,
            side_by_side: self.rooms.into(),
            limit: self.limit.unwrap_or(u64::MAX),
            read_ahead_bytes_max: READ_AHEAD_BYTES_MAX,
            patience: PATIENCE,
            backoff: Backoff::new(WAIT_FIRST, WAIT_MAX),
        };
        let (begun, progress) = (Instant::now(), Progress::new(total));
        let mut counts = Counts::default();
        let result = tokio::select! {
            result = job.run(source::read(input), &progress, &mut counts) => result,
            _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted; run it again to resume")),
        };
        progress.end();
        let seconds = begun.elapsed().as_secs_f64();
        super::tail::print(&counts.summary(seconds))?;
        result?;
        Ok(if counts.refused == 0 { DONE } else { FAILED })
    }
}

/// Everything that an import needs to know.
struct Job {
    client: Client,
    answer: bool,
    side_by_side: usize,
    limit: u64,
    read_ahead_bytes_max: usize,
    patience: Duration,
    backoff: Backoff,
}

/// What the server has of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Taken {
    new: bool,
    linked: bool,
}

/// How one row ended; a failure is one that a retry cannot fix.
type Ended = (Item, Result<Taken, Failure>);
/// The last failure since the last success: shown while waiting, and when giving up.
type Trouble = Arc<Mutex<Option<String>>>;

impl Job {
    async fn run(
        &self,
        mut lines: tokio::sync::mpsc::Receiver<io::Result<Vec<source::Line>>>,
        progress: &Progress,
        counts: &mut Counts,
    ) -> anyhow::Result<()> {
        let (mut rooms, mut times) = (Rooms::new(self.side_by_side), Times::default());
        let mut out = FuturesUnordered::new();
        let trouble = Trouble::default();
        let mut last_good = Instant::now();
        let (mut rows, mut reading, mut broken) = (0, true, None);
        loop {
            while let Some(item) = rooms.take() {
                out.push(self.post(item, trouble.clone()));
            }
            if !reading && rooms.is_empty() {
                break;
            }
            tokio::select! {
                chunk = lines.recv(), if reading && rooms.bytes() < self.read_ahead_bytes_max => match chunk {
                    None => reading = false,
                    // What was read so far is still posted.
                    Some(Err(error)) => (reading, broken) = (false, Some(error)),
                    Some(Ok(chunk)) => for line in chunk {
                        if rows == self.limit {
                            reading = false;
                            break;
                        }
                        rows += 1;
                        let number = line.number;
                        match self.item(line, &mut times) {
                            Ok(item) => rooms.put(item),
                            Err(why) => refuse(counts, progress, number, &why),
                        }
                    },
                },
                Some((item, result)) = out.next() => {
                    last_good = Instant::now();
                    trouble.lock().unwrap_or_else(PoisonError::into_inner).take();
                    rooms.done(&item.room);
                    match result {
                        Ok(taken) => {
                            if taken.new && item.message.said_at.is_none() {
                                undated(counts, progress, &item);
                            }
                            *(if taken.new { &mut counts.posted } else { &mut counts.already_there }) += 1;
                            if let Some(seq) = item.reply_to.filter(|_| !taken.linked) {
                                unlinked(counts, progress, &item, seq);
                            }
                        }
                        Err(why) => refuse(counts, progress, item.line, &format!("room {}: {why}", item.room)),
                    }
                    progress.at(counts.all(), None);
                },
                _ = tokio::time::sleep_until(last_good + self.patience), if !out.is_empty() => {
                    let why = trouble.lock().unwrap_or_else(PoisonError::into_inner).take();
                    let why = why.unwrap_or_else(|| "no answer".into());
                    bail!("gave up: nothing went through for {} s: {why}; run it again to resume", self.patience.as_secs());
                }
            }
            progress.at(counts.all(), trouble.lock().unwrap_or_else(PoisonError::into_inner).clone());
        }
        match broken {
            None => Ok(()),
            Some(error) => Err(error).context("the file is incomplete; what could be read was imported"),
        }
    }

    /// The message of a line.
    fn item(&self, line: source::Line, times: &mut Times) -> Result<Item, String> {
        let text = line.text.ok_or_else(|| format!("longer than {} bytes", source::LINE_BYTES_MAX))?;
        let row = row::parse(&text)?;
        let reply_to = row.reply_to.and_then(|seq| times.id(&row.room, seq));
        times.note(&row.room, row.seq, row.at_ms);
        let id = row::message_id(&row.room, row.seq, row.at_ms);
        let message = PostMessage {
            text: row.text,
            author: PostAuthor {
                name: row.author,
                color: None,
                kind: Some(row.kind).filter(|k| *k == AuthorKind::Bot),
            },
            id: Some(id),
            to: if self.answer { None } else { Some(Vec::new()) },
            priority: None,
            reply_to,
            said_at: Some(rfc3339(row.at_ms)),
        };
        Ok(Item { line: line.number, room: row.room, reply_to: row.reply_to, message })
    }

    /// Offers a row to the server. One that is there already with another link, from an import of other rows than these, is
    /// there.
    async fn offer(&self, item: &Item) -> Result<Taken, Failure> {
        match self.client.post(&item.room, &item.message).await {
            Ok((_, new)) => Ok(Taken { new, linked: item.message.reply_to.is_some() }),
            Err(failure) if failure.code() == Some("id-taken") && item.reply_to.is_some() => {
                let Some(id) = item.message.id else { return Err(failure) };
                let there = self.client.message(id).await?;
                let same = there.room == item.room
                    && there.author.name.as_ref() == item.message.author.name
                    && there.text.as_ref() == item.message.text;
                if same { Ok(Taken { new: false, linked: there.reply_to.is_some() }) } else { Err(failure) }
            }
            Err(failure) => Err(failure),
        }
    }

    /// Posts one row, retrying while that may help; the import's patience ends it.
    async fn post(&self, mut item: Item, trouble: Trouble) -> Ended {
        let mut backoff = self.backoff.clone();
        loop {
            match self.offer(&item).await {
                Ok(taken) => return (item, Ok(taken)),
                // The row that it answers was refused, or is in another room by now.
                Err(failure) if failure.code() == Some("reply-to-elsewhere") && item.message.reply_to.is_some() => {
                    item.message.reply_to = None;
                }
                // Its time is in the future, or this is not the server's machine.
                Err(failure) if item.undatable(&failure) => item.message.said_at = None,
                Err(failure) if failure.retryable() => {
                    *trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure.to_string());
                    tokio::time::sleep(backoff.wait()).await;
                }
                Err(failure) => return (item, Err(failure)),
            }
        }
    }
}

fn refuse(counts: &mut Counts, progress: &Progress, line: u64, why: &str) {
    counts.refused += 1;
    say(progress, counts.refused, line, why, "more rows were refused; they are only counted");
}

fn unlinked(counts: &mut Counts, progress: &Progress, item: &Item, seq: u64) {
    counts.unlinked += 1;
    let why =
        format!("room {}: imported without its link, because row {seq}, which it answers, is not there", item.room);
    say(
        progress,
        counts.unlinked,
        item.line,
        &why,
        "more rows were imported without their link; they are only counted",
    );
}

fn undated(counts: &mut Counts, progress: &Progress, item: &Item) {
    counts.undated += 1;
    let why = format!(
        "room {}: imported with the time of now, because `at` is in the future, or this is not the server's machine",
        item.room
    );
    say(
        progress,
        counts.undated,
        item.line,
        &why,
        "more rows were imported with the time of now; they are only counted",
    );
}

/// Names a line, if it is one of the first of its kind.
fn say(progress: &Progress, count: u64, line: u64, why: &str, more: &str) {
    match count {
        ..=SHOWN_MAX => progress.aside(|| complain(&format!("line {line}: {why}"))),
        _ if count == SHOWN_MAX + 1 => progress.aside(|| complain(more)),
        _ => {}
    }
}

#[cfg(test)]
mod tests;
