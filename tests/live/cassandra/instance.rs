//! A Cassandra of one test's own, for tests that stop it.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A private instance; it and its data are gone when this is dropped.
pub(super) struct Instance {
    script: PathBuf,
    dir: tempfile::TempDir,
    port: u16,
    storage_port: u16,
    secure: bool,
}

impl Instance {
    /// Starts one, with passwords if `secure`.
    pub(super) fn start(secure: bool) -> Self {
        let script = std::env::var_os("USERPIPE_TEST_SERVICES").expect("USERPIPE_TEST_SERVICES is the services script");
        let dir = tempfile::tempdir().expect("a directory");
        let instance = Self { script: script.into(), dir, port: free_ports(), storage_port: free_ports(), secure };
        instance.up();
        instance
    }

    pub(super) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Starts it (again) and waits until it answers.
    pub(super) fn up(&self) {
        self.run("up");
    }

    /// Sends a signal to the server itself.
    pub(super) fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).expect("the server is there");
    }

    /// Ends the server with this signal and waits until it is gone.
    pub(super) fn end(&self, signal: Signal) {
        let pid = self.pid();
        kill(pid, signal).expect("the server is there");
        let began = Instant::now();
        // It is not our child, so there is nothing to wait on.
        while kill(pid, None).is_ok() && !is_zombie(pid) {
            assert!(began.elapsed() < Duration::from_secs(30), "Cassandra does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn pid(&self) -> Pid {
        let pid = std::fs::read_to_string(self.dir.path().join("var/cassandra/pid")).expect("a pid file");
        Pid::from_raw(pid.trim().parse().expect("a pid"))
    }

    fn run(&self, verb: &str) {
        let status = Command::new(&self.script)
            .arg(verb)
            .env("VAR", self.dir.path().join("var"))
            .env("SERVICES", "cassandra")
            .env("CASS_PORT", self.port.to_string())
            .env("CASS_STORAGE_PORT", self.storage_port.to_string())
            .env("CASS_HEAP", "512m")
            .env("SECURE", if self.secure { "1" } else { "0" })
            .status()
            .expect("the services script runs");
        assert!(status.success(), "{} {verb}: {status}", self.script.display());
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.run("wipe");
    }
}

fn is_zombie(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z'))
}

/// A port that is free, and the next one too.
fn free_ports() -> u16 {
    for _ in 0..100 {
        let first = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = first.local_addr().expect("its address").port();
        if port < u16::MAX && TcpListener::bind(("127.0.0.1", port + 1)).is_ok() {
            return port;
        }
    }
    panic!("no two free ports in a row");
}
