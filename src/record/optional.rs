//! Optional columns out of JSON: picked in one pass over the bytes, without building the values around them.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::{Column, Extras, OPTIONAL_COLUMNS, Text, With};

/// A set of chosen columns: bit n is the nth of them.
type Columns = u32;

const _: () = assert!(OPTIONAL_COLUMNS.len() <= Columns::BITS as usize, "a set has a bit for every column");

/// Which JSON it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Names {
    /// Ours: every column at the top, under its own name.
    Wire,
    /// The API's: where [`Column::source`] says. Blanks around values are trimmed, and what is empty is not there.
    Api,
}

impl Names {
    /// The keys on the way to a column, with a slash between them.
    fn way(self, column: &Column) -> &'static str {
        match self {
            Names::Wire => column.name,
            Names::Api => column.source.unwrap_or_default().trim_start_matches('/'),
        }
    }
}

/// A value that is not what its column takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unfit {
    /// Its path in the JSON, as `dob.age`.
    pub(super) path: String,
    /// What it should be.
    pub(super) expected: &'static str,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: expected {}", self.path, self.expected)
    }
}

/// What the JSON of one user has of the chosen columns; where none were chosen, it is not looked at.
pub(super) fn pick(with: &With, json: &[u8], names: Names) -> Result<Option<Box<Extras>>, Unfit> {
    let Some(columns) = with.0.as_deref() else { return Ok(None) };
    let mut picker = Picker { columns, names, extras: Extras::default(), unfit: None };
    let wanted = (0..columns.len()).fold(0, |all, index| all | 1 << index);
    let level = Level { picker: &mut picker, wanted, at: 0 };
    let read = level.deserialize(&mut serde_json::Deserializer::from_slice(json));
    match (picker.unfit, read) {
        (Some(unfit), _) => Err(unfit),
        (None, Err(_)) => Err(Unfit { path: "the user".to_owned(), expected: "a JSON object" }),
        (None, Ok(())) => Ok((picker.extras != Extras::default()).then(|| Box::new(picker.extras))),
    }
}

/// What was picked so far.
struct Picker<'w> {
    columns: &'w [&'static Column],
    names: Names,
    extras: Extras,
    unfit: Option<Unfit>,
}

impl Picker<'_> {
    /// Those of `wanted`, whose ways are the same up to `at`, that are at or below this key.
    fn below(&self, wanted: Columns, at: usize, key: &str) -> Columns {
        let mut below = 0;
        if key.contains('/') {
            return below;
        }
        for (index, column) in self.columns.iter().enumerate() {
            let rest = self.names.way(column).get(at..).and_then(|way| way.strip_prefix(key));
            if wanted & 1 << index != 0 && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
                below |= 1 << index;
            }
        }
        below
    }

    fn take(&mut self, column: &Column, raw: &RawValue) {
        let scalar = Scalar::parse(raw);
        let scalar = if self.names == Names::Api { scalar.trimmed() } else { scalar };
        if let Err(expected) = self.extras.take(column.name, scalar) {
            self.refuse(column, expected);
        }
    }

    /// The first one that is unfit is told.
    fn refuse(&mut self, column: &Column, expected: &'static str) {
        if self.unfit.is_none() {
            self.unfit = Some(Unfit { path: self.names.way(column).replace('/', "."), expected });
        }
    }
}

/// One object on the way down.
struct Level<'p, 'w> {
    picker: &'p mut Picker<'w>,
    /// The columns that are below.
    wanted: Columns,
    /// Where the keys of this object begin in the ways of these columns.
    at: usize,
}

impl<'de> DeserializeSeed<'de> for Level<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Level<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    /// Where the object is null, all in it is missing.
    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<Text<'de>>()? {
            let wanted = self.picker.below(self.wanted, self.at, &key.0);
            if wanted == 0 {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let column = self.picker.columns[wanted.trailing_zeros() as usize];
            let end = self.at + key.0.len();
            if self.picker.names.way(column).len() == end {
                self.picker.take(column, map.next_value()?);
                continue;
            }
            let below = map.next_value_seed(Level { picker: &mut *self.picker, wanted, at: end + 1 });
            if let Err(error) = below {
                self.picker.refuse(column, "to be in an object");
                return Err(error);
            }
        }
        Ok(())
    }
}

