//! Goal: what a monitor is shown is what the node knows, and the same for every monitor, however late it came.
//!
//! Method: a monitor that lays each update over its snapshot, as the page does; in the end it has what a fresh one is given.

use antiphon_schemas::wire::{
    Status,
    monitor::{MonitorSnapshot, MonitorUpdate},
};

use super::*;
use crate::{
    decide::change::Change,
    node::{Surroundings, Watching},
};

/// A server without models.
pub(super) struct Nothing;

impl Surroundings for Nothing {
    fn model(&self, bot: &BotName) -> Option<String> {
        Some(format!("model of {bot}"))
    }
    fn paused(&self, _: &BotName) -> Option<String> {
        None
    }
    fn subscribers(&self) -> u64 {
        7
    }
}

/// A monitor, and what it shows.
struct Screen {
    watching: Watching,
    reader: SseReader,
    shown: MonitorSnapshot,
    updates: usize,
    snapshots: usize,
    missed: u64,
}

impl Screen {
    async fn on(node: &Node) -> Screen {
        let (watching, bytes) = timeout(PATIENCE, node.watch(Arc::new(Nothing))).await.unwrap().unwrap();
        let mut events = Vec::new();
        let mut reader = SseReader::new();
        reader.push(&bytes, &mut events);
        assert_eq!((events.len(), &*events[0].name), (1, "snapshot"));
        let shown = serde_json::from_str(&events[0].data).unwrap();
        Screen { watching, reader, shown, updates: 0, snapshots: 1, missed: 0 }
    }

    /// Takes what comes until it shows this.
    async fn until(&mut self, what: &str, shows: impl Fn(&MonitorSnapshot) -> bool) {
        while !shows(&self.shown) {
            let next = timeout(PATIENCE, self.watching.next()).await;
            let bytes = next.unwrap_or_else(|_| panic!("{what}: {:#?}", self.shown)).expect("the feed goes on");
            let mut events = Vec::new();
            self.reader.push(&bytes, &mut events);
            for event in events {
                match &*event.name {
                    "snapshot" => {
                        self.shown = serde_json::from_str(&event.data).unwrap();
                        self.snapshots += 1;
                    }
                    "update" => self.lay_over(serde_json::from_str(&event.data).unwrap()),
                    "heartbeat" => {}
                    other => panic!("{other}"),
                }
            }
        }
    }

    /// As the promise of the wire types says.
    fn lay_over(&mut self, update: MonitorUpdate) {
        let shown = &mut self.shown;
        self.updates += 1;
        self.missed += update.missed;
        (shown.position, shown.at, shown.open_total) = (update.position, update.at, update.open_total);
        if let Some(health) = update.health {
            shown.health = health;
        }
        for mut queue in update.queues {
            let known = shown.queues.iter_mut().find(|known| known.bot == queue.bot).unwrap();
            let mut minutes = std::mem::take(&mut known.minutes);
            for minute in queue.minutes.drain(..) {
                minutes.retain(|known| known.at != minute.at);
                minutes.push(minute);
            }
            minutes.drain(..minutes.len().saturating_sub(60));
            *known = antiphon_schemas::wire::monitor::MonitorQueue { minutes, ..queue };
        }
        shown.open.retain(|open| !update.gone.contains(&open.message_id));
        for open in update.open {
            shown.open.retain(|known| known.message_id != open.message_id);
            shown.open.push(open);
        }
        shown.open.sort_by_key(|open| {
            let rank = match &*open.state {
                "waiting" => 1,
                "retrying" => 2,
                _ => 0,
            };
            let urgency = if rank == 1 { (9 - open.priority, open.second) } else { (0, false) };
            (rank, urgency, open.retry_at.clone(), open.since.filter(|_| rank < 2))
        });
        let mut before = std::collections::HashMap::new();
        for open in &mut shown.open {
            if open.ahead.is_some() {
                let before = before.entry(open.bot.clone()).or_insert(0);
                open.ahead = Some(*before);
                *before += 1;
            }
        }
        for ended in update.ended {
            shown.ended.retain(|known| known.message_id != ended.message_id);
            shown.ended.push(ended);
        }
        shown.ended.sort_by_key(|ended| ended.position);
        let over = shown.ended.len().saturating_sub(200);
        shown.ended.drain(..over);
        for worker in update.workers {
            shown.workers.retain(|known| known.worker != worker.worker);
            shown.workers.push(worker);
        }
        shown.workers.retain(|worker| !update.workers_gone.contains(&worker.worker));
        shown.workers.sort_by_key(|worker| worker.worker.clone());
    }
}

