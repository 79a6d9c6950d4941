//! One room's ring of frames.
//!
//! ```text
//! slots   first ……………………… end          a cursor below `first` has fallen off; one at `end` waits
//!         [f][f][f][f][f][f]              a push takes the wakers of all that wait and wakes them outside the lock
//! ```

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use antiphon_schemas::{MessageId, Seq};
use bytes::{Bytes, BytesMut};
use tokio::time::Instant;

use super::Frame;

/// Frames a room keeps for subscribers that are a little behind; beyond it they read the log.
const FRAMES_MAX: usize = 2_048;
/// Bytes a room keeps, for the same reason.
const RING_BYTES_MAX: usize = 1 << 20;
/// Bytes handed to a connection at once: many frames in one write, little memory in a reader that has stopped.
const CHUNK_BYTES_MAX: usize = 16 * 1024;
/// Up to this many wakers are woken by the publisher itself; more are woken by a task of their own, so that a crowd
/// of subscribers does not delay the next append.
const WAKE_INLINE_MAX: usize = 32;
/// Waking a crowd again before it has been served only splits its frames over more writes. So much time for each
/// subscriber lies between two wakes of a crowd: half of what serving it costs. Below that rate nobody waits.
const WAKE_PAUSE_EACH: Duration = Duration::from_micros(4);

/// One room's ring.
#[derive(Debug, Default)]
pub struct Feed {
    // A std mutex: held to push or to take frames, never across an await.
    ring: Mutex<Ring>,
}

#[derive(Debug, Default)]
struct Ring {
    frames: VecDeque<Frame>,
    first: u64,
    bytes: usize,
    waiting: Vec<Waker>,
    /// When those who waited were last woken.
    woken: Option<Instant>,
    /// Somebody is going to wake the crowd.
    wake_is_due: bool,
    closed: bool,
    /// The last chunk made of several frames: subscribers that are equally far behind share it.
    chunk: Option<(u64, Chunk)>,
}

#[derive(Debug, Clone)]
struct Chunk {
    end: u64,
    bytes: Bytes,
    seq: Option<Seq>,
}

/// What a subscriber finds at its cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FeedItem {
    /// Encoded frames, and the last durable position among them.
    Frames(Bytes, Option<Seq>),
    /// The cursor has fallen off the ring: read the log.
    Lagged,
    /// The feed has ended.
    Closed,
}

/// Subscribers to wake, outside every lock.
#[must_use]
#[derive(Debug)]
pub enum Wake {
    /// These, now.
    Now(Vec<Waker>),
    /// The crowd of this feed, then.
    Later(Arc<Feed>, Instant),
}

impl Wake {
    /// Wakes them, or has them woken.
    pub fn wake(self) {
        match self {
            Wake::Now(wakers) if wakers.len() <= WAKE_INLINE_MAX => wakers.into_iter().for_each(Waker::wake),
            Wake::Now(wakers) => drop(tokio::spawn(async move { wakers.into_iter().for_each(Waker::wake) })),
            Wake::Later(feed, at) => drop(tokio::spawn(async move {
                tokio::time::sleep_until(at).await;
                feed.take_waiting().into_iter().for_each(Waker::wake);
            })),
        }
    }
}

impl Feed {
    /// Appends frames; the oldest fall off.
    pub fn push(self: &Arc<Self>, frames: impl IntoIterator<Item = Frame>) -> Wake {
        let mut ring = self.ring();
        for frame in frames {
            ring.bytes += frame.bytes.len();
            ring.frames.push_back(frame);
        }
        while ring.frames.len() > FRAMES_MAX || (ring.bytes > RING_BYTES_MAX && ring.frames.len() > 1) {
            if let Some(gone) = ring.frames.pop_front() {
                ring.bytes -= gone.bytes.len();
                ring.first += 1;
            }
        }
        if ring.wake_is_due {
            return Wake::Now(Vec::new());
        }
        // Every holder of the feed but its owner follows it.
        let (crowd, now) = (Arc::strong_count(self) - 1, Instant::now());
        let pause = WAKE_PAUSE_EACH * u32::try_from(crowd).unwrap_or(u32::MAX);
        match ring.woken {
            Some(woken) if crowd > WAKE_INLINE_MAX && now < woken + pause => {
                ring.wake_is_due = true;
                Wake::Later(self.clone(), woken + pause)
            }
            _ => Wake::Now(ring.take_waiting(now)),
        }
    }

