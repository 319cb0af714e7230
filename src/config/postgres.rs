//! PostgreSQL: its URL, the password beside it, and TLS as libpq has it.
//!
//! The URL's parameters come before the environment (`PGSSLMODE`, `PGSSLROOTCERT`, `PGSSLCERT`, `PGSSLKEY`), as with
//! libpq. What sqlx does otherwise is set right here: it takes a misspelt `PGSSLMODE` for `prefer`, and does not check the
//! authority with `sslmode=require` and a root certificate.

use std::path::PathBuf;
use std::str::FromStr as _;

use reqwest::Url;
use sqlx::postgres::PgConnectOptions;

use super::resolve::bad;
use super::secrets::password;
use super::{PostgresConfig, SslMode, plaintext};
use crate::cli::Connections;
use crate::error::{Error, Kind, Result};
use crate::secret::Secret;
use crate::tls::{Identity, TlsFiles};

/// The parameters that a URL may have; sqlx would pass over others with a warning that shows their values.
const PARAMETERS: [&str; 17] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "application_name",
    "options",
];
const CA_SETTING: &str = "sslrootcert (in --postgres, or PGSSLROOTCERT)";
const IDENTITY_SETTINGS: (&str, &str) =
    ("sslcert (in --postgres, or PGSSLCERT)", "sslkey (in --postgres, or PGSSLKEY)");

/// Validates what is said of PostgreSQL. Touches no network.
///
/// # Errors
/// [`Kind::Config`], naming the option.
pub(super) fn postgres(from: &Connections, url: &str) -> Result<PostgresConfig> {
    let parsed = Url::parse(url).map_err(|e| bad("--postgres", &e.to_string()))?;
    if !matches!(parsed.scheme(), "postgres" | "postgresql") {
        return Err(bad("--postgres", "write postgres://USER@HOST:PORT/DATABASE"));
    }
    let is_secret = |key: &str| matches!(key, "password" | "sslpassword" | "passfile");
    if parsed.password().is_some() || parsed.query_pairs().any(|(key, _)| is_secret(&key)) {
        return Err(Error::new(
            Kind::Config,
            "--postgres must not carry a password: every user of the machine can read arguments",
        )
        .hint("set PGPASSWORD, --postgres-password-file or PGPASSFILE"));
    }
    for (key, _) in parsed.query_pairs() {
        if !PARAMETERS.contains(&&*key) && !key.starts_with("options[") {
            return Err(unknown(&key));
        }
    }
    let names = &["USERPIPE_POSTGRES_PASSWORD", "PGPASSWORD"];
    let password = password(names, from.postgres_password_file.as_deref())?;
    let tls = files(&parsed)?;
    let ssl_mode = match ssl_mode(&parsed)? {
        // libpq: "if a root CA file exists, the behavior of sslmode=require will be the same as that of verify-ca".
        SslMode::Require if tls.ca.is_some() => SslMode::VerifyCa,
        mode => mode,
    };
    let ssl_mode = refuse_plaintext(from, url, ssl_mode, password.as_ref())?;
    Ok(PostgresConfig { url: url.to_owned(), password, ssl_mode, tls, connect_timeout: from.connect_timeout })
}

/// With a password for another machine, what need not be encrypted must be, unless that is allowed by name.
fn refuse_plaintext(from: &Connections, url: &str, mode: SslMode, password: Option<&Secret>) -> Result<SslMode> {
    if matches!(mode, SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull) {
        return Ok(mode);
    }
    let options = PgConnectOptions::from_str(url).map_err(|e| bad("--postgres", &e.to_string()))?;
    if !(password.is_some() || has_password_file()) || options.get_socket().is_some() {
        return Ok(mode);
    }
    let allow = from.security.allow_plaintext_credentials;
    let refused = plaintext::refuse("the password for PostgreSQL", "sslmode=verify-full", options.get_host(), allow);
    match refused {
        // Whether it would be in clear text is the server's to say; with `require` it is not asked.
        Err(_) if mode == SslMode::Prefer => Ok(SslMode::Require),
        refused => refused.map(|()| mode),
    }
}

/// Whether there is a file that sqlx looks for the password in. Which of its lines would fit does not matter here.
fn has_password_file() -> bool {
    let home = || std::env::home_dir().is_some_and(|home| home.join(".pgpass").exists());
    variable("PGPASSFILE").is_some() || home()
}

/// `sslmode` of the URL, else `PGSSLMODE`, else `prefer`.
fn ssl_mode(url: &Url) -> Result<SslMode> {
    let (setting, text) = match parameter(url, &["sslmode", "ssl-mode"]) {
        Some(text) => ("sslmode in --postgres", text),
        None => match variable("PGSSLMODE") {
            Some(text) => ("PGSSLMODE", text),
            None => return Ok(SslMode::Prefer),
        },
    };
    Ok(match text.as_str() {
        "disable" => SslMode::Disable,
        "prefer" => SslMode::Prefer,
        "require" => SslMode::Require,
        "verify-ca" => SslMode::VerifyCa,
        "verify-full" => SslMode::VerifyFull,
        _ => {
            let why = format!("`{text}`: write disable, prefer, require, verify-ca or verify-full");
            return Err(bad(setting, &why));
        }
    })
}

