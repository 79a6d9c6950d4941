//! What comes: the pages of a source beyond its end for now, read on a thread of their own so that Ctrl-C is heard at once.

use std::{io, time::Duration};

use antiphon_schemas::Stored;
use tokio::{
    runtime::Runtime,
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
};

use crate::replay::source::{self, Source};

/// After so long without news the source is asked again; it wakes us before if there are any.
const WAIT: Duration = Duration::from_secs(2);
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

/// The pages that come.
pub(super) struct Follow(mpsc::Receiver<Result<Vec<Stored>, source::Error>>);

impl Follow {
    /// Goes on where the source stands. Ends with the source, if that does not grow.
    pub(super) fn new(runtime: &Runtime, mut source: Box<dyn Source>) -> Follow {
        let (tx, pages) = mpsc::channel(AHEAD);
        runtime.spawn_blocking(move || {
            while !tx.is_closed() {
                let came = match source.read() {
                    Ok(page) if page.is_empty() => match source.wait(WAIT) {
                        Ok(true) => continue,
                        Ok(false) => return,
                        Err(error) => Err(error),
                    },
                    came => came,
                };
                let ends = came.is_err();
                if tx.blocking_send(came).is_err() || ends {
                    return;
                }
            }
        });
        Follow(pages)
    }

    /// The next page; `None` at the end, or after Ctrl-C.
    pub(super) fn next(
        &mut self,
        runtime: &Runtime,
        interrupt: &mut Interrupt,
    ) -> Result<Option<Vec<Stored>>, source::Error> {
        interrupt.or(runtime, self.0.recv()).flatten().transpose()
    }
}