fn state_of<'a>(shown: &'a MonitorSnapshot, id: &MessageId) -> Option<&'a str> {
    shown.open.iter().find(|open| open.message_id == *id).map(|open| &*open.state)
}

fn has_ended(shown: &MonitorSnapshot, id: MessageId) -> bool {
    shown.ended.iter().any(|ended| ended.message_id == id)
}

/// What is shown, without the time of the look.
fn timeless(shown: &MonitorSnapshot) -> MonitorSnapshot {
    MonitorSnapshot { at: String::new(), ..shown.clone() }
}

#[tokio::test]
async fn a_message_is_seen_all_the_way_and_whoever_comes_later_sees_the_same() {
    let rig = Rig::with(Policy { retry_base_ms: LONG_MS, retry_max_ms: LONG_MS, ..policy() }).await;
    let early = rig.ask("asked before").await;
    let mut screen = Screen::on(&rig.node).await;
    assert_eq!((state_of(&screen.shown, &early), &*screen.shown.open[0].text), (Some("waiting"), "asked before"));
    assert_eq!(screen.shown.health.subscribers, 7);
    rig.pass_ms(40);
    let claimed = rig.claim("gpu-2").await;
    screen.until("the claim", |shown| state_of(shown, &early) == Some("claimed")).await;
    let open = &screen.shown.open[0];
    assert_eq!((open.worker.as_deref(), open.attempt, open.ahead), (Some("gpu-2"), 1, None));
    let stage = |stage: &str, progress| LiveUpdate::Stage { stage: stage.into(), progress };
    rig.node.say(claimed.held, stage("loading-model", Some(0.5))).await.unwrap();
    screen.until("loading", |shown| state_of(shown, &early) == Some("loading-model")).await;
    assert_eq!(screen.shown.open[0].progress, Some(0.5));
    rig.pass_ms(60);
    for n in 0..3 {
        rig.delta(claimed.held, n, "word ").await.unwrap();
    }
    screen.until("three pieces", |shown| shown.open.iter().any(|open| open.deltas == 3)).await;
    let open = &screen.shown.open[0];
    assert_eq!((&*open.state, open.progress), ("writing", None));
    assert!(open.first_token_ms >= Some(60), "{:?}", open.first_token_ms);
    let worker = screen.shown.workers.iter().find(|worker| &*worker.worker == "gpu-2").unwrap();
    assert_eq!((worker.holds[0].deltas, worker.holds[0].stage.as_deref(), worker.waiting), (3, Some("writing"), 0));
    rig.node.end(claimed.held, answer("word word word ")).await.unwrap();
    screen.until("the end", |shown| has_ended(shown, early) && shown.open_total == 0).await;
    let ended = &screen.shown.ended[0];
    assert_eq!((ended.status, ended.waited_ms, ended.total_ms), (Status::Answered, Some(40), Some(100)));
    assert_eq!((ended.reply.as_deref(), ended.model.as_deref()), (Some("word word word "), Some("m")));

    let failing = rig.ask("asked again").await;
    let held = rig.claim("gpu-2").await.held;
    rig.node.end(held, fails(true)).await.unwrap();
    screen.until("the retry", |shown| state_of(shown, &failing) == Some("retrying")).await;
    let open = &screen.shown.open[0];
    assert_eq!(open.reason.as_deref(), Some("model-broke: it did"));
    assert!(open.retry_at > open.since_at && open.since_at.is_some());
    rig.node.change(failing, Change::Cancel).await.unwrap();
    let last = rig.ask("waits").await;
    screen.until("what waits", |shown| has_ended(shown, failing) && state_of(shown, &last) == Some("waiting")).await;
    let queue = &screen.shown.queues[0];
    assert_eq!((queue.posted, queue.answered, queue.failed, queue.retried, queue.waiting), (3, 1, 1, 1, 1));

    let indexed = |shown: &MonitorSnapshot| shown.health.indexed == shown.position;
    screen.until("the index", indexed).await;
    assert!(screen.updates > 5 && screen.snapshots == 1);
    let later = Screen::on(&rig.node).await;
    assert_eq!(timeless(&later.shown), timeless(&screen.shown));
    // A fold that started over knows the same.
    drop((later, screen));
    while rig.node.is_watched() {
        tokio::task::yield_now().await;
    }
    let mut anew = Screen::on(&rig.node).await;
    anew.until("the index", indexed).await;
    let ids = |shown: &MonitorSnapshot| shown.ended.iter().map(|e| (e.message_id, e.status)).collect::<Vec<_>>();
    assert_eq!(ids(&anew.shown), [(early, Status::Answered), (failing, Status::Cancelled)]);
}

