//! `antiphon post`: posts a message, and prints the answer as it is written.

use std::{
    io::{self, IsTerminal, Read},
    time::Duration,
};

use antiphon_schemas::{
    BotName, MessageId, RoomName,
    wire::{PostAuthor, PostMessage, Posted, Status},
};
use anyhow::{Context, bail};
use uuid::Uuid;

use super::{
    DONE, FAILED,
    answer::Answer,
    client::{After, Backoff, Client, Failure, Server},
    complain,
    feed::{Feed, News},
    foreign,
    tail::print,
    told,
};

/// Tries of a post whose answer was lost, or that met a busy server.
const TRIES_MAX: u32 = 5;
const WAIT_FIRST: Duration = Duration::from_millis(100);
const WAIT_MAX: Duration = Duration::from_secs(2);

const EXAMPLES: &str = "\
Examples:
  antiphon post lobby 'Hello there'                  post it and print the message's id
  antiphon post lobby 'Who are you?' --wait          print the answer as it is written
  git log -1 | antiphon post builds - --name ci --no-answer
                                                     read the text from stdin, ask no bot

With --wait, stdout gets only the answer; exit code 1 means that there is none.";

/// Post a message in a room
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Post {
    /// The room
    room: RoomName,
    /// The message; `-` reads it from stdin
    text: String,
    /// Author's name [default: the user's name]
    #[arg(long)]
    name: Option<String>,
    /// Bot to ask [default: the bot that the text names, else the first bot configured for the room]
    #[arg(long, value_name = "BOT")]
    to: Option<BotName>,
    /// Ask no bot for an answer
    #[arg(long, conflicts_with_all = ["to", "wait", "priority"])]
    no_answer: bool,
    /// Priority of the answer, 0-9, higher first [default: 5]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=9))]
    priority: Option<u8>,
    /// The message that this one replies to
    #[arg(long, value_name = "ID")]
    reply_to: Option<MessageId>,
    /// Print the answer as it is written; exit code 1 if there is none
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    server: Server,
}

impl Post {
    pub(super) async fn run(self) -> anyhow::Result<u8> {
        let mut text = self.text;
        if text == "-" {
            text.clear();
            io::stdin().read_to_string(&mut text).context("cannot read the text from stdin")?;
            text.truncate(text.trim_end_matches(['\n', '\r']).len());
        }
        let name = self.name.or_else(|| std::env::var("USER").ok()).filter(|n| !n.is_empty());
        let message = PostMessage {
            text,
            author: PostAuthor { name: name.unwrap_or_else(|| "somebody".into()), color: None, kind: None },
            id: Some(MessageId(Uuid::now_v7())),
            to: recipients(self.to, self.no_answer),
            priority: self.priority,
            reply_to: self.reply_to,
            said_at: None,
        };
        let client = Client::new(&self.server)?;
        let posted = match post(&client, &self.room, &message, self.wait).await {
            Err(parked @ Failure::Parked(_)) => {
                complain(&parked.to_string());
                print(&message.id.map(|id| format!("{id}\n")).unwrap_or_default())?;
                return Ok(DONE);
            }
            posted => posted?,
        };
        if !self.wait {
            print(&format!("{}\n", posted.id))?;
            return Ok(DONE);
        }
        match wait(&client, &self.room, &posted).await {
            Ok(()) => Ok(DONE),
            Err(error) if error.is::<io::Error>() => Err(error),
            Err(error) => {
                complain(&told(&error));
                Ok(FAILED)
            }
        }
    }
}

/// `to` of the post: nobody, this bot, or what the room's rule says.
fn recipients(to: Option<BotName>, no_answer: bool) -> Option<Vec<String>> {
    if no_answer { Some(Vec::new()) } else { to.map(|bot| vec![bot.to_string()]) }
}

/// Posts, again if the response was lost: the id makes that harmless. With `wait`, asks for a post that the server keeps
/// until its store is back, until it is in the log.
async fn post(client: &Client, room: &RoomName, message: &PostMessage, wait: bool) -> Result<Posted, Failure> {
    let mut backoff = Backoff::new(WAIT_FIRST, WAIT_MAX);
    let (mut tries, mut told) = (1, false);
    while tries < TRIES_MAX {
        match client.post(room, message).await {
            Err(parked @ Failure::Parked(_)) if wait => {
                if !std::mem::replace(&mut told, true) {
                    complain(&format!("{parked}; waiting"));
                }
                tokio::time::sleep(backoff.wait()).await;
                continue;
            }
            Err(failure @ (Failure::Lost(_) | Failure::Refused(_))) if failure.retryable() => {
                tokio::time::sleep(backoff.wait()).await;
                tries += 1;
            }
            result => return result.map(|(posted, _)| posted),
        }
    }
    client.post(room, message).await.map(|(posted, _)| posted)
}

/// Prints the answer as it is written. Starts at the post's own position, so nothing of it is missed.
async fn wait(client: &Client, room: &RoomName, posted: &Posted) -> anyhow::Result<()> {
    match client.message(posted.id).await {
        Ok(message) if message.status == Status::None => {
            bail!("no bot answers in {room} by itself; name one with --to")
        }
        // Otherwise the stream tells.
        _ => {}
    }
    let mut feed = Feed::new(client.clone(), room.clone(), After::Asked(posted.position.0.to_string())).patient();
    let mut answer = Answer::new(posted.id);
    let on_terminal = io::stdout().is_terminal();
    loop {
        match feed.next().await? {
            News::Connected => {}
            News::Broken(why) => complain(&format!("{why}; reconnecting")),
            News::Event(event) => {
                let step = answer.event(&event.name, &event.data);
                if let Some(note) = &step.note {
                    complain(note);
                }
                print(&if on_terminal { foreign::lines(&step.text) } else { foreign::piece(&step.text) })?;
                match step.end {
                    Some(Ok(())) => return Ok(()),
                    Some(Err(why)) => bail!(why),
                    None => {}
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::fake::{self, Fake};

    #[test]
    fn without_an_answer_nobody_is_asked() {
        let bot = BotName::new("helper").unwrap();
        assert_eq!(recipients(None, true), Some(vec![]));
        assert_eq!(recipients(Some(bot), false), Some(vec!["helper".into()]));
        assert_eq!(recipients(None, false), None);
    }

    #[tokio::test]
    async fn a_post_whose_answer_was_lost_is_sent_again_under_the_same_id() {
        let fake = Fake::start(|request, n| match n {
            0 => fake::Answer::Cut,
            1 => fake::Answer::problem(503, "busy"),
            _ => {
                let (id, at) = (request.json()["id"].clone(), "2026-11-22T08:27:00.125Z");
                fake::Answer::json(
                    201,
                    json!({"id": id, "room": "r", "position": "0000000000000001-00-0000000000000002", "at": at}),
                )
            }
        })
        .await;
        let author = PostAuthor { name: "n".into(), color: None, kind: None };
        let id = Some(MessageId(Uuid::now_v7()));
        let message =
            PostMessage { text: "t".into(), author, id, to: None, priority: None, reply_to: None, said_at: None };
        let posted = post(&fake.client(), &RoomName::new("r").unwrap(), &message, false).await.unwrap();
        assert_eq!(Some(posted.id), id);
        let ids: Vec<_> = fake.requests().iter().map(|r| r.json()["id"].clone()).collect();
        assert_eq!(ids, vec![json!(posted.id.to_string()); 3]);
    }
}
