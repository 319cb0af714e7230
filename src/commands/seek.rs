//! `seek`: moves the group's committed offsets. What it will do is printed before it is done.

use std::fmt::Write as _;

use serde_json::json;

use super::Context;
use crate::bus::{Offset, Reset};
use crate::cli::SeekArgs;
use crate::error::Result;
use crate::terminal::print;

pub(super) async fn run(args: SeekArgs, context: &Context) -> Result<()> {
    let planned = context.stores.plan_reset(args.to.0).await?;
    let shown = if args.json { lines(&planned) } else { table(&planned) };
    // A reader that has gone has seen what it wanted; the group is moved all the same.
    tokio::task::block_in_place(|| print(shown.as_bytes()))?;
    let group = &context.config().group;
    if args.dry_run {
        context.terminal.say(&format!("group {group} was not moved (--dry-run)"));
        return Ok(());
    }
    context.stores.apply_reset(&planned).await?;
    context.terminal.say(&format!("group {group} was moved"));
    Ok(())
}

fn table(planned: &Reset) -> String {
    let mut table = format!("{:>9}  {:>12}  {:>12}\n", "partition", "old", "new");
    for (partition, moved) in planned {
        let before = moved.before.map_or_else(|| "-".to_owned(), |offset: Offset| offset.to_string());
        // Writing to a string cannot fail.
        let _ = writeln!(table, "{partition:>9}  {before:>12}  {:>12}", moved.after);
    }
    table
}

fn lines(planned: &Reset) -> String {
    let line = |(partition, moved): (&i32, &crate::bus::Moved)| {
        format!("{}\n", json!({ "partition": partition, "old": moved.before, "new": moved.after }))
    };
    planned.iter().map(line).collect()
}
