//! The arguments of what is made for a package of the program.

use std::path::PathBuf;

use clap::{Args, ValueHint};

/// The arguments of `man`.
#[derive(Args, Clone, Debug)]
pub struct ManArgs {
    /// Write a page for the program and one for each command into this directory, instead of printing the program's
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub dir: Option<PathBuf>,
}
