//! A Confluent-compatible Schema Registry: its HTTP API, as much of it as is needed.
//!
//! The documents are those of `schema_registry_converter`. Its calls are not: they read an answer of any size, do not know
//! the compatibility resource, and lose the status of an answer that is not the registry's own. The last would make a
//! proxy's 404 the same as a schema that is not there, and its records dead letters.

use std::time::Duration;

use reqwest::{Client, Method, RequestBuilder, StatusCode, redirect};
use schema_registry_converter::schema_registry_common::{RawError, RawRegisteredSchema};
use serde::Deserialize;
use serde_json::json;

use crate::config::{Encoding, RegistryConfig, RegistryLogin};
use crate::error::{Error, Kind, Result};
use crate::retry::deadline;

/// The most bytes of one answer. The largest schemas that are known have some hundred kilobytes.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// What a registry says is told up to this length.
const WORDS_CHARACTERS_MAX: usize = 600;
/// The media type of the API, version 1.
const MEDIA_TYPE: &str = "application/vnd.schemaregistry.v1+json";
const USER_AGENT: &str = concat!("userpipe/", env!("CARGO_PKG_VERSION"));
/// The registry's own codes for what is not there: subject, version, schema.
const ABSENT: [u32; 3] = [40401, 40402, 40403];

/// A client of one registry.
#[derive(Debug)]
pub struct Registry {
    client: Client,
    url: String,
    login: Option<RegistryLogin>,
    is_ca_set: bool,
    request_timeout: Duration,
}

/// A schema that the registry has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    /// Its id, which stands before every value.
    pub id: Option<u32>,
    /// Its version in the subject.
    pub version: Option<u32>,
    /// `AVRO`, `JSON`, `PROTOBUF`.
    pub kind: String,
    /// The schema itself.
    pub schema: String,
    /// Whether it is whole without other schemas.
    pub is_whole: bool,
}

/// Whether a schema may follow a subject's latest version, by the compatibility that is set in the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compatibility {
    /// There is no version yet.
    NoSubject,
    /// It may.
    Compatible,
    /// It may not; the registry's words, if it has any.
    Incompatible(String),
}

/// What the registry answered.
enum Answer {
    Ok(Vec<u8>),
    /// There is no such thing.
    Absent,
    /// 409 or 422, and the registry's words.
    Conflict(String),
}

#[derive(Deserialize)]
struct Judgement {
    is_compatible: bool,
    /// Confluent's words.
    messages: Option<Vec<String>>,
    /// Apicurio's.
    reason: Option<String>,
}

impl Registry {
    /// A client; asks nothing yet. The process has to have installed its TLS provider before.
    ///
    /// # Errors
    /// [`Kind::Config`] for TLS files that cannot be used.
    pub fn new(config: &RegistryConfig) -> Result<Self> {
        let mut builder = Client::builder()
            .user_agent(USER_AGENT)
            .connect_timeout(config.request_timeout)
            // A login is for this address alone.
            .redirect(redirect::Policy::none());
        if config.is_loopback() {
            // A proxy of the system's cannot reach this machine's loopback.
            builder = builder.no_proxy();
        }
        if let Some(tls) = &config.tls {
            builder = builder.tls_backend_preconfigured(tls.client_config()?);
        }
        let client = builder.build().map_err(|e| {
            Error::new(Kind::Config, "cannot set up the schema registry's client").at(config.url.clone()).because(e)
        })?;
        Ok(Self {
            client,
            url: config.url.trim_end_matches('/').to_owned(),
            login: config.login.clone(),
            is_ca_set: config.tls.as_ref().is_some_and(|tls| tls.ca.is_some()),
            request_timeout: config.request_timeout,
        })
    }

    /// The base URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Asks for nothing in particular.
    ///
    /// # Errors
    /// [`Kind::Unreachable`], [`Kind::Refused`], or [`Kind::Config`] for an address that is no registry.
    pub async fn ping(&self) -> Result<()> {
        let what = "cannot ask the schema registry";
        match self.ask(what, self.request(Method::GET, "schemas/types")).await? {
            Answer::Ok(_) => Ok(()),
            Answer::Absent | Answer::Conflict(_) => Err(self.no_registry(what, "it has no schema types")),
        }
    }

