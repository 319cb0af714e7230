//! `--with`: columns beside the 13, from the API's answer to the table.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::database::{Database, FIELDS};
use crate::sandbox::Sandbox;
use crate::schema::with_table;

/// The optional columns as the help lists them.
const OPTIONAL: [&str; 14] = [
    "title",
    "age",
    "nationality",
    "street_number",
    "street_name",
    "city",
    "state",
    "country",
    "latitude",
    "longitude",
    "timezone",
    "cell",
    "picture_large",
    "thumbnail",
];

const COLUMNS: &str = "SELECT name FROM pragma_table_info('created_users') ORDER BY cid";
const WITH_COUNTRY: &str = "SELECT count(*) FROM created_users WHERE country <> ''";
const COUNTRIES: &str = "SELECT country FROM created_users";

/// The 13 columns and these.
fn and(optional: &[&str]) -> Vec<String> {
    FIELDS.iter().chain(optional).map(|name| (*name).to_owned()).collect()
}

fn keys(user: &Value) -> Vec<String> {
    user.as_object().unwrap().keys().cloned().collect()
}

/// A record of one person.
fn record(timestamp: &str, more: &Value) -> String {
    let mut record = json!({
        "id": "00000000-0000-5000-8000-000000000001", "first_name": "Ann", "last_name": "Other", "gender": "female",
        "email": "ann@example.com", "username": "ann", "phone": "1", "address": "1 X, Y, Z, W", "post_code": "0378",
        "dob": "1990-01-01T00:00:00.000Z", "registered_date": "2010-01-01T00:00:00.000Z", "picture": "https://p",
        "timestamp": timestamp,
    });
    record.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_else(Map::new));
    record.to_string()
}

/// A sandbox with 20 users in a table of the 13 columns.
fn with_users() -> (Sandbox, Database) {
    let sandbox = Sandbox::new();
    sandbox.userpipe("run --once --source synthetic --count 20").ok();
    let database = sandbox.database();
    assert_eq!(database.texts(COLUMNS), FIELDS);
    (sandbox, database)
}

#[test]
fn a_table_is_made_with_the_columns_and_each_value_is_the_apis() {
    let sandbox = Sandbox::new();
    sandbox.userpipe("run --once --source synthetic --count 30 --with country,city,age,latitude").ok();
    let database = sandbox.database();
    assert_eq!(database.texts(COLUMNS), and(&["age", "city", "country", "latitude"]));
    let is_right = "SELECT count(*) FROM created_users u JOIN outbox o ON o.id = u.id
                    WHERE u.age = o.raw ->> '$.dob.age' AND typeof(u.age) = 'integer'
                    AND u.latitude = CAST(o.raw ->> '$.location.coordinates.latitude' AS REAL) AND typeof(u.latitude) = 'real'
                    AND u.city = trim(o.raw ->> '$.location.city') AND u.address LIKE '%, ' || u.country";
    assert_eq!(database.number(is_right), 30);
}

#[test]
fn a_table_of_13_columns_gets_more_and_its_old_rows_stay_as_they_are() {
    let (sandbox, database) = with_users();
    let before = database.users();
    let output = sandbox.userpipe("run --once --source synthetic --count 10 --with country,age -v").ok();
    assert!(output.stderr.contains("added columns age, country to table created_users"), "{}", output.stderr);
    assert_eq!(database.texts(COLUMNS), and(&["age", "country"]));
    assert_eq!((database.number(WITH_COUNTRY), database.texts(COUNTRIES).len()), (10, 10), "others are null");
    let old: Vec<_> = database.users().into_iter().filter(|user| before.contains(user)).collect();
    assert_eq!(old, before, "read as by one who knows the 13");

    // Who knows nothing of them goes on.
    sandbox.userpipe("run --once --source synthetic --count 5").ok();
    assert_eq!((database.ids().len(), database.number(WITH_COUNTRY)), (35, 10));
    sandbox.userpipe("verify").ok();
    sandbox.userpipe("verify --with age,country").ok();
}

