//! `fetch`: what it prints, and where it gets it from.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpListener;

use serde_json::Value;

use crate::database::FIELDS;
use crate::mock::MockApi;
use crate::sandbox::Sandbox;

/// The project's own recorded users.
const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/randomuser");
/// What `login` and `id` of the fixtures hold and nobody may see.
const SECRETS: [&str; 5] = ["not-a-secret", "saltsalt", "0000000000000000", "1111111111111111", "2222222222222222"];

/// The users without the time at which they were fetched.
fn less_timestamp(mut users: Vec<Value>) -> Vec<Value> {
    for user in &mut users {
        user.as_object_mut().unwrap().remove("timestamp").unwrap();
    }
    users
}

fn ids(users: &[Value]) -> BTreeSet<&str> {
    users.iter().map(|user| user["id"].as_str().unwrap()).collect()
}

#[test]
fn users_have_the_thirteen_fields_in_order() {
    let users = Sandbox::new().userpipe("fetch --source synthetic --count 7").ok().json_lines();
    assert_eq!(users.len(), 7);
    for user in users {
        let user = user.as_object().unwrap();
        assert_eq!(user.keys().collect::<Vec<_>>(), FIELDS);
        assert!(user.values().all(|value| value.as_str().is_some_and(|text| !text.is_empty())), "{user:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_users() {
    let sandbox = Sandbox::new();
    let fetch =
        |seed| less_timestamp(sandbox.userpipe(&format!("fetch --source synthetic --seed {seed}")).ok().json_lines());
    assert_eq!(fetch("one"), fetch("one"));
    assert!(ids(&fetch("one")).is_disjoint(&ids(&fetch("two"))));
}

#[test]
fn a_count_goes_over_pages_and_no_user_comes_twice() {
    let sandbox = Sandbox::new();
    let mock = MockApi::start(&sandbox, &[]);
    let users = sandbox.userpipe(&format!("fetch --count 23 --results 10 --api-url {}", mock.url)).ok().json_lines();
    assert_eq!((users.len(), ids(&users).len()), (23, 23));
}

#[test]
fn the_api_and_the_synthetic_source_agree_on_a_seed() {
    let sandbox = Sandbox::new();
    let mock = MockApi::start(&sandbox, &[]);
    let over_http = sandbox.userpipe(&format!("fetch --seed abc --count 20 --api-url {}", mock.url)).ok();
    let made_here = sandbox.userpipe("fetch --seed abc --count 20 --source synthetic").ok();
    assert_eq!(less_timestamp(over_http.json_lines()), less_timestamp(made_here.json_lines()));
}

#[test]
fn no_secret_of_the_api_is_printed() {
    let sandbox = Sandbox::new();
    let mock = MockApi::with(&sandbox, &format!("--data {FIXTURES} --seed recorded"));
    for format in ["", "--raw"] {
        let output =
            sandbox.userpipe(&format!("fetch {format} --count 5 --results 5 --seed s -vv --api-url {}", mock.url));
        let output = output.ok();
        for secret in SECRETS {
            assert!(!output.stdout.contains(secret), "{secret} in {}", output.stdout);
            assert!(!output.stderr.contains(secret), "{secret} in {}", output.stderr);
        }
    }
}

#[test]
fn raw_users_are_the_apis_own_objects_less_their_secrets() {
    let users = Sandbox::new().userpipe("fetch --raw --source synthetic --count 3").ok().json_lines();
    for user in users {
        let names = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(
            names(&user),
            [
                "gender",
                "name",
                "location",
                "email",
                "login",
                "dob",
                "registered",
                "phone",
                "cell",
                "id",
                "picture",
                "nat"
            ]
        );
        assert_eq!(
            (names(&user["login"]), names(&user["id"])),
            (vec!["uuid".into(), "username".into()], vec!["name".into()])
        );
    }
}

#[test]
fn nationality_and_gender_are_filters() {
    let sandbox = Sandbox::new();
    let mock = MockApi::start(&sandbox, &[]);
    let by_nat = sandbox.userpipe(&format!("fetch --raw --nat FR,gb --count 30 --api-url {}", mock.url)).ok();
    let seen: BTreeSet<_> = by_nat.json_lines().iter().map(|user| user["nat"].as_str().unwrap().to_owned()).collect();
    assert_eq!(seen, BTreeSet::from(["FR".to_owned(), "GB".to_owned()]));
    let by_gender = sandbox.userpipe(&format!("fetch --gender female --count 20 --api-url {}", mock.url)).ok();
    assert!(by_gender.json_lines().iter().all(|user| user["gender"] == "female"));
}

#[test]
fn nothing_is_written_anywhere_but_stdout() {
    let sandbox = Sandbox::new();
    sandbox.userpipe("fetch --source synthetic").ok();
    assert!(!sandbox.path("userpipe-data").exists());
}

#[test]
fn auto_says_loudly_when_it_falls_back() {
    let output = Sandbox::new().userpipe("fetch --source auto --api-attempts 1 --api-url http://127.0.0.1:1/").ok();
    assert_eq!(output.json_lines().len(), 10);
    assert!(output.stderr.contains("SYNTHETIC"), "{}", output.stderr);
}

#[test]
fn the_request_names_the_program_and_accepts_gzip() {
    let sandbox = Sandbox::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/api/1.4/", listener.local_addr().unwrap());
    let fetch =
        sandbox.userpipe(&format!("fetch --count 3 --seed s --nat de,fr --api-attempts 1 --api-url {url}")).start();
    let (mut stream, _) = listener.accept().unwrap();
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() > 0 {
        head.push(byte[0]);
    }
    stream.write_all(b"HTTP/1.1 418 I'm a teapot\r\ncontent-length: 5\r\n\r\nshort").unwrap();
    let head = String::from_utf8(head).unwrap().to_lowercase();
    assert!(head.contains(&format!("user-agent: userpipe/{}\r\n", env!("CARGO_PKG_VERSION"))), "{head}");
    assert!(head.contains("accept-encoding: gzip"), "{head}");
    for parameter in ["results=3", "page=1", "seed=s", "nat=de%2cfr"] {
        assert!(head.lines().next().unwrap().contains(parameter), "{parameter} in {head}");
    }
    let output = fetch.finish().expect_code(78);
    assert!(output.error().contains("status 418 I'm a teapot, body `short`"), "{}", output.error());
}
