//! Avro: the schema of our values, and values under it or under anybody's whose schema resolves to it.
//!
//! The rules of resolution are those of the Avro specification, by `apache-avro`: an optional field that a writer does
//! not have is null, and a field that we do not have is skipped. As lenient as plain JSON is where a schema allows it:
//! dates may be strings, a post code a number, and `timestamp` may be missing.

use std::io::Read;
use std::sync::Arc;

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::schema::{FixedSchema, RecordSchema, ResolvedSchema};
use apache_avro::types::Value;
use apache_avro::writer::datum::GenericDatumWriter;
use bytes::Bytes;
use schema_registry_converter::schema_registry_common::get_payload;
use serde_json::json;
use uuid::Uuid;

use super::{derived_id, json};
use crate::record::{COLUMNS, Column, ColumnType, Extras, Fields, Timestamp, User, Value as Field, With};

/// The most bytes that one field of a value may ask for: more than any record that Kafka takes by default.
const FIELD_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The schema that values are written with, as JSON. An optional column is a union with null, whose default is null, so
/// that each schema resolves to each other one, whatever columns they have.
pub(super) fn schema(with: &With) -> serde_json::Value {
    let required = COLUMNS.iter().map(|column| json!({ "name": column.name, "type": type_of(column) }));
    let optional =
        with.iter().map(|column| json!({ "name": column.name, "type": ["null", type_of(column)], "default": null }));
    record(required.chain(optional))
}

/// As [`schema`], and as lenient as can be.
fn reader_schema(derive_id: bool, with: &With) -> serde_json::Value {
    let required = COLUMNS.iter().map(|column| {
        let of_schema = type_of(column);
        match (column.name, column.kind) {
            ("id", _) if derive_id => json!({ "name": "id", "type": ["null", of_schema], "default": null }),
            ("timestamp", _) => {
                json!({ "name": "timestamp", "type": ["null", of_schema, "string"], "default": null })
            }
            ("post_code", _) => json!({ "name": "post_code", "type": [of_schema, "long"] }),
            (name, ColumnType::Timestamp) => json!({ "name": name, "type": [of_schema, "string"] }),
            (name, _) => json!({ "name": name, "type": of_schema }),
        }
    });
    let optional =
        with.iter().map(|column| json!({ "name": column.name, "type": ["null", type_of(column)], "default": null }));
    record(required.chain(optional))
}

fn record(fields: impl Iterator<Item = serde_json::Value>) -> serde_json::Value {
    json!({ "type": "record", "name": "User", "namespace": "userpipe", "fields": fields.collect::<Vec<_>>() })
}

fn type_of(column: &Column) -> serde_json::Value {
    match column.kind {
        ColumnType::Uuid => json!({ "type": "string", "logicalType": "uuid" }),
        ColumnType::Text => json!("string"),
        ColumnType::Timestamp => json!({ "type": "long", "logicalType": "timestamp-millis" }),
        ColumnType::Int => json!("int"),
        ColumnType::Double => json!("double"),
    }
}

/// Writes values under our schema, as the registry knows it.
#[derive(Debug)]
pub struct Writer {
    id: u32,
    schema: Schema,
    columns: Vec<&'static Column>,
}

impl Writer {
    /// With the id that the registry gave the schema of these columns; `None` for a schema that does not parse, which a
    /// test rules out.
    pub(super) fn new(id: u32, with: &With) -> Option<Arc<Self>> {
        let schema = Schema::parse(&schema(with)).ok()?;
        Some(Arc::new(Self { id, schema, columns: with.iter().collect() }))
    }

    pub(super) fn encode(&self, user: &User) -> Bytes {
        let required = COLUMNS
            .iter()
            .filter_map(|column| user.value(column).map(|value| (column.name.to_owned(), avro_value(value))));
        let optional = self.columns.iter().map(|column| {
            let value = match user.value(column) {
                Some(value) => Value::Union(1, Box::new(avro_value(value))),
                None => Value::Union(0, Box::new(Value::Null)),
            };
            (column.name.to_owned(), value)
        });
        let value = Value::Record(required.chain(optional).collect());
        let written = GenericDatumWriter::builder(&self.schema).build().and_then(|w| w.write_value_to_vec(value));
        // It cannot fail on a value of its own schema; if it ever does, plain JSON is read by all of ours.
        written.map_or_else(|_| json::encode(user), |body| get_payload(self.id, body).into())
    }
}

