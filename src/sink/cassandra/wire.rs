//! Opens connections to nodes, plain or over TLS, and looks at what went wrong with one.
//!
//! The driver has a TLS transport of its own, which checks one name for all nodes. Its plain transport takes any stream,
//! so that here each node is checked by the name that it has among the contact points, or else by its address.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use cdrs_tokio::authenticators::{
    NoneAuthenticatorProvider, SaslAuthenticatorProvider, StaticPasswordAuthenticatorProvider,
};
use cdrs_tokio::cluster::connection_pool::{ConnectionPoolConfig, ConnectionPoolConfigBuilder};
use cdrs_tokio::cluster::{ConnectionManager, GenericClusterConfig, KeyspaceHolder, startup};
use cdrs_tokio::compression::Compression;
use cdrs_tokio::error::{Error as CqlError, Result as CqlResult};
use cdrs_tokio::frame::{Envelope, Version};
use cdrs_tokio::frame_encoding::{FrameEncodingFactory as _, ProtocolFrameEncodingFactory};
use cdrs_tokio::future::BoxFuture;
use cdrs_tokio::transport::TransportTcp;
use futures::FutureExt as _;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc::Sender;
use tokio_rustls::TlsConnector;

use crate::config::CassandraConfig;
use crate::error::Result;
use crate::tls::{Fault, SettingNames};

/// Limit for one connection to one address, so that a silent one does not use up the whole connect timeout.
pub(super) const CONNECTION_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a server may take to say what it thinks of our certificate.
const ALERT_WAIT: Duration = Duration::from_secs(2);

/// OPTIONS in protocol 4, which every server answers without a login.
const OPTIONS_REQUEST: [u8; 9] = [4, 0, 0, 0, 5, 0, 0, 0, 0];

/// Requests queued for one connection's writer.
const WRITE_QUEUE_REQUESTS: usize = 2048;

/// Events of the cluster that are kept until they are looked at; as many as the driver keeps by default.
const EVENTS_MAX: usize = 128;

/// Why a login is kept from a node, in the error of its connection.
pub(super) const NOT_IN_CLEAR_TEXT: &str =
    "the login is not sent to another machine in clear text without --allow-plaintext-credentials";

/// What the settings of the connection's TLS are called.
pub(super) const SETTINGS: SettingNames = SettingNames {
    address: "--cassandra",
    ca: "--cassandra-ca",
    identity: "--cassandra-cert and --cassandra-key",
    without_tls: "leave --cassandra-tls and its files out, or set client_encryption_options in its cassandra.yaml",
};

/// How to talk to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Speech {
    pub(super) version: Version,
    pub(super) compression: Compression,
}

/// How to open connections: the files are read once, the names are those of the contact points.
#[derive(Clone)]
pub(super) struct Wire {
    authenticator: Arc<dyn SaslAuthenticatorProvider + Send + Sync>,
    tls: Option<TlsConnector>,
    names: HashMap<IpAddr, ServerName<'static>>,
    /// Whether there is a login that may not go to another machine in clear text.
    keeps_login: bool,
}

impl Wire {
    /// Reads the files of the configuration.
    ///
    /// # Errors
    /// [`Kind::Config`](crate::error::Kind::Config), naming setting and file.
    pub(super) fn new(config: &CassandraConfig) -> Result<Self> {
        let authenticator: Arc<dyn SaslAuthenticatorProvider + Send + Sync> = match &config.login {
            Some((user, password)) => {
                Arc::new(StaticPasswordAuthenticatorProvider::new(user.as_str(), password.expose()))
            }
            None => Arc::new(NoneAuthenticatorProvider),
        };
        let tls = match &config.tls {
            Some(files) => Some(TlsConnector::from(Arc::new(files.client_config()?))),
            None => None,
        };
        let keeps_login = tls.is_none() && config.login.is_some() && !config.plaintext_login_is_allowed;
        Ok(Self { authenticator, tls, names: HashMap::new(), keeps_login })
    }

    /// From now on `address` is the node that the contact point `host:port` names. The first name of an address counts.
    pub(super) fn name(&mut self, address: SocketAddr, contact_point: &str) {
        let host = contact_point.rsplit_once(':').map_or(contact_point, |(host, _)| host);
        if let Ok(name) = ServerName::try_from(host.trim_start_matches('[').trim_end_matches(']').to_owned()) {
            self.names.entry(address.ip()).or_insert(name);
        }
    }

    /// One connection and its login.
    ///
    /// # Errors
    /// The driver's, with that of TLS inside.
    pub(super) async fn connect(&self, speech: Speech, address: SocketAddr) -> CqlResult<TransportTcp> {
        let (keyspace, _) = tokio::sync::watch::channel(None);
        let keyspace = Arc::new(KeyspaceHolder::new(keyspace));
        Connector { wire: self.clone(), speech, keyspace, queue: 1 }.connection(None, None, address).await
    }

