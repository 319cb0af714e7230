//! What a command serves while it works: the dashboard at `--listen`, and probes and scrapers at `--health-listen`.

use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Context, work};
use crate::cli::{IngestArgs, ListenArgs, WatchArgs};
use crate::config::DashboardConfig;
use crate::dashboard::{self, Place, Process};
use crate::endpoints::{self, Endpoints};
use crate::error::Result;
use crate::pipeline::schedule::Timetable;
use crate::transform::Transform;

/// What a process does in its pipeline, for its dashboard.
#[derive(Debug)]
pub(super) struct Role {
    command: &'static str,
    source: Option<String>,
    delivers: bool,
    schedule: Option<(String, Timetable)>,
    filter: Option<Arc<Transform>>,
}

impl Role {
    /// One that only looks.
    pub(super) fn outside(command: &'static str) -> Self {
        Self { command, source: None, delivers: false, schedule: None, filter: None }
    }

    /// One that writes to the sink.
    pub(super) fn delivering(self) -> Self {
        Self { delivers: true, ..self }
    }

    /// One whose pipeline writes only what this filter lets through.
    pub(super) fn filtering(self, filter: Option<Arc<Transform>>) -> Self {
        Self { filter, ..self }
    }

    /// One that sends users from here to the bus.
    pub(super) fn ingesting(self, source: &impl ToString) -> Self {
        Self { source: Some(source.to_string()), ..self }
    }

    /// One that keeps a schedule, where it does.
    pub(super) fn scheduled(self, args: &IngestArgs, is_scheduled: bool) -> Self {
        let schedule = is_scheduled.then(|| (work::schedule_words(args), work::schedule(args).timetable));
        Self { schedule, ..self }
    }
}

/// A server that runs until it is dropped, or ended.
#[derive(Debug)]
pub(super) struct Serving {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Serving {
    fn start(stop: CancellationToken, serving: impl Future<Output = Result<()>> + Send + 'static) -> Self {
        let task = tokio::spawn(async move {
            // Records go on without it.
            if let Err(error) = serving.await {
                tracing::error!("{error}");
            }
        });
        Self { stop, task }
    }

    /// Ends it, and waits until its answers have ended: a second or so.
    pub(super) async fn end(mut self) {
        self.stop.cancel();
        // A panic in it was told already.
        let _ = (&mut self.task).await;
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Context {
    /// Serves on the addresses that are given, until the guards are dropped.
    pub(super) async fn answer(&self, args: &WatchArgs, role: Role) -> Result<Vec<Serving>> {
        let mut serving = Vec::new();
        if let Some(address) = args.listen {
            serving.push(self.serve_dashboard(address, &args.access, role).await?);
        }
        if let Some(address) = args.health_listen {
            serving.push(self.serve_probes(address).await?);
        }
        Ok(serving)
    }

    /// Serves the dashboard, and what probes and scrapers ask beside it.
    pub(super) async fn serve_dashboard(
        &self,
        address: SocketAddr,
        access: &ListenArgs,
        role: Role,
    ) -> Result<Serving> {
        let config = DashboardConfig::resolve(address, access, &self.data_dir)?;
        // What cannot be read is told now, and not by a task later.
        if let Some(identity) = &config.tls {
            identity.server_config()?;
        }
        let (listener, bound) = endpoints::listen(address).await?;
        let (token, place) = dashboard::token(&config, std::io::stderr().is_terminal())?;
        let scheme = if config.tls.is_some() { "https" } else { "http" };
        tracing::info!("the dashboard, /metrics, /healthz and /readyz are at {scheme}://{bound}");
        match place {
            // A terminal shows it to whoever sits before it; a log would keep it.
            Place::Terminal => self.terminal.say(&format!("token for changes on it: {}", token.expose())),
            Place::File(path) => tracing::info!("the token for changes on it is in {}", path.display()),
        }
        let process = Process {
            command: role.command,
            config: self.config().clone(),
            filter: role.filter,
            metrics: Arc::clone(&self.metrics),
            health: Arc::clone(&self.health),
            stopping: self.shutdown.clone(),
            source: role.source,
            delivers: role.delivers,
            schedule: role.schedule,
            settings: self.settings.clone(),
        };
        let stop = CancellationToken::new();
        let shutdown = stop.clone().cancelled_owned();
        let serving = async move { dashboard::serve(listener, &config, token, process, shutdown).await };
        Ok(Serving::start(stop, serving))
    }

    async fn serve_probes(&self, address: SocketAddr) -> Result<Serving> {
        let (listener, bound) = endpoints::listen(address).await?;
        tracing::info!("/metrics, /healthz and /readyz are at http://{bound}");
        let endpoints = Endpoints {
            metrics: Arc::clone(&self.metrics),
            health: Arc::clone(&self.health),
            stopping: self.shutdown.clone(),
        };
        let stop = CancellationToken::new();
        let serving = endpoints::serve(listener, endpoints, stop.clone().cancelled_owned());
        Ok(Serving::start(stop, serving))
    }
}
