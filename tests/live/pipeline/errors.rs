//! What a person can get wrong with real services: one clear line, a hint, the documented exit code, in time.

use std::time::Duration;

use nix::sys::signal::Signal;

use super::{Pipeline, SOON, assert_same};
use crate::services::{PrivateInstance, tool};

/// Nothing listens there.
const DEAD: &str = "127.0.0.1:1";

const RUN: &[&str] = &["run", "--once", "--count", "5", "--source", "synthetic"];
const PRODUCE: &[&str] = &["produce", "--once", "--count", "5", "--source", "synthetic"];
const CONSUME: &[&str] = &["consume", "-e"];
const INIT: &[&str] = &["init-schema"];

#[test]
#[ignore = "needs live services: make test"]
fn what_cannot_be_reached_is_named_within_the_connect_timeout() {
    let limited = |what: &str| Pipeline::new(what).with_flag("--connect-timeout", "3s");
    let no_broker = limited("nobroker").initialized().with_kafka(DEAD.to_owned());
    let no_cassandra = limited("nocassandra");
    no_cassandra.produce(1);
    let no_cassandra = no_cassandra.with_cassandra(DEAD.to_owned());
    let url = format!("postgres://userpipe@{DEAD}/userpipe");
    let no_postgres = limited("nopostgres").initialized().with_flag("--postgres", &url);
    let cases = [
        (&no_broker, [RUN, PRODUCE, CONSUME, INIT].as_slice(), "cannot reach Kafka", "make up"),
        (&no_cassandra, &[RUN, CONSUME, INIT], "cannot reach Cassandra", "--cassandra"),
        (&no_postgres, &[RUN, PRODUCE, INIT], "cannot connect to PostgreSQL", "--postgres"),
    ];
    for (pipeline, commands, error, hint) in cases {
        for command in commands {
            let failed = pipeline.run(command).expect_failure(69, error, hint);
            assert!(failed.stderr.contains(DEAD), "{}", failed.stderr);
            assert!(failed.took < Duration::from_secs(6), "{command:?} took {:?}", failed.took);
        }
    }
}

#[test]
#[ignore = "needs live services: make test"]
fn a_broker_that_accepts_and_never_answers_is_unreachable_in_time() {
    let instance = PrivateInstance::start(&["kafka"]);
    let pipeline = Pipeline::new("frozen").with_kafka(instance.kafka()).initialized();
    let limited = pipeline.with_flag("--connect-timeout", "4s");
    instance.kill("kafka", Signal::SIGSTOP);
    for command in [RUN, PRODUCE, CONSUME, INIT] {
        let failed = limited.run(command).expect_failure(69, "cannot reach Kafka", "");
        assert!(failed.took < Duration::from_secs(8), "{command:?} took {:?}", failed.took);
    }
    instance.kill("kafka", Signal::SIGCONT);
    let ids = limited.produce(5);
    limited.run(CONSUME).expect_code(0);
    assert_same(&limited.ids(), &ids, "table and ledger");
}

#[test]
#[ignore = "needs live services: make test"]
fn a_topic_that_is_missing_is_named_and_not_created_by_looking() {
    let pipeline = Pipeline::new("notopic");
    let table_only = Pipeline { topic: format!("{}-other", pipeline.topic), ..pipeline }.initialized();
    let pipeline = Pipeline { topic: table_only.topic.replace("-other", ""), ..table_only };
    pipeline.run(CONSUME).expect_failure(78, &pipeline.topic, "userpipe init-schema");
    pipeline.run(&["consume", "--from-beginning", "-e"]).expect_failure(78, &pipeline.topic, "userpipe init-schema");
    let topics = tool("topics", ["--bootstrap-server", &pipeline.kafka, "--list"]);
    assert!(!topics.lines().any(|topic| topic == pipeline.topic), "{topics}");
}

#[test]
#[ignore = "needs live services: make test"]
fn a_table_that_is_missing_needs_init_schema() {
    let pipeline = Pipeline::new("notable");
    pipeline.run(PRODUCE).expect_code(0);
    for command in [CONSUME, RUN] {
        pipeline.run(command).expect_failure(78, &pipeline.keyspace, "userpipe init-schema");
    }
}

#[test]
#[ignore = "needs live services: make test"]
fn a_group_keeps_to_its_sink_and_is_reset_when_its_members_have_left() {
    let pipeline = Pipeline::new("group").initialized();
    pipeline.produce(5);
    pipeline.run(CONSUME).expect_code(0);
    let group = pipeline.group();
    let foreign = pipeline.run(&["consume", "-e", "--sink", "stdout", "--group", &group]);
    let foreign = foreign.expect_failure(78, "belongs to another sink", "--group");
    assert_eq!(foreign.stdout, "", "it stops before it reads");
    let looking = pipeline.run(&["consume", "-e", "--sink", "stdout"]).expect_code(0);
    assert_eq!(looking.stdout.lines().count(), 5, "a group of its own");

    let mut member = pipeline.start(&["consume", "-v"]);
    member.until_says(" assigned partitions=[");
    let mut again = pipeline.start(&["consume", "--from-beginning", "-e"]);
    again.until_says("waiting for them to leave");
    member.signal(Signal::SIGTERM);
    member.wait(SOON).expect_code(0);
    again.wait(SOON).expect_code(0).expect_said("written 5");
    assert_eq!(pipeline.lag(), 0);
}

#[test]
#[ignore = "needs live services: make test"]
fn cassandras_wrong_password_is_refused_and_the_right_one_is_not_shown() {
    let instance = PrivateInstance::start_secure(&["cassandra"]);
    let on = |user: &str, password: &str| {
        let pipeline = Pipeline::new("login").with_cassandra(instance.cassandra()).with_flag("--cassandra-user", user);
        pipeline.with_variable("USERPIPE_CASSANDRA_PASSWORD", password)
    };
    let wrong = on("cassandra", "not-this-one");
    wrong.run(PRODUCE).expect_code(0);
    let nobody = Pipeline::new("nologin").with_cassandra(instance.cassandra());
    nobody.run(PRODUCE).expect_code(0);
    for command in [INIT, CONSUME, RUN] {
        let refused = wrong.run(command).expect_failure(77, "assandra", "USERPIPE_CASSANDRA_PASSWORD");
        assert!(
            refused.took < Duration::from_secs(10) && !refused.stderr.contains("not-this-one"),
            "{}",
            refused.stderr
        );
        nobody.run(command).expect_failure(77, "assandra", "--cassandra-user");
    }
    let right = on("cassandra", "cassandra");
    right.run(INIT).expect_code(0);
    right.run(RUN).expect_code(0).expect_said("written 5");
    let settings = right.run(&["config"]).expect_code(0).stdout;
    assert!(settings.lines().any(|line| line.contains("cassandra-password") && line.contains("***")), "{settings}");
}
