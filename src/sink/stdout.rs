//! JSON Lines on standard output: for looking at a topic, and for pipes.

use std::io::{self, Write};

use uuid::Uuid;

use super::{Change, Found, Outcome, Sink};
use crate::error::{Error, Kind, Result, STDOUT_HINT};

/// Prints users, one JSON object a line; a delete prints `{"id":…,"deleted":true}`.
#[derive(Debug, Default)]
pub struct StdoutSink;

impl Sink for StdoutSink {
    async fn write(&self, changes: &[Change]) -> Vec<Outcome> {
        let lines = render(changes);
        // A reader that is slow or stopped blocks the write; that must not block the runtime.
        let printed = tokio::task::spawn_blocking(move || {
            let mut out = io::stdout().lock();
            out.write_all(&lines).and_then(|()| out.flush())
        });
        let result = printed.await.unwrap_or_else(|panic| Err(io::Error::other(panic)));
        changes.iter().map(|_| outcome(&result)).collect()
    }

    async fn find(&self, _ids: &[Uuid]) -> Result<Found> {
        Err(Error::new(Kind::Config, "standard output cannot be read back")
            .hint("name the sink that holds the rows: --sink cassandra, postgres or sqlite, and its options"))
    }

    fn batches_in_flight_max(&self) -> usize {
        // One at a time keeps the order of each partition.
        1
    }

    async fn close(&self) -> Result<()> {
        Ok(())
    }
}

fn render(changes: &[Change]) -> Vec<u8> {
    let mut lines = Vec::with_capacity(changes.len() * 512);
    for change in changes {
        match change {
            Change::Upsert(user) => lines.extend_from_slice(user.wire().as_bytes()),
            Change::Delete { id, .. } => {
                lines.extend_from_slice(format!(r#"{{"id":"{id}","deleted":true}}"#).as_bytes());
            }
        }
        lines.push(b'\n');
    }
    lines
}

fn outcome(result: &io::Result<()>) -> Outcome {
    match result {
        Ok(()) => Outcome::Written,
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Outcome::Closed,
        Err(e) => Outcome::Retry(
            Error::new(Kind::LocalIo, "cannot write to standard output")
                .because(io::Error::new(e.kind(), e.to_string()))
                .hint(STDOUT_HINT),
        ),
    }
}
