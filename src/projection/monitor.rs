//! What a monitor shows of the log: what the open messages say, how the last ones ended, how answers go.
//!
//! It may begin anywhere in a log. What it cannot know then (what a message says that was posted before, and when) it names
//! ([`MonitorFold::lacking`]), so that the caller can look it up ([`MonitorFold::learn`]). Ended messages that were neither asked nor
//! claimed nor taken in since it began are not listed. Counted in minutes is only what was asked since, as `replay::stats` counts it.
//!
//! Promises: a text that was taken back is in nothing that it gives out; [`ENDED_MAX`] ended messages, one for each id, texts of
//! [`EXCERPT_CHARS`], [`MINUTES_MAX`](super::minutes::MINUTES_MAX) minutes for each bot it was begun with, and one
//! message for each that is open.
//! Not here: what is open and in which order (`queue`, `open_list`), what is live (`node::monitor`).

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
};

use antiphon_schemas::{
    BotName, Entry, Epoch, Event, MessageId, RoomName, Seq,
    event::release,
    time,
    wire::{Message, Status, monitor::EndedMessage},
};

use super::{
    minutes::{Minutes, Tally},
    queue::{Open, State},
    view::{self, ERASED_AUTHOR},
};

/// Ended messages that are shown: some pages of a screen.
pub const ENDED_MAX: usize = 200;
/// Characters of a text that are shown: one line of a screen.
pub const EXCERPT_CHARS: usize = 160;

/// What a message says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Who.
    pub author: Arc<str>,
    /// An excerpt.
    pub text: Arc<str>,
    /// Where it was posted; 0 if that cannot be read.
    pub position: Seq,
}

/// A message that wants an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    /// `None`: posted before this began, and not looked up yet.
    pub said: Option<Said>,
    /// Why its last attempt failed.
    pub reason: Option<Arc<str>>,
    /// The entry that put it where it is, and its time.
    pub since: Option<(Seq, u64)>,
    room: RoomName,
    bot: BotName,
    asked_at_ms: Option<u64>,
    /// Asked since this began: it counts.
    counts: bool,
    waited_ms: Option<u64>,
    attempts: u32,
    worker: Option<Arc<str>>,
    answer: Option<Answer>,
}

#[derive(Debug, Clone, PartialEq)]
struct Answer {
    text: Arc<str>,
    model: Arc<str>,
    first_token_ms: Option<u64>,
}

#[derive(Debug, Clone, PartialEq)]
struct Ended {
    shown: Arc<EndedMessage>,
    said: Option<Said>,
}

/// The fold.
#[derive(Debug, Clone)]
pub struct MonitorFold {
    epoch: Epoch,
    bots: BTreeMap<BotName, Minutes>,
    asked: HashMap<MessageId, Asked>,
    ended: VecDeque<Ended>,
    ended_count: u64,
    hidden_count: u64,
}

impl MonitorFold {
    /// Nothing yet; counts for these bots.
    pub fn new(epoch: Epoch, bots: impl IntoIterator<Item = BotName>) -> MonitorFold {
        MonitorFold {
            epoch,
            bots: bots.into_iter().map(|bot| (bot, Minutes::default())).collect(),
            asked: HashMap::new(),
            ended: VecDeque::new(),
            ended_count: 0,
            hidden_count: 0,
        }
    }

