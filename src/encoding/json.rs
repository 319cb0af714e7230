//! Plain JSON: the names of the 13 fields, dates as RFC 3339.
//!
//! Reading is lenient where demo producers differ (decided in the design): `post_code` may be a number and
//! `postcode` is its alias, a date without a zone is UTC, a missing `timestamp` is the bus record's time.

use serde::Deserialize;

use super::{Codec, derived_id};
use crate::record::{Extras, NumberOrText, Text, Timestamp, User, With};

#[derive(Deserialize)]
struct Wire<'a> {
    id: Option<Text<'a>>,
    #[serde(borrow)]
    first_name: Option<Text<'a>>,
    last_name: Option<Text<'a>>,
    gender: Option<Text<'a>>,
    email: Option<Text<'a>>,
    username: Option<Text<'a>>,
    phone: Option<Text<'a>>,
    address: Option<Text<'a>>,
    #[serde(alias = "postcode")]
    post_code: Option<NumberOrText<'a>>,
    dob: Option<Timestamp>,
    registered_date: Option<Timestamp>,
    picture: Option<Text<'a>>,
    timestamp: Option<Timestamp>,
}

pub(super) fn encode(user: &User) -> Vec<u8> {
    // A struct of strings and dates always serializes; its map keys are its field names.
    serde_json::to_vec(user).unwrap_or_default()
}

pub(super) fn decode(value: &[u8], sent_at: Timestamp, codec: &Codec) -> Result<User, String> {
    // serde would read an array as the fields in their order.
    if value.trim_ascii_start().first().is_some_and(|first| *first != b'{') {
        return Err("not a JSON object of a user".to_owned());
    }
    let wire: Wire<'_> = serde_json::from_slice(value).or_else(|_| parse_naming_the_field(value))?;
    let email = text("email", wire.email)?;
    let username = text("username", wire.username)?;
    let id = match wire.id {
        Some(id) => id.0.trim().parse().map_err(|e| format!("id: {e}"))?,
        None if codec.derive_id => derived_id(&email, &username),
        None => return Err("id: missing or null".to_owned()),
    };
    let extras = extras(value, &codec.with)?;
    Ok(User {
        id,
        first_name: text("first_name", wire.first_name)?,
        last_name: text("last_name", wire.last_name)?,
        gender: text("gender", wire.gender)?,
        email,
        username,
        phone: text("phone", wire.phone)?,
        address: text("address", wire.address)?,
        post_code: present("post_code", wire.post_code)?.0.into_owned(),
        dob: present("dob", wire.dob)?,
        registered_date: present("registered_date", wire.registered_date)?,
        picture: text("picture", wire.picture)?,
        timestamp: wire.timestamp.unwrap_or(sent_at),
        extras,
    })
}

/// The optional columns are looked for only where some were asked for, and then in the whole value again.
fn extras(value: &[u8], with: &With) -> Result<Option<Box<Extras>>, String> {
    if with.is_empty() {
        return Ok(None);
    }
    let all: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(value).map_err(|e| format!("not a JSON object of a user: {e}"))?;
    with.extras(|column| all.get(column.name)).map_err(|(name, expected)| format!("{name}: expected {expected}"))
}

/// Only what fails is parsed a second time, for the path of the field.
fn parse_naming_the_field(value: &[u8]) -> Result<Wire<'_>, String> {
    serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_slice(value)).map_err(|error| {
        let path = error.path().to_string();
        let cause = error.into_inner();
        if cause.is_data() && path != "." {
            format!("{path}: {cause}")
        } else {
            format!("not a JSON object of a user: {cause}")
        }
    })
}

fn text(field: &str, value: Option<Text<'_>>) -> Result<String, String> {
    present(field, value).map(|text| text.0.into_owned())
}

