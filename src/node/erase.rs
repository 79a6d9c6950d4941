//! Erasing: what a `message.erased` names is taken out of the log, by a task beside the conductor.
//!
//! The entry is the wish, and it is durable; the act comes after it and may take a while, and a crash may come between. So at
//! each start, and each time that a shared log opens again, everything that was ever to be erased is looked at once more
//! (the index has a list): what is erased already costs a read.
//!
//! Promises: whoever asked is told whether the bytes are gone; of several nodes the one that was asked acts, and the others
//! only if it has not done so within [`OTHERS_WAIT`]; a failure is tried again until it is done.
//! Not here: how a log erases (`log`), what hides the text from the moment of the entry on (`projection::view`).

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

use super::{Answer, Answered, Command, Error, Node, driver::FAR, read::index_error};
use crate::{
    decide::change::Change,
    log::{self, ERASE_MAX},
    projection::view,
};

/// Whoever asks is told the truth after this time: done, or noted and still to be done.
const ASKED_WAIT: Duration = Duration::from_secs(10);
/// What another node was asked for is that node's to do, for so long: it copies a log of millions of entries meanwhile.
const OTHERS_WAIT: Duration = Duration::from_secs(60);
/// What failed is tried again after this time.
const AGAIN: Duration = Duration::from_secs(10);
/// Erasures that are looked at together.
const PAGE: usize = 1_000;

/// What is to be erased, and how far that is done.
#[derive(Debug)]
pub(super) struct Erasing {
    wanted: watch::Sender<Wanted>,
    done: watch::Sender<Seq>,
}

/// Up to where something is to be erased; all zero: nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Wanted {
    /// By whoever appended it.
    sometime: Seq,
    /// Here, and now.
    now: Seq,
    /// How often somebody asked: whoever asks again may be luckier than the last try was.
    asked: u64,
}

impl Erasing {
    pub(super) fn new() -> Erasing {
        Erasing { wanted: watch::Sender::new(Wanted::default()), done: watch::Sender::new(Seq::ZERO) }
    }

    #[cfg(test)]
    pub(super) fn done(&self) -> watch::Receiver<Seq> {
        self.done.subscribe()
    }

    /// A `message.erased` was applied.
    pub(super) fn note(&self, at: Seq) {
        self.wanted.send_modify(|wanted| wanted.sometime = wanted.sometime.max(at));
    }

    /// Somebody waits until everything up to here is done.
    fn hurry(&self, at: Seq) {
        self.wanted.send_modify(|wanted| {
            wanted.now = wanted.now.max(at);
            wanted.asked += 1;
        });
    }

    /// The log is open, up to here; whether what was done before is still done is not known.
    pub(super) fn opened(&self, position: Seq) {
        self.done.send_replace(Seq::ZERO);
        self.wanted.send_modify(|wanted| {
            let asked = wanted.asked + 1;
            *wanted = Wanted { sometime: position, now: position, asked };
        });
    }
}

impl Node {
    /// Takes a message's text and its author's name out of the log; what is open about it is cancelled, and it is hidden.
    ///
    /// Guarantee: from here on nobody is shown either. `true`: they are gone from the log's bytes, durably. `false`: that
    /// takes longer, or fails for now; it goes on by itself, after a restart too, and asking again tells.
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
        let mut done = erasing.done.subscribe();
        erasing.hurry(at);
        let gone = timeout(ASKED_WAIT, done.wait_for(|done| *done >= at)).await.is_ok_and(|done| done.is_ok());
        let position = view::position(epoch, applied);
        Ok((Changed { id, status, position }, gone))
    }

    /// Erases the next page of what is wanted up to a position; how far it came.
    async fn erase_page(&self, done: Seq, upto: Seq) -> Result<Seq, Error> {
        self.index_reached(upto).await?;
        let page = self.inner.index().index.reader().erasures(done, PAGE).map_err(index_error)?;
        let whole = page.len() < PAGE;
        let page: Vec<_> = page.into_iter().take_while(|(at, _)| *at <= upto).collect();
        let end = page.last().map_or(upto, |(at, _)| if whole { upto } else { *at });
        let positions: Vec<Seq> = page.into_iter().flat_map(|(_, positions)| positions).collect();
        for part in positions.chunks(ERASE_MAX) {
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
                // One of them cannot be erased, whoever named it; the others are.
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
    let erasing = &node.inner.view.erasing;
    let mut wanted = erasing.wanted.subscribe();
    let mut told: Option<String> = None;
    // Since when something is wanted that another node should do; when something that failed is tried again.
    let (mut since, mut again): (Option<Instant>, Option<Instant>) = (None, None);
    loop {
        let Wanted { sometime, now, asked } = *wanted.borrow_and_update();
        let done = *erasing.done.borrow();
        let at = match (now > done, sometime > done) {
            (true, _) => Some(Instant::now()),
            (false, true) if node.inner.log.shared().is_none() => Some(Instant::now()),
            (false, true) => Some(*since.get_or_insert_with(Instant::now) + OTHERS_WAIT),
            (false, false) => None,
        };
        let at = at.map(|at| again.map_or(at, |again| again.max(at)));
        tokio::select! {
            () = sleep_until(at.unwrap_or_else(|| Instant::now() + FAR)), if at.is_some() => {}
            changed = wanted.changed() => match changed {
                Ok(()) => {
                    again = again.filter(|_| wanted.borrow().asked == asked);
                    continue;
                }
                Err(_) => return,
            },
            () = node.inner.requests.closed() => return,
        }
        (since, again) = (None, None);
        match node.erase_page(done, sometime.max(now)).await {
            // Unless the log has opened again meanwhile.
            Ok(end) => drop(erasing.done.send_if_modified(|at| {
                let same = *at == done;
                *at = if same { end } else { *at };
                same
            })),
            Err(Error::Log(log::Error::Closed)) => return,
            Err(failure) => {
                again = Some(Instant::now() + AGAIN);
                let failure = failure.to_string();
                if told.as_ref() != Some(&failure) {
                    warn!("texts that are to be erased are not yet out of the log: {failure}; it is tried again");
                    told = Some(failure);
                }
            }
        }
    }
}
