//! The Random User API's rules and its faults, over synthetic or recorded users.
//!
//! - `query`: what the API makes of its parameters
//! - `users`: the users of a page
//! - `limit`: the API's limit of users per address
//! - `fault`: ways to fail on request
//!
//! It is no stage of the pipeline; it takes its synthetic users from [`crate::source::synthetic`].

mod fault;
mod limit;
mod query;
mod users;

pub use fault::{Fault, FaultKind};
pub use users::{Recorded, Users};

use std::collections::HashMap;
use std::io::Write;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, Query as Parameters, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::IncomingStream;
use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::error::{Error, Kind, Result};
use crate::metrics::Count;
use limit::Limit;
use query::Query;

/// The users per address and window that the API allows.
pub const LIMIT_DEFAULT: u64 = 20_000;
/// The path of the pinned version.
pub const PATH: &str = "/api/1.4/";
/// How long answers that are under way may take after the shutdown.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// What the mock serves and how it misbehaves.
#[derive(Debug)]
pub struct MockApi {
    /// Where users come from.
    pub users: Users,
    /// Faults, met by requests in this order.
    pub faults: Vec<Fault>,
    /// Users per address and five minutes.
    pub limit: u64,
    /// Counts the requests, for whoever watches.
    pub requests: Arc<Count>,
}

struct Mock {
    users: Users,
    faults: fault::Plan,
    limit: Limit,
    requests: Arc<Count>,
    /// Ends the answers that never would.
    stop: CancellationToken,
}

/// Serves until `shutdown`, then ends the answers that are under way within a few seconds.
///
/// # Errors
/// [`Kind::Failed`] where the listener breaks.
pub async fn serve(
    listener: TcpListener,
    options: MockApi,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<()> {
    let stop = CancellationToken::new();
    let mock = Arc::new(Mock {
        users: options.users,
        faults: fault::Plan::new(options.faults),
        limit: Limit::new(options.limit),
        requests: options.requests,
        stop: stop.clone(),
    });
    let router = Router::new()
        .route(PATH, get(answer))
        .route("/api/1.4", get(answer))
        .route("/api/", get(answer))
        .route("/api", get(answer))
        .with_state(mock);
    let graceful = {
        let stop = stop.clone();
        async move {
            shutdown.await;
            stop.cancel();
        }
    };
    let serving = axum::serve(listener, router.into_make_service_with_connect_info::<Peer>())
        .with_graceful_shutdown(graceful)
        .into_future();
    let overdue = async {
        stop.cancelled().await;
        tokio::time::sleep(DRAIN_MAX).await;
    };
    tokio::select! {
        ended = serving => ended.map_err(|e| Error::new(Kind::Failed, "the mock API broke down").because(e)),
        () = overdue => Ok(()),
    }
}

/// Who asks, and a second handle of the connection to close it with.
#[derive(Clone)]
struct Peer {
    address: SocketAddr,
    connection: Option<Arc<std::net::TcpStream>>,
}

impl Connected<IncomingStream<'_, TcpListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, TcpListener>) -> Self {
        let handle = stream.io().as_fd().try_clone_to_owned().ok();
        Self {
            address: *stream.remote_addr(),
            connection: handle.map(|fd: OwnedFd| Arc::new(std::net::TcpStream::from(fd))),
        }
    }
}

async fn answer(
    State(mock): State<Arc<Mock>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Parameters(parameters): Parameters<HashMap<String, String>>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    mock.requests.add(1);
    let query = Query::new(&parameters);
    let fault = mock.faults.next();
    let body = match mock.page(&query, fault) {
        Ok(body) => body,
        Err(error) => return fault::error(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    };
    if let Some(fault) = fault {
        tracing::info!("{} asks {uri}: fault {fault}", peer.address);
        return mock.misbehave(fault, &peer, body).await;
    }
    let response = match mock.limit.admit(peer.address.ip(), query.results) {
        Ok(()) => good(body, &headers),
        Err(users) => fault::error(StatusCode::TOO_MANY_REQUESTS, &fault::limit_text(users)),
    };
    tracing::info!("{} asks {uri}: {}", peer.address, response.status());
    response
}

impl Mock {
    /// The answer's JSON, with the faults that live in it.
    fn page(&self, query: &Query, fault: Option<FaultKind>) -> Result<String> {
        let asked = query;
        let mut query = query.clone();
        if fault == Some(FaultKind::OneUser) {
            query = Query::new(&HashMap::new());
        }
        let mut users = self.users.page(&query)?;
        match fault {
            Some(FaultKind::Empty) => users.clear(),
            Some(FaultKind::BadUser) => {
                if let Some(user) = users.first_mut() {
                    *user = user.replacen("\"postcode\"", "\"zip\"", 1).into();
                }
            }
            _ => {}
        }
        let users = users.join(",");
        if asked.noinfo {
            return Ok(format!(r#"{{"results":[{users}]}}"#));
        }
        let seed = serde_json::Value::from(self.users.seed(&query));
        let (results, page) = (query.results, query.page);
        Ok(format!(
            r#"{{"results":[{users}],"info":{{"seed":{seed},"results":{results},"page":{page},"version":"1.4"}}}}"#
        ))
    }

    async fn misbehave(&self, fault: FaultKind, peer: &Peer, body: String) -> Response {
        match fault {
            FaultKind::TooManyRequests => {
                fault::error(StatusCode::TOO_MANY_REQUESTS, &fault::limit_text(LIMIT_DEFAULT))
            }
            FaultKind::RetryAfter => fault::retry_after(LIMIT_DEFAULT),
            FaultKind::Status(code) => fault::status(code),
            FaultKind::Error => fault::uh_oh(),
            FaultKind::Empty | FaultKind::OneUser | FaultKind::BadUser => fault::json(StatusCode::OK, body),
            FaultKind::Html => fault::portal(),
            FaultKind::Forbidden => fault::forbidden(),
            FaultKind::Hang => {
                self.stop.cancelled().await;
                fault::status(503)
            }
            FaultKind::SlowBody => fault::slow_body(self.stop.clone().cancelled_owned()),
            FaultKind::Truncated => fault::truncated(&body),
            FaultKind::BadJson => fault::json(StatusCode::OK, r#"{"results":[{"gender":}],"info":"#),
            FaultKind::Huge => fault::huge(),
            FaultKind::Close => close(peer),
        }
    }
}

/// Closes the connection; the answer that is returned has nowhere to go.
fn close(peer: &Peer) -> Response {
    if let Some(Err(error)) = peer.connection.as_ref().map(|connection| connection.shutdown(Shutdown::Both)) {
        tracing::warn!("cannot close the connection of {}: {error}", peer.address);
    }
    StatusCode::SERVICE_UNAVAILABLE.into_response()
}

/// 200, compressed where the client accepts it, as the API does.
fn good(body: String, headers: &HeaderMap) -> Response {
    let accepted = headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !accepted.contains("gzip") {
        return fault::json(StatusCode::OK, body);
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    match encoder.write_all(body.as_bytes()).and_then(|()| encoder.finish()) {
        Ok(packed) => {
            let mut response = fault::json(StatusCode::OK, Body::from(packed));
            response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            response
        }
        // Compressing into memory cannot fail; if it ever did, the plain body is as good an answer.
        Err(_) => fault::json(StatusCode::OK, body),
    }
}

#[cfg(test)]
pub(crate) mod tests;
