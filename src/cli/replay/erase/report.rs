//! The report of `replay erase`: where the texts are stored, what repeats them, and that they are gone.

use std::io::Write;

use antiphon_schemas::{MessageId, time};
use serde_json::{Value, json};

use super::{
    super::{Desk, Paint, position},
    Done, Erase,
};
use crate::replay::{
    places::{Mention, Places},
    source::Source,
};

/// Replies that are listed; the rest are counted.
const LISTED_MAX: usize = 50;

impl Erase {
    pub(super) fn list(
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
            "in the prompt of these replies (which may quote it; not erased unless you name them)",
            &places.prompts,
        )?;
        mentions(out, paint, "answered by (the answer may quote it; --with-replies erases it too)", &places.answers)?;
        writeln!(out, "{}", paint.bold("elsewhere"))?;
        for sentence in elsewhere {
            writeln!(out, "  - {sentence}")?;
        }
        Ok(())
    }

    pub(super) fn as_json(
        &self,
        source: &dyn Source,
        places: &Places,
        elsewhere: &[String],
        done: Option<&Done>,
    ) -> Value {
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

pub(super) fn certify(
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

pub(super) fn entries(count: usize) -> String {
    if count == 1 { "1 entry".into() } else { format!("{count} entries") }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
