//! The built binary as a child process: its exit code, what it said, and signals to it.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::SOON;

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// The program, in this directory, with an environment that carries no settings for it.
pub(super) fn command(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_userpipe"));
    command.current_dir(directory).env_clear().env("HOME", directory);
    command
}

/// Waits until `condition` holds, looking again and again.
///
/// # Panics
/// After `limit`, with `what`.
pub(super) fn until(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(LOOK);
    }
}

/// A process under test; killed when dropped.
pub(super) struct Running {
    child: Child,
    /// Files, so that a process whose output nobody reads does not block.
    stdout: tempfile::NamedTempFile,
    stderr: tempfile::NamedTempFile,
    shown: String,
}

impl Running {
    pub(super) fn start(mut command: Command) -> Self {
        let (stdout, stderr) = (tempfile::NamedTempFile::new().unwrap(), tempfile::NamedTempFile::new().unwrap());
        let writing = |file: &tempfile::NamedTempFile| Stdio::from(file.reopen().unwrap());
        command.stdin(Stdio::null()).stdout(writing(&stdout)).stderr(writing(&stderr));
        let shown = format!("{command:?}");
        let child = command.spawn().unwrap();
        Self { child, stdout, stderr, shown }
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// If it lives after `limit`, with what it said.
    pub(super) fn wait(mut self, limit: Duration) -> Finished {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                let (stdout, stderr) = (read(&self.stdout), self.stderr());
                return Finished { status, stdout, stderr, took: began.elapsed(), shown: self.shown.clone() };
            }
            assert!(began.elapsed() < limit, "{} runs after {limit:?}:\n{}", self.shown, self.stderr());
            std::thread::sleep(LOOK);
        }
    }

    /// Signals it.
    pub(super) fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// Ends it without a chance to do anything, and waits until it is gone.
    pub(super) fn kill(self) -> Finished {
        self.signal(Signal::SIGKILL);
        self.wait(SOON)
    }

    /// Waits until its standard error has this text.
    ///
    /// # Panics
    /// If the process ends before.
    pub(super) fn until_says(&mut self, text: &str) {
        let began = Instant::now();
        while !self.stderr().contains(text) {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none() && began.elapsed() < SOON, "`{text}` was not said ({ended:?}):\n{}", self.stderr());
            std::thread::sleep(LOOK);
        }
    }

    /// The first line of its standard output, when it is there.
    pub(super) fn first_line(&self) -> String {
        let mut line = None;
        until("a first line", SOON, || {
            line = read(&self.stdout).split_once('\n').map(|(line, _)| line.to_owned());
            line.is_some()
        });
        line.unwrap()
    }

    /// What it has printed so far.
    pub(super) fn stdout(&self) -> String {
        read(&self.stdout)
    }

    /// What it has said so far.
    pub(super) fn stderr(&self) -> String {
        read(&self.stderr)
    }

    /// Whether it has not ended.
    pub(super) fn lives(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Its resident memory in bytes.
    pub(super) fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a process that lives");
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// Its process id.
    pub(super) fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only where it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("{} said:\n{}", self.shown, self.stderr());
        }
    }
}

fn read(file: &tempfile::NamedTempFile) -> String {
    let mut text = Vec::new();
    File::open(file.path()).unwrap().read_to_end(&mut text).unwrap();
    String::from_utf8_lossy(&text).into_owned()
}

/// A process that has ended.
pub(super) struct Finished {
    pub(super) status: ExitStatus,
    pub(super) stdout: String,
    pub(super) stderr: String,
    /// From the wait for its end to the end.
    pub(super) took: Duration,
    shown: String,
}

impl Finished {
    /// # Panics
    /// If it ended otherwise, with what it said.
    pub(super) fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.status.code(), Some(code), "{} ended with {}:\n{}", self.shown, self.status, self.stderr);
        self
    }

    /// # Panics
    /// If it was not ended by this signal.
    pub(super) fn expect_signal(self, signal: Signal) -> Self {
        assert_eq!(
            self.status.signal(),
            Some(signal as i32),
            "{} ended with {}:\n{}",
            self.shown,
            self.status,
            self.stderr
        );
        self
    }

    /// Ended by an expected failure: the code, one line `error: …`, a line `hint: …`, and nothing of a backtrace.
    ///
    /// # Panics
    /// If any of this is not so, or `error` is not in the error line or `hint` not in the hint.
    pub(super) fn expect_failure(self, code: i32, error: &str, hint: &str) -> Self {
        let finished = self.expect_code(code);
        let lines = |start: &str| finished.stderr.lines().filter(|line| line.starts_with(start)).collect::<Vec<_>>();
        let (errors, hints) = (lines("error: "), lines("hint: "));
        assert!(matches!(errors[..], [line] if line.contains(error)), "no `{error}`:\n{}", finished.stderr);
        assert!(matches!(hints[..], [line] if line.contains(hint)), "no hint `{hint}`:\n{}", finished.stderr);
        assert!(!finished.stderr.contains("BACKTRACE"), "{}", finished.stderr);
        finished
    }

    /// # Panics
    /// If one of these secrets is in anything that it wrote.
    pub(super) fn expect_no_secret(self, secrets: &[&str]) -> Self {
        for secret in secrets {
            let told = self.stdout.contains(secret) || self.stderr.contains(secret);
            assert!(!told, "{} tells {secret}:\n{}\n{}", self.shown, self.stdout, self.stderr);
        }
        self
    }

    /// # Panics
    /// If its standard error has not this text.
    pub(super) fn expect_said(self, text: &str) -> Self {
        assert!(self.stderr.contains(text), "`{text}` was not said:\n{}", self.stderr);
        self
    }
}