#[tokio::test]
async fn a_text_that_is_taken_back_leaves_the_screen_and_the_ring() {
    let rig = Rig::new().await;
    let mut screen = Screen::on(&rig.node).await;
    // It has fallen asleep.
    let mut slow = Screen::on(&rig.node).await;
    let asked = rig.ask("my password").await;
    let held = rig.claim("w").await.held;
    rig.node.end(held, answer("is it 1234?")).await.unwrap();
    let reply = rig.entries().await.iter().find_map(|entry| match &entry.event {
        Event::ReplyPosted(e) => Some(e.id),
        _ => None,
    });
    screen.until("the end", |shown| has_ended(shown, asked)).await;
    assert_eq!(screen.shown.ended[0].reply.as_deref(), Some("is it 1234?"));
    rig.node.change(asked, Change::Redact).await.unwrap();
    rig.node.change(reply.unwrap(), Change::Redact).await.unwrap();
    let hidden = |shown: &MonitorSnapshot| {
        shown.ended.first().is_some_and(|ended| ended.text.is_empty() && ended.reply.as_deref() == Some(""))
    };
    screen.until("it is hidden", hidden).await;
    assert_eq!((screen.shown.ended.len(), screen.snapshots), (1, 1), "who was awake saw it as a change");
    slow.until("it is hidden", hidden).await;
    assert_eq!(slow.snapshots, 2, "who was not begins anew, and never sees the text");
}

#[tokio::test]
async fn many_at_once_are_counted_and_the_last_of_them_shown() {
    let rig = Rig::new().await;
    let before = rig.ask("before").await;
    let mut screen = Screen::on(&rig.node).await;
    let mut ids = Vec::new();
    for n in 0..620 {
        ids.push(rig.ask(&format!("question {n}")).await);
    }
    screen.until("the queue", |shown| shown.open_total == 621).await;
    assert_eq!((screen.shown.open.len(), screen.shown.open[0].message_id), (500, before));
    assert_eq!(screen.shown.open[499].ahead, Some(499));
    for id in ids.iter().rev() {
        rig.node.change(*id, Change::Cancel).await.unwrap();
    }
    screen.until("the end", |shown| shown.open_total == 1).await;
    assert_eq!(screen.shown.ended.len(), 200);
    assert_eq!(screen.shown.ended[199].message_id, ids[0]);
    let (listed, asleep) = (screen.shown.ended.len() as u64, screen.missed);
    assert!(listed + asleep <= 620);
    let fresh = Screen::on(&rig.node).await;
    assert_eq!(fresh.shown.ended, screen.shown.ended);
    assert_eq!(fresh.shown.open, screen.shown.open);
}

#[tokio::test]
async fn nobody_watching_is_no_task_and_workers_wait_only_as_long_as_they_do() {
    let rig = Rig::new().await;
    assert!(!rig.node.is_watched());
    let waiting = rig.claiming("patient").await;
    let workers = |node: &Node| node.workers(&Nothing).unwrap().workers;
    let here = workers(&rig.node);
    assert_eq!((here.len(), here[0].waiting, &*here[0].worker), (1, 1, "patient"));
    let mut screens = [Screen::on(&rig.node).await, Screen::on(&rig.node).await];
    assert!(rig.node.is_watched());
    waiting.abort();
    for screen in &mut screens {
        screen.until("it has gone", |shown| shown.workers[0].waiting == 0).await;
    }
    rig.pass_ms(10 * 60_000);
    rig.ask("something happens").await;
    for screen in &mut screens {
        screen.until("it is forgotten", |shown| shown.workers.is_empty()).await;
    }
    let [first, second] = screens;
    drop(first);
    assert!(rig.node.is_watched());
    drop(second);
    while rig.node.is_watched() {
        tokio::task::yield_now().await;
    }
    assert_eq!(workers(&rig.node), []);
}

#[tokio::test]
async fn a_feed_ends_with_its_node() {
    let rig = Rig::new().await;
    let mut screen = Screen::on(&rig.node).await;
    rig.node.stop().await;
    while timeout(PATIENCE, screen.watching.next()).await.unwrap().is_some() {}
    assert!(matches!(rig.node.watch(Arc::new(Nothing)).await, Err(Error::Stopping)));
}
