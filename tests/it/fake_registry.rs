//! A Schema Registry in memory, over real HTTP: enough of Confluent's API for the program, and it fails on request.

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::Listener;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// What a registry wants to hear before it answers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Login {
    /// `user:password` in Base64.
    Basic(&'static str),
    Bearer(&'static str),
}

/// A version of a subject.
#[derive(Clone, Debug)]
struct Version {
    subject: String,
    id: u32,
    schema: Value,
    kind: Option<String>,
}

#[derive(Debug, Default)]
struct Content {
    versions: Vec<Version>,
    /// Those of subjects that were forgotten are still there by their ids.
    by_id: Vec<Version>,
    lookups: usize,
    is_proxy: bool,
    login: Option<Login>,
}

type Shared = Arc<Mutex<Content>>;

/// A registry that answers until it is stopped or dropped.
#[derive(Debug)]
pub(crate) struct FakeRegistry {
    content: Shared,
    address: SocketAddr,
    tls: Option<(String, String)>,
    serving: Option<Runtime>,
}

/// One handshake after the other.
struct Encrypted {
    listener: tokio::net::TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener for Encrypted {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        loop {
            let (stream, peer) = Listener::accept(&mut self.listener).await;
            // Clients that do not trust us break it off; who says nothing must not keep the others waiting.
            let handshake = tokio::time::timeout(Duration::from_secs(2), self.acceptor.accept(stream));
            if let Ok(Ok(stream)) = handshake.await {
                return (stream, peer);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

fn acceptor(certificate: &str, key: &str) -> TlsAcceptor {
    let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
    TlsAcceptor::from(Arc::new(config))
}

impl FakeRegistry {
    pub(crate) fn start() -> Self {
        Self::with(Shared::default(), None)
    }

    pub(crate) fn wanting(login: Login) -> Self {
        let registry = Self::start();
        registry.content.lock().unwrap().login = Some(login);
        registry
    }

    /// One with TLS for `localhost` until the end of this year, and the PEM of its authority.
    pub(crate) fn encrypted(last_year: i32) -> (Self, String) {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(last_year, 12, 31);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        (Self::with(Shared::default(), Some((certificate.clone(), key.serialize_pem()))), certificate)
    }

    /// Another address of the same content.
    pub(crate) fn elsewhere(&self) -> Self {
        Self::with(Arc::clone(&self.content), None)
    }

    fn with(content: Shared, tls: Option<(String, String)>) -> Self {
        let mut registry = Self { content, address: SocketAddr::from(([127, 0, 0, 1], 0)), tls, serving: None };
        registry.start_again();
        registry
    }

    /// Begins to answer, at the address it had before.
    pub(crate) fn start_again(&mut self) {
        let listener = TcpListener::bind(self.address).unwrap();
        listener.set_nonblocking(true).unwrap();
        self.address = listener.local_addr().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (router, tls) = (router(Arc::clone(&self.content)), self.tls.clone());
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            match tls {
                None => axum::serve(listener, router).await,
                Some((certificate, key)) => {
                    axum::serve(Encrypted { listener, acceptor: acceptor(&certificate, &key) }, router).await
                }
            }
        });
        self.serving = Some(runtime);
    }

    /// Nobody listens there any more, and connections break.
    pub(crate) fn stop(&mut self) {
        if let Some(runtime) = self.serving.take() {
            runtime.shutdown_timeout(Duration::from_secs(5));
        }
    }

    pub(crate) fn url(&self) -> String {
        match self.tls {
            None => format!("http://{}", self.address),
            Some(_) => format!("https://localhost:{}", self.address.port()),
        }
    }

    /// Adds a version to a subject; its id.
    pub(crate) fn add(&self, subject: &str, schema: &str, kind: Option<&str>) -> u32 {
        self.content.lock().unwrap().add(subject, &parsed(schema), kind.map(str::to_owned))
    }

    /// Forgets all subjects; schemas are still there by their ids.
    pub(crate) fn forget_subjects(&self) {
        self.content.lock().unwrap().versions.clear();
    }

    /// How often schemas were asked for by their ids.
    pub(crate) fn lookups(&self) -> usize {
        self.content.lock().unwrap().lookups
    }

    /// Whether every schema is answered with a 404 in HTML, and everything else as before.
    pub(crate) fn answer_as_a_proxy(&self, is_proxy: bool) {
        self.content.lock().unwrap().is_proxy = is_proxy;
    }
}

impl Drop for FakeRegistry {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Content {
    fn add(&mut self, subject: &str, schema: &Value, kind: Option<String>) -> u32 {
        let same = |version: &&Version| version.schema == *schema && version.kind == kind;
        let next = u32::try_from(self.by_id.len()).unwrap() + 1;
        let id = self.by_id.iter().find(same).map_or(next, |version| version.id);
        let version = Version { subject: subject.to_owned(), id, schema: schema.clone(), kind };
        if !self.versions.iter().any(|known| known.subject == subject && known.id == id) {
            self.versions.push(version.clone());
        }
        if id == next {
            self.by_id.push(version);
        }
        id
    }

    fn of<'a>(&'a self, subject: &'a str) -> impl DoubleEndedIterator<Item = &'a Version> {
        self.versions.iter().filter(move |version| version.subject == subject)
    }
}

fn router(content: Shared) -> Router {
    Router::new()
        .route("/schemas/types", get(async || axum::Json(json!(["AVRO", "JSON", "PROTOBUF"]))))
        .route("/schemas/ids/{id}", get(by_id))
        .route("/subjects/{subject}", post(find))
        .route("/subjects/{subject}/versions", post(register))
        .route("/subjects/{subject}/versions/latest", get(latest))
        .route("/compatibility/subjects/{subject}/versions/latest", post(compatibility))
        .layer(middleware::from_fn_with_state(Arc::clone(&content), check_login))
        .with_state(content)
}

async fn check_login(State(content): State<Shared>, request: Request, next: Next) -> Response {
    let wanted = content.lock().unwrap().login;
    let said = request.headers().get(header::AUTHORIZATION).map(|value| value.to_str().unwrap().to_owned());
    let is_right = match wanted {
        None => true,
        Some(Login::Bearer(token)) => said == Some(format!("Bearer {token}")),
        Some(Login::Basic(encoded)) => said == Some(format!("Basic {encoded}")),
    };
    if is_right {
        next.run(request).await
    } else {
        error(StatusCode::UNAUTHORIZED, 401, "User cannot access the resource.")
    }
}

async fn by_id(State(content): State<Shared>, Path(id): Path<u32>) -> Response {
    let mut content = content.lock().unwrap();
    content.lookups += 1;
    if content.is_proxy {
        return (StatusCode::NOT_FOUND, Html("<h1>Not Found</h1>")).into_response();
    }
    match content.by_id.iter().find(|version| version.id == id) {
        Some(Version { schema, kind, .. }) => {
            axum::Json(json!({ "schema": text(schema), "schemaType": kind })).into_response()
        }
        None => error(StatusCode::NOT_FOUND, 40403, "Schema not found"),
    }
}

async fn find(State(content): State<Shared>, Path(subject): Path<String>, body: Bytes) -> Response {
    let content = content.lock().unwrap();
    let (schema, kind) = supplied(&body);
    match content.of(&subject).enumerate().find(|(_, it)| it.schema == schema && it.kind == kind) {
        Some((at, it)) => document(it, at),
        None => error(StatusCode::NOT_FOUND, 40403, "Schema not found"),
    }
}

async fn latest(State(content): State<Shared>, Path(subject): Path<String>) -> Response {
    let content = content.lock().unwrap();
    match content.of(&subject).enumerate().last() {
        Some((at, it)) => document(it, at),
        None => error(StatusCode::NOT_FOUND, 40401, "Subject not found"),
    }
}

async fn register(State(content): State<Shared>, Path(subject): Path<String>, body: Bytes) -> Response {
    let (schema, kind) = supplied(&body);
    let id = content.lock().unwrap().add(&subject, &schema, kind);
    axum::Json(json!({ "id": id })).into_response()
}

/// Only the same schema is compatible.
async fn compatibility(State(content): State<Shared>, Path(subject): Path<String>, body: Bytes) -> Response {
    let content = content.lock().unwrap();
    let (schema, kind) = supplied(&body);
    match content.of(&subject).next_back() {
        None => error(StatusCode::NOT_FOUND, 40401, "Subject not found"),
        Some(it) if it.schema == schema && it.kind == kind => {
            axum::Json(json!({ "is_compatible": true })).into_response()
        }
        Some(_) => {
            axum::Json(json!({ "is_compatible": false, "messages": ["it is not as the one before"] })).into_response()
        }
    }
}

fn document(version: &Version, at: usize) -> Response {
    let Version { subject, id, schema, kind } = version;
    let document =
        json!({ "subject": subject, "id": id, "version": at + 1, "schema": text(schema), "schemaType": kind });
    axum::Json(document).into_response()
}

fn error(status: StatusCode, code: u32, message: &str) -> Response {
    (status, axum::Json(json!({ "error_code": code, "message": message }))).into_response()
}

fn supplied(body: &[u8]) -> (Value, Option<String>) {
    let body: Value = serde_json::from_slice(body).unwrap();
    (parsed(body["schema"].as_str().unwrap()), body["schemaType"].as_str().map(str::to_owned))
}

fn parsed(schema: &str) -> Value {
    serde_json::from_str(schema).unwrap_or_else(|_| json!(schema))
}

fn text(schema: &Value) -> String {
    schema.as_str().map_or_else(|| schema.to_string(), str::to_owned)
}
