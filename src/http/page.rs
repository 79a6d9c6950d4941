//! The page: a few files embedded in the binary, served with ETags under a strict Content-Security-Policy.

use std::sync::LazyLock;

use axum::{
    body::Body,
    extract::Path,
    http::{HeaderMap, HeaderValue, Response, StatusCode, header},
};
use sha2::{Digest, Sha256};

use super::{Problem, problem};

/// Nothing from another host, nothing inline, no frames, no plug-ins.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

struct Asset {
    name: &'static str,
    kind: &'static str,
    bytes: &'static [u8],
    etag: String,
}

static ASSETS: LazyLock<Vec<Asset>> = LazyLock::new(|| {
    let asset = |name, kind, bytes: &'static [u8]| {
        let hash = Sha256::digest(bytes);
        let etag = hash[..12].iter().map(|b| format!("{b:02x}")).collect::<String>();
        Asset { name, kind, bytes, etag: format!("\"{etag}\"") }
    };
    vec![
        asset("index.html", "text/html; charset=utf-8", include_bytes!("../../web/index.html")),
        asset("app.js", "text/javascript; charset=utf-8", include_bytes!("../../web/app.js")),
        asset("style.css", "text/css; charset=utf-8", include_bytes!("../../web/style.css")),
    ]
});

/// `GET /`, `GET /r/{room}`
pub(super) async fn index(headers: HeaderMap) -> Result<Response<Body>, Problem> {
    serve("index.html", &headers)
}

/// `GET /web/{file}`
pub(super) async fn file(Path(name): Path<String>, headers: HeaderMap) -> Result<Response<Body>, Problem> {
    serve(&name, &headers)
}

fn serve(name: &str, headers: &HeaderMap) -> Result<Response<Body>, Problem> {
    let Some(asset) = ASSETS.iter().find(|a| a.name == name) else {
        return Err(problem::no_such_path(&format!("/web/{name}")));
    };
    let known = headers.get(header::IF_NONE_MATCH).and_then(|v| v.to_str().ok()).unwrap_or("");
    let unchanged = known.split(',').any(|tag| tag.trim().trim_start_matches("W/") == asset.etag);
    let mut response = Response::new(if unchanged { Body::empty() } else { Body::from(asset.bytes) });
    if unchanged {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(asset.kind));
    if let Ok(etag) = HeaderValue::from_str(&asset.etag) {
        headers.insert(header::ETAG, etag);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    Ok(response)
}
