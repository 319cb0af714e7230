//! Connecting: a preflight that gives the true error, then the driver's session under a deadline.
//!
//! The driver's `build()` tries for ever and says nothing, whatever is wrong (a dead port, a wrong password). One plain
//! connection through the driver's own connection manager does answer with the error, and tells which protocol
//! version and compression the server takes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use cdrs_tokio::authenticators::{
    NoneAuthenticatorProvider, SaslAuthenticatorProvider, StaticPasswordAuthenticatorProvider,
};
use cdrs_tokio::cluster::connection_pool::ConnectionPoolConfigBuilder;
use cdrs_tokio::cluster::session::{Session, SessionBuilder as _, TcpSessionBuilder};
use cdrs_tokio::cluster::{ConnectionManager as _, KeyspaceHolder, NodeTcpConfigBuilder, TcpConnectionManager};
use cdrs_tokio::compression::Compression;
use cdrs_tokio::error::Error as CqlError;
use cdrs_tokio::frame::Version;
use cdrs_tokio::frame::message_error::ErrorType;
use cdrs_tokio::frame_encoding::ProtocolFrameEncodingFactory;
use cdrs_tokio::load_balancing::node_distance_evaluator::{
    AllLocalNodeDistanceEvaluator, TopologyAwareNodeDistanceEvaluator,
};
use cdrs_tokio::retry::{ExponentialReconnectionPolicy, FallthroughRetryPolicy};
use cdrs_tokio::transport::TransportTcp;
use tokio::time::Instant;

use super::balancing::{ReplicasThenAll, Suspects};
use super::failure::{self, Class};
use crate::config::CassandraConfig;
use crate::error::{Error, Kind, Result};

/// The driver's session over plain TCP.
pub(super) type CqlSession = Session<TransportTcp, TcpConnectionManager, ReplicasThenAll>;

/// A session, and what it does not tell about itself.
pub(super) struct Connected {
    pub(super) session: CqlSession,
    /// The protocol version that was agreed on.
    pub(super) version: Version,
    /// The silent nodes; shared with the session's balancing.
    pub(super) suspects: Arc<Suspects>,
}

/// Limit for one connection to one address, so that a silent one does not use up the whole connect timeout.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(5);

/// Delays between reconnections of a lost node: from this …
const RECONNECTION_DELAY_MIN: Duration = Duration::from_millis(500);

/// … to this, with jitter, without end.
const RECONNECTION_DELAY_MAX: Duration = Duration::from_secs(5);

/// Doublings from the shortest to the longest delay.
const RECONNECTION_DOUBLINGS: usize = 4;

/// Requests queued for one connection's writer.
const WRITE_QUEUE_REQUESTS: usize = 2048;

/// What to try first, newest first; a server refuses what it does not speak. Cassandra 3.11 knows V4 only.
const DIALECTS: [Speech; 4] = [
    Speech { version: Version::V5, compression: Compression::Lz4 },
    Speech { version: Version::V5, compression: Compression::None },
    Speech { version: Version::V4, compression: Compression::Lz4 },
    Speech { version: Version::V4, compression: Compression::None },
];

/// How to talk to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Speech {
    version: Version,
    compression: Compression,
}

/// Connects to the cluster within the configured connect timeout. Contact points are tried once each, in order, until
/// one answers; a refused password is an answer.
///
/// # Errors
/// [`Kind::Unreachable`] where none answers, [`Kind::Refused`] for bad credentials, [`Kind::Config`] for a data
/// centre that is not there.
pub(super) async fn connect(config: &CassandraConfig) -> Result<Connected> {
    let deadline = Instant::now() + config.connect_timeout;
    let (address, speech) = preflight(config, deadline).await?;
    let suspects = Arc::new(Suspects::default());
    let building = build(config, address, speech, Arc::clone(&suspects));
    let session = match tokio::time::timeout_at(deadline, building).await {
        Ok(session) => session?,
        Err(_) => return Err(unreachable(&address.to_string()).because(late(config.connect_timeout))),
    };
    check_local_dc(config, &session)?;
    Ok(Connected { session, version: speech.version, suspects })
}

async fn build(
    config: &CassandraConfig,
    address: SocketAddr,
    speech: Speech,
    suspects: Arc<Suspects>,
) -> Result<CqlSession> {
    let node = NodeTcpConfigBuilder::new()
        // Only the one that answered: the driver has no deadline for those that would not, and learns the rest itself.
        .with_contact_point(address.into())
        .with_version(speech.version)
        .with_authenticator_provider(authenticator(config))
        .build()
        .await
        .map_err(|error| failure::explain(CANNOT_REACH, error))?;
    let pool = ConnectionPoolConfigBuilder::new().with_connect_timeout(Some(CONNECTION_TIMEOUT)).build();
    let reconnection =
        ExponentialReconnectionPolicy::new(RECONNECTION_DELAY_MIN, RECONNECTION_DELAY_MAX, RECONNECTION_DOUBLINGS);
    let builder = TcpSessionBuilder::new(ReplicasThenAll::new(config.local_dc.clone(), suspects), node)
        .with_compression(speech.compression)
        .with_connection_pool_config(pool)
        .with_reconnection_policy(Arc::new(reconnection))
        // The default policy turns every error into "No nodes available"; we retry by ourselves.
        .with_retry_policy(Box::new(FallthroughRetryPolicy))
        .with_transport_buffer_size(WRITE_QUEUE_REQUESTS);
    let builder = match &config.local_dc {
        Some(dc) => builder.with_node_distance_evaluator(Box::new(TopologyAwareNodeDistanceEvaluator::new(dc.clone()))),
        None => builder.with_node_distance_evaluator(Box::new(AllLocalNodeDistanceEvaluator)),
    };
    builder.build().await.map_err(|error| unreachable(&address.to_string()).because(error))
}

