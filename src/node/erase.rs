//! Erasing: what a `message.erased` names is taken out of the log, by a task beside the core.
//!
//! The entry is the wish, and it is durable; the act comes after it and may take a while, and a crash may come between. So at
//! each start, and each time that a shared log opens again, everything that was ever to be erased is looked at once more
//! (the index has a list): what is erased already costs a read.
//!
//! Promises: the caller learns whether the bytes are gone; of several nodes the one that was asked acts first; a failure is
//! tried again until it is done; what was done before the log opened again is done again.
//! Not here: what is due when (`agenda`), how a log erases (`log`), what hides the text from the moment of the entry on
//! (`projection::view`).

mod agenda;

use std::time::Duration;

use antiphon_schemas::{
    MessageId, Seq,
    wire::{Changed, Status},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout},
};
use tracing::{error, info, warn};

use self::agenda::Agenda;
pub(super) use self::agenda::{Due, Page};
use super::{Answer, Answered, Command, Error, Node, indexed::index_error};
use crate::{
    decide::change::Change,
    log::{self, ERASE_MAX},
    projection::view,
};

/// Callers get a response after this time: done, or recorded and still to be done.
const ASKED_WAIT: Duration = Duration::from_secs(10);
/// Far enough to mean "no deadline", near enough for the timer wheel.
const FAR: Duration = Duration::from_secs(24 * 3600);
/// Erasures that are looked at together.
const PAGE: usize = 1_000;

/// What is to be erased, and how far that is done.
#[derive(Debug)]
pub(super) struct Erasing(watch::Sender<Agenda>);

impl Erasing {
    pub(super) fn new() -> Erasing {
        Erasing(watch::Sender::new(Agenda::default()))
    }

    /// Waits until everything up to here is erased.
    pub(super) async fn reached(&self, at: Seq) {
        // The sender lives as long as `self`.
        let _ = self.0.subscribe().wait_for(|agenda| agenda.done() >= at).await;
    }

    /// A `message.erased` was applied.
    pub(super) fn note(&self, at: Seq, time: std::time::Instant) {
        self.0.send_modify(|agenda| agenda.note(at, time));
    }

    /// Looks at what is to be erased, or changes it.
    #[cfg(test)]
    pub(super) fn agenda<T>(&self, act: impl FnOnce(&mut Agenda) -> T) -> T {
        let mut result = None;
        self.0.send_modify(|agenda| result = Some(act(agenda)));
        result.expect("it was called")
    }

    /// The log was opened, and ends here; what was done before may be undone.
    pub(super) fn opened(&self, tail: Seq) {
        self.0.send_modify(|agenda| agenda.opened(tail));
    }
}

impl Node {
    /// Takes a message's text and its author's name out of the log; what is open about it is cancelled, and it is hidden.
    ///
    /// Guarantee: from here on nobody is shown either. `true`: they are gone from the log's bytes, durably. `false`: that
    /// takes longer, or fails for now; it continues automatically, even after a restart, and asking again shows the result.
    ///
    /// # Errors
    /// [`Error::Refused`] if there is no such message; else as [`Node::post`].
    pub async fn erase(&self, id: MessageId) -> Result<(Changed, bool), Error> {
        let Answered { answer, epoch, position: applied } =
            self.command(Command::Change(id, Change::Erase), &[id]).await?;
        let record = self.record(id).await?;
        let status = match (&answer, &record) {
            (_, Some(record)) => record.status,
            (Answer::Stands(status), None) => *status,
            _ => Status::None,
        };
        // Nothing about a message comes after its erasure.
        let at = record.and_then(|record| record.positions.last().copied()).unwrap_or(applied);
        let erasing = &self.inner.view.erasing;
        erasing.0.send_modify(|agenda| agenda.hurry(at));
        let gone = timeout(ASKED_WAIT, erasing.reached(at)).await.is_ok();
        // In another log the position is another entry's: there the wish itself is still to be brought back.
        let gone = gone && self.epoch() == epoch;
        let position = view::position(epoch, applied);
        Ok((Changed { id, status, position }, gone))
    }

    /// Erases a page; how far it came.
    async fn erase_page(&self, page: &Page) -> Result<Seq, Error> {
        let Page { after, upto, .. } = *page;
        let epoch = self.epoch();
        self.index_reached(upto).await?;
        let found = self.inner.index().index.reader().erasures(after, PAGE).map_err(index_error)?;
        let whole = found.len() < PAGE;
        let found: Vec<_> = found.into_iter().take_while(|(at, _)| *at <= upto).collect();
        let end = found.last().map_or(upto, |(at, _)| if whole { upto } else { *at });
        let positions: Vec<Seq> = found.into_iter().flat_map(|(_, positions)| positions).collect();
        for part in positions.chunks(ERASE_MAX) {
            // Another log has other entries at these positions.
            if self.inner.log.info().epoch != epoch {
                return Err(Error::Behind);
            }
            let count = self.erase_positions(part).await?;
            if count > 0 {
                info!(entries = count, "erased from the log");
            }
        }
        Ok(end)
    }

    async fn erase_positions(&self, positions: &[Seq]) -> Result<usize, Error> {
        match self.inner.log.erase(positions.to_vec()).await {
            Err(log::Error::Invalid(why)) if positions.len() > 1 => {
                // One of them cannot be erased; the others are.
                warn!(why, "not all can be erased together");
                let mut count = 0;
                for seq in positions {
                    count += Box::pin(self.erase_positions(&[*seq])).await?;
                }
                Ok(count)
            }
            Err(log::Error::Invalid(why)) => {
                error!(position = ?positions, why, "an entry that is to be erased cannot be");
                Ok(0)
            }
            result => Ok(result?),
        }
    }
}

/// Erases what is wanted, until the node is gone.
pub(super) async fn run(node: Node) {
    let agenda = &node.inner.view.erasing.0;
    let mut changes = agenda.subscribe();
    let mut told: Option<String> = None;
    loop {
        let due = match changes.borrow_and_update().due(node.inner.log.shared().is_some()) {
            Due::Never => None,
            Due::Now => Some(Instant::now()),
            Due::At(at) => Some(Instant::from_std(at)),
        };
        tokio::select! {
            () = sleep_until(due.unwrap_or_else(|| Instant::now() + FAR)), if due.is_some() => {}
            changed = changes.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
            () = node.inner.requests.closed() => return,
        }
        let page = agenda.borrow().begin();
        match node.erase_page(&page).await {
            Ok(end) => agenda.send_modify(|agenda| agenda.ended(&page, end)),
            Err(Error::Log(log::Error::Closed)) => return,
            Err(failure) => {
                agenda.send_modify(|agenda| agenda.failed(&page, Instant::now().into_std()));
                let failure = failure.to_string();
                if told.as_ref() != Some(&failure) {
                    warn!("texts that are to be erased are not yet out of the log: {failure}; it is tried again");
                    told = Some(failure);
                }
            }
        }
    }
}
