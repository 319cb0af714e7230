//! `--input`: JSON Lines of our records, or of raw API users, from a file or standard input.

use std::path::Path;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Accepted, Batch, INPUT_BATCHES_IN_FLIGHT_MAX, Ingest, Report, Sending};
use crate::bus::Producer;
use crate::error::{Error, Kind, Result};
use crate::ledger::{Archive, Ledger, NewRun, Runs};
use crate::record::{Timestamp, format, without_secrets};

/// A line longer than this is no user.
const LINE_BYTES_MAX: usize = 1024 * 1024;
const INPUT_HINT: &str = "give --input a file of JSON Lines, or - for standard input";
/// What is read at once, and the room that is left for that at the least: lines are parts of it.
const READ_BYTES: usize = 256 * 1024;
const READ_BYTES_MIN: usize = 16 * 1024;

/// Sends the users of `path` (`-` is standard input) until its end or `shutdown`.
///
/// Lines that are no users are counted and named by their number; the good ones beside them are sent.
///
/// # Errors
/// [`Kind::LocalIo`] when the file cannot be read, [`Kind::BadData`] at the end if a line was bad, and those of
/// ledger and bus.
pub async fn read_input(ingest: &Arc<Ingest>, path: &Path, shutdown: &CancellationToken) -> Result<Report> {
    let place = if path == Path::new("-") { "standard input".to_owned() } else { path.display().to_string() };
    if path == Path::new("-") {
        return ingest.input(tokio::io::stdin(), &place, shutdown).await;
    }
    let file = tokio::fs::File::open(path).await.map_err(|e| {
        Error::new(Kind::LocalIo, "cannot open the input").at(place.clone()).because(e).hint(INPUT_HINT)
    })?;
    ingest.input(file, &place, shutdown).await
}

impl<L: Ledger + Archive + Runs + 'static, P: Producer + 'static> Ingest<L, P> {
    async fn input<R: AsyncRead + Unpin + Send>(
        self: &Arc<Self>,
        reader: R,
        place: &str,
        shutdown: &CancellationToken,
    ) -> Result<Report> {
        let run_id = Uuid::now_v7();
        self.ledger.start_run(&NewRun { run_id, trigger: "input", scheduled_for: None, seed: None }).await?;
        let mut lines = Lines::new(reader);
        let mut report = Report::default();
        let mut sending = Sending::new(INPUT_BATCHES_IN_FLIGHT_MAX);
        let read = self.send_lines(&mut lines, place, run_id, &mut sending, &mut report, shutdown).await;
        let sent = sending.finish(&mut report).await;
        let outcome = read.and(sent).and_then(|()| bad_lines(&report, place));
        self.finish_run(run_id, &report, outcome.as_ref().err(), None).await?;
        outcome.map(|()| report)
    }

    async fn send_lines<R: AsyncRead + Unpin + Send>(
        self: &Arc<Self>,
        lines: &mut Lines<R>,
        place: &str,
        run_id: Uuid,
        sending: &mut Sending,
        report: &mut Report,
        shutdown: &CancellationToken,
    ) -> Result<()> {
        let failed =
            |e| Error::new(Kind::LocalIo, "cannot read the input").at(place.to_owned()).because(e).hint(INPUT_HINT);
        loop {
            let mut batch = Batch::default();
            let mut send_at: Option<Instant> = None;
            let mut is_over = false;
            while batch.accepted.len() + batch.refused.len() < self.batch_records_max && !is_over {
                let linger = async {
                    match send_at {
                        Some(at) => tokio::time::sleep_until(at).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    biased;
                    () = shutdown.cancelled() => is_over = true,
                    line = lines.next() => match line.map_err(failed)? {
                        Some(line) => {
                            self.accept_line(&line, (place, lines.number), &mut batch, report);
                            send_at.get_or_insert_with(|| Instant::now() + self.linger);
                        }
                        None => is_over = true,
                    },
                    () = linger => break,
                }
            }
            let batch = self.transform(batch, report).await;
            sending.push(self, run_id, batch, report).await?;
            if is_over {
                return Ok(());
            }
        }
    }

    fn accept_line(&self, line: &Bytes, at: (&str, u64), batch: &mut Batch, report: &mut Report) {
        let line = line.slice_ref(line.trim_ascii());
        if line.is_empty() {
            return;
        }
        report.fetched += 1;
        self.metrics.fetched.add(1);
        match self.accept(&line) {
            Ok(accepted) => batch.accepted.push(accepted),
            Err((reason, raw)) => {
                let (place, number) = at;
                batch.refused.push(self.refuse(format!("{place} line {number}: {reason}"), raw, report));
            }
        }
    }

    /// A line is a raw API user if it has the API's `login` object, else one of our records.
    /// What is wrong comes with the API user, where the line is one.
    fn accept<'l>(&self, line: &'l Bytes) -> Result<Accepted, (String, Option<&'l RawValue>)> {
        #[derive(Deserialize)]
        struct Shape<'a> {
            #[serde(borrow)]
            login: Option<&'a RawValue>,
        }
        if line.len() >= LINE_BYTES_MAX {
            return Err((format!("longer than {LINE_BYTES_MAX} bytes"), None));
        }
        if let Some(user) = self.codec.decode_own(line) {
            return Ok(Accepted { user, raw: None });
        }
        let now = Timestamp::now();
        let is_raw = serde_json::from_slice::<Shape<'_>>(line).is_ok_and(|shape| shape.login.is_some());
        if !is_raw {
            let user = self.codec.decode(line, now).map_err(|reason| (reason, None))?;
            return Ok(Accepted { user, raw: None });
        }
        let raw: &RawValue = serde_json::from_slice(line).map_err(|e| (e.to_string(), None))?;
        let user = format(raw, now, &self.codec.with).map_err(|rejection| (rejection.to_string(), Some(raw)))?;
        Ok(Accepted { user, raw: Some(without_secrets(raw)) })
    }
}

