//! The page: files that are part of the program, so that it needs no other server and no network.

use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const PICTURE: &str = "image/svg+xml";

/// The page itself.
const INDEX: (&str, &[u8]) = (HTML, include_bytes!("page/index.html"));

/// A file of the page, under the name that it has below `/assets/`.
macro_rules! asset {
    ($name:literal, $kind:ident) => {
        ($name, $kind, include_bytes!(concat!("page/", $name)))
    };
    (vendor $name:literal, $kind:ident) => {
        ($name, $kind, include_bytes!(concat!("page/vendor/", $name)))
    };
}

/// What the page loads from `/assets/`: name, media type, content.
const ASSETS: &[(&str, &str, &[u8])] = &[
    asset!("api.js", SCRIPT),
    asset!("app.js", SCRIPT),
    asset!("charts.js", SCRIPT),
    asset!("configuration.js", SCRIPT),
    asset!("dom.js", SCRIPT),
    asset!("flow.js", SCRIPT),
    asset!("format.js", SCRIPT),
    asset!("header.js", SCRIPT),
    asset!("icon.svg", PICTURE),
    asset!("letters.js", SCRIPT),
    asset!("live.js", SCRIPT),
    asset!("messages.js", SCRIPT),
    asset!("overview.js", SCRIPT),
    asset!("partitions.js", SCRIPT),
    asset!("record.js", SCRIPT),
    asset!("runs.js", SCRIPT),
    asset!("session.js", SCRIPT),
    asset!("style.css", STYLE),
    asset!("theme.js", SCRIPT),
    asset!("users.js", SCRIPT),
    asset!("views.css", STYLE),
    asset!(vendor "uPlot.iife.min.js", SCRIPT),
    asset!(vendor "uPlot.min.css", STYLE),
];

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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    /// Without uPlot. A page that grows past this has become another thing.
    const OWN_BYTES_MAX: usize = 150_000;
    const LINES_MAX: usize = 500;

    fn files_of(folder: &str) -> BTreeSet<String> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/dashboard/page").join(folder);
        let entries = std::fs::read_dir(path).expect("the page's folder").map(|entry| entry.expect("an entry"));
        let files = entries.filter(|entry| entry.path().is_file());
        files.map(|entry| entry.file_name().into_string().expect("a plain name")).collect()
    }

    #[test]
    fn every_file_of_the_page_is_served() {
        let served: BTreeSet<String> = ASSETS.iter().map(|(name, ..)| (*name).to_owned()).collect();
        let mut there = files_of("");
        there.extend(files_of("vendor"));
        assert!(there.remove("index.html") && there.remove("uPlot.LICENSE"));
        assert_eq!(served, there);
    }

    #[test]
    fn the_page_is_small_and_its_files_are_too() {
        let own = ASSETS.iter().filter(|(name, ..)| !name.starts_with("uPlot"));
        let own: Vec<(&str, &[u8])> = own.map(|(name, _, content)| (*name, *content)).chain([("/", INDEX.1)]).collect();
        for (name, content) in &own {
            let lines = str::from_utf8(content).expect("UTF-8").lines().count();
            assert!(lines < LINES_MAX, "{name} has {lines} lines");
        }
        let bytes: usize = own.iter().map(|(_, content)| content.len()).sum();
        assert!(bytes < OWN_BYTES_MAX, "{bytes}");
    }

    /// What the policy forbids would fail in the browser only: scripts and styles within the page.
    #[test]
    fn nothing_of_the_page_needs_a_looser_policy() {
        let html = str::from_utf8(INDEX.1).expect("UTF-8");
        for forbidden in [" style=", "<style", " onclick=", " onload=", "javascript:", "http://", "https://"] {
            assert!(!html.contains(forbidden), "{forbidden}");
        }
        assert_eq!(html.matches("<script").count(), html.matches("<script src=\"/assets/").count());
        for (name, _, content) in ASSETS.iter().filter(|(name, kind, _)| *kind == SCRIPT && !name.starts_with("uPlot"))
        {
            let script = str::from_utf8(content).expect("UTF-8");
            for forbidden in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "DOMParser"] {
                assert!(!script.contains(forbidden), "{name}: {forbidden}");
            }
        }
    }
}
