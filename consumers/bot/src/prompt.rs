//! The prompt: persona, the room's last messages, the message; and the hash by which a reply names it.
//!
//! Promises: the same delivery gives the same prompt; at most [`CONTEXT_BYTES_MAX`] of context; the turns are
//! serialised in exactly one way, and that is what is hashed and what is sent.
//!
//! ```text
//! system     the persona, unless it is empty
//! user       anna: does anybody know …         a person's words, or another bot's, after their name
//! assistant  Not really, but …                 the bot's own
//! user       anna: and what about …            the message to answer, always last
//! ```
//!
//! Not here: what a model's server wants around the turns (`ollama`, `openai`).

use std::{collections::BTreeMap, sync::Arc};

use antiphon_kit::Delivery;
use antiphon_schemas::{
    BotName, MessageId,
    wire::{AuthorKind, Message},
};
use serde::{Serialize, Serializer, ser::SerializeStruct};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::thoughts::spoken;

/// The most text of earlier messages in a prompt: some 16,000 tokens. Older messages are left out whole; a server that
/// gets too much would cut its beginning, the persona, without a word.
pub const CONTEXT_BYTES_MAX: usize = 64 << 10;

/// Who speaks in a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The persona.
    System,
    /// Anybody else in the room.
    User,
    /// The bot itself.
    Assistant,
}

/// One turn; serialised as `{"role":"user","content":"anna: hello"}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// Who speaks.
    pub role: Role,
    /// The name that stands before the words, for turns of users.
    pub name: Option<Arc<str>>,
    /// The words.
    pub text: Arc<str>,
}

impl Serialize for Turn {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut turn = serializer.serialize_struct("Turn", 2)?;
        turn.serialize_field("role", &self.role)?;
        match &self.name {
            Some(name) => turn.serialize_field("content", &format_args!("{name}: {}", self.text))?,
            None => turn.serialize_field("content", &self.text)?,
        }
        turn.end()
    }
}

/// The whole prompt of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Prompt {
    /// As whom to answer.
    pub bot: BotName,
    /// Persona, context, message; the message is the last and always there.
    pub turns: Vec<Turn>,
    /// The context's messages, oldest first.
    pub context: Vec<MessageId>,
    /// Options for the model.
    pub options: BTreeMap<String, Value>,
}

impl Prompt {
    /// The prompt of a delivery.
    pub fn of(delivery: &Delivery) -> Prompt {
        let bot = &delivery.bot;
        let mut left = CONTEXT_BYTES_MAX;
        let mut context: Vec<&Message> = delivery
            .context
            .iter()
            .rev()
            .map(|message| &**message)
            .filter(|message| !message.redacted && !message.text.is_empty() && message.id != delivery.message.id)
            .take(bot.context_messages)
            .take_while(|message| {
                let fits = message.text.len() <= left;
                left = left.saturating_sub(message.text.len());
                fits
            })
            .collect();
        context.reverse();
        let persona = Some(bot.persona.trim()).filter(|persona| !persona.is_empty());
        let persona = persona.map(|text| Turn { role: Role::System, name: None, text: text.into() });
        let turns = persona.into_iter().chain(context.iter().map(|message| turn(message, &bot.name)));
        Prompt {
            bot: bot.name.clone(),
            turns: turns.chain([user(&delivery.message)]).collect(),
            context: context.iter().map(|message| message.id).collect(),
            options: bot.options.clone(),
        }
    }

    /// SHA-256, in hex, of the turns as the JSON array `[{"role":…,"content":…},…]`: UTF-8, keys in this order, no white
    /// space, only `"`, `\` and control characters escaped. These are the bytes of `messages` in the request.
    pub fn sha256(&self) -> String {
        let turns = serde_json::to_vec(&self.turns).expect("roles and strings are always JSON");
        Sha256::digest(&turns).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The message to answer.
    pub fn message(&self) -> &Turn {
        self.turns.last().expect("a prompt ends with its message")
    }
}

fn turn(message: &Message, bot: &BotName) -> Turn {
    if message.author.kind == AuthorKind::Bot && &*message.author.name == bot.as_str() {
        // What it thought, in answers of former versions, is nothing that it said.
        Turn { role: Role::Assistant, name: None, text: spoken(&message.text).into() }
    } else {
        user(message)
    }
}

fn user(message: &Message) -> Turn {
    Turn { role: Role::User, name: Some(message.author.name.clone()), text: message.text.clone() }
}

#[cfg(test)]
pub(crate) mod tests {
    use antiphon_kit::{Profile, bench};
    use antiphon_schemas::BotName;

