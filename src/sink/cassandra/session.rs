//! Connecting: a preflight that gives the true error, then the driver's session under a deadline.
//!
//! The driver's `build()` tries for ever and says nothing, whatever is wrong (a dead port, a wrong password). One plain
//! connection through the driver's own connection manager does answer with the error, and tells which protocol
//! version and compression the server takes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use cdrs_tokio::cluster::connect_generic;
use cdrs_tokio::cluster::session::{
    NodeDistanceEvaluatorWrapper, ReconnectionPolicyWrapper, RetryPolicyWrapper, Session,
};
use cdrs_tokio::compression::Compression;
use cdrs_tokio::error::Error as CqlError;
use cdrs_tokio::frame::Version;
use cdrs_tokio::frame::message_error::ErrorType;
use cdrs_tokio::load_balancing::node_distance_evaluator::{
    AllLocalNodeDistanceEvaluator, NodeDistanceEvaluator, TopologyAwareNodeDistanceEvaluator,
};
use cdrs_tokio::retry::{ExponentialReconnectionPolicy, FallthroughRetryPolicy};
use cdrs_tokio::transport::TransportTcp;
use futures::future::join_all;
use tokio::time::Instant;

use super::balancing::{ReplicasThenAll, Suspects};
use super::failure::{self, Class};
use super::wire::{self, CONNECTION_TIMEOUT, Cluster, Connector, Speech, Wire};
use crate::config::CassandraConfig;
use crate::error::{Error, Kind, Result};

/// The driver's session. What its transport calls TCP may be TLS (see `wire`).
pub(super) type CqlSession = Session<TransportTcp, Connector, ReplicasThenAll>;

/// A session, and what it does not tell about itself.
pub(super) struct Connected {
    pub(super) session: CqlSession,
    /// The protocol version that was agreed on.
    pub(super) version: Version,
    /// The silent nodes; shared with the session's balancing.
    pub(super) suspects: Arc<Suspects>,
}

/// Delays between reconnections of a lost node: from this …
const RECONNECTION_DELAY_MIN: Duration = Duration::from_millis(500);

/// … to this, with jitter, without end.
const RECONNECTION_DELAY_MAX: Duration = Duration::from_secs(5);

/// Doublings from the shortest to the longest delay.
const RECONNECTION_DOUBLINGS: usize = 4;

/// Protocol versions, newest first; a server refuses what it does not speak. Cassandra 3.11 knows V4 only.
const VERSIONS: [Version; 2] = [Version::V5, Version::V4];

/// What to try with a server, in order. LZ4 halves what a network carries and is a fifth of the CPU time of a write;
/// within one machine there is nothing to gain by it.
fn dialects(address: SocketAddr) -> impl Iterator<Item = Speech> {
    let is_here = address.ip().to_canonical().is_loopback();
    let compressions =
        if is_here { [Compression::None, Compression::Lz4] } else { [Compression::Lz4, Compression::None] };
    VERSIONS.into_iter().flat_map(move |version| compressions.map(|compression| Speech { version, compression }))
}

/// Connects to the cluster within the configured connect timeout. Contact points are tried once each, in order, until
/// one answers; a refused password is an answer.
///
/// # Errors
/// [`Kind::Unreachable`] where none answers, [`Kind::Refused`] for bad credentials, [`Kind::Config`] for a data
/// centre that is not there and for a certificate that is not what was asked for.
pub(super) async fn connect(config: &CassandraConfig) -> Result<Connected> {
    let deadline = Instant::now() + config.connect_timeout;
    let Answering { address, speech, mut wire } = preflight(config, deadline).await?;
    if config.tls.is_some() {
        name_nodes(&mut wire, config, deadline).await;
    }
    let suspects = Arc::new(Suspects::default());
    let building = build(config, address, Cluster { wire, speech }, Arc::clone(&suspects));
    let session = match tokio::time::timeout_at(deadline, building).await {
        Ok(session) => session?,
        Err(_) => return Err(unreachable(&address.to_string()).because(late(config.connect_timeout))),
    };
    check_local_dc(config, &session)?;
    Ok(Connected { session, version: speech.version, suspects })
}

