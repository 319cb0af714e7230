//! The built program from end to end: real Kafka, Cassandra and PostgreSQL, driven as a user drives it.
//!
//! - [`program`]: runs the binary, waits for it, signals it
//! - [`expected`]: what must arrive, computed from the API's files apart from the code under test
//! - [`readback`]: what did arrive, read by other clients than ours
//!
//! Every test has a [`Pipeline`] of its own: topic, keyspace and data directory.

mod archive;
mod arrival;
mod checking;
mod dead_letters;
mod errors;
mod expected;
mod foreign;
mod full_disk;
mod killed_consumer;
mod killed_producer;
mod outage;
mod poison;
mod postgres;
mod program;
mod readback;
mod registry;
mod scheduling;
mod schema;
mod seeking;
mod small_disk;
mod status;
mod takeover;
mod verifying;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use uuid::Uuid;

use crate::services;
use program::{Finished, Running};
use readback::Rows;

/// How long anything may take that is expected to end soon, on a busy machine.
const SOON: Duration = Duration::from_mins(1);

/// One topic, one keyspace, one data directory, and the flags that name them.
struct Pipeline {
    directory: tempfile::TempDir,
    kafka: String,
    topic: String,
    cassandra: String,
    keyspace: String,
    /// Between command and arguments, beside those that follow from the fields.
    flags: Vec<String>,
    environment: Vec<(String, String)>,
}

impl Pipeline {
    /// On the shared Kafka and Cassandra, under names that nobody else has. Nothing is created yet.
    fn new(what: &str) -> Self {
        let unique = &Uuid::now_v7().simple().to_string()[16..];
        Self {
            directory: tempfile::tempdir().unwrap(),
            kafka: services::kafka(),
            topic: format!("live-{what}-{unique}"),
            cassandra: services::cassandra(),
            keyspace: format!("live_{what}_{unique}"),
            flags: Vec::new(),
            environment: Vec::new(),
        }
    }

    /// On another Kafka.
    fn with_kafka(self, kafka: String) -> Self {
        Self { kafka, ..self }
    }

    /// On another Cassandra.
    fn with_cassandra(self, cassandra: String) -> Self {
        Self { cassandra, ..self }
    }

    /// With one more flag for every command.
    fn with_flag(mut self, name: &str, value: &str) -> Self {
        self.flags.extend([name.to_owned(), value.to_owned()]);
        self
    }

    /// With an environment variable for every command.
    fn with_variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With its topics, keyspace and table made by `init-schema`.
    fn initialized(self) -> Self {
        self.run(&["init-schema"]).expect_code(0);
        self
    }

    /// The table, `KEYSPACE.TABLE`.
    fn table(&self) -> String {
        format!("{}.created_users", self.keyspace)
    }

    /// The consumer group that follows from the sink.
    fn group(&self) -> String {
        format!("userpipe-cassandra-{}", self.table())
    }

    /// The file of the embedded stores.
    fn database(&self) -> std::path::PathBuf {
        self.data_dir().join("userpipe.db")
    }

    fn data_dir(&self) -> std::path::PathBuf {
        self.directory.path().join("data")
    }

    /// The program with a subcommand and its arguments, and with Kafka, Cassandra and the data directory as here.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.bare_command(arguments);
        command.args(["--brokers", &self.kafka, "--topic", &self.topic]);
        if !self.cassandra.is_empty() {
            command.args(["--cassandra", &self.cassandra, "--keyspace", &self.keyspace]);
        }
        command.arg("--data-dir").arg(self.data_dir()).args(&self.flags);
        command
    }

    /// The program with nothing but these arguments, in a directory and an environment that say nothing to it.
    fn bare_command(&self, arguments: &[&str]) -> Command {
        let mut command = program::command(self.directory.path());
        command.args(arguments).envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs a command to its end.
    fn run(&self, arguments: &[&str]) -> Finished {
        self.start(arguments).wait(SOON)
    }

    /// Starts a command.
    fn start(&self, arguments: &[&str]) -> Running {
        Running::start(self.command(arguments))
    }

    /// Serves the users of this directory as the Random User API does: the process, and the URL for `--api-url`.
    fn mock_api(&self, data: &Path) -> (Running, String) {
        let mut command = self.bare_command(&["mock-api", "--data"]);
        command.arg(data);
        let api = Running::start(command);
        let url = api.first_line();
        (api, url)
    }

    /// Sends synthetic users to the topic, through the ledger: the ids.
    fn produce(&self, count: usize) -> BTreeSet<String> {
        let count = count.to_string();
        let source = ["produce", "--once", "--source", "synthetic", "--results", "5000", "--count"];
        self.run(&[&source[..], &[&count]].concat()).expect_code(0);
        readback::ledger(&self.database(), &self.topic).into_iter().map(|entry| entry.id).collect()
    }

    /// A look at the table that is cheap enough to be repeated.
    fn rows(&self) -> Rows {
        Rows::watch(&self.cassandra, &self.table())
    }

    /// The ids in the table, as cqlsh reads them.
    fn ids(&self) -> BTreeSet<String> {
        readback::table_ids(&self.cassandra, &self.table())
    }

    /// Records that the group has not committed.
    fn lag(&self) -> u64 {
        readback::lag(&self.kafka, &self.topic, &self.group())
    }
}

/// Compares two sets of ids; a whole dump of thousands would help nobody.
fn assert_same(left: &BTreeSet<String>, right: &BTreeSet<String>, what: &str) {
    let some = |a: &BTreeSet<String>, b: &BTreeSet<String>| a.difference(b).take(3).cloned().collect::<Vec<_>>();
    assert!(
        left == right,
        "{what}: {} and {}; only in the first: {:?}; only in the second: {:?}",
        left.len(),
        right.len(),
        some(left, right),
        some(right, left)
    );
}
