//! The connections of one session with the store. A session ends with the first thing that goes wrong; another begins.
//!
//! Promises:
//! - every question is answered within a named time, or the session ends;
//! - once a session has ended, nothing more is asked on it, and pending requests fail at once;
//! - a caller whose request fails already sees the log as away: waiting until it is open means waiting for the next session.
//!   The exception is a session that is *lost*: a connection ended, which idle ones do with a store that is well. The log
//!   still counts as open, and the caller waits for the next session ([`Inner::session`](super::Inner::session)).
//!
//! Not here: when a session begins and what happens between two (`keeper`), doing something twice (`retry`).

use std::{
    future::Future,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use ::redis::{RedisResult, aio::MultiplexedConnection};
use antiphon_schemas::Epoch;
use tokio::{sync::watch, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    append::Writer,
    connect::Connected,
    trouble::{Kind, Trouble, classify},
};
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
    /// For history and lanes, so that those do not delay appends. Replaced when it ends: nothing on it is fenced.
    // A std mutex: held to clone or set, never across an await.
    reads: Mutex<Connected>,
    /// Host and port, for messages that say why it ended.
    pub(super) at: String,
    /// The appends under way.
    pub(super) tasks: TaskTracker,
    /// Marks the log as away before any caller sees its request fail.
    access: watch::Sender<Access>,
    /// From then on it may be lost; before, a connection that ends is trouble.
    may_be_lost: Instant,
    over: CancellationToken,
    end: OnceLock<End>,
}

/// How a session ended.
struct End {
    why: Arc<str>,
    lost: bool,
}

impl Link {
    /// A session on `appends` and `live`, both on the server of `reads`.
    pub(super) fn new(
        writer: Writer,
        epoch: Epoch,
        [appends, live]: [MultiplexedConnection; 2],
        reads: Connected,
        access: watch::Sender<Access>,
        may_be_lost: Instant,
    ) -> Arc<Link> {
        let (tasks, over, end) = (TaskTracker::new(), CancellationToken::new(), OnceLock::new());
        let (at, reads) = (reads.at.clone(), Mutex::new(reads));
        Arc::new(Link { writer, epoch, appends, live, reads, at, tasks, access, may_be_lost, over, end })
    }

    /// The connection for history and lanes.
    pub(super) fn reads(&self) -> Connected {
        self.reads.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts another in its place.
    pub(super) fn renew_reads(&self, reads: Connected) {
        *self.reads.lock().unwrap_or_else(PoisonError::into_inner) = reads;
    }

    /// Ends the session; the first reason counts.
    pub(super) fn end(&self, why: impl Into<Arc<str>>) {
        self.end_as(why.into(), false);
    }

    /// Ends the session because a connection ended: nobody is told yet, unless it has only just begun.
    pub(super) fn lose(&self, why: impl Into<Arc<str>>) {
        self.end_as(why.into(), Instant::now() >= self.may_be_lost);
    }

    fn end_as(&self, why: Arc<str>, lost: bool) {
        // A second reason follows from the first.
        if self.end.set(End { why: why.clone(), lost }).is_ok() && !lost {
            self.access.send_replace(Access::Away { why });
        }
        self.over.cancel();
    }

    /// Waits for the end of the session.
    pub(super) async fn ended(&self) -> Arc<str> {
        self.over.cancelled().await;
        self.end.get().map_or_else(|| "the session ended".into(), |end| end.why.clone())
    }

    /// Whether it has ended.
    pub(super) fn is_over(&self) -> bool {
        self.over.is_cancelled()
    }

    /// Whether it has ended with a connection, and the next one is worth waiting for.
    pub(super) fn is_lost(&self) -> bool {
        self.end.get().is_some_and(|end| end.lost)
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
        self.ask_of(limit, question).await?.map_err(|trouble| {
            let why: Arc<str> = format!("{}: {trouble}", self.at).into();
            self.lose(why.clone());
            Error::Away(why)
        })
    }

    /// As [`Link::ask`], but that the connection ended is left to the caller.
    ///
    /// # Errors
    /// [`Error::Away`].
    pub(super) async fn ask_of<T>(
        &self,
        limit: Duration,
        question: impl Future<Output = RedisResult<T>>,
    ) -> Result<Result<T, Trouble>, Error> {
        tokio::select! {
            // First: a question of an ended session is never sent.
            biased;
            why = self.ended() => Err(Error::Away(why)),
            answer = timeout(limit, question) => match answer.map(|answer| answer.map_err(|error| classify(&error))) {
                Ok(Ok(answer)) => Ok(Ok(answer)),
                Ok(Err(trouble)) if trouble.kind == Kind::Ended => Ok(Err(trouble)),
                Ok(Err(trouble)) => Err(self.fail(format!("{}: {trouble}", self.at))),
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
