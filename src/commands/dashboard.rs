//! `dashboard`: the page alone, against the configured stores, without a pipeline in the process.

use super::Context;
use super::serving::Role;
use crate::cli::DashboardArgs;
use crate::config;
use crate::error::Result;

pub(super) async fn run(args: &DashboardArgs, context: &Context) -> Result<()> {
    context.draw_path(&[context.bus_and_topic(), context.config().sink.to_string()]);
    let filter = config::filter(args.filter.where_.as_deref(), &context.config().with)?;
    let role = Role::outside("dashboard").filtering(filter);
    let serving = context.serve_dashboard(args.listen, &args.access, role).await?;
    context.health.started();
    context.shutdown.cancelled().await;
    serving.end().await;
    Ok(())
}
