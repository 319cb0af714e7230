//! Where the dashboard listens, and whom it answers.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::cli::ListenArgs;
use crate::error::{Error, Kind, Result};
use crate::tls::Identity;

/// The settings of one listener.
#[derive(Clone, Debug)]
pub struct DashboardConfig {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its certificate and key; plain HTTP when `None`.
    pub tls: Option<Identity>,
    /// Names that it may be called by, beside those of loopback and its address; lower case.
    pub hosts: Vec<String>,
    /// The file with the token, where one is given.
    pub token_file: Option<PathBuf>,
    /// The directory where a token of our own is kept.
    pub data_dir: PathBuf,
    /// Whether reading needs the token too.
    pub needs_token_to_read: bool,
}

impl DashboardConfig {
    /// Validates the arguments.
    ///
    /// # Errors
    /// [`Kind::Config`] for a certificate without a key and the reverse, and for an address that others reach without TLS.
    pub fn resolve(address: SocketAddr, args: &ListenArgs, data_dir: &Path) -> Result<Self> {
        let settings = ("--listen-tls-cert", "--listen-tls-key");
        let tls = match (&args.listen_tls_cert, &args.listen_tls_key) {
            (Some(certificate), Some(key)) => {
                Some(Identity { certificate: certificate.clone(), key: key.clone(), settings })
            }
            (None, None) => None,
            (given, _) => {
                let (one, other) = if given.is_some() { settings } else { (settings.1, settings.0) };
                return Err(Error::new(Kind::Config, format!("{one} needs {other}")).hint("give both, or neither"));
            }
        };
        let is_for_others = !address.ip().is_loopback();
        if is_for_others && tls.is_none() && !args.listen_insecure {
            return Err(Error::new(Kind::Config, "other machines are not served without TLS")
                .at(format!("--listen {address}"))
                .because("the token and personal data would cross the network in the clear")
                .hint(
                    "give --listen-tls-cert and --listen-tls-key, listen on 127.0.0.1, or say --listen-insecure where \
                     something in front of it encrypts; --health-listen serves probes and scrapers alone",
                ));
        }
        if let Some(bad) = args.listen_host.iter().find(|name| !is_host(name)) {
            return Err(Error::new(Kind::Config, "bad value of --listen-host")
                .because(format!("`{bad}` is no host name"))
                .hint("write the name alone, as in users.example.org: no scheme, no port"));
        }
        Ok(Self {
            address,
            tls,
            hosts: args.listen_host.iter().map(|name| name.trim().to_ascii_lowercase()).collect(),
            token_file: args.listen_token_file.clone(),
            data_dir: data_dir.to_owned(),
            needs_token_to_read: is_for_others,
        })
    }
}

fn is_host(name: &str) -> bool {
    let name = name.trim();
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(address: &str, args: &ListenArgs) -> Result<DashboardConfig> {
        DashboardConfig::resolve(address.parse().expect("an address"), args, Path::new("data"))
    }

    fn none() -> ListenArgs {
        ListenArgs {
            listen_token_file: None,
            listen_host: Vec::new(),
            listen_tls_cert: None,
            listen_tls_key: None,
            listen_insecure: false,
        }
    }

    #[test]
    fn others_are_served_over_tls_and_with_the_token_alone() {
        assert!(!resolve("127.0.0.1:0", &none()).expect("loopback").needs_token_to_read);
        assert!(!resolve("[::1]:0", &none()).expect("loopback").needs_token_to_read);
        for address in ["0.0.0.0:8080", "192.0.2.1:8080", "[::]:8080"] {
            assert_eq!(resolve(address, &none()).expect_err("no TLS").kind(), Kind::Config);
            let open = resolve(address, &ListenArgs { listen_insecure: true, ..none() }).expect("it was asked for");
            assert!(open.needs_token_to_read && open.tls.is_none());
            let tls = ListenArgs {
                listen_tls_cert: Some("cert.pem".into()),
                listen_tls_key: Some("key.pem".into()),
                ..none()
            };
            assert!(resolve(address, &tls).expect("TLS").needs_token_to_read);
        }
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let half = ListenArgs { listen_tls_key: Some("key.pem".into()), ..none() };
        let error = resolve("127.0.0.1:0", &half).expect_err("half of it");
        assert_eq!(error.to_string(), "--listen-tls-key needs --listen-tls-cert");
        let url = ListenArgs { listen_host: vec!["https://a".to_owned()], ..none() };
        assert!(resolve("127.0.0.1:0", &url).expect_err("a URL").to_string().contains("https://a"));
    }
}
