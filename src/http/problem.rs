//! Errors as RFC 9457 problems: the only mapping from errors to status, code and sentence.

use antiphon_schemas::wire::{self, Status, work::Holder};
use axum::{
    body::Body,
    http::{HeaderValue, Response, StatusCode, header},
    response::IntoResponse,
};

use crate::{decide::Refusal, log, node::Error};

/// An error response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: String,
    expected: Option<u32>,
    holder: Option<Holder>,
    ended: Option<Status>,
}

impl Problem {
    /// A problem with a stable kebab code and a sentence on what to do.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Problem {
        Problem { status, code, detail: detail.into(), expected: None, holder: None, ended: None }
    }

    /// The index of the delta that is wanted.
    pub fn expecting(self, index: u32) -> Problem {
        Problem { expected: Some(index), ..self }
    }

    /// Who holds the message now.
    pub fn held_by(self, holder: Holder) -> Problem {
        Problem { holder: Some(holder), ..self }
    }

    /// How the message ended.
    pub fn after_end(self, status: Status) -> Problem {
        Problem { ended: Some(status), ..self }
    }

    /// A 400.
    pub fn bad(code: &'static str, detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, code, detail)
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Problem {
        use StatusCode as S;
        let (status, code) = match &refusal {
            Refusal::IdTaken(_) => (S::CONFLICT, "id-taken"),
            Refusal::OneBotOnly => (S::BAD_REQUEST, "one-bot-only"),
            Refusal::UnknownBot { .. } | Refusal::NoSuchBot { .. } => (S::BAD_REQUEST, "unknown-bot"),
            Refusal::QueueFull { .. } => (S::SERVICE_UNAVAILABLE, "queue-full"),
            Refusal::ReplyToElsewhere => (S::BAD_REQUEST, "reply-to-elsewhere"),
            Refusal::NoSuchMessage(_) => (S::NOT_FOUND, "no-such-message"),
            Refusal::AlreadyEnded(_) => (S::CONFLICT, "already-ended"),
            Refusal::NotFailed(_) => (S::CONFLICT, "not-failed"),
            Refusal::Redacted => (S::CONFLICT, "redacted"),
            Refusal::TooManyKeys => (S::CONFLICT, "too-many-keys"),
            Refusal::NoSuchKey(_) => (S::NOT_FOUND, "no-such-key"),
            Refusal::StaleFence { .. } | Refusal::ClaimOver => (S::CONFLICT, "stale-fence"),
            Refusal::KeyUsed => (S::CONFLICT, "claim-over"),
        };
        Problem::new(status, code, refusal.to_string())
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Problem {
        use StatusCode as S;
        let detail = error.to_string();
        let (status, code) = match error {
            Error::Refused(refusal) => return refusal.into(),
            Error::Log(log::Error::Invalid(_)) => (S::INTERNAL_SERVER_ERROR, "log-invalid"),
            Error::Log(log::Error::Trimmed { .. }) => (S::GONE, "log-trimmed"),
            Error::Log(failure) => (S::SERVICE_UNAVAILABLE, failure.code()),
            Error::Busy => (S::SERVICE_UNAVAILABLE, "busy"),
            Error::Index(_) => (S::SERVICE_UNAVAILABLE, "index-failed"),
            Error::Behind => (S::SERVICE_UNAVAILABLE, "behind"),
            Error::Stopping => (S::SERVICE_UNAVAILABLE, "stopping"),
            Error::DeltaGap { .. } => (S::CONFLICT, "delta-gap"),
            Error::ReplyTooLong => (S::PAYLOAD_TOO_LARGE, "reply-too-long"),
            Error::TextMismatch => (S::CONFLICT, "text-mismatch"),
        };
        Problem::new(status, code, detail)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response<Body> {
        let mut detail = self.detail;
        if let Some(first) = detail.get(..1) {
            detail = first.to_uppercase() + &detail[1..];
        }
        if !detail.ends_with('.') {
            detail.push('.');
        }
        let body = wire::Problem {
            kind: "about:blank".into(),
            title: self.status.canonical_reason().unwrap_or("Error").into(),
            status: self.status.as_u16(),
            code: self.code.into(),
            detail,
            expected: self.expected,
            holder: self.holder,
            ended: self.ended,
        };
        let mut response = Response::new(Body::from(serde_json::to_vec(&body).unwrap_or_default()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// 404 for a path that is not in the table.
pub(super) fn no_such_path(path: &str) -> Problem {
    let detail = format!("there is nothing at {path}; GET /openapi.json lists all paths");
    Problem::new(StatusCode::NOT_FOUND, "no-such-path", detail)
}

/// 405; the `allow` header, which names the methods, is set by the router.
pub(super) async fn method_not_allowed() -> Problem {
    let detail = "this path does not support that method; the `allow` header lists those it does";
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", detail)
}
