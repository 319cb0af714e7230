//! A directory, an empty environment, and the program as a child process with a deadline.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::database::Database;

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_userpipe");
/// A process that takes longer hangs. Generous, for a machine that is busy with other things.
const DEADLINE: Duration = Duration::from_mins(1);

/// A place of its own: the current directory of every process started in it.
#[derive(Debug)]
pub(crate) struct Sandbox {
    directory: TempDir,
}

impl Sandbox {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    /// A path below the directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a file below the directory.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), content).unwrap();
    }

    /// The embedded file of the default data directory.
    pub(crate) fn database(&self) -> Database {
        Database::open(&self.path("userpipe-data/userpipe.db"))
    }

    /// Prepares the embedded file, for a test that looks into it while a process runs.
    pub(crate) fn prepare(&self) -> Database {
        self.userpipe("init-schema").ok();
        self.database()
    }

    /// `userpipe` with these arguments, written as on a command line (no quotes).
    pub(crate) fn userpipe(&self, arguments: &str) -> Run {
        self.run(PROGRAM, arguments.split_whitespace())
    }

    /// A line of bash that finds `userpipe` in its path. A pipe fails with its first failing part.
    pub(crate) fn bash(&self, line: &str) -> Run {
        self.run("bash", ["-o", "pipefail", "-c", line])
    }

    fn run<'a>(&self, program: &str, arguments: impl IntoIterator<Item = &'a str>) -> Run {
        let mut command = Command::new(program);
        let programs = Path::new(PROGRAM).parent().unwrap().display();
        command.args(arguments).current_dir(self.directory.path());
        // Nothing of the developer's own settings: no USERPIPE_*, no PG*, no proxies.
        command.env_clear().env("PATH", format!("{programs}:/usr/bin:/bin")).env("HOME", self.directory.path());
        Run { command, input: Some(Vec::new()) }
    }
}

/// A process that is about to be started.
#[derive(Debug)]
#[must_use]
pub(crate) struct Run {
    command: Command,
    /// What it reads; `None` is a pipe that stays open and silent.
    input: Option<Vec<u8>>,
}

impl Run {
    /// One more argument, blanks and all.
    pub(crate) fn arg(mut self, argument: &str) -> Self {
        self.command.arg(argument);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Without a home, in a directory where not even root can write.
    pub(crate) fn in_a_read_only_place(mut self) -> Self {
        self.command.env_remove("HOME").current_dir("/proc");
        self
    }

    /// What it reads on standard input; nothing otherwise.
    pub(crate) fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = Some(bytes.into());
        self
    }

    /// Its standard input stays open, and nothing comes.
    pub(crate) fn silent_input(mut self) -> Self {
        self.input = None;
        self
    }

    /// Starts it and goes on.
    pub(crate) fn start(mut self) -> Running {
        let shown = format!("{:?}", self.command.get_args().collect::<Vec<_>>());
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.command.spawn().unwrap();
        // Left in place, it stays open as long as the child is known.
        if let Some(input) = self.input {
            let mut stdin = child.stdin.take().unwrap();
            // A process that ends without reading closes the pipe, which is its right.
            std::thread::spawn(move || stdin.write_all(&input));
        }
        let stdout = Stream::collect(child.stdout.take().unwrap());
        let stderr = Stream::collect(child.stderr.take().unwrap());
        Running { shown, child, stdout, stderr }
    }

    /// Runs it to its end.
    pub(crate) fn output(self) -> Output {
        self.start().finish()
    }

    /// Runs it to its end, which must be a success.
    pub(crate) fn ok(self) -> Output {
        self.output().expect_code(0)
    }

    /// Runs it to its end, which must be a failure with this code and exactly one `error:` line.
    pub(crate) fn fails(self, code: i32) -> Output {
        let output = self.output().expect_code(code);
        let errors = output.stderr.lines().filter(|line| line.starts_with("error: ")).count();
        assert_eq!(errors, 1, "one line says what is wrong: {}", output.stderr);
        output
    }
}

