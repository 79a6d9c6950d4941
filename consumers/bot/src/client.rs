//! The process's one HTTP client, and what its errors mean for an answer.
//!
//! Promises: addresses of this machine are never asked through a proxy; redirects are not followed (a `POST` would
//! become a `GET`); nothing of a URL's password or of a key reaches an error; at most [`ERROR_BYTES_MAX`] of an error's
//! body and [`BODY_BYTES_MAX`] of any other are read.
//! Not here: total timeouts, which are the bot's clocks.

use std::{
    env,
    time::{Duration, SystemTime},
};

use antiphon_kit::body::{Body, TooLarge};
use reqwest::{Client, ClientBuilder, NoProxy, Proxy, Response, Url, redirect};
use serde_json::Value;
use tokio::time::{Instant, timeout, timeout_at};

use crate::{
    decode::Decoder,
    model::{Event, Events, ModelError, codes},
    unreachable,
    wait::wait_said,
};

/// A machine that is there takes a connection well within this.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// A connection whose other end was switched off is noticed although nothing is sent on it.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// More than enough for one error message.
const ERROR_BYTES_MAX: usize = 16 << 10;
/// More than any list of models: a router of thousands has some 500 KB.
const BODY_BYTES_MAX: usize = 4 << 20;
/// A server, or a proxy before it, that has too much to do, starts, or waits for what is behind it; 529 is Anthropic's.
const BUSY: [u16; 5] = [429, 502, 503, 504, 529];
/// How long to wait for the token counts and `[DONE]` after the finish reason; the answer itself is complete.
const COUNTS_WAIT: Duration = Duration::from_secs(1);
/// How long to wait for the end of the response after that, so that the connection can be used again.
const END_WAIT: Duration = Duration::from_millis(50);

/// The client for all models: one pool of connections, no total timeout. Make one per process and clone it.
///
/// `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` are heeded, except for this machine itself.
pub fn http_client() -> Client {
    // An error says that a provider is installed already, by another call or another part of the process.
    let _ = rustls::crypto::ring::default_provider().install_default();
    builder().build().unwrap_or_else(|error| {
        tracing::warn!(%error, "no certificates of authorities found: models are reached over http only");
        builder().tls_certs_only([]).build().expect("without certificates to load nothing can fail")
    })
}

fn builder() -> ClientBuilder {
    let mut builder = Client::builder()
        .connect_timeout(CONNECT_MAX)
        .tcp_nodelay(true)
        .tcp_keepalive(KEEPALIVE)
        .redirect(redirect::Policy::none())
        .user_agent(concat!("antiphon/", env!("CARGO_PKG_VERSION")))
        .no_proxy();
    let setting = |name: &str| env::var(name.to_lowercase()).or_else(|_| env::var(name)).ok().filter(|v| !v.is_empty());
    let direct = format!("localhost,127.0.0.0/8,::1,{}", setting("NO_PROXY").unwrap_or_default());
    type Make = fn(&str) -> reqwest::Result<Proxy>;
    let proxies: [(&str, Make); 3] = [
        ("HTTPS_PROXY", |url| Proxy::https(url)),
        ("HTTP_PROXY", |url| Proxy::http(url)),
        ("ALL_PROXY", |url| Proxy::all(url)),
    ];
    for (name, make) in proxies {
        match setting(name).map(|url| make(&url)) {
            Some(Ok(proxy)) => builder = builder.proxy(proxy.no_proxy(NoProxy::from_string(&direct))),
            Some(Err(_)) => tracing::warn!("`{name}` is not a proxy's address and is ignored"),
            None => {}
        }
    }
    builder
}

/// An address without user, password and query.
pub(crate) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    // Addresses that cannot have these have none to hide.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.as_str().trim_end_matches('/').into()
}

/// An address below `base`, whatever path that has.
pub(crate) fn below(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    // Only http and https are taken as bases (`spec`), and these have paths.
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(path.split('/'));
    }
    url
}

