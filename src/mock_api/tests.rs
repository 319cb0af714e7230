//! The mock over real sockets, and its start for the tests of others.

use std::path::Path;

use serde_json::Value;
use tokio::task::JoinHandle;

use super::*;

/// A mock that runs until it is dropped.
pub(crate) struct Running {
    /// For `--api-url`.
    pub(crate) url: String,
    requests: Arc<Count>,
    stop: CancellationToken,
    task: JoinHandle<Result<()>>,
}

impl Running {
    /// Requests it met so far.
    pub(crate) fn requests(&self) -> u64 {
        self.requests.get()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Starts a mock over synthetic users with these faults.
pub(crate) async fn start(faults: &[&str]) -> Running {
    start_with(Users::Synthetic("userpipe".to_owned()), faults, LIMIT_DEFAULT).await
}

/// Starts a mock over these users.
pub(crate) async fn start_with(users: Users, faults: &[&str], limit: u64) -> Running {
    // Another test of this process may have installed it already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}{PATH}", listener.local_addr().expect("bound"));
    let (stop, requests) = (CancellationToken::new(), Arc::<Count>::default());
    let faults = faults.iter().map(|text| text.parse().expect("a fault")).collect();
    let options = MockApi { users, faults, limit, requests: requests.clone() };
    let task = tokio::spawn(serve(listener, options, stop.clone().cancelled_owned()));
    Running { url, requests, stop, task }
}

pub(crate) fn fixtures() -> Recorded {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/randomuser");
    Recorded::read(&directory).expect("the project's own fixtures")
}

async fn ask(mock: &Running, path_and_query: &str) -> (u16, String) {
    let base = mock.url.strip_suffix(PATH).expect("the path");
    let response = reqwest::get(format!("{base}{path_and_query}")).await.expect("an answer");
    (response.status().as_u16(), response.text().await.expect("a body"))
}

async fn json(mock: &Running, path_and_query: &str) -> Value {
    let (status, body) = ask(mock, path_and_query).await;
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).expect("JSON")
}

#[tokio::test]
async fn it_answers_under_both_paths_as_the_api_does() {
    let mock = start(&[]).await;
    for path in ["/api/1.4/", "/api/1.4", "/api/", "/api"] {
        let answer = json(&mock, &format!("{path}?results=3&seed=abc&page=2&nat=no&format=xlsx")).await;
        assert_eq!(answer["results"].as_array().map(Vec::len), Some(3));
        assert!(answer["results"].as_array().expect("users").iter().all(|user| user["nat"] == "NO"));
        assert_eq!(
            answer["info"].to_string(),
            r#"{"seed":"abc","results":3,"page":2,"version":"1.4"}"#,
            "info has the API's keys in its order"
        );
    }
    assert_eq!(ask(&mock, "/other").await.0, 404);
    assert_eq!(mock.requests(), 4, "another path is no request to the API");
}

#[tokio::test]
async fn keys_can_be_chosen_and_info_left_out() {
    let mock = start(&[]).await;
    let (_, body) = ask(&mock, "/api/1.4/?inc=nat,gender&nat=ir&noinfo").await;
    let body = body.replace("female", "male");
    assert_eq!(body, r#"{"results":[{"gender":"male","nat":"IR"}]}"#);
}

#[tokio::test]
async fn recorded_users_keep_their_bytes() {
    let mock = start_with(Users::Recorded(fixtures()), &[], LIMIT_DEFAULT).await;
    let (_, body) = ask(&mock, "/api/1.4/?results=2&seed=nordic").await;
    let recorded = include_str!("../../tests/fixtures/randomuser/nordic.json");
    assert_eq!(body, recorded.trim_end());
}

#[tokio::test]
async fn past_the_limit_it_refuses_with_the_apis_words_and_no_retry_after() {
    let mock = start_with(Users::Synthetic("x".to_owned()), &[], 10).await;
    json(&mock, "/api/1.4/?results=10").await;
    let response = reqwest::get(&mock.url).await.expect("an answer");
    assert_eq!(response.status().as_u16(), 429);
    assert_eq!(response.headers().get("retry-after"), None);
    let body = response.text().await.expect("a body");
    assert!(body.starts_with(r#"{"error":"Whoa, ease up there cowboy. You've requested 10 users"#), "{body}");
}

#[tokio::test]
async fn a_shutdown_ends_what_would_hang() {
    let mut mock = start(&["hang:1", "slow-body"]).await;
    let hanging = tokio::spawn(reqwest::get(mock.url.clone()));
    while mock.requests() < 1 {
        tokio::task::yield_now().await;
    }
    let slow = reqwest::get(&mock.url).await.expect("headers come at once");
    mock.stop.cancel();
    let ended = tokio::time::timeout(DRAIN_MAX * 2, &mut mock.task).await.expect("it stops in time");
    assert!(ended.expect("no panic").is_ok());
    assert_eq!(hanging.await.expect("no panic").map(|r| r.status().as_u16()).ok(), Some(503));
    assert_eq!(slow.text().await.expect("an end"), "");
}

#[tokio::test]
async fn answers_are_compressed_for_those_who_accept_it() {
    let mock = start(&[]).await;
    let url = format!("{}?results=50&seed=gzip", mock.url);
    let plain = reqwest::Client::builder().no_gzip().build().expect("a client");
    let packed = plain.get(&url).header("accept-encoding", "gzip").send().await.expect("an answer");
    assert_eq!(packed.headers()["content-encoding"], "gzip");
    let packed = packed.bytes().await.expect("a body");
    let plain = plain.get(&url).send().await.expect("an answer").bytes().await.expect("a body");
    assert!(packed.len() * 2 < plain.len(), "{} of {}", packed.len(), plain.len());
    assert_eq!(reqwest::get(&url).await.expect("an answer").bytes().await.expect("unpacked"), plain);
}
