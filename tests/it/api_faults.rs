//! Every fault of the Random User API: recovered from where asking again helps, else one line, a hint and the exit code.

use std::time::{Duration, Instant};

use crate::mock::MockApi;
use crate::sandbox::{Running, Sandbox};

/// A fault, the exit code where it stays, and what its error line says.
type Case = (&'static str, i32, &'static str);

/// Faults that pass when the API is asked again.
const PASSING: [Case; 12] = [
    ("429", 69, "status 429 Too Many Requests, body `{\"error\":\"Whoa, ease up there cowboy."),
    ("429-retry-after", 69, "status 429 Too Many Requests, body `{\"error\":\"Whoa, ease up there cowboy."),
    ("500", 69, "status 500 Internal Server Error, body `Internal Server Error`"),
    ("502", 69, "status 502 Bad Gateway, body `Bad Gateway`"),
    ("503", 69, "status 503 Service Unavailable, body `Service Unavailable`"),
    ("error", 69, "status 200 OK, an error of the API's, body `{\"error\":\"Uh oh, something has gone wrong."),
    ("empty", 69, "status 200 OK, no users, body `{\"results\":[],\"info\":"),
    ("hang", 69, "no whole answer within 3s"),
    ("slow-body", 69, "no whole answer within 3s"),
    ("truncated", 69, "no answer: "),
    (
        "bad-json",
        69,
        "status 200 OK, no JSON of the API's (expected value at line 1 column 23), body `{\"results\":[{\"gender\":}]",
    ),
    ("close", 69, "no answer: "),
];

/// Faults that another attempt would only repeat.
const LASTING: [Case; 4] = [
    ("one-user", 78, "status 200 OK, results=3 was not honoured (info.results is 1), body `{\"results\":[{\"gender\""),
    (
        "html",
        78,
        "status 200 OK, HTML instead of users, body `<!DOCTYPE html>\\n<html><head><title>Sign in to the network",
    ),
    ("403", 77, "status 403 Forbidden, body `<!DOCTYPE html>\\n<html><head><title>Attention Required! | Cloudflare"),
    ("huge", 78, "status 200 OK, a body of more than 33554432 bytes"),
];

/// Starts one command for each case, each with a mock of its own, so that their waits pass side by side.
fn start_all(
    cases: impl IntoIterator<Item = Case>,
    fault: impl Fn(&str) -> String,
    command: &str,
) -> Vec<(Case, Sandbox, MockApi, Running)> {
    let start = |case: Case| {
        let sandbox = Sandbox::new();
        let mock = MockApi::start(&sandbox, &[&fault(case.0)]);
        let running = sandbox.userpipe(&format!("{command} --api-url {}", mock.url)).start();
        (case, sandbox, mock, running)
    };
    cases.into_iter().map(start).collect()
}

#[test]
fn what_passes_is_recovered_from() {
    let command = "run --once --count 3 --api-attempts 2 --api-timeout 3s";
    for ((fault, ..), sandbox, _mock, run) in start_all(PASSING, |fault| format!("{fault}:1"), command) {
        let output = run.finish().expect_code(0);
        assert_eq!(sandbox.database().ids().len(), 3, "{fault}");
        assert!(output.stderr.contains("; attempt 2 of 2 in "), "{fault}: {}", output.stderr);
    }
}

#[test]
fn what_stays_ends_with_its_status_its_body_a_hint_and_its_code() {
    let command = "fetch --count 3 --api-attempts 1 --api-timeout 3s";
    for ((fault, code, says), _sandbox, mock, fetch) in
        start_all([&PASSING[..], &LASTING].concat(), str::to_owned, command)
    {
        let output = fetch.finish().expect_code(code);
        let error = output.error();
        assert!(error.starts_with(&format!("cannot fetch page 1 of users at {}", mock.url)), "{fault}: {error}");
        assert!(error.contains(says), "{fault}: {error}");
        assert!(!output.hint().is_empty(), "{fault}");
        assert_eq!(output.stdout, "", "{fault}");
        assert_eq!(output.stderr.lines().count(), 3, "the path, the error and the hint: {}", output.stderr);
    }
}

#[test]
fn what_lasts_is_not_asked_for_again() {
    for ((fault, code, _), _sandbox, _mock, fetch) in
        start_all(LASTING, |fault| format!("{fault}:1"), "fetch --count 3")
    {
        let output = fetch.finish().expect_code(code);
        assert!(!output.stderr.contains("attempt 2"), "{fault}: {}", output.stderr);
    }
}

#[test]
fn a_user_that_lacks_a_field_is_rejected_by_its_name_and_the_page_is_kept() {
    let sandbox = Sandbox::new();
    let mock = MockApi::start(&sandbox, &["bad-user:1"]);
    let output = sandbox.userpipe(&format!("run --once --count 10 --api-url {}", mock.url)).ok();
    assert!(output.stderr.contains("rejected a user: location.postcode: missing"), "{}", output.stderr);
    assert!(output.stderr.contains("rejected 1"), "{}", output.stderr);
    assert_eq!(sandbox.database().ids().len(), 9);
}

#[test]
fn a_run_whose_users_are_all_rejected_fails() {
    let sandbox = Sandbox::new();
    let mock = MockApi::start(&sandbox, &["bad-user"]);
    for command in ["run --once", "fetch"] {
        let output = sandbox.userpipe(&format!("{command} --count 1 --api-url {}", mock.url)).fails(1);
        assert_eq!(output.error(), "every one of the 1 users was rejected");
        assert!(!output.hint().is_empty());
    }
}

#[test]
fn retry_after_is_honoured() {
    let sandbox = Sandbox::new();
    let mock = MockApi::start(&sandbox, &["429-retry-after:1"]);
    let started = Instant::now();
    sandbox.userpipe(&format!("fetch --count 1 --api-url {}", mock.url)).ok();
    assert!(started.elapsed() >= Duration::from_secs(1));
}

#[test]
fn after_too_many_failures_the_api_is_left_alone() {
    let sandbox = Sandbox::new();
    let mock = MockApi::start(&sandbox, &["500"]);
    let command = format!("produce --interval 50ms --api-attempts 1 --retries 0 --api-url {}", mock.url);
    let produce = sandbox.userpipe(&command).start();
    produce.wait_for_stderr("5 pages in a row failed: not asking the API for 1m");
    produce.wait_for_stderr("not asking the API for another ");
    produce.signal(nix::sys::signal::Signal::SIGTERM);
    produce.finish().expect_code(0);
    assert_eq!(mock.requests(), 5);
}
