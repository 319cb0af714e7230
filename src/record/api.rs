//! The formatter: one user of the Random User API becomes a [`User`], and loses its secrets.
//!
//! Nothing of `login.{password,salt,md5,sha1,sha256}` or `id.value` passes this module.
//!
//! - `walk`: the quick way of reading a user that is written as the API writes it

pub(super) mod walk;

use std::fmt;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use sha1::{Digest as _, Sha1};
use uuid::Uuid;

use super::{Fields, NumberOrText, Text, Timestamp, User, With};

/// Why one user was refused: the field by its path in the API's JSON, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The path, such as `location.postcode`; empty where the user is no JSON object at all.
    pub field: String,
    /// What is wrong: `missing`, `empty`, or the parser's words.
    pub reason: String,
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.field.is_empty() { f.write_str(&self.reason) } else { write!(f, "{}: {}", self.field, self.reason) }
    }
}

/// The part of an API user that the record needs. Every leaf is optional, so that what lacks can be named.
#[derive(Debug, Deserialize, Default)]
#[serde(default)]
struct ApiUser<'a> {
    gender: Option<Text<'a>>,
    #[serde(borrow)]
    name: Name<'a>,
    #[serde(borrow)]
    location: Location<'a>,
    email: Option<Text<'a>>,
    #[serde(borrow)]
    login: Login<'a>,
    #[serde(borrow)]
    dob: Dated<'a>,
    #[serde(borrow)]
    registered: Dated<'a>,
    phone: Option<Text<'a>>,
    #[serde(borrow)]
    picture: Picture<'a>,
    nat: Option<Text<'a>>,
}

#[derive(Debug, Deserialize, Default)]
#[serde(default)]
struct Name<'a> {
    #[serde(borrow)]
    first: Option<Text<'a>>,
    last: Option<Text<'a>>,
}

#[derive(Debug, Deserialize, Default)]
#[serde(default)]
struct Location<'a> {
    #[serde(borrow)]
    street: Street<'a>,
    city: Option<Text<'a>>,
    state: Option<Text<'a>>,
    country: Option<Text<'a>>,
    postcode: Option<NumberOrText<'a>>,
}

#[derive(Debug, Deserialize, Default)]
#[serde(default)]
struct Street<'a> {
    #[serde(borrow)]
    number: Option<NumberOrText<'a>>,
    name: Option<Text<'a>>,
}

#[derive(Debug, Deserialize, Default)]
#[serde(default)]
struct Login<'a> {
    #[serde(borrow)]
    uuid: Option<Text<'a>>,
    username: Option<Text<'a>>,
}

#[derive(Debug, Deserialize, Default)]
#[serde(default)]
struct Dated<'a> {
    #[serde(borrow)]
    date: Option<Text<'a>>,
}

#[derive(Debug, Deserialize, Default)]
#[serde(default)]
struct Picture<'a> {
    #[serde(borrow)]
    medium: Option<Text<'a>>,
}

/// Formats one API user, fetched at `fetched_at`, with these optional columns.
///
/// Blanks around values are trimmed; everything else of the text stays as it is, whatever its script. An optional column
/// whose value is missing, null or empty is left out.
///
/// # Errors
/// [`Rejection`] names the first field that is missing, null, empty, wrongly typed or not a date.
pub fn format(raw: &RawValue, fetched_at: Timestamp, with: &With) -> Result<User, Rejection> {
    let user = parse(raw.get())?;
    let login_uuid = exact("login.uuid", user.login.uuid.as_ref())?;
    let nat = exact("nat", user.nat.as_ref())?;
    let email = exact("email", user.email.as_ref())?;
    let born = exact("dob.date", user.dob.date.as_ref())?;
    let registered = exact("registered.date", user.registered.date.as_ref())?;
    let fields = Fields {
        id: identity(&[login_uuid, nat, email, born, registered]),
        first_name: text("name.first", user.name.first.as_ref())?,
        last_name: text("name.last", user.name.last.as_ref())?,
        gender: text("gender", user.gender.as_ref())?,
        email: email.trim(),
        username: text("login.username", user.login.username.as_ref())?,
        phone: text("phone", user.phone.as_ref())?,
        address: &address(&user.location)?,
        post_code: trimmed("location.postcode", user.location.postcode.as_ref().map(|t| &*t.0))?,
        dob: date("dob.date", born)?,
        registered_date: date("registered.date", registered)?,
        picture: text("picture.medium", user.picture.medium.as_ref())?,
        timestamp: fetched_at,
    };
    Ok(User::new(fields, with.of_api(raw.get())?))
}

