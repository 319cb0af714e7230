//! Why a cluster that is there cannot be talked to: its listener is tried step by step, TCP, TLS, Kafka, login.
//!
//! The clients only say that a connection broke, or a length that makes no sense: a broker closes without a word what
//! it does not understand. Nothing secret is sent here, and nothing is logged in.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConnection;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::security::refusal;
use crate::config::{KafkaConfig, KafkaSecurity};
use crate::error::{Error, Kind, Result};

/// The limit for all steps at one address.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// An answer to the first questions is shorter than this.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// `ApiVersions` v0: every broker answers it before the login.
const API_VERSIONS: [u8; 4] = [0, 18, 0, 0];
/// `Metadata` v1 of no topic: only after the login.
const METADATA: [u8; 4] = [0, 3, 0, 1];
/// `SaslHandshake` v1: which mechanisms there are.
const SASL_HANDSHAKE: [u8; 4] = [0, 17, 0, 1];

/// Kafka's error codes for a handshake.
const UNSUPPORTED_SASL_MECHANISM: i16 = 33;
const ILLEGAL_SASL_STATE: i16 = 34;

/// The first bytes of a TLS alert and of a TLS handshake record.
const TLS_RECORDS: [[u8; 2]; 2] = [[0x15, 0x03], [0x16, 0x03]];

/// What is wrong.
#[derive(Debug, PartialEq, Eq)]
enum Mismatch {
    SpeaksTls,
    NoTls,
    WantsLogin,
    TakesNoLogin,
    NoMechanism(Vec<String>),
    Refused(String),
}

/// Why a conversation broke off.
#[derive(Debug)]
enum Broken {
    /// No connection at all, or one that was closed.
    Closed,
    /// By TLS, in rustls' words.
    Tls(String),
    /// What came is no answer of Kafka.
    NotKafka([u8; 2]),
}

/// What keeps the brokers of `config` from being talked to as `security.protocol` says, where that can be found out.
pub(super) async fn mismatch(config: &KafkaConfig, what: &str) -> Option<Error> {
    for address in &config.brokers {
        if let Ok(Ok(Some(found))) = timeout(PROBE_TIMEOUT, look(&config.security, address)).await {
            return Some(told(&found, &config.security, address, what));
        }
    }
    None
}

fn told(found: &Mismatch, security: &KafkaSecurity, address: &str, what: &str) -> Error {
    let protocol = security.protocol();
    let error = |kind, because: String, hint: String| Error::new(kind, what).at(address).because(because).hint(hint);
    let with = |tls: bool, sasl: bool| match (tls, sasl) {
        (false, false) => "PLAINTEXT",
        (true, false) => "SSL",
        (false, true) => "SASL_PLAINTEXT",
        (true, true) => "SASL_SSL",
    };
    let (has_tls, has_login) = (security.tls.is_some(), security.sasl.is_some());
    match found {
        Mismatch::SpeaksTls => error(
            Kind::Config,
            format!("its listener speaks TLS, and security.protocol is {protocol}"),
            format!("say -X security.protocol={}, or SASL_SSL where it asks for a login too", with(true, has_login)),
        ),
        Mismatch::NoTls => error(
            Kind::Config,
            format!("its listener does not speak TLS, and security.protocol is {protocol}"),
            format!("say -X security.protocol={}, or give --brokers the port with TLS", with(false, has_login)),
        ),
        Mismatch::WantsLogin => error(
            Kind::Refused,
            format!("its listener asks for a login, and security.protocol is {protocol}"),
            format!("say -X security.protocol={} with sasl.mechanism and sasl.username", with(has_tls, true)),
        ),
        Mismatch::TakesNoLogin => error(
            Kind::Config,
            format!("its listener takes no login, and security.protocol is {protocol}"),
            format!("say -X security.protocol={}", with(has_tls, false)),
        ),
        Mismatch::NoMechanism(there) => error(
            Kind::Config,
            format!("it does not have sasl.mechanism={}", security.sasl.as_ref().map_or("", |sasl| sasl.mechanism())),
            format!("it has {}", there.join(", ")),
        ),
        Mismatch::Refused(text) => match refusal(text) {
            Some(refusal) => error(Kind::Refused, refusal.because, refusal.hint.to_owned()),
            None => error(
                Kind::Config,
                format!("no TLS with it, and security.protocol is {protocol}: {text}"),
                "it must speak TLS 1.2 or 1.3".to_owned(),
            ),
        },
    }
}

