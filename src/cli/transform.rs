//! Expressions that filter and change records.

use clap::Args;

/// Which records go on, and what becomes of them.
#[derive(Args, Clone, Debug, Default)]
pub struct TransformArgs {
    /// Only records of which this jq expression gives neither false nor null; before --map
    ///
    /// The expression sees the record as one object, with its columns by their names. What could give another result the
    /// next time is left out of the language: now, env and $ENV, input, local time; debug and halt too. A record on which
    /// it fails goes to the dead letters (consume) or is rejected (produce, run).
    #[arg(id = "where", long = "where", env = "USERPIPE_WHERE", help_heading = "Transform", value_name = "EXPR")]
    pub where_: Option<String>,
    /// The record that this jq expression makes of each; it may not change id or timestamp
    ///
    /// It has to give exactly one object, which is read as a record from the topic is: fields that the record does not
    /// have are left out. Where both are given, --where sees the record before --map.
    #[arg(long, env = "USERPIPE_MAP", help_heading = "Transform", value_name = "EXPR")]
    pub map: Option<String>,
}

/// Which records were let through.
#[derive(Args, Clone, Debug, Default)]
pub struct WhereArgs {
    /// The --where that 'consume' was given: what it drops is filtered, and not lost
    #[arg(id = "where", long = "where", env = "USERPIPE_WHERE", value_name = "EXPR")]
    pub where_: Option<String>,
}

/// A replay that changes rows.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct RewriteArgs {
    /// Let a replay through a changed --map change the rows that are there: the present becomes the write time
    ///
    /// It needs a place to replay from: --from-beginning, or -o. Among the records of one person the newest still wins,
    /// and columns keep their values, `timestamp` too. Rows whose records --where drops stay as they are.
    #[arg(long, help_heading = "Transform")]
    pub rewrite: bool,
}