/// The id that this user would have, where it has what an id is made of: for telling which person was rejected.
pub fn identity_of(raw: &RawValue) -> Option<Uuid> {
    let user: Value = serde_json::from_str(raw.get()).ok()?;
    let text = |path| user.pointer(path).and_then(Value::as_str).filter(|text| !text.trim().is_empty());
    Some(identity(&[
        text("/login/uuid")?,
        text("/nat")?,
        text("/email")?,
        text("/dob/date")?,
        text("/registered/date")?,
    ]))
}

/// A user as the API writes it is walked over; any other is parsed, and one that fails is parsed again with its path.
fn parse(json: &str) -> Result<ApiUser<'_>, Rejection> {
    if let Some(walked) = walk::user(json) {
        return Ok(walked.user);
    }
    serde_json::from_str(json).or_else(|_| {
        serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_str(json)).map_err(|error| {
            let path = error.path().to_string();
            Rejection { field: if path == "." { String::new() } else { path }, reason: error.into_inner().to_string() }
        })
    })
}

/// The UUIDv5 of `https://randomuser.me/` in the namespace of URLs: the one that persons' ids are made in.
const PERSONS: Uuid = uuid::uuid!("cdacb85b-835a-5f24-9cce-f14d44ef4c49");

/// The person's id: a UUIDv5 (RFC 9562, section 5.5). Source of the rule: the API repeats `login.uuid` across
/// nationalities for one seed, and its `age` fields change with the day, so the name is made of what neither repeats nor
/// changes.
fn identity(parts: &[&str; 5]) -> Uuid {
    let mut hash = Sha1::new();
    hash.update(PERSONS.as_bytes());
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            hash.update(b"\x1f");
        }
        hash.update(part);
    }
    let hash: [u8; 20] = hash.finalize().into();
    let [id @ .., _, _, _, _] = hash;
    uuid::Builder::from_sha1_bytes(id).into_uuid()
}

fn address(location: &Location<'_>) -> Result<String, Rejection> {
    let number = trimmed("location.street.number", location.street.number.as_ref().map(|t| &*t.0))?;
    let street = trimmed("location.street.name", location.street.name.as_ref().map(|t| &*t.0))?;
    let city = trimmed("location.city", location.city.as_ref().map(|t| &*t.0))?;
    let state = trimmed("location.state", location.state.as_ref().map(|t| &*t.0))?;
    let country = trimmed("location.country", location.country.as_ref().map(|t| &*t.0))?;
    Ok([number, " ", street, ", ", city, ", ", state, ", ", country].concat())
}

fn text<'v>(field: &str, value: Option<&'v Text<'_>>) -> Result<&'v str, Rejection> {
    trimmed(field, value.map(|t| &*t.0))
}

/// As the API gives it, blanks included: the identity is made of such.
fn exact<'v>(field: &str, value: Option<&'v Text<'_>>) -> Result<&'v str, Rejection> {
    trimmed(field, value.map(|t| &*t.0))?;
    Ok(value.map_or("", |t| &t.0))
}

fn trimmed<'v>(field: &str, value: Option<&'v str>) -> Result<&'v str, Rejection> {
    match value.map(str::trim) {
        Some("") => Err(Rejection { field: field.to_owned(), reason: "empty".to_owned() }),
        Some(text) => Ok(text),
        None => Err(Rejection { field: field.to_owned(), reason: "missing".to_owned() }),
    }
}

