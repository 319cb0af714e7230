//! Values go there and back in each encoding, other writers' schemas resolve to ours, and nothing panics.

use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::json;

use super::registry::Registry;
use super::*;
use crate::config::RegistryConfig;
use crate::record::{COLUMNS, Extras, Fields, OPTIONAL_COLUMNS};

const ID: u32 = 7;

fn sent_at() -> Timestamp {
    Timestamp::from_unix_ms(1_790_000_000_000).expect("in range")
}

fn everything() -> With {
    let names: Vec<&str> = OPTIONAL_COLUMNS.iter().map(|column| column.name).collect();
    With::columns(&names).expect("they are all known")
}

/// A codec whose registry nobody asks.
fn codec(derive_id: bool, with: With) -> Codec {
    // A client takes long to make: it reads all authorities of the machine.
    static REGISTRY: LazyLock<Arc<Registry>> = LazyLock::new(|| Arc::new(registry()));
    Codec::new(derive_id, with).reading(Arc::clone(&REGISTRY))
}

fn registry() -> Registry {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = RegistryConfig {
        url: "http://127.0.0.1:1".to_owned(),
        may_register: false,
        login: None,
        tls: None,
        request_timeout: std::time::Duration::from_secs(1),
    };
    Registry::new(&config).expect("a client")
}

/// What is known of an Avro schema.
fn known(codec: &Codec, schema: &serde_json::Value) -> Result<Known, String> {
    let schemas = codec.schemas.as_ref().expect("there is a registry");
    schemas.reader().writer(&schema.to_string()).map(|schema| Known::Avro(Arc::new(schema)))
}

/// Reads a value that was written with an Avro schema.
fn decode_avro(codec: &Codec, schema: &serde_json::Value, value: &[u8]) -> Result<User, String> {
    let known = HashMap::from([(ID, known(codec, schema)?)]);
    Prepared { codec, known }.decode(&Bytes::copy_from_slice(value), sent_at())
}

/// A value under any schema, by way of `apache-avro` alone.
fn written(schema: &serde_json::Value, record: &serde_json::Value) -> Vec<u8> {
    use apache_avro::types::Value;
    let schema = apache_avro::Schema::parse(schema).expect("a schema");
    let value = Value::try_from(record.clone()).expect("a value").resolve(&schema).expect("a value of the schema");
    let writer = apache_avro::writer::datum::GenericDatumWriter::builder(&schema).build().expect("a writer");
    get_payload(ID, writer.write_value_to_vec(value).expect("it is written"))
}

fn avro_writer(with: &With) -> Format {
    Format::Avro(avro::Writer::new(ID, with).expect("the derived schema parses"))
}

fn sample() -> serde_json::Value {
    json!({
        "id": "00000000-0000-5000-8000-000000000001", "first_name": "A", "last_name": "B", "gender": "female",
        "email": "a@b.c", "username": "ab", "phone": "1", "address": "1 X, Y, Z, W", "post_code": "0378",
        "dob": 631_152_000_000_i64, "registered_date": 1_262_304_000_000_i64, "picture": "p",
        "timestamp": 1_767_225_600_000_i64,
    })
}

fn any_extras() -> impl Strategy<Value = Option<Box<Extras>>> {
    let text = || prop::option::of("[^\\s\\x00][a-zA-Zäß ]{0,9}[a-z]");
    // As many decimals as the API has: of 17 digits, the last may be another one after JSON.
    let double = || prop::option::of((-900_000..900_000_i32).prop_map(|number| f64::from(number) / 10_000.0));
    (text(), prop::option::of(any::<i32>()), text(), double(), text()).prop_map(
        |(title, age, country, latitude, cell)| {
            let extras = Extras { title, age, country, latitude, cell, ..Extras::default() };
            (extras != Extras::default()).then(|| Box::new(extras))
        },
    )
}

/// Any user, with such optional columns.
pub(super) fn any_user(extras: impl Strategy<Value = Option<Box<Extras>>>) -> impl Strategy<Value = User> {
    let ms = -2_000_000_000_000_i64..4_000_000_000_000;
    let texts = prop::collection::vec(any::<String>(), 9);
    (any::<u128>(), texts, [ms.clone(), ms.clone(), ms], extras).prop_map(|(id, texts, dates, extras)| {
        let mut texts = texts.into_iter();
        let mut next = || texts.next().unwrap_or_default();
        let [dob, registered_date, timestamp] = dates.map(|ms| Timestamp::from_unix_ms(ms).expect("in range"));
        User::new(
            Fields {
                id: Uuid::from_u128(id),
                first_name: &next(),
                last_name: &next(),
                gender: &next(),
                email: &next(),
                username: &next(),
                phone: &next(),
                address: &next(),
                post_code: &next(),
                dob,
                registered_date,
                picture: &next(),
                timestamp,
            },
            extras,
        )
    })
}

