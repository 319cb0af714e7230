//! The client against every fault of the API, over real sockets.

use std::collections::HashSet;
use std::path::Path;
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::config::SourceKind;
use crate::mock_api::tests::{Running, fixtures, start, start_with};
use crate::mock_api::{LIMIT_DEFAULT, Recorded, Users};
use crate::record::{self, OPTIONAL_COLUMNS, With};
use crate::source::tests::config;

const QUICK: Limits = Limits {
    retry_first: Duration::from_millis(1),
    retry_ceiling: Duration::from_millis(2),
    retry_after_max: Duration::from_secs(5),
    body_bytes_max: 1024 * 1024,
    failed_pages_max: 3,
    pause: Duration::from_millis(500),
};

fn source(settings: &SourceConfig) -> RandomUser {
    RandomUser::new(settings, 1).expect("a URL").with_limits(QUICK)
}

fn settings(mock: &Running) -> SourceConfig {
    config(SourceKind::Api, &mock.url)
}

fn texts(users: &[Box<RawValue>]) -> Vec<&str> {
    users.iter().map(|user| user.get()).collect()
}

#[tokio::test]
async fn what_may_pass_is_tried_again() {
    let transient = [
        ("429", "status 429 Too Many Requests, body `{\"error\":\"Whoa, ease up there cowboy."),
        ("500", "status 500 Internal Server Error, body `Internal Server Error`"),
        ("502", "status 502 Bad Gateway, body `Bad Gateway`"),
        ("503", "status 503 Service Unavailable, body `"),
        ("error", "status 200 OK, an error of the API's, body `{\"error\":\"Uh oh,"),
        ("empty", "status 200 OK, no users, body `{\"results\":[],\"info\":"),
        ("bad-json", "status 200 OK, no JSON of the API's (expected value at line 1"),
        ("truncated", "no answer: error decoding response body: error reading a body from connection"),
        ("close", "no answer: error sending request: "),
    ];
    for (fault, says) in transient {
        let mock = start(&[fault]).await;
        let error = source(&settings(&mock)).page(20).await.expect_err(fault);
        let text = error.to_string();
        let place = format!("cannot fetch page 1 of users in 2 attempts at {}: ", mock.url);
        assert!(text.starts_with(&place) && text[place.len()..].starts_with(says), "{fault}: {text}");
        assert_eq!(error.kind(), Kind::Unreachable, "{fault}");
        assert!(error.hint_text().is_some_and(|hint| !hint.is_empty()), "{fault}");
        assert_eq!(mock.requests(), 2, "{fault}");

        let mock = start(&[&format!("{fault}:1")]).await;
        let page = source(&settings(&mock)).page(20).await.expect("the second attempt succeeds");
        assert_eq!(page.users.len(), 20, "{fault}");
    }
}

#[tokio::test]
async fn what_cannot_pass_is_not_tried_again() {
    let permanent = [
        ("403", Kind::Refused, "status 403 Forbidden, body `<!DOCTYPE html>\\n<html>"),
        ("html", Kind::Config, "status 200 OK, HTML instead of users, body `<!DOCTYPE html>"),
        ("one-user", Kind::Config, "status 200 OK, results=20 was not honoured (info.results is 1), body `{"),
        ("huge", Kind::Config, "status 200 OK, a body of more than 1048576 bytes"),
    ];
    for (fault, kind, says) in permanent {
        let mock = start(&[&format!("{fault}:1")]).await;
        let error = source(&settings(&mock)).page(20).await.expect_err(fault);
        let text = error.to_string();
        let place = format!("cannot fetch page 1 of users at {}: ", mock.url);
        assert!(text.starts_with(&place) && text[place.len()..].starts_with(says), "{fault}: {text}");
        assert_eq!(error.kind(), kind, "{fault}");
        assert_eq!(mock.requests(), 1, "{fault}");
    }
    let mock = start(&[]).await;
    let elsewhere = config(SourceKind::Api, &mock.url.replace("1.4", "9.9"));
    let error = source(&elsewhere).page(1).await.expect_err("no such path");
    assert!(error.to_string().ends_with("status 404 Not Found, an empty body"), "{error}");
    assert_eq!(error.kind(), Kind::Config);
}

