//! `produce`: source (or `--input`) → ledger → bus.

use super::{Context, work};
use crate::cli::{Connections, ProduceArgs};
use crate::error::Result;
use crate::ledger::Ledger;
use crate::pipeline::ingest::read_input;

pub(super) async fn run(args: &ProduceArgs, connections: &Connections, context: &Context) -> Result<()> {
    if let Some(path) = &args.input {
        context.draw_path(&[format!("input {}", path.display()), context.bus_and_topic()]);
        let _probes = context.answer_probes(args.watch).await?;
        let (ingest, _claims) = context.ingest(connections).await?;
        let watching = context.watch(None);
        let work = async {
            ingest.send_pending().await?;
            read_input(&ingest, path, &context.shutdown).await?;
            ingest.send_orphans(&context.shutdown).await
        };
        let report = work.await;
        let released = ingest.ledger.release().await;
        context.summarize(watching).await;
        report?;
        return released;
    }
    let source = work::source_config(&args.source, connections, context.config())?;
    context.draw_path(&[source.to_string(), context.bus_and_topic()]);
    let _probes = context.answer_probes(args.watch).await?;
    let (ingest, _claims) = context.ingest(connections).await?;
    let mut source = work::source(&source, &ingest).await?;
    let plan = work::plan(&args.ingest, &args.source);
    let watching = context.watch(plan.count.filter(|_| args.ingest.interval.is_none()));
    let done = match args.ingest.interval {
        Some(interval) => work::ingest_on_schedule(&ingest, &mut source, plan, interval, &context.shutdown).await,
        None => work::ingest_once(&ingest, &mut source, plan, &context.shutdown).await.map(|_| ()),
    };
    context.summarize(watching).await;
    done
}
