//! A handler that panics: its request is answered with a problem, and the connection stays open.
//!
//! Not here: panics while a body is being sent, which cut that connection; tasks of the server (`tasks`).

use std::panic::AssertUnwindSafe;

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use futures_util::FutureExt;
use tracing::error;

use super::Problem;
use crate::tasks::message;

/// What a handler answers, or the problem `internal` if it panics. What it had changed by then stays changed.
pub(super) async fn caught(method: &str, route: &str, answer: impl Future<Output = Response>) -> Response {
    match AssertUnwindSafe(answer).catch_unwind().await {
        Ok(response) => response,
        Err(panic) => {
            error!(method, route, "a handler panicked: {}", message(&*panic));
            let detail = "the server failed at this request, which may have been carried out; look whether it was, \
                          then try again; its log has the cause, please report it";
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use antiphon_schemas::wire;
    use axum::{Router, routing::get};
    use tokio::{
        io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
        net::TcpStream,
    };
    use tokio_util::sync::CancellationToken;

    use super::super::{App, Listening, auth::tests::app, layered, serve};

    /// Asks on a connection that is open already; status line and body.
    async fn ask(connection: &mut BufReader<TcpStream>, path: &str) -> (String, Vec<u8>) {
        let request = format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n");
        connection.write_all(request.as_bytes()).await.unwrap();
        let (mut status, mut length) = (String::new(), 0);
        connection.read_line(&mut status).await.unwrap();
        loop {
            let mut line = String::new();
            connection.read_line(&mut line).await.unwrap();
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        connection.read_exact(&mut body).await.unwrap();
        (status, body)
    }

    #[tokio::test]
    async fn a_panicking_handler_is_answered_with_a_problem_and_its_connection_lives() {
        let panics = || async {
            assert_eq!(1, 2, "on purpose");
        };
        let routes = Router::<App>::new().route("/panics", get(panics)).route("/fine", get(|| async { "fine" }));
        let listening = Listening::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listening.address;
        let stop = CancellationToken::new();
        let serving =
            serve(listening, layered(routes, app().await), 64, stop.clone(), stop.clone(), Default::default());
        let serving = tokio::spawn(serving);
        let mut connection = BufReader::new(TcpStream::connect(address).await.unwrap());
        let (status, body) = ask(&mut connection, "/panics").await;
        assert!(status.starts_with("HTTP/1.1 500 "), "{status}");
        let problem: wire::Problem = serde_json::from_slice(&body).unwrap();
        assert_eq!((problem.code.as_str(), problem.detail.contains("try again")), ("internal", true));
        let (status, body) = ask(&mut connection, "/fine").await;
        assert!(status.starts_with("HTTP/1.1 200 ") && body == b"fine", "{status}");
        stop.cancel();
        drop(connection);
        serving.await.unwrap();
    }
}
