//! `consume`: bus → sink, as one member of a consumer group.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;

use super::serving::Role;
use super::{Context, work};
use crate::bus::{Consumer, Offset, Partition, StartAt, Watermarks};
use crate::cli::ConsumeArgs;
use crate::config::{self, Config, SinkConfig};
use crate::error::{Error, Kind, Result};
use crate::pipeline::deliver::{Goal, Limits};
use crate::record::Timestamp;
use crate::sink::Sink;

pub(super) async fn run(args: &ConsumeArgs, context: &Context) -> Result<()> {
    let transform = config::transform(&args.transform, &context.config().with)?;
    let filter = transform.as_ref().and_then(|transform| transform.filter()).map(Arc::new);
    let start = if args.from_beginning { StartAt::Beginning } else { args.offset.0 };
    let rewrite_at = rewrite_at(args, start, context.config())?;
    context.draw_path(&[context.bus_and_topic(), context.config().sink.to_string()]);
    let _serving = context.answer(&args.watch, Role::outside("consume").delivering().filtering(filter)).await?;
    let sink = match rewrite_at {
        Some(at) => Arc::new(context.stores.rewriting_sink(at).await?),
        None => context.sink().await?,
    };
    let Some(mut consumer) = context.consumer(start).await? else { return sink.close().await };
    let (goal, left) = if args.exit_at_end {
        let marks = consumer.watermarks().await?;
        let left = behind(&marks, &consumer.committed().await?);
        (Goal::Offsets(ends(&marks)), Some(left))
    } else {
        (Goal::Open, args.count)
    };
    // The sender lives as long as the delivery, or the goal could not be read.
    let (_goal, receiver) = watch::channel(goal);
    let limits = Limits {
        goal: receiver,
        count: args.count,
        idle_timeout: args.idle_timeout,
        deadline: args.exit_at_end.then(|| work::deadline_of(args.deliver)),
    };
    let deliver = context.deliver(sink.clone(), consumer, transform, limits).await?;
    let watching = context.watch(left);
    let end = deliver.run(&context.shutdown).await;
    context.summarize(watching).await;
    let closed = sink.close().await;
    end?;
    closed
}

/// The present, where rows are to be rewritten.
///
/// # Errors
/// [`Kind::Config`] without a place to replay from, or without rows.
fn rewrite_at(args: &ConsumeArgs, start: StartAt, config: &Config) -> Result<Option<Timestamp>> {
    if !args.rewrite.rewrite {
        return Ok(None);
    }
    if start == StartAt::Stored {
        return Err(Error::new(Kind::Config, "--rewrite needs a place to replay from")
            .because("what the group has not read yet has no rows that could change")
            .hint("say --from-beginning, or -o @TIME"));
    }
    if matches!(config.sink, SinkConfig::Stdout) {
        return Err(Error::new(Kind::Config, "--rewrite needs a table")
            .because("standard output keeps no rows")
            .hint("leave it out"));
    }
    Ok(Some(Timestamp::now()))
}

/// How many records the group has before it.
fn behind(marks: &BTreeMap<Partition, Watermarks>, committed: &BTreeMap<Partition, Offset>) -> u64 {
    let left = |(partition, marks): (&Partition, &Watermarks)| {
        let from = committed.get(partition).copied().unwrap_or(marks.low).max(marks.low);
        (marks.high - from).max(0).cast_unsigned()
    };
    marks.iter().map(left).sum()
}

/// The end offsets of the partitions that have anything to read.
fn ends(marks: &BTreeMap<Partition, Watermarks>) -> BTreeMap<Partition, Offset> {
    marks.iter().filter(|(_, marks)| marks.high > marks.low).map(|(p, marks)| (*p, marks.high)).collect()
}
