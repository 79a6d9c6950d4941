//! `antiphon tail`: follows a room.

use std::io::{self, IsTerminal, Write};

use antiphon_kit::sse::SseEvent;
use antiphon_schemas::RoomName;
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

use super::{
    DONE,
    client::{After, Client, Server},
    complain,
    feed::{Feed, News},
    foreign,
    screen::Screen,
};
use crate::client::shown;

const EXAMPLES: &str = "\
Examples:
  antiphon tail lobby                    the newest messages, then new ones as they arrive
  antiphon tail lobby --after 0          everything from the beginning
  antiphon tail lobby --json | jq .data  every event, one JSON object per line

Stop it with Ctrl-C. It reconnects by itself when the connection breaks, and misses nothing.";

/// Follow a room
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Tail {
    /// The room
    room: RoomName,
    /// Start after this position, which must be one returned by the server; 0 for the beginning [default: the newest messages]
    #[arg(long, value_name = "POSITION")]
    after: Option<String>,
    /// Print every event as one JSON object per line: event, id, data
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

impl Tail {
    pub(super) async fn run(self) -> anyhow::Result<u8> {
        let after = self.after.map_or(After::Newest, After::Asked);
        let connected = connected(&self.server, &self.room);
        let mut feed = Feed::new(Client::new(&self.server)?, self.room, after);
        let mut screen = Screen::new(!self.json && io::stdout().is_terminal());
        // One for the whole loop: a signal that comes while an event is being printed is not lost.
        let mut interrupt = signal(SignalKind::interrupt())?;
        loop {
            let news = tokio::select! {
                news = feed.next() => news?,
                _ = interrupt.recv() => {
                    print(screen.close_line())?;
                    return Ok(DONE);
                }
            };
            match news {
                News::Event(event) if self.json => print(&json_line(&event))?,
                News::Event(event) => {
                    print(&screen.event(&event.name, &event.data))?;
                    screen.complaint().iter().for_each(|why| complain(why));
                }
                News::Broken(why) => {
                    print(screen.close_line())?;
                    complain(&format!("{why}; reconnecting"));
                }
                // On stderr: a room without messages prints nothing, and one wants to know that it is followed.
                News::Connected => complain(&connected),
            }
        }
    }
}

fn connected(server: &Server, room: &RoomName) -> String {
    format!("connected to {}, following {room}; Ctrl-C to stop", shown(&server.server))
}

/// Empty for a heartbeat, which says nothing about the room.
fn json_line(event: &SseEvent) -> String {
    if event.name == "heartbeat" {
        return String::new();
    }
    let data: Value = serde_json::from_str(&event.data).unwrap_or_else(|_| Value::String(event.data.clone()));
    format!("{}\n", foreign::json(&json!({"event": event.name, "id": event.id, "data": data}).to_string()))
}

/// Writes and flushes; a closed pipe is an error that `cli` knows.
pub(super) fn print(text: &str) -> io::Result<()> {
    if text.is_empty() {
        return Ok(());
    }
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}
