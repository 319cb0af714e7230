//! What the cases found: a row each, printed when all are done.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// What is known of a case so far; a case that fails midway has its row too.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// Different records that were accepted, or on the topic.
    pub(crate) records: usize,
    /// Those of them that are in neither sink nor dead letters.
    pub(crate) lost: usize,
    /// Ids that are in the sink twice.
    pub(crate) doubled: usize,
    /// Second copies on the topic, which have no effect.
    pub(crate) copies: usize,
    /// From the end of the fault until everything had arrived.
    pub(crate) recovery: Option<Duration>,
    /// The most memory that any process of the case had, in bytes.
    pub(crate) resident_bytes: u64,
}

#[derive(Debug)]
struct Row {
    fault: &'static str,
    tally: Tally,
    /// The case and how to repeat it, where it failed.
    repeat: Option<String>,
}

/// The rows of all cases that ran.
#[derive(Debug, Default)]
pub(crate) struct Table(Mutex<Vec<Row>>);

impl Table {
    /// Notes how a case ended; `repeat` is the command that runs a failed one again.
    pub(crate) fn add(&self, fault: &'static str, tally: Tally, repeat: Option<String>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Row { fault, tally, repeat });
    }

    /// Prints the table, and below it how to repeat what failed.
    pub(crate) fn print(&self) {
        let rows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if rows.is_empty() {
            return;
        }
        let width = rows.iter().map(|row| row.fault.chars().count()).max().unwrap_or_default().max(5);
        println!("{:width$} | records | lost | doubled | copies on topic | MiB | seconds to recover | result", "fault");
        for Row { fault, tally, repeat } in rows.iter() {
            let Tally { records, lost, doubled, copies, recovery, resident_bytes } = tally;
            let recovery = recovery.map_or_else(|| "-".to_owned(), |took| format!("{:.1}", took.as_secs_f64()));
            let result = if repeat.is_some() { "FAILED" } else { "ok" };
            println!(
                "{fault:width$} | {records:7} | {lost:4} | {doubled:7} | {copies:15} | {:3} | {recovery:>18} | {result}",
                resident_bytes >> 20
            );
        }
        for repeat in rows.iter().filter_map(|row| row.repeat.as_ref()) {
            println!("again: {repeat}");
        }
    }
}
