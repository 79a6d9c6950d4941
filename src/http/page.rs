//! The page: a few files embedded in the binary, served with ETags under a strict Content-Security-Policy; and what a browser
//! is shown for an address at which there is nothing.

use std::{collections::BTreeMap, path::Path, sync::LazyLock};

use axum::{
    body::Body,
    extract,
    http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri, header},
    response::{IntoResponse, Redirect},
};
use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::{Problem, problem};

/// Nothing from another host, nothing inline, no frames, no plug-ins.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A file of the page.
#[derive(Clone)]
struct Asset {
    bytes: Bytes,
    etag: String,
}

impl Asset {
    fn new(bytes: Bytes) -> Asset {
        let hash = Sha256::digest(&bytes);
        let etag = hash[..12].iter().map(|b| format!("{b:02x}")).collect::<String>();
        Asset { bytes, etag: format!("\"{etag}\"") }
    }
}

macro_rules! assets {
    ($($path:literal)*) => {
        [$(($path, Asset::new(Bytes::from_static(include_bytes!(concat!("../../web/", $path)))))),*].into()
    };
}

/// By their paths below `web/`; a test holds it against the folder.
static ASSETS: LazyLock<BTreeMap<&str, Asset>> = LazyLock::new(|| {
    assets! {
        "client.js"
        "client/api.js"
        "client/env.js"
        "client/feed.js"
        "client/hub.js"
        "client/id.js"
        "client/order.js"
        "client/outbox.js"
        "client/storage.js"
        "client/stream.js"
        "client/tabs.js"
        "client/types.js"
        "icon.svg"
        "index.html"
        "lookback/bar.js"
        "lookback/latest.js"
        "lookback/list.js"
        "lookback/lookback.js"
        "lookback/player.js"
        "lookback/scale.js"
        "lookback/then.js"
        "monitor.html"
        "monitor/actions.js"
        "monitor/bulk.js"
        "monitor/changes.js"
        "monitor/filterbar.js"
        "monitor/filters.js"
        "monitor/header.js"
        "monitor/life.js"
        "monitor/main.js"
        "monitor/picture.js"
        "monitor/plots.js"
        "monitor/queues.js"
        "monitor/rows.js"
        "monitor/store.js"
        "monitor/table.js"
        "monitor/timeline.js"
        "monitor/types.js"
        "monitor/why.js"
        "monitor/words.js"
        "monitor/workers.js"
        "nowhere.html"
        "parts/color.js"
        "parts/dom.js"
        "parts/markdown.js"
        "parts/markdown/address.js"
        "parts/markdown/blocks.js"
        "parts/markdown/copy.js"
        "parts/markdown/growing.js"
        "parts/markdown/inline.js"
        "parts/markdown/lines.js"
        "parts/markdown/paint.js"
        "parts/markdown/spans.js"
        "parts/time.js"
        "room/actions.js"
        "room/announce.js"
        "room/ask.js"
        "room/bar.js"
        "room/composer.js"
        "room/connection.js"
        "room/events.js"
        "room/history.js"
        "room/item.js"
        "room/keep.js"
        "room/keyboard.js"
        "room/keys.js"
        "room/list.js"
        "room/main.js"
        "room/model.js"
        "room/names.js"
        "room/page.js"
        "room/reasons.js"
        "room/rooms.js"
        "room/scroll.js"
        "room/seen.js"
        "room/status.js"
        "room/storage.js"
        "room/store.js"
        "room/toolbar.js"
        "room/unread.js"
        "room/visible.js"
        "room/who.js"
        "style/base.css"
        "style/lookback.css"
        "style/markdown.css"
        "style/monitor.css"
        "style/noscript.css"
        "style/print.css"
        "style/room.css"
    }
});

