//! Kafka with TLS and logins: right, wrong and missing credentials, each accepted or refused as it should be.

use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::Signal;
use rcgen::{CertificateParams, KeyPair};

use super::readback::sqlite_ids;
use super::{Pipeline, SOON, assert_same, program};
use crate::services::{PrivateInstance, tool};

/// Of the services' script.
const USER: &str = "userpipe";
const SECRET: &str = "test-secret";

const PRODUCE: &[&str] = &["produce", "--once", "--count", "40", "--source", "synthetic"];
const CONSUME: &[&str] = &["consume", "-e"];
const CHECK: &[&str] = &["check", "--source", "synthetic"];

/// What is refused is not tried again for as long as the connect timeout.
const AT_ONCE: Duration = Duration::from_secs(12);

/// A pipeline into its own SQLite file, over the listener at this address, with these properties.
pub(super) fn over(address: &str, properties: &[&str]) -> Pipeline {
    let pipeline = Pipeline::new("secure").with_kafka(address.to_owned()).with_cassandra(String::new());
    properties.iter().fold(pipeline, |pipeline, property| pipeline.with_flag("-X", property))
}

/// With the login of the services' script.
fn logged_in(address: &str, protocol: &str, mechanism: &str, more: &[&str]) -> Pipeline {
    let (protocol, mechanism) = (format!("security.protocol={protocol}"), format!("sasl.mechanism={mechanism}"));
    let user = format!("sasl.username={USER}");
    over(address, &[&[&protocol[..], &mechanism, &user], more].concat()).with_variable("USERPIPE_SASL_PASSWORD", SECRET)
}

/// Produce, consume and check over a pipeline's listener, with everything the libraries say; the secrets never are.
pub(super) fn assert_whole(pipeline: &Pipeline, shown: &str, secrets: &[&str]) {
    let mut said = String::new();
    for command in [PRODUCE, CONSUME, CHECK, &["consume", "-e", "--from-beginning"], &["status"]] {
        let finished = pipeline.run(&[command, &["-vv"]].concat()).expect_code(0);
        said.push_str(&finished.stdout);
        said.push_str(&finished.stderr);
    }
    let sent: std::collections::BTreeSet<_> = super::readback::ledger(&pipeline.database(), &pipeline.topic)
        .into_iter()
        .filter(|stored| stored.place.is_some())
        .map(|stored| stored.id)
        .collect();
    assert_eq!(sent.len(), 40);
    assert_same(&sqlite_ids(&pipeline.database()), &sent, &format!("{shown}: table and ledger"));
    let check = pipeline.run(CHECK).stdout;
    assert!(check.contains(&format!(", {shown}, metadata.version")), "{check}");
    for secret in secrets {
        assert!(!said.contains(secret), "a secret was said over {shown}");
    }
}

/// Produce, consume and check are refused at once, with this line; `check` is red with the same words.
pub(super) fn assert_refused(pipeline: &Pipeline, code: i32, line: &str, hint: &str) {
    for command in [PRODUCE, CONSUME] {
        let failed = pipeline.run(command).expect_failure(code, line, hint);
        assert!(failed.took < AT_ONCE, "{command:?} took {:?}: {line}", failed.took);
    }
    let check = pipeline.run(CHECK).expect_code(10);
    assert!(check.stdout.contains(line) && check.stdout.contains(hint), "no {line}:\n{}", check.stdout);
}

fn path(directory: &std::path::Path, name: &str) -> String {
    directory.join(name).display().to_string()
}

#[test]
#[ignore = "needs live services: make test"]
fn a_whole_run_goes_over_each_protocol() {
    let instance = PrivateInstance::start_secure(&["kafka"]);
    let [sasl_plaintext, ssl, sasl_ssl] = instance.secure_kafka();
    let certificates = instance.certificates();
    let ca = format!("ssl.ca.location={}", path(&certificates, "ca.pem"));
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
        let shown = format!("SASL_PLAINTEXT {mechanism} as {USER}");
        assert_whole(&logged_in(&sasl_plaintext, "SASL_PLAINTEXT", mechanism, &[]), &shown, &[SECRET]);
        let shown = format!("SASL_SSL {mechanism} as {USER}");
        assert_whole(&logged_in(&sasl_ssl, "SASL_SSL", mechanism, &[&ca]), &shown, &[SECRET]);
    }
    let certificate = format!("ssl.certificate.location={}", path(&certificates, "client.crt"));
    let key = format!("ssl.key.location={}", path(&certificates, "client.key"));
    assert_whole(&over(&ssl, &["security.protocol=SSL", &ca, &certificate, &key]), "SSL", &["PRIVATE KEY"]);

    // The same from a file, by the broker's name; and the classic group protocol.
    let text = format!(
        "# kcat's format\nsecurity.protocol=SASL_SSL\nsasl.mechanisms=SCRAM-SHA-512\nsasl.username={USER}\n\
         sasl.password={SECRET}\n{ca}\n"
    );
    let pipeline = over(&sasl_ssl.replace("127.0.0.1", "localhost"), &[]).with_flag("-F", "client.properties");
    let pipeline = pipeline.with_flag("--group-protocol", "classic");
    std::fs::write(pipeline.directory.path().join("client.properties"), text).unwrap();
    assert_whole(&pipeline, &format!("SASL_SSL SCRAM-SHA-512 as {USER}"), &[SECRET]);
}