/// A process that runs. It is killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Running {
    shown: String,
    child: Child,
    stdout: Stream,
    stderr: Stream,
}

impl Running {
    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// Waits until a whole line of its standard error holds `text`, and gives all it has written there.
    pub(crate) fn wait_for_stderr(&self, text: &str) -> String {
        let is_said = |so_far: &str| so_far.rsplit_once('\n').is_some_and(|(whole, _)| whole.contains(text));
        self.stderr.wait(&format!("{} to say {text:?}", self.shown), |so_far, _| is_said(so_far))
    }

    /// Waits until it has printed this many lines, and gives all it has printed.
    pub(crate) fn wait_for_lines(&self, count: usize) -> String {
        let what = format!("{} to print {count} lines", self.shown);
        self.stdout.wait(&what, |so_far, _| so_far.lines().count() >= count && so_far.ends_with('\n'))
    }

    /// Waits for its end.
    pub(crate) fn finish(mut self) -> Output {
        let what = format!("{} to end", self.shown);
        let stdout = self.stdout.wait(&what, |_, is_over| is_over);
        let stderr = self.stderr.wait(&what, |_, is_over| is_over);
        let status = self.child.wait().unwrap();
        Output { shown: self.shown.clone(), status, stdout, stderr }
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().try_into().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One stream of a process, collected by a thread of its own.
#[derive(Clone, Debug, Default)]
struct Stream(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    written: Mutex<Written>,
    changed: Condvar,
}

/// What has been written so far, and whether that is all.
#[derive(Debug, Default)]
struct Written {
    bytes: Vec<u8>,
    is_over: bool,
}

impl Stream {
    fn collect(mut pipe: impl Read + Send + 'static) -> Self {
        let stream = Self::default();
        let shared = Arc::clone(&stream.0);
        std::thread::spawn(move || {
            let mut buffer = [0; 16 * 1024];
            let mut is_over = false;
            while !is_over {
                let read = pipe.read(&mut buffer).unwrap_or(0);
                is_over = read == 0;
                let mut written = shared.written.lock().unwrap();
                written.bytes.extend_from_slice(&buffer[..read]);
                written.is_over = is_over;
                shared.changed.notify_all();
            }
        });
        stream
    }

    /// Waits until `is_there` holds of the text so far (and whether it is over), and gives it.
    fn wait(&self, what: &str, is_there: impl Fn(&str, bool) -> bool) -> String {
        let give_up = Instant::now() + DEADLINE;
        let mut written = self.0.written.lock().unwrap();
        loop {
            let text = String::from_utf8_lossy(&written.bytes).into_owned();
            if is_there(&text, written.is_over) {
                return text;
            }
            let left = give_up.saturating_duration_since(Instant::now());
            assert!(!written.is_over && !left.is_zero(), "waited in vain for {what}; it wrote:\n{text}");
            written = self.0.changed.wait_timeout(written, left).unwrap().0;
        }
    }
}

/// What a process left behind.
#[derive(Debug)]
pub(crate) struct Output {
    shown: String,
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Output {
    pub(crate) fn expect_code(self, code: i32) -> Self {
        let Self { shown, status, stdout, stderr } = &self;
        assert_eq!(status.code(), Some(code), "{shown} {status}\nstdout: {stdout}\nstderr: {stderr}");
        self
    }

    /// The JSON Lines on standard output.
    pub(crate) fn json_lines(&self) -> Vec<serde_json::Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The text after `error: `.
    pub(crate) fn error(&self) -> &str {
        self.labelled("error: ")
    }

    /// The text after `hint: `.
    pub(crate) fn hint(&self) -> &str {
        self.labelled("hint: ")
    }

    /// The last line on standard error.
    pub(crate) fn last_line(&self) -> &str {
        self.stderr.lines().last().unwrap_or_default()
    }

    fn labelled(&self, label: &str) -> &str {
        let text = self.stderr.lines().find_map(|line| line.strip_prefix(label));
        text.unwrap_or_else(|| panic!("no line with {label:?}: {}", self.stderr))
    }
}
