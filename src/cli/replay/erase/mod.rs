//! `antiphon replay erase`: finds where a text is stored, and erases it from the log.
//!
//! Promises: with `--dry-run` nothing changes anywhere; without it only the running server changes the log, and is asked for
//! each message; what is reported as gone has been checked by reading the log again.
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
  antiphon replay erase --author Zoe --dry-run            list where everything Zoe said is stored
  antiphon replay erase --message 0195f7a2-6c00-7000-8000-000000000000
  antiphon replay erase --author Zoe --room lobby --with-replies --yes

The text and its author's name are removed from the log's bytes for good, and from everything the server shows; the entry
keeps its hash, so every proof stays valid. Run it on the server's machine. Exit code 1 if any of it is still in the log.";

/// Erase the texts of an author, or single messages, from the log for good; or only list where they are
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli::replay) struct Erase {
    /// Everything said under this name
    #[arg(long, value_name = "NAME", required_unless_present = "messages", conflicts_with = "messages")]
    author: Option<String>,
    /// This message or reply; several, separated by commas
    #[arg(long = "message", id = "messages", value_name = "ID,…", value_delimiter = ',')]
    messages: Vec<MessageId>,
    /// Also erase the replies to it, which may quote it
    #[arg(long)]
    with_replies: bool,
    /// Only list where the texts are stored
    #[arg(long)]
    dry_run: bool,
    /// Do not ask for confirmation
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    part: Part,
    #[command(flatten)]
    server: Server,
}

/// The outcome for the messages.
#[derive(Default)]
struct Done {
    /// Confirmed as gone.
    gone: HashSet<MessageId>,
    /// Why the others are not.
    failed: Vec<(MessageId, String)>,
    /// The position of each `message.erased`.
    noted: HashMap<MessageId, Seq>,
}

impl Erase {
    pub(in crate::cli::replay) fn run(self, desk: &Desk<'_>) -> anyhow::Result<u8> {
        let (mut source, span) = desk.open_part(&self.part)?;
        let place = self.part.log.place(desk.env)?;
        if let (Where::Bundle(file), false) = (&place, self.dry_run) {
            let file = file.display();
            bail!(
                "`{file}` is a bundle: texts in it can only be listed (--dry-run), not erased; create a new one, and delete it"
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
    // Repetitions of a text come after it, possibly after the selected part.
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

/// Asks for confirmation on the terminal; without one, it must be on the command line.
fn confirm(count: usize) -> anyhow::Result<()> {
    if !io::stdin().is_terminal() {
        let what = if count == 1 { "a text" } else { "texts" };
        return Err(
            Usage(format!("to erase {what} for good pass --yes, or --dry-run to list where they are stored")).into()
        );
    }
    complain(&format!("Erase {} from the log for good? Type `erase` to confirm:", entries(count)));
    let mut word = String::new();
    io::stdin().lock().read_line(&mut word)?;
    if word.trim() != "erase" {
        bail!("nothing was erased");
    }
    Ok(())
}