#[test]
#[ignore = "needs live services: make test"]
fn wrong_and_missing_credentials_are_refused_with_the_setting() {
    let instance = PrivateInstance::start_secure(&["kafka"]);
    let [sasl_plaintext, ssl, sasl_ssl] = instance.secure_kafka();
    let ca = format!("ssl.ca.location={}", path(&instance.certificates(), "ca.pem"));
    let wrong = |pipeline: Pipeline| {
        let mut pipeline = pipeline;
        pipeline.environment.clear();
        pipeline.with_variable("USERPIPE_SASL_PASSWORD", "not-this-one")
    };
    let refused = "it refuses the login of sasl.username: Authentication failed";
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
        let pipeline = wrong(logged_in(&sasl_plaintext, "SASL_PLAINTEXT", mechanism, &[]));
        assert_refused(&pipeline, 77, refused, "USERPIPE_SASL_PASSWORD");
    }
    assert_refused(&wrong(logged_in(&sasl_ssl, "SASL_SSL", "SCRAM-SHA-512", &[&ca])), 77, refused, "sasl.username");
    let nobody = over(
        &sasl_plaintext,
        &["security.protocol=SASL_PLAINTEXT", "sasl.mechanism=SCRAM-SHA-256", "sasl.username=nobody"],
    );
    assert_refused(&nobody.with_variable("USERPIPE_SASL_PASSWORD", SECRET), 77, refused, "sasl.username");

    let asks = "its listener asks for a login, and security.protocol is ";
    assert_refused(&over(&sasl_plaintext, &[]), 77, asks, "-X security.protocol=SASL_PLAINTEXT");
    assert_refused(&over(&sasl_ssl, &["security.protocol=SSL", &ca]), 77, asks, "-X security.protocol=SASL_SSL");

    let asks = "it asks for a certificate that it trusts (ssl.certificate.location): received fatal alert: ";
    let hint = "-X ssl.certificate.location=FILE";
    let nobody = over(&ssl, &["security.protocol=SSL", &ca]);
    assert_refused(&nobody, 77, asks, hint);
    let (certificate, key) = foreign(&nobody);
    let (certificate, key) = (certificate.display(), key.display());
    let stranger = [&format!("ssl.certificate.location={certificate}")[..], &format!("ssl.key.location={key}")];
    let foreign = over(&ssl, &[&["security.protocol=SSL", &ca][..], &stranger].concat());
    assert_refused(&foreign, 77, asks, hint);
    // The broker's own authority is not among the machine's.
    let untrusted = "its certificate is not trusted (ssl.ca.location): ";
    let other = format!("ssl.ca.location={certificate}");
    assert_refused(&logged_in(&sasl_ssl, "SASL_SSL", "PLAIN", &[&other]), 77, untrusted, "-X ssl.ca.location=FILE");
}

/// A certificate that nobody has signed but itself, and its key.
fn foreign(pipeline: &Pipeline) -> (PathBuf, PathBuf) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    let paths = (pipeline.directory.path().join("foreign.pem"), pipeline.directory.path().join("foreign.key"));
    std::fs::write(&paths.0, certificate.pem()).unwrap();
    std::fs::write(&paths.1, key.serialize_pem()).unwrap();
    paths
}

