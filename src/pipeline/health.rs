//! What is in the way right now, by stage: logged when it starts and ends, and the reason when a command gives up.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::error::{Error, Kind};

pub use crate::metrics::Stage;

/// Whether an obstacle goes away by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// It is retried.
    Retrying,
    /// A person is needed; it is retried all the same.
    Blocked,
}

#[derive(Debug)]
struct Obstacle {
    since: Instant,
    severity: Severity,
    kind: Kind,
    text: String,
    hint: Option<String>,
}

impl Obstacle {
    fn error(&self) -> Error {
        let error = Error::new(self.kind, self.text.clone());
        match &self.hint {
            Some(hint) => error.hint(hint.clone()),
            None => error,
        }
    }
}

/// The obstacles of one process.
#[derive(Debug, Default)]
pub struct Health {
    obstacles: Mutex<BTreeMap<Stage, Obstacle>>,
    started: AtomicBool,
}

impl Health {
    /// A stage cannot go on. Logged once while the words stay the same.
    pub fn report(&self, stage: Stage, severity: Severity, error: &Error) {
        let text = error.to_string();
        let mut obstacles = self.lock();
        if obstacles.get(&stage).is_some_and(|known| known.text == text) {
            return;
        }
        let hint = error.hint_text().map_or(String::new(), |hint| format!(" (hint: {hint})"));
        match severity {
            Severity::Retrying => tracing::warn!("{text}; trying again{hint}"),
            Severity::Blocked => tracing::error!("{text}; waiting for somebody to mend it{hint}"),
        }
        let since = obstacles.get(&stage).map_or_else(Instant::now, |known| known.since);
        let hint = error.hint_text().map(str::to_owned);
        obstacles.insert(stage, Obstacle { since, severity, kind: error.kind(), text, hint });
    }

    /// As [`Health::report`], for what is logged by whoever knows whether it is tried again.
    pub fn note(&self, stage: Stage, severity: Severity, error: &Error) {
        let hint = error.hint_text().map(str::to_owned);
        let mut obstacles = self.lock();
        let since = obstacles.get(&stage).map_or_else(Instant::now, |known| known.since);
        obstacles.insert(stage, Obstacle { since, severity, kind: error.kind(), text: error.to_string(), hint });
    }

    /// A stage goes on.
    pub fn clear(&self, stage: Stage) {
        let gone = self.lock().remove(&stage);
        if let Some(obstacle) = gone {
            let down = humantime::format_duration(std::time::Duration::from_secs(obstacle.since.elapsed().as_secs()));
            tracing::info!("{stage:?} goes on after {down}");
        }
    }

    /// The obstacle that is nearest to the end of the pipeline, as the error of a command that gives up.
    pub fn obstacle(&self) -> Option<Error> {
        self.lock().iter().next_back().map(|(_, obstacle)| obstacle.error())
    }

    /// What is in the way of one stage.
    pub fn obstacle_of(&self, stage: Stage) -> Option<(Severity, Error)> {
        self.lock().get(&stage).map(|obstacle| (obstacle.severity, obstacle.error()))
    }

    /// Everything that the command works with has been connected to.
    pub fn started(&self) {
        self.started.store(true, Ordering::Relaxed);
    }

    /// Whether [`Health::started`] was called.
    pub fn has_started(&self) -> bool {
        self.started.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Stage, Obstacle>> {
        self.obstacles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_stage_in_the_way_is_the_reason() {
        let health = Health::default();
        assert!(health.obstacle().is_none());
        health.report(Stage::Sink, Severity::Retrying, &Error::new(Kind::Unreachable, "no sink").hint("start it"));
        health.report(Stage::Bus, Severity::Retrying, &Error::new(Kind::Refused, "no bus"));
        let reason = health.obstacle().expect("two of them");
        assert_eq!((reason.kind(), reason.report()), (Kind::Unreachable, "error: no sink\nhint: start it".to_owned()));
        let of_sink = health.obstacle_of(Stage::Sink).map(|(severity, error)| (severity, error.to_string()));
        assert_eq!(of_sink, Some((Severity::Retrying, "no sink".to_owned())));
        assert!(health.obstacle_of(Stage::Source).is_none());
        health.clear(Stage::Sink);
        assert_eq!(health.obstacle().map(|e| e.kind()), Some(Kind::Refused));
    }
}
