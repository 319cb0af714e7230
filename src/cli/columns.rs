//! The argument that adds columns to the record.

use clap::Args;

/// Columns beside the 13.
#[derive(Args, Clone, Debug)]
pub struct ColumnsArgs {
    /// Columns to add to the 13, comma-separated: title, age, nationality, street_number, street_name, city, state, country,
    /// latitude, longitude, timezone, cell, picture_large, thumbnail
    #[arg(long, global = true, env = "USERPIPE_WITH", help_heading = "Pipeline", value_name = "NAME,…")]
    #[arg(value_delimiter = ',')]
    pub with: Vec<String>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use crate::record::OPTIONAL_COLUMNS;

    #[test]
    fn the_help_names_every_column() {
        let program = crate::cli::Cli::command();
        let with = program.get_arguments().find(|arg| arg.get_long() == Some("with")).expect("the flag");
        let help = with.get_help().expect("has a help").to_string();
        let (_, names) = help.split_once(": ").expect("a list");
        assert_eq!(names, OPTIONAL_COLUMNS.iter().map(|column| column.name).collect::<Vec<_>>().join(", "));
    }
}
