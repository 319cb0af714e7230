//! Servers with all kinds of certificates: each is taken, or refused in a line that names the setting.

use std::path::Path;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::tls::{Identity, TlsFiles};

#[path = "../../../../../tests/certificates/mod.rs"]
mod certificates;

use certificates::{Authority, Issued, Validity};

/// How the test servers are talked to.
const PLAIN_V4: Speech = Speech { version: Version::V4, compression: Compression::None };

const HERE: [&str; 2] = ["localhost", "127.0.0.1"];

/// An authority, and a directory for its files.
struct Pki {
    directory: tempfile::TempDir,
    authority: Authority,
}

impl Pki {
    fn new() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let pki = Self { directory: tempfile::tempdir().expect("a directory"), authority: Authority::new("test-ca") };
        std::fs::write(pki.directory.path().join("ca.pem"), pki.authority.pem()).expect("written");
        pki
    }

    /// TLS that trusts this authority.
    fn files(&self) -> TlsFiles {
        TlsFiles { ca: Some(self.directory.path().join("ca.pem")), identity: None, ca_setting: "--cassandra-ca" }
    }

    /// A server that speaks TLS with this certificate, and asks clients for one of `clients` where that is given.
    async fn server(&self, issued: &Issued, clients: Option<&Authority>) -> String {
        let chain = vec![CertificateDer::from_pem_slice(issued.certificate.as_bytes()).expect("a certificate")];
        let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).expect("a key");
        let config = ServerConfig::builder();
        let config = match clients {
            None => config.with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                let root = CertificateDer::from_pem_slice(authority.pem().as_bytes()).expect("a certificate");
                roots.add(root).expect("an authority");
                config
                    .with_client_cert_verifier(WebPkiClientVerifier::builder(roots.into()).build().expect("it builds"))
            }
        };
        let acceptor = TlsAcceptor::from(Arc::new(config.with_single_cert(chain, key).expect("they fit")));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address").to_string();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        let _ = serve(stream, |_, _, _| (OPCODE_READY, Vec::new())).await;
                    }
                });
            }
        });
        address
    }
}

fn encrypted(address: &str, tls: TlsFiles) -> CassandraConfig {
    CassandraConfig { tls: Some(tls), ..config(&[address.to_owned()]) }
}

/// Kind, line and hint of a refusal.
async fn refusal(config: &CassandraConfig) -> (Kind, String, String) {
    let error = preflight(config, soon()).await.err().expect("it is refused");
    (error.kind(), error.to_string(), error.hint_text().unwrap_or_default().to_owned())
}

fn identity(issued: &Issued, directory: &Path) -> Identity {
    let (certificate, key) = issued.write(directory, "client");
    Identity { certificate, key, settings: ("--cassandra-cert", "--cassandra-key") }
}

#[tokio::test]
async fn a_server_is_known_by_its_name_or_by_its_address() {
    let pki = Pki::new();
    let address = pki.server(&pki.authority.issue(&["127.0.0.1"], Validity::Good), None).await;
    preflight(&encrypted(&address, pki.files()), soon()).await.map(drop).expect("for its address");
    let port = address.rsplit_once(':').expect("a port").1;
    let (_, text, _) = refusal(&encrypted(&format!("localhost:{port}"), pki.files())).await;
    assert!(text.contains("not for this name, but for 127.0.0.1"), "{text}");

    let address = pki.server(&pki.authority.issue(&["localhost"], Validity::Good), None).await;
    let port = address.rsplit_once(':').expect("a port").1;
    preflight(&encrypted(&format!("localhost:{port}"), pki.files()), soon()).await.map(drop).expect("for its name");
    let (kind, text, hint) = refusal(&encrypted(&address, pki.files())).await;
    assert_eq!(kind, Kind::Config);
    let expected = "its certificate is not for this name, but for localhost";
    assert_eq!(text, format!("cannot reach Cassandra at {address}: {expected}"));
    assert!(hint.contains("--cassandra "), "{hint}");
}

#[tokio::test]
async fn the_name_of_a_contact_point_is_that_of_its_node_whoever_told_of_it() {
    let pki = Pki::new();
    let address = pki.server(&pki.authority.issue(&["localhost"], Validity::Good), None).await;
    let port = address.rsplit_once(':').expect("a port").1;
    let config = encrypted(&format!("localhost:{port}"), pki.files());
    let mut wire = Wire::new(&config).expect("the files are good");
    let node = address.parse().expect("an address");
    wire.connect(PLAIN_V4, node).await.expect_err("an address is all that is known of it");
    name_nodes(&mut wire, &config, soon()).await;
    wire.connect(PLAIN_V4, node).await.map(drop).expect("it has a name now");
}

