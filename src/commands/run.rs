//! `run`: the whole pipeline in one process. The two halves share only the bus.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::serving::Role;
use super::{Context, work};
use crate::bus::StartAt;
use crate::cli::{Connections, RunArgs};
use crate::config::{self, SinkConfig};
use crate::error::Result;
use crate::pipeline::deliver::{Goal, Limits};
use crate::pipeline::ingest::Ingest;
use crate::pipeline::schedule;
use crate::sink::Sink;
use crate::source::AnySource;

pub(super) async fn run(args: &RunArgs, connections: &Connections, context: &Context) -> Result<()> {
    let transform = config::transform(&args.transform, &context.config().with)?;
    let source = work::source_config(&args.source, connections, context.config())?;
    let mut path = vec![source.to_string(), context.bus_and_topic()];
    if !args.no_deliver {
        path.push(context.config().sink.to_string());
    }
    context.draw_path(&path);
    let role = Role::outside("run").ingesting(&source).scheduled(&args.ingest, !work::has_end(&args.ingest));
    let role = if args.no_deliver { role } else { role.delivering() };
    let _serving = context.answer(&args.watch, role).await?;

    let (ingest, _claims) = context.ingest(&args.ingest, connections, transform).await?;
    let source = work::source(&source, &ingest).await?;
    let has_end = work::has_end(&args.ingest);
    let (goal, receiver) = watch::channel(Goal::Open);
    let done = if args.no_deliver {
        let watching = context.watch(total(args));
        let done = ingest_half(args, ingest, source, &goal, context.shutdown.clone()).await;
        context.summarize(watching).await;
        done
    } else {
        let limits = Limits {
            goal: receiver,
            count: None,
            idle_timeout: None,
            deadline: has_end.then(|| work::deadline_of(args.deliver)),
        };
        both_halves(args, context, ingest, source, goal, limits).await
    };
    done?;
    if has_end && !args.no_deliver {
        show_rows(context).await?;
    }
    Ok(())
}

/// The records a run that ends is about to deliver, where it counts them.
fn total(args: &RunArgs) -> Option<u64> {
    args.ingest.once.then_some(args.ingest.count)
}

/// Ingest and delivery side by side; whichever fails first ends the other.
async fn both_halves(
    args: &RunArgs,
    context: &Context,
    ingest: Arc<Ingest>,
    source: AnySource,
    goal: watch::Sender<Goal>,
    limits: Limits,
) -> Result<()> {
    let sink = context.sink().await?;
    let Some(consumer) = context.consumer(StartAt::Stored).await? else { return sink.close().await };
    // What comes from this process was transformed before it was stored, and once is enough.
    let deliver = context.deliver(sink.clone(), consumer, None, limits).await?;
    let watching = context.watch(total(args));
    // A child: ending one half because of the other is not a signal to the whole process.
    let stop = context.shutdown.child_token();
    let delivering = tokio::spawn({
        let stop = stop.clone();
        async move {
            let _ends_the_other = stop.clone().drop_guard();
            deliver.run(&stop).await
        }
    });
    let ingested = ingest_half(args, ingest, source, &goal, stop.clone()).await;
    if ingested.is_err() {
        stop.cancel();
    }
    let delivered = work::joined(delivering).await;
    context.summarize(watching).await;
    let closed = sink.close().await;
    ingested?;
    delivered?;
    closed
}

/// Runs once or on schedule; a run that ends tells the delivery half where the end is.
async fn ingest_half(
    args: &RunArgs,
    ingest: Arc<Ingest>,
    mut source: AnySource,
    goal: &watch::Sender<Goal>,
    stop: CancellationToken,
) -> Result<()> {
    let plan = work::plan(&args.ingest, &args.source, !work::has_end(&args.ingest));
    if work::has_end(&args.ingest) {
        let report = work::ingest_once(&ingest, &mut source, plan, &stop).await?;
        goal.send_replace(Goal::Offsets(report.ends));
        return Ok(());
    }
    schedule::keep(&ingest, &mut source, plan, &work::schedule(&args.ingest), &stop).await
}

/// After a run on the embedded sink: a few rows, and what to type next.
async fn show_rows(context: &Context) -> Result<()> {
    let SinkConfig::Sqlite(path, table) = &context.config().sink else { return Ok(()) };
    let database = context.stores.sqlite(path).await?;
    let sample = database.sample_rows(&table.table).await?;
    context.terminal.say(&format!("\n{} rows in {}, table {}:", sample.count, path.display(), table.table));
    for line in sample.lines {
        context.terminal.say(&format!("  {line}"));
    }
    context.terminal.say(
        "\nnext:  userpipe consume --sink stdout -e | head        what is on the bus\
         \n       userpipe run --interval 1m                       a run every minute, until Ctrl-C\
         \n       userpipe run --interval 1m -b HOST:9092 --cassandra HOST:9042    your own Kafka and Cassandra",
    );
    Ok(())
}