proptest! {
    // Each of them parses schemas, which is slow where it is not optimized.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn each_encoding_goes_there_and_back(user in any_user(any_extras())) {
        let codec = codec(false, everything());
        let avro = codec.clone().writing(avro_writer(&everything()));
        prop_assert_eq!(decode_avro(&codec, &avro::schema(&everything()), &avro.encode(&user)), Ok(user.clone()));
        let json_schema = codec.clone().writing(Format::JsonSchema(ID)).encode(&user);
        let prepared = Prepared { codec: &codec, known: HashMap::from([(ID, Known::Json)]) };
        prop_assert_eq!(prepared.decode(&json_schema, sent_at()), Ok(user.clone()));
        prop_assert_eq!(codec.decode(&codec.encode(&user), sent_at()), Ok(user));
    }

    #[test]
    fn readers_with_more_or_fewer_columns_read_the_rest(user in any_user(any_extras())) {
        let plain = user.clone().with_extras(None);
        let newer = codec(false, With::default()).writing(avro_writer(&everything()));
        let read = decode_avro(&codec(false, With::default()), &avro::schema(&everything()), &newer.encode(&user));
        prop_assert_eq!(read, Ok(plain.clone()));
        let older = codec(false, With::default()).writing(avro_writer(&With::default()));
        let read = decode_avro(&codec(false, everything()), &avro::schema(&With::default()), &older.encode(&user));
        prop_assert_eq!(read, Ok(plain));
    }

    #[test]
    fn no_bytes_make_it_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..300), derive_id: bool) {
        let codec = codec(derive_id, everything());
        for known in [known(&codec, &avro::schema(&everything())).expect("ours"), Known::Json, Known::Missing] {
            let prepared = Prepared { codec: &codec, known: HashMap::from([(ID, known)]) };
            let _ = prepared.decode(&bytes.clone().into(), sent_at());
            bytes.splice(0..0, [0, 0, 0, 0, 7]);
            let _ = prepared.decode(&bytes.clone().into(), sent_at());
            let _ = codec.decode(&bytes.clone().into(), sent_at());
        }
    }

    #[test]
    fn what_is_cut_off_or_appended_is_never_a_user(user in any_user(any_extras()), cut in 0.0..1.0_f64) {
        let codec = codec(false, everything());
        let whole = codec.clone().writing(avro_writer(&everything())).encode(&user);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "small")]
        let end = (whole.len() as f64 * cut) as usize;
        let schema = avro::schema(&everything());
        prop_assert!(decode_avro(&codec, &schema, &whole[..end]).is_err());
        let reason = decode_avro(&codec, &schema, &[&whole[..], b"x"].concat()).expect_err("one byte too many");
        prop_assert_eq!(reason, "schema id 7: 1 bytes follow the record");
    }
}

#[test]
fn the_wire_format_is_confluents() {
    let codec = codec(false, With::default()).writing(avro_writer(&With::default()));
    let value = written(&avro::schema(&With::default()), &sample());
    assert_eq!(value[..FRAME_BYTES], [0, 0, 0, 0, 7]);
    let user = decode_avro(&codec, &avro::schema(&With::default()), &value).expect("a user");
    assert_eq!((user.post_code(), user.dob().to_string().as_str()), ("0378", "1990-01-01T00:00:00.000Z"));
    assert_eq!(codec.encode(&user), value);
    assert_eq!(codec.clone().writing(Format::JsonSchema(258)).encode(&user)[..6], [0, 0, 0, 1, 2, b'{']);
}

/// The fields of our schema, changed.
fn foreign(change: impl Fn(&mut Vec<serde_json::Value>)) -> serde_json::Value {
    let mut schema = avro::schema(&With::default());
    schema["name"] = json!("person");
    schema["namespace"] = json!("com.example");
    change(schema["fields"].as_array_mut().expect("fields"));
    schema
}

fn set_type(fields: &mut [serde_json::Value], name: &str, kind: &serde_json::Value) {
    for field in fields.iter_mut().filter(|field| field["name"] == name) {
        field["type"] = kind.clone();
    }
}

#[test]
fn the_schemas_of_other_writers_resolve_to_ours() {
    let strings = foreign(|fields| {
        fields.reverse();
        for name in ["id", "dob", "registered_date", "timestamp"] {
            set_type(fields, name, &json!("string"));
        }
        set_type(fields, "post_code", &json!("int"));
        set_type(fields, "email", &json!(["null", "string"]));
        fields.push(json!({ "name": "tags", "type": { "type": "array", "items": "string" } }));
    });
    let mut record = sample();
    record["dob"] = json!("1990-01-01");
    record["registered_date"] = json!("2010-01-01T00:00:00");
    record["timestamp"] = json!("2026-01-01T00:00:00Z");
    record["post_code"] = json!(378);
    record["tags"] = json!(["x", "y"]);
    let codec = codec(false, With::default());
    let user = decode_avro(&codec, &strings, &written(&strings, &record)).expect("a user");
    assert_eq!((user.post_code(), user.timestamp().unix_ms()), ("378", 1_767_225_600_000));

    let bare = foreign(|fields| fields.retain(|field| field["name"] != "id" && field["name"] != "timestamp"));
    let deriving = self::codec(true, With::default());
    let user = decode_avro(&deriving, &bare, &written(&bare, &sample())).expect("an id is derived");
    assert_eq!((user.id(), user.timestamp()), (derived_id("a@b.c", "ab"), sent_at()));
    let reason = decode_avro(&codec, &bare, &written(&bare, &sample())).expect_err("there is no id");
    assert_eq!(reason, "its records have no field id");
}

