//! The keeper: the task that owns the connections. It connects, inspects the server, begins a session, checks that the store
//! still has our history, and opens the log; when something fails, it closes, waits a moment, and starts over.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use ::redis::{Value, aio::MultiplexedConnection};
use antiphon_schemas::{Epoch, Seq};
use tokio::time::{interval_at, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    ANEW_MAX, CLOSED, Inner,
    append::Writer,
    connect::connect,
    facts::{self, Level},
    lanes,
    lineage::{self, NotYet},
    link::Link,
    live, reader, script,
    time::StoreTime,
};
use crate::log::{Access, Error};

/// What is said while the last requests are finished.
const CLOSING: &str = "the log is closing";

/// One question while a session begins.
pub(super) const ASK_MAX: Duration = Duration::from_millis(1_500);
/// Everything that beginning a session takes, reading what was missed included.
const BEGIN_MAX: Duration = Duration::from_secs(60);
/// How soon after a failure the first retry comes …
const BACKOFF_MIN: Duration = Duration::from_millis(50);
/// … and the longest pause between later ones: what waits is delivered within seconds of the store's return.
const BACKOFF_MAX: Duration = Duration::from_millis(500);
/// A session that lasted this long was a good one: the next begins soon after it.
const GOOD: Duration = Duration::from_secs(1);
/// A session that is lost has a next one within this time, or the log is away: people wait for it. Reaching a server on
/// another continent takes a second.
const MEND_MAX: Duration = Duration::from_secs(3);
/// Something is asked on each connection at least this often, so that nothing in between forgets it: the shortest idle
/// times of servers, proxies and balancers in common use are a minute.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// Where connections are closed sooner, it is asked twice in the time that they lasted, but not more often than this.
const KEEP_ALIVE_MIN: Duration = Duration::from_secs(1);
/// How often consumers that nobody uses are removed from the lanes, and the store's clock is read again: two clocks that
/// are 100 ppm apart are 0.4 s apart by then.
const SWEEP_EVERY: Duration = Duration::from_secs(3_600);

/// Keeps the log open until it is closed.
pub(super) async fn run(inner: Arc<Inner>) {
    let mut backoff = BACKOFF_MIN;
    let mut keep_alive = KEEP_ALIVE;
    // While a session is lost that everybody still counts on.
    let mut lost: Option<Lost> = None;
    while !inner.closing.is_cancelled() {
        let limit = if lost.is_some() { MEND_MAX } else { BEGIN_MAX };
        // One that is lost at once is not replaced in silence again.
        let may_be_lost = Instant::now() + if lost.is_some() { GOOD } else { Duration::ZERO };
        let begun = tokio::select! {
            begun = timeout(limit, begin(&inner, may_be_lost)) => begun,
            () = inner.closing.cancelled() => break,
        };
        let late = || match &lost {
            Some(lost) => lost.why.clone(),
            None => "the store is too slow to start a session".into(),
        };
        match begun.unwrap_or_else(|_| Err(NotYet::Away(late()))) {
            Ok(session) => {
                if let Some(lost) = lost.take() {
                    keep_alive = lost.keep_alive(keep_alive);
                    lost.replaced(&inner, &session.link);
                }
                let since = Instant::now();
                lost = session.hold(&inner, keep_alive).await;
                if lost.is_some() {
                    continue;
                }
                if since.elapsed() > GOOD {
                    backoff = BACKOFF_MIN;
                }
            }
            Err(NotYet::Away(why)) => inner.publish(Access::Away { why }),
            Err(NotYet::Empty) => inner.publish(Access::Empty),
        }
        lost = None;
        let pause = backoff.mul_f64(rand::random_range(0.5..1.0));
        backoff = (backoff * 2).min(BACKOFF_MAX);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = inner.hurry.notified() => {}
            () = inner.closing.cancelled() => {}
        }
    }
    inner.publish(Access::Away { why: CLOSED.into() });
}

/// A session that ended with a connection.
struct Lost {
    why: Arc<str>,
    epoch: Epoch,
    lasted: Duration,
}

impl Lost {
    /// How often a connection is to be kept awake, now that the store turned out to be there.
    fn keep_alive(&self, before: Duration) -> Duration {
        if self.lasted < before { (self.lasted / 2).max(KEEP_ALIVE_MIN) } else { before }
    }

