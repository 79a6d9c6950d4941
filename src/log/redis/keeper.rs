//! The keeper: the task that owns the connections. It connects, inspects the server, begins a session, checks that the store
//! still has our history, and opens the log; when something fails, it closes, waits a moment, and starts over.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use ::redis::{Value, aio::MultiplexedConnection};
use antiphon_schemas::Seq;
use tokio::time::{interval_at, timeout};
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
/// How often consumers that nobody uses are removed from the lanes, and the store's clock is read again: two clocks that
/// are 100 ppm apart are 0.4 s apart by then.
const SWEEP_EVERY: Duration = Duration::from_secs(3_600);

/// Keeps the log open until it is closed.
pub(super) async fn run(inner: Arc<Inner>) {
    let mut backoff = BACKOFF_MIN;
    while !inner.closing.is_cancelled() {
        let begun = tokio::select! {
            begun = timeout(BEGIN_MAX, begin(&inner)) => begun,
            () = inner.closing.cancelled() => break,
        };
        match begun.unwrap_or_else(|_| Err(NotYet::Away("the store is too slow to start a session".into()))) {
            Ok(session) => {
                let since = Instant::now();
                session.hold(&inner).await;
                if since.elapsed() > GOOD {
                    backoff = BACKOFF_MIN;
                }
            }
            Err(NotYet::Away(why)) => inner.publish(Access::Away { why }),
            Err(NotYet::Empty) => inner.publish(Access::Empty),
        }
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

/// A session that has begun.
struct Session {
    link: Arc<Link>,
    reader: MultiplexedConnection,
    live_at: String,
    durability: String,
    time: StoreTime,
}

async fn begin(inner: &Inner) -> Result<Session, NotYet> {
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
    // What is asked on it has bounds of its own; comparing lanes takes longest.
    let reads = connect(&inner.address, lanes::LANES_MAX).await?;
    let reader = connect(&inner.address, reader::ANSWER_MAX).await?;
    let live = connect(&inner.address, ASK_MAX).await?;
    if let Some(other) = [&reads, &reader, &live].into_iter().find(|other| other.at != appends.at) {
        return Err(NotYet::Away(format!("the master moves from {} to {}", appends.at, other.at).into()));
    }
    let time = StoreTime::look(&mut appends.connection).await?;
    let writer = Writer { node: inner.node.clone(), session, epoch: epoch.to_string() };
    let connections = [appends.connection, live.connection, reads.connection];
    let link = Link::new(writer, epoch, connections, appends.at, inner.access.clone());
    Ok(Session { link, reader: reader.connection, live_at, durability: facts::durability(&facts), time })
}

fn away(at: &str, why: &dyn std::fmt::Display) -> NotYet {
    NotYet::Away(format!("{at}: {why}").into())
}

impl Session {
    /// Opens the log, follows it until something goes wrong or the log is closed, and leaves nothing behind.
    async fn hold(self, inner: &Arc<Inner>) {
        let Session { link, reader, live_at, durability, time } = self;
        inner.open(link.clone(), durability, time);
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
                _ = sweep.tick() => {
                    // An error has ended the session already.
                    let _ = lanes::sweep(inner, &link, &[]).await;
                    let mut connection = link.reads.clone();
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
        if !inner.closing.is_cancelled() {
            tracing::warn!("the log is unavailable: {why}");
        }
        link.end(why);
        inner.shut();
        if !has_read {
            reading.abort();
            // An aborted task is an error here, and what we want.
            let _ = reading.await;
        }
        // Nothing of this session is added to the cache while the next one looks at it.
        link.tasks.close();
        link.tasks.wait().await;
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
    match timeout(ANEW_MAX, access.wait_for(|access| matches!(access, Access::Open { .. }))).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(_)) => Err(Error::Closed),
        Err(_) => inner.session().map(|_| ()),
    }
}
