//! `check` on real services: what is broken for real is named, with what mends it.

use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;

use super::readback::cqlsh;
use super::{Pipeline, SOON, program};
use crate::services::{Postgres, PrivateInstance, postgres, psql};

const CHECK: &[&str] = &["check", "--json", "--source", "synthetic"];

/// What `check` found, a line each.
fn look(pipeline: &Pipeline, code: i32) -> Vec<Value> {
    let finished = pipeline.run(CHECK).expect_code(code);
    finished.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The red lines are these: the name of each, words of what was found, words of the fix.
fn assert_red(pipeline: &Pipeline, expected: &[(&str, &str, &str)]) {
    let lines = look(pipeline, 10);
    let reds: Vec<_> = lines.iter().filter(|line| line["verdict"] == "fail").collect();
    let has = |line: &Value, name: &str, words: &str| line[name].as_str().unwrap_or_default().contains(words);
    let fits = |(line, (what, found, fix)): (&&Value, &(&str, &str, &str))| {
        line["check"] == *what && has(line, "found", found) && has(line, "fix", fix)
    };
    assert!(reds.len() == expected.len() && reds.iter().zip(expected).all(fits), "not {expected:?}: {lines:#?}");
}

/// The line about one thing.
fn line<'a>(lines: &'a [Value], what: &str) -> &'a Value {
    lines.iter().rfind(|line| line["check"] == what).unwrap_or_else(|| panic!("no {what}: {lines:#?}"))
}

fn with_postgres(pipeline: Pipeline, server: &Postgres) -> Pipeline {
    pipeline.with_flag("--postgres", &server.url).with_variable("PGPASSWORD", &server.password)
}

#[test]
#[ignore = "needs live services: make test"]
fn a_good_set_up_is_green_and_looking_changes_nothing() {
    let pipeline = with_postgres(Pipeline::new("checkgood"), &postgres()).initialized();
    pipeline.run(&["produce", "--once", "--count", "30", "--source", "synthetic"]).expect_code(0);
    let lines = look(&pipeline, 0);
    assert!(lines.iter().all(|line| line["verdict"] == "ok"), "{lines:#?}");
    for (what, words) in [
        ("kafka", "cluster "),
        ("kafka listener", "advertises a bootstrap address"),
        ("topic", "3 partitions, 30 records"),
        ("dead letters", "3 partitions, 0 records"),
        ("group", "no members, lag 30"),
        ("postgresql", "version "),
        ("ledger", "has this version's tables"),
        ("cassandra", "version "),
        ("data centre", "1 node in "),
        ("keyspace", "consistency local-quorum"),
        ("table", "is there and fits"),
        ("clock", "agrees with this machine's"),
    ] {
        assert!(line(&lines, what)["found"].as_str().unwrap().contains(words), "{what}: {lines:#?}");
    }
    assert!(!pipeline.database().exists(), "no stage uses the data directory");
    let groups = ["--bootstrap-server", &pipeline.kafka, "--list"];
    let groups = crate::services::tool("consumer-groups", groups);
    assert!(!groups.contains(&pipeline.group()), "it joined no group: {groups}");
    pipeline.run(&["health"]).expect_code(0);
    pipeline.run(&["consume", "-e"]).expect_code(0);
    let delivered = look(&pipeline, 0);
    assert!(line(&delivered, "group")["found"].as_str().unwrap().contains("lag 0"), "{delivered:#?}");

    let (kafka, cassandra) =
        (format!("127.0.0.1:1,{}", pipeline.kafka), format!("nowhere.invalid,{}", pipeline.cassandra));
    let half = pipeline.with_kafka(kafka).with_cassandra(cassandra);
    let lines = look(&half, 0);
    let warned: Vec<_> = lines.iter().filter(|line| line["verdict"] == "warn").map(|line| &line["check"]).collect();
    assert_eq!(warned, ["kafka", "cassandra"], "one address that answers is enough: {lines:#?}");
}

#[test]
#[ignore = "needs live services: make test"]
fn an_advertised_listener_that_does_not_work_is_named_with_what_to_set() {
    for (advertised, why) in [("broker.invalid:9092", "cannot resolve the name"), ("127.0.0.1:1", "refused")] {
        let instance = PrivateInstance::start_advertising(advertised);
        let pipeline = Pipeline::new("advertised").with_kafka(instance.kafka()).with_cassandra(String::new());
        let pipeline = pipeline.with_flag("--sink", "stdout").with_flag("--ledger", "off");
        assert_red(&pipeline, &[("kafka listener", why, "set advertised.listeners of broker 1")]);
        let lines = look(&pipeline, 10);
        let listener = line(&lines, "kafka listener");
        assert_eq!(listener["where"], format!("broker 1 at {advertised}"));
        let found = listener["found"].as_str().unwrap();
        assert!(found.starts_with(&format!("{} answers, but", instance.kafka())), "{found}");
    }
}

