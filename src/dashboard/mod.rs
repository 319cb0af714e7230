//! The dashboard: one page, and the JSON under it (`docs/api.md`), about this process and its pipeline.
//!
//! - `access`: who is answered; `token`: where the token is
//! - `listener`: connections, over TLS where there is a certificate
//! - `page`: the files of the page
//! - `sample`: counts what this process does, a sample a second, into the ring of `history`
//! - `look`: looks at bus, ledger and sink from outside every few seconds, over connections of its own, so that neither
//!   waits for the other: what is asked for is answered from the last look
//! - `overview`, `runs`, `messages`, `letters`, `users`, `settings`, `verifying`: the answers; `events` the stream of them
//! - `mask`: personal fields

mod access;
mod answer;
mod events;
mod history;
mod letters;
mod listener;
mod look;
mod mask;
mod messages;
mod overview;
mod page;
mod runs;
mod sample;
mod settings;
mod token;
mod users;
mod verifying;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use axum::{Router, extract::State, http::HeaderMap};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore, broadcast, watch};
use tokio_util::sync::CancellationToken;

use crate::config::{Config, DashboardConfig, Setting};
use crate::endpoints::{self, Endpoints};
use crate::error::{Error, Kind, Result};
use crate::inspect::users::Rows;
use crate::inspect::verify::Rules;
use crate::ledger::AnyLedger;
use crate::metrics::Metrics;
use crate::pipeline::Stores;
use crate::pipeline::health::Health;
use crate::pipeline::schedule::Timetable;
use crate::record::Timestamp;
use crate::secret::Secret;
use crate::transform::Transform;
use access::Access;
use answer::{Answer, Problem};

pub use token::{Place, token};

/// Bytes of a request's body, at the most.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// Streams of events at once.
const STREAMS_MAX: usize = 32;
/// Scans and tails of topics at once.
const READS_MAX: usize = 4;
/// Changes of runs that wait for a slow reader of the events.
const RUN_EVENTS_MAX: usize = 256;
/// For so long after the last request, somebody is watching.
const WATCHED_MS: i64 = 15_000;

/// The process that the dashboard is of.
#[derive(Debug)]
pub struct Process {
    /// The command: `run`, `produce`, `consume`, `dashboard`.
    pub command: &'static str,
    /// The pipeline's connections.
    pub config: Config,
    /// What it writes of the topic (`--where`), or another process does; everything where there is none.
    pub filter: Option<Arc<Transform>>,
    /// What the process counts.
    pub metrics: Arc<Metrics>,
    /// What is in its way.
    pub health: Arc<Health>,
    /// Cancelled when it begins to stop.
    pub stopping: CancellationToken,
    /// Where its users come from, where it fetches any.
    pub source: Option<String>,
    /// Whether it writes to the sink.
    pub delivers: bool,
    /// The schedule that it keeps, and how that was written.
    pub schedule: Option<(String, Timetable)>,
    /// The effective settings, for part 8.
    pub settings: Vec<Setting>,
}

impl App {
    /// How records are read, and which of them are let through.
    async fn rules(&self) -> Result<Rules> {
        Ok(Rules { codec: self.stores.codec().await?, filter: self.process.filter.clone() })
    }
}

impl Process {
    /// Whether it is a part of the pipeline.
    fn works(&self) -> bool {
        self.delivers || self.ingests()
    }

    /// Whether it sends records to the bus.
    fn ingests(&self) -> bool {
        self.source.is_some()
    }
}

/// What all handlers share.
#[derive(Debug)]
struct App {
    process: Process,
    access: Access,
    /// Connections of the dashboard's own.
    stores: Stores,
    ledger: tokio::sync::Mutex<Option<AnyLedger>>,
    rows: Rows,
    sampled: Mutex<sample::Sampled>,
    seen: Mutex<look::Seen>,
    verifying: Mutex<verifying::Verifying>,
    /// Counts the samples; changes once a second.
    ticks: watch::Sender<u64>,
    /// Runs that have changed.
    run_events: broadcast::Sender<Arc<Value>>,
    streams: Arc<Semaphore>,
    reads: Arc<Semaphore>,
    /// One replay at a time, so that two clicks send nothing twice.
    replaying: tokio::sync::Mutex<()>,
    /// When somebody asked last, in milliseconds since the epoch.
    asked_at: AtomicI64,
    /// Somebody has begun to watch.
    wake: Notify,
    started_at: Timestamp,
    stop: CancellationToken,
}

type Shared = Arc<App>;

