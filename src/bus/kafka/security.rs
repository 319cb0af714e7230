//! TLS and login in the terms of either client, and what their refusals mean.
//!
//! Files are read anew for each client, so that renewed certificates and tokens are taken up without a restart.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::FutureExt;
use krafka::auth::{AuthConfig, OAuthBearerToken, TlsConfig};
use rskafka::client::{Credentials, OauthBearerCredentials, SaslConfig};
use rustls::ClientConfig;

use super::errors::Failure;
use super::token;
use crate::config::KafkaSecurity;
use crate::config::kafka_security::{Login, Sasl, Tokens};
use crate::error::{Kind, Result};
use crate::tls::TlsFiles;

/// krafka's security; `None` where there is neither TLS nor a login.
pub(super) async fn for_krafka(security: &KafkaSecurity) -> Result<Option<AuthConfig>, Failure> {
    let tls = security.tls.as_deref().map(krafka_tls).transpose().map_err(Failure::lasting)?;
    let Some(sasl) = &security.sasl else { return Ok(tls.map(AuthConfig::ssl)) };
    // Here what goes wrong with a token has our own words; within the clients only theirs.
    try_token(sasl).await?;
    let plain = |login: &Login| (login.user.clone(), login.password.expose().to_owned());
    let auth = match sasl {
        Sasl::Plain(login) => {
            let (user, password) = plain(login);
            AuthConfig::sasl_plain(user, password)
        }
        Sasl::ScramSha256(login) => {
            let (user, password) = plain(login);
            AuthConfig::sasl_scram_sha256(user, password)
        }
        Sasl::ScramSha512(login) => {
            let (user, password) = plain(login);
            AuthConfig::sasl_scram_sha512(user, password)
        }
        Sasl::OauthBearer(tokens) => {
            let tokens = tokens.clone();
            AuthConfig::sasl_oauthbearer_provider(move || krafka_token(tokens.clone()))
        }
    };
    Ok(Some(match tls {
        Some(tls) => auth.with_tls(tls),
        None => auth,
    }))
}

/// rskafka's TLS and login.
pub(super) async fn for_rskafka(
    security: &KafkaSecurity,
) -> Result<(Option<Arc<ClientConfig>>, Option<SaslConfig>), Failure> {
    let tls = security.tls.as_deref().map(TlsFiles::client_config).transpose().map_err(Failure::lasting)?;
    let credentials = |login: &Login| Credentials::new(login.user.clone(), login.password.expose().to_owned());
    if let Some(sasl) = &security.sasl {
        try_token(sasl).await?;
    }
    let sasl = security.sasl.as_ref().map(|sasl| match sasl {
        Sasl::Plain(login) => SaslConfig::Plain(credentials(login)),
        Sasl::ScramSha256(login) => SaslConfig::ScramSha256(credentials(login)),
        Sasl::ScramSha512(login) => SaslConfig::ScramSha512(credentials(login)),
        Sasl::OauthBearer(tokens) => {
            let tokens = tokens.clone();
            let callback = move || {
                let tokens = tokens.clone();
                async move { Ok(token::get(&tokens).await?.text.expose().to_owned()) }.boxed()
            };
            SaslConfig::Oauthbearer(OauthBearerCredentials {
                callback: Arc::new(callback),
                authz_id: None,
                bearer_kvs: Vec::new(),
            })
        }
    });
    Ok((tls.map(Arc::new), sasl))
}

async fn try_token(sasl: &Sasl) -> Result<(), Failure> {
    let Sasl::OauthBearer(tokens) = sasl else { return Ok(()) };
    match token::get(tokens).await {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == Kind::Unreachable => Err(Failure::passing(error)),
        Err(error) => Err(Failure::lasting(error)),
    }
}

async fn krafka_token(tokens: Tokens) -> krafka::Result<OAuthBearerToken> {
    let token = token::get(&tokens).await.map_err(|error| match error.kind() {
        Kind::Unreachable => krafka::KrafkaError::network(std::io::Error::other(error)),
        _ => krafka::KrafkaError::auth(error.to_string()),
    })?;
    let bearer = OAuthBearerToken::new(token.text.expose());
    Ok(match token::expires_ms(&token) {
        Some(expires) => bearer.with_lifetime_ms(expires),
        None => bearer,
    })
}

/// The same files and the same authorities as rskafka's; krafka by itself would trust Mozilla's and not the machine's.
fn krafka_tls(files: &TlsFiles) -> Result<TlsConfig> {
    // What is wrong with a file is told here, in our words.
    files.client_config()?;
    let utf8 = |path: &std::path::Path| path.to_string_lossy().into_owned();
    let mut tls = match &files.ca {
        Some(path) => TlsConfig::new().with_ca_cert(utf8(path)),
        None => TlsConfig::new().with_ca_cert_pem(machines_authorities()),
    };
    if let Some(identity) = &files.identity {
        tls = tls.with_client_cert(utf8(&identity.certificate), utf8(&identity.key));
    }
    Ok(tls)
}

/// The machine's authorities as PEM.
fn machines_authorities() -> String {
    let pem = |der: &[u8]| {
        let lines: Vec<_> =
            STANDARD.encode(der).into_bytes().chunks(64).map(String::from_utf8_lossy).map(String::from).collect();
        format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
    };
    rustls_native_certs::load_native_certs().certs.iter().map(|der| pem(der)).collect()
}

/// What a client's words mean, where they are about a certificate or a login.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// Which setting it is about, and what the broker said, without what the client wrote around it.
    pub(super) because: String,
    /// What mends it.
    pub(super) hint: &'static str,
}

