//! What a case has: a topic, a table and a data directory of its own, the program, and the invariants to check.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use tokio::runtime::{Handle, Runtime};
use uuid::Uuid;

use crate::SOON;
use crate::bus::Bus;
use crate::people::{Letter, letter, person};
use crate::program::{self, Finished, Running, until};
use crate::report::Tally;
use crate::services::{self, Postgres};
use crate::stores::{Ledger, Sink};

/// Between looks at the memory of a process.
const MEMORY_LOOK: Duration = Duration::from_millis(100);

/// Of a case that failed: how many processes' outputs are shown, and how many lines of each.
const OUTPUTS_SHOWN: usize = 4;
const LINES_SHOWN: usize = 8;

/// One pipeline, and what is known of it.
pub(crate) struct World {
    runtime: Runtime,
    directory: tempfile::TempDir,
    /// What is random in a case follows from its seed.
    pub(crate) random: ChaCha8Rng,
    /// Kafka as the harness reaches it.
    pub(crate) kafka: String,
    /// Kafka as the program is told.
    pub(crate) brokers: String,
    /// Its topic.
    pub(crate) topic: String,
    /// Its consumer group.
    pub(crate) group: String,
    /// The keyspace in Cassandra, and the name of the table in PostgreSQL.
    pub(crate) keyspace: String,
    /// Where rows go, as the harness reaches it.
    pub(crate) sink: Sink,
    /// Cassandra as the program is told.
    pub(crate) contact_point: String,
    /// Where users are stored.
    pub(crate) ledger: Ledger,
    /// For every command.
    pub(crate) flags: Vec<String>,
    /// For every command.
    pub(crate) environment: Vec<(String, String)>,
    /// Texts that no process may print.
    pub(crate) secrets: Vec<String>,
    /// Ids that went in and must come out.
    pub(crate) sent: BTreeSet<String>,
    /// What all processes that have ended said.
    pub(crate) outputs: Vec<String>,
    /// The topic was deleted and made again: what only the old one had is gone, and the ledger's marks with it.
    pub(crate) is_topic_replaced: bool,
    resident_bytes: Arc<AtomicU64>,
    healed: Option<Instant>,
    tally: Arc<Mutex<Tally>>,
}

impl World {
    /// On the shared services: Kafka to Cassandra, with the ledger in SQLite. Nothing is created yet.
    pub(crate) fn new(name: &str, seed: u64, tally: Arc<Mutex<Tally>>) -> Self {
        let unique = &Uuid::now_v7().simple().to_string()[16..];
        let name: String = name.chars().filter(char::is_ascii_alphanumeric).take(20).collect();
        let directory = tempfile::tempdir().unwrap();
        let keyspace = format!("f_{name}_{unique}");
        let table = format!("{keyspace}.created_users");
        let topic = format!("faults-{name}-{unique}");
        Self {
            runtime: Runtime::new().unwrap(),
            group: topic.clone(),
            random: ChaCha8Rng::seed_from_u64(seed),
            kafka: services::kafka(),
            brokers: services::kafka(),
            topic,
            sink: Sink::Cassandra { address: services::cassandra(), table, login: None },
            contact_point: services::cassandra(),
            ledger: Ledger::Sqlite(directory.path().join("data/userpipe.db")),
            directory,
            keyspace,
            flags: Vec::new(),
            environment: Vec::new(),
            secrets: Vec::new(),
            sent: BTreeSet::new(),
            outputs: Vec::new(),
            is_topic_replaced: false,
            resident_bytes: Arc::default(),
            healed: None,
            tally,
        }
    }

    /// On another Kafka.
    pub(crate) fn on_kafka(&mut self, address: String) {
        self.kafka.clone_from(&address);
        self.brokers = address;
    }

    /// On another Cassandra.
    pub(crate) fn on_cassandra(&mut self, address: String) {
        let table = format!("{}.created_users", self.keyspace);
        self.sink = Sink::Cassandra { address: address.clone(), table, login: None };
        self.contact_point = address;
    }

    /// With the ledger in this PostgreSQL.
    pub(crate) fn with_postgres_ledger(&mut self, postgres: &Postgres) {
        self.ledger = Ledger::Postgres(postgres.clone());
        self.flags.extend(["--postgres".to_owned(), postgres.url.clone()]);
        self.set("PGPASSWORD", &postgres.password);
    }

    /// With ledger and sink in this PostgreSQL, and no Cassandra.
    pub(crate) fn with_postgres_sink(&mut self, postgres: &Postgres) {
        self.with_postgres_ledger(postgres);
        self.sink = Sink::Postgres { database: postgres.clone(), table: self.keyspace.clone() };
        self.flags.extend(["--table".to_owned(), self.keyspace.clone()]);
        self.contact_point.clear();
    }

    /// One more flag for every command.
    pub(crate) fn flag(&mut self, name: &str, value: &str) {
        self.flags.extend([name.to_owned(), value.to_owned()]);
    }

    /// An environment variable for every command.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.environment.retain(|(known, _)| known != name);
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Makes topics and table.
    pub(crate) fn init(&mut self) {
        self.run(&["init-schema"]).expect_code(0);
    }

