//! A broker of a test's own, to be killed and stopped, and Kafka's own command-line tools.

use std::io::Write;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

fn script() -> PathBuf {
    std::env::var_os("USERPIPE_TEST_SERVICES").expect("USERPIPE_TEST_SERVICES names the services script").into()
}

/// Runs one of Kafka's tools and returns what it prints.
pub(crate) fn tool(arguments: &[&str], input: &str) -> String {
    let mut child = Command::new(script())
        .arg("tool")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// One broker with its own directory and ports; it is wiped when dropped.
pub(crate) struct PrivateBroker {
    directory: tempfile::TempDir,
    port: u16,
}

impl PrivateBroker {
    /// Starts it and waits until it answers.
    pub(crate) fn start() -> Self {
        let broker = Self { directory: tempfile::tempdir().unwrap(), port: free_ports() };
        broker.run("up");
        broker
    }

    /// `host:port`
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Starts it again after a kill.
    pub(crate) fn restart(&self) {
        self.run("up");
    }

    /// Signals the broker's process.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = std::fs::read_to_string(self.directory.path().join("kafka/pid")).unwrap();
        kill(Pid::from_raw(pid.trim().parse().unwrap()), signal).unwrap();
    }

    fn run(&self, verb: &str) {
        let status = Command::new(script())
            .arg(verb)
            .env("SERVICES", "kafka")
            .env("VAR", self.directory.path())
            .env("KAFKA_PORT", self.port.to_string())
            .env("KAFKA_CONTROLLER_PORT", (self.port + 1).to_string())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        assert!(status.success(), "{verb}: {status}");
    }
}

impl Drop for PrivateBroker {
    fn drop(&mut self) {
        self.run("wipe");
    }
}

/// A port that is free now, and so is the next (the controller's).
fn free_ports() -> u16 {
    for _ in 0..100 {
        let first = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = first.local_addr().unwrap().port();
        if port < u16::MAX && TcpListener::bind(("127.0.0.1", port + 1)).is_ok() {
            return port;
        }
    }
    panic!("no two free ports in a row");
}