/// The first address that answers, and how it wants to be talked to.
async fn preflight(config: &CassandraConfig, deadline: Instant) -> Result<(SocketAddr, Speech)> {
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
        for address in addresses {
            match negotiate(config, address, deadline).await {
                Ok(speech) => return Ok((address, speech)),
                Err(error) if error.kind() == Kind::Unreachable => last = Some(error.at(contact_point)),
                Err(error) => return Err(error.at(contact_point)),
            }
        }
    }
    Err(last.unwrap_or_else(|| unreachable(&config.contact_points.join(",")).because(late(config.connect_timeout))))
}

/// Finds the newest way of talking that the server at `address` accepts, by one connection for each.
async fn negotiate(config: &CassandraConfig, address: SocketAddr, deadline: Instant) -> Result<Speech> {
    let deadline = deadline.min(Instant::now() + CONNECTION_TIMEOUT);
    let mut refusal = None;
    for speech in DIALECTS {
        let manager = connection_manager(config, speech);
        let connecting = manager.connection(None, None, address);
        match tokio::time::timeout_at(deadline, connecting).await {
            Ok(Ok(_)) => return Ok(speech),
            Ok(Err(error)) if is_other_dialect(&error) => refusal = Some(error),
            Ok(Err(error)) => return Err(connection_error(error)),
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

fn connection_manager(config: &CassandraConfig, speech: Speech) -> TcpConnectionManager {
    let (keyspace, _) = tokio::sync::watch::channel(None);
    TcpConnectionManager::new(
        authenticator(config),
        Arc::new(KeyspaceHolder::new(keyspace)),
        Box::new(ProtocolFrameEncodingFactory),
        speech.compression,
        1,
        true,
        speech.version,
    )
}

fn authenticator(config: &CassandraConfig) -> Arc<dyn SaslAuthenticatorProvider + Send + Sync> {
    match &config.login {
        Some((user, password)) => Arc::new(StaticPasswordAuthenticatorProvider::new(user.as_str(), password.expose())),
        None => Arc::new(NoneAuthenticatorProvider),
    }
}

/// Sorts the error of one connection.
fn connection_error(error: CqlError) -> Error {
    match (failure::classify(&error), &error) {
        (Class::Refused, _) => Error::new(Kind::Refused, "Cassandra refuses the login")
            .because(failure::words(error))
            .hint("check --cassandra-user and USERPIPE_CASSANDRA_PASSWORD (or --cassandra-password-file)"),
        // The driver's words where the server asks for a password and we have none.
        (_, CqlError::General(text)) if text.contains("No authenticator was provided") => {
            Error::new(Kind::Refused, "Cassandra asks for a login")
                .hint("give --cassandra-user and USERPIPE_CASSANDRA_PASSWORD (or --cassandra-password-file)")
        }
        (_, CqlError::Io(io)) if io.to_string().contains("Unsupported type of authenticator") => {
            Error::new(Kind::Refused, "Cassandra asks for a login that is not by password").because(error)
        }
        _ => unreachable("").because(failure::words(error)),
    }
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
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::config::{Consistency, Replication, TableConfig};
    use crate::secret::Secret;

    const OPCODE_ERROR: u8 = 0x00;
    const OPCODE_READY: u8 = 0x02;
    const OPCODE_AUTHENTICATE: u8 = 0x03;
    const OPCODE_AUTH_RESPONSE: u8 = 0x0F;

    fn config(contact_points: &[String]) -> CassandraConfig {
        CassandraConfig {
            contact_points: contact_points.to_vec(),
            login: Some(("alice".to_owned(), Secret::new("hunter2"))),
            keyspace: "ks".to_owned(),
            table: TableConfig { table: "t".to_owned(), columns: vec!["id"] },
            local_dc: None,
            consistency: Consistency::LocalQuorum,
            replication: Replication::Simple(1),
            request_timeout: Duration::from_secs(2),
            connect_timeout: Duration::from_secs(2),
            statements_in_flight_max: 8,
            rewrite_at: None,
        }
    }

    /// The answer to one request: opcode and body.
    type Reply = (u8, Vec<u8>);

    fn error_body(code: u32, message: &str) -> Vec<u8> {
        let mut body = code.to_be_bytes().to_vec();
        body.extend(short_string(message));
        body
    }

    fn short_string(text: &str) -> Vec<u8> {
        let mut bytes = u16::try_from(text.len()).expect("short").to_be_bytes().to_vec();
        bytes.extend(text.as_bytes());
        bytes
    }

    /// A server on a free port that answers each request's (version, opcode, body) as `answer` says, in protocol 4.
    async fn server(answer: fn(u8, u8, &[u8]) -> Reply) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address").to_string();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, answer));
            }
        });
        address
    }

    async fn serve(mut stream: TcpStream, answer: fn(u8, u8, &[u8]) -> Reply) -> std::io::Result<()> {
        loop {
            let mut header = [0; 9];
            stream.read_exact(&mut header).await?;
            let length = u32::from_be_bytes([header[5], header[6], header[7], header[8]]);
            let mut body = vec![0; length as usize];
            stream.read_exact(&mut body).await?;
            let (opcode, body) = answer(header[0], header[4], &body);
            let length = u32::try_from(body.len()).expect("short").to_be_bytes();
            stream.write_all(&[0x84, 0, header[2], header[3], opcode]).await?;
            stream.write_all(&length).await?;
            stream.write_all(&body).await?;
        }
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(5)
    }

    #[tokio::test]
    async fn a_server_of_protocol_4_without_lz4_is_talked_to_as_it_can() {
        let address = server(|version, _, body| {
            if version == 5 {
                let text =
                    "Invalid or unsupported protocol version (5); supported versions are (3/v3, 4/v4, 5/v5-beta)";
                (OPCODE_ERROR, error_body(0x000A, text))
            } else if body.windows(3).any(|w| w == b"lz4") {
                (OPCODE_ERROR, error_body(0x000A, "This instance does not support LZ4 compression"))
            } else {
                (OPCODE_READY, Vec::new())
            }
        })
        .await;
        let (_, speech) = preflight(&config(&[address]), soon()).await.expect("it answers in the end");
        assert_eq!(speech, Speech { version: Version::V4, compression: Compression::None });
    }

    #[tokio::test]
    async fn a_wrong_password_is_refused_and_names_the_options() {
        let address = server(|version, opcode, _| match (version, opcode) {
            (5, _) => (OPCODE_ERROR, error_body(0x000A, "Invalid or unsupported protocol version (5)")),
            (_, OPCODE_AUTH_RESPONSE) => {
                let text = "Provided username alice and/or password are incorrect";
                (OPCODE_ERROR, error_body(0x0100, text))
            }
            _ => (OPCODE_AUTHENTICATE, short_string("org.apache.cassandra.auth.PasswordAuthenticator")),
        })
        .await;
        let refused = connect(&config(std::slice::from_ref(&address))).await.err().expect("a wrong password");
        assert_eq!(refused.kind(), Kind::Refused, "{refused}");
        assert_eq!(
            refused.to_string(),
            format!("Cassandra refuses the login at {address}: Provided username alice and/or password are incorrect")
        );
        let hint = refused.hint_text().unwrap_or_default();
        assert!(hint.contains("--cassandra-user") && hint.contains("USERPIPE_CASSANDRA_PASSWORD"), "{hint}");

        let mut anonymous = config(&[address]);
        anonymous.login = None;
        let refused = connect(&anonymous).await.err().expect("no login");
        assert_eq!(refused.kind(), Kind::Refused, "{refused}");
    }

    #[tokio::test]
    async fn the_first_contact_point_that_answers_is_taken() {
        let dead = dead_address();
        let alive = server(|_, _, _| (OPCODE_READY, Vec::new())).await;
        let contact_points = ["no-such-host.invalid:9042".to_owned(), dead, alive.clone()];
        let (address, _) = preflight(&config(&contact_points), soon()).await.expect("the third answers");
        assert_eq!(address.to_string(), alive);
    }

    #[tokio::test]
    async fn where_nothing_answers_it_is_unreachable_with_the_cause() {
        let dead = dead_address();
        let error = connect(&config(std::slice::from_ref(&dead))).await.err().expect("nothing listens");
        assert_eq!(error.kind(), Kind::Unreachable);
        assert!(error.to_string().starts_with(&format!("cannot reach Cassandra at {dead}: ")), "{error}");
        assert!(error.to_string().contains("refused"), "{error}");
        assert!(error.hint_text().is_some());

        let error = connect(&config(&["no-such-host.invalid:9042".to_owned()])).await.err().expect("no such name");
        assert_eq!(error.kind(), Kind::Unreachable);
        assert!(error.to_string().contains("cannot resolve"), "{error}");
    }

    #[tokio::test]
    async fn a_silent_server_costs_no_more_than_the_connect_timeout() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address").to_string();
        let began = Instant::now();
        let error = connect(&config(&[address])).await.err().expect("it never answers");
        assert_eq!(error.kind(), Kind::Unreachable);
        assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    }

    fn dead_address() -> String {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.local_addr().expect("its address").to_string()
    }
}
