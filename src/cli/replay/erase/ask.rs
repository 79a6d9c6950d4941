//! Asks the server to erase, and reads the log again to confirm that it did.

use std::{collections::HashSet, time::Duration};

use antiphon_schemas::{Epoch, MessageId, Seq};
use anyhow::bail;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::task::JoinSet;

use super::{
    super::{Progress, each_stored},
    Done,
};
use crate::{
    cli::client::{Client, Failure},
    replay::{places::Places, source::Source, span::Span},
};

/// Messages requested at once: a log on Redis erases waiting ones together.
const ASKED_AT_ONCE: usize = 64;
/// How often a slow erasure is asked for again; the server waits ten seconds each time.
const ASKS_MAX: u32 = 30;

/// Asks the server for each message; returns those that could not be erased, and why.
pub(super) async fn ask(client: &Client, epoch: Epoch, places: &Places) -> anyhow::Result<Vec<(MessageId, String)>> {
    let open: Vec<MessageId> =
        places.texts.iter().filter(|text| !text.gone || text.noted.is_none()).map(|text| text.id).collect();
    // Positions are valid in one log only: it must be this server's log.
    let first = client.message(open[0]).await?;
    if first.position.0.epoch != epoch {
        bail!("the server has a different log: name the right server with --server, or its log with --log");
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
    Err("the erasure is recorded, but the text is still in the log's bytes: the server keeps trying; see its output"
        .into())
}

/// Reads the log once more: what is gone, and which entries say so.
pub(super) fn read_back(source: &mut dyn Source, places: &Places, done: &mut Done) -> anyhow::Result<()> {
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