#[test]
#[ignore = "needs live services: make test"]
fn a_protocol_that_the_listener_does_not_speak_is_named() {
    let instance = PrivateInstance::start_secure(&["kafka"]);
    let [sasl_plaintext, ssl, sasl_ssl] = instance.secure_kafka();
    let plaintext = instance.kafka();
    let ca = format!("ssl.ca.location={}", path(&instance.certificates(), "ca.pem"));
    let speaks = "its listener speaks TLS, and security.protocol is ";
    let no_tls = "its listener does not speak TLS, and security.protocol is ";
    let no_login = "its listener takes no login, and security.protocol is ";
    for address in [&ssl, &sasl_ssl] {
        assert_refused(&over(address, &[]), 78, speaks, "-X security.protocol=SSL");
        let login = logged_in(address, "SASL_PLAINTEXT", "PLAIN", &[]);
        assert_refused(&login, 78, speaks, "-X security.protocol=SASL_SSL");
    }
    assert_refused(&over(&plaintext, &["security.protocol=SSL", &ca]), 78, no_tls, "-X security.protocol=PLAINTEXT");
    let login = |address: &str, protocol: &str, more: &[&str]| logged_in(address, protocol, "PLAIN", more);
    let encrypted = login(&sasl_plaintext, "SASL_SSL", &[&ca]);
    assert_refused(&encrypted, 78, no_tls, "-X security.protocol=SASL_PLAINTEXT");
    let superfluous = login(&plaintext, "SASL_PLAINTEXT", &[]);
    assert_refused(&superfluous, 78, no_login, "-X security.protocol=PLAINTEXT");
    let bearer = ["security.protocol=SASL_SSL", "sasl.mechanism=OAUTHBEARER", "sasl.oauthbearer.token.file=token", &ca];
    let bearer = over(&sasl_ssl, &bearer);
    std::fs::write(bearer.directory.path().join("token"), "a.b.c\n").unwrap();
    assert_refused(&bearer, 78, "it does not have sasl.mechanism=OAUTHBEARER", "it has PLAIN, SCRAM-SHA-");
}

/// Gives the user another password, over the listener that asks for none.
fn set_password(instance: &PrivateInstance, mechanism: &str, password: &str) {
    let (address, config) = (instance.kafka(), format!("{mechanism}=[password={password}]"));
    let user = ["--entity-type", "users", "--entity-name", USER];
    let alter = ["--bootstrap-server", &address, "--alter", "--add-config", &config];
    tool("configs", [&alter[..], &user].concat());
}

#[test]
#[ignore = "needs live services: make test"]
fn a_login_that_is_refused_in_the_middle_is_waited_for() {
    let instance = PrivateInstance::start_secure(&["kafka"]);
    let [sasl_plaintext, ..] = instance.secure_kafka();
    let pipeline = logged_in(&sasl_plaintext, "SASL_PLAINTEXT", "SCRAM-SHA-256", &[]).initialized();
    let first = pipeline.produce(30);
    let mut consumer = pipeline.start(&["consume"]);
    program::until("the first rows", SOON, || sqlite_ids(&pipeline.database()) == first);

    set_password(&instance, "SCRAM-SHA-256", "another-one");
    instance.kill("kafka", Signal::SIGKILL);
    instance.start_again("kafka");
    consumer.until_says("it refuses the login of sasl.username");
    consumer.until_says("waiting for somebody to mend it");
    assert!(consumer.lives());
    set_password(&instance, "SCRAM-SHA-256", SECRET);
    let all = pipeline.produce(30);
    assert_eq!(all.len(), 60);
    program::until("the other rows", SOON, || sqlite_ids(&pipeline.database()) == all);
    consumer.signal(Signal::SIGTERM);
    consumer.wait(SOON).expect_code(0);
}

#[test]
#[ignore = "needs live services: make test"]
fn a_producer_whose_login_is_refused_in_the_middle_ends_with_that() {
    let instance = PrivateInstance::start_secure(&["kafka"]);
    let [sasl_plaintext, ..] = instance.secure_kafka();
    let pipeline = logged_in(&sasl_plaintext, "SASL_PLAINTEXT", "SCRAM-SHA-512", &[]).initialized();
    let source = ["--source", "synthetic", "--results", "10", "--count", "5000", "--rate", "20/s"];
    let producer = pipeline.start(&[&["produce", "--once"], &source[..]].concat());
    let sent = || super::readback::ledger(&pipeline.database(), &pipeline.topic);
    program::until("the first records", SOON, || {
        pipeline.database().exists() && sent().iter().any(|stored| stored.place.is_some())
    });
    set_password(&instance, "SCRAM-SHA-512", "another-one");
    instance.kill("kafka", Signal::SIGKILL);
    instance.start_again("kafka");
    let line = "it refuses the login of sasl.username";
    producer.wait(SOON).expect_failure(77, line, "USERPIPE_SASL_PASSWORD");
    set_password(&instance, "SCRAM-SHA-512", SECRET);
    // What was stored and not sent goes first.
    pipeline.run(PRODUCE).expect_code(0);
    assert!(sent().iter().all(|stored| stored.place.is_some()), "nothing is left behind");
}
