//! Records that can never be written: the good ones beside them arrive, and they are dead letters that say why.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::database::{BusRecord, Database};
use crate::sandbox::Sandbox;

const DEAD_LETTERS: &str = "users_created.dead-letters";
const ID: &str = "00000000-0000-5000-8000-000000000001";
const NOBODY: &str = "00000000-0000-5000-8000-000000000002";

/// A sandbox with three good users on the bus, and the good user of [`ID`] among them.
fn with_users() -> (Sandbox, Database) {
    let sandbox = Sandbox::new();
    sandbox.userpipe("produce --source synthetic --count 2").ok();
    sandbox.userpipe("produce --input -").input(user().to_string()).ok();
    let database = sandbox.database();
    (sandbox, database)
}

fn user() -> Value {
    json!({
        "id": ID, "first_name": "Ann", "last_name": "Other", "gender": "female", "email": "a@b.c", "username": "ann",
        "phone": "1", "address": "1 X, Y, Z, W", "post_code": "0378", "dob": "1990-01-01T00:00:00.000Z",
        "registered_date": "2010-01-01T00:00:00.000Z", "picture": "p", "timestamp": "2026-01-01T00:00:00.000Z",
    })
}

fn user_with(field: &str, value: Value) -> Vec<u8> {
    let mut user = user();
    user[field] = value;
    user.to_string().into_bytes()
}

fn user_without(field: &str) -> Vec<u8> {
    let mut user = user();
    user.as_object_mut().unwrap().remove(field).unwrap();
    user.to_string().into_bytes()
}

/// The thirteen values in their order, which is not what an object is.
fn array_of_fields() -> Vec<u8> {
    let values: Vec<_> = user().as_object().unwrap().values().cloned().collect();
    Value::Array(values).to_string().into_bytes()
}

/// The dead letters by partition and offset of the record each was made of.
fn dead_letters(database: &Database) -> BTreeMap<(i32, i64), BusRecord> {
    let place = |letter: &BusRecord| {
        let number = |name: &str| letter.headers[name].parse::<i64>().unwrap();
        (i32::try_from(number("userpipe.partition")).unwrap(), number("userpipe.offset"))
    };
    database.records(DEAD_LETTERS).into_iter().map(|letter| (place(&letter), letter)).collect()
}