/// The driver knows nodes by their addresses; their certificates may be for their names, which the contact points have.
async fn name_nodes(wire: &mut Wire, config: &CassandraConfig, deadline: Instant) {
    let limit = deadline.min(Instant::now() + CONNECTION_TIMEOUT);
    let looking = config.contact_points.iter().map(|contact_point| async move {
        let found = tokio::time::timeout_at(limit, tokio::net::lookup_host(contact_point)).await;
        (contact_point, found.ok().and_then(Result::ok).into_iter().flatten().collect::<Vec<_>>())
    });
    for (contact_point, addresses) in join_all(looking).await {
        for address in addresses {
            wire.name(address, contact_point);
        }
    }
}

async fn build(
    config: &CassandraConfig,
    address: SocketAddr,
    cluster: Cluster,
    suspects: Arc<Suspects>,
) -> Result<CqlSession> {
    let reconnection =
        ExponentialReconnectionPolicy::new(RECONNECTION_DELAY_MIN, RECONNECTION_DELAY_MAX, RECONNECTION_DOUBLINGS);
    let distance: Box<dyn NodeDistanceEvaluator + Send + Sync> = match &config.local_dc {
        Some(dc) => Box::new(TopologyAwareNodeDistanceEvaluator::new(dc.clone())),
        None => Box::new(AllLocalNodeDistanceEvaluator),
    };
    connect_generic(
        &cluster,
        // Only the one that answered: the driver has no deadline for those that would not, and learns the rest itself.
        [address],
        ReplicasThenAll::new(config.local_dc.clone(), suspects),
        // The default policy turns every error into "No nodes available"; we retry by ourselves.
        RetryPolicyWrapper(Box::new(FallthroughRetryPolicy)),
        ReconnectionPolicyWrapper(Arc::new(reconnection)),
        NodeDistanceEvaluatorWrapper(distance),
        None,
    )
    .await
    .map_err(|error| unreachable(&address.to_string()).because(error))
}

/// A server that answers, how it wants to be talked to, and how it is reached.
struct Answering {
    address: SocketAddr,
    speech: Speech,
    wire: Wire,
}

/// The first address that answers.
async fn preflight(config: &CassandraConfig, deadline: Instant) -> Result<Answering> {
    let mut last = None;
    for contact_point in &config.contact_points {
        let looked_up = tokio::time::timeout_at(deadline, tokio::net::lookup_host(contact_point)).await;
        let addresses: Vec<_> = match looked_up {
            Ok(Ok(addresses)) => addresses.collect(),
            Ok(Err(error)) => {
                last = Some(unreachable(contact_point).because(format!("cannot resolve the name: {error}")));
                continue;
            }
            Err(_) => break,
        };
        let mut wire = Wire::new(config)?;
        for address in addresses {
            wire.name(address, contact_point);
            match negotiate(config, &wire, address, deadline).await {
                Ok(speech) => return Ok(Answering { address, speech, wire }),
                Err(error) if error.kind() == Kind::Unreachable => last = Some(error.at(contact_point)),
                Err(error) => return Err(error.at(contact_point)),
            }
        }
    }
    Err(last.unwrap_or_else(|| unreachable(&config.contact_points.join(",")).because(late(config.connect_timeout))))
}

/// Finds the newest way of talking that the server at `address` accepts, by one connection for each.
async fn negotiate(config: &CassandraConfig, wire: &Wire, address: SocketAddr, deadline: Instant) -> Result<Speech> {
    let deadline = deadline.min(Instant::now() + CONNECTION_TIMEOUT);
    let mut refusal = None;
    for speech in dialects(address) {
        match tokio::time::timeout_at(deadline, wire.connect(speech, address)).await {
            Ok(Ok(_)) => return Ok(speech),
            Ok(Err(error)) if is_other_dialect(&error) => refusal = Some(error),
            Ok(Err(error)) => return Err(connection_error(config, wire, address, error).await),
            Err(_) => return Err(unreachable("").because("no answer in time")),
        }
    }
    let why = refusal.map_or_else(String::new, |error| error.to_string());
    Err(Error::new(Kind::Config, "cannot agree on a protocol version with Cassandra")
        .because(why)
        .hint("Cassandra 3.11 or newer is needed (native protocol 4 or 5)"))
}

