//! How many of each event there were, and how long answers took.
//!
//! Promise: a reply that was erased counts once, whether it was folded before or after: its numbers stand in its
//! `message.erased` too.
//! Not here: requests, connections, disk (metrics of the parts that own them).

use std::collections::{BTreeMap, BTreeSet};

use antiphon_schemas::{BotName, Entry, Event, MessageId};
use serde::{Deserialize, Serialize};

/// Upper ends of the latency buckets, in ms; the last bucket takes the rest.
pub const BUCKETS_MS: [u64; 14] = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 10_000, 60_000, 600_000];

/// A histogram over [`BUCKETS_MS`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Histogram {
    /// How many fell into each bucket, the one beyond the last end included.
    pub counts: [u64; BUCKETS_MS.len() + 1],
    /// Their sum.
    pub sum_ms: u64,
}

impl Histogram {
    fn add(&mut self, ms: u64) {
        let bucket = BUCKETS_MS.partition_point(|end| *end < ms);
        self.counts[bucket] += 1;
        self.sum_ms = self.sum_ms.saturating_add(ms);
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// One bot's numbers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct BotCounts {
    /// Answers given.
    pub answered: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Claim to first word.
    pub first_token: Histogram,
    /// Claim to end.
    pub total: Histogram,
}

impl BotCounts {
    fn answered(&mut self, total_ms: u64, first_token_ms: Option<u64>) {
        self.answered += 1;
        self.total.add(total_ms);
        if let Some(ms) = first_token_ms {
            self.first_token.add(ms);
        }
    }
}

/// The projection.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Entries by kind; kinds of later versions are counted as `other`.
    pub entries: BTreeMap<String, u64>,
    /// By bot.
    pub bots: BTreeMap<BotName, BotCounts>,
    /// Erased replies whose `message.erased` is still to come.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub uncounted: BTreeSet<MessageId>,
}

impl Counts {
    /// Folds one entry in.
    pub fn apply(&mut self, entry: &Entry) {
        let kind = match &entry.event {
            Event::Unknown(_) => "other",
            Event::Erased(e) if !Event::KINDS.contains(&&*e.kind) => "other",
            event => event.kind(),
        };
        match self.entries.get_mut(kind) {
            Some(count) => *count += 1,
            None => drop(self.entries.insert(kind.to_string(), 1)),
        }
        match &entry.event {
            Event::ReplyPosted(e) => {
                if let Some(bot) = self.bot(&e.author.name) {
                    bot.answered(e.made.total_ms, e.made.first_token_ms);
                }
            }
            Event::Erased(e) if &*e.kind == "reply.posted" => self.uncounted.extend(e.subjects.first()),
            Event::MessageErased(e) if self.uncounted.remove(&e.message_id) => {
                if let Some(reply) = &e.reply
                    && let Some(bot) = &reply.bot
                {
                    self.bots.entry(bot.clone()).or_default().answered(reply.total_ms, reply.first_token_ms);
                }
            }
            _ => {}
        }
    }

    /// The numbers of the bot with this name; `None` if no bot can have it.
    fn bot(&mut self, name: &str) -> Option<&mut BotCounts> {
        if !self.bots.contains_key(name) {
            self.bots.insert(BotName::new(name).ok()?, BotCounts::default());
        }
        self.bots.get_mut(name)
    }

    /// Counts a failed attempt of a bot.
    pub fn failed(&mut self, bot: &BotName) {
        self.bots.entry(bot.clone()).or_default().failed += 1;
    }
}
