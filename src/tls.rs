//! TLS towards the services: which authority is trusted, and who we are. One way for Kafka, Cassandra and the registry;
//! and the server's side of it, for the dashboard.
//!
//! The host's name is always checked, and there is no setting that trusts everybody.

mod fault;

use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

pub use fault::{Fault, SettingNames};

use crate::error::{Error, Kind, Result};
use crate::files::read_at_most;

/// A PEM file larger than this is no certificate.
const PEM_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// The files of one TLS connection. The names of the settings are for errors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// PEM file of the authorities to trust; the system's own when `None`.
    pub ca: Option<PathBuf>,
    /// PEM files of the client's certificate chain and its private key, where the service asks for them.
    pub identity: Option<Identity>,
    /// What the setting of `ca` is called, as in `--cassandra-ca`.
    pub ca_setting: &'static str,
}

/// Who we are, as a client or a server: a certificate chain and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// PEM file of the chain, our certificate first.
    pub certificate: PathBuf,
    /// PEM file of the unencrypted private key (PKCS#8, PKCS#1 or SEC1).
    pub key: PathBuf,
    /// What the settings of the two are called.
    pub settings: (&'static str, &'static str),
}

impl TlsFiles {
    /// Reads the files.
    ///
    /// # Errors
    /// [`Kind::Config`], naming the setting and the file.
    pub fn client_config(&self) -> Result<ClientConfig> {
        let builder = ClientConfig::builder().with_root_certificates(self.roots()?);
        let Some(identity) = &self.identity else { return Ok(builder.with_no_client_auth()) };
        let (chain, key) = identity.read()?;
        builder.with_client_auth_cert(chain, key).map_err(|e| bad(identity.settings.1, &identity.key, e.to_string()))
    }

    fn roots(&self) -> Result<RootCertStore> {
        let mut roots = RootCertStore::empty();
        if let Some(path) = &self.ca {
            for certificate in certificates(self.ca_setting, path)? {
                roots.add(certificate).map_err(|e| bad(self.ca_setting, path, e.to_string()))?;
            }
            return Ok(roots);
        }
        let system = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(system.certs);
        if roots.is_empty() {
            return Err(Error::new(Kind::Config, "this machine has no certificate authorities to trust")
                .hint(format!("install ca-certificates, or name a PEM file with {}", self.ca_setting)));
        }
        Ok(roots)
    }
}

impl Identity {
    /// Reads the files, for a server of HTTP/1.1 that asks nobody for a certificate.
    ///
    /// # Errors
    /// [`Kind::Config`], naming the setting and the file.
    pub fn server_config(&self) -> Result<ServerConfig> {
        let (chain, key) = self.read()?;
        let builder = ServerConfig::builder().with_no_client_auth();
        let mut config =
            builder.with_single_cert(chain, key).map_err(|e| bad(self.settings.1, &self.key, e.to_string()))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }

    fn read(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
        let (certificate_setting, key_setting) = self.settings;
        let chain = certificates(certificate_setting, &self.certificate)?;
        let bytes = read(key_setting, &self.key)?;
        let key = PrivateKeyDer::from_pem_slice(&bytes)
            .map_err(|e| bad(key_setting, &self.key, format!("no private key that can be read: {e}")))?;
        Ok((chain, key))
    }
}

fn certificates(setting: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let bytes = read(setting, path)?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match all {
        Ok(all) if all.is_empty() => Err(bad(setting, path, "no PEM certificate in it".to_owned())),
        Ok(all) => Ok(all),
        Err(error) => Err(bad(setting, path, error.to_string())),
    }
}

fn read(setting: &str, path: &Path) -> Result<Vec<u8>> {
    read_at_most(path, PEM_BYTES_MAX).map_err(|e| bad(setting, path, e.to_string()))
}

fn bad(setting: &str, path: &Path, reason: String) -> Error {
    Error::new(Kind::Config, format!("bad value of {setting}"))
        .at(path.display().to_string())
        .because(reason)
        .hint("it takes the path of a PEM file that this user may read")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(ca: &Path) -> TlsFiles {
        TlsFiles { ca: Some(ca.to_owned()), identity: None, ca_setting: "--cassandra-ca" }
    }

    #[test]
    fn what_is_wrong_with_a_file_names_its_setting() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let dir = tempfile::tempdir().expect("a directory");
        let missing = files(&dir.path().join("nowhere.pem")).client_config().expect_err("not there");
        assert_eq!(missing.kind(), Kind::Config);
        assert!(missing.to_string().starts_with("bad value of --cassandra-ca at "), "{missing}");
        let empty = dir.path().join("empty.pem");
        std::fs::write(&empty, "hello\n").expect("written");
        let error = files(&empty).client_config().expect_err("no certificate");
        assert!(error.to_string().ends_with("no PEM certificate in it"), "{error}");
    }

    #[test]
    fn an_authority_and_an_identity_make_a_configuration() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let dir = tempfile::tempdir().expect("a directory");
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
        let (certificate, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
        std::fs::write(&certificate, made.cert.pem()).expect("written");
        std::fs::write(&key, made.signing_key.serialize_pem()).expect("written");
        let identity =
            Identity { certificate: certificate.clone(), key, settings: ("--cassandra-cert", "--cassandra-key") };
        let both = TlsFiles { identity: Some(identity.clone()), ..files(&certificate) };
        both.client_config().expect("they fit");
        let swapped = Identity { key: certificate.clone(), ..identity };
        let error = TlsFiles { identity: Some(swapped), ..files(&certificate) }.client_config().expect_err("no key");
        assert!(error.to_string().contains("--cassandra-key"), "{error}");
    }
}
