//! `antiphon replay erase`: where a text stands, and taking it out of the log.
//!
//! Promises: with `--dry-run` nothing is changed anywhere; without it the log is changed by its running server alone, which
//! is asked for each message; what is said to be gone was read back from the log afterwards, and is gone.
//! Not here: finding the entries (`replay::places`), erasing (the server).

use std::{
    collections::{HashMap, HashSet},
    io::{self, BufRead, IsTerminal, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use antiphon_schemas::{Epoch, MessageId, Seq, time};
use anyhow::bail;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{Desk, Paint, Part, Progress, each_stored, json_line, out, position};
use crate::{
    cli::{
        DONE, FAILED, Usage,
        client::{Client, Failure, Server},
        complain,
    },
    config::{Config, Flags, LogKind},
    outbox::Outbox,
    replay::{
        places::{Mention, Places, Wanted},
        source::{Source, Where},
        span::Span,
    },
};

/// Messages that the server is asked for at once: a log on Redis erases those that wait together.
const ASKED_AT_ONCE: usize = 64;
/// What takes longer is asked for again so often; the server waits ten seconds each time.
const ASKS_MAX: u32 = 30;
/// Replies that are listed to people; the rest is counted.
const LISTED_MAX: usize = 50;

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
pub(super) struct Erase {
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
    pub(super) fn run(self, desk: &Desk<'_>) -> anyhow::Result<u8> {
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

    fn list(
        &self,
        out: &mut impl Write,
        paint: Paint,
        source: &dyn Source,
        places: &Places,
        elsewhere: &[String],
    ) -> anyhow::Result<()> {
        if places.texts.is_empty() {
            writeln!(out, "{}: there is no such text up to position {}", source.shown(), position(places.tail))?;
            return Ok(());
        }
        let what = match places.texts.len() {
            1 => "1 entry holds the text and its author's name".to_owned(),
            n => format!("{n} entries hold the texts and their authors' names"),
        };
        writeln!(out, "{}", paint.bold(&format!("{what}, in {}", source.shown())))?;
        for text in &places.texts {
            let gone = match (text.gone, text.noted) {
                (true, Some(at)) => format!(", erased by entry {}", position(at)),
                (true, None) => ", erased, and no entry says so".into(),
                (false, Some(at)) => format!(", to be erased by entry {}", position(at)),
                (false, None) => String::new(),
            };
            let answers = text.answers.map_or(String::new(), |id| format!(" to {id}"));
            writeln!(out, "{}  {}{answers}{gone}", line(&text.header, paint), text.id)?;
            writeln!(out, "           {}", paint.faint(&source.place(text.header.seq)))?;
        }
        mentions(
            out,
            paint,
            "stood in the prompt of (it may be quoted there; not erased unless you name the reply)",
            &places.prompts,
        )?;
        mentions(out, paint, "answered by (the answer may quote it; --with-replies erases it, too)", &places.answers)?;
        writeln!(out, "{}", paint.bold("elsewhere"))?;
        for sentence in elsewhere {
            writeln!(out, "  - {sentence}")?;
        }
        Ok(())
    }

    fn as_json(&self, source: &dyn Source, places: &Places, elsewhere: &[String], done: Option<&Done>) -> Value {
        let texts = places.texts.iter().map(|text| {
            json!({
                "id": text.id,
                "position": text.header.seq.0,
                "at": time::rfc3339(text.header.at_ms),
                "kind": text.header.kind,
                "room": text.header.room,
                "answers": text.answers,
                "bytes": text.bytes,
                "place": source.place(text.header.seq),
                "leaf_sha256": hex(&text.leaf),
                "erased": text.gone || done.is_some_and(|done| done.gone.contains(&text.id)),
                "erased_by": done.and_then(|done| done.noted.get(&text.id).copied()).or(text.noted).map(|seq| seq.0),
            })
        });
        let mention =
            |mention: &Mention| json!({"reply": mention.reply, "position": mention.header.seq.0, "of": mention.of});
        json!({
            "log": source.shown(),
            "epoch": source.epoch().to_string(),
            "dry_run": self.dry_run,
            "texts": texts.collect::<Vec<_>>(),
            "prompts": places.prompts.iter().map(mention).collect::<Vec<_>>(),
            "answers": places.answers.iter().map(mention).collect::<Vec<_>>(),
            "elsewhere": elsewhere,
            "failed": done.map(|d| d.failed.iter().map(|(id, why)| json!({"id": id, "why": why})).collect::<Vec<_>>()),
        })
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

/// Asks the server for each message; who could not be erased, and why.
async fn ask(client: &Client, epoch: Epoch, places: &Places) -> anyhow::Result<Vec<(MessageId, String)>> {
    let open: Vec<MessageId> =
        places.texts.iter().filter(|text| !text.gone || text.noted.is_none()).map(|text| text.id).collect();
    // Positions mean something in one log only: the server must be that of this one.
    let first = client.message(open[0]).await?;
    if first.position.0.epoch != epoch {
        bail!("the server is not that of this log: name it with --server, or its log with --log");
    }
    let bar = ProgressBar::with_draw_target(Some(open.len() as u64), ProgressDrawTarget::stderr_with_hz(5));
    let style = ProgressStyle::with_template("{bar:30} {human_pos} of {human_len} messages erased  {eta} left");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.enable_steady_tick(Duration::from_millis(200));
    let (mut rest, mut asked, mut failed) = (open.into_iter(), JoinSet::new(), Vec::new());
    loop {
        while asked.len() < ASKED_AT_ONCE
            && let Some(id) = rest.next()
        {
            let client = client.clone();
            asked.spawn(async move { (id, erase(&client, id).await) });
        }
        let Some(answer) = asked.join_next().await else { break };
        let (id, result) = answer?;
        bar.inc(1);
        failed.extend(result.err().map(|why| (id, why)));
    }
    bar.finish_and_clear();
    Ok(failed)
}

async fn erase(client: &Client, id: MessageId) -> Result<(), String> {
    for _ in 0..ASKS_MAX {
        match client.erase(id).await {
            Ok((_, true)) => return Ok(()),
            Ok((_, false)) => {}
            // Asked again it is found, whatever became of the first time.
            Err(Failure::Lost(_)) => {}
            Err(failure @ Failure::Refused(_)) if failure.untaken() => tokio::time::sleep(Duration::from_secs(1)).await,
            Err(failure) => return Err(failure.to_string()),
        }
    }
    Err("it is noted, and the text is not out of the log's bytes yet: the server goes on by itself; see what it says"
        .into())
}

/// Reads the log once more: what is gone, and which entries say so.
fn read_back(source: &mut dyn Source, places: &Places, done: &mut Done) -> anyhow::Result<()> {
    let Some(first) = places.texts.first() else { return Ok(()) };
    let after = Seq(first.header.seq.0 - 1);
    source.seek(after)?;
    let ids: HashSet<MessageId> = places.texts.iter().map(|text| text.id).collect();
    let (mut gone, mut kept) = (HashSet::new(), HashSet::new());
    let span = Span { after, until: None };
    let progress = Progress::of(source, span)?;
    each_stored(source, span, &progress, |stored| {
        let at = stored.seq();
        if let Some(is_gone) = places.is_gone(stored) {
            if is_gone {
                gone.insert(at)
            } else {
                kept.insert(at)
            };
        }
        let header = antiphon_schemas::Header::decode(&stored.header)?;
        if let ("message.erased", Some(id)) = (&*header.kind, header.subjects.first())
            && ids.contains(id)
        {
            done.noted.insert(*id, at);
        }
        Ok(true)
    })?;
    progress.done();
    for text in &places.texts {
        if gone.contains(&text.header.seq) && done.noted.contains_key(&text.id) {
            done.gone.insert(text.id);
        } else if done.failed.iter().all(|(id, _)| *id != text.id) {
            let why =
                if kept.contains(&text.header.seq) { "its text is still there" } else { "its entry is not there" };
            done.failed.push((text.id, why.into()));
        }
    }
    Ok(())
}

fn certify(
    out: &mut impl Write,
    paint: Paint,
    desk: &Desk<'_>,
    source: &dyn Source,
    places: &Places,
    done: &Done,
) -> anyhow::Result<()> {
    let at = time::rfc3339(desk.clock.now_ms());
    writeln!(
        out,
        "\n{}",
        paint.bold(&format!("Erased from {} (epoch {}), read back at {at}", source.shown(), source.epoch()))
    )?;
    for text in places.texts.iter().filter(|text| done.gone.contains(&text.id)) {
        let by = done.noted.get(&text.id).map_or(String::new(), |seq| format!(", by entry {}", position(*seq)));
        writeln!(out, "{}  {}{by}", line(&text.header, paint), text.id)?;
        writeln!(out, "           {}", paint.faint(&format!("leaf {} as before", hex(&text.leaf))))?;
    }
    for (id, why) in &done.failed {
        writeln!(out, "  {} {id}: {why}", paint.bold("not erased:"))?;
    }
    Ok(())
}

fn mentions(out: &mut impl Write, paint: Paint, what: &str, mentions: &[Mention]) -> anyhow::Result<()> {
    if mentions.is_empty() {
        return Ok(());
    }
    writeln!(out, "{}", paint.bold(what))?;
    for mention in mentions.iter().take(LISTED_MAX) {
        let of: Vec<_> = mention.of.iter().take(3).map(MessageId::to_string).collect();
        let more = if mention.of.len() > 3 { format!(" and {} more", mention.of.len() - 3) } else { String::new() };
        writeln!(out, "{}  {}: {}{more}", line(&mention.header, paint), mention.reply, of.join(", "))?;
    }
    if mentions.len() > LISTED_MAX {
        writeln!(out, "  and {} more; --json has all", mentions.len() - LISTED_MAX)?;
    }
    Ok(())
}

fn line(header: &antiphon_schemas::Header, paint: Paint) -> String {
    let room = header.room.as_ref().map_or("-", |room| room.as_str());
    let at = time::rfc3339(header.at_ms);
    format!("{:>9}  {}  {:<14} {room}", position(header.seq), paint.faint(&at), paint.bold(&header.kind))
}

fn entries(count: usize) -> String {
    if count == 1 { "1 entry".into() } else { format!("{count} entries") }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Asks whoever is there; without somebody, the word must be on the command line.
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

/// Where copies may be that are not entries of this log, a sentence each.
fn elsewhere(desk: &Desk<'_>, erase: &Erase, place: &Where, places: &Places) -> anyhow::Result<Vec<String>> {
    let mut all = Vec::new();
    if places.texts.is_empty() {
        return Ok(all);
    }
    if !matches!(place, Where::Bundle(_)) {
        let in_memory = "the server's memory (recent messages, feeds, caches) lets go of it at once";
        let shown = desk.handle().block_on(in_views(erase, places));
        all.push(match shown {
            Ok(count) => format!("{in_memory}; in its recent views now: {count}"),
            Err(why) => format!("{in_memory}; it could not be asked how much that is: {why}"),
        });
        all.push("index, snapshot and checkpoints hold no texts".into());
    }
    if let Where::Folder(folder) = place {
        all.extend(set_aside(folder));
    }
    if let Where::Redis(_) = place {
        all.extend(parked(desk, erase)?);
        all.push(
            "Redis: its append-only file, its RDB snapshots and those of its replicas keep old copies until they are rewritten: \
             run BGREWRITEAOF and BGSAVE afterwards, and let old files go"
                .into(),
        );
    }
    all.push(
        "bundles, exports, copies by `replay into` and backups: nobody can know them from here; make those that you keep anew, \
         and delete the old ones"
            .into(),
    );
    all.push("whoever has read it: browsers, and the models that had it in a prompt".into());
    if erase.author.is_some() {
        all.push(
            "what others wrote about this author, and what was said under other names, has to be named by --message"
                .into(),
        );
    }
    Ok(all)
}

/// How many of the texts are in the recent views of the server.
async fn in_views(erase: &Erase, places: &Places) -> anyhow::Result<usize> {
    let client = Client::new(&erase.server)?;
    let ids: HashSet<MessageId> = places.texts.iter().filter(|text| !text.gone).map(|text| text.id).collect();
    let rooms: HashSet<_> = places.texts.iter().filter_map(|text| text.header.room.clone()).collect();
    let mut count = 0;
    for room in rooms {
        let view = client.state_room(&room).await?;
        count += view.messages.iter().filter(|message| ids.contains(&message.id) && !message.text.is_empty()).count();
    }
    Ok(count)
}

/// What `--salvage` set aside of this folder.
fn set_aside(folder: &Path) -> Option<String> {
    let names = std::fs::read_dir(folder).ok()?.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut aside: Vec<_> = names.filter(|name| name.starts_with("salvaged-")).collect();
    aside.sort();
    (!aside.is_empty()).then(|| {
        format!(
            "`{}` holds what --salvage set aside, which nobody looks into: {}; delete it if it is not needed",
            folder.display(),
            aside.join(", ")
        )
    })
}

/// Posts in this node's outbox that hold such a text.
fn parked(desk: &Desk<'_>, erase: &Erase) -> anyhow::Result<Option<String>> {
    let config = Config::load(&Flags::default(), desk.env, Path::new("."))?;
    let folder = config.data.join("redis").join("outbox");
    if !matches!(config.log, LogKind::Redis(_)) || !folder.is_dir() {
        return Ok(Some(
            "the outbox of each node may hold posts that wait for the store: look on their machines".into(),
        ));
    }
    let found = desk.handle().block_on(in_outbox(desk, &folder, erase));
    let shown = folder.display();
    Ok(Some(match found {
        Ok([0, 0]) => format!("outbox `{shown}`: nothing of it; other nodes have their own"),
        Ok([waiting, refused]) => format!(
            "outbox `{shown}`: {waiting} posts of it wait for the store (erase them once they are in the log), {refused} were refused \
             and are kept there until somebody deletes the folder; other nodes have their own"
        ),
        Err(why) => format!("outbox `{shown}` could not be read: {why}"),
    }))
}

async fn in_outbox(desk: &Desk<'_>, folder: &Path, erase: &Erase) -> Result<[usize; 2], String> {
    let copy: PathBuf = std::env::temp_dir().join(format!("antiphon-erase-{:016x}", rand::random::<u64>()));
    let copied = crate::cli::doctor::copied(folder, &copy).map_err(|why| why.to_string());
    let found = async {
        copied?;
        let outbox = Outbox::open(&copy, desk.clock.clone()).await.map_err(|why| why.to_string())?;
        let ours = |post: &crate::decide::post::Post| {
            erase.messages.contains(&post.id) || erase.author.as_deref() == Some(&*post.author.name)
        };
        let waiting = outbox.first(usize::MAX).iter().filter(|parked| ours(&parked.post)).count();
        let refused = outbox.refused().iter().filter(|refused| ours(&refused.post)).count();
        // It is a copy: nothing is lost with it.
        let _ = outbox.close().await;
        Ok([waiting, refused])
    };
    let found = found.await;
    let _ = std::fs::remove_dir_all(&copy);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_salvage_set_aside_is_said() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(set_aside(folder.path()), None);
        std::fs::create_dir(folder.path().join("salvaged-0000000000000007")).unwrap();
        assert!(set_aside(folder.path()).unwrap().contains("salvaged-0000000000000007"));
    }
}
