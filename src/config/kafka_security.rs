//! How Kafka is talked to: with or without TLS, with or without a login; and which combinations cannot work.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use reqwest::Url;
use tokio::sync::Mutex;

use super::kafka_properties::{Key, Properties, nearest};
use super::plaintext;
use super::secrets::{password, warn_if_others_can_read};
use crate::cli::KafkaArgs;
use crate::error::{Error, Kind, Result};
use crate::secret::Secret;
use crate::tls::{Identity, TlsFiles};

/// The values of `security.protocol`: with TLS, with a login.
const PROTOCOLS: [(&str, bool, bool); 4] =
    [("PLAINTEXT", false, false), ("SSL", true, false), ("SASL_PLAINTEXT", false, true), ("SASL_SSL", true, true)];

/// The values of `sasl.mechanism`.
const MECHANISMS: [&str; 4] = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"];

/// The one value of `sasl.oauthbearer.method`.
const OIDC: &str = "oidc";

const TLS_KEYS: [Key; 3] = [Key::Ca, Key::Certificate, Key::Private];
const LOGIN_KEYS: [Key; 2] = [Key::Username, Key::Password];
const OIDC_KEYS: [Key; 6] =
    [Key::OauthMethod, Key::OauthClientId, Key::OauthClientSecret, Key::OauthEndpoint, Key::OauthScope, Key::HttpsCa];

/// How a cluster is talked to. The default is neither TLS nor a login.
#[derive(Clone, Debug, Default)]
pub struct KafkaSecurity {
    /// TLS, and the files for it.
    pub tls: Option<Box<TlsFiles>>,
    /// The login.
    pub sasl: Option<Sasl>,
    /// Whether a login may cross the network in clear text.
    pub allows_plaintext_credentials: bool,
}

/// A login, by mechanism.
#[derive(Clone, Debug)]
pub enum Sasl {
    /// User and password as they are (RFC 4616).
    Plain(Login),
    /// A proof that the password is known (RFC 7677).
    ScramSha256(Login),
    /// As before, with the longer hash.
    ScramSha512(Login),
    /// A bearer token (RFC 7628).
    OauthBearer(Tokens),
}

/// User and password.
#[derive(Clone, Debug)]
pub struct Login {
    /// `sasl.username`
    pub user: String,
    /// Its password.
    pub password: Secret,
}

/// Where bearer tokens come from.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// The file or the token endpoint.
    pub source: TokenSource,
    /// The newest token, and until when it is used; clones share it, so that many connections ask once.
    pub newest: Arc<Mutex<Option<(Token, SystemTime)>>>,
}

/// The two sources of tokens.
#[derive(Clone, Debug)]
pub enum TokenSource {
    /// A file that somebody else keeps fresh, read anew for each login.
    File(PathBuf),
    /// An OIDC token endpoint.
    Oidc(Box<Oidc>),
}

/// Client credentials for a token endpoint (RFC 6749, 4.4).
#[derive(Clone, Debug)]
pub struct Oidc {
    /// `sasl.oauthbearer.token.endpoint.url`
    pub endpoint: Url,
    /// `sasl.oauthbearer.client.id`
    pub client_id: String,
    /// `sasl.oauthbearer.client.secret`
    pub client_secret: Secret,
    /// `sasl.oauthbearer.scope`
    pub scope: Option<String>,
    /// The authority of the endpoint's certificate (`https.ca.location`).
    pub tls: TlsFiles,
}

/// A bearer token.
#[derive(Clone, Debug)]
pub struct Token {
    /// The token itself.
    pub text: Secret,
    /// When it ends, where that is known.
    pub expires: Option<SystemTime>,
}

