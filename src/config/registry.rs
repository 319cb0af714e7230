//! The Schema Registry's arguments, validated.

use std::time::Duration;

use super::resolve::bad;
use super::secrets::password;
use crate::cli::RegistryArgs;
use crate::error::{Error, Kind, Result};
use crate::secret::Secret;
use crate::tls::{Identity, TlsFiles};

/// Limit for one answer of the registry; what takes longer is asked again.
const REQUEST_MAX: Duration = Duration::from_secs(10);

/// How values are written to the topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Encoding {
    /// Plain JSON.
    #[default]
    Json,
    /// Avro under a registered schema.
    Avro,
    /// JSON under a registered JSON Schema.
    JsonSchema,
}

/// A Schema Registry, and how to log in.
#[derive(Clone, Debug)]
pub struct RegistryConfig {
    /// The base URL.
    pub url: String,
    /// Whether a schema that is not there is registered.
    pub may_register: bool,
    /// Who we are.
    pub login: Option<RegistryLogin>,
    /// The files of TLS; `None` for `http://`.
    pub tls: Option<TlsFiles>,
    /// Limit for one answer.
    pub request_timeout: Duration,
}

/// How to log in to a registry.
#[derive(Clone, Debug)]
pub enum RegistryLogin {
    /// User and password.
    Basic(String, Secret),
    /// A bearer token.
    Bearer(Secret),
}