fn avro_value(value: Field<'_>) -> Value {
    match value {
        Field::Uuid(id) => Value::Uuid(id),
        Field::Text(text) => Value::String(text.to_owned()),
        Field::Timestamp(at) => Value::TimestampMillis(at.unix_ms()),
        Field::Int(number) => Value::Int(number),
        Field::Double(number) => Value::Double(number),
    }
}

/// Reads values of every schema that resolves to ours.
#[derive(Debug)]
pub(super) struct Reader {
    derive_id: bool,
    columns: Vec<&'static Column>,
    /// `None` is ruled out by a test.
    schema: Option<Schema>,
}

impl Reader {
    pub(super) fn new(derive_id: bool, with: &With) -> Self {
        // Of the whole process, and kept from its first call on.
        apache_avro::util::max_allocation_bytes(FIELD_BYTES_MAX);
        let schema = Schema::parse(&reader_schema(derive_id, with)).ok();
        Self { derive_id, columns: with.iter().collect(), schema }
    }

    /// The schema of a writer, if its values can be users.
    ///
    /// # Errors
    /// Why they cannot.
    pub(super) fn writer(&self, text: &str) -> Result<Schema, String> {
        let schema = Schema::parse_str(text).map_err(|e| format!("no Avro schema that can be read: {e}"))?;
        let Schema::Record(record) = &schema else { return Err("it describes no record".to_owned()) };
        let lacks = |column: &&Column| !record.lookup.contains_key(column.name);
        let is_needed = |column: &&Column| column.name != "timestamp" && !(self.derive_id && column.name == "id");
        if let Some(column) = COLUMNS.iter().filter(is_needed).find(lacks) {
            return Err(format!("its records have no field {}", column.name));
        }
        let resolved = ResolvedSchema::new(&schema).map_err(|e| e.to_string())?;
        refuse_amplifiers(&schema, &resolved)?;
        Ok(schema)
    }

    /// Reads a value that was written with `writer`.
    ///
    /// # Errors
    /// Why it is no user.
    pub(super) fn decode(&self, writer: &Schema, body: &[u8], sent_at: Timestamp) -> Result<User, String> {
        let reader = self.schema.as_ref().ok_or("there is no schema to read with")?;
        let value = read(writer, Some(reader), body).map_err(|reason| {
            // Only what fails is read a second time, for the name of the field.
            let unresolved = read(writer, None, body).ok();
            unresolved.and_then(|value| blame(value, reader)).unwrap_or(reason)
        })?;
        let Value::Record(fields) = value else { return Err("it is no record".to_owned()) };
        self.user(Values(fields.into_iter()), sent_at)
    }

    /// The values come in the order of the schema's fields, which is that of the record.
    fn user(&self, mut values: Values, sent_at: Timestamp) -> Result<User, String> {
        let id = values.uuid("id")?;
        let (first_name, last_name) = (values.text("first_name")?, values.text("last_name")?);
        let (gender, email, username) = (values.text("gender")?, values.text("email")?, values.text("username")?);
        let (phone, address, post_code) = (values.text("phone")?, values.text("address")?, values.text("post_code")?);
        let fields = Fields {
            id: id.unwrap_or_else(|| derived_id(&email, &username)),
            first_name: &first_name,
            last_name: &last_name,
            gender: &gender,
            email: &email,
            username: &username,
            phone: &phone,
            address: &address,
            post_code: &post_code,
            dob: values.date("dob")?.ok_or("dob: missing or null")?,
            registered_date: values.date("registered_date")?.ok_or("registered_date: missing or null")?,
            picture: &values.text("picture")?,
            timestamp: values.date("timestamp")?.unwrap_or(sent_at),
        };
        let mut extras = Extras::default();
        for column in &self.columns {
            let value = values.json(column.name)?;
            extras.set(column.name, &value).map_err(|expected| format!("{}: expected {expected}", column.name))?;
        }
        Ok(User::new(fields, (extras != Extras::default()).then(|| Box::new(extras))))
    }
}

/// Reads a value, all of it and no more.
fn read(writer: &Schema, reader: Option<&Schema>, body: &[u8]) -> Result<Value, String> {
    let mut body = Body { left: body, is_short: false };
    let datum = GenericDatumReader::builder(writer).maybe_reader_schema(reader).build();
    let value = datum.and_then(|datum| datum.read_value(&mut body));
    match value {
        // Where a value ends too early, `apache-avro` may read what is missing as null.
        _ if body.is_short => Err("it ends within a field".to_owned()),
        Ok(_) if !body.left.is_empty() => Err(format!("{} bytes follow the record", body.left.len())),
        Ok(value) => Ok(value),
        Err(error) => Err(error.to_string()),
    }
}

