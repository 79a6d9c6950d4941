//! Reading on after a refusal: a client that is still sending its body must be able to read why it was refused.
//!
//! A connection that is closed while bytes wait unread is reset, and the reset takes the answer with it, often before the
//! client has looked. So what a handler leaves of a body is read and thrown away beside the answer: at most
//! [`LINGER_BYTES_MAX`] within [`LINGER_MAX`], and then the connection is closed after all.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::{Body, Bytes},
    extract::Request,
    middleware::Next,
    response::Response,
};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;

/// Bytes of a refused body that are read: more than any client sends before it looks.
const LINGER_BYTES_MAX: usize = 64 << 20;
/// How long that may take.
const LINGER_MAX: Duration = Duration::from_secs(10);

/// Passes a request on, and reads what is left of its body beside the answer.
pub(super) async fn read_on(request: Request, next: Next) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let left = Arc::new(Mutex::new(None));
    let request = request.map(|body| Body::new(Kept { body: Some(body), left: left.clone() }));
    let response = next.run(request).await;
    if let Some(body) = left.lock().unwrap_or_else(PoisonError::into_inner).take() {
        tokio::spawn(tokio::time::timeout(LINGER_MAX, discard(body)));
    }
    response
}

async fn discard(mut body: Body) {
    let mut read = 0;
    while let Some(Ok(frame)) = body.frame().await {
        read += frame.data_ref().map_or(0, Bytes::len);
        if read > LINGER_BYTES_MAX {
            return;
        }
    }
}

/// A body that is kept when it is dropped before its end.
struct Kept {
    body: Option<Body>,
    left: Arc<Mutex<Option<Body>>>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        let body = self.body.take().filter(|body| !body.is_end_stream());
        *self.left.lock().unwrap_or_else(PoisonError::into_inner) = body;
    }
}

impl http_body::Body for Kept {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(|body| body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(SizeHint::default, |body| body.size_hint())
    }
}