#[test]
#[ignore = "needs live services: make test"]
fn what_is_missing_or_does_not_fit_is_named() {
    let pipeline = Pipeline::new("checkfit");
    let keyspace = format!("there is no keyspace {}", pipeline.keyspace);
    let topic = ("topic", "there is no topic", "userpipe init-schema");
    assert_red(&pipeline, &[topic, ("keyspace", &keyspace, "userpipe init-schema")]);

    let pipeline = pipeline.initialized();
    look(&pipeline, 0);
    let table = pipeline.table();
    cqlsh(&pipeline.cassandra, &format!("ALTER TABLE {table} DROP phone;"));
    assert_red(&pipeline, &[("table", "it has no column phone", "--columns id,first_name")]);
    cqlsh(&pipeline.cassandra, &format!("DROP TABLE {table};"));
    let missing = format!("there is no table {table}");
    assert_red(&pipeline, &[("table", &missing, "userpipe init-schema")]);
    let columns = "id uuid PRIMARY KEY, first_name int";
    cqlsh(&pipeline.cassandra, &format!("CREATE TABLE {table} ({columns});"));
    assert_red(&pipeline, &[("table", "column first_name is int, not text", "--columns id")]);
}

#[test]
#[ignore = "needs live services: make test"]
fn what_the_cluster_cannot_give_is_named() {
    let pipeline = Pipeline::new("checkdc").initialized();
    let three = pipeline.with_flag("--consistency", "three");
    assert_red(&three, &[("keyspace", "three needs 3 replicas, and the keyspace has 1", "--consistency")]);
    let elsewhere = Pipeline::new("checkdc2").initialized().with_flag("--local-dc", "elsewhere");
    assert_red(&elsewhere, &[("data centre", "elsewhere", "--local-dc is one of: datacenter1")]);
    let open = Pipeline::new("checkopen").initialized().with_flag("--cassandra-user", "alice");
    let open = open.with_variable("USERPIPE_CASSANDRA_PASSWORD", "anything");
    assert_red(&open, &[("cassandra login", "the password of alice is ignored", "PasswordAuthenticator")]);
    open.run(&["consume", "-e"]).expect_code(0);
}

#[test]
#[ignore = "needs live services: make test"]
fn logins_are_looked_at() {
    let instance = PrivateInstance::start_secure(&["cassandra", "kafka"]);
    let on = |password: &str| {
        let pipeline = Pipeline::new("checklogin").with_cassandra(instance.cassandra()).with_kafka(instance.kafka());
        pipeline.with_flag("--cassandra-user", "cassandra").with_variable("USERPIPE_CASSANDRA_PASSWORD", password)
    };
    let right = on("cassandra").initialized();
    let lines = look(&right, 0);
    assert!(line(&lines, "cassandra login")["found"].as_str().unwrap().contains("a wrong password is not"));
    let wrong = Pipeline { topic: right.topic.clone(), ..on("not-this-one") };
    let refused = ("cassandra login", "Cassandra refuses the login", "USERPIPE_CASSANDRA_PASSWORD");
    assert_red(&wrong, &[refused]);
    assert!(!wrong.run(CHECK).stdout.contains("not-this-one"));
    let nobody = Pipeline::new("nologin").with_cassandra(instance.cassandra()).with_kafka(instance.kafka());
    let nobody = Pipeline { topic: right.topic.clone(), ..nobody };
    assert_red(&nobody, &[("cassandra login", "Cassandra asks for a login", "--cassandra-user")]);

    // Listeners of the same broker that want TLS, or a login, or both.
    let port: u16 = instance.kafka().rsplit_once(':').unwrap().1.parse().unwrap();
    let speaks_tls = "its listener speaks TLS, and security.protocol is PLAINTEXT";
    let asks = "its listener asks for a login, and security.protocol is PLAINTEXT";
    for (other, found) in [(2, asks), (3, speaks_tls), (4, speaks_tls)] {
        let address = format!("127.0.0.1:{}", port + other);
        let pipeline = Pipeline::new("checksasl").with_kafka(address).with_cassandra(String::new());
        let pipeline =
            pipeline.with_flag("--sink", "stdout").with_flag("--ledger", "off").with_flag("--connect-timeout", "3s");
        assert_red(&pipeline, &[("kafka", found, "-X security.protocol=S")]);
    }
}

