//! What a room's feed said from its beginning, over restarts of the server, and what it must never say.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tokio::{sync::watch, task::JoinHandle};

use crate::harness::{Events, PATIENCE};

/// An event: its name and data.
pub(super) type Said = (String, Value);

/// Stands in a story where a connection begins: what was being written then is told again, as `reply.snapshot`.
const OPENED: &str = "(opened)";

/// A subscriber that comes back whenever the stream ends, as a browser does, and keeps all that it heard.
pub(super) struct Story {
    heard: watch::Receiver<Vec<Said>>,
    task: JoinHandle<()>,
}

impl Drop for Story {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Story {
    /// Follows a room of the server at this address, which may go away and come back there.
    pub(super) async fn follow(address: &str, room: &str) -> Story {
        let (tell, heard) = watch::channel(Vec::new());
        let url = format!("http://{address}/api/rooms/{room}/events");
        let http = antiphon_bot::http_client();
        let mut first = Some(Events::try_open(&http, &url, Some("0")).await.expect("the server is there"));
        let task = tokio::spawn(async move {
            let mut last = "0".to_owned();
            loop {
                let opened = match first.take() {
                    Some(events) => Some(events),
                    None => Events::try_open(&http, &url, Some(&last)).await,
                };
                let Some(mut events) = opened else {
                    // Nobody says when a killed server is back.
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                    continue;
                };
                tell.send_modify(|heard: &mut Vec<Said>| heard.push((OPENED.to_owned(), Value::Null)));
                while let Some(event) = events.hear().await {
                    last = event.id.unwrap_or(last);
                    let data = serde_json::from_str(&event.data).unwrap();
                    tell.send_modify(|heard: &mut Vec<Said>| heard.push((event.name, data)));
                }
            }
        });
        Story { heard, task }
    }

    /// How much was heard so far: where [`Story::until`] may begin.
    pub(super) fn now(&self) -> usize {
        self.heard.borrow().len()
    }

    /// All that was heard.
    pub(super) fn all(&self) -> Vec<Said> {
        self.heard.borrow().clone()
    }

    /// The first event of this name from `start` on whose data is as wanted; waits for it.
    pub(super) async fn until(&self, start: usize, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut heard = self.heard.clone();
        let mut looked = start;
        let waiting = async {
            loop {
                {
                    let heard = heard.borrow_and_update();
                    if let Some((_, data)) = heard[looked..].iter().find(|(n, data)| n == name && wanted(data)) {
                        return data.clone();
                    }
                    looked = heard.len();
                }
                heard.changed().await.expect("the story goes on");
            }
        };
        let found = tokio::time::timeout(PATIENCE, waiting).await;
        found.unwrap_or_else(|_| panic!("never `{name}` as wanted; the last was {:?}", self.all().last()))
    }
}

/// How closely words must follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Words {
    /// Every word was heard by this subscriber as it was written.
    All,
    /// Words may have been missed, with a node or between two: the final text makes up for them.
    Some,
}

/// What the feed showed of one message so far.
#[derive(Debug, Default)]
struct Shown {
    /// The reply being written: its id, the next index, and the text so far.
    writing: Option<(String, u64, String)>,
    /// Replies that nobody may hear of again.
    over: BTreeSet<String>,
    answered: bool,
}

impl Shown {
    fn end(&mut self) {
        self.over.extend(self.writing.take().map(|(reply, ..)| reply));
    }
}

/// Holds a story to the promise that a room never shows two voices: of each message at most one reply is being written;
/// a reply that was given up is never heard of again; the pieces of a reply follow each other without a gap and are,
/// joined, the beginning of the final text ([`Words::All`]: the whole of it). Returns how many answers there were.
pub(super) fn never_two_voices(story: &[Said], words: Words) -> usize {
    let mut messages: BTreeMap<String, Shown> = BTreeMap::new();
    for (n, (name, data)) in story.iter().enumerate() {
        if name == OPENED {
            messages.values_mut().for_each(|shown| shown.writing = None);
            continue;
        }
        let id = data["message_id"].as_str().or(data["reply_to"].as_str()).unwrap_or_default();
        let shown = messages.entry(id.to_owned()).or_default();
        let reply = data["reply_id"].as_str().unwrap_or_default().to_owned();
        let context = || {
            let about = story[..=n].iter().filter(|(_, data)| data.to_string().contains(id));
            about.map(|(name, data)| format!("{name} {data}\n")).collect::<String>()
        };
        let live = name.starts_with("reply.") && !matches!(name.as_str(), "reply.posted" | "reply.reset");
        assert!(!live || name == "reply.progress" || !shown.answered, "words after the answer:\n{}", context());
        assert!(!live || !shown.over.contains(&reply), "words of a reply that was given up:\n{}", context());
        match name.as_str() {
            "reply.started" => {
                let current = shown.writing.get_or_insert((reply.clone(), 0, String::new()));
                assert_eq!(current.0, reply, "two voices:\n{}", context());
            }
            "reply.delta" => {
                let (current, next, text) = shown.writing.as_mut().unwrap_or_else(|| panic!("{}", context()));
                assert_eq!(
                    (&*current, &data["index"]),
                    (&reply, &(*next).into()),
                    "two voices, or a gap:\n{}",
                    context()
                );
                *next += 1;
                text.push_str(data["text"].as_str().unwrap());
            }
            "reply.snapshot" => {
                let text = data["text"].as_str().unwrap().to_owned();
                shown.writing = Some((reply, data["next_index"].as_u64().unwrap(), text));
            }
            "reply.reset" => {
                shown.end();
                shown.over.insert(reply);
            }
            "message.claimed" | "message.released" | "message.failed" | "message.dead" | "message.cancelled" => {
                shown.end();
            }
            "reply.posted" if !id.is_empty() => {
                assert!(!std::mem::replace(&mut shown.answered, true), "two answers:\n{}", context());
                let (id, text) = (data["id"].as_str().unwrap(), data["text"].as_str().unwrap());
                assert!(!shown.over.contains(id), "an answer that was given up:\n{}", context());
                if let Some((reply, _, written)) = shown.writing.take() {
                    assert_eq!(reply, id, "the answer is another one's:\n{}", context());
                    let fits = if words == Words::All { text == written } else { text.starts_with(&written) };
                    assert!(fits, "not what was written:\n{}", context());
                }
            }
            _ => {}
        }
    }
    messages.values().filter(|shown| shown.answered).count()
}
