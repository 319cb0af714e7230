//! Parse, run, exit with the code. Everything else is in the library.

use std::process::ExitCode;

/// Its settings are in `.cargo/config.toml`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    userpipe::run(std::env::args_os())
}