/// `Ok(None)` where nothing is wrong up to the login itself; `Err` where nobody can tell.
async fn look(security: &KafkaSecurity, address: &str) -> Result<Option<Mismatch>, Broken> {
    let mut wire = Wire::open(address).await?;
    if let Some(files) = &security.tls {
        let config = files.client_config().map_err(|error| Broken::Tls(error.to_string()))?;
        match wire.encrypt(address, config).await {
            Ok(()) => {}
            Err(Broken::Tls(text)) if refusal(&text).is_some() => return Ok(Some(Mismatch::Refused(text))),
            Err(broken) if answers_in_clear(address).await => {
                tracing::debug!(?broken, "a listener without TLS");
                return Ok(Some(Mismatch::NoTls));
            }
            Err(Broken::Tls(text)) => return Ok(Some(Mismatch::Refused(text))),
            Err(broken) => return Err(broken),
        }
    }
    match wire.ask(API_VERSIONS, &[]).await {
        Ok(_) => {}
        // With TLS 1.3 our certificate is looked at after the handshake is over for us.
        Err(Broken::Tls(text)) => return Ok(Some(Mismatch::Refused(text))),
        Err(Broken::NotKafka(begin)) if TLS_RECORDS.contains(&begin) => return Ok(Some(Mismatch::SpeaksTls)),
        Err(Broken::Closed) if security.tls.is_none() && answers_tls(address).await => {
            return Ok(Some(Mismatch::SpeaksTls));
        }
        Err(broken) => return Err(broken),
    }
    let Some(sasl) = &security.sasl else {
        return Ok(match wire.ask(METADATA, &[0, 0, 0, 0]).await {
            Err(Broken::Closed) => Some(Mismatch::WantsLogin),
            _ => None,
        });
    };
    let mechanism = sasl.mechanism();
    let mut body = i16::try_from(mechanism.len()).unwrap_or_default().to_be_bytes().to_vec();
    body.extend_from_slice(mechanism.as_bytes());
    Ok(match handshake(&wire.ask(SASL_HANDSHAKE, &body).await?) {
        Some((UNSUPPORTED_SASL_MECHANISM, there)) => Some(Mismatch::NoMechanism(there)),
        Some((ILLEGAL_SASL_STATE, _)) => Some(Mismatch::TakesNoLogin),
        _ => None,
    })
}

/// The code and the mechanisms of an answer to `SaslHandshake`.
fn handshake(answer: &[u8]) -> Option<(i16, Vec<String>)> {
    let (code, rest) = answer.split_first_chunk::<2>()?;
    let (count, mut rest) = rest.split_first_chunk::<4>()?;
    let mut there = Vec::new();
    for _ in 0..i32::from_be_bytes(*count) {
        let (length, after) = rest.split_first_chunk::<2>()?;
        let (name, after) = after.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        there.push(String::from_utf8_lossy(name).into_owned());
        rest = after;
    }
    Some((i16::from_be_bytes(*code), there))
}

async fn answers_in_clear(address: &str) -> bool {
    match Wire::open(address).await {
        Ok(mut wire) => wire.ask(API_VERSIONS, &[]).await.is_ok(),
        Err(_) => false,
    }
}

/// Whether it answers TLS with TLS, whatever it thinks of us.
async fn answers_tls(address: &str) -> bool {
    let nobody = rustls::RootCertStore::empty();
    let config = rustls::ClientConfig::builder().with_root_certificates(nobody).with_no_client_auth();
    match Wire::open(address).await {
        Ok(mut wire) => match wire.encrypt(address, config).await {
            Ok(()) => true,
            Err(Broken::Tls(text)) => refusal(&text).is_some(),
            Err(_) => false,
        },
        Err(_) => false,
    }
}

/// A connection, encrypted or not.
struct Wire {
    tcp: TcpStream,
    tls: Option<ClientConnection>,
    received: Vec<u8>,
}

