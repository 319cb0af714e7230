//! The header, the flow and the partitions: all of them from the last sample and the last look, so that they never wait.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::answer::Answer;
use super::look::{Seen, Trouble};
use super::sample::Sampled;
use super::{App, Shared, locked, verifying};
use crate::config::{LedgerConfig, SinkConfig};
use crate::error::Error;
use crate::inspect::status::PartitionStatus;
use crate::metrics::Stage;
use crate::pipeline::health::Severity;
use crate::record::Timestamp;

/// `GET /api/overview`
pub(super) async fn overview(State(app): State<Shared>) -> Answer {
    app.asked();
    Ok(Json(app.overview()))
}

/// `GET /api/flow`
pub(super) async fn flow(State(app): State<Shared>) -> Answer {
    app.asked();
    Ok(Json(app.flow()))
}

/// `GET /api/partitions`
pub(super) async fn partitions(State(app): State<Shared>) -> Answer {
    app.asked();
    match app.partitions() {
        Some(Ok(partitions)) => Ok(Json(partitions)),
        Some(Err(trouble)) => Err(trouble.into()),
        None => {
            Ok(Json(json!({ "group": app.process.config.group, "state": "unknown", "members": [], "partitions": [] })))
        }
    }
}

/// How a dependency is.
struct Light {
    name: &'static str,
    state: &'static str,
    detail: Option<String>,
}

impl Light {
    fn new(name: &'static str, state: &'static str, detail: Option<String>) -> Self {
        Self { name, state, detail }
    }

    /// As a stage of this process has it.
    fn of_stage(name: &'static str, app: &App, stage: Stage) -> Option<Self> {
        let (severity, error) = app.process.health.obstacle_of(stage)?;
        let word = match severity {
            Severity::Retrying => "retrying",
            Severity::Blocked => "blocked",
        };
        Some(Self::new(name, word, Some(with_hint(&error))))
    }

    /// As it is seen from outside.
    fn of_look<T>(name: &'static str, look: Option<&Result<T, Trouble>>, detail: Option<String>) -> Self {
        match look {
            None => Self::new(name, "unknown", Some("not looked at yet".to_owned())),
            Some(Ok(_)) => Self::new(name, "ok", detail),
            Some(Err(trouble)) => {
                Self::new(name, if trouble.may_pass { "retrying" } else { "blocked" }, Some(trouble.text.clone()))
            }
        }
    }

    fn document(self) -> Value {
        json!({ "name": self.name, "state": self.state, "detail": self.detail })
    }
}

fn with_hint(error: &Error) -> String {
    error.hint_text().map_or_else(|| error.to_string(), |hint| format!("{error} (hint: {hint})"))
}

