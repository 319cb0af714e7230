//! The real services of the live tests: the addresses of the shared ones, private ones to break, and the console tools.

use std::ffi::OsStr;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};

use nix::sys::signal::Signal;

use crate::certificates::{Authority, Issued};

/// Starts and stops services; `make test` names the script, and it is found where the variable is not set.
fn script() -> PathBuf {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/services/services.sh");
    std::env::var_os("USERPIPE_TEST_SERVICES").map_or_else(beside, PathBuf::from)
}

/// A variable that `services.sh with` exports.
fn exported(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run the live tests with `make test`"))
}

/// Bootstrap address of the shared Kafka, `HOST:PORT`.
pub(crate) fn kafka() -> String {
    exported("USERPIPE_TEST_KAFKA")
}

/// Contact point of the shared Cassandra, `HOST:PORT`.
pub(crate) fn cassandra() -> String {
    exported("USERPIPE_TEST_CASSANDRA")
}

/// How to log in to a PostgreSQL.
#[derive(Clone, Debug)]
pub(crate) struct Postgres {
    /// `postgres://USER@HOST:PORT/DATABASE`, as `--postgres` takes it.
    pub(crate) url: String,
    /// For `PGPASSWORD`.
    pub(crate) password: String,
}

/// The shared PostgreSQL.
pub(crate) fn postgres() -> Postgres {
    Postgres {
        url: exported("USERPIPE_TEST_POSTGRES"),
        password: std::env::var("USERPIPE_TEST_POSTGRES_PASSWORD").unwrap_or_default(),
    }
}

/// Base URL of the shared Schema Registry.
pub(crate) fn registry() -> String {
    exported("USERPIPE_TEST_REGISTRY")
}

/// Runs a console tool (`topics`, `console-consumer`, `consumer-groups`, `cqlsh`, `psql`, …) to its end and gives its stdout.
///
/// # Panics
/// If the tool fails, with what it wrote on stderr.
pub(crate) fn tool<A: AsRef<OsStr>>(name: &str, arguments: impl IntoIterator<Item = A>) -> String {
    finish(Command::new(script()).arg("tool").arg(name).args(arguments))
}

