//! What the DDL is, and which tables fit.

use super::*;

fn fitting(dialect: Dialect) -> Vec<ExistingColumn> {
    let column = |c: &crate::record::Column| ExistingColumn {
        name: c.name.to_owned(),
        type_name: dialect.type_name(c.kind).to_owned(),
        in_primary_key: c.name == "id",
    };
    COLUMNS.iter().map(column).collect()
}

fn all() -> Vec<&'static str> {
    COLUMNS.iter().map(|c| c.name).collect()
}

fn set_type(columns: &mut [ExistingColumn], name: &str, type_name: &str) {
    for column in columns.iter_mut().filter(|c| c.name == name) {
        type_name.clone_into(&mut column.type_name);
    }
}

fn refusal(existing: &[ExistingColumn], wanted: &[&str]) -> (String, String) {
    let error = check_table(Dialect::Cassandra, "ks.t", existing, wanted).expect_err("it does not fit");
    assert_eq!(error.kind(), Kind::Config);
    (error.to_string(), error.hint_text().unwrap_or_default().to_owned())
}

#[test]
fn schema_cql_is_what_the_record_says() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("schema.cql");
    if std::env::var_os("USERPIPE_WRITE_SCHEMA").is_some() {
        std::fs::write(&path, schema_cql()).expect("schema.cql can be written");
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == schema_cql(),
        "schema.cql differs from src/record.rs; write it again with\n    \
         USERPIPE_WRITE_SCHEMA=1 cargo test --lib schema_cql_is_what_the_record_says\nwanted:\n{}",
        schema_cql()
    );
}

#[test]
fn what_we_create_fits_in_every_store() {
    for dialect in [Dialect::Cassandra, Dialect::Postgres, Dialect::Sqlite] {
        check_table(dialect, "t", &fitting(dialect), &all()).expect("our own table fits");
    }
}

#[test]
fn sql_tables_have_the_types_of_their_store() {
    let table = |optional: &[&'static str]| TableConfig {
        table: "created_users".to_owned(),
        columns: COLUMNS.iter().map(|c| c.name).chain(optional.iter().copied()).collect(),
    };
    let postgres = create_table_postgres(&table(&[]));
    assert!(postgres.starts_with("CREATE TABLE IF NOT EXISTS \"created_users\" (\n    id uuid PRIMARY KEY,\n"));
    assert!(postgres.contains("\n    dob timestamptz,\n"), "{postgres}");
    let sqlite = create_table_sqlite(&table(&[]));
    assert!(sqlite.contains("    id TEXT PRIMARY KEY NOT NULL,\n"), "{sqlite}");
    assert!(sqlite.ends_with("    timestamp TEXT\n)"), "{sqlite}");

    let more = table(&["age", "latitude", "country"]);
    let ends = [
        (
            create_table("ks", &more),
            "    timestamp timestamp,\n    age int,\n    country text,\n    latitude double\n)",
        ),
        (
            create_table_postgres(&more),
            "    timestamp timestamptz,\n    age integer,\n    country text,\n    latitude double precision\n)",
        ),
        (create_table_sqlite(&more), "    timestamp TEXT,\n    age INTEGER,\n    country TEXT,\n    latitude REAL\n)"),
    ];
    for (statement, end) in ends {
        assert!(statement.ends_with(end), "{statement}");
    }
}

#[test]
fn replication_is_written_for_each_data_centre() {
    let two = Replication::NetworkTopology(vec![("dc1".to_owned(), 3), ("o'hare".to_owned(), 2)]);
    assert!(create_keyspace("ks", &two).ends_with("{'class': 'NetworkTopologyStrategy', 'dc1': 3, 'o''hare': 2}"));
}

#[test]
fn text_will_do_for_dates_and_extra_columns_are_fine() {
    for (dialect, text) in
        [(Dialect::Cassandra, "text"), (Dialect::Postgres, "character varying"), (Dialect::Sqlite, "text")]
    {
        let mut existing = fitting(dialect);
        set_type(&mut existing, "dob", text);
        existing.push(ExistingColumn { name: "x".to_owned(), type_name: "blob".to_owned(), in_primary_key: false });
        check_table(dialect, "t", &existing, &all()).expect("text takes a date");
    }
    let mut existing = fitting(Dialect::Postgres);
    set_type(&mut existing, "dob", "timestamp with time zone");
    check_table(Dialect::Postgres, "t", &existing, &all()).expect("as information_schema says it");
}

#[test]
fn every_difference_is_spelled_out() {
    let mut existing = fitting(Dialect::Cassandra);
    set_type(&mut existing, "dob", "int");
    set_type(&mut existing, "phone", "bigint");
    existing.retain(|c| c.name != "picture" && c.name != "timestamp");
    let (text, hint) = refusal(&existing, &all());
    assert_eq!(
        text,
        "table ks.t does not fit: column phone is bigint, not text; column dob is int, not timestamp or text; \
         it has no column picture; it has no column timestamp"
    );
    let columns = "id,first_name,last_name,gender,email,username,address,post_code,registered_date";
    assert_eq!(hint, format!("write only what it has: --columns {columns}; or name another table with --table"));
    let fewer: Vec<&str> = columns.split(',').collect();
    check_table(Dialect::Cassandra, "ks.t", &existing, &fewer).expect("the hint helps");
}

