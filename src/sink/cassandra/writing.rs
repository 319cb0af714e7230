//! Writing changes: in batches of rows that have the same replicas, until each row has an outcome of its own.
//!
//! A batch that is refused for what one of its rows may hold is halved until the refused row stands alone. What may
//! pass is tried again within the time limit, the whole batch each time: a second execution changes nothing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use cdrs_tokio::cluster::Murmur3Token;
use cdrs_tokio::cluster::send_envelope::send_envelope;
use cdrs_tokio::error::Error as CqlError;
use cdrs_tokio::frame::Envelope;
use cdrs_tokio::frame::message_error::{ErrorBody, ErrorType};
use cdrs_tokio::load_balancing::Request;
use cdrs_tokio::retry::{FallthroughRetryPolicy, RetryPolicy as _};
use futures::future::join_all;
use tokio::time::Instant;

use super::batching::{self, Bounds};
use super::failure::{self, Class};
use super::link::{self, Live};
use super::replicas::Replicas;
use super::statements::Statements;
use super::{ATTEMPTS_MAX, CassandraSink, RETRY_DELAY_MAX, RETRY_DELAY_MIN, balancing};
use crate::error::{Error, Kind, Result};
use crate::retry;
use crate::sink::{Change, Outcome};

/// How often one request may make a node prepare again: each statement once, and one more time for each.
const PREPARATIONS_MAX: usize = 4;

/// How a request for some rows ended.
enum Answer {
    /// For all of them alike.
    Same(Outcome),
    /// It was refused for what may be about one of several rows.
    Divide,
}

/// Why a request failed.
struct Failed {
    error: CqlError,
    /// Whether it is an answer to the rows: no row is the reason why a statement cannot be prepared again.
    is_of_rows: bool,
}

/// Changes of one request.
type Rows<'c> = Vec<&'c Change>;

impl CassandraSink {
    /// As [`crate::sink::Sink::write`].
    pub(super) async fn write_all(&self, changes: &[Change]) -> Vec<Outcome> {
        let live = self.link.current();
        let bounds = Bounds::new(self.link.config().statements_in_flight_max, self.batch_bytes.load(Ordering::Relaxed));
        let batches = in_batches(&live.statements, &live.replicas(self.link.config()), changes, bounds);
        drop(live);
        let written = join_all(batches.into_iter().map(|rows| self.write_batch(changes, rows))).await;
        let mut outcomes: Vec<_> = written.into_iter().flatten().collect();
        outcomes.sort_unstable_by_key(|(row, _)| *row);
        outcomes.into_iter().map(|(_, outcome)| outcome).collect()
    }

    /// Writes the rows of a batch, together or divided; each with its outcome.
    async fn write_batch(&self, changes: &[Change], rows: Vec<usize>) -> Vec<(usize, Outcome)> {
        let mut outcomes = Vec::with_capacity(rows.len());
        let queued_at = Instant::now();
        let permits = u32::try_from(rows.len()).unwrap_or(u32::MAX);
        let Ok(_permits) = self.rows_in_flight.acquire_many(permits).await else {
            let closed = || Outcome::Retry(Error::new(Kind::Incomplete, "the Cassandra sink is closed"));
            return rows.into_iter().map(|row| (row, closed())).collect();
        };
        let mut parts = vec![rows];
        while let Some(mut part) = parts.pop() {
            // While Cassandra is silent, each request before this one has taken its whole time limit. Waiting as long
            // again would make a write's time the sum of those.
            let live = self.link.current();
            let answer = if live.silent_since(queued_at) {
                Answer::Same(self.no_answer(&live, "it has not answered the statements before this one"))
            } else {
                drop(live);
                let together = part.iter().map(|row| &changes[*row]).collect();
                self.attempts(together, Instant::now() + self.link.config().request_timeout).await
            };
            match answer {
                Answer::Same(outcome) => outcomes.extend(part.iter().copied().zip(copies(outcome, part.len()))),
                Answer::Divide => {
                    let rest = part.split_off(part.len() / 2);
                    parts.extend([rest, part]);
                }
            }
        }
        outcomes
    }

    /// Tries to write some rows in one request until they are written or refused, or attempts or time are used up.
    async fn attempts(&self, rows: Rows<'_>, deadline: Instant) -> Answer {
        let mut delays = retry::request_backoff(RETRY_DELAY_MIN, RETRY_DELAY_MAX, ATTEMPTS_MAX);
        let mut made: Option<(Arc<Live>, Envelope, Murmur3Token)> = None;
        loop {
            let live = self.link.current();
            // Another session has statements of its own.
            let (_, request, token) = match made.take_if(|made| Arc::ptr_eq(&made.0, &live)) {
                Some(same) => made.insert(same),
                None => made.insert((
                    Arc::clone(&live),
                    live.statements.request(rows.iter().copied()),
                    live.statements.token(rows[0]),
                )),
            };
            let trying = tokio::time::timeout_at(deadline, self.execute(&live, request, *token));
            let (answer, node) = balancing::noting_first_node(trying).await;
            let Ok(answer) = answer else {
                self.link.failed(&live);
                live.silent(node);
                let limit = humantime::format_duration(self.link.config().request_timeout);
                return Answer::Same(self.no_answer(&live, &format!("no answer within {limit}")));
            };
            let Err(failed) = answer else {
                live.answered(node);
                return Answer::Same(Outcome::Written);
            };
            let error = match self.judge(&live, node, failed, &rows).await {
                Ok(answer) => return answer,
                Err(passing) => passing,
            };
            match delays.next() {
                Some(delay) if Instant::now() + delay < deadline => tokio::time::sleep(delay).await,
                _ => return Answer::Same(later(&live, error)),
            }
        }
    }

