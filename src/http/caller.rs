//! Who calls the work API: this machine itself, or whoever has a key; and what each may do.
//!
//! Promises: a key that is shown is always checked, on this machine too; nobody is told that a key is bad while it is not
//! known which are good (503 instead); a refusal says nothing about the message that was asked for.
//! Not here: making keys (`keys`), what is done with a message (`node`).

use std::sync::Arc;

use antiphon_schemas::BotName;
use axum::http::{HeaderMap, StatusCode, header};

use super::{App, Peer, Problem, guard};
use crate::{node, projection::keys::Key};

/// Who calls.
#[derive(Debug, Clone)]
pub(super) enum Caller {
    /// A program on the machine of the server: may answer for every bot, under every name.
    Local,
    /// Whoever has this key.
    Key(Arc<Key>),
}

/// Who sent this request.
///
/// # Errors
/// 401 `no-key` from elsewhere without a key, 401 `bad-key` for one that is not good, 503 while that is not known.
pub(super) fn caller(app: &App, peer: Peer, headers: &HeaderMap) -> Result<Caller, Problem> {
    let mut shown = headers.get_all(header::AUTHORIZATION).iter();
    let Some(first) = shown.next() else {
        if guard::from_loopback(peer, headers) {
            return Ok(Caller::Local);
        }
        app.node().keys()?;
        let detail = "send a worker's key as `authorization: Bearer ak_…`; the operator makes one with \
                      `antiphon key create` on the machine of the server";
        return Err(Problem::new(StatusCode::UNAUTHORIZED, "no-key", detail));
    };
    let token = match shown.next() {
        None => first.to_str().ok().and_then(bearer),
        Some(_) => None,
    };
    let sha256 = token.and_then(node::key_sha256).unwrap_or_default();
    match app.node().key(&sha256)? {
        Some(key) => Ok(Caller::Key(key)),
        None => Err(bad_key()),
    }
}

/// 401 for a key that is not good, or no longer.
pub(super) fn bad_key() -> Problem {
    let detail = "this is not a key, or it was revoked; the operator makes one with `antiphon key create` on the machine of \
                  the server";
    Problem::new(StatusCode::UNAUTHORIZED, "bad-key", detail)
}

/// The token of `Bearer TOKEN`; the scheme in any case.
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim_matches(' '))
}

impl Caller {
    /// Refuses a name that is not the caller's: a key's worker may call itself so, or `worker/anything`.
    ///
    /// # Errors
    /// 403 `not-your-name`.
    pub(super) fn check_name(&self, worker: &str) -> Result<(), Problem> {
        let Caller::Key(key) = self else { return Ok(()) };
        match worker.strip_prefix(&*key.worker) {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => Ok(()),
            _ => {
                let name = &key.worker;
                let detail = format!("the key is for the worker `{name}`; call yourself `{name}` or `{name}/…`");
                Err(Problem::new(StatusCode::FORBIDDEN, "not-your-name", detail))
            }
        }
    }

    /// Refuses a bot for which the caller may not answer.
    ///
    /// # Errors
    /// 403 `not-your-bot`.
    pub(super) fn check_bot(&self, bot: &BotName) -> Result<(), Problem> {
        match self.bots() {
            Some(bots) if !bots.contains(bot) => {
                let detail = "the key is not for this bot; GET /api/work/bots lists those that it is for";
                Err(Problem::new(StatusCode::FORBIDDEN, "not-your-bot", detail))
            }
            _ => Ok(()),
        }
    }

    /// The bots for which the caller may answer; `None`: all.
    pub(super) fn bots(&self) -> Option<&[BotName]> {
        match self {
            Caller::Local => None,
            Caller::Key(key) => Some(&key.bots),
        }
    }

    /// Waits until the caller's key is no longer good; for ever if there is none.
    pub(super) async fn revoked(&self, app: &App) {
        let Caller::Key(key) = self else { return std::future::pending().await };
        let mut changed = app.node().keys_changed();
        loop {
            changed.borrow_and_update();
            // While it is not known, the key stays what it was.
            if let Ok(None) = app.node().key(&key.sha256) {
                return;
            }
            if changed.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }
}
