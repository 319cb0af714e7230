//! Plain JSON: the names of the 13 fields, dates as RFC 3339.
//!
//! Reading is lenient where demo producers differ (decided in the design): `post_code` may be a number and
//! `postcode` is its alias, a date without a zone is UTC, a missing `timestamp` is the bus record's time.
//!
//! Optional columns follow the 13 under their own names; they are read only where some were asked for.

use std::borrow::Cow;

use bytes::Bytes;
use serde::Deserialize;

use super::{Codec, derived_id};
use crate::record::{Fields, NumberOrText, Text, Timestamp, User};

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

pub(super) fn encode(user: &User) -> Bytes {
    user.wire().into_owned().into_bytes()
}

pub(super) fn decode(value: &Bytes, sent_at: Timestamp, codec: &Codec) -> Result<User, String> {
    // Nearly all records are ours.
    codec.decode_own(value).map_or_else(|| decode_any(value, sent_at, codec), Ok)
}

fn decode_any(value: &[u8], sent_at: Timestamp, codec: &Codec) -> Result<User, String> {
    // serde would read an array as the fields in their order.
    if value.trim_ascii_start().first().is_some_and(|first| *first != b'{') {
        return Err("not a JSON object of a user".to_owned());
    }
    // What is not UTF-8 may be so only in fields that nobody reads.
    let parsed = std::str::from_utf8(value).map_or_else(|_| serde_json::from_slice(value), serde_json::from_str);
    let wire: Wire<'_> = parsed.or_else(|_| parse_naming_the_field(value))?;
    let email = text("email", wire.email)?;
    let username = text("username", wire.username)?;
    let id = match wire.id {
        Some(id) => id.0.trim().parse().map_err(|e| format!("id: {e}"))?,
        None if codec.derive_id => derived_id(&email, &username),
        None => return Err("id: missing or null".to_owned()),
    };
    let extras = codec.with.of_wire(value)?;
    let fields = Fields {
        id,
        first_name: &text("first_name", wire.first_name)?,
        last_name: &text("last_name", wire.last_name)?,
        gender: &text("gender", wire.gender)?,
        email: &email,
        username: &username,
        phone: &text("phone", wire.phone)?,
        address: &text("address", wire.address)?,
        post_code: &present("post_code", wire.post_code)?.0,
        dob: present("dob", wire.dob)?,
        registered_date: present("registered_date", wire.registered_date)?,
        picture: &text("picture", wire.picture)?,
        timestamp: wire.timestamp.unwrap_or(sent_at),
    };
    Ok(User::new(fields, extras))
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

fn text<'w>(field: &str, value: Option<Text<'w>>) -> Result<Cow<'w, str>, String> {
    present(field, value).map(|text| text.0)
}