impl RegistryConfig {
    /// Validates the arguments; `None` where no registry is named.
    ///
    /// # Errors
    /// [`Kind::Config`], naming the option.
    pub(super) fn resolve(from: &RegistryArgs, connect_timeout: Duration) -> Result<Option<Self>> {
        let Some(text) = &from.schema_registry else {
            return match from.encoding {
                Encoding::Json => Ok(None),
                Encoding::Avro | Encoding::JsonSchema => Err(Error::new(Kind::Config, "--encoding needs a registry")
                    .hint("add --schema-registry http://HOST:8081, or leave --encoding out")),
            };
        };
        let url = reqwest::Url::parse(text).map_err(|e| bad("--schema-registry", &e.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(bad("--schema-registry", "write an http:// or https:// URL"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            let why = "write it without user and password: every user of the machine can read it";
            return Err(
                bad("--schema-registry", why).hint("--schema-registry-user, and USERPIPE_SCHEMA_REGISTRY_PASSWORD")
            );
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(bad("--schema-registry", "write the base URL alone, without ? and #"));
        }
        let login = login(from)?;
        // The one place where --allow-plaintext-credentials comes in.
        let allow = false;
        refuse_clear_text(&url, login.is_some(), allow)?;
        let tls = tls(from)?;
        if url.scheme() == "http" && tls != default_tls() {
            return Err(bad("--schema-registry", "TLS files are set, and it is no https:// URL"));
        }
        Ok(Some(Self {
            tls: (url.scheme() == "https").then_some(tls),
            url: text.trim_end_matches('/').to_owned(),
            may_register: !from.no_register,
            login,
            request_timeout: REQUEST_MAX.min(connect_timeout),
        }))
    }

    /// Whether it is on this machine.
    pub fn is_loopback(&self) -> bool {
        reqwest::Url::parse(&self.url).is_ok_and(|url| is_loopback(&url))
    }
}

fn login(from: &RegistryArgs) -> Result<Option<RegistryLogin>> {
    let token = password("USERPIPE_SCHEMA_REGISTRY_TOKEN", from.schema_registry_token_file.as_deref())?;
    let password = password("USERPIPE_SCHEMA_REGISTRY_PASSWORD", from.schema_registry_password_file.as_deref())?;
    match (&from.schema_registry_user, password, token) {
        (Some(_), _, Some(_)) => Err(bad("--schema-registry-user", "there is a bearer token too; use one of them")),
        (Some(user), Some(password), None) => Ok(Some(RegistryLogin::Basic(user.clone(), password))),
        (Some(_), None, None) => Err(Error::new(Kind::Config, "--schema-registry-user needs a password")
            .hint("set USERPIPE_SCHEMA_REGISTRY_PASSWORD, or --schema-registry-password-file")),
        (None, _, Some(token)) => Ok(Some(RegistryLogin::Bearer(token))),
        (None, _, None) => Ok(None),
    }
}

/// Everybody on the way could read a login that is not encrypted.
fn refuse_clear_text(url: &reqwest::Url, has_login: bool, allow: bool) -> Result<()> {
    if url.scheme() == "https" || !has_login || allow || is_loopback(url) {
        return Ok(());
    }
    Err(Error::new(Kind::Config, "--schema-registry would send a login in clear text")
        .at(url.as_str())
        .hint("write https://, or say --allow-plaintext-credentials"))
}

fn is_loopback(url: &reqwest::Url) -> bool {
    let is_loopback =
        |host: &str| host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    url.host_str().is_some_and(|host| host == "localhost" || is_loopback(host))
}

fn default_tls() -> TlsFiles {
    TlsFiles { ca: None, identity: None, ca_setting: "--schema-registry-ca" }
}

fn tls(from: &RegistryArgs) -> Result<TlsFiles> {
    let identity = match (&from.schema_registry_cert, &from.schema_registry_key) {
        (Some(certificate), Some(key)) => Some(Identity {
            certificate: certificate.clone(),
            key: key.clone(),
            settings: ("--schema-registry-cert", "--schema-registry-key"),
        }),
        (None, None) => None,
        (Some(_), None) => return Err(bad("--schema-registry-cert", "--schema-registry-key has to be given too")),
        (None, Some(_)) => return Err(bad("--schema-registry-key", "--schema-registry-cert has to be given too")),
    };
    Ok(TlsFiles { ca: from.schema_registry_ca.clone(), identity, ..default_tls() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(url: &str) -> RegistryArgs {
        RegistryArgs {
            schema_registry: (!url.is_empty()).then(|| url.to_owned()),
            encoding: Encoding::Avro,
            no_register: false,
            schema_registry_user: None,
            schema_registry_password_file: None,
            schema_registry_token_file: None,
            schema_registry_ca: None,
            schema_registry_cert: None,
            schema_registry_key: None,
        }
    }

    fn resolve(args: &RegistryArgs) -> Result<Option<RegistryConfig>> {
        RegistryConfig::resolve(args, Duration::from_secs(30))
    }

    #[test]
    fn a_registry_is_a_plain_url() {
        let config = resolve(&args("https://registry:8081/")).expect("fits").expect("there is one");
        assert_eq!((config.url.as_str(), config.may_register), ("https://registry:8081", true));
        assert!(config.tls.is_some() && config.login.is_none() && !config.is_loopback());
        for wrong in ["ftp://h", "h:1", "http://u:p@h", "http://u@h", "http://h?x=1", "http://h#x", ""] {
            assert_eq!(resolve(&args(wrong)).expect_err("no base URL").kind(), Kind::Config, "{wrong}");
        }
        assert!(resolve(&RegistryArgs { encoding: Encoding::Json, ..args("") }).expect("fits").is_none());
    }

    #[test]
    fn a_login_in_clear_text_stays_on_this_machine() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("token");
        std::fs::write(&file, "secret\n").expect("written");
        let with_token = |url| RegistryArgs { schema_registry_token_file: Some(file.clone()), ..args(url) };
        for fine in ["https://h:1", "http://localhost:1", "http://127.0.0.2:1", "http://[::1]:1"] {
            let config = resolve(&with_token(fine)).expect("fits").expect("there is one");
            assert!(matches!(&config.login, Some(RegistryLogin::Bearer(token)) if token.expose() == "secret"));
            assert!(!format!("{config:?}").contains("secret"));
        }
        let error = resolve(&with_token("http://localhost.example:1")).expect_err("it would be readable");
        assert!(error.report().contains("--allow-plaintext-credentials"), "{}", error.report());
        let both = RegistryArgs { schema_registry_user: Some("u".to_owned()), ..with_token("https://h") };
        assert!(resolve(&both).expect_err("two logins").to_string().contains("bearer"));
        let lonely = RegistryArgs { schema_registry_user: Some("u".to_owned()), ..args("https://h") };
        assert!(resolve(&lonely).expect_err("no password").to_string().contains("needs a password"));
    }

    #[test]
    fn tls_files_want_each_other_and_https() {
        let file = |name: &str| Some(std::path::PathBuf::from(name));
        let half = RegistryArgs { schema_registry_cert: file("c.pem"), ..args("https://h") };
        assert!(resolve(&half).expect_err("no key").to_string().contains("--schema-registry-key"));
        let plain = RegistryArgs { schema_registry_ca: file("ca.pem"), ..args("http://h") };
        assert!(resolve(&plain).expect_err("not encrypted").to_string().contains("https://"));
    }
}