/// What it means that no answer came, or no more of it.
pub(crate) fn transport_error(error: &reqwest::Error, base: &Url) -> ModelError {
    let at = shown(base);
    if error.is_builder() {
        return ModelError::permanent(
            codes::REFUSED,
            format!("a request for {at} cannot be made; check the address and the key"),
        );
    }
    if error.is_connect() {
        return ModelError::away(codes::UNREACHABLE, unreachable::why(error, &at), None);
    }
    ModelError::retryable(codes::BROKE_OFF, format!("the connection to {at} broke off"))
}

/// What a status means that is not 200; `missing` says what to do about a 404.
pub(crate) async fn status_error(response: Response, base: &Url, missing: &str) -> ModelError {
    let (status, at) = (response.status(), shown(base));
    let heads = response.headers().clone();
    let body = read_some(response).await;
    let said = said_in(&body).unwrap_or_else(|| status.canonical_reason().unwrap_or("no words").into());
    let all = String::from_utf8_lossy(&body);
    let head = |name: &str| heads.get(name).and_then(|value| value.to_str().ok());
    // For a date in `Retry-After` of a server that does not say what time it is there.
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok().map(|now| now.as_secs());
    refusal(status.as_u16(), &at, &said, missing, &all, wait_said(head, &all, now))
}

/// What a status means, wherever it stands: of a response, or of an error that came in the stream before any word. `at`: who
/// says it, `said`: in which words, of `all`; `wait`: when to come back, if that is said.
pub(crate) fn refusal(
    status: u16,
    at: &str,
    said: &str,
    missing: &str,
    all: &str,
    wait: Option<Duration>,
) -> ModelError {
    let words = format!("{at} says {status}: {said}");
    match status {
        // Without the server's words: they may quote the key.
        401 | 403 => {
            let words =
                format!("{at} says {status}: the key is missing, wrong or not allowed to; check `OPENAI_API_KEY`");
            ModelError::permanent(codes::KEY, words)
        }
        404 => ModelError::permanent(codes::NOT_FOUND, format!("{missing} ({words})")),
        429 if all.contains("insufficient_quota") => ModelError::permanent(codes::KEY, words),
        _ if BUSY.contains(&status) => ModelError::away(codes::BUSY, words, wait).saying(all),
        408 => ModelError::retryable(codes::ERROR, words),
        500..600 => ModelError::retryable(codes::ERROR, words).saying(all),
        400..500 if died(all) => ModelError::retryable(codes::ERROR, words).saying(all),
        400..500 => ModelError::refused(words).saying(all),
        _ => ModelError::permanent(codes::PROTOCOL, format!("{words}; check the address")),
    }
}

/// Whether a server says that the model died or went, which LM Studio calls a bad request.
fn died(said: &str) -> bool {
    const SIGNS: [&str; 4] = ["model has crashed", "model is unloaded", "model unloaded", "operation canceled"];
    let said = said.to_lowercase();
    SIGNS.iter().any(|sign| said.contains(sign))
}

/// Reads an answer as it comes. Once the server has said why it ended, nothing that follows is waited for longer than
/// [`COUNTS_WAIT`] in all, whatever arrives meanwhile.
pub(crate) async fn read_answer(mut response: Response, base: &Url, events: &Events) -> Result<Event, ModelError> {
    let (mut decoder, mut arrived) = (Decoder::default(), Vec::new());
    let mut until: Option<Instant> = None;
    loop {
        let chunk = match until {
            None => response.chunk().await.map_err(|error| transport_error(&error, base))?,
            Some(until) => timeout_at(until, response.chunk()).await.unwrap_or(Ok(None)).unwrap_or(None),
        };
        let Some(chunk) = chunk else { break };
        let taken = decoder.push(&chunk, &mut arrived);
        for event in arrived.drain(..) {
            events.send(event).await;
        }
        match taken {
            Err(error) if until.is_none() => return Err(error),
            Err(_) => break,
            Ok(()) if decoder.done() => {
                let _ = timeout(END_WAIT, response.chunk()).await;
                break;
            }
            Ok(()) if decoder.ended() => _ = until.get_or_insert_with(|| Instant::now() + COUNTS_WAIT),
            Ok(()) => {}
        }
    }
    let end = decoder.end(&mut arrived);
    for event in arrived {
        events.send(event).await;
    }
    end
}