impl KafkaSecurity {
    /// Validates the properties and reads the secrets that they need. Touches no network, and no certificate.
    ///
    /// # Errors
    /// [`Kind::Config`], naming the property.
    pub(super) fn resolve(from: &KafkaArgs, brokers: &[String], allows_plaintext_credentials: bool) -> Result<Self> {
        let properties = Properties::read(from)?;
        let given = properties.get(Key::SecurityProtocol);
        let name = one_of(Key::SecurityProtocol, given.unwrap_or("PLAINTEXT"), &PROTOCOLS.map(|(name, ..)| name))?;
        let (_, with_tls, with_login) = PROTOCOLS.iter().find(|(known, ..)| *known == name).unwrap_or(&PROTOCOLS[0]);
        let tls = if *with_tls { Some(Box::new(tls(&properties)?)) } else { None };
        if let (None, Some(key)) = (&tls, properties.first_of(&TLS_KEYS)) {
            return Err(needs(key, "security.protocol=SSL or SASL_SSL", name));
        }
        let sasl = if *with_login { Some(sasl(from, &properties, name)?) } else { None };
        let of_login = [&[Key::Mechanism], &LOGIN_KEYS[..], &OIDC_KEYS, &[Key::OauthTokenFile]].concat();
        if let (None, Some(key)) = (&sasl, properties.first_of(&of_login)) {
            return Err(needs(key, "security.protocol=SASL_SSL or SASL_PLAINTEXT", name));
        }
        let security = Self { tls, sasl, allows_plaintext_credentials };
        brokers.iter().try_for_each(|broker| security.refuse_plaintext_to(broker))?;
        if let (Some(_), Some(broker)) = (&security.tls, brokers.iter().find(|broker| broker.starts_with('['))) {
            // rskafka takes what stands before the first colon for the name to check.
            return Err(Error::new(Kind::Config, format!("security.protocol={name} needs a host name in --brokers"))
                .because(format!("{broker} is an IPv6 address"))
                .hint("give a name of the broker's certificate, and have the broker advertise it"));
        }
        if let Some(Sasl::OauthBearer(Tokens { source: TokenSource::Oidc(oidc), .. })) = &security.sasl
            && oidc.endpoint.scheme() == "http"
        {
            let host = oidc.endpoint.host_str().unwrap_or_default();
            let place = format!("{host}:{}", oidc.endpoint.port_or_known_default().unwrap_or(80));
            let (what, setting) = (Key::OauthClientSecret.name(), "https:// in sasl.oauthbearer.token.endpoint.url");
            plaintext::refuse(what, setting, &place, security.allows_plaintext_credentials)?;
        }
        Ok(security)
    }

    /// Refuses to log in at `address` (`host:port`) in clear text, where that is not this machine.
    ///
    /// # Errors
    /// [`Kind::Config`].
    pub fn refuse_plaintext_to(&self, address: &str) -> Result<()> {
        match (&self.sasl, &self.tls) {
            (Some(_), None) => {
                let setting = "-X security.protocol=SASL_SSL";
                plaintext::refuse("the login for Kafka", setting, address, self.allows_plaintext_credentials)
            }
            _ => Ok(()),
        }
    }

    /// The value of `security.protocol`.
    pub fn protocol(&self) -> &'static str {
        let same = |(_, tls, sasl): &&(&str, bool, bool)| *tls == self.tls.is_some() && *sasl == self.sasl.is_some();
        PROTOCOLS.iter().find(same).map_or("", |(name, ..)| name)
    }
}

impl Sasl {
    /// The value of `sasl.mechanism`.
    pub fn mechanism(&self) -> &'static str {
        match self {
            Sasl::Plain(_) => "PLAIN",
            Sasl::ScramSha256(_) => "SCRAM-SHA-256",
            Sasl::ScramSha512(_) => "SCRAM-SHA-512",
            Sasl::OauthBearer(_) => "OAUTHBEARER",
        }
    }
}

/// Protocol, mechanism and user, as `check` shows them.
impl fmt::Display for KafkaSecurity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.protocol())?;
        match &self.sasl {
            Some(Sasl::Plain(login) | Sasl::ScramSha256(login) | Sasl::ScramSha512(login)) => {
                write!(f, " {} as {}", self.sasl.as_ref().map_or("", Sasl::mechanism), login.user)
            }
            Some(Sasl::OauthBearer(_)) => f.write_str(" OAUTHBEARER"),
            None => Ok(()),
        }
    }
}

fn tls(properties: &Properties) -> Result<TlsFiles> {
    let path = |key| properties.get(key).map(PathBuf::from);
    let identity = match (path(Key::Certificate), path(Key::Private)) {
        (Some(certificate), Some(key)) => {
            warn_if_others_can_read(&key);
            Some(Identity { certificate, key, settings: (Key::Certificate.name(), Key::Private.name()) })
        }
        (None, None) => None,
        (Some(_), None) => return Err(missing(Key::Certificate, Key::Private)),
        (None, Some(_)) => return Err(missing(Key::Private, Key::Certificate)),
    };
    Ok(TlsFiles { ca: path(Key::Ca), identity, ca_setting: Key::Ca.name() })
}

fn sasl(from: &KafkaArgs, properties: &Properties, protocol: &str) -> Result<Sasl> {
    let Some(mechanism) = properties.get(Key::Mechanism) else {
        return Err(Error::new(Kind::Config, format!("security.protocol={protocol} needs sasl.mechanism"))
            .hint(format!("it is one of {}", MECHANISMS.join(", "))));
    };
    let mechanism = one_of(Key::Mechanism, mechanism, &MECHANISMS)?;
    let not_taken = if mechanism == "OAUTHBEARER" {
        properties.first_of(&LOGIN_KEYS)
    } else {
        properties.first_of(&OIDC_KEYS).or_else(|| properties.first_of(&[Key::OauthTokenFile]))
    };
    if let Some(key) = not_taken {
        return Err(Error::new(Kind::Config, format!("sasl.mechanism={mechanism} takes no {}", key.name())));
    }
    Ok(match mechanism {
        "PLAIN" => Sasl::Plain(login(from, properties, mechanism)?),
        "SCRAM-SHA-256" => Sasl::ScramSha256(login(from, properties, mechanism)?),
        "SCRAM-SHA-512" => Sasl::ScramSha512(login(from, properties, mechanism)?),
        _ => Sasl::OauthBearer(Tokens { source: tokens(from, properties)?, newest: Arc::default() }),
    })
}

