//! Accepting connections: HTTP/1.1 with small buffers, no delay, bounded numbers and a clean end.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, body::Body};
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tower_service::Service;
use tracing::{debug, warn};

use super::Peer;

/// The smallest buffer that hyper takes: most connections are idle event streams.
const BUFFER_BYTES: usize = 8 * 1024;
/// Headers that take longer than this to arrive are given up; also bounds idle kept-alive connections.
const HEADERS_MAX: Duration = Duration::from_secs(60);
/// Connections beside those of subscribers.
const CONNECTIONS_EXTRA: usize = 4_096;
/// Pause when the system has no file descriptors left.
const AFTER_ACCEPT_FAILURE: Duration = Duration::from_millis(100);

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

/// Serves until `stop`: takes no new connections then. Requests under way may finish; from `drained` on within `grace`.
///
/// Streams to subscribers must be ended by whoever stops the server, before `drained`, or they use up the grace.
pub async fn serve(
    listening: Listening,
    router: Router,
    subscribers_max: usize,
    stop: CancellationToken,
    drained: CancellationToken,
    grace: Duration,
) {
    let places = Arc::new(Semaphore::new(subscribers_max + CONNECTIONS_EXTRA));
    let mut connections = JoinSet::new();
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
            Err(e) => {
                warn!(error = %e, "a connection could not be accepted");
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
    // Without it the second event of a stream waits for the first one's acknowledgement: 40 ms.
    stream.set_nodelay(true)?;
    Ok((stream, peer, place))
}

async fn connection(stream: TcpStream, peer: SocketAddr, router: Router, stop: CancellationToken) {
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Peer(peer));
        router.clone().call(request.map(Body::new))
    });
    let connection = http1::Builder::new()
        .max_buf_size(BUFFER_BYTES)
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), service);
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
