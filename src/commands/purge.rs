//! `purge`: a person out of ledger, bus and sink. What there is, is printed; what stays in Kafka, and until when, too.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::Context;
use crate::cli::PurgeArgs;
use crate::error::Result;
use crate::pipeline::purge::{self, Copies, Fate, Purged};
use crate::terminal::print;

pub(super) async fn run(args: &PurgeArgs, context: &Context) -> Result<()> {
    context.config().ledger.required("a purge needs the ledger, which keeps the id from coming back")?;
    let ledger = context.stores.ledger().await?;
    for id in &args.id {
        let planned = purge::plan(&context.stores, &ledger, *id).await?;
        let done = if args.dry_run { planned } else { purge::purge(&context.stores, &ledger, planned).await? };
        let shown = if args.json { format!("{}\n", object(&done, args.dry_run)) } else { table(&done) };
        // A reader that has gone has seen what it wanted; the others are purged all the same.
        tokio::task::block_in_place(|| print(shown.as_bytes()))?;
    }
    if args.dry_run {
        context.terminal.say("nobody was purged (--dry-run)");
    }
    Ok(())
}

fn table(purged: &Purged) -> String {
    let mut table = format!("{}\n  ledger  {} stored\n", purged.id, purged.ledger_rows);
    for Copies { topic, records, fate } in &purged.topics {
        let fate = match fate {
            _ if *records == 0 => String::new(),
            Fate::Erased => ", erased".to_owned(),
            Fate::StayUntil(time) => format!(", which Kafka keeps until {time} at the latest"),
            Fate::StayUntilCompaction => ", which Kafka keeps until it compacts the topic".to_owned(),
            Fate::StayForEver => ", which Kafka keeps until somebody deletes them (kafka-delete-records)".to_owned(),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(table, "  topic   {topic}: {records} records{fate}");
    }
    if let Some(place) = purged.tombstone {
        let _ = writeln!(table, "  topic   tombstone at {}:{}", place.partition, place.offset);
    }
    if purged.has_sink && purged.tombstone.is_some() {
        table.push_str("  sink    deleted\n");
    }
    table
}

fn object(purged: &Purged, is_dry: bool) -> Value {
    let copies = |Copies { topic, records, fate }: &Copies| {
        let (fate, until) = match fate {
            Fate::Erased => ("erased", None),
            Fate::StayUntil(time) => ("retention", Some(time.to_string())),
            Fate::StayUntilCompaction => ("compaction", None),
            Fate::StayForEver => ("for_ever", None),
        };
        json!({ "topic": topic, "records": records, "fate": fate, "until": until })
    };
    json!({
        "id": purged.id,
        "dry_run": is_dry,
        "ledger_rows": purged.ledger_rows,
        "topics": purged.topics.iter().map(copies).collect::<Vec<_>>(),
        "tombstone": purged.tombstone.map(|place| json!({ "partition": place.partition, "offset": place.offset })),
        "sink_deleted": purged.has_sink && !is_dry,
    })
}