/// Whether the server would talk, but not in this version or with this compression.
fn is_other_dialect(error: &CqlError) -> bool {
    match error {
        CqlError::InvalidProtocol(_) => true,
        CqlError::Server { body, .. } => body.ty == ErrorType::Protocol,
        _ => false,
    }
}

/// Sorts the error of one connection.
async fn connection_error(config: &CassandraConfig, wire: &Wire, address: SocketAddr, error: CqlError) -> Error {
    let has_identity = config.tls.as_ref().is_some_and(|files| files.identity.is_some());
    match (failure::classify(&error), &error) {
        (Class::Refused, _) => Error::new(Kind::Refused, "Cassandra refuses the login")
            .because(failure::words(error))
            .hint("check --cassandra-user and USERPIPE_CASSANDRA_PASSWORD (or --cassandra-password-file)"),
        // The driver's words where the server asks for a password and we have none.
        (_, CqlError::General(text)) if text.contains("No authenticator was provided") => {
            Error::new(Kind::Refused, "Cassandra asks for a login")
                .hint("give --cassandra-user and USERPIPE_CASSANDRA_PASSWORD (or --cassandra-password-file)")
        }
        (_, CqlError::General(text)) if text.contains(wire::NOT_IN_CLEAR_TEXT) => {
            Error::new(Kind::Config, CANNOT_REACH)
                .because(text.clone())
                .hint("encrypt the connection with --cassandra-tls")
        }
        (_, CqlError::Io(io)) if io.to_string().contains("Unsupported type of authenticator") => {
            Error::new(Kind::Refused, "Cassandra asks for a login that is not by password").because(error)
        }
        // It has accepted the connection and does not understand us, or we it.
        (_, error) if config.tls.is_none() && !wire::is_refused(error) && wire::speaks_tls(address).await => {
            wants_tls()
        }
        _ => match wire.tls_fault(&error, address).await {
            Some(fault) => fault.error(CANNOT_REACH, wire::SETTINGS, has_identity),
            None => unreachable("").because(failure::words(error)),
        },
    }
}

fn wants_tls() -> Error {
    Error::new(Kind::Config, CANNOT_REACH)
        .because("it wants TLS")
        .hint("add --cassandra-tls, and --cassandra-ca where its authority is none of the system's")
}

/// One connection and its login, to the first contact point that answers.
///
/// # Errors
/// As [`connect`].
pub(super) async fn log_in(config: &CassandraConfig) -> Result<()> {
    preflight(config, Instant::now() + config.connect_timeout).await.map(drop)
}

/// A data centre that no node is in would leave every statement without a coordinator.
pub(super) fn check_local_dc(config: &CassandraConfig, session: &CqlSession) -> Result<()> {
    let Some(wanted) = &config.local_dc else { return Ok(()) };
    let metadata = session.cluster_metadata();
    if metadata.datacenter(wanted).is_some() {
        return Ok(());
    }
    let mut known: Vec<_> = metadata.datacenters().keys().map(String::as_str).collect();
    known.sort_unstable();
    Err(Error::new(Kind::Config, format!("no Cassandra node is in the data centre {wanted}"))
        .hint(format!("--local-dc is one of: {}", known.join(", "))))
}

const CANNOT_REACH: &str = "cannot reach Cassandra";

fn unreachable(place: &str) -> Error {
    let error = Error::new(Kind::Unreachable, CANNOT_REACH)
        .hint("check --cassandra and that it is up (make up), or leave --cassandra out to use the embedded sink");
    if place.is_empty() { error } else { error.at(place) }
}

fn late(limit: Duration) -> String {
    format!("no answer within {}", humantime::format_duration(limit))
}

#[cfg(test)]
mod tests;