#[test]
#[ignore = "needs live services: make test"]
fn postgresqls_login_database_ledger_and_table_are_looked_at() {
    let server = postgres();
    let unique = Pipeline::new("checkpg").keyspace;
    let on = |server: &Postgres| {
        let pipeline = Pipeline::new("checkpg").with_cassandra(String::new());
        let pipeline = with_postgres(pipeline.with_flag("--sink", "postgres"), server);
        pipeline.with_flag("--table", &unique)
    };
    let good = on(&server).initialized();
    let lines = look(&good, 0);
    assert_eq!(line(&lines, "table")["verdict"], "ok");
    let topic = |pipeline: Pipeline| Pipeline { topic: good.topic.clone(), ..pipeline };

    let wrong = topic(on(&Postgres { password: "wrong".to_owned(), ..server.clone() }));
    assert_red(&wrong, &[("postgresql", "password authentication failed", "PGPASSWORD")]);
    let (base, _) = server.url.rsplit_once('/').unwrap();
    let missing = topic(on(&Postgres { url: format!("{base}/nowhere"), ..server.clone() }));
    assert_red(&missing, &[("postgresql", "\"nowhere\" does not exist", "create the database")]);

    psql(&server, &format!("REVOKE INSERT, DELETE ON {unique} FROM CURRENT_USER"));
    assert_red(&good, &[("table", "the role lacks INSERT, DELETE on it", "GRANT INSERT, DELETE ON")]);
    psql(&server, &format!("GRANT INSERT, DELETE ON {unique} TO CURRENT_USER"));
    psql(&server, &format!("ALTER TABLE {unique} DROP COLUMN email"));
    assert_red(&good, &[("table", "it has no column email", "--columns id,first_name")]);
    psql(&server, &format!("DROP TABLE {unique}"));
    assert_red(&good, &[("table", "there is no such table", "init-schema")]);
}

#[test]
#[ignore = "needs live services: make test"]
fn a_ledger_of_another_version_is_named() {
    let instance = PrivateInstance::start(&["postgres"]);
    let server = instance.postgres();
    let pipeline = Pipeline::new("checkledger").with_cassandra(String::new()).with_flag("--sink", "stdout");
    let pipeline = with_postgres(pipeline, &server);
    let new = pipeline.run(CHECK).expect_code(10);
    assert!(new.stdout.contains("has no tables yet"), "{}", new.stdout);
    assert_eq!(psql(&server, "SELECT count(*) FROM information_schema.schemata WHERE schema_name = 'userpipe'"), ["0"]);
    let pipeline = pipeline.initialized();
    look(&pipeline, 0);
    let newer = "INSERT INTO userpipe.migrations VALUES (99990101, 'of the future', now(), true, '\\x00', 1)";
    psql(&server, newer);
    assert_red(&pipeline, &[("ledger", "was written by a newer userpipe", "use that version")]);
}

#[test]
#[ignore = "needs live services: make test"]
fn a_group_of_another_sink_is_named() {
    let pipeline = Pipeline::new("checkgroup").initialized();
    pipeline.produce(5);
    pipeline.run(&["consume", "-e"]).expect_code(0);
    let group = pipeline.group();
    let stdout = pipeline.with_flag("--sink", "stdout").with_flag("--group", &group);
    assert_red(&stdout, &[("group", "not for userpipe:stdout", "leave --group out")]);
}

#[test]
#[ignore = "needs live services: make test"]
fn it_waits_for_services_that_are_starting_and_a_frozen_one_costs_no_more_than_the_limit() {
    let instance = PrivateInstance::not_started(&["kafka"]);
    let pipeline = Pipeline::new("checkwait").with_kafka(instance.kafka()).with_cassandra(String::new());
    let pipeline =
        pipeline.with_flag("--sink", "stdout").with_flag("--ledger", "off").with_flag("--connect-timeout", "4s");
    let mut waiting = pipeline.start(&[CHECK, &["--wait", "2m"]].concat());
    waiting.until_says("waiting for kafka");
    instance.up();
    waiting.until_says("waiting for topic");
    let pipeline = pipeline.initialized();
    waiting.wait(SOON).expect_code(0);

    instance.kill("kafka", Signal::SIGSTOP);
    let frozen = pipeline.run(CHECK).expect_code(10);
    assert!(frozen.stdout.contains("frozen or still starting"), "{}", frozen.stdout);
    assert!(frozen.took < Duration::from_secs(10), "{:?}", frozen.took);
    instance.kill("kafka", Signal::SIGCONT);
    program::until("green again", SOON, || pipeline.run(CHECK).status.success());
}
