//! Validates what a worker sends: bounded, well formed, and about its own bots.

use std::sync::Arc;

use antiphon_schemas::{
    BotName,
    visible::is_visible,
    wire::work::{CompleteWork, FailWork},
};

use super::{App, Caller, Problem};
use crate::{
    decide::work::End,
    node::{Error, REPLY_BYTES_MAX},
};

/// Bots of one claim.
const BOTS_MAX: usize = 64;
/// Longest name of a worker; every claim contains it.
const WORKER_BYTES_MAX: usize = 128;
/// Longest name of a model.
pub(super) const MODEL_BYTES_MAX: usize = 256;
/// Longest name of a stage.
pub(super) const STAGE_BYTES_MAX: usize = 32;
/// Options of a reply, as JSON: they are in the log with every reply.
const OPTIONS_BYTES_MAX: usize = 16 * 1024;
/// Messages in a prompt.
const CONTEXT_MAX: usize = 500;
/// Longest reason of a failure; it is shown in the room.
const REASON_BYTES_MAX: usize = 500;
/// The longest wait for a model that is away: as long as a question is kept by default.
const AWAY_MS_MAX: u64 = 3_600_000;
/// As many notes as anybody reads.
const NOTES_MAX: usize = 8;
/// As a failure's reason.
const NOTE_BYTES_MAX: usize = 500;

/// The name of a worker, if the caller may use it.
pub(in crate::http) fn worker(caller: &Caller, name: &str) -> Result<Arc<str>, Problem> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"._~-/".contains(&b);
    if name.is_empty() || name.len() > WORKER_BYTES_MAX || !name.bytes().all(fits) {
        let detail = format!("`worker` has 1 to {WORKER_BYTES_MAX} of A-Z a-z 0-9 . _ ~ - /");
        return Err(Problem::bad("bad-worker", detail));
    }
    caller.check_name(name)?;
    Ok(name.into())
}

pub(super) fn bots(app: &App, caller: &Caller, names: &[String]) -> Result<Arc<[BotName]>, Problem> {
    if names.is_empty() || names.len() > BOTS_MAX {
        return Err(Problem::bad("bad-bots", format!("`bots` must have 1 to {BOTS_MAX} names of bots")));
    }
    let bot = |name: &String| {
        let bot = BotName::new(name).map_err(|_| unknown_bot(name))?;
        caller.check_bot(&bot)?;
        app.bot(&bot).map(|_| bot).ok_or_else(|| unknown_bot(name))
    };
    names.iter().map(bot).collect()
}

pub(super) fn unknown_bot(name: &str) -> Problem {
    Problem::bad(
        "unknown-bot",
        format!("there is no bot `{name}`; GET /api/work/bots lists the bots you may answer for"),
    )
}

pub(super) fn is_model(name: &str) -> bool {
    (1..=MODEL_BYTES_MAX).contains(&name.len()) && is_line(name)
}

/// Whether a text shows something, and in one line.
fn is_line(text: &str) -> bool {
    is_visible(text) && !text.contains(char::is_control)
}

pub(super) fn is_stage(stage: &str) -> bool {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=STAGE_BYTES_MAX).contains(&stage.len()) && stage.bytes().all(fits)
}

/// The text of a piece; one that does not show may be a part of what does.
pub(super) fn check_piece(text: &str) -> Result<(), Problem> {
    if text.is_empty() { Err(empty()) } else { check_characters(text) }
}

/// The text of an answer.
pub(super) fn check_text(text: &str) -> Result<(), Problem> {
    if is_visible(text) { check_characters(text) } else { Err(empty()) }
}

fn empty() -> Problem {
    let detail = "`text` must not be empty, nor only of characters that do not show; if there is no answer, call `fail` with the reason";
    Problem::bad("empty-text", detail)
}

pub(super) fn check_characters(text: &str) -> Result<(), Problem> {
    if text.len() > REPLY_BYTES_MAX {
        return Err(Error::ReplyTooLong.into());
    }
    if text.contains('\0') {
        return Err(Problem::bad("bad-text", "the text must not contain a NUL character"));
    }
    Ok(())
}

/// What a worker says about how it made an answer: bounded, and of the right form.
pub(super) fn check_made(body: &CompleteWork) -> Result<(), Problem> {
    if !matches!(body.finish.as_str(), "stop" | "length") {
        let detail = "`finish` must be `stop` or `length`; an answer that ended otherwise is incomplete, so call `fail` with the reason";
        return Err(Problem::bad("bad-finish", detail));
    }
    let options =
        body.options.as_ref().map_or(0, |options| serde_json::to_vec(options).map_or(usize::MAX, |o| o.len()));
    let is_hash = |hash: &String| hash.len() == 64 && hash.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let context = body.context.as_ref().map_or(0, Vec::len);
    let notes = body.notes.as_deref().unwrap_or_default();
    let is_note = |note: &String| (1..=NOTE_BYTES_MAX).contains(&note.len()) && is_line(note);
    if body.model.as_deref().is_some_and(|model| !is_model(model))
        || options > OPTIONS_BYTES_MAX
        || body.prompt_sha256.as_ref().is_some_and(|hash| !is_hash(hash))
        || context > CONTEXT_MAX
        || notes.len() > NOTES_MAX
        || !notes.iter().all(is_note)
    {
        let detail = format!(
            "of what the answer was made of something is too long or of another form: `model` has 1 to {MODEL_BYTES_MAX} bytes, \
             `options` {OPTIONS_BYTES_MAX} at most, `prompt_sha256` 64 of 0-9 a-f, `context` {CONTEXT_MAX} ids at most, \
             `notes` {NOTES_MAX} at most of 1 to {NOTE_BYTES_MAX} bytes"
        );
        return Err(Problem::bad("bad-made", detail));
    }
    Ok(())
}

/// The end that a failure asks for.
pub(super) fn failure(body: FailWork) -> Result<End, Problem> {
    let FailWork { reason, retryable, away_ms, .. } = body;
    if reason.len() > REASON_BYTES_MAX || !is_line(&reason) {
        let detail = format!(
            "`reason` has 1 to {REASON_BYTES_MAX} bytes and no control characters, e.g. `model-error: out of memory`"
        );
        return Err(Problem::bad("bad-reason", detail));
    }
    let reason = reason.into();
    match away_ms {
        None => Ok(End::Failed { reason, retryable }),
        Some(after_ms) if after_ms <= AWAY_MS_MAX && retryable => Ok(End::Away { reason, after_ms }),
        Some(_) => {
            let detail = format!("`away_ms` is 0 to {AWAY_MS_MAX}, and only with `retryable`");
            Err(Problem::bad("bad-away", detail))
        }
    }
}
