//! Why a request did not do what it should, in words that say what to do.
//!
//! Promise: whether the same again may help is known of every failure.

use std::fmt;

use antiphon_kit::body::Body;
use antiphon_schemas::wire::{Parked, Problem};
use reqwest::{Response, header::CONTENT_TYPE};

/// Characters of an answer that is not ours which are shown.
const FOREIGN_CHARS_MAX: usize = 200;
/// Bytes of an answer that are looked at: ours are some hundred.
const PROBLEM_BYTES_MAX: usize = 64 << 10;

/// Why a request did not do what it should.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Nobody listens there.
    Unreachable {
        /// The server.
        server: String,
        /// What the system says.
        why: String,
    },
    /// The connection broke before the answer was there: done or not, nobody knows.
    Lost(String),
    /// The server said no.
    Refused(Box<Problem>),
    /// The server keeps it on its disk until its store is back: done, but not to be seen yet.
    Parked(Parked),
}

impl Failure {
    /// Whether the same again may help.
    pub(crate) fn retryable(&self) -> bool {
        match self {
            Failure::Unreachable { .. } | Failure::Lost(_) | Failure::Parked(_) => true,
            Failure::Refused(problem) => problem.status >= 500 || matches!(problem.status, 408 | 429),
        }
    }

    /// The code of the server's refusal.
    pub(crate) fn code(&self) -> Option<&str> {
        match self {
            Failure::Refused(problem) => Some(&problem.code),
            _ => None,
        }
    }

    /// Whether it is certain that nothing was done, and another server may do it.
    pub(crate) fn untaken(&self) -> bool {
        match self {
            Failure::Unreachable { .. } => true,
            Failure::Refused(problem) => problem.status == 503,
            _ => false,
        }
    }

    /// Whether the next call had better go to another server.
    pub(super) fn elsewhere(&self) -> bool {
        self.untaken() || matches!(self, Failure::Lost(_))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Unreachable { server, why } => write!(
                f,
                "nobody answers at {server} ({why}); start the server with `antiphon serve`, or name it with --server"
            ),
            Failure::Lost(why) => write!(f, "the connection to the server broke ({why})"),
            Failure::Refused(problem) => write!(f, "{} ({}, {})", problem.detail, problem.status, problem.code),
            Failure::Parked(parked) => {
                write!(
                    f,
                    "the server's store is away; message {} waits on the server's disk and is not lost",
                    parked.id
                )
            }
        }
    }
}

impl std::error::Error for Failure {}

/// What the system said, without the sentences wrapped around it.
pub(crate) fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// The problem in an answer; made up of its status and beginning if it is not one of ours.
pub(super) async fn problem(mut response: Response) -> Problem {
    let status = response.status();
    let foreign =
        !response.headers().get(CONTENT_TYPE).is_some_and(|t| t.as_bytes().starts_with(b"application/problem+json"));
    let mut body = Body::at_most(PROBLEM_BYTES_MAX);
    while let Ok(Some(chunk)) = response.chunk().await
        && body.push(&chunk).is_ok()
    {}
    let bytes = body.into_bytes();
    match serde_json::from_slice(&bytes) {
        Ok(problem) if !foreign => problem,
        _ => {
            let text: String = String::from_utf8_lossy(&bytes).chars().take(FOREIGN_CHARS_MAX).collect();
            Problem {
                kind: "about:blank".into(),
                title: status.canonical_reason().unwrap_or_default().into(),
                status: status.as_u16(),
                code: "not-antiphon".into(),
                detail: format!("the answer is not one of antiphon's: `{}`; is --server right?", text.trim()),
                expected: None,
                holder: None,
                ended: None,
            }
        }
    }
}