    /// The schema of an id; `None` where the registry says that it has none.
    ///
    /// # Errors
    /// As [`Registry::ping`].
    pub async fn by_id(&self, id: u32) -> Result<Option<Registered>> {
        let what = format!("cannot get schema {id}");
        // Records outlive the subject that was deleted.
        let found = self.ask(&what, self.request(Method::GET, &format!("schemas/ids/{id}?deleted=true"))).await?;
        self.registered(&what, found)
    }

    /// The latest version of a subject.
    ///
    /// # Errors
    /// As [`Registry::ping`].
    pub async fn latest(&self, subject: &str) -> Result<Option<Registered>> {
        let what = format!("cannot get the schema of {subject}");
        let found = self.ask(&what, self.request(Method::GET, &format!("subjects/{subject}/versions/latest"))).await?;
        self.registered(&what, found)
    }

    /// The version of a subject that is this schema.
    ///
    /// # Errors
    /// As [`Registry::ping`].
    pub async fn find(&self, subject: &str, encoding: Encoding, schema: &str) -> Result<Option<Registered>> {
        let what = format!("cannot look up the schema of {subject}");
        let request = self.request(Method::POST, &format!("subjects/{subject}"));
        match self.ask(&what, with_schema(request, encoding, schema)).await? {
            // What cannot be a version of the subject is none.
            Answer::Conflict(_) => Ok(None),
            answer => self.registered(&what, answer),
        }
    }

    /// Whether a schema may be the next version of a subject.
    ///
    /// # Errors
    /// As [`Registry::ping`].
    pub async fn compatibility(&self, subject: &str, encoding: Encoding, schema: &str) -> Result<Compatibility> {
        let what = format!("cannot check the schema of {subject}");
        let path = format!("compatibility/subjects/{subject}/versions/latest?verbose=true");
        match self.ask(&what, with_schema(self.request(Method::POST, &path), encoding, schema)).await? {
            Answer::Absent => Ok(Compatibility::NoSubject),
            Answer::Conflict(words) => Ok(Compatibility::Incompatible(words)),
            Answer::Ok(body) => match serde_json::from_slice(&body).map_err(|e| self.no_registry(&what, e))? {
                Judgement { is_compatible: true, .. } => Ok(Compatibility::Compatible),
                Judgement { messages, reason, .. } => {
                    let said: Vec<String> = messages.into_iter().flatten().chain(reason).collect();
                    Ok(Compatibility::Incompatible(words(&said.join("; "))))
                }
            },
        }
    }

    /// Makes a schema the next version of a subject, if it is none yet, and gives its id.
    ///
    /// # Errors
    /// As [`Registry::ping`]; [`Kind::Config`] where it is not compatible.
    pub async fn register(&self, subject: &str, encoding: Encoding, schema: &str) -> Result<u32> {
        let what = format!("cannot register the schema of {subject}");
        let request = self.request(Method::POST, &format!("subjects/{subject}/versions"));
        match self.ask(&what, with_schema(request, encoding, schema)).await? {
            Answer::Ok(body) => {
                let document: RawRegisteredSchema =
                    serde_json::from_slice(&body).map_err(|e| self.no_registry(&what, e))?;
                document.id.ok_or_else(|| self.no_registry(&what, "it gave no id"))
            }
            Answer::Absent => Err(self.no_registry(&what, "it has no such resource")),
            Answer::Conflict(words) => Err(Error::new(Kind::Config, what).at(self.url.clone()).because(words)),
        }
    }

    fn registered(&self, what: &str, answer: Answer) -> Result<Option<Registered>> {
        let body = match answer {
            Answer::Ok(body) => body,
            Answer::Absent => return Ok(None),
            Answer::Conflict(words) => {
                return Err(Error::new(Kind::Failed, what.to_owned()).at(self.url.clone()).because(words));
            }
        };
        let document: RawRegisteredSchema = serde_json::from_slice(&body).map_err(|e| self.no_registry(what, e))?;
        let schema = document.schema.ok_or_else(|| self.no_registry(what, "there is no schema in its answer"))?;
        Ok(Some(Registered {
            id: document.id,
            version: document.version,
            kind: document.schema_type.unwrap_or_else(|| "AVRO".to_owned()),
            schema,
            is_whole: document.references.is_none_or(|references| references.is_empty()),
        }))
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        // Topics, of which subjects are made, have no character that a URL would need escaped.
        let request = self.client.request(method, format!("{}/{path}", self.url)).header("Accept", MEDIA_TYPE);
        match &self.login {
            None => request,
            Some(RegistryLogin::Basic(user, password)) => request.basic_auth(user, Some(password.expose())),
            Some(RegistryLogin::Bearer(token)) => request.bearer_auth(token.expose()),
        }
    }

