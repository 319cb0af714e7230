//! Listing dead letters on the embedded bus.

use serde_json::{Value, json};

use crate::sandbox::Sandbox;

/// A sandbox with a good user, and with these values that are none.
fn with_poison(values: &[Option<&[u8]>]) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.userpipe("produce --source synthetic --count 1").ok();
    let database = sandbox.database();
    for value in values {
        database.append("users_created", 1, Some(b"who\xff"), *value);
    }
    sandbox.userpipe("consume -e").ok();
    sandbox
}

fn header<'a>(letter: &'a Value, name: &str) -> &'a Value {
    let headers = letter["headers"].as_array().unwrap();
    &headers.iter().find(|header| header["name"] == name).unwrap()["value"]
}

#[test]
fn each_is_listed_with_its_reason_and_all_of_its_bytes() {
    let sandbox = with_poison(&[Some(b"{broken"), Some(b"\xff\x00"), None]);
    let mut letters = sandbox.userpipe("dead-letters list --json").ok().json_lines();
    letters.sort_by_key(|letter| letter["source"]["offset"].as_i64());
    assert_eq!(letters.len(), 3);
    let first = letters[0]["source"]["offset"].as_i64().unwrap();
    for (letter, offset) in letters.iter().zip(first..) {
        assert_eq!(letter["source"], json!({ "topic": "users_created", "partition": 1, "offset": offset }));
        assert_eq!((&letter["key_hex"], letter.get("key")), (&json!("77686fff"), None));
        assert_eq!((&letter["stage"], &letter["attempts"]), (&json!("decode"), &json!(1)));
        assert_eq!(&letter["error"], header(letter, "userpipe.error"));
        assert_eq!(&letter["time"], header(letter, "userpipe.time"));
    }
    assert_eq!(letters[0]["value"], "{broken");
    assert_eq!((&letters[1]["value_hex"], letters[1].get("value")), (&json!("ff00"), None));
    assert_eq!((&letters[2]["value"], letters[2].get("value_hex")), (&Value::Null, None));
    assert_eq!(letters[2]["error"], "a tombstone whose key is no id");

    let list = sandbox.userpipe("dead-letters list").ok();
    assert_eq!(list.stdout.lines().count(), 3);
    let line = list.stdout.lines().find(|line| line.contains(&format!(" 1:{first} "))).unwrap();
    assert!(line.starts_with("who\u{fffd} ") && line.contains("decode"), "{line}");
    assert!(line.contains("not a JSON object of a user"), "{line}");
    assert!(list.last_line().starts_with("dead letters 3 in embedded "), "{}", list.last_line());
}

#[test]
fn more_than_a_page_of_them_is_listed_and_a_reader_that_leaves_is_no_error() {
    let sandbox = with_poison(&vec![Some(b"poison".as_slice()); 2_500]);
    let letters = sandbox.userpipe("dead-letters list --json").ok().json_lines();
    let mut offsets: Vec<_> = letters.iter().map(|letter| letter["source"]["offset"].as_i64().unwrap()).collect();
    offsets.sort_unstable();
    offsets.dedup();
    assert_eq!((letters.len(), offsets.len()), (2_500, 2_500));
    let head = sandbox.bash("userpipe dead-letters list | head -2").ok();
    assert_eq!(head.stdout.lines().count(), 2);
}

#[test]
fn without_any_the_list_is_empty() {
    let sandbox = Sandbox::new();
    let empty = sandbox.userpipe("dead-letters list").ok();
    assert_eq!(empty.stdout, "");
    assert!(empty.last_line().starts_with("dead letters 0 in "), "{}", empty.last_line());
    sandbox.userpipe("dead-letters").output().expect_code(2);
}

#[test]
fn looking_leaves_nothing_behind() {
    let sandbox = with_poison(&[Some(b"poison")]);
    let database = sandbox.database();
    let offsets = "SELECT group_name || topic || partition || offset FROM bus_offsets ORDER BY 1";
    let before = database.texts(offsets);
    sandbox.userpipe("dead-letters list").ok();
    assert_eq!(database.texts(offsets), before);
    assert_eq!(database.number("SELECT count(*) FROM bus_members"), 0);
    assert_eq!(sandbox.userpipe("dead-letters list").ok().stdout.lines().count(), 1, "it is there still");
    sandbox.userpipe("dead-letters list --topic another").ok();
    assert_eq!(database.number("SELECT count(*) FROM bus_partitions WHERE topic LIKE 'another%'"), 0);
}
