//! A log that goes away and comes back as a test wants it, and a node on it.

use tokio::sync::{mpsc, watch};

use super::super::*;
use crate::{
    log::{self, Access, Lane, Resynced, Shared},
    outbox::Outbox,
};

/// A log that several nodes share, over logs in memory: it can go away, and come back as another one.
pub(crate) struct SharedLog {
    pub(super) inner: Mutex<Arc<MemoryLog>>,
    pub(super) access: watch::Sender<Access>,
    /// The next append happens, and its answer is lost with the connection.
    pub(super) lose_answer: Mutex<bool>,
    pub(super) lost: Mutex<Vec<Arc<Entry>>>,
    pub(super) said: mpsc::UnboundedSender<Bytes>,
    pub(super) heard: tokio::sync::Mutex<mpsc::UnboundedReceiver<Bytes>>,
    clock: Clock,
}

impl SharedLog {
    pub(crate) fn inner(&self) -> Arc<MemoryLog> {
        self.inner.lock().unwrap().clone()
    }

    pub(crate) fn away(&self) {
        self.access.send_replace(Access::Away { why: "pulled the plug".into() });
    }

    pub(crate) fn back(&self) {
        let epoch = self.inner().info().epoch;
        self.access.send_replace(Access::Open { epoch });
    }

    /// Comes back with the first `keep` entries only, as a new epoch.
    pub(crate) async fn back_shorter(&self, keep: usize) {
        let all = self.inner().read(Seq::ZERO, usize::MAX).await.unwrap();
        self.back_shorter_having_lost(keep, all[keep..].to_vec()).await;
    }

    /// The same; what it has lost, as it says, may be there again by another node.
    pub(crate) async fn back_shorter_having_lost(&self, keep: usize, lost: Vec<Arc<Entry>>) {
        let all = self.inner().read(Seq::ZERO, usize::MAX).await.unwrap();
        let shorter = MemoryLog::new(Epoch(self.inner().info().epoch.0 + 1), self.clock.clone());
        shorter.load(all[..keep].to_vec()).await.unwrap();
        *self.lost.lock().unwrap() = lost;
        *self.inner.lock().unwrap() = Arc::new(shorter);
        self.back();
    }

    fn open(&self) -> Result<Arc<MemoryLog>, log::Error> {
        match &*self.access.borrow() {
            Access::Open { .. } => Ok(self.inner()),
            _ => Err(log::Error::Away("pulled the plug".into())),
        }
    }
}

impl Log for SharedLog {
    fn info(&self) -> Info {
        self.inner().info()
    }
    fn base(&self) -> Seq {
        self.inner().base()
    }
    fn tail(&self) -> Seq {
        self.inner().tail()
    }
    fn now_ms(&self) -> u64 {
        self.inner().now_ms()
    }
    fn append(&self, batch: Vec<Append>) -> Pending<'_, Vec<Verdict>> {
        Box::pin(async move {
            let verdicts = self.open()?.append(batch).await?;
            if std::mem::take(&mut *self.lose_answer.lock().unwrap()) {
                self.away();
                return Err(log::Error::Away("the connection was cut".into()));
            }
            Ok(verdicts)
        })
    }
    fn read(&self, after: Seq, entries_max: usize) -> Pending<'_, Vec<Arc<Entry>>> {
        Box::pin(async move { self.open()?.read(after, entries_max).await })
    }
    fn get(&self, positions: Vec<Seq>) -> Pending<'_, Vec<Arc<Entry>>> {
        Box::pin(async move { self.open()?.get(positions).await })
    }
    fn beyond(&self, seq: Seq) -> Pending<'_, ()> {
        let inner = self.inner();
        Box::pin(async move { inner.beyond(seq).await })
    }
    fn load(&self, entries: Vec<Arc<Entry>>) -> Pending<'_, ()> {
        Box::pin(async move { self.open()?.load(entries).await })
    }
    fn erase(&self, positions: Vec<Seq>) -> Pending<'_, usize> {
        Box::pin(async move { self.open()?.erase(positions).await })
    }
    fn forget(&self, _positions: &[Seq]) {}
    fn trim(&self, upto: Seq) -> Pending<'_, Seq> {
        Box::pin(async move { self.open()?.trim(upto).await })
    }
    fn close(&self) -> Pending<'_, ()> {
        Box::pin(std::future::ready(Ok(())))
    }
    fn shared(&self) -> Option<&dyn Shared> {
        Some(self)
    }
}