/// Lines as they are read: parts of what was read at once, so that none is copied.
struct Lines<R> {
    reader: R,
    /// What was read, and was in no line yet.
    buffer: BytesMut,
    /// So much of it has no line break.
    searched: usize,
    /// The beginning of a line that is too long and whose rest is being read past.
    too_long: Option<Bytes>,
    is_over: bool,
    /// Of the last line, from 1.
    number: u64,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    fn new(reader: R) -> Self {
        Self { reader, buffer: BytesMut::new(), searched: 0, too_long: None, is_over: false, number: 0 }
    }

    /// The next line, with its break; of one that is too long so much that its length tells. `None` at the end. Safe to
    /// cancel: what was read stays.
    async fn next(&mut self) -> std::io::Result<Option<Bytes>> {
        loop {
            if let Some(at) = memchr::memchr(b'\n', &self.buffer[self.searched..]) {
                let line = self.buffer.split_to(self.searched + at + 1).freeze();
                return Ok(Some(self.ended(line)));
            }
            if self.is_over {
                let is_line = !self.buffer.is_empty() || self.too_long.is_some();
                let rest = self.buffer.split().freeze();
                return Ok(is_line.then(|| self.ended(rest)));
            }
            if self.too_long.is_none() && self.buffer.len() >= LINE_BYTES_MAX {
                self.too_long = Some(self.buffer.split_to(LINE_BYTES_MAX).freeze());
            }
            if self.too_long.is_some() {
                self.buffer.clear();
            }
            self.searched = self.buffer.len();
            if self.buffer.capacity() - self.buffer.len() < READ_BYTES_MIN {
                self.buffer.reserve(READ_BYTES);
            }
            self.is_over = self.reader.read_buf(&mut self.buffer).await? == 0;
        }
    }

    fn ended(&mut self, line: Bytes) -> Bytes {
        self.searched = 0;
        self.number += 1;
        self.too_long.take().unwrap_or(line)
    }
}

fn bad_lines(report: &Report, place: &str) -> Result<()> {
    if report.rejected == 0 {
        return Ok(());
    }
    Err(Error::new(Kind::BadData, format!("{} of {} lines are no users", report.rejected, report.fetched))
        .at(place.to_owned())
        .hint("the good ones were sent; the warnings above name the others"))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn lines(text: &[u8]) -> Vec<(u64, usize)> {
        let mut lines = Lines::new(tokio::io::BufReader::with_capacity(16, text));
        let mut all = Vec::new();
        while let Some(line) = lines.next().await.expect("memory is readable") {
            all.push((lines.number, line.trim_ascii().len()));
        }
        all
    }

    #[tokio::test]
    async fn lines_end_with_or_without_a_break() {
        assert_eq!(lines(b"").await, []);
        assert_eq!(lines(b"a\n\nbcd").await, [(1, 1), (2, 0), (3, 3)]);
        assert_eq!(lines(b"a\r\n").await, [(1, 1)]);
    }

    #[tokio::test]
    async fn a_line_too_long_is_read_past_in_bounded_memory() {
        let mut text = vec![b'x'; LINE_BYTES_MAX * 2];
        text.extend(b"\nnext\n");
        assert_eq!(lines(&text).await, [(1, LINE_BYTES_MAX), (2, 4)]);
    }
}
