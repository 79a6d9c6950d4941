//! What a fake model server does for a request, step by step.

use std::time::Duration;

use serde_json::Value;

/// One step of a response.
#[derive(Debug, Clone)]
pub enum Step {
    /// A whole response of this status and JSON body; nothing follows.
    Status(u16, Value),
    /// The same with header lines and any body.
    Whole(u16, Vec<(String, String)>, Vec<u8>),
    /// The head of a stream.
    Head,
    /// Words of the answer.
    Text(String),
    /// Words of a thought.
    Thought(String),
    /// The end: reason, token counts, and what the dialect says last.
    Finish(String),
    /// Content as it is: a list of parts, a number, an object.
    Content(Value),
    /// A JSON value as an event or a line of its own.
    Event(Value),
    /// An answer in one object, where a stream was asked for; nothing follows.
    OneObject(String),
    /// `[DONE]` or `done: true`, without a reason.
    Done,
    /// An error in the middle of the stream.
    Error(String),
    /// Bytes as they are.
    Raw(Vec<u8>),
    /// From here on every byte is written by itself.
    ByteByByte,
    /// A pause.
    Wait(Duration),
    /// Nothing more until the client goes away.
    Hang,
    /// The end of the response as HTTP wants it, whatever was said. Implied at the end of the steps.
    End,
    /// The connection is cut.
    Cut,
}

impl Step {
    /// A stream that says `pieces` and ends well.
    pub fn answer(pieces: &[&str]) -> Vec<Step> {
        let mut steps = vec![Step::Head];
        steps.extend(pieces.iter().map(|piece| Step::Text((*piece).into())));
        steps.push(Step::Finish("stop".into()));
        steps
    }
}