#[test]
fn the_id_alone_is_the_primary_key() {
    let mut existing = fitting(Dialect::Cassandra);
    set_type(&mut existing, "id", "text");
    check_table(Dialect::Cassandra, "ks.t", &existing, &all()).expect("text takes an id");
    set_type(&mut existing, "id", "int");
    let (text, hint) = refusal(&existing, &all());
    assert_eq!(text, "table ks.t does not fit: column id is int, not uuid or text");
    assert!(hint.contains("userpipe init-schema"), "{hint}");

    let mut existing = fitting(Dialect::Cassandra);
    for column in existing.iter_mut().filter(|c| c.name == "email") {
        column.in_primary_key = true;
    }
    let (text, _) = refusal(&existing, &all());
    assert_eq!(text, "table ks.t does not fit: its primary key is (id, email), not (id)");
}

const DIALECTS: [Dialect; 3] = [Dialect::Cassandra, Dialect::Postgres, Dialect::Sqlite];

/// The 13 columns and these.
fn and(optional: &[&'static str]) -> Vec<&'static str> {
    all().into_iter().chain(optional.iter().copied()).collect()
}

#[test]
fn optional_columns_that_are_missing_are_added_in_the_records_order() {
    for dialect in DIALECTS {
        let mut existing = fitting(dialect);
        let added = additions(dialect, "t", &existing, &and(&["country", "age"])).expect("can be added");
        assert_eq!(added.iter().map(|c| c.name).collect::<Vec<_>>(), ["age", "country"]);
        assert_eq!(added_words(&added), "added columns age, country");
        assert_eq!(additions(dialect, "t", &existing, &all()).expect("fits"), Vec::<&Column>::new());
        existing.push(ExistingColumn {
            name: "age".to_owned(),
            type_name: dialect.type_name(ColumnType::Int).to_owned(),
            in_primary_key: false,
        });
        let added = additions(dialect, "t", &existing, &and(&["country", "age"])).expect("can be added");
        assert_eq!(added.iter().map(|c| c.name).collect::<Vec<_>>(), ["country"]);
        assert_eq!(added_words(&added), "added column country");
    }
    let column = |name| crate::record::column(name).expect("a column");
    assert_eq!(add_column(Dialect::Cassandra, "ks.t", column("age")), "ALTER TABLE ks.t ADD age int");
    assert_eq!(
        add_column(Dialect::Postgres, "t", column("latitude")),
        "ALTER TABLE t ADD COLUMN IF NOT EXISTS latitude double precision"
    );
    assert_eq!(add_column(Dialect::Sqlite, "t", column("country")), "ALTER TABLE t ADD COLUMN country TEXT");
}

#[test]
fn a_table_that_lacks_only_optional_columns_can_have_them_added() {
    let mut existing = fitting(Dialect::Cassandra);
    let (text, hint) = refusal(&existing, &and(&["age", "country"]));
    assert_eq!(text, "table ks.t does not fit: it has no column age; it has no column country");
    assert_eq!(hint, "add what it lacks: userpipe init-schema --with age,country and the same options");

    let age = |type_name: &str| ExistingColumn {
        name: "age".to_owned(),
        type_name: type_name.to_owned(),
        in_primary_key: false,
    };
    existing.push(age("text"));
    let (text, hint) = refusal(&existing, &and(&["age", "country"]));
    assert_eq!(text, "table ks.t does not fit: column age is text, not int; it has no column country");
    assert!(hint.contains("--columns id,") && hint.contains(",timestamp;"), "{hint}");
    let refused = additions(Dialect::Cassandra, "ks.t", &existing, &and(&["age", "country"])).expect_err("wrong type");
    assert_eq!(refused.to_string(), "table ks.t does not fit: column age is text, not int");
    assert!(refused.hint_text().is_some_and(|hint| hint.contains(",timestamp,country;")), "{refused:?}");

    existing.retain(|column| !["age", "dob"].contains(&column.name.as_str()));
    let refused = additions(Dialect::Cassandra, "ks.t", &existing, &and(&["age"])).expect_err("somebody else's");
    assert_eq!(refused.to_string(), "table ks.t does not fit: it has no column dob");
    assert!(refused.hint_text().is_some_and(|hint| hint.contains(",timestamp,age;")), "{refused:?}");
}

#[test]
fn a_name_is_only_ever_a_name() {
    assert_eq!(quoted("order"), "\"order\"");
    assert_eq!(quoted("a\" (id int); --"), "\"a\"\" (id int); --\"");
    let table = TableConfig { table: "order".to_owned(), columns: vec!["id"] };
    assert!(create_table("table", &table).starts_with("CREATE TABLE IF NOT EXISTS \"table\".\"order\" ("));
}
