//! `health`: whether the configured bus and sink can be reached and fit; a container's health check.

use super::Context;
use crate::error::Result;
use crate::inspect::check::{self, Verdict};

pub(super) async fn run(context: &Context) -> Result<()> {
    let findings = Box::pin(check::bus_and_sink(context.config())).await;
    match findings.into_iter().find(|finding| finding.verdict == Verdict::Fail) {
        Some(red) => Err(red.into_error()),
        None => Ok(()),
    }
}