    async fn tls_stream(
        &self,
        tls: &TlsConnector,
        stream: TcpStream,
        address: SocketAddr,
    ) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
        let name = self.names.get(&address.ip()).cloned().unwrap_or_else(|| address.ip().into());
        tls.connect(name, stream).await
    }

    /// What is wrong with TLS, where that is why a connection to `address` failed.
    ///
    /// With TLS 1.3 a server judges our certificate after the handshake, and the driver loses its answer as often as not
    /// (the write of the first request may fail before the answer is read). So it is asked for once more, without the driver.
    pub(super) async fn tls_fault(&self, error: &CqlError, address: SocketAddr) -> Option<Fault> {
        let tls = self.tls.as_ref()?;
        let inside = if let CqlError::Io(io) = error { Fault::of(io) } else { None };
        if inside.is_some() || is_refused(error) {
            return inside;
        }
        let asking = async {
            let stream = TcpStream::connect(address).await.ok()?;
            let mut stream = match self.tls_stream(tls, stream, address).await {
                Ok(stream) => stream,
                Err(error) => return Fault::of(&error),
            };
            // Where this fails, reading still gives what the server said.
            let _ = stream.write_all(&OPTIONS_REQUEST).await;
            stream.read_u8().await.err().as_ref().and_then(Fault::after_handshake)
        };
        tokio::time::timeout(ALERT_WAIT, asking).await.ok().flatten()
    }
}

/// A cluster whose connections are all opened in one way.
pub(super) struct Cluster {
    pub(super) wire: Wire,
    pub(super) speech: Speech,
}

impl GenericClusterConfig<TransportTcp, Connector> for Cluster {
    fn create_manager(&self, keyspace: Arc<KeyspaceHolder>) -> BoxFuture<'_, CqlResult<Connector>> {
        let connector =
            Connector { wire: self.wire.clone(), speech: self.speech, keyspace, queue: WRITE_QUEUE_REQUESTS };
        async move { Ok(connector) }.boxed()
    }

    fn event_channel_capacity(&self) -> usize {
        EVENTS_MAX
    }

    fn version(&self) -> Version {
        self.speech.version
    }

    fn connection_pool_config(&self) -> ConnectionPoolConfig {
        ConnectionPoolConfigBuilder::new().with_connect_timeout(Some(CONNECTION_TIMEOUT)).build()
    }
}

/// Opens the connections of one session.
pub(super) struct Connector {
    wire: Wire,
    speech: Speech,
    keyspace: Arc<KeyspaceHolder>,
    queue: usize,
}

impl ConnectionManager<TransportTcp> for Connector {
    fn connection(
        &self,
        events: Option<Sender<Envelope>>,
        errors: Option<Sender<CqlError>>,
        address: SocketAddr,
    ) -> BoxFuture<'_, CqlResult<TransportTcp>> {
        self.open(events, errors, address).boxed()
    }
}

impl Connector {
    async fn open(
        &self,
        events: Option<Sender<Envelope>>,
        errors: Option<Sender<CqlError>>,
        address: SocketAddr,
    ) -> CqlResult<TransportTcp> {
        // A node that the cluster has told of may be on another machine than the contact points.
        if self.wire.keeps_login && !address.ip().to_canonical().is_loopback() {
            return Err(CqlError::General(NOT_IN_CLEAR_TEXT.to_owned()));
        }
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let handlers = (events, errors);
        let transport = match &self.wire.tls {
            None => self.transport(stream, address, handlers)?,
            Some(tls) => self.transport(self.wire.tls_stream(tls, stream, address).await?, address, handlers)?,
        };
        let Speech { version, compression } = self.speech;
        startup(&transport, &*self.wire.authenticator, &self.keyspace, compression, version).await?;
        Ok(transport)
    }

    /// The driver's transport over a stream that is open.
    fn transport<S: AsyncRead + AsyncWrite + Send + Sync + 'static>(
        &self,
        stream: S,
        address: SocketAddr,
        (events, errors): (Option<Sender<Envelope>>, Option<Sender<CqlError>>),
    ) -> io::Result<TransportTcp> {
        let Speech { version, compression } = self.speech;
        let encoder = ProtocolFrameEncodingFactory.create_encoder(version, compression);
        let decoder = ProtocolFrameEncodingFactory.create_decoder(version, compression);
        let keyspace = Arc::clone(&self.keyspace);
        TransportTcp::with_stream(stream, address, keyspace, events, errors, compression, encoder, decoder, self.queue)
    }
}

/// Whether nobody listens there.
pub(super) fn is_refused(error: &CqlError) -> bool {
    matches!(error, CqlError::Io(io) if io.kind() == io::ErrorKind::ConnectionRefused)
}

/// Whether a server that is not understood in clear text speaks TLS: it answers a handshake, whatever comes of it.
pub(super) async fn speaks_tls(address: SocketAddr) -> bool {
    let trusts_nobody = ClientConfig::builder().with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    let asking = async {
        let stream = TcpStream::connect(address).await?;
        TlsConnector::from(Arc::new(trusts_nobody)).connect(address.ip().into(), stream).await
    };
    match tokio::time::timeout(ALERT_WAIT, asking).await {
        Ok(Err(error)) => Fault::of(&error).is_some_and(|fault| fault != Fault::NotTls),
        Ok(Ok(_)) => true,
        Err(_) => false,
    }
}
