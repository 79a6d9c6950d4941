//! Supervised tasks: every long-lived task has a name, and its [`Kind`] says what its end means.
//!
//! Promises:
//! - the first unexpected end of a critical task, by return or by panic, is kept with its name and the panic's message;
//!   [`Tasks::died`] resolves, so that the server stops instead of serving with a part missing;
//! - a panic is never mistaken for an orderly end ([`End`]).
//!
//! Not here: stopping tasks in order (`server`), tasks that live as long as one request or one connection.

use std::{any::Any, fmt, panic::AssertUnwindSafe, sync::Arc};

use futures_util::FutureExt;
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tracing::error;

/// What the end of a task means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The process cannot do without it: returning before [`Tasks::stopping`] is as unexpected as a panic.
    Critical,
    /// The process cannot do without it, but its owner may close it at any time: only a panic is unexpected.
    Owned,
    /// The process can do without it until the next start: a panic is logged with what is missing from then on.
    Helper {
        /// What does not happen any more, as a clause.
        without: &'static str,
    },
}

/// How a task ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// It returned.
    Returned,
    /// It panicked, with this message. What it was changing may be half done.
    Panicked(Arc<str>),
}

/// The unexpected end of a critical task.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the task `{task}` {how}")]
pub struct Ended {
    /// Its name.
    pub task: &'static str,
    /// How it ended.
    pub how: End,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Returned => f.write_str("ended although nothing had asked it to"),
            End::Panicked(message) => write!(f, "panicked: {message}"),
        }
    }
}

/// The tasks of one process, or of one test; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Tasks(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// The first unexpected end of a critical task.
    died: watch::Sender<Option<Ended>>,
    stopping: CancellationToken,
}

impl Tasks {
    /// No tasks yet.
    pub fn new() -> Tasks {
        Tasks::default()
    }

    /// Starts a task. Dropping the handle detaches it; aborting it is no unexpected end.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn spawn(
        &self,
        name: &'static str,
        kind: Kind,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> JoinHandle<End> {
        let tasks = self.clone();
        tokio::spawn(async move {
            let how = match AssertUnwindSafe(task).catch_unwind().await {
                Ok(()) => End::Returned,
                Err(panic) => End::Panicked(message(&*panic).into()),
            };
            tasks.note(name, kind, &how);
            how
        })
    }

    /// From here on a critical task may return; a panic is still unexpected.
    pub fn stopping(&self) {
        self.0.stopping.cancel();
    }

    /// Waits for the first unexpected end of a critical task; pends forever if there is none.
    pub async fn died(&self) -> Ended {
        let mut died = self.0.died.subscribe();
        let ended = died.wait_for(Option::is_some).await.expect("the sender is ours").clone();
        ended.expect("waited for")
    }

    /// The first unexpected end of a critical task, if there was one.
    pub fn dead(&self) -> Option<Ended> {
        self.0.died.borrow().clone()
    }

    fn note(&self, task: &'static str, kind: Kind, how: &End) {
        let returned = *how == End::Returned;
        match kind {
            Kind::Critical if returned && self.0.stopping.is_cancelled() => {}
            Kind::Owned | Kind::Helper { .. } if returned => {}
            Kind::Helper { without } => error!("the task `{task}` {how}; until the next start {without}"),
            Kind::Critical | Kind::Owned => {
                let ended = Ended { task, how: how.clone() };
                error!("{ended}");
                self.0.died.send_if_modified(|died| {
                    let first = died.is_none();
                    died.get_or_insert(ended);
                    first
                });
            }
        }
    }
}

/// What a panic said.
pub(crate) fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("it gave no message")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELPER: Kind = Kind::Helper { without: "nothing is missing" };

    /// Runs one task to its end and returns what is kept of that.
    async fn kept(kind: Kind, stopping: bool, task: impl Future<Output = ()> + Send + 'static) -> Option<Ended> {
        let tasks = Tasks::new();
        if stopping {
            tasks.stopping();
        }
        tasks.spawn("one", kind, task).await.unwrap();
        tasks.dead()
    }

    async fn panics() {
        panic!("out of {}", "luck")
    }

    #[tokio::test]
    async fn a_panic_of_a_critical_task_is_kept_with_its_message_also_while_stopping() {
        let expected = Ended { task: "one", how: End::Panicked("out of luck".into()) };
        for (kind, stopping) in [(Kind::Critical, false), (Kind::Critical, true), (Kind::Owned, false)] {
            assert_eq!(kept(kind, stopping, panics()).await.as_ref(), Some(&expected), "{kind:?}");
        }
        assert_eq!(expected.to_string(), "the task `one` panicked: out of luck");
    }

    #[tokio::test]
    async fn a_critical_task_may_return_only_when_the_server_stops() {
        assert_eq!(kept(Kind::Critical, false, async {}).await.unwrap().how, End::Returned);
        assert_eq!(kept(Kind::Critical, true, async {}).await, None);
    }

    #[tokio::test]
    async fn a_helpers_end_and_the_return_of_a_task_that_its_owner_closed_stop_nothing() {
        assert_eq!(kept(HELPER, false, panics()).await, None);
        assert_eq!(kept(HELPER, false, async {}).await, None);
        assert_eq!(kept(Kind::Owned, false, async {}).await, None);
    }

    #[tokio::test]
    async fn the_first_of_several_ends_is_the_one_that_is_told() {
        let tasks = Tasks::new();
        for name in ["first", "second"] {
            tasks.spawn(name, Kind::Critical, panics()).await.unwrap();
        }
        assert_eq!(tasks.died().await.task, "first");
    }
}
