//! Brokers whose certificate is not good enough, played by a TLS listener: each is refused at once, by every command,
//! in one line that says why.

use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection};

use crate::sandbox::Sandbox;

/// Far below the connect timeout: what is refused is not tried again.
const AT_ONCE: Duration = Duration::from_secs(15);

/// An authority that signs certificates.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    /// A listener with a certificate for `name` that ended in the year `until`: its address.
    fn listen(&self, name: &str, until: i32) -> String {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let chain = vec![CertificateDer::from(certificate.der().to_vec())];
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = Arc::new(config.with_no_client_auth().with_single_cert(chain, key).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                greet(stream, Arc::clone(&config));
            }
        });
        address
    }
}

/// The handshake, and nothing after it.
fn greet(mut stream: TcpStream, config: Arc<ServerConfig>) {
    let mut connection = ServerConnection::new(config).unwrap();
    while connection.is_handshaking() {
        // The client's refusal ends it.
        if connection.complete_io(&mut stream).is_err() {
            return;
        }
    }
}

#[test]
fn certificates_that_are_not_good_enough_are_refused_at_once() {
    let sandbox = Sandbox::new();
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    sandbox.write("ca.pem", ours.pem());
    let untrusted = "its certificate is not trusted (ssl.ca.location): invalid peer certificate: UnknownIssuer";
    let expired = "its certificate has expired (security.protocol): invalid peer certificate: certificate expired";
    let other_host = "its certificate is for another host (--brokers): invalid peer certificate: ";
    for (address, line, hint) in [
        (theirs.listen("127.0.0.1", 2090), untrusted, "-X ssl.ca.location=FILE"),
        (ours.listen("127.0.0.1", 2021), expired, "the broker needs a new certificate"),
        (ours.listen("kafka.example", 2090), other_host, "a host name that its certificate has"),
    ] {
        let flags = format!("--brokers {address} -X security.protocol=SSL -X ssl.ca.location=ca.pem");
        for command in ["produce --source synthetic --once --count 1", "consume -e", "init-schema"] {
            let began = Instant::now();
            let output = sandbox.userpipe(&format!("{command} {flags}")).fails(77);
            assert!(output.error().contains(line), "{command}: {}", output.error());
            assert!(output.error().contains(&address), "{command}: {}", output.error());
            assert!(output.hint().contains(hint), "{command}: {}", output.hint());
            assert!(began.elapsed() < AT_ONCE, "{command} took {:?}", began.elapsed());
        }
        let check = sandbox.userpipe(&format!("check --source synthetic {flags}")).output().expect_code(10);
        assert!(check.stdout.contains(line) && check.stdout.contains(hint), "{}", check.stdout);
    }
    // Without TLS it is told apart from a broker that is away.
    let address = ours.listen("127.0.0.1", 2090);
    let output = sandbox.userpipe(&format!("consume -e --brokers {address}")).fails(78);
    let line = format!("cannot reach Kafka at {address}: its listener speaks TLS, and security.protocol is PLAINTEXT");
    assert_eq!(output.error(), line);
    assert!(output.hint().starts_with("say -X security.protocol=SSL"), "{}", output.hint());
    // The machine's own authorities do not know ours, and the hint is the same.
    let flags = format!("consume -e --brokers {address} -X security.protocol=SSL");
    let output = sandbox.userpipe(&flags).output();
    assert!(matches!(output.status.code(), Some(77 | 78)), "{}", output.stderr);
    assert!(output.hint().contains("ssl.ca.location"), "{}", output.stderr);
}

#[test]
fn files_that_are_no_certificates_are_named_with_their_property() {
    let sandbox = Sandbox::new();
    sandbox.write("ca.pem", Authority::new("ours").pem());
    sandbox.write("empty.pem", "nothing\n");
    let flags = "consume -e --brokers 127.0.0.1:1 -X security.protocol=SSL";
    for (properties, line) in [
        ("-X ssl.ca.location=nowhere.pem", "bad value of ssl.ca.location at nowhere.pem: "),
        ("-X ssl.ca.location=empty.pem", "bad value of ssl.ca.location at empty.pem: no PEM certificate in it"),
        (
            "-X ssl.ca.location=ca.pem -X ssl.certificate.location=ca.pem -X ssl.key.location=empty.pem",
            "bad value of ssl.key.location at empty.pem: ",
        ),
    ] {
        let output = sandbox.userpipe(&format!("{flags} {properties}")).fails(78);
        assert!(output.error().starts_with(line), "{}", output.error());
    }
}