fn kind(path: &str) -> &'static str {
    match path.rsplit_once('.').map_or("", |(_, ending)| ending) {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

/// `GET /`, `GET /r/{room}`
pub(super) async fn room(headers: HeaderMap) -> Result<Response<Body>, Problem> {
    serve("index.html", &headers)
}

/// `GET /monitor`
pub(super) async fn monitor(headers: HeaderMap) -> Result<Response<Body>, Problem> {
    serve("monitor.html", &headers)
}

/// `GET /favicon.ico`: browsers go by the type, not by the name.
pub(super) async fn icon(headers: HeaderMap) -> Result<Response<Body>, Problem> {
    serve("icon.svg", &headers)
}

/// Every other path. A slash too many after a page leads to the page; a browser gets a page that says that there is none, a
/// program the problem.
pub(super) async fn nowhere(method: Method, uri: Uri, headers: HeaderMap) -> Response<Body> {
    let nothing = problem::no_such_path(uri.path());
    let accepts = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or("");
    if !matches!(method, Method::GET | Method::HEAD) || !accepts.contains("text/html") {
        return nothing.into_response();
    }
    if let Some(page) = without_slash(uri.path()) {
        let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
        return Redirect::permanent(&format!("{page}{query}")).into_response();
    }
    match serve("nowhere.html", &HeaderMap::new()) {
        Ok(mut page) => {
            *page.status_mut() = StatusCode::NOT_FOUND;
            page
        }
        Err(_) => nothing.into_response(),
    }
}

/// The page that is meant by the path of one with a slash too many, or of a room without a name.
fn without_slash(path: &str) -> Option<&str> {
    if path == "/r" || path == "/r/" {
        return Some("/");
    }
    let page = path.strip_suffix('/')?;
    let room = page.strip_prefix("/r/").is_some_and(|room| !room.is_empty() && !room.contains('/'));
    (room || page == "/monitor").then_some(page)
}

/// `GET /web/{path}`
pub(super) async fn file(
    extract::Path(path): extract::Path<String>,
    headers: HeaderMap,
) -> Result<Response<Body>, Problem> {
    serve(&path, &headers)
}

fn find(path: &str) -> Option<Asset> {
    if cfg!(debug_assertions) { in_folder(path) } else { ASSETS.get(path).cloned() }
}

/// A build without optimisation, as developers make it, shows the files as they are now in its source folder.
fn in_folder(path: &str) -> Option<Asset> {
    // The names are those of the embedded files: nothing that a client writes becomes a path.
    let (name, _) = ASSETS.get_key_value(path)?;
    let bytes = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("web").join(name)).ok()?;
    Some(Asset::new(bytes.into()))
}

fn serve(path: &str, headers: &HeaderMap) -> Result<Response<Body>, Problem> {
    let Some(asset) = find(path) else {
        return Err(problem::no_such_path(&format!("/web/{path}")));
    };
    let known = headers.get(header::IF_NONE_MATCH).and_then(|v| v.to_str().ok()).unwrap_or("");
    let unchanged = known.split(',').any(|tag| tag.trim().trim_start_matches("W/") == asset.etag);
    let mut response = Response::new(if unchanged { Body::empty() } else { Body::from(asset.bytes.clone()) });
    if unchanged {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind(path)));
    if let Ok(etag) = HeaderValue::from_str(&asset.etag) {
        headers.insert(header::ETAG, etag);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_page_is_embedded() {
        fn files(dir: &Path, found: &mut Vec<String>) {
            for entry in std::fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => files(&path, found),
                    false => found.push(path.to_str().unwrap().to_owned()),
                }
            }
        }
        let web = concat!(env!("CARGO_MANIFEST_DIR"), "/web/");
        let mut found = Vec::new();
        files(Path::new(web), &mut found);
        found.sort();
        let embedded: Vec<_> = ASSETS.keys().map(|path| format!("{web}{path}")).collect();
        assert_eq!(embedded, found);
        assert!(ASSETS.keys().all(|path| in_folder(path).is_some()));
        let elsewhere = ["../Cargo.toml", "", ".", "web", "a/../index.html", "/etc/passwd", "//etc/passwd"];
        assert!(elsewhere.iter().all(|path| in_folder(path).is_none()));
    }
}
