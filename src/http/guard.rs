//! Rejects requests from other sites' pages, because rooms have no tokens and a browser must not become a way in; and
//! distinguishes requests from this machine from others.
//!
//! - host: the server accepts loopback names, those of `--allow-host`, and, if other machines may reach it, IP
//!   addresses. A site that points its own name at this server's address (DNS rebinding) uses none of these;
//! - origin: a request that changes something, and any to the API, must come from a page of this server, or from no page at
//!   all: a page of another site could not read an answer, but an event stream would hold a place while that page is open;
//! - size: a single header is bounded, with a sentence; cookies alone may be larger, since other programs of the same host add
//!   to them;
//! - every answer says that it is not to be taken for another type, embedded by other sites, or named to them.

use std::{net::IpAddr, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::{App, Peer, Problem};

/// The names to which a server answers.
#[derive(Debug, Clone)]
pub struct Hosts {
    /// Other machines may reach it, so an IP address is a name of it, too.
    pub exposed: bool,
    /// Names that the operator allowed: lower case, without ports.
    pub allowed: Arc<[Box<str>]>,
}

impl Hosts {
    /// Whether `host`, as in the header, may be a name of this server. An empty one says nothing, and comes from no page.
    fn allow(&self, host: &str) -> bool {
        let name = name_in(host);
        let name_allowed = |name: &str| self.allowed.iter().any(|allowed| name.eq_ignore_ascii_case(allowed));
        host.is_empty()
            || is_loopback_name(host)
            || self.exposed && name.parse::<IpAddr>().is_ok()
            || name_allowed(name.strip_suffix('.').unwrap_or(name))
    }

    fn problem(&self, host: &str) -> Problem {
        let name = name_in(host);
        let (code, detail) = match self.exposed {
            true => (
                "host-not-allowed",
                format!(
                    "`{name}` is not a known name of this server; if it should be, start the server with --allow-host {name}"
                ),
            ),
            false => (
                "foreign-host",
                format!(
                    "this server accepts only loopback names, not `{name}`; to change that, start it with --allow-host {name}"
                ),
            ),
        };
        Problem::new(StatusCode::FORBIDDEN, code, detail)
    }
}

/// The longest header other than `cookie`: longer than any token or position, and as much as nginx and Node take in all.
const HEADER_BYTES_MAX: usize = 16 * 1024;

pub(super) async fn check(State(app): State<App>, request: Request, next: Next) -> Response {
    let refused = refusal(&app.0.limits.hosts, &request);
    let mut response = match refused {
        Some(problem) => problem.into_response(),
        None => next.run(request).await,
    };
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
    response
}

fn refusal(hosts: &Hosts, request: &Request) -> Option<Problem> {
    let headers = request.headers();
    let host = headers.get(header::HOST).map_or("".into(), |host| String::from_utf8_lossy(host.as_bytes()));
    if !hosts.allow(&host) {
        return Some(hosts.problem(&host));
    }
    let large = headers.iter().find(|(name, value)| *name != header::COOKIE && value.len() > HEADER_BYTES_MAX);
    if let Some((name, _)) = large {
        let detail = format!("the header `{name}` may have {HEADER_BYTES_MAX} bytes at most");
        return Some(Problem::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "header-too-large", detail));
    }
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if !changes && !request.uri().path().starts_with("/api/") {
        return None;
    }
    if let Some(origin) = headers.get(header::ORIGIN) {
        let origin = String::from_utf8_lossy(origin.as_bytes());
        if !same_place(&origin, &host) {
            return Some(Problem::new(StatusCode::FORBIDDEN, "foreign-origin", foreign_origin(&origin, &host)));
        }
    }
    // Said by the browser itself for requests without an origin: images, links. No page can forge it.
    let site = headers.get("sec-fetch-site").and_then(|site| site.to_str().ok());
    matches!(site, Some("cross-site" | "same-site")).then(|| {
        let detail =
            "a page of another site may not ask this; open the address itself, or use a program that is no browser";
        Problem::new(StatusCode::FORBIDDEN, "foreign-origin", detail)
    })
}

