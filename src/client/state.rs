//! A server's folded state, for comparison. The server discloses it only to its own machine.

use antiphon_schemas::{
    MessageId, RoomName,
    wire::state::{StateIndex, StateKept, StateRoom, StateRooms},
};
use reqwest::StatusCode;

use super::{ANSWER_MAX, Client, Failure};

/// The longest answer: a million open messages are some 300 MB, and so is a room with its largest recent view.
const STATE_BYTES_MAX: usize = 1 << 30;

impl Client {
    /// Open messages, keys and counts, as they are now.
    pub(crate) async fn state_kept(&self) -> Result<StateKept, Failure> {
        let response = self.send(&["api", "state", "kept"], |http, url| http.get(url).timeout(ANSWER_MAX)).await?;
        self.json_within(response, STATE_BYTES_MAX).await
    }

    /// The same, from the snapshot on its disk.
    pub(crate) async fn state_snapshot(&self) -> Result<Option<StateKept>, Failure> {
        let response = self.send(&["api", "state", "snapshot"], |http, url| http.get(url).timeout(ANSWER_MAX)).await?;
        if response.status() == StatusCode::NO_CONTENT {
            return Ok(None);
        }
        self.json_within(response, STATE_BYTES_MAX).await.map(Some)
    }

    /// The rooms in its memory.
    pub(crate) async fn state_rooms(&self) -> Result<StateRooms, Failure> {
        let response = self.send(&["api", "state", "rooms"], |http, url| http.get(url).timeout(ANSWER_MAX)).await?;
        self.json_within(response, STATE_BYTES_MAX).await
    }

    /// The recent view of a room.
    pub(crate) async fn state_room(&self, room: &RoomName) -> Result<StateRoom, Failure> {
        let path = ["api", "state", "rooms", room.as_str()];
        let response = self.send(&path, |http, url| http.get(url).timeout(ANSWER_MAX)).await?;
        self.json_within(response, STATE_BYTES_MAX).await
    }

    /// Records of its index.
    pub(crate) async fn state_index(&self, after: Option<MessageId>) -> Result<StateIndex, Failure> {
        let ask = |http: &reqwest::Client, mut url: reqwest::Url| {
            if let Some(after) = after {
                url.query_pairs_mut().append_pair("after", &after.to_string());
            }
            http.get(url).timeout(ANSWER_MAX)
        };
        let response = self.send(&["api", "state", "index"], ask).await?;
        self.json_within(response, STATE_BYTES_MAX).await
    }
}
