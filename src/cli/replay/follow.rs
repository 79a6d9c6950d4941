//! New entries: the pages of a source beyond its current end, read on a separate thread so that Ctrl-C works at once.
//!
//! Promise: if the log becomes unavailable, this says so once, waits, and resumes where it was.

use std::{io, thread, time::Duration};

use antiphon_schemas::Stored;
use tokio::{
    runtime::Runtime,
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
};

use crate::{
    cli::complain,
    replay::source::{self, Source},
};

/// How long to wait before asking the source again; it wakes us earlier if there is news.
const WAIT: Duration = Duration::from_secs(2);
/// First delay before retrying an unavailable log; doubled each time.
const AGAIN_FIRST: Duration = Duration::from_millis(250);
/// The longest such delay: a person is watching.
const AGAIN_MAX: Duration = Duration::from_secs(5);
/// Pages read ahead of the one being shown.
const AHEAD: usize = 2;

/// Ctrl-C, from now on.
pub(super) struct Interrupt(Signal);

impl Interrupt {
    pub(super) fn new(runtime: &Runtime) -> io::Result<Interrupt> {
        let _inside = runtime.enter();
        Ok(Interrupt(signal(SignalKind::interrupt())?))
    }

    /// The result of a wait; `None` if Ctrl-C was pressed first.
    pub(super) fn or<T>(&mut self, runtime: &Runtime, wait: impl Future<Output = T>) -> Option<T> {
        runtime.block_on(async {
            tokio::select! {
                biased;
                _ = self.0.recv() => None,
                came = wait => Some(came),
            }
        })
    }
}

/// What arrives.
enum News {
    Page(Vec<Stored>),
    /// The log is unavailable, and why.
    Away(String),
    /// It is back.
    Back,
}

/// The arriving pages.
pub(super) struct Follow(mpsc::Receiver<Result<News, source::Error>>);

impl Follow {
    /// Continues at the source's position. Ends with the source if that does not grow.
    pub(super) fn new(runtime: &Runtime, mut source: Box<dyn Source>) -> Follow {
        let (tx, pages) = mpsc::channel(AHEAD);
        runtime.spawn_blocking(move || {
            let mut pause = None;
            while !tx.is_closed() {
                let came = match (next(&mut *source), pause) {
                    (Ok(None), _) => return,
                    (Err(source::Error::Away(why)), None) => {
                        pause = Some(AGAIN_FIRST);
                        Ok(News::Away(why))
                    }
                    (Err(source::Error::Away(_)), Some(long)) => {
                        thread::sleep(long);
                        pause = Some((long * 2).min(AGAIN_MAX));
                        continue;
                    }
                    (Ok(Some(page)), Some(_)) => {
                        pause = None;
                        if tx.blocking_send(Ok(News::Back)).is_err() {
                            return;
                        }
                        Ok(News::Page(page))
                    }
                    (Ok(Some(page)), None) => Ok(News::Page(page)),
                    (Err(error), _) => Err(error),
                };
                let ends = came.is_err();
                if tx.blocking_send(came).is_err() || ends {
                    return;
                }
            }
        });
        Follow(pages)
    }

    /// The next page, possibly empty; `None` at the end, or after Ctrl-C.
    pub(super) fn next(
        &mut self,
        runtime: &Runtime,
        interrupt: &mut Interrupt,
    ) -> Result<Option<Vec<Stored>>, source::Error> {
        loop {
            match interrupt.or(runtime, self.0.recv()).flatten().transpose()? {
                None => return Ok(None),
                Some(News::Page(page)) => return Ok(Some(page)),
                Some(News::Away(why)) => complain(&format!("{why}; waiting for it, Ctrl-C to stop")),
                Some(News::Back) => complain("it is back; resuming where it was"),
            }
        }
    }
}

/// The next page, or none after a wait; `None`: the source does not grow.
fn next(source: &mut dyn Source) -> Result<Option<Vec<Stored>>, source::Error> {
    let page = source.read()?;
    if page.is_empty() && !source.wait(WAIT)? {
        return Ok(None);
    }
    Ok(Some(page))
}
