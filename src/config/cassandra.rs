//! Cassandra: where it is, who we are there, and how the connection is secured.

use super::plaintext;
use super::resolve::{addresses, identifier, replication};
use super::secrets::password;
use super::{CassandraConfig, TableConfig};
use crate::cli::{Connections, SecurityArgs};
use crate::error::{Error, Kind, Result};
use crate::tls::{Identity, TlsFiles};

/// Validates what is said of Cassandra.
///
/// # Errors
/// [`Kind::Config`], naming the option.
pub(super) fn cassandra(from: &Connections, table: TableConfig) -> Result<CassandraConfig> {
    identifier("--keyspace", &from.keyspace)?;
    let contact_points = addresses("--cassandra", &from.cassandra, 9042)?;
    let password = password(&["USERPIPE_CASSANDRA_PASSWORD"], from.cassandra_password_file.as_deref())?;
    let login = match (&from.cassandra_user, password) {
        (Some(user), Some(password)) => Some((user.clone(), password)),
        (None, _) => None,
        (Some(_), None) => {
            return Err(Error::new(Kind::Config, "--cassandra-user needs a password")
                .hint("set USERPIPE_CASSANDRA_PASSWORD, or --cassandra-password-file"));
        }
    };
    let tls = tls(&from.security)?;
    let plaintext_login_is_allowed = from.security.allow_plaintext_credentials;
    if login.is_some() && tls.is_none() {
        for address in &contact_points {
            plaintext::refuse("the password for Cassandra", "--cassandra-tls", address, plaintext_login_is_allowed)?;
        }
    }
    Ok(CassandraConfig {
        contact_points,
        login,
        tls,
        plaintext_login_is_allowed,
        keyspace: from.keyspace.clone(),
        table,
        local_dc: from.local_dc.clone(),
        consistency: from.consistency,
        replication: replication(&from.replication)?,
        request_timeout: from.cassandra_timeout,
        connect_timeout: from.connect_timeout,
        statements_in_flight_max: from.cassandra_in_flight as usize,
        rewrite_at: None,
    })
}

/// Any of the files implies TLS.
fn tls(from: &SecurityArgs) -> Result<Option<TlsFiles>> {
    let identity = match (&from.cassandra_cert, &from.cassandra_key) {
        (Some(certificate), Some(key)) => Some(Identity {
            certificate: certificate.clone(),
            key: key.clone(),
            settings: ("--cassandra-cert", "--cassandra-key"),
        }),
        (None, None) => None,
        (Some(_), None) => return Err(lonely("--cassandra-cert", "--cassandra-key")),
        (None, Some(_)) => return Err(lonely("--cassandra-key", "--cassandra-cert")),
    };
    let is_wanted = from.cassandra_tls || from.cassandra_ca.is_some() || identity.is_some();
    Ok(is_wanted.then(|| TlsFiles { ca: from.cassandra_ca.clone(), identity, ca_setting: "--cassandra-ca" }))
}

fn lonely(given: &str, missing: &str) -> Error {
    Error::new(Kind::Config, format!("{given} needs {missing}")).hint("a certificate is shown with its private key")
}