    /// The program with these arguments and all that every command of this case has.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = program::command(self.directory.path());
        command.args(arguments).args(["--brokers", &self.brokers, "--topic", &self.topic, "--group", &self.group]);
        if !self.contact_point.is_empty() {
            command.args(["--cassandra", &self.contact_point, "--keyspace", &self.keyspace]);
        }
        command.arg("--data-dir").arg(self.data_dir()).args(&self.flags);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Starts the program.
    pub(crate) fn start(&self, arguments: &[&str]) -> Running {
        self.launch(self.command(arguments))
    }

    /// Starts the program, which dies at a seam: `failpoints` as in `FAILPOINTS`.
    pub(crate) fn start_dying(&self, arguments: &[&str], failpoints: &str) -> Running {
        let mut command = self.command(arguments);
        command.env("FAILPOINTS", failpoints);
        self.launch(command)
    }

    /// Starts a command, and watches its memory.
    pub(crate) fn launch(&self, command: Command) -> Running {
        let running = Running::start(command);
        let (pid, most) = (running.pid(), Arc::clone(&self.resident_bytes));
        std::thread::spawn(move || {
            while let Some(bytes) = peak_bytes(pid.as_raw()) {
                most.fetch_max(bytes, Ordering::Relaxed);
                std::thread::sleep(MEMORY_LOOK);
            }
        });
        running
    }

    /// Waits for the end of a process that should end by itself.
    pub(crate) fn finish(&mut self, running: Running) -> Finished {
        let finished = running.wait(SOON);
        self.outputs.extend([finished.stdout.clone(), finished.stderr.clone()]);
        finished
    }

    /// Runs the program to its end.
    pub(crate) fn run(&mut self, arguments: &[&str]) -> Finished {
        let running = self.start(arguments);
        self.finish(running)
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self, running: Running) {
        running.signal(Signal::SIGKILL);
        self.finish(running).expect_signal(Signal::SIGKILL);
    }

    /// SIGTERM, and an orderly end.
    pub(crate) fn stop(&mut self, running: Running) -> Finished {
        running.signal(Signal::SIGTERM);
        self.finish(running).expect_code(0)
    }

    /// A file of good records for `--input`, all of which must arrive.
    pub(crate) fn input(&mut self, count: usize) -> PathBuf {
        let mut lines = String::new();
        for _ in 0..count {
            let (id, record) = person(&mut self.random);
            lines += &(record + "\n");
            self.sent.insert(id);
        }
        let path = self.directory.path().join(format!("input-{}.jsonl", self.sent.len()));
        std::fs::write(&path, lines).unwrap();
        path
    }

    /// Puts good records on the topic, all of which must arrive.
    pub(crate) fn load(&mut self, count: usize) {
        let letters: Vec<Letter> = (0..count).map(|_| letter(&mut self.random)).collect();
        self.sent.extend(letters.iter().filter_map(|letter| letter.key.clone()));
        self.bus().send(&self.topic, letters);
    }

    /// Kafka from the harness's side.
    pub(crate) fn bus(&self) -> Bus {
        Bus::new(self.kafka.clone(), self.handle())
    }

    /// How many rows are in the table.
    pub(crate) fn rows(&self) -> usize {
        self.sink.ids(&self.handle()).len()
    }

    /// Waits until there are at least so many rows.
    pub(crate) fn until_rows(&self, count: usize) {
        until(&format!("{count} rows"), SOON, || self.rows() >= count);
    }

    /// Waits until the group has committed everything.
    pub(crate) fn until_drained(&self) {
        until("no lag", SOON, || self.lag() == 0);
    }

    /// Records that the group has not committed.
    pub(crate) fn lag(&self) -> i64 {
        self.bus().lag(&self.group, &self.topic)
    }

    /// The fault is over: the time to recover begins.
    pub(crate) fn healed(&mut self) {
        self.healed = Some(Instant::now());
    }

    /// Everything has arrived, as far as one can see: the time to recover ends.
    pub(crate) fn recovered(&mut self) {
        let took = self.healed.expect("healed before").elapsed();
        self.tally().recovery = Some(took);
    }

    /// What the table at the end will say.
    pub(crate) fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The ends of what the last processes said, for a case that failed.
    pub(crate) fn last_words(&self) -> String {
        let tail = |output: &String| {
            let lines: Vec<_> = output.lines().collect();
            format!("| {}\n\n", lines[lines.len().saturating_sub(LINES_SHOWN)..].join("\n| "))
        };
        let said: Vec<_> = self.outputs.iter().filter(|output| !output.is_empty()).collect();
        said[said.len().saturating_sub(OUTPUTS_SHOWN)..].iter().map(|output| tail(output)).collect()
    }

    /// The most memory any process has had.
    pub(crate) fn resident_bytes(&self) -> u64 {
        self.resident_bytes.load(Ordering::Relaxed)
    }

    /// Runs what is asynchronous.
    pub(crate) fn handle(&self) -> Handle {
        self.runtime.handle().clone()
    }

    /// A path in the directory of the case.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The directory of the embedded stores.
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.path("data")
    }
}

/// The most memory a process ever had; `None` once it has ended.
fn peak_bytes(pid: i32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches(" kB").parse::<u64>().ok().map(|kib| kib * 1024)
}
