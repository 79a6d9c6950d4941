//! One export: which entries, in which format, and the report.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use antiphon_schemas::{Seq, Stored, entry::Header};
use anyhow::Context;
use serde_json::json;

use super::{Export, Format};
use crate::{
    cli::replay::{Progress, cat::as_json, each_stored, json_line},
    replay::{
        aside::Aside,
        bundle::{About, Manifest, Portion, Writer},
        copy::Stop,
        csv::{self, Texts},
        hidden::Hidden,
        messages::Standing,
        source::{Source, checkpoint_file},
        span::{Filter, Span},
    },
};

/// What is to be exported.
pub(super) struct Job<'a> {
    source: &'a mut dyn Source,
    checkpoints: Vec<(&'static str, Vec<u8>)>,
    folder: Option<PathBuf>,
    filter: Filter,
    /// With an end: entries appended meanwhile are not included.
    span: Span,
    until: Seq,
    /// Which part of its log that is, if not all.
    part: Option<Portion>,
    stop: Stop,
}

/// What was exported.
#[derive(Debug, Default)]
pub(super) struct Done {
    format: &'static str,
    count: u64,
    ends: Option<(Seq, Seq)>,
    /// Texts hidden in the log: left out, or included anyway.
    hidden: u64,
    hidden_in_it: bool,
    bundle: Option<Manifest>,
    /// How many entries the newest checkpoint covers.
    covers: Option<u64>,
}

impl<'a> Job<'a> {
    pub(super) fn new(
        export: &Export,
        folder: Option<PathBuf>,
        source: &'a mut dyn Source,
        span: Span,
        stop: Stop,
    ) -> anyhow::Result<Job<'a>> {
        let mut checkpoints = Vec::new();
        if export.format == Format::Bundle {
            // `history` before `latest`, which is then never older; the leaves are taken last, when they cover both.
            for name in ["notary.pub", "history", "latest"] {
                if let Some(mut file) = checkpoint(source, folder.as_deref(), name)? {
                    let mut bytes = Vec::new();
                    file.read_to_end(&mut bytes).with_context(|| format!("cannot read the checkpoints' `{name}`"))?;
                    checkpoints.push((name, bytes));
                }
            }
            if let Some(folder) = &folder
                && checkpoints.is_empty()
            {
                anyhow::bail!("there are no checkpoints in `{}`", folder.display());
            }
        }
        let tail = source.tail()?;
        source.seek(span.after)?;
        let until = span.until.map_or(tail, |until| until.min(tail));
        let filter = Filter { room: export.part.room.clone(), ..Filter::default() };
        let all = filter.room.is_none() && span.after == Seq::ZERO && until == tail;
        let part = match source.part() {
            None => (!all).then(|| Portion { after: span.after, until, room: filter.room.clone() }),
            // A part of a part.
            Some(of) => Some(Portion {
                after: of.after.max(span.after),
                until: if all { of.until } else { of.until.min(until) },
                room: filter.room.clone().or_else(|| of.room.clone()),
            }),
        };
        let span = Span { after: span.after, until: Some(until) };
        Ok(Job { source, checkpoints, folder, filter, span, until, part, stop })
    }

    /// Calls `each` with every entry that is exported.
    fn each(&mut self, mut each: impl FnMut(&Stored) -> anyhow::Result<()>) -> anyhow::Result<Done> {
        let mut done = Done::default();
        self.source.seek(self.span.after)?;
        let progress = Progress::of(self.source, self.span)?;
        let (filter, stop) = (&self.filter, &self.stop);
        each_stored(self.source, self.span, &progress, |stored| {
            go_on(stop)?;
            if filter.room.is_some() && !filter.takes_header(&Header::decode(&stored.header)?) {
                return Ok(true);
            }
            done.count += 1;
            done.ends = Some((done.ends.map_or(stored.seq(), |(first, _)| first), stored.seq()));
            each(stored)?;
            Ok(true)
        })?;
        progress.done();
        Ok(done)
    }

    /// What is hidden by now, because hiding applies to every copy. With `standing`, also the messages' current states.
    fn look(&mut self, mut standing: Option<&mut Standing>) -> anyhow::Result<Hidden> {
        let mut hidden = Hidden::default();
        let all = Span { after: self.span.after, until: None };
        let progress = Progress::of(self.source, all)?;
        let (until, stop) = (self.until, &self.stop);
        self.source.seek(all.after)?;
        each_stored(self.source, all, &progress, |stored| {
            go_on(stop)?;
            hidden.apply(stored);
            if let Some(standing) = &mut standing
                && stored.seq() <= until
            {
                standing.apply(&stored.entry()?);
            }
            Ok(true)
        })?;
        progress.done();
        Ok(hidden)
    }

    pub(super) fn jsonl(&mut self, to: &mut dyn Write, texts: Texts) -> anyhow::Result<Done> {
        let hidden = self.look(None)?;
        let mut left_out = 0;
        let mut to = to;
        let done = self.each(|stored| {
            let mut value = as_json(&stored.entry()?, false);
            if hidden.text_of(stored).is_some() {
                left_out += 1;
                value["redacted"] = json!(true);
                if texts == Texts::Shown
                    && let Some(event) = value["event"].as_object_mut()
                {
                    event.remove("text");
                }
            }
            json_line(&mut to, &value)
        })?;
        Ok(Done { format: "jsonl", hidden: left_out, hidden_in_it: texts == Texts::All, ..done })
    }

    pub(super) fn csv(&mut self, to: &mut dyn Write, texts: Texts) -> anyhow::Result<Done> {
        let mut standing = Standing::default();
        let hidden = self.look(Some(&mut standing))?;
        let mut left_out = 0;
        csv::head(to)?;
        let done = self.each(|stored| {
            left_out += u64::from(hidden.text_of(stored).is_some());
            Ok(csv::row(to, &stored.entry()?, &standing, &hidden, texts)?)
        })?;
        Ok(Done { format: "csv", hidden: left_out, hidden_in_it: texts == Texts::All, ..done })
    }

    pub(super) fn bundle(&mut self, to: &mut dyn Write, aside: &Aside) -> anyhow::Result<Done> {
        let hidden = self.look(None)?;
        let mut writer = Writer::new(aside.file()?);
        for (name, bytes) in &self.checkpoints {
            writer.checkpoint(name, &mut &bytes[..], 0)?;
        }
        let (mut in_it, mut told) = (0, 0);
        let until = self.until;
        let done = self.each(|stored| {
            if let Some(since) = hidden.text_of(stored) {
                in_it += 1;
                // The same entries give the same bytes: a later redaction does not change the bundle.
                told += u64::from(since <= until);
            }
            Ok(writer.push(stored)?)
        })?;
        let latest = self.checkpoints.iter().find(|(name, _)| *name == "latest");
        let covers = latest.and_then(|(_, note)| size_of(note));
        // A part is proved by the leaves around it.
        let leaves_max = if self.part.is_none() { self.until.0 } else { self.until.0.max(covers.unwrap_or(0)) };
        if let Some(mut leaves) = checkpoint(self.source, self.folder.as_deref(), "leaves")? {
            writer.checkpoint("leaves", &mut leaves, leaves_max)?;
        }
        let about = About { epoch: self.source.epoch(), part: self.part.clone(), redacted_texts: told };
        let manifest = writer.finish(about, to)?;
        Ok(Done { format: "bundle", hidden: in_it, hidden_in_it: true, bundle: Some(manifest), covers, ..done })
    }
}

