//! Kafka with OAUTHBEARER: tokens from a file and from a token endpoint, good, bad, refused and renewed.
//!
//! The broker takes unsigned tokens, and checks their claims.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use super::kafka_security::{assert_refused, assert_whole, over};
use super::readback::{ledger, sqlite_ids};
use super::{Pipeline, assert_same};
use crate::services::PrivateInstance;

const CLIENT: &str = "pipe";
const SECRET: &str = "test-client-secret";
const BEARER: [&str; 2] = ["security.protocol=SASL_PLAINTEXT", "sasl.mechanism=OAUTHBEARER"];

/// An unsigned token (RFC 7519, 6) of this life, which may be over.
fn token(seconds: i64) -> String {
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap();
    let claims =
        format!(r#"{{"sub":"pipe","scope":"kafka","iat":{},"exp":{}}}"#, now.min(now + seconds) - 10, now + seconds);
    format!("{}.{}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#), URL_SAFE_NO_PAD.encode(claims))
}

/// A token endpoint for one client: its URL, and how many tokens it gave.
fn endpoint(life_seconds: i64) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/token", listener.local_addr().unwrap());
    let given = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&given);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            answer(stream, life_seconds, &counter);
        }
    });
    (url, given)
}

fn answer(mut stream: TcpStream, life_seconds: i64, given: &AtomicUsize) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        // A connection that was only opened is nothing.
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    assert_eq!(String::from_utf8(body).unwrap(), "grant_type=client_credentials&scope=kafka");
    let basic = STANDARD.encode(format!("{CLIENT}:{SECRET}"));
    let (status, body) = if head.contains(&format!("Basic {basic}")) {
        given.fetch_add(1, Ordering::Relaxed);
        let token = token(life_seconds);
        let answer = format!(r#"{{"access_token":"{token}","token_type":"Bearer","expires_in":{life_seconds}}}"#);
        ("200 OK", answer)
    } else {
        ("401 Unauthorized", r#"{"error":"invalid_client","error_description":"who is this?"}"#.to_owned())
    };
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n");
    // The client may have gone.
    let _ = stream.write_all(format!("{head}connection: close\r\n\r\n{body}").as_bytes());
}

fn with_endpoint(address: &str, url: &str, secret: &str) -> Pipeline {
    let (client, url) =
        (format!("sasl.oauthbearer.client.id={CLIENT}"), format!("sasl.oauthbearer.token.endpoint.url={url}"));
    let oidc = ["sasl.oauthbearer.method=oidc", &client, &url, "sasl.oauthbearer.scope=kafka"];
    over(address, &[&BEARER[..], &oidc].concat()).with_variable("USERPIPE_SASL_CLIENT_SECRET", secret)
}

#[test]
#[ignore = "needs live services: make test"]
fn tokens_come_from_a_file_or_from_an_endpoint() {
    let instance = PrivateInstance::start_secure(&["kafka"]);
    let [address, ..] = instance.secure_kafka();
    let with_file = |token: &str| {
        let pipeline = over(&address, &[&BEARER[..], &["sasl.oauthbearer.token.file=token"]].concat());
        std::fs::write(pipeline.directory.path().join("token"), token).unwrap();
        pipeline
    };
    // Of every token, as it stands in a log.
    let beginning = URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
    assert_whole(&with_file(&format!("{}\n", token(3600))), "SASL_PLAINTEXT OAUTHBEARER", &[&beginning]);
    let refused = "it refuses the token of sasl.oauthbearer: ";
    assert_refused(&with_file(&token(-60)), 77, refused, "sasl.oauthbearer.token.file");
    assert_refused(&with_file("nonsense"), 77, refused, "sasl.oauthbearer.token.file");
    let empty = "cannot read the token of sasl.oauthbearer.token.file at token: write one token into it";
    with_file("\n").run(&["consume", "-e"]).expect_code(78).expect_said(empty);

    let (url, given) = endpoint(3600);
    assert_whole(&with_endpoint(&address, &url, SECRET), "SASL_PLAINTEXT OAUTHBEARER", &[&beginning, SECRET]);
    assert!((5..=8).contains(&given.load(Ordering::Relaxed)), "one token a process, not {given:?}");
    let wrong = with_endpoint(&address, &url, "not-this-one");
    let denied = "the token endpoint refuses the client (sasl.oauthbearer.client.id) at http://";
    assert_refused(&wrong, 77, denied, "USERPIPE_SASL_CLIENT_SECRET");
    let words = "it answers 401 Unauthorized: invalid_client (who is this?)";
    let failed = wrong.run(&["consume", "-e"]).expect_code(77).expect_said(words);
    assert!(!failed.stderr.contains("not-this-one"), "{}", failed.stderr);
    let nobody = with_endpoint(&address, "http://127.0.0.1:1/token", SECRET).with_flag("--connect-timeout", "3s");
    let unreachable = "no token from sasl.oauthbearer.token.endpoint.url at http://127.0.0.1:1/token: ";
    nobody.run(&["consume", "-e"]).expect_code(69).expect_said(unreachable);
}

#[test]
#[ignore = "needs live services: make test"]
fn tokens_are_renewed_before_they_end() {
    let instance = PrivateInstance::start_secure(&["kafka"]);
    let [address, ..] = instance.secure_kafka();
    // The broker ends a connection together with its token.
    let (url, given) = endpoint(12);
    let pipeline = with_endpoint(&address, &url, SECRET).initialized();
    let run = ["run", "--for", "40s", "--rate", "10/s", "--source", "synthetic", "--results", "10"];
    let finished = pipeline.start(&run).wait(Duration::from_mins(2)).expect_code(0);
    assert!(!finished.stderr.contains("refuse"), "{}", finished.stderr);
    pipeline.run(&["consume", "-e"]).expect_code(0);
    let sent = ledger(&pipeline.database(), &pipeline.topic);
    assert!(sent.len() >= 200 && sent.iter().all(|stored| stored.place.is_some()), "{} were sent", sent.len());
    let ids = sent.into_iter().map(|stored| stored.id).collect();
    assert_same(&sqlite_ids(&pipeline.database()), &ids, "table and ledger");
    assert!(given.load(Ordering::Relaxed) >= 4, "{given:?} tokens");
}
