//! Fills an empty Redis with the entries of another log, position and epoch included.
//!
//! Promises:
//! - until [`Filling::finish`] no node begins a session there, so that a copy that broke off is never taken for a whole log,
//!   a node whose store lost everything does not take its first half for a shorter log, and nobody appends between;
//! - a Redis on which a node has ever begun a session, and one with another log, is refused and left as it was.
//!
//! Not here: whether the entries are those that belong there (`replay::copy`).

use std::{sync::Arc, time::Duration};

use ::redis::{Cmd, Value};
use antiphon_schemas::{Entry, Epoch, Seq};
use uuid::Uuid;

use super::{
    Keys,
    address::Address,
    append::{Writer, load_call},
    calls::{LOAD_ENTRIES_MAX, parts},
    codec,
    connect::{Connected, connect},
    facts::{self, Level},
    lineage::{self, NotYet},
    script,
    trouble::classify,
};
use crate::log::{Error, GoOn};

/// Nobody waits for a word meanwhile: a store may be slow at it.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// Its sessions are recorded in meta under this node name, which no node can have.
const NAME: &str = "(filling)";

/// A Redis's log while it is being filled.
pub struct Filling {
    connected: Connected,
    keys: Keys,
    writer: Writer,
    tail: Seq,
    was_whole: bool,
}

impl Filling {
    /// Creates an empty log with an epoch where there is none, or opens one to continue.
    ///
    /// # Errors
    /// [`Error::Invalid`] names existing data that must not be added to; nothing was changed.
    pub async fn open(address: &Address, epoch: Epoch, go_on: GoOn) -> Result<Filling, Error> {
        let mut connected = connect(address, ANSWER_MAX).await.map_err(|error| Error::Io(error.to_string()))?;
        let keys = Keys::of(address);
        let not_yet = |why: NotYet| match why {
            NotYet::Away(why) => Error::Io(why.to_string()),
            NotYet::Empty => Error::Io("the store is empty".into()),
        };
        let facts = facts::look(&connected.connection).await;
        let facts = facts.map_err(|trouble| Error::Io(format!("{}: {trouble}", connected.at)))?;
        if let Some(refused) = facts::judge(&facts).iter().find(|finding| finding.level == Level::Refuse) {
            return Err(Error::Io(format!("{}: {refused}", connected.at)));
        }
        script::send(&mut connected.connection).await.map_err(|error| not_yet(error.into()))?;
        let session = Uuid::new_v4().simple().to_string();
        let writer = Writer { node: NAME.into(), session, epoch: epoch.to_string() };
        let mut filling = Filling { connected, keys, writer, tail: Seq::ZERO, was_whole: false };
        let what = if go_on == GoOn::Any { "any" } else { "half" };
        filling.was_whole = filling.say(what).await?;
        let store = lineage::look(&mut filling.connected.connection, &filling.keys).await.map_err(not_yet)?;
        filling.tail = store.tail;
        Ok(filling)
    }

    /// The last position that it has.
    pub fn tail(&self) -> Seq {
        self.tail
    }

    /// Whether it was already a complete log before it was opened to continue.
    pub fn was_whole(&self) -> bool {
        self.was_whole
    }

    /// Adds entries that continue where it ends. After an error those of a first part may be there.
    ///
    /// # Errors
    /// [`Error`]; what was written is valid and can be continued.
    pub async fn load(&mut self, entries: Vec<Arc<Entry>>) -> Result<(), Error> {
        super::append::check_run(&entries).and_then(|()| crate::log::check_entries(&entries))?;
        for part in parts(entries, LOAD_ENTRIES_MAX, |entry| entry.body.len()) {
            let Some(last) = part.last().map(|last| last.header.seq) else { return Ok(()) };
            let answer = self.ask(&load_call(&self.keys, &self.writer, &part)).await?;
            match number(&answer, 0) {
                Some(0) => self.tail = last,
                Some(1 | 2) => return Err(Error::Invalid("another process has started to fill it".into())),
                _ => {
                    let (first, tail) = (part[0].header.seq, number(&answer, 1).unwrap_or(0));
                    return Err(Error::Invalid(format!("entry {first} cannot follow entry {tail}")));
                }
            }
        }
        Ok(())
    }

    /// It is whole: nodes may begin from now on.
    ///
    /// # Errors
    /// [`Error`]: it still counts as half filled.
    pub async fn finish(mut self) -> Result<(), Error> {
        self.say("end").await.map(|_| ())
    }

    /// Asks the script; whether the log was whole before.
    async fn say(&mut self, what: &str) -> Result<bool, Error> {
        let (writer, mut call) = (&self.writer, script::FILL.call(&[&self.keys.log, &self.keys.meta]));
        call.arg(&writer.session).arg(&writer.epoch).arg(lineage::FORMAT).arg(what);
        let answer = self.ask(&call).await?;
        let named = || answer.get(1).cloned().and_then(codec::text).unwrap_or_default();
        Err(Error::Invalid(match number(&answer, 0) {
            Some(0) => return Ok(number(&answer, 1) == Some(1)),
            Some(1) => {
                format!("it has a log with epoch {}, the one to copy has {}", named(), self.writer.epoch)
            }
            Some(2) => format!(
                "the node `{}` has begun a log there; stop its nodes and delete the keys that begin with `{}`, or use another ?ns=",
                named(),
                self.keys.log.trim_end_matches("log")
            ),
            Some(3) => "it already contains a log".into(),
            _ => "another process is filling it".into(),
        }))
    }

    async fn ask(&mut self, call: &Cmd) -> Result<Vec<Value>, Error> {
        let answer = script::run(&mut self.connected.connection, call).await;
        let answer = answer.map_err(|error| Error::Io(format!("{}: {}", self.connected.at, classify(&error))))?;
        Ok(codec::array(answer).unwrap_or_default())
    }
}

fn number(values: &[Value], at: usize) -> Option<u64> {
    values.get(at).and_then(codec::number)
}
