//! Live words: what this node says to the others and hears from them. At most once, never the truth, nothing waits.
//!
//! ```text
//! {ns:0}:live   n node │ d words            or  n node │ c the number of a canary       or  e a new epoch
//! ```

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ::redis::Value;
use bytes::Bytes;
use tokio::sync::{Notify, mpsc, watch};

use super::{Inner, codec};

/// Words that wait to be said: a node says one each 20 ms, so more than these are late anyway.
const SAID_MAX: usize = 256;
/// Words of others that wait to be heard; the oldest go. About ten seconds of ten nodes.
const HEARD_MAX: usize = 4_096;
/// Words kept by the store, about: readers that are further behind have missed them.
pub(super) const KEPT: usize = 4_096;
/// Words are said within this time, or the store is away.
const SAY_MAX: Duration = Duration::from_millis(1_500);

/// The words in both directions.
pub(super) struct Live {
    say: mpsc::Sender<Bytes>,
    // A std mutex: held to push or pop, never across an await.
    heard: Mutex<VecDeque<Bytes>>,
    news: Notify,
    canary: watch::Sender<u64>,
}

impl Live {
    /// And what is to be said, for [`speak`].
    pub(super) fn new() -> (Live, mpsc::Receiver<Bytes>) {
        let (say, said) = mpsc::channel(SAID_MAX);
        let live = Live { say, heard: Mutex::default(), news: Notify::new(), canary: watch::Sender::new(0) };
        (live, said)
    }

    fn queue(&self) -> MutexGuard<'_, VecDeque<Bytes>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn broadcast(&self, words: Bytes) {
        // Full: what cannot be told in time is dropped.
        let _ = self.say.try_send(words);
    }

    pub(super) async fn recv(&self) -> Bytes {
        loop {
            let news = self.news.notified();
            if let Some(words) = self.queue().pop_front() {
                return words;
            }
            news.await;
        }
    }

    fn push(&self, words: Bytes) {
        let mut queue = self.queue();
        if queue.len() == HEARD_MAX {
            queue.pop_front();
        }
        queue.push_back(words);
        drop(queue);
        self.news.notify_one();
    }

    /// Follows the number of this node's last canary that came back.
    pub(super) fn canaries(&self) -> watch::Receiver<u64> {
        self.canary.subscribe()
    }

    /// One entry of the live stream; a new epoch is given out.
    pub(super) fn take(&self, node: &str, mut fields: Vec<Value>) -> Option<String> {
        let mut field = |name| codec::take(&mut fields, name);
        if let Some(epoch) = field("e") {
            return codec::text(epoch);
        }
        let own = field("n").and_then(codec::text)? == node;
        if let Some(words) = field("d") {
            if !own {
                self.push(codec::bytes(words)?.into());
            }
        } else if let Some(number) = field("c").filter(|_| own) {
            let number = codec::number(&number)?;
            self.canary.send_if_modified(|last| std::mem::replace(last, number.max(*last)) < number);
        }
        None
    }
}

/// Says words as they come, while the log lives.
pub(super) async fn speak(inner: &Inner, mut said: mpsc::Receiver<Bytes>) {
    while let Some(words) = said.recv().await {
        // Away: nobody hears, and later is too late.
        let Some(link) = inner.link() else { continue };
        let mut pipeline = ::redis::pipe();
        let mut next = Some(words);
        while let Some(words) = next {
            let command = pipeline.cmd("XADD").arg(&inner.keys.live).arg("MAXLEN").arg("~").arg(KEPT);
            command.arg("*").arg("n").arg(&*inner.node).arg("d").arg(&words[..]).ignore();
            next = said.try_recv().ok();
        }
        let mut connection = link.appends.clone();
        // Whatever goes wrong ends the session, and these words with it.
        let _ = link.ask(SAY_MAX, pipeline.query_async::<()>(&mut connection)).await;
    }
}
