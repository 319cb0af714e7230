//! Parse, run, exit with the code. Everything else is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    userpipe::run(std::env::args_os())
}
