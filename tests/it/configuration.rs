//! Flags over environment over `userpipe.toml` over defaults; what is refused; and that no secret is shown.

use serde_json::Value;

use crate::sandbox::{Output, Run, Sandbox};

/// What `config --json` says of one option: value and origin.
fn setting(run: Run, name: &str) -> (String, String) {
    let document: Value = serde_json::from_str(&run.ok().stdout).unwrap();
    let settings = document["settings"].as_array().unwrap();
    let named: Vec<_> = settings.iter().filter(|setting| setting["name"] == name).collect();
    assert_eq!(named.len(), 1, "{name} in {settings:?}");
    let text = |key: &str| named[0][key].as_str().unwrap().to_owned();
    (text("value"), text("origin"))
}

fn pair(value: &str, origin: &str) -> (String, String) {
    (value.to_owned(), origin.to_owned())
}

#[test]
fn flags_go_over_environment_over_file_over_defaults() {
    let sandbox = Sandbox::new();
    let config = || sandbox.userpipe("config --json");
    assert_eq!(setting(config(), "topic"), pair("users_created", "default"));
    sandbox.write("userpipe.toml", "topic = 'of-the-file'");
    assert_eq!(setting(config(), "topic"), pair("of-the-file", "file userpipe.toml"));
    let with_environment = || config().env("USERPIPE_TOPIC", "of-the-environment");
    assert_eq!(setting(with_environment(), "topic"), pair("of-the-environment", "environment USERPIPE_TOPIC"));
    assert_eq!(setting(with_environment().arg("--topic=of-the-flag"), "topic"), pair("of-the-flag", "flag"));
}

#[test]
fn the_file_is_chosen_by_flag_or_environment() {
    let sandbox = Sandbox::new();
    sandbox.write("userpipe.toml", "topic = 'here'");
    sandbox.write("a.toml", "topic = 'a'");
    sandbox.write("b.toml", "topic = 'b'");
    let config = || sandbox.userpipe("config --json").env("USERPIPE_CONFIG", "b.toml");
    assert_eq!(setting(config(), "topic"), pair("b", "file b.toml"));
    assert_eq!(setting(config().arg("--config").arg("a.toml"), "topic"), pair("a", "file a.toml"));
    let output = sandbox.userpipe("config --config nowhere.toml").fails(78);
    assert!(output.error().starts_with("cannot read the configuration file at nowhere.toml: "), "{}", output.error());
}

#[test]
fn a_table_of_the_file_is_for_its_command() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "userpipe.toml",
        "partitions = 5\n[run]\nsource = 'synthetic'\ncount = 4\n[produce]\nsource = 'synthetic'",
    );
    sandbox.userpipe("run --once").ok();
    let database = sandbox.database();
    assert_eq!(database.ids().len(), 4);
    assert_eq!(database.number("SELECT count(*) FROM bus_partitions WHERE topic = 'users_created'"), 5);
    sandbox.userpipe("run --once --count 2").env("USERPIPE_COUNT", "3").ok();
    assert_eq!(database.ids().len(), 6, "the flag");
    sandbox.userpipe("run --once").env("USERPIPE_COUNT", "3").ok();
    assert_eq!(database.ids().len(), 9, "the environment");
    assert!(sandbox.userpipe("produce").ok().last_line().starts_with("fetched 100 "), "the default");
    let shown = sandbox.userpipe("config").ok().stdout;
    assert!(
        shown.lines().any(|line| line.starts_with("[run] count") && line.ends_with("4  file userpipe.toml") || {
            line.split_whitespace().collect::<Vec<_>>() == ["[run]", "count", "4", "file", "userpipe.toml"]
        }),
        "{shown}"
    );
}

#[test]
fn a_flag_goes_over_a_key_that_conflicts_with_it() {
    let sandbox = Sandbox::new();
    sandbox.write("userpipe.toml", "[run]\nsource = 'synthetic'\ninterval = '1h'\ncount = 3");
    sandbox.userpipe("run --once").ok();
    assert_eq!(sandbox.database().ids().len(), 3);
}

