//! `produce`: source (or `--input`, or the ledger itself) → ledger → bus.

use super::serving::Role;
use super::{Context, work};
use crate::cli::{Connections, ProduceArgs};
use crate::config;
use crate::error::{Error, Kind, Result};
use crate::ledger::Selection;
use crate::pipeline::ingest::read_input;
use crate::pipeline::schedule;
use crate::record::Timestamp;

pub(super) async fn run(args: &ProduceArgs, connections: &Connections, context: &Context) -> Result<()> {
    let transform = config::transform(&args.transform, &context.config().with)?;
    let role = |source: &str| Role::outside("produce").ingesting(&source);
    if let Some(path) = &args.input {
        context.draw_path(&[format!("input {}", path.display()), context.bus_and_topic()]);
        let _serving = context.answer(&args.watch, role(&format!("input {}", path.display()))).await?;
        let (ingest, _claims) = context.ingest(&args.ingest, connections, transform).await?;
        let watching = context.watch(None);
        let done = work::complete(&ingest, read_input(&ingest, path, &context.shutdown), &context.shutdown).await;
        context.summarize(watching).await;
        return done.map(|_| ());
    }
    if args.from_ledger {
        if transform.is_some() {
            return Err(Error::new(Kind::Config, "--from-ledger sends what is stored as it is")
                .because("--where and --map were for users that are not stored yet")
                .hint("leave them out here, and give them to 'userpipe consume'"));
        }
        context.config().ledger.required("there is no ledger to send from")?;
        context.draw_path(&[format!("ledger in {}", context.config().ledger), context.bus_and_topic()]);
        let _serving = context.answer(&args.watch, role("the ledger")).await?;
        let (ingest, _claims) = context.ingest(&args.ingest, connections, transform).await?;
        let watching = context.watch(None);
        let done = work::complete(&ingest, ingest.restore(selection(args)), &context.shutdown).await;
        context.summarize(watching).await;
        return done.map(|_| ());
    }
    let source = work::source_config(&args.source, connections, context.config())?;
    context.draw_path(&[source.to_string(), context.bus_and_topic()]);
    let is_scheduled = args.ingest.interval.is_some() || args.ingest.cron.is_some();
    let role = role(&source.to_string()).scheduled(&args.ingest, is_scheduled);
    let _serving = context.answer(&args.watch, role).await?;
    let (ingest, _claims) = context.ingest(&args.ingest, connections, transform).await?;
    let mut source = work::source(&source, &ingest).await?;
    let plan = work::plan(&args.ingest, &args.source, is_scheduled);
    let watching = context.watch(plan.count.filter(|_| !is_scheduled));
    let done = if is_scheduled {
        schedule::keep(&ingest, &mut source, plan, &work::schedule(&args.ingest), &context.shutdown).await
    } else {
        work::ingest_once(&ingest, &mut source, plan, &context.shutdown).await.map(|_| ())
    };
    context.summarize(watching).await;
    done
}

/// Which stored users are sent again.
fn selection(args: &ProduceArgs) -> Selection {
    match (args.run, args.id, args.since) {
        (Some(run_id), ..) => Selection::Run(run_id),
        (_, Some(id), _) => Selection::Id(id),
        (.., Some(since)) => Selection::Since(Timestamp::ago(since)),
        (None, None, None) => Selection::All,
    }
}
