//! An open event stream: its events in order, and why it ended.
//!
//! Promise: a stream that is silent for [`SILENCE_MAX`] counts as dead, whatever the system says.
//! Not here: reconnecting, what events mean.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use antiphon_kit::sse::{SseEvent, SseReader};
use reqwest::Response;

use super::failure::innermost;

/// Three heartbeats: a stream that is silent for longer is dead.
const SILENCE_MAX: Duration = Duration::from_secs(45);

/// An open stream.
#[derive(Debug)]
pub(crate) struct Stream {
    response: Response,
    reader: SseReader,
    ready: VecDeque<SseEvent>,
    over: Option<String>,
    since: Instant,
}

impl Stream {
    pub(super) fn new(response: Response) -> Stream {
        let (reader, ready) = (SseReader::new(), VecDeque::new());
        Stream { response, reader, ready, over: None, since: Instant::now() }
    }

    /// The next event. Cancel-safe.
    ///
    /// # Errors
    /// Why the stream is over.
    pub(crate) async fn next(&mut self) -> Result<SseEvent, String> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(event);
            }
            if let Some(why) = &self.over {
                return Err(why.clone());
            }
            let mut events = Vec::new();
            self.over = match tokio::time::timeout(SILENCE_MAX, self.response.chunk()).await {
                Ok(Ok(Some(bytes))) => {
                    self.reader.push(&bytes, &mut events);
                    None
                }
                Ok(Ok(None)) => Some("the server ended the stream".to_owned()),
                Ok(Err(error)) => Some(innermost(&error)),
                Err(_elapsed) => Some("no heartbeat".to_owned()),
            };
            self.ready.extend(events);
        }
    }

    /// How long it has been open.
    pub(crate) fn age(&self) -> Duration {
        self.since.elapsed()
    }
}