#[test]
fn lists_and_switches_are_written_as_toml_has_them() {
    let sandbox = Sandbox::new();
    sandbox.write("userpipe.toml", "brokers = ['a:1', 'b:2']\nderive-id = true\nlog-format = 'json'\nin-flight = 10");
    let config = || sandbox.userpipe("config --json");
    assert_eq!(setting(config(), "brokers"), pair("a:1,b:2", "file userpipe.toml"));
    assert_eq!(setting(config(), "derive-id"), pair("true", "file userpipe.toml"));
    assert_eq!(setting(config(), "in-flight"), pair("10", "file userpipe.toml"));
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_one() {
    for (file, key, hint) in [
        ("brokres = 'x'", "`brokres`", "did you mean `brokers`?"),
        ("[run]\nintervall = '1m'", "`[run] intervall`", "did you mean `interval`?"),
        ("[runn]\ncount = 1", "`[runn]`", "did you mean `run`?"),
        ("[consume]\ntopik = 'x'", "`[consume] topik`", "did you mean `topic`?"),
        ("zzz = 1", "`zzz`", "keys are the long flags; options of one command go into a table, as in [run]"),
    ] {
        let sandbox = Sandbox::new();
        sandbox.write("userpipe.toml", file);
        let output = sandbox.userpipe("config").fails(78);
        assert_eq!(output.error(), format!("unknown key {key} in the configuration file at userpipe.toml"));
        assert_eq!(output.hint(), hint);
    }
}

#[test]
fn a_bad_value_is_refused_by_the_name_of_its_key() {
    for (file, key) in [
        ("partitions = 'many'", "`partitions`"),
        ("partitions = 0", "`partitions`"),
        ("sink = 'excel'", "`sink`"),
        ("connect-timeout = '5 parsecs'", "`connect-timeout`"),
        ("topic = 2026-01-01", "`topic`"),
        ("derive-id = 'perhaps'", "`derive-id`"),
        ("[run]\ninterval = '0s'", "`[run] interval`"),
        ("[run]\ncount = -1", "`[run] count`"),
        ("[run.more]\ncount = 1", "`[run] more`"),
    ] {
        let sandbox = Sandbox::new();
        sandbox.write("userpipe.toml", file);
        let output = sandbox.userpipe("config").output().expect_code(78);
        assert!(output.error().contains(key), "{key} in {}", output.error());
    }
}

#[test]
fn a_file_that_is_no_toml_is_refused_by_its_line() {
    let sandbox = Sandbox::new();
    sandbox.write("userpipe.toml", "topic = 'x'\nthis is no TOML\n");
    let output = sandbox.userpipe("run --once").fails(78);
    assert!(
        output.error().contains("cannot read the configuration file at userpipe.toml: line 2: "),
        "{}",
        output.error()
    );
}

#[test]
fn an_empty_variable_is_as_good_as_none() {
    let sandbox = Sandbox::new();
    let mut run = sandbox.userpipe("run --once --source synthetic --count 2");
    for name in ["BROKERS", "CASSANDRA", "POSTGRES", "GROUP", "COLUMNS", "SINK", "SEED", "NAT", "LOCAL_DC", "CONFIG"] {
        run = run.env(&format!("USERPIPE_{name}"), "");
    }
    run.ok();
    assert_eq!(sandbox.database().ids().len(), 2);
}

#[test]
fn passwords_are_shown_nowhere() {
    const SECRET: &str = "hunter2hunter2";
    let sandbox = Sandbox::new();
    sandbox.write("password", format!("{SECRET}\n"));
    let cassandra = "--cassandra 127.0.0.1:1 --cassandra-user me --connect-timeout 1s";
    let files = "--cassandra-password-file password --postgres-password-file password";
    let mut outputs: Vec<Output> = Vec::new();
    for command in ["config", "config --json", "consume -e -vv", "init-schema", "init-schema --dry-run"] {
        for more in ["", files] {
            let line = format!("{command} {cassandra} --postgres postgres://me@127.0.0.1:1/db {more}");
            let run = sandbox.userpipe(&line).env("USERPIPE_CASSANDRA_PASSWORD", SECRET).env("PGPASSWORD", SECRET);
            outputs.push(run.output());
        }
    }
    for output in &outputs {
        assert!(!output.stdout.contains(SECRET) && !output.stderr.contains(SECRET), "{output:?}");
    }
    let line = outputs[0].stdout.lines().find(|line| line.starts_with("cassandra-password ")).unwrap();
    assert_eq!(line.split_whitespace().collect::<Vec<_>>()[1..], ["***", "environment", "USERPIPE_CASSANDRA_PASSWORD"]);
}

#[test]
fn a_password_in_the_postgres_url_is_refused_wherever_it_comes_from() {
    const SECRET: &str = "hunter2hunter2";
    let sandbox = Sandbox::new();
    let in_the_url = format!("postgres://me:{SECRET}@localhost/db");
    let in_the_query = format!("postgres://me@localhost/db?password={SECRET}");
    for url in [&in_the_url, &in_the_query] {
        for run in
            [sandbox.userpipe("config --postgres").arg(url), sandbox.userpipe("config").env("USERPIPE_POSTGRES", url)]
        {
            let output = run.fails(78);
            assert!(output.error().starts_with("--postgres must not carry a password"), "{}", output.error());
            assert!(output.hint().contains("PGPASSWORD"), "{}", output.hint());
            assert!(!output.stderr.contains(SECRET), "{}", output.stderr);
        }
    }
}

#[test]
fn a_password_file_that_cannot_be_used_is_named() {
    let sandbox = Sandbox::new();
    sandbox.write("empty", "\n");
    let run = |file: &str| format!("config --cassandra a --cassandra-user me --cassandra-password-file {file}");
    let missing = sandbox.userpipe(&run("nowhere")).fails(78);
    assert!(missing.error().starts_with("cannot read the password file at nowhere: "), "{}", missing.error());
    let empty = sandbox.userpipe(&run("empty")).fails(78);
    assert_eq!(empty.error(), "cannot read the password file at empty: it is empty");
}