#[test]
fn what_cannot_be_decoded_becomes_a_dead_letter_and_the_rest_is_written() {
    let (sandbox, database) = with_users();
    let far_ahead = "2999-01-01T00:00:00.000Z";
    let poison: Vec<(Vec<u8>, &str)> = vec![
        (b"\xff\xfe\x00 no JSON".to_vec(), "not a JSON object of a user"),
        (b"".to_vec(), "not a JSON object of a user"),
        (b"{broken".to_vec(), "not a JSON object of a user"),
        (b"[1, 2]".to_vec(), "not a JSON object of a user"),
        (array_of_fields(), "not a JSON object of a user"),
        (user_without("dob"), "dob: missing or null"),
        (user_without("id"), "id: missing or null"),
        (user_with("id", json!("ann")), "id: "),
        (user_with("email", Value::Null), "email: missing or null"),
        (user_with("first_name", json!(7)), "first_name: "),
        (user_with("registered_date", json!("soon")), "registered_date: `soon` is no RFC 3339 date"),
        (user_with("timestamp", json!(far_ahead)), "timestamp: 2999-01-01T00:00:00.000Z is more than a day ahead"),
        (b"\x00\x00\x00\x00\x07framed".to_vec(), "schema id 7: no schema registry is configured"),
    ];
    let mut expected = BTreeMap::new();
    for (number, (value, reason)) in poison.iter().enumerate() {
        let partition = i32::try_from(number % 3).unwrap();
        let offset = database.append("users_created", partition, Some(b"key"), Some(value));
        expected.insert((partition, offset), (value, *reason));
    }
    let output = sandbox.userpipe("consume -e").ok();

    assert_eq!(database.ids().len(), 3);
    let summary = format!("written 3 · dead letters {} in ", expected.len());
    assert!(output.last_line().starts_with(&summary), "{}", output.last_line());
    let letters = dead_letters(&database);
    assert_eq!(letters.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (place, letter) in &letters {
        let (value, reason) = expected[place];
        assert_eq!((letter.key.as_deref(), letter.value.as_ref()), (Some(b"key".as_slice()), Some(value)));
        let header = |name: &str| letter.headers[name].as_str();
        assert_eq!((header("userpipe.topic"), header("userpipe.stage")), ("users_created", "decode"));
        assert!(header("userpipe.error").starts_with(reason), "{reason} in {:?}", letter.headers);
        assert_eq!(header("userpipe.attempts"), "1");
        assert!(header("userpipe.time").ends_with('Z'));
    }
    assert_eq!(sandbox.userpipe("consume -e").ok().last_line().split(" in ").next(), Some("nothing yet"));
}

#[test]
fn a_tombstone_with_an_id_deletes_the_row_and_one_without_is_a_dead_letter() {
    let (sandbox, database) = with_users();
    sandbox.userpipe("consume -e").ok();
    assert!(database.ids().contains(&ID.to_owned()));
    database.append("users_created", 0, Some(ID.as_bytes()), None);
    database.append("users_created", 1, Some(NOBODY.as_bytes()), None);
    let bad_key = database.append("users_created", 1, Some(b"ann"), None);
    let no_key = database.append("users_created", 2, None, None);
    sandbox.userpipe("consume -e").ok();

    assert_eq!(database.ids().len(), 2);
    assert!(!database.ids().contains(&ID.to_owned()));
    let letters = dead_letters(&database);
    assert_eq!(letters.keys().copied().collect::<Vec<_>>(), [(1, bad_key), (2, no_key)]);
    for letter in letters.values() {
        assert_eq!(letter.headers["userpipe.error"], "a tombstone whose key is no id");
        assert_eq!(letter.value, None);
    }
}

/// One of the kinds of poison, ten of each: its key, its value, and why it is one.
fn poison(number: usize) -> (String, Option<Vec<u8>>, &'static str) {
    let key = format!("00000000-0000-5000-8000-{:012}", 500_000 + number);
    let with = |field: &str, value: Value| {
        let mut user = user();
        user["id"] = json!(key);
        user["email"] = json!(format!("{number}@b.c"));
        user[field] = value;
        if user[field] == "gone" {
            user.as_object_mut().unwrap().remove(field);
        }
        Some(user.to_string().into_bytes())
    };
    let (value, reason) = match number % 10 {
        0 => (Some(b"\xff\xfe no JSON".to_vec()), "not a JSON object of a user"),
        1 => (Some(b"\x00\x00\x00\x00\x07framed".to_vec()), "schema id 7: no schema registry"),
        2 => (with("dob", json!("gone")), "dob: missing or null"),
        3 => (with("email", Value::Null), "email: missing or null"),
        4 => (with("first_name", json!(7)), "first_name: "),
        5 => (with("registered_date", json!("soon")), "registered_date: `soon` is no RFC 3339 date"),
        6 => (with("last_name", json!("refused")), "the column is too narrow"),
        7 => (with("address", json!("x".repeat(1_000_000))), "the record is too large"),
        8 => return ("nobody".to_owned(), None, "a tombstone whose key is no id"),
        _ => (with("id", json!("gone")), "id: missing or null"),
    };
    (key, value, reason)
}

const REFUSE: [&str; 2] = [
    "CREATE TRIGGER narrow BEFORE INSERT ON created_users WHEN NEW.last_name = 'refused'
     BEGIN SELECT RAISE(ABORT, 'the column is too narrow'); END",
    "CREATE TRIGGER large BEFORE INSERT ON created_users WHEN length(NEW.address) > 900000
     BEGIN SELECT RAISE(ABORT, 'the record is too large'); END",
];
const LAG: &str = "SELECT coalesce(sum(next_offset), 0) - (SELECT coalesce(sum(offset), 0) FROM bus_offsets)
    FROM bus_partitions WHERE topic = 'users_created'";

#[test]
fn a_hundred_poisoned_records_among_ten_thousand_are_dead_letters_and_the_repairable_ones_come_in_later() {
    let sandbox = Sandbox::new();
    let database = sandbox.prepare();
    for trigger in REFUSE {
        database.execute(trigger);
    }
    let mut good = Vec::new();
    for number in 0..9_900 {
        good.extend(user_with("id", json!(format!("00000000-0000-5000-8000-{number:012}"))));
        good.push(b'\n');
    }
    sandbox.userpipe("produce --input -").input(good).ok();
    let mut expected = BTreeMap::new();
    for (number, partition) in (0..100).zip([0, 1, 2].into_iter().cycle()) {
        let (key, value, reason) = poison(number);
        let offset = database.append("users_created", partition, Some(key.as_bytes()), value.as_deref());
        expected.insert((partition, offset), reason);
    }
    for _ in 0..20 {
        database.append("users_created", 1, Some(b"00000000-0000-5000-8000-000000900000"), None);
    }
    sandbox.userpipe("consume -e").ok();

    assert_eq!((database.ids().len(), database.number(LAG)), (9_900, 0));
    let letters = dead_letters(&database);
    assert_eq!(letters.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (place, letter) in &letters {
        assert!(letter.headers["userpipe.error"].starts_with(expected[place]), "{place:?}: {:?}", letter.headers);
    }

    for mend in ["DROP TRIGGER narrow", "DROP TRIGGER large"] {
        database.execute(mend);
    }
    let replayed = sandbox.userpipe("dead-letters replay").ok();
    assert!(replayed.last_line().starts_with("sent 100 to "), "{}", replayed.last_line());
    let mended = sandbox.userpipe("consume -e --derive-id").ok();
    assert!(mended.last_line().starts_with("written 30 · dead letters 70 in "), "{}", mended.last_line());
    assert_eq!((database.ids().len(), database.number(LAG)), (9_930, 0));
    let again = sandbox.userpipe("dead-letters replay --dry-run").ok();
    assert!(again.last_line().starts_with("would be sent 70 · replayed before 100 to "), "{}", again.last_line());
}

#[test]
fn on_stdout_a_tombstone_is_told() {
    let (sandbox, database) = with_users();
    database.append("users_created", 0, Some(ID.as_bytes()), None);
    let told = sandbox.userpipe("consume -e --sink stdout").ok().json_lines();
    assert!(told.contains(&json!({ "id": ID, "deleted": true })), "{told:?}");
}

#[test]
fn a_topic_of_nothing_but_poison_is_read_to_its_end() {
    let sandbox = Sandbox::new();
    let database = sandbox.prepare();
    for _ in 0..50 {
        database.append("users_created", 1, None, Some(b"poison"));
    }
    let output = sandbox.userpipe("consume -e").ok();
    assert_eq!(output.last_line().split(" in ").next(), Some("dead letters 50"));
    assert_eq!(database.records(DEAD_LETTERS).len(), 50);
}

#[test]
fn reading_a_clean_topic_makes_no_dead_letter_topic() {
    let sandbox = Sandbox::new();
    sandbox.userpipe("run --once --source synthetic --count 3").ok();
    assert_eq!(sandbox.database().texts("SELECT DISTINCT topic FROM bus_partitions"), ["users_created"]);
}