#[tokio::test]
async fn an_answer_that_does_not_come_ends_at_the_deadline() {
    for fault in ["hang", "slow-body"] {
        let mock = start(&[fault]).await;
        let settings = SourceConfig { request_timeout: Duration::from_millis(500), ..settings(&mock) };
        let error = source(&settings).page(20).await.expect_err(fault);
        assert!(error.to_string().ends_with("no whole answer within 500ms"), "{fault}: {error}");
        assert_eq!((error.kind(), mock.requests()), (Kind::Unreachable, 2), "{fault}");
    }
}

#[tokio::test]
async fn a_refused_connection_is_said_with_its_cause() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}/api/1.4/", listener.local_addr().expect("bound"));
    drop(listener);
    let error = source(&config(SourceKind::Api, &url)).page(1).await.expect_err("nobody listens");
    assert_eq!(error.kind(), Kind::Unreachable);
    assert!(error.to_string().contains("Connection refused"), "{error}");
}

#[tokio::test]
async fn retry_after_is_waited_for_up_to_a_limit() {
    let mock = start(&["429-retry-after:2"]).await;
    let started = Instant::now();
    let mut source = source(&settings(&mock));
    source.page(1).await.expect_err("two attempts met it");
    let waited = started.elapsed();
    assert!(waited >= Duration::from_secs(1), "{waited:?}");

    let mock = start(&["429-retry-after:1"]).await;
    let started = Instant::now();
    let mut source = RandomUser::new(&settings(&mock), 1)
        .expect("a URL")
        .with_limits(Limits { retry_after_max: Duration::from_millis(5), ..QUICK });
    source.page(1).await.expect("the second attempt succeeds");
    assert!(started.elapsed() < Duration::from_secs(1), "a server cannot ask for a longer wait than the limit");
}

#[tokio::test]
async fn one_bad_user_does_not_spoil_its_page() {
    let mock = start(&["bad-user:1"]).await;
    let page = source(&settings(&mock)).page(20).await.expect("a page");
    let formatted: Vec<_> = page.users.iter().map(|raw| record::format(raw, page.fetched_at, &With::all())).collect();
    assert_eq!(formatted.iter().filter(|user| user.is_ok()).count(), 19);
    let rejected = formatted[0].as_ref().expect_err("the first lacks it");
    assert_eq!(rejected.to_string(), "location.postcode: missing");
}

#[tokio::test]
async fn after_too_many_failed_pages_the_api_is_left_alone_for_a_while() {
    let mock = start(&["403:3"]).await;
    let mut source = source(&settings(&mock));
    for _ in 0..3 {
        assert_eq!(source.page(1).await.expect_err("refused").kind(), Kind::Refused);
    }
    let error = source.page(1).await.expect_err("left alone");
    assert_eq!(error.kind(), Kind::Unreachable);
    assert!(error.to_string().starts_with("not asking the API for another 1s at http://127.0.0.1:"), "{error}");
    assert!(error.to_string().contains("3 pages in a row failed, the last: cannot fetch page 1"), "{error}");
    assert_eq!(mock.requests(), 3);
    tokio::time::sleep(QUICK.pause).await;
    assert_eq!(source.page(1).await.expect("the pause is over").users.len(), 1);
}

#[tokio::test]
async fn pages_never_repeat_a_user_and_nothing_of_a_page_is_lost() {
    let mock = start(&[]).await;
    let mut source = source(&SourceConfig { seed: Some("s".to_owned()), ..settings(&mock) });
    let mut got = Vec::new();
    for count in [3, 20, 100, 1, 50] {
        let page = source.page(count).await.expect("a page");
        assert!(!page.users.is_empty() && page.users.len() <= count.min(20));
        got.extend(page.users);
    }
    // 3 of page 1; 20 each of pages 2 and 3; then a whole page for 1, whose rest comes with the next call.
    assert_eq!((got.len(), source.next_page(), mock.requests()), (63, 5, 4));
    let made = |page, count| crate::source::synthetic::users("s", page, count, &[], None).expect("synthetic");
    let expected: Vec<_> = [(1, 3), (2, 20), (3, 20), (4, 20)].into_iter().flat_map(|(p, n)| made(p, n)).collect();
    assert_eq!(texts(&got), texts(&expected));
}

