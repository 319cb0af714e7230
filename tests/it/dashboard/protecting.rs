//! Who is refused, and how the token is kept.

use std::os::unix::fs::PermissionsExt as _;

use reqwest::{Certificate, Client, StatusCode};
use serde_json::{Value, json};

use super::client::{Page, address, read_token};
use crate::sandbox::Sandbox;

#[test]
fn strangers_change_nothing() {
    let sandbox = Sandbox::new();
    let dashboard = sandbox.userpipe("dashboard --listen 127.0.0.1:0 --listen-host users.example.org").start();
    let page = Page::of(&dashboard, &sandbox);
    let bearer = page.bearer();
    let right = ("Authorization", bearer.as_str());
    let status = |method: &str, path: &str, headers: &[(&str, &str)]| page.ask(method, path, headers, "{}").status;
    for path in
        ["/api/runs/trigger", "/api/schedule/pause", "/api/schedule/resume", "/api/dead-letters/replay", "/api/verify"]
    {
        assert_eq!(status("POST", path, &[]), 401, "{path}");
        assert_eq!(status("POST", path, &[("Authorization", "Bearer 0000000000000000")]), 401, "{path}");
        assert_eq!(status("POST", path, &[right, ("Origin", "http://evil.example")]), 403, "{path}");
        assert_eq!(status("POST", path, &[right, ("Host", "evil.example")]), 421, "{path}");
    }
    assert!(!sandbox.path("userpipe-data/userpipe.db").exists(), "none of them did anything");
    for path in ["/", "/assets/app.js", "/api/overview", "/metrics", "/healthz"] {
        assert_eq!(status("GET", path, &[("Host", "evil.example")]), 421, "{path}");
        assert_eq!(status("GET", path, &[("Host", "users.example.org")]), 200, "{path}");
    }
    assert_eq!(status("GET", "/api/overview", &[("Sec-Fetch-Site", "cross-site")]), 403);
    assert_eq!(status("GET", "/api/nothing", &[]), 404);
    assert_eq!(status("POST", "/api/schedule/pause", &[right, ("Origin", &format!("http://{}", page.address))]), 200);
    let long = format!("{{\"letters\": \"{}\"}}", "x".repeat(100_000));
    assert_eq!(page.ask("POST", "/api/dead-letters/replay", &[right], &long).status, 413);
}

#[test]
fn the_page_comes_whole_and_runs_nothing_inline() {
    let sandbox = Sandbox::new();
    let dashboard = sandbox.userpipe("dashboard --listen 127.0.0.1:0").start();
    let page = Page::of(&dashboard, &sandbox);
    let index = page.ask("GET", "/", &[], "");
    assert_eq!(index.status, 200);
    for header in [
        "content-security-policy: default-src 'none'; script-src 'self'; style-src 'self';",
        "x-content-type-options: nosniff",
        "referrer-policy: no-referrer",
        "content-type: text/html; charset=utf-8",
    ] {
        assert!(index.head.contains(header), "{header}: {}", index.head);
    }
    assert!(index.head.contains("frame-ancestors 'none'") && !index.head.contains("unsafe"), "{}", index.head);
    assert!(page.ask("GET", "/api/overview", &[], "").head.contains("cache-control: no-store"));
    // Everything it loads is here.
    let sources = index.body.split(['"', '\'']).filter(|text| text.starts_with("/assets/"));
    let sources: Vec<_> = sources.collect();
    assert!(sources.len() >= 2, "{}", index.body);
    for source in sources {
        assert_eq!(page.ask("GET", source, &[], "").status, 200, "{source}");
    }
    assert_eq!(page.ask("GET", "/assets/..%2f..%2fCargo.toml", &[], "").status, 404);
}