    fn take_waiting(&self) -> Vec<Waker> {
        self.ring().take_waiting(Instant::now())
    }

    /// Drops all frames, so that every cursor falls off.
    pub fn outdate(&self) {
        let mut ring = self.ring();
        ring.first = ring.end() + 1;
        ring.frames.clear();
        ring.bytes = 0;
        let waiting = ring.take_waiting(Instant::now());
        drop(ring);
        waiting.into_iter().for_each(Waker::wake);
    }

    /// The slot of the next frame to come: where a new subscriber starts.
    pub fn end(&self) -> u64 {
        self.ring().end()
    }

    /// Takes the frames from `cursor` on and advances it; registers the waker if there are none.
    pub fn poll_take(&self, cursor: &mut u64, cx: &mut Context<'_>) -> Poll<FeedItem> {
        let mut ring = self.ring();
        if *cursor < ring.first {
            return Poll::Ready(FeedItem::Lagged);
        }
        if *cursor >= ring.end() {
            if ring.closed {
                return Poll::Ready(FeedItem::Closed);
            }
            ring.waiting.push(cx.waker().clone());
            return Poll::Pending;
        }
        let chunk = ring.chunk_at(*cursor);
        *cursor = chunk.end;
        Poll::Ready(FeedItem::Frames(chunk.bytes, chunk.seq))
    }

    /// Lets everything up to the last frame that shows this message fall off, so that nobody behind reads its text
    /// any more: they continue with the log, where it is hidden.
    pub fn forget(&self, message: MessageId) {
        let mut ring = self.ring();
        ring.chunk = None;
        let Some(last) = ring.frames.iter().rposition(|frame| frame.shows == Some(message)) else { return };
        let gone: usize = ring.frames.drain(..=last).map(|frame| frame.bytes.len()).sum();
        ring.bytes -= gone;
        ring.first += last as u64 + 1;
    }

