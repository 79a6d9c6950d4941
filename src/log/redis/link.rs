//! The connections of one session with the store. A session ends with the first thing that goes wrong; another begins.
//!
//! Promises:
//! - every question is answered within a named time, or the session ends;
//! - once a session has ended, nothing more is asked on it, and pending requests fail at once;
//! - a caller whose request fails already sees the log as away: waiting until it is open means waiting for the next session.
//!
//! Not here: when a session begins and what happens between two (`keeper`).

use std::{
    future::Future,
    sync::{Arc, OnceLock},
    time::Duration,
};

use ::redis::{RedisResult, aio::MultiplexedConnection};
use antiphon_schemas::Epoch;
use tokio::{sync::watch, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{append::Writer, trouble::classify};
use crate::log::{Access, Error};

/// The connections of a session.
pub(super) struct Link {
    /// Signs its appends.
    pub(super) writer: Writer,
    /// The epoch of the log.
    pub(super) epoch: Epoch,
    /// For appends.
    pub(super) appends: MultiplexedConnection,
    /// For live updates, which may be large.
    pub(super) live: MultiplexedConnection,
    /// For history and lanes, so that those do not delay appends.
    pub(super) reads: MultiplexedConnection,
    /// Host and port, for messages that say why it ended.
    at: String,
    /// The appends under way.
    pub(super) tasks: TaskTracker,
    /// Marks the log as away before any caller sees its request fail.
    access: watch::Sender<Access>,
    over: CancellationToken,
    why: OnceLock<Arc<str>>,
}

impl Link {
    pub(super) fn new(
        writer: Writer,
        epoch: Epoch,
        [appends, live, reads]: [MultiplexedConnection; 3],
        at: String,
        access: watch::Sender<Access>,
    ) -> Arc<Link> {
        let (tasks, over, why) = (TaskTracker::new(), CancellationToken::new(), OnceLock::new());
        Arc::new(Link { writer, epoch, appends, live, reads, at, tasks, access, over, why })
    }

    /// Ends the session; the first reason counts.
    pub(super) fn end(&self, why: impl Into<Arc<str>>) {
        let why = why.into();
        // A second reason follows from the first.
        if self.why.set(why.clone()).is_ok() {
            self.access.send_replace(Access::Away { why });
        }
        self.over.cancel();
    }

    /// Waits for the end of the session.
    pub(super) async fn ended(&self) -> Arc<str> {
        self.over.cancelled().await;
        self.why.get().cloned().unwrap_or_else(|| "the session ended".into())
    }

    /// An answer of the store within a time; whatever else happens ends the session.
    ///
    /// # Errors
    /// [`Error::Away`].
    pub(super) async fn ask<T>(
        &self,
        limit: Duration,
        question: impl Future<Output = RedisResult<T>>,
    ) -> Result<T, Error> {
        tokio::select! {
            // First: a question of an ended session is never sent.
            biased;
            why = self.ended() => Err(Error::Away(why)),
            answer = timeout(limit, question) => match answer {
                Ok(Ok(answer)) => Ok(answer),
                Ok(Err(error)) => Err(self.fail(format!("{}: {}", self.at, classify(&error)))),
                Err(_) => Err(self.fail(format!("{}: no answer within {} ms; check whether it hangs", self.at, limit.as_millis()))),
            }
        }
    }

    /// Ends the session and says so.
    pub(super) fn fail(&self, why: impl Into<Arc<str>>) -> Error {
        let why = why.into();
        self.end(why.clone());
        Error::Away(why)
    }
}