impl Wire {
    async fn open(address: &str) -> Result<Self, Broken> {
        let tcp = TcpStream::connect(address).await.map_err(|_| Broken::Closed)?;
        Ok(Self { tcp, tls: None, received: Vec::new() })
    }

    async fn encrypt(&mut self, address: &str, config: rustls::ClientConfig) -> Result<(), Broken> {
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(host).map_err(|e| Broken::Tls(e.to_string()))?;
        let tls = ClientConnection::new(Arc::new(config), name).map_err(|e| Broken::Tls(e.to_string()))?;
        self.tls = Some(tls);
        while self.tls.as_ref().is_some_and(|tls| tls.is_handshaking()) {
            self.flush().await?;
            self.fill().await?;
        }
        self.flush().await
    }

    /// One request with this body; the answer after its header.
    async fn ask(&mut self, api: [u8; 4], body: &[u8]) -> Result<Vec<u8>, Broken> {
        // correlation id 7, and no client id
        let header = [&api[..], &[0, 0, 0, 7], &[0xff, 0xff]].concat();
        let length = u32::try_from(header.len() + body.len()).unwrap_or(u32::MAX);
        self.send(&[&length.to_be_bytes()[..], &header, body].concat()).await?;
        let length = self.take(4).await?;
        let length = length.first_chunk::<4>().copied().unwrap_or_default();
        match usize::try_from(i32::from_be_bytes(length)) {
            Ok(size) if (4..=ANSWER_BYTES_MAX).contains(&size) => {
                let answer = self.take(size).await?;
                Ok(answer.get(4..).unwrap_or_default().to_vec())
            }
            _ => Err(Broken::NotKafka([length[0], length[1]])),
        }
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        match &mut self.tls {
            Some(tls) => {
                tls.writer().write_all(bytes).map_err(|_| Broken::Closed)?;
                self.flush().await
            }
            None => self.tcp.write_all(bytes).await.map_err(|_| Broken::Closed),
        }
    }

    async fn take(&mut self, count: usize) -> Result<Vec<u8>, Broken> {
        while self.received.len() < count {
            self.fill().await?;
        }
        let rest = self.received.split_off(count);
        Ok(std::mem::replace(&mut self.received, rest))
    }

    /// Writes what TLS has to say.
    async fn flush(&mut self) -> Result<(), Broken> {
        let Some(tls) = &mut self.tls else { return Ok(()) };
        let mut bytes = Vec::new();
        while tls.wants_write() {
            tls.write_tls(&mut bytes).map_err(|_| Broken::Closed)?;
        }
        self.tcp.write_all(&bytes).await.map_err(|_| Broken::Closed)
    }

    /// Reads what there is, at least one byte.
    async fn fill(&mut self) -> Result<(), Broken> {
        let mut chunk = vec![0; 16 * 1024];
        let count = self.tcp.read(&mut chunk).await.map_err(|_| Broken::Closed)?;
        let mut came = chunk.get(..count).filter(|came| !came.is_empty()).ok_or(Broken::Closed)?;
        let Some(tls) = &mut self.tls else {
            self.received.extend_from_slice(came);
            return Ok(());
        };
        while !came.is_empty() {
            tls.read_tls(&mut came).map_err(|_| Broken::Closed)?;
            if let Err(error) = tls.process_new_packets() {
                // The alert tells the broker's log; it may be gone already.
                let _ = self.flush().await;
                return Err(Broken::Tls(error.to_string()));
            }
        }
        match tls.reader().read_to_end(&mut self.received) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(_) => Err(Broken::Closed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mechanisms_of_a_handshake_are_read() {
        let answer = [&[0, 33, 0, 0, 0, 2, 0, 5][..], b"PLAIN", &[0, 3], b"abc"].concat();
        assert_eq!(handshake(&answer), Some((33, vec!["PLAIN".to_owned(), "abc".to_owned()])));
        assert_eq!(handshake(&[0, 0, 0, 0, 0, 0]), Some((0, Vec::new())));
        assert_eq!(handshake(&answer[..10]), None, "cut short");
        assert_eq!(handshake(&[]), None);
    }
}