    /// Ends the feed.
    pub fn close(&self) {
        let mut ring = self.ring();
        ring.closed = true;
        let waiting = std::mem::take(&mut ring.waiting);
        drop(ring);
        waiting.into_iter().for_each(Waker::wake);
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ring {
    fn take_waiting(&mut self, now: Instant) -> Vec<Waker> {
        self.wake_is_due = false;
        self.woken = Some(now);
        std::mem::take(&mut self.waiting)
    }

    fn end(&self) -> u64 {
        self.first + self.frames.len() as u64
    }

    fn chunk_at(&mut self, cursor: u64) -> Chunk {
        let start = (cursor - self.first) as usize;
        if start + 1 == self.frames.len() {
            let frame = &self.frames[start];
            return Chunk { end: self.end(), bytes: frame.bytes.clone(), seq: frame.seq };
        }
        let newest = self.end();
        match &self.chunk {
            // Reuse only what still reaches as far as it can: to the end of the ring, or to a full chunk.
            Some((at, chunk)) if *at == cursor && (chunk.end == newest || chunk.bytes.len() > CHUNK_BYTES_MAX / 2) => {
                return chunk.clone();
            }
            _ => {}
        }
        let mut bytes = BytesMut::new();
        let (mut end, mut seq) = (cursor, None);
        for frame in self.frames.range(start..) {
            if !bytes.is_empty() && bytes.len() + frame.bytes.len() > CHUNK_BYTES_MAX {
                break;
            }
            bytes.extend_from_slice(&frame.bytes);
            seq = frame.seq.or(seq);
            end += 1;
        }
        let chunk = Chunk { end, bytes: bytes.freeze(), seq };
        self.chunk = Some((cursor, chunk.clone()));
        chunk
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        task::Waker,
    };

    use super::*;

    fn frame(n: u64, size: usize) -> Frame {
        Frame { bytes: Bytes::from(format!("{n:0>size$};")), seq: Some(Seq(n)), shows: None }
    }

    fn take(feed: &Feed, cursor: &mut u64) -> Option<FeedItem> {
        match feed.poll_take(cursor, &mut Context::from_waker(Waker::noop())) {
            Poll::Ready(taken) => Some(taken),
            Poll::Pending => None,
        }
    }

    #[test]
    fn a_subscriber_reads_every_frame_once_in_whatever_chunks() {
        let feed = Arc::new(Feed::default());
        let (mut fast, mut slow) = (feed.end(), feed.end());
        let (mut fast_read, mut slow_read) = (String::new(), String::new());
        let read = |cursor: &mut u64, out: &mut String| {
            while let Some(FeedItem::Frames(bytes, _)) = take(&feed, cursor) {
                out.push_str(std::str::from_utf8(&bytes).unwrap());
            }
        };
        for n in 0..1_000 {
            feed.push([frame(n, 1 + (n as usize * 37) % 200)]).wake();
            read(&mut fast, &mut fast_read);
            if n % 97 == 0 {
                read(&mut slow, &mut slow_read);
            }
        }
        read(&mut slow, &mut slow_read);
        assert_eq!(fast_read, slow_read);
        assert_eq!(fast_read.matches(';').count(), 1_000);
    }

    #[test]
    fn one_that_falls_off_the_ring_is_told_and_memory_stays_bounded() {
        let feed = Arc::new(Feed::default());
        let mut cursor = feed.end();
        (0..3_000).for_each(|n| feed.push([frame(n, 2_000)]).wake());
        assert!(feed.ring().bytes <= RING_BYTES_MAX + 2_001);
        assert_eq!(take(&feed, &mut cursor), Some(FeedItem::Lagged));
    }

    #[test]
    fn whoever_is_behind_a_hidden_message_reads_the_log_instead() {
        let feed = Arc::new(Feed::default());
        let id = crate::log::conformance::id(7);
        let (mut behind, shows) = (feed.end(), Some(id));
        feed.push([frame(1, 3), Frame { shows, ..frame(2, 9) }, frame(3, 3), Frame { shows, ..frame(4, 9) }]).wake();
        let mut ahead = feed.end();
        feed.push([frame(5, 3)]).wake();
        feed.forget(id);
        assert_eq!(take(&feed, &mut behind), Some(FeedItem::Lagged));
        assert_eq!(take(&feed, &mut ahead), Some(FeedItem::Frames(Bytes::from_static(b"005;"), Some(Seq(5)))));
        feed.forget(id);
        assert_eq!(take(&feed, &mut ahead), None);
    }

    /// Counts how often it is woken.
    #[derive(Default)]
    struct Counter(AtomicUsize);

    impl std::task::Wake for Counter {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[tokio::test]
    async fn a_crowd_in_a_burst_is_woken_less_often_and_misses_nothing() {
        let feed = Arc::new(Feed::default());
        let crowd: Vec<_> = (0..1_000).map(|_| Arc::new(Counter::default())).collect();
        let mut cursors = vec![feed.end(); crowd.len()];
        let _followers: Vec<_> = crowd.iter().map(|_| feed.clone()).collect();
        let wait = |cursors: &mut Vec<u64>| {
            for (cursor, counter) in cursors.iter_mut().zip(&crowd) {
                let waker = Waker::from(counter.clone());
                while feed.poll_take(cursor, &mut Context::from_waker(&waker)).is_ready() {}
            }
        };
        wait(&mut cursors);
        let woken = || crowd[0].0.load(Ordering::SeqCst);
        feed.push([frame(1, 3)]).wake();
        while woken() < 1 {
            tokio::task::yield_now().await;
        }
        wait(&mut cursors);
        (2..50).for_each(|n| feed.push([frame(n, 3)]).wake());
        while woken() < 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        wait(&mut cursors);
        assert!(cursors.iter().all(|cursor| *cursor == 49), "all have all");
        assert!(crowd.iter().all(|counter| counter.0.load(Ordering::SeqCst) == 2), "woken once for the burst");
    }

    #[test]
    fn a_closed_feed_is_read_to_its_end() {
        let feed = Arc::new(Feed::default());
        let mut cursor = feed.end();
        feed.push([frame(1, 3)]).wake();
        feed.close();
        assert!(matches!(take(&feed, &mut cursor), Some(FeedItem::Frames(..))));
        assert_eq!(take(&feed, &mut cursor), Some(FeedItem::Closed));
    }
}
