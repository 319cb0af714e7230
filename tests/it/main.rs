//! Hermetic tests, in one binary: nothing outside this machine, and no service.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod tidy;
