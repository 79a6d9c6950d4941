//! `antiphon replay erase`: where a text stands, and taking it out of the log.
//!
//! Promises: with `--dry-run` nothing is changed anywhere; without it the log is changed by its running server alone, which
//! is asked for each message; what is said to be gone was read back from the log afterwards, and is gone.
//! Not here: finding the entries (`replay::places`), erasing (the server).

mod ask;
mod elsewhere;
mod report;

use std::{
    collections::{HashMap, HashSet},
    io::{self, BufRead, IsTerminal, Write},
};

use antiphon_schemas::{MessageId, Seq};
use anyhow::bail;

use self::{
    ask::{ask, read_back},
    elsewhere::elsewhere,
    report::{certify, entries},
};
use super::{Desk, Paint, Part, Progress, each_stored, json_line, out};
use crate::{
    cli::{
        DONE, FAILED, Usage,
        client::{Client, Server},
        complain,
    },
    replay::{
        places::{Places, Wanted},
        source::{Source, Where},
        span::Span,
    },
};

const EXAMPLES: &str = "\
Examples:
  antiphon replay erase --author Zoe --dry-run            where all that Zoe has said stands
  antiphon replay erase --message 0195f7a2-6c00-7000-8000-000000000000
  antiphon replay erase --author Zoe --room lobby --with-replies --yes

The text and its author's name are taken out of the log's bytes, for ever, and out of everything that the server shows; the entry
stays with its hash, so that every proof stays valid. Run it on the machine of the server. Exit code 1 if something of it is
still in the log.";

/// Take the texts of an author, or single messages, out of the log for ever; or only say where they are
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli::replay) struct Erase {
    /// All that was said under this name
    #[arg(long, value_name = "NAME", required_unless_present = "messages", conflicts_with = "messages")]
    author: Option<String>,
    /// This message or reply; several with commas
    #[arg(long = "message", id = "messages", value_name = "ID,…", value_delimiter = ',')]
    messages: Vec<MessageId>,
    /// The replies to it, too: they may quote it
    #[arg(long)]
    with_replies: bool,
    /// Only list where the texts stand
    #[arg(long)]
    dry_run: bool,
    /// Do not ask whether it is meant
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    part: Part,
    #[command(flatten)]
    server: Server,
}

/// What became of the messages.
#[derive(Default)]
struct Done {
    /// Read back, and gone.
    gone: HashSet<MessageId>,
    /// Why the others are not.
    failed: Vec<(MessageId, String)>,
    /// Where each `message.erased` stands.
    noted: HashMap<MessageId, Seq>,
}

impl Erase {
    pub(in crate::cli::replay) fn run(self, desk: &Desk<'_>) -> anyhow::Result<u8> {
        let (mut source, span) = desk.open_part(&self.part)?;
        let place = self.part.log.place(desk.env)?;
        if let (Where::Bundle(file), false) = (&place, self.dry_run) {
            let file = file.display();
            bail!(
                "`{file}` is a bundle: nothing can be erased from it, only listed (--dry-run); make a new one, and delete it"
            );
        }
        let wanted = Wanted {
            author: self.author.clone(),
            messages: self.messages.iter().copied().collect(),
            room: self.part.room.clone(),
            until: span.until,
            with_replies: self.with_replies,
        };
        let places = find(&mut *source, span, &wanted)?;
        let elsewhere = elsewhere(desk, &self, &place, &places)?;
        let (mut out, paint) = (out(), Paint::stdout());
        let open = places.texts.iter().filter(|text| !text.gone || text.noted.is_none()).count();
        if !self.part.json {
            self.list(&mut out, paint, &*source, &places, &elsewhere)?;
        }
        if self.dry_run || open == 0 {
            if self.part.json {
                json_line(&mut out, &self.as_json(&*source, &places, &elsewhere, None))?;
            } else if open == 0 && !places.texts.is_empty() {
                writeln!(out, "\nAll of it is erased already.")?;
            }
            out.flush()?;
            let missing = self.messages.iter().any(|id| places.texts.iter().all(|text| text.id != *id));
            return Ok(if missing || places.texts.is_empty() { FAILED } else { DONE });
        }
        out.flush()?;
        if !self.yes {
            confirm(open)?;
        }
        let client = Client::new(&self.server)?;
        let mut done = Done::default();
        for (id, why) in desk.handle().block_on(ask(&client, source.epoch(), &places))? {
            done.failed.push((id, why));
        }
        read_back(&mut *source, &places, &mut done)?;
        if self.part.json {
            json_line(&mut out, &self.as_json(&*source, &places, &elsewhere, Some(&done)))?;
        } else {
            certify(&mut out, paint, desk, &*source, &places, &done)?;
        }
        out.flush()?;
        Ok(if done.failed.is_empty() { DONE } else { FAILED })
    }
}

fn find(source: &mut dyn Source, span: Span, wanted: &Wanted) -> anyhow::Result<Places> {
    // What repeats a text comes after it, also after the part that is meant.
    let whole = Span { until: None, ..span };
    let progress = Progress::of(source, whole)?;
    let mut places = Places::default();
    each_stored(source, whole, &progress, |stored| {
        places.look(wanted, stored)?;
        Ok(true)
    })?;
    progress.done();
    Ok(places)
}

/// Asks at the terminal; without one, the word must be on the command line.
fn confirm(count: usize) -> anyhow::Result<()> {
    if !io::stdin().is_terminal() {
        let what = if count == 1 { "a text" } else { "texts" };
        return Err(Usage(format!("to erase {what} for ever say --yes, or --dry-run to see where it stands")).into());
    }
    complain(&format!("Take {} out of the log, for ever? Type `erase` to go on:", entries(count)));
    let mut word = String::new();
    io::stdin().lock().read_line(&mut word)?;
    if word.trim() != "erase" {
        bail!("nothing was erased");
    }
    Ok(())
}