#[test]
fn a_record_that_lacks_a_value_leaves_what_the_row_has() {
    let sandbox = Sandbox::new();
    let all = json!({"country": "Norway", "age": 36, "latitude": -69.5});
    let send = |day: u8, more: &Value, with: &str| {
        let line = record(&format!("2026-01-{day:02}T00:00:00.000Z"), more);
        sandbox.userpipe(&format!("produce --input - {with}")).input(line).ok();
        sandbox.userpipe(&format!("consume -e {with}")).ok();
        let row = "SELECT country || ' ' || age || ' ' || latitude || ' ' || timestamp FROM created_users";
        sandbox.database().texts(row).pop().unwrap()
    };
    let with = "--with country,age,latitude";
    assert_eq!(send(2, &all, with), "Norway 36 -69.5 2026-01-02T00:00:00.000Z");
    assert_eq!(send(3, &json!({"age": null}), with), "Norway 36 -69.5 2026-01-03T00:00:00.000Z");
    assert_eq!(send(4, &json!({"country": "Chile"}), ""), "Norway 36 -69.5 2026-01-04T00:00:00.000Z");
    assert_eq!(send(5, &json!({"age": "37"}), with), "Norway 37 -69.5 2026-01-05T00:00:00.000Z");
    assert_eq!(send(1, &json!({"age": 1}), with), "Norway 37 -69.5 2026-01-05T00:00:00.000Z", "an older one");
}

#[test]
fn the_13_come_first_and_everything_goes_through_the_topic() {
    let sandbox = Sandbox::new();
    let all = OPTIONAL.join(",");
    let users = sandbox.userpipe(&format!("fetch --source synthetic --count 7 --with {all}")).ok().json_lines();
    for user in &users {
        assert_eq!(keys(user), and(&OPTIONAL));
        assert!(user["age"].is_i64() && user["longitude"].is_f64() && user["street_number"].is_string(), "{user}");
    }
    // In the order of the record, whatever the order of the flag.
    let some = sandbox.userpipe("fetch --source synthetic --with thumbnail,title").ok().json_lines();
    assert!(some.iter().all(|user| keys(user) == and(&["title", "thumbnail"])), "{some:?}");

    let line = format!(
        "userpipe fetch --source synthetic --count 5 --with {all} | tee sent | userpipe produce --input - --with {all} \
         && userpipe consume -e --sink stdout --with {all}"
    );
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
    let printed = sandbox.bash(&line).ok().stdout;
    assert_eq!(lines(&printed), lines(&std::fs::read_to_string(sandbox.path("sent")).unwrap()));
    let less = sandbox.userpipe("consume -e --sink stdout --group less --with age").ok().json_lines();
    assert!(less.len() == 5 && less.iter().all(|user| keys(user) == and(&["age"])), "{less:?}");
}

#[test]
fn raw_users_of_an_input_have_them_too_and_a_wrong_one_is_rejected_by_name() {
    let sandbox = Sandbox::new();
    let mut users = sandbox.userpipe("fetch --raw --source synthetic --count 3").ok().json_lines();
    users[1]["dob"]["age"] = json!("old");
    users[2]["dob"].as_object_mut().unwrap().remove("age").unwrap();
    let input = users.iter().map(Value::to_string).collect::<Vec<_>>().join("\n");
    let output = sandbox.userpipe("produce --input - --with age,country").input(input.clone()).fails(65);
    let reason = "standard input line 2: dob.age: expected an integer of 32 bits";
    assert!(output.stderr.contains(reason), "{}", output.stderr);
    let sent = sandbox.userpipe("consume -e --sink stdout --with age,country").ok().json_lines();
    let ages: BTreeSet<_> = sent.iter().map(|user| user.get("age").is_some()).collect();
    assert_eq!((sent.len(), ages), (2, BTreeSet::from([false, true])), "what is missing is left out");
    sandbox.userpipe("produce --input -").input(input).ok();
}

