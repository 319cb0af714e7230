//! What is wrong with a TLS connection, in words that name the setting.

use std::error::Error as StdError;
use std::io;

use rustls::{AlertDescription, CertificateError, InvalidMessage};

use crate::error::{Error, Kind};

/// Why a TLS connection did not come about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The server's certificate is of an authority that is not trusted.
    Untrusted,
    /// The server's certificate is not valid any more.
    Expired,
    /// The server's certificate is not valid yet.
    NotYetValid,
    /// The server's certificate is for other names: these.
    WrongName(Vec<String>),
    /// The server's certificate is no good for another reason.
    BadCertificate(String),
    /// The server ended the handshake over our certificate, or for want of one.
    ClientCertificate(String),
    /// Whatever answers, it does not speak TLS.
    NotTls,
}

/// What the settings of one service are called.
#[derive(Clone, Copy, Debug)]
pub struct SettingNames {
    /// The address: `--cassandra`.
    pub address: &'static str,
    /// The trusted authorities: `--cassandra-ca`.
    pub ca: &'static str,
    /// Our certificate and key: `--cassandra-cert and --cassandra-key`.
    pub identity: &'static str,
    /// What to do about a server that does not speak TLS.
    pub without_tls: &'static str,
}

impl Fault {
    /// Finds the fault among an error and its causes; `None` where TLS is not what failed.
    pub fn of(error: &(dyn StdError + 'static)) -> Option<Self> {
        let mut cause = Some(error);
        while let Some(error) = cause {
            if let Some(tls) = error.downcast_ref::<rustls::Error>() {
                return Self::of_rustls(tls);
            }
            // The source of an I/O error is that of the error inside, which itself is left out.
            let inside = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
            cause = inside.map(|inside| inside as &(dyn StdError + 'static)).or_else(|| error.source());
        }
        None
    }

    /// As [`Fault::of`], for what a server says after the handshake and before anything else: whatever the alert, our
    /// certificate is all that it has learnt since (Cassandra says `InternalError` of one whose authority it does not trust).
    pub fn after_handshake(error: &io::Error) -> Option<Self> {
        match error.get_ref().and_then(|inside| inside.downcast_ref::<rustls::Error>()) {
            Some(rustls::Error::AlertReceived(alert)) => Some(Self::ClientCertificate(format!("{alert:?}"))),
            _ => Self::of(error),
        }
    }

    fn of_rustls(error: &rustls::Error) -> Option<Self> {
        match error {
            rustls::Error::InvalidCertificate(reason) => Some(match reason {
                CertificateError::UnknownIssuer | CertificateError::BadSignature => Self::Untrusted,
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Self::NotYetValid,
                CertificateError::NotValidForName => Self::WrongName(Vec::new()),
                CertificateError::NotValidForNameContext { presented, .. } => Self::WrongName(presented.clone()),
                other => Self::BadCertificate(other.to_string()),
            }),
            rustls::Error::AlertReceived(alert) => Self::of_alert(*alert),
            rustls::Error::InvalidMessage(
                InvalidMessage::InvalidContentType
                | InvalidMessage::UnknownProtocolVersion
                | InvalidMessage::MessageTooLarge,
            ) => Some(Self::NotTls),
            _ => None,
        }
    }

    /// What a server says that does not like our certificate, or misses it (RFC 8446, section 6.2).
    fn of_alert(alert: AlertDescription) -> Option<Self> {
        let is_about_us = matches!(
            alert,
            AlertDescription::CertificateRequired
                | AlertDescription::BadCertificate
                | AlertDescription::UnsupportedCertificate
                | AlertDescription::CertificateRevoked
                | AlertDescription::CertificateExpired
                | AlertDescription::CertificateUnknown
                | AlertDescription::UnknownCA
                | AlertDescription::AccessDenied
                | AlertDescription::DecryptError
                | AlertDescription::HandshakeFailure
        );
        is_about_us.then(|| Self::ClientCertificate(format!("{alert:?}")))
    }

    /// The error of `what` ("cannot reach Cassandra"), with a hint that names the setting. `has_identity` says whether we
    /// have shown a certificate.
    pub fn error(&self, what: &str, settings: SettingNames, has_identity: bool) -> Error {
        let SettingNames { address, ca, identity, without_tls } = settings;
        let (kind, reason, hint) = match self {
            Self::Untrusted => (
                Kind::Config,
                "its certificate is of an authority that is not trusted".to_owned(),
                format!("name the PEM file of its authority with {ca}"),
            ),
            Self::Expired => (
                Kind::Config,
                "its certificate has expired".to_owned(),
                "renew the server's certificate, or set this machine's clock".to_owned(),
            ),
            Self::NotYetValid => (
                Kind::Config,
                "its certificate is not valid yet".to_owned(),
                "set this machine's clock, or renew the server's certificate".to_owned(),
            ),
            Self::WrongName(names) => (
                Kind::Config,
                format!("its certificate is not for this name, but for {}", listed(names)),
                format!("write in {address} a name that its certificate is for, or renew the certificate"),
            ),
            Self::BadCertificate(reason) => (
                Kind::Config,
                format!("its certificate is refused: {reason}"),
                format!("renew the server's certificate, or check {ca}"),
            ),
            Self::ClientCertificate(alert) if has_identity => (
                Kind::Refused,
                format!("it refuses our certificate ({alert})"),
                format!("check {identity}: of an authority that the server trusts, and still valid"),
            ),
            Self::ClientCertificate(alert) => (
                Kind::Refused,
                format!("it asks for a certificate of ours ({alert})"),
                format!("name one that it trusts with {identity}"),
            ),
            Self::NotTls => (Kind::Config, "it does not speak TLS".to_owned(), without_tls.to_owned()),
        };
        Error::new(kind, what).because(reason).hint(hint)
    }
}

/// The names of a certificate; rustls writes them as `DnsName("a")` and `IpAddress(…)`.
fn listed(names: &[String]) -> String {
    let plain = |name: &String| {
        let inner = name.split_once('(').map_or(name.as_str(), |(_, inner)| inner.trim_end_matches(')'));
        inner.trim_matches('"').to_owned()
    };
    let names: Vec<_> = names.iter().map(plain).collect();
    if names.is_empty() { "others".to_owned() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: SettingNames = SettingNames {
        address: "--cassandra",
        ca: "--cassandra-ca",
        identity: "--cassandra-cert and --cassandra-key",
        without_tls: "leave --cassandra-tls out",
    };

    fn said(fault: &Fault, has_identity: bool) -> (Kind, String, String) {
        let error = fault.error("cannot reach Cassandra", NAMES, has_identity);
        (error.kind(), error.to_string(), error.hint_text().unwrap_or_default().to_owned())
    }

    #[test]
    fn the_fault_is_found_within_errors_of_others() {
        let inner = rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let io = io::Error::new(io::ErrorKind::InvalidData, inner);
        assert_eq!(Fault::of(&io), Some(Fault::Untrusted));
        let ours = Error::new(Kind::Failed, "x").because(io);
        assert_eq!(Fault::of(&ours), Some(Fault::Untrusted));
        assert_eq!(Fault::of(&io::Error::from(io::ErrorKind::ConnectionRefused)), None);
    }

    #[test]
    fn each_fault_is_a_line_and_a_hint_with_the_setting() {
        let (kind, text, hint) = said(&Fault::Untrusted, false);
        assert_eq!(kind, Kind::Config);
        assert_eq!(text, "cannot reach Cassandra: its certificate is of an authority that is not trusted");
        assert!(hint.contains("--cassandra-ca"), "{hint}");
        let (_, text, hint) =
            said(&Fault::WrongName(vec!["DnsName(\"db\")".to_owned(), "IpAddress(10.0.0.1)".to_owned()]), false);
        assert!(text.ends_with("but for db, 10.0.0.1") && hint.contains("--cassandra "), "{text} {hint}");
        let (kind, text, hint) = said(&Fault::ClientCertificate("CertificateRequired".to_owned()), false);
        assert!(kind == Kind::Refused && text.contains("asks for a certificate"), "{text}");
        assert!(hint.contains("--cassandra-cert"), "{hint}");
        let (kind, text, _) = said(&Fault::ClientCertificate("UnknownCA".to_owned()), true);
        assert!(kind == Kind::Refused && text.contains("refuses our certificate (UnknownCA)"), "{text}");
    }
}
