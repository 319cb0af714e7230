//! The program under test: a pipeline of one test's own, with its dashboard.

use std::fmt::Write as _;
use std::fs::Permissions;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;
use userpipe::bus::kafka::KafkaProducer;
use userpipe::bus::{Outgoing, Producer as _};
use userpipe::config::{Compression, KafkaConfig};
use userpipe::record::Timestamp;
use uuid::Uuid;

use crate::SOON;
use crate::chromium::Chromium;
use crate::program::{self, Running};

/// What changes are allowed with.
pub(crate) const TOKEN: &str = "the-token-of-the-tests";
/// Users of one run where a test does not say otherwise.
const COUNT: &str = "40";

/// The address of a shared service, which `services.sh with` exports.
fn service(name: &str) -> String {
    let name = format!("USERPIPE_TEST_{name}");
    std::env::var(&name).unwrap_or_else(|_| panic!("{name} is not set: run these tests with `make test-browser`"))
}

/// A pipeline and its processes. They end with its drop.
pub(crate) struct World {
    directory: tempfile::TempDir,
    /// What names the stores, for every command.
    flags: Vec<String>,
    topic: String,
    processes: Vec<Running>,
    /// `HOST:PORT` of the dashboard.
    pub(crate) address: String,
}

impl World {
    /// On the shared Kafka and Cassandra: `run --interval 2s` with a dashboard, beside two consumers.
    pub(crate) fn live(what: &str) -> Self {
        Self::live_running(what, &["run", "--interval", "2s", "--source", "synthetic", "--count", COUNT])
    }

    /// As [`World::live`], with another command that has the dashboard.
    pub(crate) fn live_running(what: &str, command: &[&str]) -> Self {
        let unique = &Uuid::now_v7().simple().to_string()[16..];
        let topic = format!("browser-{what}-{unique}");
        let keyspace = format!("browser_{what}_{unique}");
        let (kafka, cassandra) = (service("KAFKA"), service("CASSANDRA"));
        let flags = ["--brokers", &kafka, "--topic", &topic, "--cassandra", &cassandra, "--keyspace", &keyspace];
        let mut world = Self::new(topic.clone(), flags.map(str::to_owned).to_vec());
        Running::start(world.command(&["init-schema", "--partitions", "6"])).wait(SOON).expect_code(0);
        world.listen(command);
        for _ in 0..2 {
            world.start(&["consume"]);
        }
        world
    }

    /// On the embedded default, in one process.
    pub(crate) fn embedded(command: &[&str]) -> Self {
        let mut world = Self::new("users_created".to_owned(), Vec::new());
        world.listen(command);
        world
    }

    fn new(topic: String, flags: Vec<String>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let token = directory.path().join("token");
        std::fs::write(&token, TOKEN).unwrap();
        std::fs::set_permissions(&token, Permissions::from_mode(0o600)).unwrap();
        // Free a moment ago; nobody else chooses it at once.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        Self { directory, flags, topic, processes: Vec::new(), address }
    }

    fn command(&self, arguments: &[&str]) -> std::process::Command {
        let mut command = program::command(self.directory.path());
        command.args(arguments).args(&self.flags);
        command
    }

    fn listen(&mut self, command: &[&str]) {
        let address = self.address.clone();
        self.start(&[command, &["--listen", &address, "--listen-token-file", "token"]].concat());
        let process = self.processes.last_mut().unwrap();
        program::until("the dashboard answers", SOON, || {
            assert!(process.lives(), "{}", process.stderr());
            TcpStream::connect(&address).is_ok()
        });
    }

    /// Starts one more process of this pipeline.
    pub(crate) fn start(&mut self, arguments: &[&str]) {
        self.processes.push(Running::start(self.command(arguments)));
    }

    /// Ends the process that has the dashboard, without a chance to do anything.
    pub(crate) fn kill_dashboard(&mut self) {
        self.processes.remove(0).kill();
    }

    /// Starts it again at the same address.
    pub(crate) fn listen_again(&mut self, command: &[&str]) {
        self.listen(command);
        let last = self.processes.pop().unwrap();
        self.processes.insert(0, last);
    }

    /// Sends records that are no users: `{"id": …}` and nothing else.
    pub(crate) fn send_poison(&self, ids: &[Uuid]) {
        let record = |id: &Uuid| {
            let value = serde_json::json!({ "id": id, "first_name": "Zoë" }).to_string();
            Outgoing {
                key: Some(id.to_string().into()),
                value: Some(value.into_bytes().into()),
                headers: Vec::new(),
                timestamp: Timestamp::now(),
            }
        };
        let records: Vec<_> = ids.iter().map(record).collect();
        let config = KafkaConfig {
            brokers: vec![service("KAFKA")],
            partitions: 6,
            replication_factor: None,
            compression: Compression::None,
            batch_bytes_max: 512 * 1024,
            batch_records_max: 1_000,
            delivery_timeout: SOON,
            connect_timeout: SOON,
            security: userpipe::config::KafkaSecurity::default(),
        };
        tokio::runtime::Runtime::new().unwrap().block_on(async {
            let producer = KafkaProducer::connect(&config, &self.topic).await.unwrap();
            let sent = producer.send(&records).await;
            assert!(sent.failure.is_none(), "{:?}", sent.failure);
        });
    }

    /// Where a part of the page is.
    pub(crate) fn url(&self, part: &str) -> String {
        format!("http://{}/#/{part}", self.address)
    }

    /// A browser that shows a part of the page, live.
    pub(crate) fn browse(&self, name: &'static str, part: &str) -> Chromium {
        let browser = Chromium::start(name);
        browser.open(&self.url(part));
        browser.until_says("#connection", "live");
        browser
    }

    /// The JSON at a path, as the server gives it to who has the token.
    pub(crate) fn json(&self, path: &str) -> Value {
        let (status, body) = self.request("GET", path, &[("Authorization", &format!("Bearer {TOKEN}"))]);
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    /// One request with these headers, as no browser would send it: status and body.
    pub(crate) fn request(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let named = |name: &str| headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name));
        // 1.0 so that the answer is neither chunked nor kept alive.
        let mut request = format!("{method} {path} HTTP/1.0\r\n");
        if !named("Host") {
            write!(request, "Host: {}\r\n", self.address).unwrap();
        }
        for (name, value) in headers {
            write!(request, "{name}: {value}\r\n").unwrap();
        }
        if method == "POST" {
            request += "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
        } else {
            request += "\r\n";
        }
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.split(' ').nth(1).unwrap_or_else(|| panic!("no answer to {path}: {answer}"));
        (status.parse().unwrap(), body.to_owned())
    }
}