fn present<T>(field: &str, value: Option<T>) -> Result<T, String> {
    value.ok_or_else(|| format!("{field}: missing or null"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::any_user;
    use super::*;
    use crate::record::{COLUMNS, ColumnType, Extras, OPTIONAL_COLUMNS, With};

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
        decode(&serde_json::to_vec(value).expect("serializes").into(), sent_at(), &Codec::default())
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
    fn optional_columns_follow_the_thirteen_and_those_that_were_asked_for_are_read() {
        let mut wire = sample();
        let more =
            [("age", serde_json::json!(36)), ("country", serde_json::json!(" X ")), ("cell", serde_json::json!(null))];
        wire.extend(more.map(|(name, value)| (name.to_owned(), value)));
        let bytes = Bytes::from(serde_json::to_vec(&wire).expect("serializes"));
        let read = |names: &[&str]| {
            let with = With::columns(names).expect("known names");
            Codec { with, ..Codec::default() }.decode(&bytes, sent_at()).expect("a whole user")
        };
        assert_eq!(read(&[]).extras(), None);
        assert_eq!(read(&["cell", "title"]).extras(), None);
        let text = |names: &[&str]| String::from_utf8(encode(&read(names)).into()).expect("UTF-8");
        assert!(
            text(&["country", "age"]).ends_with(r#","timestamp":"2026-01-01T00:00:00.000Z","age":36,"country":" X "}"#)
        );
        assert!(text(&["age", "cell"]).ends_with(r#","timestamp":"2026-01-01T00:00:00.000Z","age":36}"#));
        wire.insert("age".to_owned(), serde_json::json!(1.5));
        let bytes = Bytes::from(serde_json::to_vec(&wire).expect("serializes"));
        let with = With::columns(&["age"]).expect("a known name");
        let poison = Codec { with, ..Codec::default() }.decode(&bytes, sent_at());
        assert_eq!(poison, Err("age: expected an integer of 32 bits".to_owned()));
        assert!(Codec::default().decode(&bytes, sent_at()).is_ok(), "nobody asked");
    }

    #[test]
    fn each_lacking_field_is_named_but_timestamp_which_is_the_records_own() {
        for column in COLUMNS {
            let mut lacking = sample();
            lacking.remove(column.name);
            match decode_value(&lacking) {
                Ok(user) => assert_eq!((column.name, user.timestamp()), ("timestamp", sent_at())),
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
        assert_eq!((user.post_code(), user.dob().to_string().as_str()), ("1234", "1990-01-01T10:00:00.000Z"));

        demo.remove("id");
        let bytes = Bytes::from(serde_json::to_vec(&demo).expect("serializes"));
        let derived =
            Codec { derive_id: true, ..Codec::default() }.decode(&bytes, sent_at()).expect("an id is derived");
        assert_eq!(derived.id(), derived_id("a@b.c", "ab"));
    }

    #[test]
    fn what_can_never_be_a_user_says_why() {
        let reason =
            |bytes: &[u8]| Codec::default().decode(&Bytes::copy_from_slice(bytes), sent_at()).expect_err("poison");
        assert!(reason(b"").starts_with("not a JSON object"));
        assert_eq!(reason(b" [1, 2]"), "not a JSON object of a user");
        let values: Vec<_> = sample().values().cloned().collect();
        assert_eq!(reason(&serde_json::to_vec(&values).expect("serializes")), "not a JSON object of a user");
        assert!(reason(b"{broken").starts_with("not a JSON object of a user: "), "{}", reason(b"{broken"));
        assert!(reason(b"\xff\xfe").starts_with("not a JSON object"));
        assert!(reason(b"{\"first_name\":").contains("EOF"));
        assert!(reason(&[0, 0, 0, 0, 7, 1]).contains("no schema registry"));
    }

    /// As the general way reads it.
    fn decode_by_serde(value: &[u8], codec: &Codec) -> Result<User, String> {
        decode_any(value, sent_at(), codec)
    }

    #[test]
    fn what_is_only_like_our_own_is_left_to_the_general_way() {
        let user = decode_value(&sample()).expect("a whole user");
        let own = user.wire().to_string();
        assert_eq!(User::of_wire(&own.clone().into()), Some(user));
        let cases = [
            ("\"last_name\"", "\"lastname\""),
            ("\"B\",", "\"B\"}"),
            ("\"B\"", "\"B\\u0020\""),
            ("\"B\"", "\"B\u{1}\""),
            ("\"B\"", "7"),
            ("\"B\",", "\"B\", "),
            ("0Z\"}", "0Z\""),
            ("0Z\"}", "0Z\",\"}"),
            ("0Z\"}", "0Z\",\"age\":36}"),
            ("0Z\"}", "0Z\"}\"}"),
            ("1990-01-01", "1990-13-01"),
            ("1990-01-01T00:00:00.000Z", "1990-01-01T00:00:00Z"),
            ("000000000001", "00000000000A"),
            ("00000000-0000-5000-8000-000000000001", "00000000000050008000000000000001"),
        ];
        for (from, to) in cases {
            let other = own.replacen(from, to, 1);
            assert!(other != own && User::of_wire(&other.clone().into()).is_none(), "{other}");
        }
    }

    /// Each optional column there or not; nothing where none is.
    fn any_extras() -> impl Strategy<Value = Option<Box<Extras>>> {
        let value = |kind: ColumnType| match kind {
            ColumnType::Int => any::<i32>().prop_map(|n| serde_json::json!(n)).boxed(),
            ColumnType::Double => {
                let finite = any::<f64>().prop_filter("JSON has no other", |n| n.is_finite());
                finite.prop_map(|n| serde_json::json!(n)).boxed()
            }
            _ => any::<String>().prop_map(|text| serde_json::json!(text)).boxed(),
        };
        let values: Vec<_> = OPTIONAL_COLUMNS.iter().map(|column| prop::option::of(value(column.kind))).collect();
        values.prop_map(|values| {
            let mut extras = Extras::default();
            for (column, value) in OPTIONAL_COLUMNS.iter().zip(values) {
                extras.set(column.name, &value.unwrap_or_default()).expect("of its kind");
            }
            (extras != Extras::default()).then(|| Box::new(extras))
        })
    }

    proptest! {
        #[test]
        fn encoding_and_decoding_is_the_identity(user in any_user(any_extras())) {
            let codec = Codec { with: With::all(), ..Codec::default() };
            let bytes = codec.encode(&user);
            prop_assert_eq!(codec.decode(&bytes, sent_at()), Ok(user.clone()));
            let less = user.with_extras(None);
            prop_assert_eq!(Codec::default().decode(&bytes, sent_at()), Ok(less));
        }

        #[test]
        fn both_ways_read_the_same(
            user in any_user(any_extras()),
            changes in prop::collection::vec(
                (any::<prop::sample::Index>(), prop::sample::select(&b"\"\\{}:,[]nul 0aZ\n\x01\xc3"[..])),
                0..3,
            ),
            shorter in any::<bool>(),
        ) {
            let mut bytes = Vec::from(encode(&user));
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                if shorter { bytes.remove(at); } else { bytes[at] = byte; }
            }
            let codec = Codec::default();
            let read = codec.decode(&bytes.clone().into(), sent_at());
            prop_assert_eq!(&read, &decode_by_serde(&bytes, &codec));
            // What was taken as it came is what would be written.
            let own = User::of_wire(&bytes.clone().into());
            prop_assert!(own.is_none() || own.as_ref() == read.as_ref().ok());
            prop_assert!(own.is_none_or(|own| own.wire().as_bytes() == &bytes));
        }

        #[test]
        fn decoding_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Codec::new(true, With::all()).decode(&bytes.into(), sent_at());
        }
    }
}