/// Where rustls' words for a certificate begin.
const CERTIFICATE: &str = "invalid peer certificate: ";
/// Where rustls' words for the other side's refusal begin.
const ALERT: &str = "received fatal alert: ";
/// krafka writes `… failed: CODE - MESSAGE`; the message is the broker's.
const LOGIN_CODE: &str = "SaslAuthenticationFailed - ";
/// Words of a refused login: krafka's, rskafka's, and those of either's SCRAM.
const LOGIN: [&str; 5] =
    ["SaslAuthenticationFailed", "SASL authentication", "Sasl handshake failed", "SCRAM", "invalid_token"];

const HINT_CA: &str = "name the authority that signed it with -X ssl.ca.location=FILE";
const HINT_EXPIRED: &str = "the broker needs a new certificate, or the clock of this machine is wrong";
const HINT_NAME: &str = "give --brokers, and the broker's advertised.listeners, a host name that its certificate has";
const HINT_CLIENT: &str =
    "give a certificate that the broker trusts: -X ssl.certificate.location=FILE -X ssl.key.location=FILE";
const HINT_LOGIN: &str =
    "check sasl.username and its password (USERPIPE_SASL_PASSWORD, --sasl-password-file, or sasl.password in -F)";
const HINT_TOKEN: &str = "check sasl.oauthbearer.token.file, or sasl.oauthbearer.client.id and scope";

/// Reads either client's text for a refusal; both repeat what rustls and the broker said.
pub(super) fn refusal(text: &str) -> Option<Refusal> {
    let after = |start: &str| text.rsplit_once(start).map(|(_, rest)| rest);
    if let Some(certificate) = after(CERTIFICATE) {
        return Some(certificate_refusal(certificate));
    }
    if let Some(alert) = after(ALERT).filter(|alert| is_about_certificates(alert)) {
        let because = format!("it asks for a certificate that it trusts (ssl.certificate.location): {ALERT}{alert}");
        return Some(Refusal { because, hint: HINT_CLIENT });
    }
    // A connection that broke on the way, or a token that did not come, is no refusal.
    let is_broken = text.contains("Request error") || text.contains("user defined callback");
    if is_broken || !LOGIN.iter().any(|word| text.contains(word)) {
        return None;
    }
    let said = after(LOGIN_CODE).filter(|message| !message.trim().is_empty());
    let said = said.or_else(|| after("authentication error: ")).or_else(|| after("Sasl handshake failed: "));
    let said = said.unwrap_or(text);
    Some(if text.contains("OAUTHBEARER") || text.contains("invalid_token") {
        Refusal { because: format!("it refuses the token of sasl.oauthbearer: {said}"), hint: HINT_TOKEN }
    } else {
        Refusal { because: format!("it refuses the login of sasl.username: {said}"), hint: HINT_LOGIN }
    })
}

fn certificate_refusal(said: &str) -> Refusal {
    let (what, hint) = if said.contains("expired") || said.contains("Expired") {
        ("its certificate has expired (security.protocol)", HINT_EXPIRED)
    } else if said.contains("not valid for name") || said.contains("NotValidForName") {
        ("its certificate is for another host (--brokers)", HINT_NAME)
    } else {
        ("its certificate is not trusted (ssl.ca.location)", HINT_CA)
    };
    Refusal { because: format!("{what}: {CERTIFICATE}{said}"), hint }
}

/// Alerts that a server ends a handshake with for want of a good client certificate (RFC 8446, 6.2).
fn is_about_certificates(alert: &str) -> bool {
    ["Certificate", "UnknownCA", "AccessDenied"].iter().any(|word| alert.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_from_broken_connections() {
        let because = |text: &str| refusal(text).map(|refusal| refusal.because);
        let krafka = "authentication error: could not connect to any of [h:1]: SASL authentication failed: \
                      SaslAuthenticationFailed - Authentication failed: Invalid username or password";
        let login = "it refuses the login of sasl.username: Authentication failed: Invalid username or password";
        assert_eq!(because(krafka).as_deref(), Some(login));
        assert!(because("Sasl handshake failed: API error: SaslAuthenticationFailed").is_some());
        for broken in [
            "network error: Connection reset by peer",
            "Sasl handshake failed: Request error: Cannot read data: early eof",
            "Sasl handshake failed: Error in user defined callback: no token",
            "network error: received fatal alert: HandshakeFailure",
        ] {
            assert_eq!(refusal(broken), None, "{broken}");
        }
    }

    #[test]
    fn each_refused_certificate_has_its_own_hint() {
        let hint = |text: &str| refusal(text).map(|refusal| refusal.hint);
        assert_eq!(hint("TLS handshake failed: invalid peer certificate: UnknownIssuer"), Some(HINT_CA));
        assert_eq!(hint("invalid peer certificate: certificate expired: verification time 2"), Some(HINT_EXPIRED));
        assert_eq!(hint("invalid peer certificate: certificate not valid for name \"a\""), Some(HINT_NAME));
        assert_eq!(hint("IO: received fatal alert: CertificateRequired"), Some(HINT_CLIENT));
    }

    #[test]
    fn the_machines_authorities_are_pem_that_can_be_read_again() {
        use rustls::pki_types::CertificateDer;
        use rustls::pki_types::pem::PemObject;
        let there = rustls_native_certs::load_native_certs().certs;
        let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(machines_authorities().as_bytes()).collect();
        assert_eq!(read.expect("it is PEM"), there);
    }
}