#[tokio::test]
async fn a_certificate_that_is_no_good_is_refused() {
    let pki = Pki::new();
    let stranger = Authority::new("nobody's authority");
    for (issued, reason, setting) in [
        (stranger.issue(&HERE, Validity::Good), "is of an authority that is not trusted", "--cassandra-ca"),
        (pki.authority.issue(&HERE, Validity::Expired), "has expired", "renew the server's certificate"),
        (pki.authority.issue(&["db.example.com"], Validity::Good), "but for db.example.com", "--cassandra "),
    ] {
        let address = pki.server(&issued, None).await;
        let (kind, text, hint) = refusal(&encrypted(&address, pki.files())).await;
        assert_eq!(kind, Kind::Config, "{text}");
        assert!(text.starts_with(&format!("cannot reach Cassandra at {address}: its certificate ")), "{text}");
        assert!(text.ends_with(reason), "{text}");
        assert!(hint.contains(setting), "{hint}");
    }
}

#[tokio::test]
async fn a_server_that_asks_who_we_are_is_shown_our_certificate() {
    let pki = Pki::new();
    let address = pki.server(&pki.authority.issue(&HERE, Validity::Good), Some(&pki.authority)).await;
    let (kind, text, hint) = refusal(&encrypted(&address, pki.files())).await;
    assert_eq!(kind, Kind::Refused, "{text}");
    assert_eq!(
        text,
        format!("cannot reach Cassandra at {address}: it asks for a certificate of ours (CertificateRequired)")
    );
    assert!(hint.contains("--cassandra-cert and --cassandra-key"), "{hint}");

    let ours = identity(&pki.authority.issue(&["userpipe"], Validity::Good), pki.directory.path());
    let known = TlsFiles { identity: Some(ours), ..pki.files() };
    preflight(&encrypted(&address, known), soon()).await.map(drop).expect("it knows us");

    let forged = identity(&Authority::new("test-ca").issue(&["userpipe"], Validity::Good), pki.directory.path());
    let unknown = TlsFiles { identity: Some(forged), ..pki.files() };
    let (kind, text, hint) = refusal(&encrypted(&address, unknown)).await;
    assert!(kind == Kind::Refused && text.contains("it refuses our certificate"), "{text}");
    assert!(hint.contains("--cassandra-cert"), "{hint}");
}

#[tokio::test]
async fn tls_and_clear_text_are_told_apart() {
    let pki = Pki::new();
    let tls = pki.server(&pki.authority.issue(&HERE, Validity::Good), None).await;
    let (kind, text, hint) = refusal(&config(std::slice::from_ref(&tls))).await;
    assert_eq!(
        (kind, text.as_str()),
        (Kind::Config, format!("cannot reach Cassandra at {tls}: it wants TLS").as_str())
    );
    assert!(hint.contains("--cassandra-tls"), "{hint}");

    // A server that does not understand a handshake says so in its own protocol (here: Cassandra's, as error 0x000A).
    let plain = unframed(vec![0x84, 0, 0, 0, OPCODE_ERROR, 0, 0, 0, 4, 0, 0, 0, 10]).await;
    let (kind, text, hint) = refusal(&encrypted(&plain, pki.files())).await;
    let expected = format!("cannot reach Cassandra at {plain}: it does not speak TLS");
    assert_eq!((kind, text), (Kind::Config, expected));
    assert!(hint.contains("--cassandra-tls"), "{hint}");
}

/// A server that answers whatever comes with these bytes.
async fn unframed(answer: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("its address").to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 16]).await;
            let _ = stream.write_all(&answer).await;
        }
    });
    address
}

#[tokio::test]
async fn a_login_is_kept_from_other_machines_that_the_cluster_tells_of() {
    let wire = Wire::new(&config(&["127.0.0.1:9042".to_owned()])).expect("nothing to read");
    let elsewhere = SocketAddr::from(([192, 0, 2, 1], 9042));
    let error = wire.connect(PLAIN_V4, elsewhere).await.expect_err("it is not even tried");
    assert!(error.to_string().contains("--allow-plaintext-credentials"), "{error}");
}
