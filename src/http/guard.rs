//! Keeps pages of other sites out: there are no tokens yet, so a browser must not be anybody's way in.
//!
//! - host: a server on loopback answers only to loopback names (a site that points its own name at 127.0.0.1 is
//!   refused), unless the operator said `--expose`;
//! - origin: a request that changes something must come from a page of this server, or from no page at all.

use std::net::IpAddr;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::{App, Peer, Problem};

pub(super) async fn check(State(app): State<App>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let host = headers.get(header::HOST).and_then(|h| h.to_str().ok()).unwrap_or("");
    if app.0.limits.loopback_names_only && !host.is_empty() && !is_loopback_name(host) {
        let detail = format!(
            "this server answers to loopback names only, not to `{host}`; start it with --expose to change that"
        );
        return Problem::new(StatusCode::FORBIDDEN, "foreign-host", detail).into_response();
    }
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if changes && let Some(origin) = headers.get(header::ORIGIN) {
        let origin = origin.to_str().ok().and_then(|o| o.split_once("://")).map(|(_, host)| host);
        if origin != Some(host) {
            let detail = "a page of another site may not do this; send the request from this server's own page, or without an `origin` header";
            return Problem::new(StatusCode::FORBIDDEN, "foreign-origin", detail).into_response();
        }
    }
    next.run(request).await
}

/// Headers by which proxies say that they pass a request on, beside `x-forwarded-…`.
const OF_PROXIES: [&str; 4] = ["via", "forwarded", "x-real-ip", "cf-connecting-ip"];

/// Whether the request comes from this machine itself, and not through a proxy on it: the peer is on loopback, no proxy
/// has left its mark, and the request was meant for this machine.
///
/// Known limit: a proxy on this machine that passes on neither a mark nor the name that it was called by (a bare
/// `proxy_pass` of nginx) cannot be told from a program of this machine; it has to be configured to say one of them.
pub(super) fn from_loopback(peer: Peer, headers: &HeaderMap) -> bool {
    let passed_on = |name: &str| OF_PROXIES.contains(&name) || name.starts_with("x-forwarded-");
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next().and_then(|host| host.to_str().ok());
    peer.0.ip().to_canonical().is_loopback()
        && !headers.keys().any(|name| passed_on(name.as_str()))
        && host.is_some_and(is_loopback_name)
        && hosts.next().is_none()
}

fn is_loopback_name(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || name.to_ascii_lowercase().ends_with(".localhost")
        || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn from_this_machine_is_only_what_no_proxy_passed_on_and_what_was_meant_for_it() {
        let check = |peer: &str, fields: &[(&'static str, &str)], expected: bool| {
            let mut headers = HeaderMap::new();
            fields.iter().for_each(|(name, value)| assert!(!headers.append(*name, value.parse().unwrap())));
            assert_eq!(from_loopback(Peer(peer.parse().unwrap()), &headers), expected, "{peer} {fields:?}");
        };
        let host = ("host", "127.0.0.1:8080");
        for peer in ["127.0.0.1:5", "127.9.9.9:5", "[::1]:5", "[::ffff:127.0.0.1]:5"] {
            check(peer, &[host], true);
        }
        for peer in ["10.0.0.1:5", "[2001:db8::1]:5", "[::ffff:10.0.0.1]:5", "0.0.0.0:5"] {
            check(peer, &[host], false);
        }
        let marks = [
            "via",
            "forwarded",
            "x-real-ip",
            "cf-connecting-ip",
            "x-forwarded-for",
            "x-forwarded-host",
            "x-forwarded-proto",
            "x-forwarded-whatever",
            "X-Forwarded-For",
        ];
        for mark in marks {
            let name = mark.to_ascii_lowercase();
            check("127.0.0.1:5", &[host, (name.leak(), "127.0.0.1")], false);
        }
        for name in ["localhost", "localhost:8080", "[::1]:8080", "a.localhost"] {
            check("127.0.0.1:5", &[("host", name)], true);
        }
        for name in ["chat.example", "chat.example:8080", "10.0.0.1", "localhost.example", ""] {
            check("127.0.0.1:5", &[("host", name)], false);
        }
        check("127.0.0.1:5", &[], false);
        check("127.0.0.1:5", &[host, ("host", "chat.example")], false);
        check("127.0.0.1:5", &[host, ("user-agent", "curl"), ("x-forward", "no proxy says this")], true);
    }

    #[test]
    fn only_loopback_names_are_loopback() {
        for good in ["localhost", "LOCALHOST:8080", "127.0.0.1:1", "127.8.9.1", "[::1]:8080", "[::1]", "a.localhost:80"]
        {
            assert!(is_loopback_name(good), "{good}");
        }
        for bad in
            ["evil.example", "evil.example:8080", "10.0.0.1", "localhost.evil.example", "[2001:db8::1]:80", "0.0.0.0"]
        {
            assert!(!is_loopback_name(bad), "{bad}");
        }
    }
}
