//! What differs between two schemas of records, field by field, in words.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::config::Encoding;

/// What a field is, in a word or two.
struct Field {
    name: String,
    is: String,
}

/// What `ours` has that differs from `theirs`, one line a field.
pub(super) fn between(encoding: Encoding, theirs: &str, ours: &str) -> Vec<String> {
    let (Ok(theirs), Ok(ours)) = (serde_json::from_str(theirs), serde_json::from_str(ours)) else {
        return Vec::new();
    };
    let (theirs, ours) = match encoding {
        Encoding::JsonSchema => (of_json_schema(&theirs), of_json_schema(&ours)),
        Encoding::Json | Encoding::Avro => (of_avro(&theirs), of_avro(&ours)),
    };
    let kind_of =
        |fields: &[Field], name: &str| fields.iter().find(|field| field.name == name).map(|field| field.is.clone());
    let mut seen = BTreeSet::new();
    let names = ours.iter().chain(&theirs).map(|field| field.name.as_str()).filter(|name| seen.insert(*name));
    let differ = |name| match (kind_of(&theirs, name), kind_of(&ours, name)) {
        (Some(theirs), Some(ours)) if theirs == ours => None,
        (Some(theirs), Some(ours)) => Some(format!("{name} is {theirs} there, {ours} here")),
        (Some(theirs), None) => Some(format!("{name} ({theirs}) is only there")),
        (None, Some(ours)) => Some(format!("{name} ({ours}) is only here")),
        (None, None) => None,
    };
    names.filter_map(differ).collect()
}

fn of_avro(schema: &Value) -> Vec<Field> {
    let fields = schema.get("fields").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let field = |field: &Value| {
        let kind = field.get("type").map(avro_type).unwrap_or_default();
        let is = if field.get("default").is_some() { format!("{kind} with a default") } else { kind };
        Some(Field { name: field.get("name")?.as_str()?.to_owned(), is })
    };
    fields.iter().filter_map(field).collect()
}

fn avro_type(kind: &Value) -> String {
    match kind {
        Value::String(name) => name.clone(),
        Value::Array(variants) => variants.iter().map(avro_type).collect::<Vec<_>>().join(" or "),
        Value::Object(complex) => {
            let word = |key| complex.get(key).and_then(Value::as_str);
            word("logicalType").or_else(|| word("name")).or_else(|| word("type")).unwrap_or("a type").to_owned()
        }
        _ => "no type".to_owned(),
    }
}

fn of_json_schema(schema: &Value) -> Vec<Field> {
    let none = Map::new();
    let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&none);
    let required = schema.get("required").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let field = |(name, property): (&String, &Value)| {
        let kind = property.get("type").map_or_else(|| "anything".to_owned(), avro_type);
        let format = property.get("format").and_then(Value::as_str).map(|f| format!(" {f}")).unwrap_or_default();
        let need = if required.iter().any(|it| it == name) { "required" } else { "optional" };
        Field { name: name.clone(), is: format!("{need} {kind}{format}") }
    };
    properties.iter().map(field).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_field_that_differs_is_told() {
        let theirs = r#"{"type":"record","name":"User","fields":[
            {"name":"id","type":"string"},{"name":"salary","type":"int"},
            {"name":"dob","type":{"type":"long","logicalType":"timestamp-millis"}}]}"#;
        let ours = r#"{"type":"record","name":"User","fields":[
            {"name":"id","type":{"type":"string","logicalType":"uuid"}},
            {"name":"dob","type":{"type":"long","logicalType":"timestamp-millis"}},
            {"name":"age","type":["null","int"],"default":null}]}"#;
        assert_eq!(
            between(Encoding::Avro, theirs, ours),
            [
                "id is string there, uuid here",
                "age (null or int with a default) is only here",
                "salary (int) is only there"
            ]
        );
        assert!(between(Encoding::Avro, ours, ours).is_empty());
        assert!(between(Encoding::Avro, "no JSON", ours).is_empty());
        let theirs = r#"{"properties":{"id":{"type":"string"},"x":{}},"required":["id"]}"#;
        let ours = r#"{"properties":{"id":{"type":"string","format":"uuid"}},"required":[]}"#;
        assert_eq!(
            between(Encoding::JsonSchema, theirs, ours),
            ["id is required string there, optional string uuid here", "x (optional anything) is only there"]
        );
    }
}
