//! The dashboard in a real headless Chromium, driven over `WebDriver` as a person drives it.
//!
//! - [`chromium`]: a browser of one test's own: its page, its console, its memory, screenshots, axe-core
//! - [`world`]: the program under test, on a real Kafka and Cassandra or on the embedded default
//! - [`parts`]: each part shows what is so; [`changes`]: what a click does; [`access`]: who is refused
//! - [`looks`]: accessibility, themes, widths; [`load`]: a thousand records a second for a minute
//!
//! Every test here is `#[ignore = "needs Chromium and live services: make test-browser"]`. Screenshots are left in `target/browser`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::print_stderr, reason = "what was measured is said beside the test's own output")]

mod access;
mod changes;
mod chromium;
mod load;
mod looks;
mod parts;
#[path = "../live/pipeline/program.rs"]
#[allow(dead_code, reason = "shared with the live tests")]
mod program;
mod world;

use std::time::Duration;

/// How long anything may take that is expected to end soon, on a busy machine.
const SOON: Duration = Duration::from_mins(1);
