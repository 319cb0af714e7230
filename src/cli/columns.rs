//! The argument that adds columns to the record.

use clap::Args;

use crate::record::OPTIONAL_COLUMNS;

/// Columns beside the 13.
#[derive(Args, Clone, Debug)]
pub struct ColumnsArgs {
    /// Names of optional columns.
    #[arg(long, global = true, env = "USERPIPE_WITH", help_heading = "Pipeline", value_name = "NAME,…")]
    #[arg(value_delimiter = ',', help = help())]
    pub with: Vec<String>,
}

/// From the one list that there is.
fn help() -> String {
    let names: Vec<_> = OPTIONAL_COLUMNS.iter().map(|column| column.name).collect();
    format!("Columns to add to the 13, comma-separated: {}", names.join(", "))
}
