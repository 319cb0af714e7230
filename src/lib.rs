//! `userpipe`: Random User API → ledger → bus → sink, in one binary.
//!
//! The way of one record, and the modules in its order:
//!
//! ```text
//!  source            record           ledger              bus               sink
//!  random_user  ─▶   User      ─▶   raw row, then  ─▶   topic        ─▶   created_users
//!  synthetic         (13 fields)    "published"         users_created      (upsert by id)
//!                                   mark                    │ cannot be decoded or written
//!                                                           ▼
//!                                                      users_created.dead-letters
//! ```
//!
//! A stage (`source`, `ledger`, `bus`, `sink`) never imports another; `pipeline` joins them, `commands` call it.

// What is left out with `instructions` only costs time to build there: none of it is a step of what is counted.
#![cfg_attr(feature = "instructions", allow(dead_code, unused_imports, reason = "who uses it is left out"))]

pub mod source;

pub mod record;

pub mod encoding;

pub mod transform;

#[cfg(not(feature = "instructions"))]
pub mod ledger;

pub mod bus;

pub mod sink;

pub mod mock_api;

#[cfg(not(feature = "instructions"))]
pub mod pipeline;

#[cfg(not(feature = "instructions"))]
pub mod dashboard;
#[cfg(not(feature = "instructions"))]
pub mod endpoints;
#[cfg(not(feature = "instructions"))]
pub mod inspect;

pub mod cli;
#[cfg(not(feature = "instructions"))]
pub mod commands;
pub mod config;

// The ground floor, which every module may use.
pub mod error;
pub mod files;
pub mod metrics;
pub mod net;
pub mod retry;
pub mod run_log;
pub mod seam;
pub mod secret;
pub mod shutdown;
pub mod sql;
#[cfg(not(feature = "instructions"))]
pub mod terminal;
pub mod tls;

// The contracts in `tests/contracts` name the crate, and some of their tests need its insides.
#[cfg(test)]
extern crate self as userpipe;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use config::{Loaded, Stop};
use error::{Error, Kind, Result};
#[cfg(not(feature = "instructions"))]
use terminal::Terminal;

/// Threads of the runtime: the work is waiting, and a few cores' worth of decoding.
const WORKER_THREADS_MAX: usize = 4;

/// Parses the arguments, runs the command and gives the process its exit code.
///
/// Expected failures are one line and a hint on stderr; only a bug panics, with a backtrace.
#[cfg(not(feature = "instructions"))]
pub fn run(args: impl Iterator<Item = OsString>) -> ExitCode {
    #[cfg(feature = "failpoints")]
    let _armed = seam::arm();
    // Both can only fail when done twice.
    let _ = color_eyre::config::HookBuilder::default().display_env_section(false).install();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let loaded = match config::load(args.collect()) {
        Ok(loaded) => loaded,
        Err(Stop::Clap(error)) => {
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(Kind::Usage.exit_code()));
        }
        Err(Stop::File(error)) => {
            let _ = writeln!(std::io::stderr(), "{}", error.report());
            return ExitCode::from(error.kind().exit_code());
        }
    };
    let terminal = Terminal::start(loaded.cli.output);
    match start(loaded, terminal.clone()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            terminal.fail(&error);
            ExitCode::from(error.kind().exit_code())
        }
    }
}

#[cfg(not(feature = "instructions"))]
fn start(loaded: Loaded, terminal: Terminal) -> Result<()> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).clamp(2, WORKER_THREADS_MAX);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()
        .map_err(|e| Error::new(Kind::Failed, "cannot start the runtime").because(e))?;
    let done = runtime.block_on(commands::dispatch(loaded, terminal));
    // A read of standard input cannot be cancelled; it must not keep the process.
    runtime.shutdown_background();
    done
}
