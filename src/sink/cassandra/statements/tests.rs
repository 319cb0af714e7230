//! The requests, byte for byte as the driver would write them.

use cdrs_tokio::frame::Version;
use cdrs_tokio::query::{BatchQueryBuilder, QueryParams, QueryParamsBuilder, QueryValues};
use proptest::prelude::*;

use super::*;
use crate::config::{Replication, TableConfig};
use crate::record::{COLUMNS, Extras, Fields, OPTIONAL_COLUMNS, Timestamp, User};

fn at(ms: i64) -> Timestamp {
    Timestamp::from_unix_ms(ms).expect("in range")
}

fn user() -> User {
    User::new(
        Fields {
            id: Uuid::from_u128(7),
            first_name: "Ada",
            last_name: "Lovelace",
            gender: "female",
            email: "ada@example.com",
            username: "ada",
            phone: "07-1234",
            address: "1 Main, Oslo, Oslo, Norway",
            post_code: "0378",
            dob: at(-1),
            registered_date: at(0),
            picture: "https://example.com/1.jpg",
            timestamp: at(1_700_000_000_123),
        },
        None,
    )
}

fn existing(name: &str, type_name: &str) -> ExistingColumn {
    ExistingColumn { name: name.to_owned(), type_name: type_name.to_owned(), in_primary_key: name == "id" }
}

fn prepared(id: u8, query: &str) -> PreparedQuery {
    PreparedQuery {
        id: CBytesShort::new(vec![id; 16]),
        query: query.to_owned(),
        keyspace: None,
        pk_indexes: vec![0],
        result_metadata_id: None.into(),
    }
}

