//! Tests against real services, in one binary. `make test` starts the services and names them in the environment;
//! `cargo test --test live -- --ignored` under `tests/services/services.sh with` does the same by hand.
//!
//! Every test here is `#[ignore = "needs live services: make test"]`. Those that share the services keep to topics, keyspaces
//! and databases of their own; those that break something start a [`services::PrivateInstance`].

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::print_stderr, reason = "what cannot be cleaned up is said beside the test's own output")]

mod cassandra;
#[path = "../certificates/mod.rs"]
mod certificates;
mod kafka;
mod ledger;
mod pipeline;
mod services;
