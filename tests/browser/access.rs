//! Who is refused, and how the page bears a server that is gone.

use crate::SOON;
use crate::program::until;
use crate::world::{TOKEN, World};

const QUIET: [&str; 7] = ["run", "--interval", "1h", "--source", "synthetic", "--count", "5"];

#[test]
#[ignore = "needs Chromium and live services: make test-browser"]
fn a_foreign_origin_a_foreign_host_and_a_wrong_token_are_refused() {
    let world = World::embedded(&QUIET);
    let right = format!("Bearer {TOKEN}");
    let origin = format!("http://{}", world.address);
    let trigger = |headers: &[(&str, &str)]| world.request("POST", "/api/runs/trigger", headers).0;
    until("the first run has ended", SOON, || world.json("/api/runs")["runs"][0]["state"] == "success");

    assert_eq!(world.request("GET", "/api/overview", &[]).0, 200, "reading needs nothing on loopback");
    assert_eq!(trigger(&[]), 401);
    assert_eq!(trigger(&[("Authorization", "Bearer of something else")]), 401);
    assert_eq!(trigger(&[("Authorization", &right), ("Origin", "http://evil.example")]), 403);
    assert_eq!(trigger(&[("Authorization", &right), ("Origin", "null")]), 403);
    for path in ["/", "/api/overview", "/assets/app.js"] {
        let status = world.request("GET", path, &[("Host", "evil.example")]).0;
        assert!((400..500).contains(&status), "{path}: {status}");
    }
    assert_eq!(world.json("/api/runs")["runs"].as_array().unwrap().len(), 1, "nobody of these made a run");
    assert_eq!(trigger(&[("Authorization", &right), ("Origin", &origin)]), 202);
}

#[test]
#[ignore = "needs Chromium and live services: make test-browser"]
fn the_page_says_that_it_is_stale_and_comes_back_by_itself() {
    let mut world = World::embedded(&QUIET);
    let browser = world.browse("stale", "overview");
    world.kill_dashboard();
    browser.until_says("#connection", "stale since");
    browser.screenshot("stale");
    world.listen_again(&QUIET);
    browser.until_says("#connection", "live");
}

/// The browser of these tests resolves no name: what is shown has come from the binary.
#[test]
#[ignore = "needs Chromium and live services: make test-browser"]
fn the_page_needs_no_network() {
    let world = World::embedded(&QUIET);
    let browser = world.browse("offline", "overview");
    browser.until("the charts are drawn", "document.querySelectorAll('.chart canvas').length === 4");
    let names = "performance.getEntriesByType('resource').map((it) => new URL(it.name).origin)";
    let origins = browser.evaluate(&format!("[...new Set({names})]"));
    assert_eq!(origins, serde_json::json!([format!("http://{}", world.address)]));
}

#[test]
#[ignore = "needs Chromium and live services: make test-browser"]
fn a_run_that_fails_is_told_with_its_error_and_its_log() {
    let tries = ["--api-attempts", "1", "--retries", "1", "--retry-delay", "100ms"];
    let world =
        World::embedded(&[&["run", "--interval", "1h", "--api-url", "http://127.0.0.1:9/api/"][..], &tries].concat());
    let browser = world.browse("failed-run", "runs");
    browser.until("the run has failed", "document.querySelector('.square-of-run.is-blocked') !== null");
    browser.until_says(".run-panel .failure", "127.0.0.1:9");
    browser.until("its log is there", "document.querySelectorAll('.run-panel .log .line').length > 0");
    browser.until_says(".run-panel .facts", "retries");
    browser.until_says("#trouble", "last run cannot fetch page 1");
    browser.screenshot("said");
}