fn files(url: &Url) -> Result<TlsFiles> {
    let file =
        |names: &[&str], environment: &str| parameter(url, names).or_else(|| variable(environment)).map(PathBuf::from);
    let certificate = file(&["sslcert", "ssl-cert"], "PGSSLCERT");
    let key = file(&["sslkey", "ssl-key"], "PGSSLKEY");
    let identity = match (certificate, key) {
        (Some(certificate), Some(key)) => Some(Identity { certificate, key, settings: IDENTITY_SETTINGS }),
        (None, None) => None,
        _ => {
            let (certificate, key) = IDENTITY_SETTINGS;
            return Err(Error::new(Kind::Config, format!("{certificate} and {key} go together"))
                .hint("a certificate is shown with its private key"));
        }
    };
    let ca = file(&["sslrootcert", "ssl-root-cert", "ssl-ca"], "PGSSLROOTCERT");
    Ok(TlsFiles { ca, identity, ca_setting: CA_SETTING })
}

/// The last one counts, as it does for sqlx.
fn parameter(url: &Url, names: &[&str]) -> Option<String> {
    url.query_pairs().filter(|(key, _)| names.contains(&&**key)).last().map(|(_, value)| value.into_owned())
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn unknown(key: &str) -> Error {
    let near =
        PARAMETERS.iter().map(|name| (strsim::jaro_winkler(name, key), *name)).max_by(|a, b| a.0.total_cmp(&b.0));
    let error = Error::new(Kind::Config, format!("unknown parameter `{key}` in --postgres"));
    match near {
        Some((likeness, name)) if likeness > 0.7 => error.hint(format!("did you mean `{name}`?")),
        _ => error.hint("it takes sslmode, sslrootcert, sslcert, sslkey, host, port, dbname, user and options"),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::Cli;

    fn resolved(arguments: &[&str]) -> Result<PostgresConfig> {
        let line = ["userpipe", "health"].iter().chain(arguments);
        let from = Cli::try_parse_from(line).expect("a good command line").connections;
        let url = from.postgres.clone().expect("a URL");
        postgres(&from, &url)
    }

    fn with_password(url: &str, more: &[&str]) -> Result<SslMode> {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("password");
        std::fs::write(&file, "hunter2").expect("written");
        let file = file.display().to_string();
        let arguments = [&["--postgres", url, "--postgres-password-file", &file], more].concat();
        resolved(&arguments).map(|config| config.ssl_mode)
    }

    #[test]
    fn a_password_goes_encrypted_to_another_machine() {
        let mode = |url: &str| with_password(url, &[]).ok();
        assert_eq!(mode("postgres://u@db/x"), Some(SslMode::Require));
        assert_eq!(mode("postgres://u@db/x?sslmode=prefer"), Some(SslMode::Require));
        assert_eq!(mode("postgres://u@db/x?sslmode=verify-full"), Some(SslMode::VerifyFull));
        assert_eq!(mode("postgres://u@127.0.0.1/x"), Some(SslMode::Prefer));
        assert_eq!(mode("postgres://u@localhost/x?sslmode=disable"), Some(SslMode::Disable));
        assert_eq!(mode("postgres://u@localhost/x?host=/var/run/postgresql"), Some(SslMode::Prefer));
        let error = with_password("postgres://u@db/x?sslmode=disable", &[]).expect_err("in clear text");
        assert_eq!(error.to_string(), "the password for PostgreSQL would go to db in clear text");
        assert!(
            error.hint_text().is_some_and(|h| h.contains("sslmode") && h.contains("--allow-plaintext-credentials"))
        );
        let error = with_password("postgres://u@localhost/x?sslmode=disable&host=db", &[]).expect_err("another host");
        assert!(error.to_string().contains("go to db"), "{error}");
        let allowed = with_password("postgres://u@db/x", &["--allow-plaintext-credentials"]).expect("allowed");
        assert_eq!(allowed, SslMode::Prefer);
    }

    #[test]
    fn require_with_an_authority_checks_it() {
        let mode = |url: &str| resolved(&["--postgres", url]).map(|config| config.ssl_mode).ok();
        assert_eq!(mode("postgres://u@db/x?sslmode=require&sslrootcert=/ca.pem"), Some(SslMode::VerifyCa));
        assert_eq!(mode("postgres://u@db/x?sslmode=require"), Some(SslMode::Require));
    }

    #[test]
    fn what_is_misspelt_is_refused_without_its_value() {
        for (url, said) in [
            ("postgres://u@db/x?sslmode=verify-ful", "bad value of sslmode in --postgres: `verify-ful`"),
            ("postgres://u@db/x?sslmode=allow", "bad value of sslmode in --postgres: `allow`"),
            ("postgres://u@db/x?passwrd=hunter2", "unknown parameter `passwrd` in --postgres"),
            ("postgres://u@db/x?sslpassword=hunter2", "--postgres must not carry a password"),
            ("postgres://u@db/x?sslcert=/c.pem", "go together"),
        ] {
            let error = resolved(&["--postgres", url]).expect_err(url);
            assert_eq!(error.kind(), Kind::Config);
            assert!(error.to_string().contains(said), "{error}");
            assert!(!error.report().contains("hunter2"), "{}", error.report());
        }
    }
}