    fn replaced(&self, inner: &Inner, next: &Link) {
        tracing::info!(lasted_s = self.lasted.as_secs(), "a connection to the store was replaced: {}", self.why);
        if next.epoch != self.epoch {
            // Those who wait for the next session wait for this history.
            inner.publish(Access::Away { why: self.why.clone() });
        }
    }
}

/// A session that has begun.
struct Session {
    link: Arc<Link>,
    reader: MultiplexedConnection,
    /// When the connections of appends and live updates end.
    ended: [CancellationToken; 2],
    live_at: String,
    durability: String,
    time: StoreTime,
}

/// Begins a session, which from `may_be_lost` on may be lost.
async fn begin(inner: &Inner, may_be_lost: Instant) -> Result<Session, NotYet> {
    let mut appends = connect(&inner.address, ASK_MAX).await?;
    let keys = &inner.keys;
    let facts = facts::look(&appends.connection).await.map_err(|trouble| away(&appends.at, &trouble))?;
    let findings = facts::judge(&facts);
    let refused =
        findings.iter().find(|finding| finding.level == Level::Refuse).map(|finding| away(&appends.at, finding));
    inner.tell(findings);
    if let Some(refused) = refused {
        return Err(refused);
    }
    let store = lineage::look(&mut appends.connection, keys).await?;
    if store.filling {
        return Err(NotYet::Away(
            "another log is being copied into it; it opens when `antiphon replay` has finished".into(),
        ));
    }
    // Before the first write: a person may be putting the data back. A node without a history may have begun a new log in
    // the store meanwhile; that is not a person's word.
    if let Some((epoch, _)) = inner.history()
        && store.tail == Seq::ZERO
        && (store.epoch.is_none() || store.epoch == Some(epoch) || store.epoch != store.accepted)
    {
        return Err(NotYet::Empty);
    }
    // Before the epoch is looked at: live updates report a later one.
    let live_at = lineage::live_end(&mut appends.connection, keys).await?;
    script::send(&mut appends.connection).await?;
    let session = Uuid::new_v4().simple().to_string();
    let mut call = script::BEGIN.call(&[&keys.meta, &keys.live]);
    call.arg(&*inner.node).arg(&session).arg(lineage::fresh_epoch().to_string()).arg(lineage::FORMAT).arg(live::KEPT);
    script::run(&mut appends.connection, &call).await?;
    let epoch = lineage::settle(inner, &mut appends.connection).await?;
    // What is asked on `reads` has bounds of its own; comparing lanes takes longest.
    let (reads, reader, live) = tokio::try_join!(
        connect(&inner.address, lanes::LANES_MAX),
        connect(&inner.address, reader::ANSWER_MAX),
        connect(&inner.address, ASK_MAX),
    )?;
    if let Some(other) = [&reads, &reader, &live].into_iter().find(|other| other.at != appends.at) {
        return Err(NotYet::Away(format!("the master moves from {} to {}", appends.at, other.at).into()));
    }
    let time = StoreTime::look(&mut appends.connection).await?;
    let writer = Writer { node: inner.node.clone(), session, epoch: epoch.to_string() };
    let ended = [appends.ended, live.ended];
    let connections = [appends.connection, live.connection];
    let link = Link::new(writer, epoch, connections, reads, inner.access.clone(), may_be_lost);
    Ok(Session { link, reader: reader.connection, ended, live_at, durability: facts::durability(&facts), time })
}

fn away(at: &str, why: &dyn std::fmt::Display) -> NotYet {
    NotYet::Away(format!("{at}: {why}").into())
}