/// As [`tool`], for a tool that reads its standard input (`console-producer`).
pub(crate) fn tool_reading<A: AsRef<OsStr>>(name: &str, arguments: impl IntoIterator<Item = A>, input: &str) -> String {
    let mut command = Command::new(script());
    command.arg("tool").arg(name).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The lines that psql prints for a query, unaligned and without headings.
///
/// # Panics
/// If the query fails.
pub(crate) fn psql(postgres: &Postgres, query: &str) -> Vec<String> {
    let mut command = Command::new(script());
    command.args(["tool", "psql", &postgres.url, "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", query]);
    finish(command.env("PGPASSWORD", &postgres.password)).lines().map(str::to_owned).collect()
}

/// Services that belong to one test, on free ports, with data of their own. Wiped when dropped; what a killed test leaves
/// behind, `services.sh with` wipes.
#[derive(Debug)]
pub(crate) struct PrivateInstance {
    directory: PathBuf,
    services: String,
    ports: [u16; PORTS.len()],
    is_secure: bool,
    /// How its Cassandra speaks TLS, if it is secure: `optional`, `required`, `mutual`.
    cassandra_tls: &'static str,
    /// What its Kafka tells clients instead of its own address.
    advertised: Option<&'static str>,
    /// More options of its Cassandra's JVM.
    cassandra_jvm: &'static str,
}

/// The ports of an instance, as the script names them. All are set, so that none is that of the shared instance.
const PORTS: [&str; 7] = [
    "KAFKA_PORT",
    "CASS_PORT",
    "POSTGRES_PORT",
    "REGISTRY_PORT",
    "KAFKA_CONTROLLER_PORT",
    "CASS_STORAGE_PORT",
    "REGISTRY_MANAGEMENT_PORT",
];

/// A free port may be taken between its choice and its use.
const START_ATTEMPTS_MAX: usize = 3;

impl PrivateInstance {
    /// Starts these of `kafka`, `cassandra`, `postgres`, `registry`, and returns when they answer.
    ///
    /// # Panics
    /// If they cannot be started, with the script's words.
    pub(crate) fn start(services: &[&str]) -> Self {
        Self::start_with(services, false, None)
    }

    /// As [`PrivateInstance::start`], with logins (`SECURE=1` of the script).
    pub(crate) fn start_secure(services: &[&str]) -> Self {
        Self::start_with(services, true, None)
    }

    /// As [`PrivateInstance::start_secure`], with TLS by these certificates. Its Cassandra has TLS as `cassandra_tls` says.
    pub(crate) fn start_certified(
        services: &[&str],
        cassandra_tls: &'static str,
        authority: &Authority,
        server: &Issued,
    ) -> Self {
        let mut instance = Self::prepared(services, true);
        instance.cassandra_tls = cassandra_tls;
        std::fs::create_dir_all(instance.certificates()).unwrap();
        std::fs::write(instance.certificates().join("ca.pem"), authority.pem()).unwrap();
        server.write(&instance.certificates(), "server");
        // The script makes certificates where this file is missing.
        std::fs::write(instance.certificates().join(".complete"), "").unwrap();
        instance.up();
        instance
    }

    /// Kills a service and starts it with another certificate.
    pub(crate) fn start_again_as(&self, service: &str, server: &Issued) {
        self.kill(service, Signal::SIGKILL);
        server.write(&self.certificates(), "server");
        self.start_again(service);
    }

    /// A Kafka whose listener is advertised at an address of somebody else's choice.
    pub(crate) fn start_advertising(address: &'static str) -> Self {
        Self::start_with(&["kafka"], false, Some(address))
    }

    /// A Cassandra that refuses batches over 4 KiB.
    pub(crate) fn start_refusing_batches() -> Self {
        let mut instance = Self::prepared(&["cassandra"], false);
        instance.cassandra_jvm = "-Dcassandra.config.allow_system_properties=true \
                                  -Dcassandra.settings.batch_size_fail_threshold=4KiB";
        instance.up();
        instance
    }

    fn start_with(services: &[&str], is_secure: bool, advertised: Option<&'static str>) -> Self {
        let mut failure = String::new();
        for _ in 0..START_ATTEMPTS_MAX {
            let mut instance = Self::prepared(services, is_secure);
            instance.advertised = advertised;
            match run(&mut instance.command("up")) {
                Ok(_) => return instance,
                Err(reason) => failure = reason,
            }
        }
        panic!("cannot start {services:?}: {failure}")
    }

    /// An instance with addresses where nothing listens before [`PrivateInstance::up`].
    pub(crate) fn not_started(services: &[&str]) -> Self {
        Self::prepared(services, false)
    }

    fn prepared(services: &[&str], is_secure: bool) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let parent = std::env::var_os("USERPIPE_TEST_PRIVATE")
            .map_or_else(|| Path::new(env!("CARGO_TARGET_TMPDIR")).join("services"), PathBuf::from);
        let directory = parent.join(format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
        let services = services.join(" ");
        let (ports, cassandra_tls) = (free_ports(), "optional");
        Self { directory, services, ports, is_secure, cassandra_tls, advertised: None, cassandra_jvm: "" }
    }

    /// Starts what is not running, and returns when it answers.
    pub(crate) fn up(&self) {
        finish(&mut self.command("up"));
    }

    /// Bootstrap address of this instance's Kafka.
    pub(crate) fn kafka(&self) -> String {
        self.address("KAFKA_PORT")
    }

    /// Bootstrap addresses of a secure instance's other listeners: `SASL_PLAINTEXT`, `SSL` (which asks for a
    /// certificate) and `SASL_SSL`.
    pub(crate) fn secure_kafka(&self) -> [String; 3] {
        let port: u16 = self.kafka().rsplit_once(':').unwrap().1.parse().unwrap();
        [2, 3, 4].map(|other| format!("127.0.0.1:{}", port + other))
    }

    /// The directory of a secure instance's certificates: `ca.pem`, and `client.crt` with `client.key`.
    pub(crate) fn certificates(&self) -> PathBuf {
        self.directory.join("certs")
    }

    /// Contact point of this instance's Cassandra.
    pub(crate) fn cassandra(&self) -> String {
        self.address("CASS_PORT")
    }

    /// This instance's PostgreSQL.
    pub(crate) fn postgres(&self) -> Postgres {
        let address = self.address("POSTGRES_PORT");
        Postgres { url: format!("postgres://userpipe@{address}/userpipe"), password: "userpipe".to_owned() }
    }

    /// Base URL of this instance's Schema Registry.
    pub(crate) fn registry(&self) -> String {
        format!("http://{}/apis/ccompat/v7", self.address("REGISTRY_PORT"))
    }

    /// Signals a service. Returns when it is gone, or at once for a signal that does not end it (`SIGSTOP`, `SIGCONT`).
    pub(crate) fn kill(&self, service: &str, signal: Signal) {
        finish(self.command("kill").arg(service).arg(signal.as_str()));
    }

    /// Starts a service that was killed, on the data it left, and returns when it answers.
    pub(crate) fn start_again(&self, service: &str) {
        finish(self.command("start").arg(service));
    }

    /// What a service has said.
    pub(crate) fn log(&self, service: &str) -> PathBuf {
        self.directory.join(service).join("log")
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(script());
        command.arg(verb).env("VAR", &self.directory).env("SERVICES", &self.services);
        command.env("CASS_HEAP", "512m");
        // What it acknowledged before it was killed is there afterwards.
        command.env("CASS_COMMITLOG", "batch");
        command.env("CASS_TLS", self.cassandra_tls);
        command.env("CASS_JVM_EXTRA", self.cassandra_jvm);
        command.env("SECURE", if self.is_secure { "1" } else { "0" });
        command.envs(self.advertised.map(|address| ("KAFKA_ADVERTISED", address)));
        command.envs(PORTS.iter().zip(self.ports.map(|port| port.to_string())));
        command
    }

    fn address(&self, name: &str) -> String {
        let at = PORTS.iter().position(|port| *port == name).unwrap();
        format!("127.0.0.1:{}", self.ports[at])
    }
}

impl Drop for PrivateInstance {
    fn drop(&mut self) {
        // A panic here would hide the one that made the test fail.
        if let Err(reason) = run(&mut self.command("wipe")) {
            eprintln!("cannot wipe {}: {reason}", self.directory.display());
        }
    }
}

/// A place in the range that private instances take their ports from: below what the system hands out, or a client that dials
/// a broker which was killed could be given the broker's own port, and the broker could not come back.
const PORTS_FROM: u16 = 11_000;
const PORTS_TO: u16 = 20_000;
/// One instance's share of it: Kafka's port and its controller's, three listeners of a secure one behind them, and the others.
const PORTS_OF_ONE: u16 = 10;

fn free_ports() -> [u16; PORTS.len()] {
    const SHARES: u16 = (PORTS_TO - PORTS_FROM) / PORTS_OF_ONE;
    // Each instance of this process begins to look behind the last one, and each process somewhere else.
    static NEXT: LazyLock<AtomicU16> = LazyLock::new(|| AtomicU16::new(rand::random_range(0..SHARES)));
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    let base = (0..SHARES)
        .map(|_| PORTS_FROM + NEXT.fetch_add(1, Ordering::Relaxed) % SHARES * PORTS_OF_ONE)
        .find(|base| (*base..base + PORTS_OF_ONE).all(is_free))
        .expect("a share of free ports");
    // In the order of PORTS; the second to fourth behind Kafka's are its secure listeners.
    [0, 5, 6, 7, 1, 8, 9].map(|place| base + place)
}

/// Runs a command to its end and gives its stdout.
fn finish(command: &mut Command) -> String {
    run(command).unwrap_or_else(|reason| panic!("{reason}"))
}

/// Runs a command to its end: its stdout, or why it failed.
fn run(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("cannot run {command:?}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    Err(format!("{} ended with {}: {stderr}", command.get_program().display(), output.status))
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;
    use std::str::FromStr;

    use sqlx::postgres::{PgConnectOptions, PgSslMode};
    use sqlx::{ConnectOptions, Row};

    use super::*;

    async fn user_of(postgres: &Postgres) -> Result<String, sqlx::Error> {
        let options = PgConnectOptions::from_str(&postgres.url)?.ssl_mode(PgSslMode::Disable);
        let mut connection = options.password(&postgres.password).connect().await?;
        sqlx::query("SELECT current_user::text").fetch_one(&mut connection).await?.try_get(0)
    }

    #[test]
    #[ignore = "needs live services: make test"]
    fn shared_services_answer_their_own_tools() {
        let topics = ["--bootstrap-server", &kafka(), "--list"];
        tool("topics", topics);
        let address = cassandra();
        let (host, port) = address.rsplit_once(':').unwrap();
        let version = tool("cqlsh", [host, port, "-e", "SELECT release_version FROM system.local"]);
        assert!(version.contains("(1 rows)"), "{version}");
    }

    #[tokio::test]
    #[ignore = "needs live services: make test"]
    async fn shared_postgres_wants_the_password() {
        let right = postgres();
        let wrong = Postgres { password: "wrong".to_owned(), ..right.clone() };
        assert!(!user_of(&right).await.unwrap().is_empty());
        let refused = user_of(&wrong).await.unwrap_err();
        assert_eq!(refused.as_database_error().unwrap().code().unwrap(), "28P01");
    }

    #[test]
    #[ignore = "needs live services: make test"]
    fn killed_broker_comes_back_with_its_topics() {
        let instance = PrivateInstance::start(&["kafka"]);
        let address = instance.kafka();
        tool("topics", ["--bootstrap-server", &address, "--create", "--topic", "kept"]);

        instance.kill("kafka", Signal::SIGKILL);
        TcpStream::connect(&address).unwrap_err();
        instance.start_again("kafka");
        assert_eq!(tool("topics", ["--bootstrap-server", &address, "--list"]), "kept\n");

        drop(instance);
        TcpStream::connect(&address).unwrap_err();
    }

    #[tokio::test]
    #[ignore = "needs live services: make test"]
    async fn killed_database_comes_back() {
        let instance = PrivateInstance::start(&["postgres"]);
        instance.kill("postgres", Signal::SIGKILL);
        user_of(&instance.postgres()).await.unwrap_err();
        instance.start_again("postgres");
        assert_eq!(user_of(&instance.postgres()).await.unwrap(), "userpipe");
    }

    #[test]
    #[ignore = "needs live services: make test"]
    fn frozen_cassandra_goes_on() {
        let instance = PrivateInstance::start(&["cassandra"]);
        let address = instance.cassandra();
        let (host, port) = address.rsplit_once(':').unwrap();
        instance.kill("cassandra", Signal::SIGSTOP);
        instance.kill("cassandra", Signal::SIGCONT);
        let clusters = tool("cqlsh", [host, port, "-e", "SELECT cluster_name FROM system.local"]);
        assert!(clusters.contains("userpipe-test"), "{clusters}");
    }
}
