//! Credentials in clear text: to this machine, or where somebody has said so.

use std::net::IpAddr;

use crate::error::{Error, Kind, Result};

/// Refuses to send credentials over a connection that is not encrypted, unless `host` is this machine or `allow` says so.
///
/// `what` is what would be sent ("the password for Cassandra"), `setting` what encrypts the connection
/// (`--cassandra-tls`); `host` may have a port.
///
/// # Errors
/// [`Kind::Config`], naming both settings.
pub(super) fn refuse(what: &str, setting: &str, host: &str, allow: bool) -> Result<()> {
    if allow || is_loopback(host) {
        return Ok(());
    }
    Err(Error::new(Kind::Config, format!("{what} would go to {host} in clear text")).hint(format!(
        "encrypt the connection with {setting}, or allow it with --allow-plaintext-credentials where nobody can listen"
    )))
}

/// Whether a host, with or without a port, is this machine: `localhost`, 127.0.0.0/8, `::1`, or the directory of a socket.
pub(super) fn is_loopback(host: &str) -> bool {
    let bare = |text: &str| text.trim_start_matches('[').trim_end_matches(']').to_owned();
    let without_port = match host.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') || name.ends_with(']') => {
            if port.parse::<u16>().is_ok() {
                bare(name)
            } else {
                bare(host)
            }
        }
        _ => bare(host),
    };
    let name = without_port.trim_end_matches('.');
    name.starts_with('/')
        || name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_may_hear_everything() {
        for host in [
            "localhost",
            "LOCALHOST:9042",
            "localhost.",
            "127.0.0.1",
            "127.8.9.10:9042",
            "::1",
            "[::1]",
            "[::1]:9042",
            "[::ffff:127.0.0.1]:9042",
            "/var/run/postgresql",
        ] {
            refuse("it", "--tls", host, false).unwrap_or_else(|e| panic!("{host}: {e}"));
        }
    }

    #[test]
    fn others_only_where_it_is_allowed() {
        for host in [
            "db",
            "db:9042",
            "localhost.example.com",
            "10.0.0.1:9042",
            "2001:db8::1",
            "[2001:db8::1]:9042",
            "128.0.0.1",
            "",
        ] {
            let error = refuse("the password for Cassandra", "--cassandra-tls", host, false).expect_err(host);
            assert_eq!(error.kind(), Kind::Config);
            assert_eq!(error.to_string(), format!("the password for Cassandra would go to {host} in clear text"));
            let hint = error.hint_text().unwrap_or_default();
            assert!(hint.contains("--cassandra-tls") && hint.contains("--allow-plaintext-credentials"), "{hint}");
            refuse("the password for Cassandra", "--cassandra-tls", host, true).expect("allowed");
        }
    }
}