    /// Takes in what is open where the fold stands now, some of it since before it began.
    pub fn take_in<'a>(&mut self, open: impl IntoIterator<Item = (&'a MessageId, &'a Open)>) {
        for (id, open) in open {
            let asked = self.asked.entry(*id).or_insert_with(|| Asked::unseen(open.room.clone(), open.ask.bot.clone()));
            asked.asked_at_ms = Some(open.asked_at_ms);
            asked.attempts = open.attempts;
            match &open.state {
                State::Waiting { since, since_ms } => asked.since = Some((*since, *since_ms)),
                State::Claimed(claim) => {
                    asked.since = Some((claim.fence, claim.at_ms));
                    asked.worker = Some(claim.worker.clone());
                }
                State::Retrying { .. } => {}
            }
        }
    }

    /// Folds the next entry in.
    pub fn apply(&mut self, entry: &Entry) {
        let (seq, at_ms) = (entry.header.seq, entry.header.at_ms);
        let here = Some((seq, at_ms));
        match (&entry.event, &entry.header.room) {
            (Event::MessagePosted(e), Some(room)) => {
                let Some(ask) = &e.ask else { return };
                let said = Said { author: e.author.name.clone(), text: excerpt(&e.text), position: seq };
                self.ask(e.id, room, &ask.bot, entry, Some(said));
            }
            (Event::MessageReleased(e), Some(room)) if &*e.reason == release::RETRY_ASKED => {
                let said = self.ended.iter().find(|ended| ended.shown.message_id == e.message_id);
                let said = said.and_then(|ended| ended.said.clone());
                self.ask(e.message_id, room, &e.ask.bot, entry, said);
            }
            (Event::MessageReleased(e), Some(room)) => {
                let asked = self.asked(e.message_id, room, &e.ask.bot);
                asked.since = here;
                if matches!(&*e.reason, release::RESTARTED | release::GOODBYE) {
                    asked.attempts = asked.attempts.saturating_sub(1);
                }
                if &*e.reason == release::LEASE_OVER {
                    self.count(e.message_id, at_ms, |tally| tally.takeovers += 1);
                }
            }
            (Event::MessageClaimed(e), Some(room)) => {
                let asked = self.asked(e.message_id, room, &e.bot);
                asked.since = here;
                asked.attempts = e.attempt;
                let first = asked.worker.replace(e.worker.clone()).is_none() && asked.counts;
                let waited_ms = asked.asked_at_ms.map(|asked_at_ms| at_ms.saturating_sub(asked_at_ms));
                if let Some(ms) = waited_ms.filter(|_| first) {
                    asked.waited_ms = Some(ms);
                    self.count(e.message_id, at_ms, |tally| tally.waiting.add(ms));
                }
            }
            (Event::MessageFailed(e), _) => {
                let again = e.retry_at_ms.is_some();
                self.count(e.message_id, at_ms, |tally| {
                    tally.failed += 1;
                    tally.retried += u64::from(again);
                });
                match self.asked.get_mut(&e.message_id) {
                    Some(asked) if again => (asked.since, asked.reason) = (here, Some(e.reason.clone())),
                    _ => self.end(e.message_id, entry, Status::Failed, Some(&e.reason), None),
                }
            }
            (Event::MessageDead(e), _) if self.asked.contains_key(&e.message_id) => {
                self.end(e.message_id, entry, Status::Dead, Some(&e.reason), None);
            }
            (Event::MessageDead(e), _) => {
                // In one append with the failure that was the last.
                let failed = self.ended.back_mut().filter(|ended| ended.shown.message_id == e.message_id);
                if let Some(failed) = failed {
                    let shown = Arc::make_mut(&mut failed.shown);
                    (shown.status, shown.reason) = (Status::Dead, Some(e.reason.clone()));
                    shown.position = view::position(self.epoch, seq);
                }
            }
            (Event::MessageCancelled(e), _) => self.end(e.message_id, entry, Status::Cancelled, None, None),
            (Event::ReplyPosted(e), _) => {
                if let Some(asked) = self.asked.get_mut(&e.message_id) {
                    let (text, model) = (excerpt(&e.text), e.made.model.clone());
                    asked.answer = Some(Answer { text, model, first_token_ms: e.made.first_token_ms });
                }
            }
            (Event::MessageCompleted(e), _) => {
                if let Some(asked) = self.asked.get(&e.message_id)
                    && let Some(asked_at_ms) = asked.asked_at_ms
                {
                    let first_token_ms = asked.answer.as_ref().and_then(|answer| answer.first_token_ms);
                    self.count(e.message_id, at_ms, |tally| {
                        tally.answered += 1;
                        tally.total.add(at_ms.saturating_sub(asked_at_ms));
                        first_token_ms.into_iter().for_each(|ms| tally.first_token.add(ms));
                    });
                }
                self.end(e.message_id, entry, Status::Answered, None, Some(e.reply_id));
            }
            (Event::MessageRedacted(e), _) => self.hide(e.message_id, false),
            (Event::MessageErased(e), _) => self.hide(e.message_id, true),
            _ => {}
        }
    }

    /// An open message, as far as it is known.
    pub fn open(&self, id: &MessageId) -> Option<&Asked> {
        self.asked.get(id)
    }

    /// What ended, newest last.
    pub fn ended(&self) -> impl Iterator<Item = &Arc<EndedMessage>> {
        self.ended.iter().map(|ended| &ended.shown)
    }

    /// How many ended since it began, those included that are shown no more.
    pub fn ended_count(&self) -> u64 {
        self.ended_count
    }

    /// How many texts that it had given out were taken back since it began.
    pub fn hidden_count(&self) -> u64 {
        self.hidden_count
    }

    /// The minutes of a bot.
    pub fn minutes(&self, bot: &BotName) -> Option<&Minutes> {
        self.bots.get(bot)
    }

    /// Of these open messages and of those that ended, the ones of which it is not known what they say.
    pub fn lacking<'a>(&self, open: impl Iterator<Item = &'a MessageId>) -> Vec<MessageId> {
        let open = open.filter(|id| self.asked.get(id).is_some_and(|asked| asked.said.is_none())).copied();
        let ended = self.ended.iter().filter(|ended| ended.said.is_none()).map(|ended| ended.shown.message_id);
        open.chain(ended).collect()
    }

    /// Takes what was looked up of a message, as everybody may see it now; `None` if it cannot be read, which is not asked again.
    pub fn learn(&mut self, id: MessageId, message: Option<&Message>) {
        let said =
            message.map(|m| Said { author: m.author.name.clone(), text: excerpt(&m.text), position: m.position.0.seq });
        let said = said.unwrap_or_else(|| Said { author: "".into(), text: "".into(), position: Seq::ZERO });
        let posted_at = message.map(|m| m.at.to_string());
        if let Some(asked) = self.asked.get_mut(&id).filter(|asked| asked.said.is_none()) {
            asked.asked_at_ms = asked.asked_at_ms.or(posted_at.as_deref().and_then(time::parse_rfc3339));
            asked.said = Some(said.clone());
        }
        if let Some(ended) = self.ended.iter_mut().find(|e| e.shown.message_id == id && e.said.is_none()) {
            let shown = Arc::make_mut(&mut ended.shown);
            (shown.author, shown.text) = (said.author.clone(), said.text.clone());
            shown.asked_at = shown.asked_at.take().or(posted_at);
            let [asked_ms, ended_ms] =
                [shown.asked_at.as_deref().unwrap_or(""), &shown.ended_at].map(time::parse_rfc3339);
            shown.total_ms = ended_ms.zip(asked_ms).map(|(ended_ms, asked_ms)| ended_ms.saturating_sub(asked_ms));
            ended.said = Some(said);
        }
    }

    fn ask(&mut self, id: MessageId, room: &RoomName, bot: &BotName, entry: &Entry, said: Option<Said>) {
        let at_ms = entry.header.at_ms;
        let asked = Asked {
            said,
            since: Some((entry.header.seq, at_ms)),
            asked_at_ms: Some(at_ms),
            counts: true,
            ..Asked::unseen(room.clone(), bot.clone())
        };
        self.asked.insert(id, asked);
        self.count(id, at_ms, |tally| tally.posted += 1);
    }

    /// The message, which may have been asked before this began.
    fn asked(&mut self, id: MessageId, room: &RoomName, bot: &BotName) -> &mut Asked {
        self.asked.entry(id).or_insert_with(|| Asked::unseen(room.clone(), bot.clone()))
    }

    fn count(&mut self, id: MessageId, at_ms: u64, change: impl Fn(&mut Tally)) {
        if let Some(asked) = self.asked.get(&id).filter(|asked| asked.counts)
            && let Some(minutes) = self.bots.get_mut(&asked.bot)
        {
            minutes.count(at_ms, change);
        }
    }

    fn end(
        &mut self,
        id: MessageId,
        entry: &Entry,
        status: Status,
        reason: Option<&Arc<str>>,
        reply_id: Option<MessageId>,
    ) {
        let Some(asked) = self.asked.remove(&id) else { return };
        let (said, answer, at_ms) = (asked.said, asked.answer, entry.header.at_ms);
        let (author, text) = said.as_ref().map_or_else(Default::default, |s| (s.author.clone(), s.text.clone()));
        let shown = EndedMessage {
            message_id: id,
            room: asked.room,
            author,
            text,
            bot: asked.bot,
            status,
            reason: reason.cloned(),
            asked_at: asked.asked_at_ms.map(time::rfc3339),
            ended_at: time::rfc3339(at_ms),
            position: view::position(self.epoch, entry.header.seq),
            waited_ms: asked.waited_ms,
            first_token_ms: answer.as_ref().and_then(|answer| answer.first_token_ms),
            total_ms: asked.asked_at_ms.map(|asked_at_ms| at_ms.saturating_sub(asked_at_ms)),
            attempts: asked.attempts,
            worker: asked.worker,
            model: answer.as_ref().map(|answer| answer.model.clone()),
            reply_id,
            // Of a reply that was erased only its id is left.
            reply: reply_id.map(|_| answer.map_or_else(|| "".into(), |answer| answer.text)),
        };
        self.ended.retain(|ended| ended.shown.message_id != id);
        self.ended.push_back(Ended { shown: Arc::new(shown), said });
        self.ended_count += 1;
        if self.ended.len() > ENDED_MAX {
            self.ended.pop_front();
        }
    }

    fn hide(&mut self, id: MessageId, erased: bool) {
        let nothing: Arc<str> = "".into();
        let hide = |said: &mut Said| {
            said.text = nothing.clone();
            if erased {
                said.author = ERASED_AUTHOR.into();
            }
        };
        if let Some(asked) = self.asked.get_mut(&id) {
            asked.said.iter_mut().for_each(hide);
            self.hidden_count += 1;
        }
        for ended in &mut self.ended {
            if ended.shown.message_id == id {
                ended.said.iter_mut().for_each(hide);
                let shown = Arc::make_mut(&mut ended.shown);
                if let Some(said) = &ended.said {
                    (shown.author, shown.text) = (said.author.clone(), said.text.clone());
                }
                self.hidden_count += 1;
            }
            if ended.shown.reply_id == Some(id) {
                Arc::make_mut(&mut ended.shown).reply = Some(nothing.clone());
                self.hidden_count += 1;
            }
        }
    }
}

impl Asked {
    /// Nothing is known of it but that it is there.
    fn unseen(room: RoomName, bot: BotName) -> Asked {
        Asked {
            said: None,
            reason: None,
            since: None,
            room,
            bot,
            asked_at_ms: None,
            counts: false,
            waited_ms: None,
            attempts: 0,
            worker: None,
            answer: None,
        }
    }
}

fn excerpt(text: &Arc<str>) -> Arc<str> {
    match text.char_indices().nth(EXCERPT_CHARS) {
        Some((end, _)) => text[..end].into(),
        None => text.clone(),
    }
}

#[cfg(test)]
mod tests;