/// Whether a page of `origin` (`https://name[:port]`) asks the place that `host` names: names compare without case and
/// trailing dot, and a port that is not written is the scheme's own.
fn same_place(origin: &str, host: &str) -> bool {
    let Some((scheme, origin)) = origin.split_once("://") else { return false };
    let default = match scheme.to_ascii_lowercase().as_str() {
        "http" => "80",
        "https" => "443",
        _ => return false,
    };
    let place = |of: &str| {
        let name = name_in(of).to_ascii_lowercase();
        let port = of.rsplit_once(':').map(|(_, port)| port).filter(|port| port.bytes().all(|b| b.is_ascii_digit()));
        (
            name.strip_suffix('.').map(str::to_owned).unwrap_or(name),
            port.filter(|p| !p.is_empty()).unwrap_or(default).to_owned(),
        )
    };
    !host.is_empty() && place(origin) == place(host)
}

fn foreign_origin(origin: &str, host: &str) -> String {
    format!(
        "the page is of `{origin}`, but the request was sent to `{host}`. A page of another site may not do this. If a proxy is \
         in between, let it pass on the name that the browser used (nginx: `proxy_set_header Host $http_host;`); a program \
         leaves the `origin` header out"
    )
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

/// The name or address in a `host` header, without port and brackets.
fn name_in(host: &str) -> &str {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    name.trim_start_matches('[').trim_end_matches(']')
}

fn is_loopback_name(host: &str) -> bool {
    let name = name_in(host);
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
            for (name, value) in fields {
                headers.append(*name, value.parse().unwrap());
            }
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
    fn an_origin_is_the_host_whatever_its_case_its_dot_and_a_port_that_goes_without_saying() {
        for (origin, host) in [
            ("https://chat.example", "chat.example:443"),
            ("http://chat.example", "chat.example:80"),
            ("https://chat.example", "chat.example"),
            ("https://chat.example:443", "CHAT.example."),
            ("HTTP://Chat.Example:8080", "chat.example:8080"),
            ("http://[::1]:8080", "[::1]:8080"),
            ("http://[2001:db8::1]", "[2001:DB8::1]:80"),
        ] {
            assert!(same_place(origin, host), "{origin} {host}");
        }
        for (origin, host) in [
            ("https://chat.example", "chat.example:8443"),
            ("https://chat.example:8443", "chat.example:443"),
            ("https://evil.example", "chat.example"),
            ("http://chat.example", "chat.example:443"),
            ("http://[::1]", "[::2]"),
            ("null", "chat.example"),
            ("file://", ""),
            ("https://", ""),
            ("chrome-extension://chat.example", "chat.example"),
        ] {
            assert!(!same_place(origin, host), "{origin} {host}");
        }
    }

    #[test]
    fn a_refused_page_reads_both_places_and_what_a_proxy_must_pass_on() {
        let detail = foreign_origin("https://chat.example", "127.0.0.1:18680");
        for part in ["`https://chat.example`", "`127.0.0.1:18680`", "proxy_set_header Host $http_host;"] {
            assert!(detail.contains(part), "{detail}");
        }
    }

    #[test]
    fn an_exposed_server_answers_to_addresses_loopback_names_and_those_it_was_given() {
        let check = |exposed: bool, host: &str, expected: bool| {
            let hosts = Hosts { exposed, allowed: ["chat.example".into(), "nas".into()].into() };
            assert_eq!(hosts.allow(host), expected, "{host}, exposed: {exposed}");
        };
        for own in ["chat.example", "CHAT.example:8080", "chat.example.", "nas:80", "localhost:1", "[::1]:8080", ""] {
            check(true, own, true);
            check(false, own, true);
        }
        for address in ["192.168.1.7:8080", "10.0.0.1", "[2001:db8::1]:80", "[fe80::1]"] {
            check(true, address, true);
            check(false, address, false);
        }
        for foreign in [
            "evil.example",
            "evil.example:8080",
            "chat.example.evil.example",
            "xchat.example",
            "1.2.3.4.evil",
            "\u{fffd}",
        ] {
            check(true, foreign, false);
            check(false, foreign, false);
        }
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
