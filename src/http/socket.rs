//! One connection's socket: hyper reads and writes it, and others can wait until the peer has stopped sending.
//!
//! A client may close its side right after its request and still read the answer (`nc`, HTTP/1.0 scripts, some proxies). hyper
//! either takes that for an end and drops the request under way, or never looks while a request is under way. So its
//! check is off (`half_close`), and [`Socket::peer_stopped`] watches instead: a stream of events ends then, a request has [`FINISH_MAX`].
//!
//! Not here: what a connection serves (`listen`).

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::body::{Body, Bytes};
use http_body::{Frame, SizeHint};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::Notify,
};

/// How long a request may go on whose client has stopped sending: it may still read the answer, or be gone.
pub(super) const FINISH_MAX: Duration = Duration::from_secs(1);

/// See the module header. Clones are the same socket.
#[derive(Debug, Clone)]
pub(super) struct Socket(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    stream: TcpStream,
    /// Something was read: what comes after it can be seen now.
    read: Notify,
}

impl Socket {
    pub(super) fn new(stream: TcpStream) -> Socket {
        Socket(Arc::new(Shared { stream, read: Notify::new() }))
    }

    /// Resolves when the peer has closed its side or reset the connection and everything before that is read.
    pub(super) async fn peer_stopped(&self) {
        loop {
            // Made before the look, so that no read in between is missed.
            let read = self.0.read.notified();
            match self.0.stream.peek(&mut [0]).await {
                Ok(0) | Err(_) => return,
                // A body that is not read yet, or the next request.
                Ok(_) => read.await,
            }
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.0.stream.poll_read_ready(cx))?;
            match self.0.stream.try_read(buffer.initialize_unfilled()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
                Ok(read) => {
                    buffer.advance(read);
                    self.0.read.notify_waiters();
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.stream.poll_write_ready(cx))?;
            match self.0.stream.try_write_vectored(parts) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = rustix::net::shutdown(&self.0.stream, rustix::net::Shutdown::Write);
        // Gone already: there is nothing to shut.
        Poll::Ready(shut.or_else(|errno| if errno == rustix::io::Errno::NOTCONN { Ok(()) } else { Err(errno.into()) }))
    }
}

/// A stream of events that ends when its reader has stopped sending.
pub(super) struct UntilPeerStops {
    body: Body,
    stopped: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl UntilPeerStops {
    pub(super) fn new(body: Body, socket: Socket) -> UntilPeerStops {
        UntilPeerStops { body, stopped: Box::pin(async move { socket.peer_stopped().await }) }
    }
}

impl http_body::Body for UntilPeerStops {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Pending => self.stopped.as_mut().poll(cx).map(|()| None),
            frame => frame,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