/// Serves at `listener` until `shutdown`. Streams end at once then, and nothing of the pipeline waits for a page.
///
/// # Errors
/// [`Kind::Config`] for a certificate that cannot be used, [`Kind::Failed`] where the listener breaks.
pub async fn serve(
    listener: TcpListener,
    config: &DashboardConfig,
    token: Secret,
    process: Process,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<()> {
    let failed = |e| Error::new(Kind::Failed, "cannot serve the dashboard").because(e);
    let tls = config.tls.as_ref().map(crate::tls::Identity::server_config).transpose()?.map(Arc::new);
    let bound = listener.local_addr().map_err(failed)?;
    let app = App::new(process, config, bound, token);
    let stop = app.stop.clone();
    let listening = listener::Listening::start(listener, tls, stop.clone()).map_err(failed)?;
    tokio::spawn(sample::keep(Arc::clone(&app)));
    let looking = tokio::spawn(look::keep(Arc::clone(&app)));
    let stopping = stop.clone();
    let shutdown = async move {
        shutdown.await;
        stopping.cancel();
    };
    let served = endpoints::serve_router(listening, router(&app), shutdown).await;
    stop.cancel();
    looking.abort();
    // A connection that is still busy ends with the process.
    let closing = async { drop(app.rows.close().await) };
    if tokio::time::timeout(Duration::from_secs(1), closing).await.is_err() {
        tracing::debug!("the dashboard's connection to the sink did not close");
    }
    app.stores.close().await;
    served
}

fn router(app: &Shared) -> Router {
    let probes = Endpoints {
        metrics: Arc::clone(&app.process.metrics),
        health: Arc::clone(&app.process.health),
        stopping: app.process.stopping.clone(),
    };
    Router::new()
        .route("/", get(page::index))
        .route("/assets/{name}", get(page::asset))
        .route("/api/overview", get(overview::overview))
        .route("/api/flow", get(overview::flow))
        .route("/api/partitions", get(overview::partitions))
        .route("/api/history", get(sample::history))
        .route("/api/events", get(events::events))
        .route("/api/runs", get(runs::list))
        .route("/api/runs/{id}", get(runs::show))
        .route("/api/runs/trigger", post(runs::trigger))
        .route("/api/schedule/pause", post(runs::pause))
        .route("/api/schedule/resume", post(runs::resume))
        .route("/api/messages/scan", get(messages::scan))
        .route("/api/messages/tail", get(messages::tail))
        .route("/api/trace/{id}", get(users::trace))
        .route("/api/dead-letters", get(letters::list))
        .route("/api/dead-letters/replay", post(letters::replay))
        .route("/api/users", get(users::newest))
        .route("/api/users/{id}", get(users::one))
        .route("/api/config", get(settings::settings))
        .route("/api/verify", post(verifying::verify))
        .route("/api/session", get(session))
        .fallback(async || Problem::absent("there is nothing at this path"))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(Arc::clone(app))
        .merge(endpoints::router(probes))
        .layer(from_fn_with_state(Arc::clone(app), access::guard))
}

/// `GET /api/session`: whether the token that was sent is right.
async fn session(State(app): State<Shared>, headers: HeaderMap) -> Answer {
    Ok(axum::Json(json!({ "may_change": app.access.has_token(&headers) })))
}

impl App {
    fn new(process: Process, config: &DashboardConfig, bound: SocketAddr, token: Secret) -> Shared {
        Arc::new(Self {
            access: Access::new(config, bound, token),
            stores: Stores::new(process.config.clone()),
            process,
            ledger: tokio::sync::Mutex::default(),
            rows: Rows::default(),
            sampled: Mutex::default(),
            seen: Mutex::default(),
            verifying: Mutex::default(),
            ticks: watch::Sender::new(0),
            run_events: broadcast::Sender::new(RUN_EVENTS_MAX),
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
            reads: Arc::new(Semaphore::new(READS_MAX)),
            replaying: tokio::sync::Mutex::default(),
            asked_at: AtomicI64::new(0),
            wake: Notify::new(),
            started_at: Timestamp::now(),
            stop: CancellationToken::new(),
        })
    }

    /// The ledger where there is one already, over one connection.
    async fn ledger_if_there(&self) -> Result<AnyLedger> {
        let mut known = self.ledger.lock().await;
        if let Some(ledger) = &*known {
            return Ok(ledger.clone());
        }
        let ledger = Box::pin(self.stores.ledger_if_there()).await?;
        // One that is not there may come.
        if !matches!(ledger, AnyLedger::Off) {
            *known = Some(ledger.clone());
        }
        Ok(ledger)
    }

    /// The ledger, made where it is missing.
    ///
    /// # Errors
    /// [`Kind::Config`] with `--ledger off`, and those of the ledger.
    async fn ledger(&self) -> Result<AnyLedger> {
        self.process.config.ledger.required("runs are kept in the ledger")?;
        match self.ledger_if_there().await? {
            AnyLedger::Off => Box::pin(self.stores.ledger()).await,
            ledger => Ok(ledger),
        }
    }

    /// Somebody asks: what is looked at is to be fresh for a while.
    fn asked(&self) {
        let now = Timestamp::now().unix_ms();
        if now - self.asked_at.swap(now, Ordering::Relaxed) > WATCHED_MS {
            self.wake.notify_one();
        }
    }

    fn is_watched(&self) -> bool {
        Timestamp::now().unix_ms() - self.asked_at.load(Ordering::Relaxed) <= WATCHED_MS
    }

    /// Whether personal fields may be shown as they are.
    ///
    /// # Errors
    /// Without the token.
    fn reveals(&self, is_asked: Option<bool>, headers: &HeaderMap) -> Result<bool, Problem> {
        match is_asked {
            Some(true) if self.access.has_token(headers) => Ok(true),
            Some(true) => Err(Problem::no_token()),
            _ => Ok(false),
        }
    }
}

/// Nothing panics while it holds one of these, and each holds a whole state.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
