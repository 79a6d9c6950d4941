//! `antiphon replay diff`: compares a running server's state with a new fold of the log.

use std::io::Write;

use antiphon_schemas::RoomName;
use serde_json::json;

use super::{Desk, LogArgument, Paint, Progress, Whole, json_line, out};
use crate::{
    cli::{
        DONE, FAILED,
        client::{Client, Server},
        foreign::one_line,
    },
    projection::Limits,
    replay::{
        diff::{Difference, Fresh, of_epoch},
        source::Source,
        span::Span,
    },
};

/// Characters shown of each side.
const SIDE_CHARS_MAX: usize = 300;

const EXAMPLES: &str = "\
Examples:
  antiphon replay diff                                             the configured log, the server on this machine
  antiphon replay diff --log redis://127.0.0.1:6379 --server http://127.0.0.1:8081
  antiphon replay diff --room lobby                                only the server's view of the lobby

Run it on the server's machine; the server keeps running. Exit code 1 if something differs; the first difference is shown.";

/// Why it rejects ranges.
const WHOLE: &str = "`diff` always reads the whole log: omit --from and --to; --room compares one room";

/// Compare the running server's state, snapshot, views and index with the log
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Diff {
    #[command(flatten)]
    log: LogArgument,
    #[command(flatten)]
    whole: Whole,
    /// Only the recent view of this room
    #[arg(long)]
    room: Option<RoomName>,
    #[command(flatten)]
    server: Server,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What was compared, and the first difference.
#[derive(Default)]
struct Compared {
    position: u64,
    snapshot: Option<u64>,
    rooms: usize,
    records: usize,
    messages: usize,
    /// Only one room was compared.
    of_room: bool,
    difference: Option<Difference>,
}

impl Diff {
    pub(super) fn run(self, desk: &Desk<'_>) -> anyhow::Result<u8> {
        self.whole.check(false, WHOLE)?;
        let client = Client::new(&self.server)?;
        let mut source = desk.open(&self.log)?;
        let progress = Progress::of(&mut *source, Span { after: antiphon_schemas::Seq::ZERO, until: None })?;
        let compared = match &self.room {
            Some(room) => compare_room(desk, &client, &mut *source, room, &progress)?,
            None => compare(desk, &client, &mut *source, &progress)?,
        };
        progress.done();
        let mut out = out();
        if self.json {
            let difference = compared
                .difference
                .as_ref()
                .map(|d| json!({"of": d.of, "about": d.about, "position": d.at.0, "log": d.log, "server": d.server}));
            let line = json!({
                "position": compared.position, "snapshot": compared.snapshot, "rooms": compared.rooms,
                "records": compared.records, "difference": difference,
            });
            json_line(&mut out, &line)?;
        } else {
            print(&mut out, &compared)?;
        }
        out.flush()?;
        Ok(if compared.difference.is_none() { DONE } else { FAILED })
    }
}

fn compare(desk: &Desk<'_>, client: &Client, source: &mut dyn Source, progress: &Progress) -> anyhow::Result<Compared> {
    let more = |entries| progress.more(entries);
    let mut compared = Compared::default();
    // The older one first, because the fold reaches it first.
    let snapshot = desk.handle().block_on(client.state_snapshot())?;
    let live = desk.handle().block_on(client.state_kept())?;
    let live_at = of_epoch(source, live.position)?;
    let snapshot_at = snapshot.as_ref().and_then(|s| s.kept.get("position").and_then(serde_json::Value::as_u64));
    let limits = Limits { recent_messages: live.recent_messages, rooms: live.rooms };
    let epoch = source.epoch();
    let mut fresh = Fresh::new(source, limits)?;
    if let (Some(snapshot), Some(at)) = (&snapshot, snapshot_at)
        && at <= live_at.0
    {
        fresh.to(antiphon_schemas::Seq(at), more)?;
        compared.snapshot = Some(at);
        let of_snapshot = fresh.kept("snapshot", snapshot);
        fresh.to(live_at, more)?;
        if fresh.erased_after(antiphon_schemas::Seq(at)) {
            // Texts it was folded from have been erased since; the next snapshot can be compared again.
            compared.snapshot = None;
        } else {
            compared.difference = of_snapshot;
        }
    }
    if compared.difference.is_none() {
        fresh.to(live_at, more)?;
        compared.difference = fresh.kept("state", &live);
    }
    if compared.difference.is_none() {
        for room in desk.handle().block_on(client.state_rooms())?.rooms {
            let view = desk.handle().block_on(client.state_room(&room))?;
            if view.position.0.epoch != epoch {
                anyhow::bail!("the server has begun another epoch in the meantime; try again");
            }
            fresh.to(view.position.0.seq, more)?;
            compared.rooms += 1;
            compared.difference = fresh.room(&room, &view);
            if compared.difference.is_some() {
                break;
            }
        }
    }
    let mut after = None;
    while compared.difference.is_none() {
        let page = desk.handle().block_on(client.state_index(after))?;
        fresh.to(page.position.0.seq, more)?;
        compared.records += page.records.len();
        compared.difference = fresh.index(after, &page);
        match page.records.last() {
            Some(last) if page.more => after = Some(last.id),
            _ => break,
        }
    }
    (compared.position, compared.messages) = (fresh.position().0, fresh.messages());
    Ok(compared)
}

fn compare_room(
    desk: &Desk<'_>,
    client: &Client,
    source: &mut dyn Source,
    room: &RoomName,
    progress: &Progress,
) -> anyhow::Result<Compared> {
    let live = desk.handle().block_on(client.state_kept())?;
    of_epoch(source, live.position)?;
    let view = desk.handle().block_on(client.state_room(room))?;
    let at = of_epoch(source, view.position)?;
    let mut fresh = Fresh::new(source, Limits { recent_messages: live.recent_messages, rooms: live.rooms })?;
    fresh.to(at, |entries| progress.more(entries))?;
    let difference = fresh.room(room, &view);
    Ok(Compared { position: at.0, rooms: 1, of_room: true, difference, ..Compared::default() })
}

fn print(out: &mut impl Write, compared: &Compared) -> anyhow::Result<()> {
    let paint = Paint::stdout();
    if let Some(d) = &compared.difference {
        writeln!(
            out,
            "{} at position {}",
            paint.bold(&format!("{} differs: {}", d.of, one_line(&d.about.to_string(), SIDE_CHARS_MAX))),
            d.at
        )?;
        writeln!(out, "  by the log  {}", one_line(&d.log.to_string(), SIDE_CHARS_MAX))?;
        writeln!(out, "  the server  {}", one_line(&d.server.to_string(), SIDE_CHARS_MAX))?;
        return Ok(());
    }
    writeln!(out, "{} at position {}", paint.bold("no difference"), compared.position)?;
    if compared.of_room {
        writeln!(out, "  views       1 room")?;
        return Ok(());
    }
    let snapshot = compared.snapshot.map_or("none yet".into(), |at| format!("at position {at}"));
    writeln!(out, "  state       open messages, keys, numbers")?;
    writeln!(out, "  snapshot    {snapshot}")?;
    writeln!(out, "  views       {} rooms in memory", compared.rooms)?;
    writeln!(out, "  index       {} records of {} messages", compared.records, compared.messages)?;
    Ok(())
}
