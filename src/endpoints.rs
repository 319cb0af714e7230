//! What probes and scrapers ask over HTTP, without a token: `/metrics`, `/healthz` and `/readyz`.
//!
//! - `/metrics`: everything the process counts, in the text format of Prometheus
//! - `/healthz`: 200 while the process lives
//! - `/readyz`: 200, or 503 with a line that says what it waits for

mod connections;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::Listener;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::error::{Error, Kind, Result};
use crate::metrics::{CONTENT_TYPE, Metrics};
use crate::pipeline::health::Health;
use connections::Bounded;
pub use connections::{Connection, Limit};

/// How long answers that are under way may take after the shutdown.
const DRAIN_MAX: Duration = Duration::from_secs(1);

/// What is looked at when somebody asks.
#[derive(Clone, Debug)]
pub struct Endpoints {
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What is in the way.
    pub health: Arc<Health>,
    /// Cancelled when the process begins to stop, which makes it not ready.
    pub stopping: CancellationToken,
}

/// Binds `address`; port 0 takes a free one. The address that was bound comes with the listener.
///
/// # Errors
/// [`Kind::LocalIo`] for an address that cannot be listened on.
pub async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr)> {
    let failed = |e| {
        Error::new(Kind::LocalIo, "cannot listen").at(address.to_string()).because(e).hint("port 0 takes a free one")
    };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

/// Serves until `shutdown`, then ends the answers that are under way.
///
/// # Errors
/// [`Kind::Failed`] where the listener breaks.
pub async fn serve(
    listener: TcpListener,
    endpoints: Endpoints,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<()> {
    serve_router(Bounded::new(listener), router(endpoints), shutdown).await
}

/// What answers at the three paths.
pub fn router(endpoints: Endpoints) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .with_state(endpoints)
}

/// Serves any router until `shutdown`; answers that are under way have [`DRAIN_MAX`] from then on.
///
/// # Errors
/// [`Kind::Failed`] where the listener breaks.
pub async fn serve_router<L>(
    listener: L,
    router: Router,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<()>
where
    L: Listener<Addr: std::fmt::Debug>,
{
    let stop = CancellationToken::new();
    let graceful = {
        let stop = stop.clone();
        async move {
            shutdown.await;
            stop.cancel();
        }
    };
    let overdue = async {
        stop.cancelled().await;
        tokio::time::sleep(DRAIN_MAX).await;
    };
    tokio::select! {
        ended = axum::serve(listener, router).with_graceful_shutdown(graceful).into_future() =>
            ended.map_err(|e| Error::new(Kind::Failed, "the listener broke down").because(e)),
        () = overdue => Ok(()),
    }
}

async fn metrics(State(endpoints): State<Endpoints>) -> Response {
    match endpoints.metrics.encode() {
        Ok(text) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

async fn ready(State(endpoints): State<Endpoints>) -> Response {
    match endpoints.why_not_ready() {
        None => "ready\n".into_response(),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}

impl Endpoints {
    /// One line; an error's own words may have several.
    fn why_not_ready(&self) -> Option<String> {
        if self.stopping.is_cancelled() {
            return Some("stopping".to_owned());
        }
        if let Some(error) = self.health.obstacle() {
            return Some(error.to_string().replace(['\n', '\r'], " "));
        }
        (!self.health.has_started()).then(|| "starting".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Stage;
    use crate::pipeline::health::Severity;

    fn endpoints() -> Endpoints {
        Endpoints { metrics: Arc::default(), health: Arc::default(), stopping: CancellationToken::new() }
    }

    #[test]
    fn it_is_ready_between_its_start_and_its_end_while_nothing_is_in_the_way() {
        let endpoints = endpoints();
        let why = || endpoints.why_not_ready();
        assert_eq!(why().as_deref(), Some("starting"));
        endpoints.health.started();
        assert_eq!(why(), None);
        let error = Error::new(Kind::Unreachable, "no\nsink").hint("start it");
        endpoints.health.report(Stage::Sink, Severity::Retrying, &error);
        assert_eq!(why().as_deref(), Some("no sink"));
        endpoints.health.clear(Stage::Sink);
        assert_eq!(why(), None);
        endpoints.stopping.cancel();
        assert_eq!(why().as_deref(), Some("stopping"));
    }

    #[tokio::test]
    async fn it_serves_until_its_shutdown() -> Result<()> {
        let (listener, address) = listen(([127, 0, 0, 1], 0).into()).await?;
        let stop = CancellationToken::new();
        let serving = tokio::spawn(serve(listener, endpoints(), stop.clone().cancelled_owned()));
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        let ask = |path: &str| client.get(format!("http://{address}{path}")).send();
        let answer = ask("/metrics").await.expect("an answer");
        assert_eq!(answer.headers()[header::CONTENT_TYPE], CONTENT_TYPE);
        assert!(answer.text().await.expect("a text").ends_with("# EOF\n"));
        assert_eq!(ask("/healthz").await.expect("an answer").status(), StatusCode::OK);
        assert_eq!(ask("/readyz").await.expect("an answer").status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(ask("/").await.expect("an answer").status(), StatusCode::NOT_FOUND);
        stop.cancel();
        serving.await.expect("no panic")
    }
}