/// A JSON value that may be one column's.
pub(super) enum Scalar<'a> {
    Null,
    Text(Cow<'a, str>),
    /// A number as it is written.
    Number(Cow<'a, str>),
    Other,
}

/// Read as leniently as the API needs: it writes coordinates as text, and house numbers as numbers.
impl<'a> Scalar<'a> {
    pub(super) fn of(value: &'a Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::String(text) => Self::Text(Cow::Borrowed(text)),
            Value::Number(number) => Self::Number(Cow::Owned(number.to_string())),
            Value::Bool(_) | Value::Array(_) | Value::Object(_) => Self::Other,
        }
    }

    fn parse(raw: &'a RawValue) -> Self {
        let json = raw.get();
        match json.as_bytes().first() {
            Some(b'n') => Self::Null,
            Some(b'"') => serde_json::from_str::<Text<'a>>(json).map_or(Self::Other, |text| Self::Text(text.0)),
            Some(b'-' | b'0'..=b'9') => Self::Number(Cow::Borrowed(json)),
            _ => Self::Other,
        }
    }

    fn trimmed(self) -> Self {
        match self {
            Self::Text(text) if text.trim().is_empty() => Self::Null,
            Self::Text(text) if text.trim().len() < text.len() => Self::Text(Cow::Owned(text.trim().to_owned())),
            other => other,
        }
    }

    pub(super) fn text(self) -> Result<Option<String>, &'static str> {
        match self {
            Self::Null => Ok(None),
            Self::Text(text) | Self::Number(text) => Ok(Some(text.into_owned())),
            Self::Other => Err("a string or a number"),
        }
    }

    pub(super) fn int(self) -> Result<Option<i32>, &'static str> {
        self.number("an integer of 32 bits")
    }

    /// Parsed from the text, since a JSON parser may be off by the last bit.
    pub(super) fn double(self) -> Result<Option<f64>, &'static str> {
        const EXPECTED: &str = "a number";
        let number = self.number::<f64>(EXPECTED)?;
        if number.is_some_and(|number| !number.is_finite()) { Err(EXPECTED) } else { Ok(number) }
    }

    fn number<N: std::str::FromStr>(self, expected: &'static str) -> Result<Option<N>, &'static str> {
        match self {
            Self::Null => Ok(None),
            Self::Text(text) | Self::Number(text) => text.trim().parse().map(Some).map_err(|_| expected),
            Self::Other => Err(expected),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn with(names: &[&str]) -> With {
        With::columns(names).expect("known names")
    }

    #[test]
    fn columns_are_picked_from_their_places_and_the_rest_is_left() {
        let json = json!({"name": {"title": " Ms ", "first": "A"}, "city": "not here", "dob": {"age": "34"},
            "location": {"city": "Oslo", "street": {"number": 12, "name": "  "},
                         "coordinates": {"latitude": "-69.8246", "longitude": null}},
            "nat": null, "cell": "é\n"})
        .to_string();
        let picked = With::all().of_api(&json).expect("fits").expect("there are some");
        let expected = Extras {
            title: Some("Ms".to_owned()),
            age: Some(34),
            street_number: Some("12".to_owned()),
            city: Some("Oslo".to_owned()),
            latitude: Some(-69.8246),
            cell: Some("é".to_owned()),
            ..Extras::default()
        };
        assert_eq!(*picked, expected);
        let some = with(&["city", "title"]).of_api(&json).expect("fits").expect("there are some");
        assert_eq!(*some, Extras { title: expected.title, city: expected.city, ..Extras::default() });
        assert_eq!(with(&["timezone", "nationality"]).of_api(&json), Ok(None));
        assert_eq!(
            With::all().of_api(r#"{"location/city": "x", "": 1, "location": {"coordinates/latitude": 1}}"#),
            Ok(None)
        );
    }

    #[test]
    fn the_wire_is_read_as_it_is() {
        let json = br#"{"city": " x ", "title": "", "age": -1, "latitude": 2.25e-308, "dob": {"age": 7}}"#;
        let picked = With::all().of_wire(json).expect("fits").expect("there are some");
        assert_eq!((picked.city.as_deref(), picked.title.as_deref(), picked.age), (Some(" x "), Some(""), Some(-1)));
        assert_eq!(picked.latitude, Some(2.25e-308));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let api = |json: &Value| With::all().of_api(&json.to_string()).map_err(|unfit| unfit.to_string());
        let refused = |path: &str, expected: &str| Err(format!("{path}: expected {expected}"));
        assert_eq!(api(&json!({"dob": {"age": 3e9}})), refused("dob.age", "an integer of 32 bits"));
        assert_eq!(api(&json!({"dob": {"age": "x"}})), refused("dob.age", "an integer of 32 bits"));
        assert_eq!(api(&json!({"cell": true})), refused("cell", "a string or a number"));
        let coordinates = |value: Value| api(&json!({"location": {"coordinates": value}}));
        assert_eq!(coordinates(json!({"longitude": "inf"})), refused("location.coordinates.longitude", "a number"));
        assert_eq!(coordinates(json!(7)), refused("location.coordinates.latitude", "to be in an object"));
        assert_eq!(coordinates(Value::Null), Ok(None));
        assert_eq!(With::all().of_wire(br#"{"age": [1]}"#), refused("age", "an integer of 32 bits"));
        assert!(With::all().of_wire(b"[1]").is_err());
    }

    #[test]
    fn a_value_that_somebody_has_already_parsed_is_taken_too() {
        let value = json!({"country": "Norway", "longitude": 10.5, "age": 1.5});
        let taken = with(&["country", "longitude"]).extras(|column| value.get(column.name)).expect("fits");
        let taken = taken.expect("there are some");
        assert_eq!((taken.country.as_deref(), taken.longitude), (Some("Norway"), Some(10.5)));
        assert_eq!(with(&["age"]).extras(|column| value.get(column.name)), Err(("age", "an integer of 32 bits")));
        assert!(Extras::default().set("email", &value).is_err());
    }
}
