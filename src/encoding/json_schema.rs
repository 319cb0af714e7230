//! The JSON Schema of our values (draft 7, which every registry knows). The values are those of plain JSON.

use serde_json::{Map, Value, json};

use crate::record::{COLUMNS, Column, ColumnType, With};

/// The schema of the 13 fields and these optional ones, as JSON.
///
/// No other property is allowed: only to such a schema can an optional one be added later without breaking the subject's
/// backward compatibility (an open schema might have allowed anything under the new name).
pub(super) fn schema(with: &With) -> Value {
    let required = COLUMNS.iter().map(|column| (column.name.to_owned(), type_of(column)));
    let optional = with.iter().map(|column| {
        let mut of_schema = type_of(column);
        of_schema["type"] = json!([of_schema["type"], "null"]);
        of_schema["default"] = Value::Null;
        (column.name.to_owned(), of_schema)
    });
    let names: Vec<&str> = COLUMNS.iter().map(|column| column.name).collect();
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "User",
        "type": "object",
        "properties": required.chain(optional).collect::<Map<_, _>>(),
        "required": names,
        "additionalProperties": false,
    })
}

fn type_of(column: &Column) -> Value {
    match column.kind {
        ColumnType::Uuid => json!({ "type": "string", "format": "uuid" }),
        ColumnType::Text => json!({ "type": "string" }),
        ColumnType::Timestamp => json!({ "type": "string", "format": "date-time" }),
        ColumnType::Int => json!({ "type": "integer" }),
        ColumnType::Double => json!({ "type": "number" }),
    }
}