impl Session {
    /// Opens the log, follows it until something goes wrong or the log is closed, and leaves nothing behind. If it is lost,
    /// how.
    async fn hold(self, inner: &Arc<Inner>, keep_alive: Duration) -> Option<Lost> {
        let Session { link, reader, ended: [appends_ended, live_ended], live_at, durability, time } = self;
        inner.open(link.clone(), durability, time);
        let since = Instant::now();
        let awake = keep_awake(&link, keep_alive);
        tokio::pin!(awake);
        let mut reading = tokio::spawn(reader::run(inner.clone(), link.clone(), reader, live_at));
        let mut has_read = false;
        let mut sweep = interval_at(tokio::time::Instant::now() + SWEEP_EVERY, SWEEP_EVERY);
        let why = loop {
            tokio::select! {
                why = link.ended() => break why,
                // It ends after the session, unless it panicked: nothing would be read in this session any more.
                _ = &mut reading, if !has_read => {
                    has_read = true;
                    link.end("reading the log broke off");
                }
                () = appends_ended.cancelled(), if !link.is_over() => link.lose(closed(&link, &since)),
                () = live_ended.cancelled(), if !link.is_over() => link.lose(closed(&link, &since)),
                () = &mut awake => {}
                _ = sweep.tick() => {
                    // An error has ended the session already.
                    let _ = lanes::sweep(inner, &link, &[]).await;
                    let mut connection = link.reads().connection;
                    if let Ok(time) = link.ask(ASK_MAX, StoreTime::look(&mut connection)).await {
                        inner.state().time = Some(time);
                    }
                }
                () = inner.closing.cancelled() => {
                    // Those under way have a bound of their own.
                    link.tasks.close();
                    link.tasks.wait().await;
                    break CLOSING.into();
                }
            }
        };
        link.end(why.clone());
        let lost = link.is_lost() && !inner.closing.is_cancelled();
        if !lost && !inner.closing.is_cancelled() {
            tracing::warn!("the log is unavailable: {why}");
        }
        inner.shut();
        if !has_read {
            reading.abort();
            // An aborted task is an error here, and what we want.
            let _ = reading.await;
        }
        // Nothing of this session is added to the cache while the next one looks at it.
        link.tasks.close();
        link.tasks.wait().await;
        lost.then(|| Lost { why, epoch: link.epoch, lasted: since.elapsed() })
    }
}

fn closed(link: &Link, since: &Instant) -> String {
    let (at, seconds) = (&link.at, since.elapsed().as_secs());
    let when = match link.tasks.len() {
        0 => format!("an idle connection after {seconds} s"),
        _ => "the connection under a request".into(),
    };
    format!("{at}: closed {when}; check its log file, its `timeout`, and the idle timeout of what is in between")
}

/// Asks something on each connection that may be idle, over and over; the reader's is never idle. For the time, since the
/// log's user need not have the right to PING.
async fn keep_awake(link: &Link, every: Duration) {
    let mut tick = interval_at(tokio::time::Instant::now() + every, every);
    loop {
        tick.tick().await;
        let reads = link.reads();
        // One that has ended is replaced when something is read.
        let reads = (!reads.ended.is_cancelled()).then_some(reads.connection);
        for mut connection in [link.appends.clone(), link.live.clone()].into_iter().chain(reads) {
            // Whatever goes wrong has ended the session. It may wait behind what was asked before.
            let _ = link.ask(lanes::LANES_MAX, ::redis::cmd("TIME").query_async::<Value>(&mut connection)).await;
        }
    }
}

/// As [`Shared::begin_anew`](crate::log::Shared::begin_anew): makes the epoch of a new log; the keeper finds it and opens.
pub(super) async fn begin_anew(inner: &Inner) -> Result<(), Error> {
    let mut access = inner.access.subscribe();
    if *access.borrow_and_update() != Access::Empty {
        return Err(Error::Invalid("the log is not empty".into()));
    }
    let made = async {
        let mut connected = connect(&inner.address, ASK_MAX).await?;
        script::send(&mut connected.connection).await?;
        let keys = &inner.keys;
        let mut call = script::EPOCH.call(&[&keys.meta, &keys.live, &keys.log]);
        call.arg("").arg(lineage::fresh_epoch().to_string()).arg(lineage::FORMAT).arg(live::KEPT).arg("empty");
        Ok(script::run(&mut connected.connection, &call).await?)
    };
    match made.await {
        Ok(Value::Nil) => return Err(Error::Invalid("the log is not empty (any more)".into())),
        Ok(_) => {}
        Err(NotYet::Away(why)) => return Err(Error::Away(why)),
        Err(NotYet::Empty) => return Err(Error::Away("the store is empty".into())),
    }
    inner.hurry.notify_one();
    let opened = access.wait_for(|access| matches!(access, Access::Open { .. }));
    let opened = timeout(ANEW_MAX, opened).await.map(|opened| opened.is_ok());
    match opened {
        Ok(true) => Ok(()),
        Ok(false) => Err(Error::Closed),
        Err(_) => inner.session().await.map(|_| ()),
    }
}