#[tokio::test]
async fn a_list_that_is_sliced_comes_whole_whatever_the_page_size() {
    let count = fixtures().count();
    for page_size in 1..=count + 1 {
        let mock = start_with(Users::Recorded(fixtures()), &[], LIMIT_DEFAULT).await;
        let mut source = source(&SourceConfig { page_size, ..settings(&mock) });
        let mut users = HashSet::new();
        let mut left = count;
        while left > 0 {
            let page = source.page(left).await.expect("a page");
            left -= page.users.len();
            users.extend(page.users.into_iter().map(|user| user.get().to_owned()));
        }
        assert_eq!(users.len(), count, "pages of {page_size}");
    }
}

#[tokio::test]
async fn filters_reach_the_api_and_a_gender_goes_without_a_seed() {
    let mock = start(&[]).await;
    let settings = SourceConfig {
        nationalities: vec!["NO".to_owned(), "IR".to_owned()],
        gender: Some(Gender::Female),
        ..settings(&mock)
    };
    let mut source = source(&settings);
    assert_eq!(source.seed(), None);
    for raw in source.page(20).await.expect("a page").users {
        assert!(raw.get().starts_with(r#"{"gender":"female""#), "{raw}");
        assert!(raw.get().ends_with(r#""nat":"NO"}"#) || raw.get().ends_with(r#""nat":"IR"}"#), "{raw}");
    }
}

/// Answers one request with `answer` and gives back what was asked.
async fn listen_once(answer: String) -> (String, tokio::task::JoinHandle<String>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}/api/1.4/", listener.local_addr().expect("bound"));
    let asked = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a client");
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            stream.read_buf(&mut request).await.expect("a request");
        }
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", answer.len());
        stream.write_all((head + &answer).as_bytes()).await.expect("sent");
        String::from_utf8(request).expect("ASCII")
    });
    (url, asked)
}

#[tokio::test]
async fn the_request_names_the_program_and_accepts_gzip() {
    let (url, asked) = listen_once("{}".to_owned()).await;
    let settings = SourceConfig {
        seed: Some("a b&c".to_owned()),
        nationalities: vec!["NO".to_owned(), "GB".to_owned()],
        ..config(SourceKind::Api, &url)
    };
    let error = RandomUser::new(&settings, 7).expect("a URL").page(5).await.expect_err("no document of the API's");
    assert_eq!(error.kind(), Kind::Config);
    assert!(error.to_string().ends_with("status 200 OK, JSON without `results`, body `{}`"), "{error}");
    let asked = asked.await.expect("no panic");
    assert!(asked.starts_with("GET /api/1.4/?results=5&page=7&seed=a+b%26c&nat=no%2Cgb HTTP/1.1\r\n"), "{asked}");
    assert!(asked.contains(&format!("\r\nuser-agent: userpipe/{}\r\n", env!("CARGO_PKG_VERSION"))), "{asked}");
    assert!(asked.contains("\r\naccept-encoding: gzip\r\n"), "{asked}");
}