#[test]
fn what_cannot_be_resolved_names_the_field() {
    let codec = codec(false, With::default());
    for column in COLUMNS.iter().filter(|column| column.name != "timestamp") {
        let lacks = foreign(|fields| fields.retain(|field| field["name"] != column.name));
        let reason = known(&codec, &lacks).expect_err("no user");
        assert_eq!(reason, format!("its records have no field {}", column.name));
    }
    let nullable = foreign(|fields| set_type(fields, "email", &json!(["null", "string"])));
    let mut record = sample();
    record["email"] = json!(null);
    let reason = decode_avro(&codec, &nullable, &written(&nullable, &record)).expect_err("poison");
    assert_eq!(reason, "schema id 7: email: missing or null");
    // Silently taken for milliseconds, every date would be wrong.
    let micros =
        foreign(|fields| set_type(fields, "dob", &json!({ "type": "long", "logicalType": "timestamp-micros" })));
    let reason = decode_avro(&codec, &micros, &written(&micros, &sample())).expect_err("poison");
    assert!(reason.starts_with("schema id 7: dob: "), "{reason}");
    let far = json!(i64::MAX);
    let mut record = sample();
    record["dob"] = far;
    let ours = avro::schema(&With::default());
    let reason = decode_avro(&codec, &ours, &written(&ours, &record)).expect_err("poison");
    assert!(reason.contains("dob: 9223372036854775807 ms is outside"), "{reason}");
}

#[test]
fn schemas_under_which_few_bytes_are_much_are_refused() {
    let codec = codec(false, With::default());
    let with_field = |kind: serde_json::Value| foreign(|fields| fields.push(json!({ "name": "more", "type": kind })));
    let node = json!({ "type": "record", "name": "Node", "fields": [{ "name": "next", "type": ["null", "Node"] }] });
    let nothing = json!({ "type": "record", "name": "Nothing", "fields": [{ "name": "x", "type": "null" }] });
    for (kind, word) in [
        (node, "again by its name"),
        (json!({ "type": "array", "items": "null" }), "takes no bytes"),
        (json!({ "type": "map", "values": { "type": "array", "items": nothing } }), "takes no bytes"),
    ] {
        let reason = known(&codec, &with_field(kind)).expect_err("refused");
        assert!(reason.contains(word), "{reason}");
    }
    let flat = json!({ "type": "array", "items": { "type": "enum", "name": "E", "symbols": ["A"] } });
    known(&codec, &with_field(flat)).expect("nothing is wrong with it");
    for (schema, word) in [(json!("string"), "no record"), (json!({ "type": "x" }), "no Avro schema")] {
        let reason = known(&codec, &schema).expect_err("no user");
        assert!(reason.contains(word), "{reason}");
    }
}

#[test]
fn a_frame_says_what_is_wrong_with_it() {
    let plain = Codec::default();
    let reason =
        |codec: &Codec, value: &[u8]| codec.decode(&Bytes::copy_from_slice(value), sent_at()).expect_err("poison");
    assert_eq!(reason(&plain, &[0, 0, 0, 0, 9, 1]), "schema id 9: no schema registry is configured");
    assert_eq!(reason(&plain, &[0, 1]), "a zero byte without the schema id that should follow it");
    assert_eq!(reason(&codec(false, With::default()), &[0, 0, 0, 0, 9]), "schema id 9: it was not looked up");
    let codec = codec(false, With::default());
    let prepared = Prepared { codec: &codec, known: HashMap::from([(9, Known::Missing)]) };
    let missing = prepared.decode(&Bytes::from_static(&[0, 0, 0, 0, 9]), sent_at()).expect_err("poison");
    assert_eq!(missing, "schema id 9: the schema registry has no such schema");
}

#[test]
fn the_json_schema_allows_our_values_alone() {
    let schema = json_schema::schema(&everything());
    let names: Vec<&str> = schema["properties"].as_object().expect("properties").keys().map(String::as_str).collect();
    let columns: Vec<&str> = COLUMNS.iter().chain(OPTIONAL_COLUMNS).map(|column| column.name).collect();
    assert_eq!(names, columns);
    assert_eq!(schema["required"].as_array().map(Vec::len), Some(COLUMNS.len()));
    assert_eq!(schema["properties"]["age"], json!({ "type": ["integer", "null"], "default": null }));
    assert_eq!(schema["properties"]["dob"], json!({ "type": "string", "format": "date-time" }));
}