fn statements(version: Version, columns: &[&'static str], table: &[ExistingColumn]) -> Statements {
    let config = CassandraConfig {
        contact_points: Vec::new(),
        login: None,
        tls: None,
        plaintext_login_is_allowed: false,
        keyspace: "ks".to_owned(),
        table: TableConfig { table: "t".to_owned(), columns: columns.to_vec() },
        local_dc: None,
        consistency: Consistency::LocalQuorum,
        replication: Replication::Simple(1),
        request_timeout: std::time::Duration::from_secs(1),
        connect_timeout: std::time::Duration::from_secs(1),
        statements_in_flight_max: 1,
        rewrite_at: None,
    };
    Statements::prepared(version, &config, table, prepared(1, "INSERT"), prepared(2, "DELETE"))
}

/// The values of a change, as the driver takes them.
fn values(statements: &Statements, change: &Change) -> Vec<CqlValue> {
    let text_or = |is_text: bool, text: String, value: CqlValue| if is_text { text.into() } else { value };
    match change {
        Change::Upsert(user) => {
            let columns = statements.binds.iter().map(|bind| match user.value(bind.column) {
                Some(Value::Uuid(id)) => text_or(bind.is_text, id.to_string(), id.into()),
                Some(Value::Text(text)) => text.into(),
                Some(Value::Timestamp(at)) => text_or(bind.is_text, at.to_string(), at.unix_ms().into()),
                Some(Value::Int(number)) => number.into(),
                Some(Value::Double(number)) => number.into(),
                None => CqlValue::NotSet,
            });
            columns.chain([user.timestamp().unix_us().into()]).collect()
        }
        Change::Delete { id, at } => vec![at.unix_us().into(), statements.id_column.key(*id).0],
    }
}

/// The request as the driver writes it.
fn of_the_driver(statements: &Statements, changes: &[Change]) -> Envelope {
    let of = |change: &Change| match change {
        Change::Upsert(_) => prepared(1, "INSERT"),
        Change::Delete { .. } => prepared(2, "DELETE"),
    };
    if let [change] = changes {
        let parameters: QueryParams = QueryParamsBuilder::new()
            .with_consistency(statements.consistency)
            .with_values(QueryValues::SimpleValues(values(statements, change)))
            .build();
        return Envelope::new_req_execute(&of(change).id, None, &parameters, Flags::empty(), statements.version);
    }
    let empty = BatchQueryBuilder::new().with_batch_type(BatchType::Unlogged).with_consistency(statements.consistency);
    let batch = changes.iter().fold(empty, |batch, change| {
        batch.add_query_prepared(&of(change), QueryValues::SimpleValues(values(statements, change)))
    });
    Envelope::new_req_batch(batch.build().expect("a batch").request, Flags::empty(), statements.version)
}

fn some_change() -> impl Strategy<Value = Change> {
    let extras = (proptest::option::of(any::<i32>()), proptest::option::of(any::<f64>()), proptest::option::of(".*"));
    let extras = extras.prop_map(|(age, latitude, country)| Extras { age, country, latitude, ..Extras::default() });
    let upsert = (any::<u128>(), 0_i64..4_000_000_000_000, ".*", proptest::option::of(extras)).prop_map(
        |(id, timestamp, address, extras)| {
            let id = Uuid::from_u128(id);
            let (fixed, extras) = (user(), extras.map(Box::new));
            let fields = Fields { id, timestamp: at(timestamp), address: &address, ..fixed.fields() };
            Change::Upsert(User::new(fields, extras))
        },
    );
    let delete = (any::<u128>(), 0_i64..4_000_000_000_000)
        .prop_map(|(id, timestamp)| Change::Delete { id: Uuid::from_u128(id), at: at(timestamp) });
    prop_oneof![4 => upsert, 1 => delete]
}

proptest! {
    #[test]
    fn a_request_is_what_the_driver_would_have_sent_and_not_larger_than_it_was_counted(
        changes in prop::collection::vec(some_change(), 1..8), is_v5: bool, is_text: bool,
    ) {
        let version = if is_v5 { Version::V5 } else { Version::V4 };
        let all: Vec<_> = COLUMNS.iter().chain(OPTIONAL_COLUMNS).map(|column| column.name).collect();
        let table = if is_text { vec![existing("id", "text"), existing("timestamp", "text")] } else { Vec::new() };
        let statements = statements(version, &all, &table);
        let request = statements.request(changes.iter());
        prop_assert_eq!(&request, &of_the_driver(&statements, &changes));
        let counted: usize = changes.iter().map(|change| statements.bytes(change)).sum();
        prop_assert!(request.body.len() <= FRAME_BYTES + counted);
    }
}

#[test]
fn since_protocol_5_a_statement_says_which_metadata_it_knows() {
    let mut statements = statements(Version::V5, &["id"], &[]);
    statements.insert.result_metadata_id = Some(vec![9; 16]);
    let change = [Change::Upsert(user())];
    let values = QueryValues::SimpleValues(values(&statements, &change[0]));
    let parameters = QueryParamsBuilder::new().with_consistency(statements.consistency).with_values(values).build();
    let (id, metadata) = (CBytesShort::new(vec![1; 16]), CBytesShort::new(vec![9; 16]));
    let expected = Envelope::new_req_execute(&id, Some(&metadata), &parameters, Flags::empty(), Version::V5);
    assert_eq!(statements.request(change.iter()), expected);
}

#[test]
fn every_column_is_bound_in_order_and_the_write_time_last() {
    let names: Vec<_> = COLUMNS.iter().map(|column| column.name).collect();
    let mut body = Vec::new();
    statements(Version::V5, &names, &[]).put_values(&mut body, &Change::Upsert(user()));
    let mut rest = &body[2..];
    let mut next = || {
        let (length, after) = rest.split_at(4);
        let length = i32::from_be_bytes(length.try_into().expect("four bytes"));
        let (value, after) = after.split_at(usize::try_from(length).expect("a value"));
        rest = after;
        value.to_vec()
    };
    let values: Vec<_> = (0..=COLUMNS.len()).map(|_| next()).collect();
    assert_eq!(body[..2], [0, 14]);
    assert_eq!(values[0], Uuid::from_u128(7).as_bytes());
    assert_eq!(values[8], b"0378");
    assert_eq!(values[9], (-1_i64).to_be_bytes());
    assert_eq!(values[12], 1_700_000_000_123_i64.to_be_bytes());
    assert_eq!(values[13], 1_700_000_000_123_000_i64.to_be_bytes());
}

#[test]
fn a_date_becomes_text_where_the_table_has_text() {
    let table = [existing("id", "uuid"), existing("dob", "text"), existing("timestamp", "timestamp")];
    let mut body = Vec::new();
    statements(Version::V5, &["dob"], &table).put_values(&mut body, &Change::Upsert(user()));
    assert_eq!(body[6..30], *b"1969-12-31T23:59:59.999Z");
}

#[test]
fn an_id_becomes_text_where_the_table_has_text() {
    let table = [existing("id", "text"), existing("email", "text")];
    assert_eq!((IdColumn::of(&table), IdColumn::of(&[existing("id", "uuid")])), (IdColumn::Text, IdColumn::Uuid));
    let text = "00000000-0000-0000-0000-000000000007";
    assert_eq!(IdColumn::Text.key(Uuid::from_u128(7)), (CqlValue::from(text), Murmur3Token::generate(text.as_bytes())));
    for change in [Change::Upsert(user()), Change::Delete { id: Uuid::from_u128(7), at: at(0) }] {
        let mut body = Vec::new();
        statements(Version::V5, &["id"], &table).put_values(&mut body, &change);
        assert!(body.windows(text.len()).any(|part| part == text.as_bytes()), "{change:?}");
    }
}

#[test]
fn an_optional_column_that_the_record_lacks_leaves_its_cell() {
    let mut body = Vec::new();
    statements(Version::V5, &["country"], &[]).put_values(&mut body, &Change::Upsert(user()));
    assert_eq!(body[2..6], NOT_SET.to_be_bytes());
}
