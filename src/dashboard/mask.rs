//! Personal fields are masked before they leave the process.
//!
//! What is not known to be harmless is masked: a record of another program may have any field.

use serde_json::{Map, Value};

/// The fields of a record that tell nothing of a person by themselves.
const OPEN: [&str; 8] = ["id", "gender", "country", "nationality", "timestamp", "registered_date", "timezone", "title"];
/// What stands for the rest of a masked text, and for every masked value that is no text.
const DOTS: &str = "•••";

/// A record as it may be shown: the fields in the same order, personal ones masked.
pub(super) fn object(record: &Map<String, Value>) -> Map<String, Value> {
    let field = |(name, value): (&String, &Value)| {
        let shown = if OPEN.contains(&name.as_str()) && !value.is_object() && !value.is_array() {
            value.clone()
        } else {
            masked(value)
        };
        (name.clone(), shown)
    };
    record.iter().map(field).collect()
}

fn masked(value: &Value) -> Value {
    match value {
        Value::Null => Value::Null,
        Value::String(text) => Value::String(self::text(text)),
        Value::Object(inner) => Value::Object(object(inner)),
        Value::Array(items) => items.iter().map(masked).collect(),
        Value::Bool(_) | Value::Number(_) => Value::String(DOTS.to_owned()),
    }
}

/// A text as it may be shown: its first letter.
pub(super) fn text(text: &str) -> String {
    let first = text.chars().next().filter(|first| first.is_alphabetic());
    first.map_or_else(|| DOTS.to_owned(), |first| format!("{first}{DOTS}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::record::{COLUMNS, OPTIONAL_COLUMNS};

    #[test]
    fn every_column_of_a_person_is_masked() {
        let personal = [
            "first_name",
            "last_name",
            "email",
            "username",
            "phone",
            "address",
            "post_code",
            "dob",
            "picture",
            "age",
            "street_number",
            "street_name",
            "city",
            "state",
            "latitude",
            "longitude",
            "cell",
            "picture_large",
            "thumbnail",
        ];
        for column in COLUMNS.iter().chain(OPTIONAL_COLUMNS) {
            let record = Map::from_iter([(column.name.to_owned(), json!("Secret 1"))]);
            let is_masked = object(&record)[column.name] != json!("Secret 1");
            assert_eq!(is_masked, personal.contains(&column.name), "{}", column.name);
            assert_ne!(is_masked, OPEN.contains(&column.name), "{}", column.name);
        }
    }

    #[test]
    fn what_is_within_or_unknown_is_masked_too() {
        let record = json!({
            "first_name": "Ann", "post_code": "0378", "ssn": 12, "name": { "first": "Ann", "id": "x" },
            "id": { "name": "SSN", "value": "123" }, "aliases": ["Annie"], "email": null, "gender": "female",
        });
        let Value::Object(record) = record else { panic!("an object") };
        let expected = json!({
            "first_name": "A•••", "post_code": "•••", "ssn": "•••", "name": { "first": "A•••", "id": "x" },
            "id": { "name": "S•••", "value": "•••" }, "aliases": ["A•••"], "email": null, "gender": "female",
        });
        assert_eq!(Value::Object(object(&record)), expected);
    }
}