    use super::*;

    pub(crate) fn profile() -> Profile {
        Profile {
            name: BotName::new("echo").unwrap(),
            persona: " You are brief. ".into(),
            context_messages: 20,
            options: BTreeMap::new(),
            filters: Default::default(),
            answer: Default::default(),
        }
    }

    /// A message with an id of its own.
    pub(crate) fn said(n: u8, author: &str, kind: AuthorKind, text: &str) -> Arc<Message> {
        let mut message = Message::clone(&bench::message(author, kind, text));
        message.id = MessageId(uuid::Uuid::from_bytes([n; 16]));
        Arc::new(message)
    }

    fn delivery() -> Delivery {
        let mut delivery = bench::delivery("and \"now\"?\n☃", profile());
        delivery.context = vec![
            said(10, "anna", AuthorKind::Human, "hello"),
            said(11, "echo", AuthorKind::Bot, "Hello anna."),
            said(12, "other", AuthorKind::Bot, "beep"),
            said(13, "echo", AuthorKind::Human, "I only call myself so"),
        ];
        delivery
    }

    #[test]
    fn people_and_other_bots_stand_with_their_names_and_the_bot_as_assistant() {
        let json = serde_json::to_string(&Prompt::of(&delivery()).turns).unwrap();
        assert_eq!(
            json,
            concat!(
                r#"[{"role":"system","content":"You are brief."},{"role":"user","content":"anna: hello"},"#,
                r#"{"role":"assistant","content":"Hello anna."},{"role":"user","content":"other: beep"},"#,
                r#"{"role":"user","content":"echo: I only call myself so"},"#,
                r#"{"role":"user","content":"somebody: and \"now\"?\n☃"}]"#
            )
        );
    }

    #[test]
    fn the_hash_is_that_of_the_documented_bytes_and_never_changes() {
        let prompt = Prompt::of(&bench::delivery("hi", Profile { persona: String::new(), ..profile() }));
        // printf '%s' '[{"role":"user","content":"somebody: hi"}]' | sha256sum
        assert_eq!(prompt.sha256(), "126ddf6474f35c6d5960e9bd11d1de3c10477ab6a32489241bfe62166c63a2c2");
    }

    #[test]
    fn only_the_last_messages_that_fit_stand_in_the_prompt() {
        let mut delivery = delivery();
        let mut profile = profile();
        profile.context_messages = 2;
        delivery.bot = Arc::new(profile);
        let prompt = Prompt::of(&delivery);
        assert_eq!(prompt.context, delivery.context[2..].iter().map(|m| m.id).collect::<Vec<_>>());

        delivery.bot = Arc::new(self::profile());
        delivery.context[1] = said(11, "echo", AuthorKind::Bot, &"x".repeat(CONTEXT_BYTES_MAX));
        let prompt = Prompt::of(&delivery);
        assert_eq!(prompt.context, delivery.context[2..].iter().map(|m| m.id).collect::<Vec<_>>());
        assert_eq!(prompt.turns.len(), 1 + 2 + 1);
    }

    #[test]
    fn what_the_bot_thought_is_no_part_of_what_it_said() {
        let mut delivery = delivery();
        delivery.context = vec![said(11, "echo", AuthorKind::Bot, "<think>rude</think>Hello.<|im_end|>")];
        assert_eq!(&*Prompt::of(&delivery).turns[1].text, "Hello.");
    }

    #[test]
    fn what_was_redacted_never_reaches_a_model() {
        let mut delivery = delivery();
        Arc::make_mut(&mut delivery.context[0]).redacted = true;
        assert!(!Prompt::of(&delivery).turns.iter().any(|turn| &*turn.text == "hello"));
    }
}
