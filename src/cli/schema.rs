//! The arguments of `schema`.

use clap::{Args, Subcommand};

/// The arguments of `schema`.
#[derive(Args, Clone, Copy, Debug)]
pub struct SchemaArgs {
    /// What to do with it.
    #[command(subcommand)]
    pub action: SchemaAction,
}

/// What can be done with the schema of the topic's values.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum SchemaAction {
    /// Print the schema that follows from the record's columns; asks no registry
    Show,
    /// Register it, if it is not there and compatible, and print its id and version
    Register(SchemaReportArgs),
    /// Tell how it stands to the latest version in the registry; exit 10 if it is not compatible
    Check(SchemaReportArgs),
}

/// How the answer is printed.
#[derive(Args, Clone, Copy, Debug)]
pub struct SchemaReportArgs {
    /// Print a JSON object
    #[arg(long)]
    pub json: bool,
}