fn login(from: &KafkaArgs, properties: &Properties, mechanism: &str) -> Result<Login> {
    let user = properties.get(Key::Username).ok_or_else(|| {
        Error::new(Kind::Config, format!("sasl.mechanism={mechanism} needs sasl.username"))
            .hint("add -X sasl.username=USER")
    })?;
    // Flag and environment go over the file, as everywhere.
    let password = password(&["USERPIPE_SASL_PASSWORD"], from.sasl_password_file.as_deref())?
        .or_else(|| properties.secret(Key::Password))
        .ok_or_else(|| Error::new(Kind::Config, "sasl.username needs a password").hint(Key::Password.secret_hint()))?;
    Ok(Login { user: user.to_owned(), password })
}

fn tokens(from: &KafkaArgs, properties: &Properties) -> Result<TokenSource> {
    let file = properties.get(Key::OauthTokenFile);
    match (file, properties.first_of(&OIDC_KEYS)) {
        (Some(_), Some(key)) => {
            let what = format!("sasl.oauthbearer.token.file and {} exclude each other", key.name());
            return Err(Error::new(Kind::Config, what).hint("a token comes from a file or from a token endpoint"));
        }
        (Some(file), None) => {
            let file = PathBuf::from(file);
            warn_if_others_can_read(&file);
            return Ok(TokenSource::File(file));
        }
        (None, None) => {
            return Err(Error::new(Kind::Config, "sasl.mechanism=OAUTHBEARER needs a token").hint(
                "add -X sasl.oauthbearer.token.file=FILE, or -X sasl.oauthbearer.method=oidc with client.id and \
                 token.endpoint.url",
            ));
        }
        (None, Some(_)) => {}
    }
    let need = |key: Key| properties.get(key).ok_or_else(|| missing(Key::OauthMethod, key));
    let method = properties.get(Key::OauthMethod).ok_or_else(|| {
        let key = properties.first_of(&OIDC_KEYS).map_or("", Key::name);
        Error::new(Kind::Config, format!("{key} needs sasl.oauthbearer.method=oidc"))
    })?;
    one_of(Key::OauthMethod, method, &[OIDC])?;
    let client_id = need(Key::OauthClientId)?.to_owned();
    let endpoint = endpoint(need(Key::OauthEndpoint)?)?;
    let client_secret = password(&["USERPIPE_SASL_CLIENT_SECRET"], from.sasl_client_secret_file.as_deref())?
        .or_else(|| properties.secret(Key::OauthClientSecret))
        .ok_or_else(|| {
            Error::new(Kind::Config, "sasl.oauthbearer.client.id needs a secret")
                .hint(Key::OauthClientSecret.secret_hint())
        })?;
    let scope = properties.get(Key::OauthScope).map(str::to_owned);
    let ca = properties.get(Key::HttpsCa).map(PathBuf::from);
    let tls = TlsFiles { ca, identity: None, ca_setting: Key::HttpsCa.name() };
    Ok(TokenSource::Oidc(Box::new(Oidc { endpoint, client_id, client_secret, scope, tls })))
}

fn endpoint(text: &str) -> Result<Url> {
    let bad =
        |why: String| Error::new(Kind::Config, format!("bad value of {}", Key::OauthEndpoint.name())).because(why);
    let url = Url::parse(text).map_err(|e| bad(e.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(bad("write an https:// URL".to_owned()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(bad("write it without user and password".to_owned()));
    }
    Ok(url)
}

/// The value as it is written in `known`; letters of either case are taken, as librdkafka takes them.
fn one_of(key: Key, value: &str, known: &[&'static str]) -> Result<&'static str> {
    if let Some(same) = known.iter().find(|name| name.eq_ignore_ascii_case(value)) {
        return Ok(same);
    }
    let error = Error::new(Kind::Config, format!("bad value of {}", key.name())).because(format!("`{value}`"));
    Err(match nearest(value, known.iter().copied()) {
        Some(near) => error.hint(format!("did you mean {near}? It is one of {}", known.join(", "))),
        None => error.hint(format!("it is one of {}", known.join(", "))),
    })
}

fn missing(given: Key, other: Key) -> Error {
    Error::new(Kind::Config, format!("{} needs {}", given.name(), other.name()))
}

fn needs(key: Key, protocols: &str, protocol: &str) -> Error {
    Error::new(Kind::Config, format!("{} needs {protocols}", key.name())).because(format!("it is {protocol}"))
}

#[cfg(test)]
mod tests;
