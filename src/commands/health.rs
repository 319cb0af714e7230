//! `health`: whether the configured bus and sink can be reached and fit; a container's health check.

use super::Context;
use crate::bus::{embedded, kafka};
use crate::config::BusConfig;
use crate::error::{Error, Kind, Result};
use crate::sink::Sink;

pub(super) async fn run(context: &Context) -> Result<()> {
    let checked = match bus(context).await {
        Ok(()) => sink(context).await,
        failed => failed,
    };
    // Whatever is wrong, the answer to the question is no.
    checked.map_err(|error| error.with_kind(Kind::Unhealthy))
}

async fn bus(context: &Context) -> Result<()> {
    let topic = &context.config().topic;
    let marks = match &context.config().bus {
        BusConfig::Kafka(config) => kafka::describe_topic(config, topic).await?.unwrap_or_default(),
        BusConfig::Embedded(config) => embedded::watermarks(&context.stores.sqlite(&config.path).await?, topic).await?,
    };
    if marks.is_empty() {
        return Err(Error::new(Kind::Unhealthy, format!("there is no topic {topic}"))
            .at(context.config().bus.to_string())
            .hint("create it with 'userpipe init-schema', or check --topic"));
    }
    Ok(())
}

async fn sink(context: &Context) -> Result<()> {
    context.stores.sink().await?.close().await
}