#[tokio::test]
async fn what_the_api_did_not_honour_is_named() {
    let user = r#"{"gender":"male","nat":"NO"}"#;
    let info = |seed: &str, page: u32, results: u32| {
        format!(r#"{{"results":[{user}],"info":{{"seed":"{seed}","results":{results},"page":{page}}}}}"#)
    };
    let cases = [
        (format!(r#"{{"results":[{user}]}}"#), "JSON without `info`"),
        (info("s", 1, 5), "results=1 was not honoured (info.results is 5)"),
        (info("s", 2, 1), "page=1 was not honoured"),
        (info("other", 1, 1), "the seed was not honoured"),
        (info("s", 1, 1), "the nationalities were not honoured"),
    ];
    for (answer, says) in cases {
        let (url, _asked) = listen_once(answer).await;
        let settings = SourceConfig {
            seed: Some("s".to_owned()),
            nationalities: vec!["FR".to_owned()],
            ..config(SourceKind::Api, &url)
        };
        let error = source(&settings).page(1).await.expect_err(says);
        assert!(error.to_string().contains(says), "{error}");
        assert_eq!(error.kind(), Kind::Config, "{says}");
    }
}

#[tokio::test]
async fn past_the_last_page_a_drawn_seed_is_renewed_and_a_given_one_ends() {
    let mock = start(&[]).await;
    let mut drawn = RandomUser::new(&settings(&mock), PAGE_MAX).expect("a URL");
    let first = drawn.seed().map(str::to_owned);
    drawn.page(1).await.expect("the last page");
    assert_eq!(drawn.seed().map(str::to_owned), first);
    drawn.page(1).await.expect("page 1 of another seed");
    assert_ne!(drawn.seed().map(str::to_owned), first);
    assert_eq!(drawn.next_page(), 2);

    let given = SourceConfig { seed: Some("s".to_owned()), ..settings(&mock) };
    let mut given = RandomUser::new(&given, PAGE_MAX + 1).expect("a URL");
    assert_eq!(given.page(1).await.expect_err("no more pages").kind(), Kind::Config);
}

#[tokio::test]
async fn recorded_users_come_through_as_they_were_recorded() {
    let count = fixtures().count();
    let mock = start_with(Users::Recorded(fixtures()), &[], LIMIT_DEFAULT).await;
    let page = source(&settings(&mock)).page(count).await.expect("a page");
    let formatted: Vec<_> = page.users.iter().map(|raw| record::format(raw, page.fetched_at, &With::all())).collect();
    let user = |at: usize| formatted[at].as_ref().expect("a whole user");
    assert_eq!(user(0).post_code(), "0378");
    assert_eq!(user(1).address(), "9999 Skogveien, Bodø, Nordland, Norway");
    assert_eq!(user(2).last_name(), "کریم\u{200c}پور");
    assert_eq!(user(3).address(), "1 Rua dos Açudes, Ji-Paraná, São Paulo, Brazil");
    assert_eq!(user(4).address(), r#"315 St. "Old Mill" Rd, L'"Anse, East, Québec, Canada"#);
    assert_eq!((user(4).last_name(), user(4).first_name()), (r#"O"Brien\Côté"#, "J"));
    assert_eq!(formatted[5].as_ref().map_err(ToString::to_string), Err("location.country: missing".to_owned()));
    assert_eq!(formatted.len(), 6);
}

#[tokio::test]
#[ignore = "needs USERPIPE_SAMPLES"]
async fn every_recorded_user_comes_through_and_formats() {
    let directory = std::env::var_os("USERPIPE_SAMPLES").expect("USERPIPE_SAMPLES names the recorded answers");
    let recorded = Recorded::read(Path::new(&directory)).expect("recorded answers");
    let count = recorded.count();
    assert_eq!(count, 420);
    let mock = start_with(Users::Recorded(recorded), &[], LIMIT_DEFAULT).await;
    let mut source = source(&SourceConfig { page_size: 100, ..settings(&mock) });
    let mut ids = HashSet::new();
    let mut left = count;
    while left > 0 {
        let page = source.page(left).await.expect("a page");
        left -= page.users.len();
        for raw in &page.users {
            let user = record::format(raw, page.fetched_at, &With::all()).map_err(|r| format!("{r}: {raw}"));
            let user = user.expect("every recorded user formats");
            for column in OPTIONAL_COLUMNS {
                assert!(user.value(column).is_some(), "{} of {raw}", column.name);
            }
            ids.insert(user.id());
        }
    }
    assert_eq!(ids.len(), count);
}
