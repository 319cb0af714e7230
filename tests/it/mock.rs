//! `userpipe mock-api` as a child process: the Random User API with the faults a test asks for.

use nix::sys::signal::Signal;

use crate::sandbox::{Running, Sandbox};

/// A mock on a free port of loopback. It ends with its drop.
#[derive(Debug)]
pub(crate) struct MockApi {
    /// For `--api-url`.
    pub(crate) url: String,
    process: Running,
}

impl MockApi {
    /// Synthetic users, and these faults in their order (`KIND` or `KIND:N`).
    pub(crate) fn start(sandbox: &Sandbox, faults: &[&str]) -> Self {
        let faults: Vec<_> = faults.iter().map(|fault| format!("--fault {fault}")).collect();
        Self::with(sandbox, &faults.join(" "))
    }

    /// With these arguments of `mock-api`.
    pub(crate) fn with(sandbox: &Sandbox, arguments: &str) -> Self {
        let process = sandbox.userpipe(&format!("mock-api --listen 127.0.0.1:0 {arguments}")).start();
        let url = process.wait_for_lines(1).trim().to_owned();
        Self { url, process }
    }

    /// Ends it; how often it was asked.
    pub(crate) fn requests(self) -> usize {
        self.process.signal(Signal::SIGTERM);
        self.process.finish().stderr.matches(" asks ").count()
    }

    /// Waits until it has been asked something.
    pub(crate) fn wait_for_request(&self) {
        self.process.wait_for_stderr(" asks ");
    }
}