/// Stops on request; the unfinished file is removed.
fn go_on(stop: &Stop) -> anyhow::Result<()> {
    if stop.wished() { anyhow::bail!("stopped; nothing was written") } else { Ok(()) }
}

/// A file of the checkpoints: from the given folder, else from the source.
fn checkpoint(
    source: &mut dyn Source,
    folder: Option<&Path>,
    name: &str,
) -> anyhow::Result<Option<Box<dyn io::Read + Send>>> {
    Ok(match folder {
        Some(folder) => checkpoint_file(folder, name)?,
        None => source.checkpoint_file(name)?,
    })
}

/// How many entries a checkpoint covers: its second line.
fn size_of(note: &[u8]) -> Option<u64> {
    std::str::from_utf8(note).ok()?.lines().nth(1)?.parse().ok()
}

impl Done {
    pub(super) fn line(&self, to: &str, log: &str) -> String {
        let bytes = fs::metadata(to).map_or(0, |meta| meta.len());
        let ends = self.ends.map_or("none".into(), |(first, last)| format!("positions {first}-{last}"));
        format!("{to}: {} entries ({ends}) of {log} as {}, {bytes} bytes", self.count, self.format)
    }

    /// Notes for the reader.
    pub(super) fn notes(&self) -> impl Iterator<Item = String> {
        let texts = if self.hidden == 1 {
            "1 text that was redacted".into()
        } else {
            format!("{} texts that were redacted", self.hidden)
        };
        let hidden = (self.hidden > 0).then(|| match self.hidden_in_it {
            true => format!("note: it contains {texts}; give it only to people who may read them"),
            false => format!("note: left out: {texts}; --with-redacted includes them"),
        });
        let proof = self.bundle.as_ref().map(|manifest| match (self.covers, manifest.leaves) {
            (None, _) => {
                "note: there are no checkpoints, so nothing proves that the log had not been altered before".into()
            }
            (Some(covers), Some(leaves)) if leaves >= covers => {
                format!("checkpoints: the newest covers the first {covers} positions, and their leaf hashes are in it")
            }
            (Some(covers), leaves) => format!(
                "note: the newest checkpoint covers the first {covers} positions, of which it has {} leaf hashes",
                leaves.unwrap_or(0)
            ),
        });
        hidden.into_iter().chain(proof)
    }

    pub(super) fn as_json(&self, to: &str, log: &str) -> serde_json::Value {
        json!({
            "file": to,
            "log": log,
            "format": self.format,
            "entries": self.count,
            "first": self.ends.map(|(first, _)| first.0),
            "last": self.ends.map(|(_, last)| last.0),
            "redacted_texts": self.hidden,
            "redacted_texts_in_it": self.hidden_in_it,
            "whole": self.bundle.as_ref().map(|manifest| manifest.whole),
            "leaves": self.bundle.as_ref().and_then(|manifest| manifest.leaves),
            "checkpoint_covers": self.covers,
        })
    }
}