/// The fields of a record in the order of the reader's schema.
struct Values(std::vec::IntoIter<(String, Value)>);

impl Values {
    /// The next one, out of its union.
    fn next(&mut self, name: &str) -> Result<Value, String> {
        match self.0.next() {
            Some((found, Value::Union(_, value))) if found == name => Ok(*value),
            Some((found, value)) if found == name => Ok(value),
            _ => Err(format!("{name}: missing")),
        }
    }

    fn uuid(&mut self, name: &str) -> Result<Option<Uuid>, String> {
        match self.next(name)? {
            Value::Uuid(id) => Ok(Some(id)),
            Value::Null => Ok(None),
            _ => Err(format!("{name}: expected a UUID")),
        }
    }

    fn text(&mut self, name: &str) -> Result<String, String> {
        match self.next(name)? {
            Value::String(text) => Ok(text),
            Value::Long(number) => Ok(number.to_string()),
            _ => Err(format!("{name}: expected a string")),
        }
    }

    fn date(&mut self, name: &str) -> Result<Option<Timestamp>, String> {
        match self.next(name)? {
            Value::TimestampMillis(ms) => Timestamp::from_unix_ms(ms)
                .map(Some)
                .ok_or_else(|| format!("{name}: {ms} ms is outside the years 0 to 9999")),
            Value::String(text) => text.parse().map(Some).map_err(|reason| format!("{name}: {reason}")),
            Value::Null => Ok(None),
            _ => Err(format!("{name}: expected a date")),
        }
    }

    fn json(&mut self, name: &str) -> Result<serde_json::Value, String> {
        Ok(match self.next(name)? {
            Value::String(text) => json!(text),
            Value::Int(number) => json!(number),
            Value::Double(number) if number.is_finite() => json!(number),
            Value::Null => json!(null),
            _ => return Err(format!("{name}: expected a value of the column")),
        })
    }
}

/// A value's bytes, which remember whether more of them was asked for than there is.
struct Body<'a> {
    left: &'a [u8],
    is_short: bool,
}

impl Read for Body<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.is_short |= buffer.len() > self.left.len();
        self.left.read(buffer)
    }
}

/// The first field that does not resolve, and why.
fn blame(value: Value, reader: &Schema) -> Option<String> {
    let (Value::Record(fields), Schema::Record(RecordSchema { fields: known, .. })) = (value, reader) else {
        return None;
    };
    fields.into_iter().find_map(|(name, value)| {
        let known = known.iter().find(|field| field.name == name)?;
        let is_null =
            matches!(&value, Value::Null) || matches!(&value, Value::Union(_, inner) if **inner == Value::Null);
        let error = value.resolve(&known.schema).err()?;
        Some(if is_null { format!("{name}: missing or null") } else { format!("{name}: {error}") })
    })
}

/// Refuses schemas under which a few bytes are a huge value: records that contain themselves or that are used over and
/// over by name, and lists of what takes no bytes.
fn refuse_amplifiers(schema: &Schema, resolved: &ResolvedSchema<'_>) -> Result<(), String> {
    match schema {
        Schema::Ref { name } => {
            let is_flat = resolved.get_names().get(name).is_some_and(|known| !matches!(known, Schema::Record(_)));
            if is_flat {
                Ok(())
            } else {
                Err(format!("it uses the record {name} again by its name, which is not read"))
            }
        }
        Schema::Record(record) => record.fields.iter().try_for_each(|it| refuse_amplifiers(&it.schema, resolved)),
        Schema::Union(union) => union.variants().iter().try_for_each(|it| refuse_amplifiers(it, resolved)),
        Schema::Array(array) => refuse_amplifying_items(&array.items, resolved),
        Schema::Map(map) => refuse_amplifying_items(&map.types, resolved),
        _ => Ok(()),
    }
}

fn refuse_amplifying_items(items: &Schema, resolved: &ResolvedSchema<'_>) -> Result<(), String> {
    if takes_no_bytes(items) {
        return Err("it has lists of what takes no bytes, which are not read".to_owned());
    }
    refuse_amplifiers(items, resolved)
}

fn takes_no_bytes(schema: &Schema) -> bool {
    match schema {
        Schema::Null | Schema::Fixed(FixedSchema { size: 0, .. }) => true,
        Schema::Record(record) => record.fields.iter().all(|field| takes_no_bytes(&field.schema)),
        _ => false,
    }
}