impl Shared for SharedLog {
    fn access(&self) -> watch::Receiver<Access> {
        self.access.subscribe()
    }
    fn resync_lanes(&self, _at: Seq, _lanes: Vec<Lane>) -> Pending<'_, Resynced> {
        Box::pin(std::future::ready(Ok(Resynced::InStep)))
    }
    fn broadcast(&self, update: Bytes) {
        self.said.send(update).unwrap();
    }
    fn recv(&self) -> Pending<'_, Bytes> {
        Box::pin(async { self.heard.lock().await.recv().await.ok_or(log::Error::Closed) })
    }
    fn lost(&self) -> Vec<Arc<Entry>> {
        std::mem::take(&mut self.lost.lock().unwrap())
    }
    fn begin_anew(&self) -> Pending<'_, ()> {
        let epoch = Epoch(9);
        *self.inner.lock().unwrap() = Arc::new(MemoryLog::new(epoch, self.clock.clone()));
        self.access.send_replace(Access::Open { epoch });
        Box::pin(std::future::ready(Ok(())))
    }
}

/// A node on such a log.
pub(crate) struct Away {
    pub(crate) node: Node,
    pub(crate) log: Arc<SharedLog>,
    /// What this node says to the others, and what they say to it.
    pub(super) said: mpsc::UnboundedReceiver<Bytes>,
    pub(super) others: mpsc::UnboundedSender<Bytes>,
    _dir: tempfile::TempDir,
}

impl Away {
    pub(crate) async fn new(policy: Policy) -> Away {
        Away::starting(policy, Access::Open { epoch: Epoch(7) }).await
    }

    pub(crate) async fn starting(policy: Policy, access: Access) -> Away {
        let (clock, _) = Clock::manual(START_MS);
        let (saying, said) = mpsc::unbounded_channel();
        let (others, heard) = mpsc::unbounded_channel();
        let log = Arc::new(SharedLog {
            inner: Mutex::new(Arc::new(MemoryLog::new(Epoch(7), clock.clone()))),
            access: watch::Sender::new(access),
            lose_answer: Mutex::default(),
            lost: Mutex::default(),
            said: saying,
            heard: tokio::sync::Mutex::new(heard),
            clock: clock.clone(),
        });
        let dir = tempfile::tempdir().unwrap();
        let outbox = Outbox::open(dir.path().join("outbox"), clock.clone(), &Tasks::new()).await.unwrap();
        let limits = Limits { recent_messages: 100, rooms: 10 };
        let settings =
            Settings { name: "here".into(), log: log.clone(), outbox: Some(outbox), clock, policy, limits, data: None };
        Away { node: start(settings, &Tasks::new()).await.unwrap(), log, said, others, _dir: dir }
    }

    /// Waits until the node shows this condition.
    pub(crate) async fn is(&self, word: &str) {
        let seen = async {
            while self.node.state().condition.as_str() != word {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(PATIENCE, seen).await.unwrap_or_else(|_| panic!("never {word}"));
    }

    /// Waits until nothing waits in the outbox, and nothing that was lost has still to be offered.
    pub(crate) async fn settled(&self) {
        let seen = async {
            loop {
                let probe = Post { to: Some(vec![]), ..question("settled?") };
                if let Placed::Posted(_) = self.node.post(probe).await.unwrap() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, seen).await.expect("the outbox is drained");
    }

    pub(super) async fn parked(&self, post: &Post) {
        let placed = self.node.post(post.clone()).await.unwrap();
        assert!(matches!(&placed, Placed::Parked(parked) if parked.id == post.id), "{placed:?}");
    }

    pub(super) async fn ids(&self) -> Vec<MessageId> {
        let entries = self.log.inner().read(Seq::ZERO, usize::MAX).await.unwrap();
        let posts = entries.iter().filter_map(|e| match &e.event {
            Event::MessagePosted(e) if &*e.text != "settled?" => Some(e.id),
            _ => None,
        });
        posts.collect()
    }

    pub(super) async fn kinds(&self, id: MessageId) -> Vec<String> {
        let entries = self.log.inner().read(Seq::ZERO, usize::MAX).await.unwrap();
        kinds_of(&entries, id).into_iter().map(str::to_owned).collect()
    }

    pub(super) async fn claim(&self) -> Claimed {
        let (bot, worker) = (bot(), "here/bot/1".into());
        let claimed = timeout(PATIENCE, self.node.claim(&bot, &worker, Some(self.node.incarnation())));
        claimed.await.expect("a claim within a minute").unwrap()
    }
}