impl App {
    /// The header.
    pub(super) fn overview(&self) -> Value {
        let config = &self.process.config;
        let lights: Vec<Value> = self.lights().into_iter().map(Light::document).collect();
        let latency = locked(&self.sampled).latency();
        let latency = latency.map(|it| json!({ "p50_ms": it.p50_ms, "p99_ms": it.p99_ms, "samples": it.samples }));
        let seen = locked(&self.seen);
        let (lag, verification) =
            (seen.lag(), seen.ledger.as_ref().and_then(|it| it.as_ref().ok()?.verification.clone()));
        let is_paused = seen.ledger.as_ref().and_then(|it| Some(it.as_ref().ok()?.paused_since.is_some()));
        drop(seen);
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "now": Timestamp::now().to_string(),
            "started_at": self.started_at.to_string(),
            "command": self.process.command,
            "pipeline": {
                "source": self.process.source,
                "ledger": config.ledger.to_string(),
                "bus": config.bus.to_string(),
                "topic": config.topic,
                "group": config.group,
                "sink": config.sink.to_string(),
            },
            "lights": lights,
            "latency": latency,
            "lag": lag,
            "verify": verifying::document(self, verification.as_ref()),
            "is_paused": is_paused,
            "may_schedule": !matches!(config.ledger, LedgerConfig::Off),
            "needs_token_to_read": self.access.needs_token_to_read,
        })
    }

    fn lights(&self) -> Vec<Light> {
        let (process, seen) = (&self.process, locked(&self.seen));
        let starting = || Some("starting".to_owned());
        let ours = |name, stage, is_ours: bool| {
            is_ours.then(|| {
                Light::of_stage(name, self, stage).unwrap_or_else(|| {
                    let has_started = process.health.has_started();
                    Light::new(
                        name,
                        if has_started { "ok" } else { "unknown" },
                        (!has_started).then(starting).flatten(),
                    )
                })
            })
        };
        let source = ours("source", Stage::Source, process.ingests())
            .unwrap_or_else(|| Light::new("source", "unknown", Some("another process fetches".to_owned())));
        let ledger = match &process.config.ledger {
            LedgerConfig::Off => Light::new("ledger", "off", None),
            _ => Light::of_stage("ledger", self, Stage::Ledger)
                .unwrap_or_else(|| Light::of_look("ledger", seen.ledger.as_ref(), ledger_detail(&seen))),
        };
        let bus = match Light::of_stage("bus", self, Stage::Bus) {
            Some(light) => light,
            // A topic that is about to be made is nothing to be alarmed about.
            None if process.works() && !process.health.has_started() => Light::new("bus", "unknown", starting()),
            None => Light::of_look("bus", seen.bus.as_ref(), Some(process.config.bus.to_string())),
        };
        let sink = ours("sink", Stage::Sink, process.delivers).unwrap_or_else(|| match &process.config.sink {
            SinkConfig::Stdout => Light::new("sink", "off", Some("standard output keeps no rows".to_owned())),
            _ => Light::of_look("sink", seen.sink.as_ref(), None),
        });
        let registry = match &process.config.registry {
            None => Light::new("registry", "off", None),
            Some(config) => Light::of_stage("registry", self, Stage::Registry)
                .unwrap_or_else(|| Light::of_look("registry", seen.registry.as_ref(), Some(config.url.clone()))),
        };
        let letters = Light::of_stage("dead letters", self, Stage::DeadLetters).unwrap_or_else(|| {
            let detail = seen.group().map(|group| format!("{} records", group.dead_letters));
            Light::new("dead letters", if detail.is_some() { "ok" } else { "unknown" }, detail)
        });
        vec![source, ledger, bus, sink, registry, letters]
    }

    /// The hops: this process's counters where it does the work, what is seen from outside where not.
    pub(super) fn flow(&self) -> Value {
        let (process, metrics) = (&self.process, &self.process.metrics);
        let (sampled, seen) = (locked(&self.sampled), locked(&self.seen));
        let (outside, _) = seen.rates();
        let totals = seen.ledger.as_ref().and_then(|it| it.as_ref().ok()).map(|view| view.totals);
        let retries = |stage, is_ours: bool| is_ours.then(|| metrics.retries_of(stage).get());
        let (ingests, delivers) = (process.ingests(), process.delivers);
        let Sampled { fetched, produced, written, dead_lettered, .. } = &*sampled;
        let choose = |is_ours: bool, own: u64, own_rate: Option<f64>, total: Option<u64>, rate: Option<f64>| {
            if is_ours { (Some(own), own_rate) } else { (total, rate) }
        };
        let source =
            choose(ingests, metrics.fetched.get(), fetched.per_second(), totals.map(|it| it.fetched), outside.fetched);
        let stored = choose(ingests, metrics.produced.get(), produced.per_second(), totals.map(|it| it.produced), None);
        let sent = choose(ingests, metrics.produced.get(), produced.per_second(), high(&seen), outside.produced);
        // Where others deliver too, their part is not counted here: the group as a whole is seen from outside.
        let delivers_alone = delivers && seen.group().is_none_or(|group| group.members.len() <= 1);
        let rows =
            choose(delivers_alone, metrics.written.get(), written.per_second(), committed(&seen), outside.committed);
        let group_letters = seen.group().map(|group| group.dead_letters.max(0).unsigned_abs());
        let dead = choose(
            delivers_alone,
            metrics.dead_lettered.get(),
            dead_lettered.per_second(),
            group_letters,
            outside.dead_lettered,
        );
        let rejected = if ingests { Some(metrics.rejected.get()) } else { totals.map(|it| it.rejected) };
        let failed = if ingests { Some(metrics.failed_runs.get()) } else { totals.map(|it| it.failed) };
        let unsent = seen.ledger.as_ref().and_then(|it| it.as_ref().ok()).map(|view| view.unsent);
        let hop = |name: &str, what: &str, (total, rate): (Option<u64>, Option<f64>), errors, retries: Option<u64>| {
            json!({
                "name": name, "what": what, "total": total, "per_second": rate, "errors": errors, "retries": retries,
            })
        };
        let mut ledger = hop("ledger", "users stored and sent", stored, failed, retries(Stage::Ledger, ingests));
        ledger["waiting"] = json!(unsent);
        let delivered = if delivers_alone { "rows written" } else { "records committed by the group" };
        let mut topic = hop("topic", "records on the bus", sent, None, retries(Stage::Bus, ingests || delivers));
        topic["held"] = json!(high(&seen));
        json!({
            "at": Timestamp::now().to_string(),
            "hops": [
                hop("source", "users fetched", source, rejected, retries(Stage::Source, ingests)),
                ledger,
                topic,
                hop("sink", delivered, rows, None, retries(Stage::Sink, delivers)),
                hop("dead letters", "records given up", dead, None, retries(Stage::DeadLetters, delivers)),
            ],
        })
    }

    /// The group and its partitions; `None` before the first look.
    pub(super) fn partitions(&self) -> Option<Result<Value, Trouble>> {
        let seen = locked(&self.seen);
        let status = match seen.bus.as_ref()? {
            Ok(status) => status,
            Err(trouble) => return Some(Err(trouble.clone())),
        };
        let partition = |it: &PartitionStatus| {
            let rate = seen.of_partition.get(&it.partition).and_then(super::history::Rate::per_second);
            #[expect(clippy::cast_precision_loss, reason = "an estimate for show")]
            let eta_ms = match rate {
                _ if it.lag == 0 => Some(0.0),
                Some(rate) if rate > 0.0 => Some((it.lag as f64 / rate * 1_000.0).round()),
                _ => None,
            };
            json!({
                "partition": it.partition, "low": it.marks.low, "high": it.marks.high, "committed": it.committed,
                "lag": it.lag, "per_second": rate, "eta_ms": eta_ms, "owner": it.owner,
            })
        };
        let members = status.members.iter().map(|member| {
            json!({
                "member_id": member.name, "client_id": member.client_id, "host": member.host,
                "partitions": member.partitions,
            })
        });
        let owned = status.partitions.iter().filter(|partition| partition.owner.is_some()).count();
        let state = match (status.members.len(), owned) {
            (0, _) => "empty",
            (_, owned) if owned == status.partitions.len() => "stable",
            _ => "rebalancing",
        };
        Some(Ok(json!({
            "group": self.process.config.group,
            "state": state,
            "another_sink": status.another_sink,
            "members": members.collect::<Vec<_>>(),
            "partitions": status.partitions.iter().map(partition).collect::<Vec<_>>(),
        })))
    }
}

fn high(seen: &Seen) -> Option<u64> {
    let of = |partition: &PartitionStatus| partition.marks.high.max(0).unsigned_abs();
    seen.group().map(|group| group.partitions.iter().map(of).sum())
}

fn committed(seen: &Seen) -> Option<u64> {
    let of = |partition: &PartitionStatus| partition.committed.unwrap_or(0).max(0).unsigned_abs();
    seen.group().map(|group| group.partitions.iter().map(of).sum())
}

fn ledger_detail(seen: &Seen) -> Option<String> {
    let view = seen.ledger.as_ref()?.as_ref().ok()?;
    if view.has_ledger {
        Some(format!("{} users wait to be sent", view.unsent))
    } else {
        Some("not made yet".to_owned())
    }
}
