//! Posting a message: repeated, asking somebody, or refused.

use std::sync::Arc;

use antiphon_schemas::{
    BotName, Entry, Event, MessageId, RoomName,
    event::{Author, AuthorKind, MessagePosted},
};

use super::{Decision, Policy, Prefetched, Refusal, lane, mention::mentioned, room_for_one_more};
use crate::projection::Projections;

/// The priority of a post that names none.
pub const PRIORITY_DEFAULT: u8 = 5;

/// A wish to say something.
#[derive(Debug, Clone, PartialEq)]
pub struct Post {
    /// Where.
    pub room: RoomName,
    /// The message's id.
    pub id: MessageId,
    /// The server made the id just now, so nobody else can have used it.
    pub fresh: bool,
    /// Who says it.
    pub author: Author,
    /// What is said; checked where it came in from outside.
    pub text: Arc<str>,
    /// Absent: the bot that the text names (`mention`), else the room's rule. Empty: nobody.
    pub to: Option<Vec<BotName>>,
    /// 0-9.
    pub priority: u8,
    /// An earlier message of the room.
    pub reply_to: Option<MessageId>,
    /// When it was said, if that is not now; checked where it came in from outside, and used for nothing here.
    pub said_at_ms: Option<u64>,
}

impl Post {
    /// The messages that must be looked up before this can be decided.
    pub fn needs(&self) -> Vec<MessageId> {
        (!self.fresh).then_some(self.id).into_iter().chain(self.reply_to).collect()
    }
}

/// Decides a post.
///
/// # Errors
/// [`Refusal::IdTaken`], [`Refusal::OneBotOnly`], [`Refusal::UnknownBot`], [`Refusal::ReplyToElsewhere`],
/// [`Refusal::QueueFull`].
pub fn post(state: &Projections, facts: &Prefetched, policy: &Policy, post: &Post) -> Result<Decision, Refusal> {
    if !post.fresh
        && let Some(known) = facts.look(state, &post.id)
    {
        // Nobody knows any more what was said under an erased id: the outbox need not keep this post, and a caller that
        // repeats it learns that the id is taken (`node`).
        let erased =
            matches!(known.posted.event, Event::Erased(_)) && known.posted.header.room.as_ref() == Some(&post.room);
        return if erased || same(&known.posted, post) {
            Ok(Decision::Already(known.posted))
        } else {
            Err(Refusal::IdTaken(post.id))
        };
    }
    if !post.fresh && state.queue.is_promised(&post.id) {
        return Err(Refusal::IdTaken(post.id));
    }
    let bot = match post.to.as_deref() {
        Some([]) => None,
        Some([bot]) if policy.can_ask(bot, &post.room) => Some(bot),
        Some([bot]) => return Err(policy.unknown_bot(bot, &post.room)),
        Some(_) => return Err(Refusal::OneBotOnly),
        None if post.author.kind == AuthorKind::Human => {
            mentioned(&post.text, policy, &post.room).or_else(|| policy.default_bot(&post.room))
        }
        None => None,
    };
    if let Some(target) = post.reply_to {
        let found = facts.look(state, &target);
        if found.is_none_or(|fact| fact.posted.header.room.as_ref() != Some(&post.room)) {
            return Err(Refusal::ReplyToElsewhere);
        }
    }
    if let Some(bot) = bot {
        room_for_one_more(state, policy, bot)?;
    }
    let event = MessagePosted {
        id: post.id,
        author: post.author.clone(),
        text: post.text.clone(),
        to: post.to.clone(),
        ask: bot.map(|bot| lane(state, &post.room, bot, post.priority)),
        reply_to: post.reply_to,
        hops: 0,
        said_at_ms: post.said_at_ms,
    };
    Ok(Decision::Append {
        room: post.room.clone(),
        subjects: if post.fresh { vec![] } else { vec![post.id] },
        events: vec![event.into()],
    })
}

/// Same room, text, author's name, `reply_to` and `to`.
fn same(entry: &Entry, post: &Post) -> bool {
    let Event::MessagePosted(posted) = &entry.event else { return false };
    entry.header.room.as_ref() == Some(&post.room)
        && posted.text == post.text
        && posted.author.name == post.author.name
        && posted.reply_to == post.reply_to
        && posted.to == post.to
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::tests::{World, bot, id, room};

    fn ask_of(text: &str, to: Option<Vec<BotName>>, kind: AuthorKind) -> Option<BotName> {
        let world = World::new();
        let author = Author { name: "ann".into(), kind, color: None };
        let said = Post {
            room: room(0),
            id: id(0),
            fresh: true,
            author,
            text: text.into(),
            to,
            priority: 5,
            reply_to: None,
            said_at_ms: None,
        };
        match post(&world.projections, &Prefetched::none(), &world.policy, &said) {
            Ok(Decision::Append { events, .. }) => match &events[0] {
                Event::MessagePosted(event) => event.ask.as_ref().map(|ask| ask.bot.clone()),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_person_who_names_a_bot_asks_it_unless_the_post_says_whom() {
        let text = format!("@{} write a line", bot(1));
        assert_eq!(ask_of(&text, None, AuthorKind::Human), Some(bot(1)));
        assert_eq!(ask_of("write a line", None, AuthorKind::Human), None, "no bot answers all");
        assert_eq!(ask_of(&text, Some(vec![bot(0)]), AuthorKind::Human), Some(bot(0)));
        assert_eq!(ask_of(&text, Some(vec![]), AuthorKind::Human), None);
    }

    #[test]
    fn what_a_bot_says_asks_nobody_whomever_it_names() {
        assert_eq!(ask_of(&format!("@{}", bot(1)), None, AuthorKind::Bot), None);
    }
}
