//! Why a request failed, in words that say what to do.
//!
//! Promise: every failure says whether a retry may help.

use std::fmt;

use antiphon_kit::body::Body;
use antiphon_schemas::wire::{Parked, Problem};
use reqwest::{Response, header::CONTENT_TYPE};

/// Characters shown of a response that is not from Antiphon.
const FOREIGN_CHARS_MAX: usize = 200;
/// Bytes read of an error response: ours have a few hundred.
const PROBLEM_BYTES_MAX: usize = 64 << 10;

/// Why a request failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Nobody listens there.
    Unreachable {
        /// The server.
        server: String,
        /// What the system says.
        why: String,
    },
    /// The connection broke before the response arrived: whether it took effect is unknown.
    Lost(String),
    /// The server rejected it.
    Refused(Box<Problem>),
    /// The server keeps it on its disk until its store is back: accepted, but not visible yet.
    Parked(Parked),
}

impl Failure {
    /// Whether a retry may help.
    pub(crate) fn retryable(&self) -> bool {
        match self {
            Failure::Unreachable { .. } | Failure::Lost(_) | Failure::Parked(_) => true,
            Failure::Refused(problem) => problem.status >= 500 || matches!(problem.status, 408 | 429),
        }
    }

    /// The code of the server's problem.
    pub(crate) fn code(&self) -> Option<&str> {
        match self {
            Failure::Refused(problem) => Some(&problem.code),
            _ => None,
        }
    }

    /// Whether the request certainly had no effect, so that another server may take it.
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
                "cannot connect to {server} ({why}). Is the server running? Start it with `antiphon`, or pass --server"
            ),
            Failure::Lost(why) => write!(f, "the connection to the server broke ({why})"),
            Failure::Refused(problem) => write!(f, "{} ({}, {})", problem.detail, problem.status, problem.code),
            Failure::Parked(parked) => {
                write!(
                    f,
                    "the server's store is unavailable; message {} is safe on the server's disk and will be delivered later",
                    parked.id
                )
            }
        }
    }
}

impl std::error::Error for Failure {}

/// The system's own message, without the errors wrapped around it.
pub(crate) fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// The problem in a response; built from its status and first characters if it is not from Antiphon.
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
                detail: format!("this is not an Antiphon server; it answered `{}`; check --server", text.trim()),
                expected: None,
                holder: None,
                ended: None,
            }
        }
    }
}