#[test]
fn what_was_stored_with_them_is_sent_with_them_by_whoever_sends_it() {
    let sandbox = Sandbox::new();
    sandbox.userpipe("produce --source synthetic --count 10 --with city,cell").ok();
    let database = sandbox.database();
    let values = "SELECT CAST(value AS TEXT) FROM bus_records WHERE topic = 'users_created' ORDER BY 1";
    let before = database.texts(values);
    assert!(before.iter().all(|value| value.contains(r#","city":""#) && value.contains(r#","cell":""#)), "{before:?}");
    database.execute("DELETE FROM bus_records");
    sandbox.userpipe("produce --from-ledger").ok();
    assert_eq!(database.texts(values), before);
}

#[test]
fn a_record_with_a_wrong_value_is_a_dead_letter_only_where_the_column_was_asked_for() {
    let sandbox = Sandbox::new();
    let database = sandbox.prepare();
    let value = record("2026-01-01T00:00:00.000Z", &json!({"age": [36], "country": "Norway"}));
    database.append("users_created", 0, None, Some(value.as_bytes()));
    sandbox.userpipe("consume -e --with age").ok();
    let letters = sandbox.userpipe("dead-letters list --json").ok().json_lines();
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert!(letters[0].to_string().contains("age: expected an integer of 32 bits"), "{letters:?}");
    sandbox.userpipe("consume --from-beginning -e --with country").ok();
    assert_eq!(database.texts(COUNTRIES), ["Norway"]);
}

#[test]
fn init_schema_shows_the_additions_makes_them_and_then_has_none() {
    let (sandbox, database) = with_users();
    let dry_run = || sandbox.userpipe("init-schema --dry-run --with country,age").ok().stdout;
    let additions = "ALTER TABLE \"created_users\" ADD COLUMN age INTEGER;\n\n\
                     ALTER TABLE \"created_users\" ADD COLUMN country TEXT;\n";
    let printed = dry_run();
    assert!(printed.contains("    timestamp TEXT,\n    age INTEGER,\n    country TEXT\n);"), "{printed}");
    assert!(printed.ends_with(additions), "{printed}");
    assert_eq!(database.texts(COLUMNS), FIELDS, "a dry run changes nothing");

    let said = sandbox.userpipe("init-schema --with country,age").ok().stdout;
    let place = "table ./userpipe-data/userpipe.db/created_users";
    assert!(said.ends_with(&format!("added columns age, country to {place}\n{place} is ready\n")), "{said}");
    assert_eq!(database.texts(COLUMNS), and(&["age", "country"]));
    assert!(!dry_run().contains("ALTER TABLE"), "{}", dry_run());
    let again = sandbox.userpipe("init-schema --with country,age").ok().stdout;
    assert!(!again.contains("added") && again.ends_with(&format!("{place} is ready\n")), "{again}");
    let third = sandbox.userpipe("init-schema --with country,city").ok().stdout;
    assert!(third.contains("added column city to "), "{third}");
}

#[test]
fn a_dry_run_that_cannot_look_says_what_it_would_add() {
    let sandbox = Sandbox::new();
    let dry_run = "init-schema --dry-run --with country,age --cassandra 127.0.0.1:1 --connect-timeout 1s";
    let output = sandbox.userpipe(dry_run).ok();
    let notes = "-- where \"spark_streams\".\"created_users\" is there already, for each of these that it lacks:\n\
                 -- ALTER TABLE \"spark_streams\".\"created_users\" ADD age int;\n\
                 -- ALTER TABLE \"spark_streams\".\"created_users\" ADD country text;\n";
    assert!(output.stdout.contains("    age int,\n    country text\n);"), "{}", output.stdout);
    assert!(output.stdout.ends_with(notes), "{}", output.stdout);
    assert!(output.stderr.contains("cannot reach Cassandra"), "{}", output.stderr);
    // Nothing is asked of anybody where no columns were asked for.
    let output = sandbox.userpipe("init-schema --dry-run --cassandra 127.0.0.1:1").ok();
    assert_eq!(output.stderr, "");
}

#[test]
fn many_at_once_add_them_once() {
    let (sandbox, database) = with_users();
    let all = OPTIONAL.join(",");
    let starting = (0..6).map(|_| sandbox.userpipe(&format!("init-schema --with {all}")).start());
    let running: Vec<_> = starting.collect();
    let said: Vec<_> = running.into_iter().map(|one| one.finish().expect_code(0).stdout).collect();
    assert_eq!(said.iter().filter(|said| said.contains("added columns")).count(), 1, "{said:?}");
    assert_eq!(database.texts(COLUMNS), and(&OPTIONAL));
}

#[test]
fn a_table_with_another_type_or_without_one_of_the_13_is_refused_and_left_alone() {
    let table = |columns: &[String]| with_table(&format!("CREATE TABLE created_users ({})", columns.join(", ")));
    let columns =
        || FIELDS.iter().map(|name| format!("{name} TEXT{}", if *name == "id" { " PRIMARY KEY" } else { "" }));
    let wrong: Vec<String> = columns().chain(["country INTEGER".to_owned()]).collect();
    let sandbox = table(&wrong);
    for command in ["init-schema", "init-schema --dry-run", "run --once --source synthetic"] {
        let output = sandbox.userpipe(&format!("{command} --with age,country")).fails(78);
        assert!(output.error().ends_with("does not fit: column country is INTEGER, not TEXT"), "{}", output.stderr);
        assert!(output.hint().contains(",timestamp,age;"), "{}", output.stderr);
        assert_eq!(sandbox.database().texts(COLUMNS), and(&["country"]));
    }
    sandbox.userpipe("run --once --source synthetic").ok();

    let sandbox = table(&columns().filter(|column| !column.starts_with("dob ")).collect::<Vec<_>>());
    let output = sandbox.userpipe("run --once --source synthetic --with age").fails(78);
    assert!(output.error().ends_with("does not fit: it has no column dob"), "{}", output.stderr);
    let (_, columns) = output.hint().split_once("--columns ").unwrap();
    let columns = columns.split(';').next().unwrap();
    sandbox.userpipe(&format!("run --once --source synthetic --count 4 --with age --columns {columns}")).ok();
    assert_eq!(sandbox.database().number("SELECT count(*) FROM created_users WHERE age > 0"), 4);
}

#[test]
fn who_only_looks_at_a_table_that_lacks_them_says_how_to_add_them() {
    let (sandbox, database) = with_users();
    let fix = "add what it lacks: userpipe init-schema --with country and the same options";
    for command in ["verify", "trace 00000000-0000-5000-8000-000000000001"] {
        let output = sandbox.userpipe(&format!("{command} --with country")).fails(78);
        assert!(output.error().ends_with("does not fit: it has no column country"), "{}", output.stderr);
        assert_eq!(output.hint(), fix);
    }
    let table = |code| {
        let output = sandbox.userpipe("check --json --source synthetic --with country").output().expect_code(code);
        output.json_lines().into_iter().find(|line| line["check"] == "table").unwrap()
    };
    assert!(table(10).to_string().contains(fix), "{}", table(10));
    assert_eq!(database.texts(COLUMNS), FIELDS, "looking changes nothing");
    sandbox.userpipe("init-schema --with country").ok();
    assert_eq!(table(0)["found"], "is there and fits, with country");
    sandbox.userpipe("verify --with country").ok();
}

#[test]
fn a_column_that_is_none_is_refused_with_the_nearest() {
    let sandbox = Sandbox::new();
    let output = sandbox.userpipe("run --once --source synthetic --with contry").fails(78);
    assert!(output.error().starts_with("bad value of --with: `contry` is none of title, age, "), "{}", output.stderr);
    assert!(output.error().ends_with("thumbnail (did you mean `country`?)"), "{}", output.stderr);
    let output = sandbox.userpipe("run --once --source synthetic --columns id,country").fails(78);
    assert!(output.error().ends_with("`country` is a column that --with adds: --with country"), "{}", output.stderr);
    assert!(!sandbox.path("userpipe-data").exists());
}

#[test]
fn the_environment_and_the_file_can_ask_for_them() {
    let sandbox = Sandbox::new();
    let fetched = |more: &str| {
        let output = sandbox.userpipe(&format!("fetch --source synthetic {more}")).env("USERPIPE_WITH", "city,age");
        keys(&output.ok().json_lines()[0])
    };
    assert_eq!(fetched(""), and(&["age", "city"]));
    assert_eq!(fetched("--with state"), and(&["state"]));
    sandbox.write("userpipe.toml", "with = ['country', 'age']\ncolumns = ['id', 'country']");
    sandbox.userpipe("run --once --source synthetic --count 5").ok();
    assert_eq!(
        sandbox.database().number("SELECT count(*) FROM created_users WHERE country <> '' AND email IS NULL"),
        5
    );
}