    /// One request, its whole answer within the deadline.
    async fn ask(&self, what: &str, request: RequestBuilder) -> Result<Answer> {
        let call = async {
            let mut response = request.send().await.map_err(|e| self.unreachable(what, e))?;
            let mut body = Vec::new();
            while let Some(chunk) = response.chunk().await.map_err(|e| self.unreachable(what, e))? {
                if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                    let reason = format!("its answer is larger than {ANSWER_BYTES_MAX} bytes");
                    return Err(Error::new(Kind::Failed, what.to_owned()).at(self.url.clone()).because(reason));
                }
                body.extend_from_slice(&chunk);
            }
            Ok((response.status(), body))
        };
        let (status, body) = deadline(self.request_timeout, &format!("{what} at {}", self.url), call).await?;
        self.judge(what, status, body)
    }

    fn judge(&self, what: &str, status: StatusCode, body: Vec<u8>) -> Result<Answer> {
        if status.is_success() {
            return Ok(Answer::Ok(body));
        }
        let said: Option<RawError> = serde_json::from_slice(&body).ok();
        let own_words = said.as_ref().map(|error| words(&error.message)).unwrap_or_default();
        let failed = |kind| {
            let reason =
                if own_words.is_empty() { format!("HTTP {status}") } else { format!("HTTP {status}: {own_words}") };
            Error::new(kind, what.to_owned()).at(self.url.clone()).because(reason)
        };
        Err(match status {
            StatusCode::NOT_FOUND if said.is_some_and(|error| ABSENT.contains(&error.error_code)) => {
                return Ok(Answer::Absent);
            }
            StatusCode::CONFLICT | StatusCode::UNPROCESSABLE_ENTITY if !own_words.is_empty() => {
                return Ok(Answer::Conflict(own_words));
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => failed(Kind::Refused).hint(match self.login {
                None => "it wants a login: --schema-registry-user, or --schema-registry-token-file",
                Some(RegistryLogin::Basic(..)) => "--schema-registry-user or its password is wrong, or may not do this",
                Some(RegistryLogin::Bearer(_)) => {
                    "the token of --schema-registry-token-file is wrong, or may not do this"
                }
            }),
            status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => failed(Kind::Unreachable),
            status => self.no_registry(what, format!("HTTP {status}")),
        })
    }

    fn unreachable(&self, what: &str, error: reqwest::Error) -> Error {
        // The address is told once, as the place.
        let error = error.without_url();
        let failed = |kind| Error::new(kind, what.to_owned()).at(self.url.clone());
        let chain = chain(&error);
        if chain.contains("certificate") {
            let hint = match (chain.contains("peer certificate"), self.is_ca_set) {
                (true, true) => {
                    "is the registry's certificate for this host name, in time, and of an authority in --schema-registry-ca?"
                }
                (true, false) => "name the PEM file of the registry's authority with --schema-registry-ca",
                (false, _) => "it wants a client certificate: --schema-registry-cert and --schema-registry-key",
            };
            return failed(Kind::Config).because(error).hint(hint);
        }
        failed(Kind::Unreachable).because(error).hint("start it, or look at --schema-registry")
    }

    fn no_registry(&self, what: &str, reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        Error::new(Kind::Config, what.to_owned())
            .at(self.url.clone())
            .because(reason)
            .hint("is --schema-registry the base URL of a Confluent-compatible API?")
    }
}

fn with_schema(request: RequestBuilder, encoding: Encoding, schema: &str) -> RequestBuilder {
    let body = match encoding {
        Encoding::Json | Encoding::Avro => json!({ "schema": schema }),
        Encoding::JsonSchema => json!({ "schema": schema, "schemaType": "JSON" }),
    };
    request.header("Content-Type", MEDIA_TYPE).body(body.to_string())
}

/// Somebody else's words: some of them, and nothing that commands a terminal.
fn words(text: &str) -> String {
    let clean = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    clean.take(WORDS_CHARACTERS_MAX).collect::<String>().trim().to_owned()
}

fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
