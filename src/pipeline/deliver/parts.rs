//! What delivery is built from.

use std::sync::Arc;
use std::time::Duration;

use super::DeadLetters;
use crate::encoding::Codec;
use crate::metrics::Metrics;
use crate::pipeline::health::Health;
use crate::pipeline::suppression::Suppression;
use crate::sink::AnySink;
use crate::transform::Transform;

/// What delivery works with.
#[derive(Debug)]
pub struct Parts<S = AnySink, D = DeadLetters> {
    /// The sink.
    pub sink: Arc<S>,
    /// Sends to the dead-letter topic.
    pub dead_letters: D,
    /// The source topic's name, for dead letters.
    pub topic: String,
    /// How records are read.
    pub codec: Codec,
    /// Which of them are written, and what becomes of them before.
    pub transform: Option<Arc<Transform>>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What is in the way.
    pub health: Arc<Health>,
    /// Who is left out.
    pub suppression: Suppression,
    /// The most records polled and not yet durable; `None` is what the sink makes the most of.
    pub in_flight_records_max: Option<usize>,
    /// Limit for the drain.
    pub shutdown_timeout: Duration,
}