fn date(field: &str, value: &str) -> Result<Timestamp, Rejection> {
    value.parse().map_err(|reason| Rejection { field: field.to_owned(), reason })
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::super::{ColumnType, OPTIONAL_COLUMNS};
    use super::*;

    pub(in crate::record) const USER: &str = r#"{"gender":"female","name":{"title":"Ms","first":" Veronika ","last":"Nordnes"},
        "location":{"street":{"number":8128,"name":"Sven Bruns gate "},"city":"Terråk","state":"Akershus",
        "country":"Norway","postcode":"0378"},"email":"veronika.nordnes@example.com",
        "login":{"uuid":"f9d0ddd0-400b-43ae-836d-331f31145a01","username":"smallduck293","password":"harvard",
        "salt":"abToO4qn","md5":"e7d1","sha1":"9eb5","sha256":"fc95","future":"x"},
        "dob":{"date":"1948-04-30T01:13:18.467Z","age":78},"registered":{"date":"2021-03-10T18:22:35.595Z","age":5},
        "phone":"21236008","cell":"40551004","id":{"name":"FN","value":"30044842439"},
        "picture":{"medium":"https://randomuser.me/api/portraits/med/women/21.jpg"},"nat":"NO"}"#;

    pub(in crate::record) fn raw(json: &str) -> Box<RawValue> {
        RawValue::from_string(json.to_owned()).expect("the test's own JSON")
    }

    pub(in crate::record) fn at() -> Timestamp {
        Timestamp::from_unix_ms(1_790_000_000_123).expect("in range")
    }

    #[test]
    fn a_user_has_the_thirteen_fields_trimmed() {
        let user = format(&raw(USER), at(), &With::default()).expect("a whole user");
        let json = serde_json::to_string(&user).expect("serializes");
        assert_eq!(
            json,
            r#"{"id":"b20ee537-6a60-579a-8352-512aeb33a1c8","first_name":"Veronika","last_name":"Nordnes","gender":"female","email":"veronika.nordnes@example.com","username":"smallduck293","phone":"21236008","address":"8128 Sven Bruns gate, Terråk, Akershus, Norway","post_code":"0378","dob":"1948-04-30T01:13:18.467Z","registered_date":"2021-03-10T18:22:35.595Z","picture":"https://randomuser.me/api/portraits/med/women/21.jpg","timestamp":"2026-09-21T14:13:20.123Z"}"#
        );
    }

    #[test]
    fn an_id_is_the_uuid_of_its_parts_in_the_namespace_of_persons() {
        assert_eq!(PERSONS, Uuid::new_v5(&Uuid::NAMESPACE_URL, b"https://randomuser.me/"));
        let long = "é".repeat(300);
        for parts in [["", "", "", "", ""], ["a", "NO", "b@c", "d", "e"], [&long, "NO", &long, " ", &long]] {
            assert_eq!(identity(&parts), Uuid::new_v5(&PERSONS, parts.join("\u{1f}").as_bytes()));
        }
    }

    #[test]
    fn the_id_ignores_ages_and_depends_on_nationality() {
        let id = |json: &str| format(&raw(json), at(), &With::default()).map(|u| u.id());
        assert_eq!(id(USER), id(&USER.replace("\"age\":78", "\"age\":79")));
        assert_ne!(id(USER), id(&USER.replace("\"nat\":\"NO\"", "\"nat\":\"DK\"")));
    }

    #[test]
    fn a_lacking_field_is_named() {
        let reject = |from: &str, to: &str| {
            format(&raw(&USER.replace(from, to)), at(), &With::default()).map_err(|r| r.to_string())
        };
        assert_eq!(reject("\"postcode\":\"0378\"", "\"x\":1"), Err("location.postcode: missing".to_owned()));
        assert_eq!(reject("\"0378\"", "null"), Err("location.postcode: missing".to_owned()));
        assert_eq!(reject("\"Terråk\"", "\"  \""), Err("location.city: empty".to_owned()));
        assert_eq!(
            reject("\"1948-04-30T01:13:18.467Z\"", "\"soon\""),
            Err("dob.date: `soon` is no RFC 3339 date".to_owned())
        );
        let wrong = reject("\"Terråk\"", "7").expect_err("a number is no city");
        assert!(wrong.starts_with("location.city: invalid type: integer `7`"), "{wrong}");
        let not_a_user = format(&raw("[1]"), at(), &With::default()).expect_err("an array is no user");
        assert!(!not_a_user.reason.is_empty());
    }

    #[test]
    fn a_rejected_user_has_the_id_it_would_have() {
        let id = format(&raw(USER), at(), &With::default()).map(|user| user.id()).ok();
        for (from, to) in [("\"Terråk\"", "7"), ("\"0378\"", "null"), ("\"21236008\"", "[]")] {
            assert_eq!(identity_of(&raw(&USER.replace(from, to))), id, "{from} {to}");
        }
        assert_eq!(identity_of(&raw(&USER.replace("\"nat\":\"NO\"", "\"nat\":null"))), None);
        assert_eq!(identity_of(&raw("[1]")), None);
    }

    /// A value as the API might send it, and what an optional column of text, a whole number or a number makes of it.
    fn any_value() -> impl Strategy<Value = Option<Value>> {
        prop_oneof![
            Just(None),
            Just(Some(Value::Null)),
            any::<bool>().prop_map(|yes| Some(Value::Bool(yes))),
            any::<i64>().prop_map(|number| Some(number.into())),
            any::<i32>().prop_map(|number| Some(number.to_string().into())),
            any::<f64>().prop_map(|number| Some(number.into())),
            any::<String>().prop_map(|text| Some(text.into())),
            Just(Some(serde_json::json!({"value": 1}))),
        ]
    }

    /// What is expected of a value, apart from the code under test: whether it is taken, and whether something comes of it.
    fn is_taken(kind: ColumnType, value: Option<&Value>) -> Result<bool, ()> {
        let text = match value {
            None | Some(Value::Null) => return Ok(false),
            Some(Value::String(text)) if text.trim().is_empty() => return Ok(false),
            Some(Value::String(text)) => text.trim().to_owned(),
            Some(Value::Number(number)) => number.to_string(),
            Some(_) => return Err(()),
        };
        let fits = match kind {
            ColumnType::Int => text.parse::<i32>().is_ok(),
            ColumnType::Double => text.parse::<f64>().is_ok_and(f64::is_finite),
            ColumnType::Uuid | ColumnType::Text | ColumnType::Timestamp => true,
        };
        if fits { Ok(true) } else { Err(()) }
    }

    proptest! {
        #[test]
        fn an_optional_value_is_taken_left_out_or_rejected_by_name(
            values in prop::collection::vec(any_value(), OPTIONAL_COLUMNS.len()),
        ) {
            // Those that the 13 are not made of.
            let optional: Vec<_> = OPTIONAL_COLUMNS
                .iter()
                .zip(&values)
                .filter(|(column, _)| !["nationality", "street_number", "street_name", "city", "state", "country"]
                    .contains(&column.name))
                .collect();
            let mut user: Value = serde_json::from_str(USER).expect("the test's own JSON");
            user["location"]["coordinates"] = serde_json::json!({});
            user["location"]["timezone"] = serde_json::json!({});
            for (column, value) in &optional {
                let (parent, key) = column.source.and_then(|source| source.rsplit_once('/')).expect("a path");
                let parent = user.pointer_mut(parent).and_then(Value::as_object_mut).expect("an object");
                parent.remove(key);
                parent.extend(value.iter().map(|value| (key.to_owned(), value.clone())));
            }
            let user = raw(&user.to_string());
            let plain = format(&user, at(), &With::default()).expect("the 13 are whole");
            for (column, value) in optional {
                let with = With::columns(&[column.name]).expect("a known name");
                let path = column.source.expect("a path")[1..].replace('/', ".");
                match (format(&user, at(), &with), is_taken(column.kind, value.as_ref())) {
                    (Ok(user), Ok(is_there)) => {
                        prop_assert_eq!(user.value(column).is_some(), is_there);
                        prop_assert_eq!(&user.with_extras(None), &plain);
                    }
                    (Err(rejection), Err(())) => prop_assert_eq!(rejection.field, path),
                    (made, expected) => prop_assert!(false, "{} {value:?}: {made:?}, not {expected:?}", column.name),
                }
            }
        }
    }
}
