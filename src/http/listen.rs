//! Accepting connections: HTTP/1.1 with buffers that grow on demand, no delay, bounded numbers and a clean end.

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{Router, body::Body};
use hyper::{Request, body::Incoming, header::CONTENT_TYPE, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tower_service::Service;
use tracing::{debug, warn};

use super::{
    Peer,
    socket::{FINISH_MAX, Socket, UntilPeerStops},
    work,
};

/// The longest head of a request; longer ones get 431. Browsers send each app on `localhost` the cookies of all others,
/// which are tens of KiB before long. hyper begins with 8 KiB and reserves more only while a head or body asks for it, so
/// idle connections, most of them event streams, cost no more than with a lower bound.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Headers that take longer than this to arrive are given up; also bounds idle kept-alive connections.
const HEADERS_MAX: Duration = Duration::from_secs(60);
/// Pause when the system cannot give us a connection, as when it has no file descriptors left.
const AFTER_ACCEPT_FAILURE: Duration = Duration::from_millis(100);
/// How often that is logged while it lasts.
const ACCEPT_FAILURE_TOLD_EVERY: Duration = Duration::from_secs(60);

/// A server that listens.
pub struct Listening {
    /// The address, with the port that the system chose.
    pub address: SocketAddr,
    listener: TcpListener,
}

impl Listening {
    /// Binds an address.
    ///
    /// # Errors
    /// What the system says, e.g. that the port is taken.
    pub async fn bind(address: SocketAddr) -> io::Result<Listening> {
        let listener = TcpListener::bind(address).await?;
        Ok(Listening { address: listener.local_addr()?, listener })
    }
}

/// Serves at most `connections_max` connections at once until `stop`, then accepts no new ones. Requests under way may finish;
/// from `drained` on within `grace`.
///
/// End the subscribers' streams before `drained`, or they use up the grace.
pub async fn serve(
    listening: Listening,
    router: Router,
    connections_max: usize,
    stop: CancellationToken,
    drained: CancellationToken,
    grace: Duration,
) {
    let places = Arc::new(Semaphore::new(connections_max));
    let mut connections = JoinSet::new();
    let mut told: Option<Instant> = None;
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listening.listener, &places) => accepted,
        };
        match accepted {
            Ok((stream, peer, place)) => {
                let (router, stop) = (router.clone(), stop.clone());
                connections.spawn(async move {
                    connection(stream, peer, router, stop).await;
                    drop(place);
                });
            }
            Err(e) if is_of_peer(&e) => debug!(error = %e, "a peer went away before it was accepted"),
            Err(e) => {
                if told.is_none_or(|at| at.elapsed() >= ACCEPT_FAILURE_TOLD_EVERY) {
                    told = Some(Instant::now());
                    warn!(error = %e, "connections cannot be accepted for now");
                }
                tokio::time::sleep(AFTER_ACCEPT_FAILURE).await;
            }
        }
    }
    drop(listening);
    let finished = async { while connections.join_next().await.is_some() {} };
    tokio::select! {
        () = finished => {}
        () = async { drained.cancelled().await; tokio::time::sleep(grace).await } => {
            debug!("some connections did not end in time");
        }
    }
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    // Without it the second event of a stream waits for the first one's acknowledgement: 40 ms. It fails when the peer is
    // gone already, which the connection finds out by itself.
    if let Err(e) = stream.set_nodelay(true) {
        debug!(%peer, error = %e, "no TCP_NODELAY");
    }
    Ok((stream, peer, place))
}

/// Whether accepting failed because of the connection that would have been accepted: the next one may be fine.
fn is_of_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

async fn connection(stream: TcpStream, peer: SocketAddr, router: Router, stop: CancellationToken) {
    let socket = Socket::new(stream);
    let io = TokioIo::new(socket.clone());
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Peer(peer));
        let finish = if waits_for_work(request.uri().path()) { Duration::ZERO } else { FINISH_MAX };
        let answer = router.clone().call(request.map(Body::new));
        let socket = socket.clone();
        async move {
            let response = tokio::select! {
                biased;
                answer = answer => answer.unwrap_or_else(|never| match never {}),
                () = stopped(&socket, finish) => {
                    return Err(io::Error::from(io::ErrorKind::ConnectionAborted));
                }
            };
            let is_stream = response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == "text/event-stream");
            Ok(if is_stream { response.map(|body| Body::new(UntilPeerStops::new(body, socket))) } else { response })
        }
    });
    let connection = http1::Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_MAX)
        .half_close(true)
        .serve_connection(io, service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(e) = ended {
        debug!(%peer, error = %e, "the connection ended early");
    }
}

/// Resolves `finish` after the client has stopped sending; without a timer's tick if that is at once, because the next message
/// may be there by then.
async fn stopped(socket: &Socket, finish: Duration) {
    socket.peer_stopped().await;
    if !finish.is_zero() {
        tokio::time::sleep(finish).await;
    }
}

/// Whether a request waits until there is work: handed to a client that is gone, a message would wait for the end of its lease.
fn waits_for_work(path: &str) -> bool {
    path == work::CLAIM
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_system_lacks_holds_up_the_next_connection() {
        // As Linux gives them: ECONNABORTED, ECONNRESET, ECONNREFUSED; EMFILE, ENFILE, ENOBUFS, ENOMEM.
        for (code, of_peer) in
            [(103, true), (104, true), (111, true), (24, false), (23, false), (105, false), (12, false)]
        {
            assert_eq!(is_of_peer(&io::Error::from_raw_os_error(code)), of_peer, "{code}");
        }
    }
}
