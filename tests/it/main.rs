//! Hermetic tests of the built program, driven as a user drives it: arguments, environment, pipes, signals, files.
//!
//! Each test has a [`sandbox::Sandbox`] of its own, and needs nothing but loopback. The Random User API is the program's own
//! `mock-api` ([`mock::MockApi`]); bus, ledger and sink are the embedded ones, looked at through [`database::Database`].
//! What needs real services is in `tests/live`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod database;
mod fake_registry;
mod mock;
mod sandbox;

mod api_faults;
mod archive;
mod bench_check;
mod checking;
mod configuration;
mod consuming;
mod dashboard;
mod dead_letters;
mod deploy;
mod errors;
mod fetching;
mod groups;
mod help;
mod kafka_certificates;
mod kafka_properties;
mod ledger;
mod members;
mod output;
mod poison;
mod producing;
mod real_users;
mod registry;
mod replaying;
mod running;
mod scheduling;
mod schema;
mod secrets;
mod seeking;
mod signals;
mod status;
mod tapping;
mod tidy;
mod tracing;
mod transforming;
mod verifying;
mod watching;
mod with;