fn present<T>(field: &str, value: Option<T>) -> Result<T, String> {
    value.ok_or_else(|| format!("{field}: missing or null"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::record::COLUMNS;

    fn sent_at() -> Timestamp {
        Timestamp::from_unix_ms(1_790_000_000_000).expect("in range")
    }

    fn sample() -> serde_json::Map<String, serde_json::Value> {
        serde_json::from_str(
            r#"{"id":"00000000-0000-5000-8000-000000000001","first_name":"A","last_name":"B","gender":"female",
            "email":"a@b.c","username":"ab","phone":"1","address":"1 X, Y, Z, W","post_code":"0378",
            "dob":"1990-01-01T00:00:00.000Z","registered_date":"2010-01-01T00:00:00.000Z","picture":"p",
            "timestamp":"2026-01-01T00:00:00.000Z"}"#,
        )
        .expect("the test's own JSON")
    }

    fn decode_value(value: &serde_json::Map<String, serde_json::Value>) -> Result<User, String> {
        decode(&serde_json::to_vec(value).expect("serializes"), sent_at(), &Codec::default())
    }

    #[test]
    fn the_wire_has_the_columns_in_order() {
        let user = decode_value(&sample()).expect("a whole user");
        let wire: serde_json::Map<String, serde_json::Value> =
            serde_json::from_slice(&encode(&user)).expect("valid JSON");
        let names: Vec<_> = wire.keys().map(String::as_str).collect();
        assert_eq!(names, COLUMNS.iter().map(|c| c.name).collect::<Vec<_>>());
        assert_eq!(names.len(), 13);
    }

    #[test]
    fn each_lacking_field_is_named_but_timestamp_which_is_the_records_own() {
        for column in COLUMNS {
            let mut lacking = sample();
            lacking.remove(column.name);
            match decode_value(&lacking) {
                Ok(user) => assert_eq!((column.name, user.timestamp), ("timestamp", sent_at())),
                Err(reason) => assert_eq!(reason, format!("{}: missing or null", column.name)),
            }
            let mut wrong = sample();
            wrong.insert(column.name.to_owned(), serde_json::json!([1]));
            let reason = decode_value(&wrong).expect_err("an array is no value of any field");
            assert!(reason.starts_with(column.name), "{reason}");
        }
    }

    #[test]
    fn demo_producers_are_understood() {
        let mut demo = sample();
        demo.remove("post_code");
        demo.insert("postcode".to_owned(), serde_json::json!(1234));
        demo.insert("dob".to_owned(), serde_json::json!("1990-01-01T10:00:00"));
        demo.insert("unknown".to_owned(), serde_json::json!({"more": true}));
        let user = decode_value(&demo).expect("lenient");
        assert_eq!((user.post_code.as_str(), user.dob.to_string().as_str()), ("1234", "1990-01-01T10:00:00.000Z"));

        demo.remove("id");
        let bytes = serde_json::to_vec(&demo).expect("serializes");
        let derived =
            Codec { derive_id: true, ..Codec::default() }.decode(&bytes, sent_at()).expect("an id is derived");
        assert_eq!(derived.id, derived_id("a@b.c", "ab"));
    }

    #[test]
    fn what_can_never_be_a_user_says_why() {
        let reason = |bytes: &[u8]| Codec::default().decode(bytes, sent_at()).expect_err("poison");
        assert!(reason(b"").starts_with("not a JSON object"));
        assert_eq!(reason(b" [1, 2]"), "not a JSON object of a user");
        let values: Vec<_> = sample().values().cloned().collect();
        assert_eq!(reason(&serde_json::to_vec(&values).expect("serializes")), "not a JSON object of a user");
        assert!(reason(b"{broken").starts_with("not a JSON object of a user: "), "{}", reason(b"{broken"));
        assert!(reason(b"\xff\xfe").starts_with("not a JSON object"));
        assert!(reason(b"{\"first_name\":").contains("EOF"));
        assert!(reason(&[0, 0, 0, 0, 7, 1]).contains("no schema registry"));
    }

    fn any_user() -> impl Strategy<Value = User> {
        let ms = -2_000_000_000_000_i64..4_000_000_000_000;
        let texts = prop::collection::vec(any::<String>(), 9);
        (any::<u128>(), texts, ms.clone(), ms.clone(), ms).prop_map(|(id, texts, dob, registered, at)| {
            let mut texts = texts.into_iter();
            let mut next = || texts.next().unwrap_or_default();
            let date = |ms| Timestamp::from_unix_ms(ms).expect("in range");
            User {
                id: Uuid::from_u128(id),
                first_name: next(),
                last_name: next(),
                gender: next(),
                email: next(),
                username: next(),
                phone: next(),
                address: next(),
                post_code: next(),
                picture: next(),
                dob: date(dob),
                registered_date: date(registered),
                timestamp: date(at),
                extras: None,
            }
        })
    }

    proptest! {
        #[test]
        fn encoding_and_decoding_is_the_identity(user in any_user()) {
            let codec = Codec::default();
            prop_assert_eq!(codec.decode(&codec.encode(&user), sent_at()), Ok(user));
        }

        #[test]
        fn decoding_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Codec { derive_id: true, ..Codec::default() }.decode(&bytes, sent_at());
        }
    }
}