/// A whole body of at most [`BODY_BYTES_MAX`].
pub(crate) async fn read_all(mut response: Response, base: &Url) -> Result<Vec<u8>, ModelError> {
    let mut body = Body::at_most(BODY_BYTES_MAX);
    while let Some(chunk) = response.chunk().await.map_err(|error| transport_error(&error, base))? {
        body.push(&chunk).map_err(|TooLarge { max }| {
            let words =
                format!("{} sent more than {max} bytes where a short answer belongs; check the address", shown(base));
            ModelError::permanent(codes::PROTOCOL, words)
        })?;
    }
    Ok(body.into_bytes())
}

/// The beginning of a body; what was read so far if it breaks off.
pub(crate) async fn read_some(mut response: Response) -> Vec<u8> {
    let mut body = Vec::new();
    while body.len() < ERROR_BYTES_MAX
        && let Ok(Some(chunk)) = response.chunk().await
    {
        body.extend_from_slice(&chunk);
    }
    body.truncate(ERROR_BYTES_MAX);
    body
}

/// The words of an error's body, in any of the usual forms.
pub(crate) fn said_in(body: &[u8]) -> Option<String> {
    match serde_json::from_slice::<Value>(body) {
        Ok(json) => error_in(&json),
        Err(_) => Some(String::from_utf8_lossy(body).trim().to_owned()).filter(|text| !text.is_empty()),
    }
}

/// The words of an error object: `{"error":"…"}`, `{"error":{"message":"…"}}`, `{"message":"…"}`, `{"detail":"…"}`,
/// `{"errors":[…]}`.
pub(crate) fn error_in(json: &Value) -> Option<String> {
    let error = json.get("error").filter(|error| !error.is_null()).or_else(|| json.get("errors")?.get(0));
    let inner = error.and_then(|error| error.get("message")).or(error);
    let words = inner.or_else(|| json.get("message")).or_else(|| json.get("detail"))?;
    Some(words.as_str().map_or_else(|| words.to_string(), str::to_owned))
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    #[tokio::test]
    async fn a_body_without_end_is_given_up_with_a_sentence() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let endless = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1_024];
            // More of its head than this may come; nobody looks at it.
            assert_ne!(stream.read(&mut request).await.unwrap(), 0);
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
            while stream.write_all(&[b' '; 65_536]).await.is_ok() {}
        };
        let read = async { read_all(http_client().get(base.clone()).send().await.unwrap(), &base).await };
        let (read, ()) = tokio::join!(read, endless);
        let error = read.unwrap_err();
        assert_eq!(error.code, codes::PROTOCOL);
        assert!(error.words.contains("more than 4194304 bytes"), "{}", error.words);
    }

    #[test]
    fn an_address_is_shown_without_its_secrets() {
        let url = Url::parse("https://anna:secret@models.example:8443/v1/?key=secret").unwrap();
        assert_eq!(shown(&url), "https://models.example:8443/v1");
    }

    #[test]
    fn a_path_is_put_below_whatever_the_base_has() {
        for (base, expected) in [
            ("http://localhost:11434", "http://localhost:11434/api/chat"),
            ("http://localhost/models/", "http://localhost/models/api/chat"),
            ("http://localhost/models", "http://localhost/models/api/chat"),
        ] {
            assert_eq!(below(&Url::parse(base).unwrap(), "api/chat").as_str(), expected);
        }
    }

    #[test]
    fn the_words_of_an_error_are_found_in_all_usual_forms() {
        for body in [
            r#"{"error":"no memory"}"#,
            r#"{"error":{"message":"no memory","code":500}}"#,
            r#"{"object":"error","message":"no memory"}"#,
            r#"{"detail":"no memory"}"#,
            " no memory\n",
        ] {
            assert_eq!(said_in(body.as_bytes()).as_deref(), Some("no memory"), "{body}");
        }
        assert_eq!(said_in(b""), None);
        assert_eq!(said_in(br#"{"error":null}"#), None);
        assert_eq!(said_in(br#"{"error":{"code":7}}"#).as_deref(), Some(r#"{"code":7}"#));
    }

    #[test]
    fn a_client_can_be_made_more_than_once() {
        let _both = (http_client(), http_client());
    }
}