    /// What a failure means for these rows.
    ///
    /// # Errors
    /// The failure itself, where it may pass.
    async fn judge(
        &self,
        live: &Arc<Live>,
        node: Option<SocketAddr>,
        failed: Failed,
        rows: &[&Change],
    ) -> Result<Answer> {
        let Failed { error, is_of_rows } = failed;
        let class = failure::classify(&error);
        match class {
            Class::Broken | Class::Unprepared => self.link.failed(live),
            Class::Busy | Class::Refused | Class::Config | Class::Value | Class::Batch => live.answered(node),
        }
        let error = failure::explain(self.doing(), error);
        if class == Class::Config && live.schema_is_in_flux(self.link.config()).await {
            return Err(error);
        }
        match class {
            Class::Value | Class::Batch | Class::Config if rows.len() > 1 && is_of_rows => {
                if class == Class::Batch {
                    let refused = rows.iter().map(|change| live.statements.bytes(change)).sum();
                    self.batch_bytes.fetch_min(Bounds::bytes_after_refusal(refused), Ordering::Relaxed);
                }
                Ok(Answer::Divide)
            }
            Class::Value | Class::Batch => Ok(Answer::Same(Outcome::Poison(error.to_string()))),
            Class::Refused | Class::Config => Ok(Answer::Same(Outcome::Blocked(error))),
            Class::Busy | Class::Broken | Class::Unprepared => Err(error),
        }
    }

    /// Executes a request once, at a replica of `token`. Where a node has forgotten a statement it is prepared there
    /// again; the error is that of preparing it where that fails (the table is gone, for example).
    async fn execute(&self, live: &Live, request: &Envelope, token: Murmur3Token) -> Result<(), Failed> {
        let session = &live.connected.session;
        let keyspace = Some(self.link.config().keyspace.as_str());
        let mut preparations = 0;
        loop {
            let routing = Request::new(keyspace, Some(token), None, Some(live.statements.consistency));
            let nodes = session.query_plan(Some(routing)).nodes.into_iter();
            // The policy gives every error to us; we retry by ourselves.
            let sent = send_envelope(nodes, request, true, FallthroughRetryPolicy.new_session()).await;
            let error = match sent {
                Some(Ok(_)) => return Ok(()),
                Some(Err(error)) => error,
                None => CqlError::General("there is no node to send it to".to_owned()),
            };
            match &error {
                CqlError::Server { body: ErrorBody { ty: ErrorType::Unprepared(forgotten), .. }, addr }
                    if preparations < PREPARATIONS_MAX =>
                {
                    preparations += 1;
                    let preparing = live.statements.prepare_again(session, &forgotten.id, *addr);
                    preparing.await.map_err(|error| Failed { error, is_of_rows: false })?;
                }
                _ => return Err(Failed { error, is_of_rows: true }),
            }
        }
    }

    fn no_answer(&self, live: &Live, why: &str) -> Outcome {
        later(live, Error::new(Kind::Unreachable, self.doing()).because(why.to_owned()))
    }

    fn doing(&self) -> String {
        format!("cannot write to {}", link::table(self.link.config()))
    }
}

/// The indexes of the changes that share a request.
pub(super) fn in_batches(
    statements: &Statements,
    replicas: &Replicas,
    changes: &[Change],
    bounds: Bounds,
) -> Vec<Vec<usize>> {
    let sized = changes.iter().map(|change| (replicas.set(statements.token(change)), statements.bytes(change)));
    batching::cut(sized, bounds)
}

/// Try again later, unless it is known by now that a person is needed first.
fn later(live: &Live, error: Error) -> Outcome {
    live.blocked().map_or(Outcome::Retry(error), Outcome::Blocked)
}

/// The outcome of a request, for each of its rows.
fn copies(outcome: Outcome, rows: usize) -> impl Iterator<Item = Outcome> {
    let copy = |outcome: &Outcome| match outcome {
        Outcome::Written => Outcome::Written,
        Outcome::Poison(reason) => Outcome::Poison(reason.clone()),
        Outcome::Retry(error) => Outcome::Retry(failure::copy(error)),
        Outcome::Blocked(error) => Outcome::Blocked(failure::copy(error)),
        Outcome::Closed => Outcome::Closed,
    };
    let more: Vec<_> = (1..rows).map(|_| copy(&outcome)).collect();
    std::iter::once(outcome).chain(more)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_a_request_has_its_outcome() {
        let error = || Error::new(Kind::Config, "cannot write to ks.t").because("no table").hint("init-schema");
        for outcome in [Outcome::Written, Outcome::Retry(error()), Outcome::Blocked(error())] {
            let expected = format!("{:?}", std::mem::discriminant(&outcome));
            let all: Vec<_> = copies(outcome, 3).collect();
            assert_eq!(all.len(), 3);
            for outcome in all {
                assert_eq!(format!("{:?}", std::mem::discriminant(&outcome)), expected);
                if let Outcome::Retry(error) | Outcome::Blocked(error) = outcome {
                    assert_eq!(error.report(), "error: cannot write to ks.t: no table\nhint: init-schema");
                    assert_eq!(error.kind(), Kind::Config);
                }
            }
        }
    }
}
