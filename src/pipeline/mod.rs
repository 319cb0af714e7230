//! The stages joined: [`ingest`] (source → ledger → bus), [`deliver`] (bus → sink), and when they run.
//!
//! The two halves share nothing but the bus, so one process does both (`run`) or two do one each.

pub mod deliver;
pub mod health;
pub mod ingest;
pub mod purge;
pub mod replay;
pub mod schedule;
#[cfg(test)]
mod simulation;
mod stores;
pub mod suppression;

pub use stores::Stores;
