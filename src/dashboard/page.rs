//! The page: files that are part of the program, so that it needs no other server and no network.

use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

/// The page itself.
const INDEX: (&str, &[u8]) = (HTML, include_bytes!("page/index.html"));

/// What the page loads from `/assets/`: name, media type, content.
const ASSETS: &[(&str, &str, &[u8])] =
    &[("app.js", SCRIPT, include_bytes!("page/app.js")), ("style.css", STYLE, include_bytes!("page/style.css"))];

/// `GET /`
pub(super) async fn index() -> Response {
    file(INDEX.0, INDEX.1)
}

/// `GET /assets/NAME`
pub(super) async fn asset(Path(name): Path<String>) -> Response {
    match ASSETS.iter().find(|(known, ..)| *known == name) {
        Some((_, media_type, content)) => file(media_type, content),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// Browsers ask again each time: a newer program may serve another page at the same address.
fn file(media_type: &'static str, content: &'static [u8]) -> Response {
    ([(header::CONTENT_TYPE, media_type), (header::CACHE_CONTROL, "no-cache")], content).into_response()
}
