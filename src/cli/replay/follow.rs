//! What comes: the pages of a source beyond its end for now, read on a thread of their own so that Ctrl-C is heard at once.
//!
//! Promise: a log that goes away is waited for, which is said once, and gone on with where it was.

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

/// How long to wait without news before the source is asked again; it wakes us earlier if there are any.
const WAIT: Duration = Duration::from_secs(2);
/// Until a log that went away is asked for again, at first; each time twice as long.
const AGAIN_FIRST: Duration = Duration::from_millis(250);
/// And at most: a person looks on.
const AGAIN_MAX: Duration = Duration::from_secs(5);
/// Pages that are read ahead of the one that is shown.
const AHEAD: usize = 2;

/// Ctrl-C, from now on.
pub(super) struct Interrupt(Signal);

impl Interrupt {
    pub(super) fn new(runtime: &Runtime) -> io::Result<Interrupt> {
        let _inside = runtime.enter();
        Ok(Interrupt(signal(SignalKind::interrupt())?))
    }

    /// What comes of a wait; `None` if somebody pressed Ctrl-C before.
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

/// What comes.
enum News {
    Page(Vec<Stored>),
    /// The log went away, and why.
    Away(String),
    /// It is back.
    Back,
}

/// The pages that come.
pub(super) struct Follow(mpsc::Receiver<Result<News, source::Error>>);

impl Follow {
    /// Continues at the source's position. Ends with the source, if that does not grow.
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

    /// The next page, perhaps of nothing; `None` at the end, or after Ctrl-C.
    pub(super) fn next(
        &mut self,
        runtime: &Runtime,
        interrupt: &mut Interrupt,
    ) -> Result<Option<Vec<Stored>>, source::Error> {
        loop {
            match interrupt.or(runtime, self.0.recv()).flatten().transpose()? {
                None => return Ok(None),
                Some(News::Page(page)) => return Ok(Some(page)),
                Some(News::Away(why)) => complain(&format!("{why}; it is waited for, Ctrl-C ends it")),
                Some(News::Back) => complain("it is back, and gone on with where it was"),
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