#[test]
fn a_token_is_kept_for_its_owner_or_given() {
    let sandbox = Sandbox::new();
    let path = sandbox.path("userpipe-data/dashboard-token");
    let first = sandbox.userpipe("dashboard --listen 127.0.0.1:0").start();
    let page = Page::of(&first, &sandbox);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!first.wait_for_stderr("readyz").contains(&page.token), "a log is no place for it");
    let second = sandbox.userpipe("dashboard --listen 127.0.0.1:0").start();
    assert_eq!(Page::of(&second, &sandbox).get_with_token("/api/session"), json!({ "may_change": true }));

    sandbox.write("given", "a-token-of-my-own-0123\n");
    let weak = sandbox.userpipe("dashboard --listen 127.0.0.1:0 --listen-token-file given").fails(78);
    assert_eq!(weak.hint(), "chmod 600 given");
    std::fs::set_permissions(sandbox.path("given"), std::fs::Permissions::from_mode(0o600)).unwrap();
    let third = sandbox.userpipe("dashboard --listen 127.0.0.1:0 --listen-token-file given").start();
    let page = Page { address: address(&third, "http"), token: "a-token-of-my-own-0123".to_owned() };
    assert_eq!(page.get_with_token("/api/session"), json!({ "may_change": true }));
}

#[test]
fn without_tls_others_are_served_where_that_is_asked_for_and_need_the_token() {
    let sandbox = Sandbox::new();
    let refused = sandbox.userpipe("dashboard --listen 0.0.0.0:0").fails(78);
    assert_eq!(
        refused.error(),
        "other machines are not served without TLS at --listen 0.0.0.0:0: the token and personal data would cross the \
         network in the clear"
    );
    let half = sandbox.userpipe("dashboard --listen 0.0.0.0:0 --listen-tls-cert a.pem").fails(78);
    assert_eq!(half.error(), "--listen-tls-cert needs --listen-tls-key");
    let dashboard = sandbox.userpipe("dashboard --listen 0.0.0.0:0 --listen-insecure").start();
    let bound = address(&dashboard, "http");
    let token = read_token(&sandbox.path("userpipe-data/dashboard-token"));
    let page = Page { address: bound.replace("0.0.0.0", "127.0.0.1"), token };
    let status = |path: &str| page.ask("GET", path, &[], "").status;
    assert_eq!(["/", "/assets/style.css", "/healthz"].map(status), [200, 200, 200]);
    assert_eq!(["/api/overview", "/api/events", "/metrics", "/readyz"].map(status), [401, 401, 401, 401]);
    let overview = page.get_with_token("/api/overview");
    assert_eq!(overview["needs_token_to_read"], true);
}

#[tokio::test]
async fn over_tls_others_are_served_with_the_token() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let sandbox = Sandbox::new();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    sandbox.write("cert.pem", made.cert.pem());
    sandbox.write("key.pem", made.signing_key.serialize_pem());
    let tls = "dashboard --listen 0.0.0.0:0 --listen-tls-cert";
    let swapped = sandbox.userpipe(&format!("{tls} key.pem --listen-tls-key cert.pem")).fails(78);
    assert!(swapped.error().starts_with("bad value of --listen-tls-cert at key.pem"), "{}", swapped.error());
    let dashboard = sandbox.userpipe(&format!("{tls} cert.pem --listen-tls-key key.pem")).start();
    let bound = address(&dashboard, "https");
    let url = |path: &str| format!("https://localhost:{}{path}", bound.rsplit(':').next().unwrap());
    let authority = Certificate::from_pem(made.cert.pem().as_bytes()).unwrap();
    let client = Client::builder().no_proxy().tls_certs_only([authority]).build().unwrap();
    assert_eq!(client.get(url("/")).send().await.unwrap().status(), StatusCode::OK);
    assert_eq!(client.get(url("/api/overview")).send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
    let token = read_token(&sandbox.path("userpipe-data/dashboard-token"));
    let answer = client.get(url("/api/overview")).bearer_auth(token).send().await.unwrap();
    let overview: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    assert_eq!(overview["command"], "dashboard");
    // What is no handshake is nobody's concern.
    let plain = Page { address: bound.replace("0.0.0.0", "127.0.0.1"), token: String::new() };
    let asked = std::thread::spawn(move || plain.ask("GET", "/", &[], "").status).join();
    assert!(asked.is_err(), "no answer in the clear");
}
