//! A Cassandra with passwords and TLS: who may in, and what is said to those who may not.

use std::path::PathBuf;

use nix::sys::signal::Signal;

use super::program::until;
use super::{Pipeline, SOON};
use crate::certificates::{Authority, Validity};
use crate::services::{PrivateInstance, tool};

const HERE: [&str; 2] = ["localhost", "127.0.0.1"];
/// A superuser's, and what somebody else might try.
const PASSWORD: &str = "s3cret-Cassandra-7f3a";
const WRONG: &str = "s3cret-Cassandra-wrong";
const SECRETS: [&str; 2] = [PASSWORD, WRONG];
const PRODUCE: &[&str] = &["produce", "--once", "--count", "20", "--source", "synthetic", "-vv"];
const INIT: &[&str] = &["init-schema", "-vv"];

/// The pipeline with this password, and whatever else.
fn with_login(pipeline: Pipeline, password: &str) -> Pipeline {
    pipeline.with_flag("--cassandra-user", "userpipe").with_variable("USERPIPE_CASSANDRA_PASSWORD", password)
}

/// A pipeline to this Cassandra that trusts `ca`, with a login.
fn secure(instance: &PrivateInstance, ca: &str, password: &str) -> Pipeline {
    let pipeline = Pipeline::new("castls").with_cassandra(instance.cassandra()).with_flag("--cassandra-ca", ca);
    with_login(pipeline, password)
}

/// A superuser with a password that no file and no log has by accident.
fn cqlsh(instance: &PrivateInstance, user: &str, password: &str, cql: &str) -> String {
    let address = instance.cassandra();
    let (host, port) = address.rsplit_once(':').unwrap();
    tool("cqlsh", [host, port, "-u", user, "-p", password, "-e", cql])
}

fn refused(pipeline: &Pipeline, code: i32, error: &str, hint: &str) {
    pipeline.run(INIT).expect_failure(code, error, hint).expect_no_secret(&SECRETS);
}

#[test]
#[ignore = "needs live services: make test"]
fn cassandra_is_written_to_with_the_right_credentials_and_certificates_alone() {
    let authority = Authority::new("test-ca");
    let good = authority.issue(&HERE, Validity::Good);
    let instance = PrivateInstance::start_certified(&["cassandra"], "optional", &authority, &good);
    let ca = instance.certificates().join("ca.pem").display().to_string();
    let role = format!("CREATE ROLE userpipe WITH PASSWORD = '{PASSWORD}' AND LOGIN = true AND SUPERUSER = true");
    cqlsh(&instance, "cassandra", "cassandra", &role);

    let pipeline = secure(&instance, &ca, PASSWORD);
    pipeline.run(INIT).expect_code(0).expect_no_secret(&SECRETS);
    pipeline.run(PRODUCE).expect_code(0).expect_no_secret(&SECRETS);
    pipeline.run(&["consume", "-e", "-vv"]).expect_code(0).expect_said("written 20").expect_no_secret(&SECRETS);
    let count = format!("SELECT count(*) FROM {}", pipeline.table());
    assert!(cqlsh(&instance, "userpipe", PASSWORD, &count).contains(" 20\n"), "as another client reads it");
    pipeline.run(&["verify"]).expect_code(0).expect_no_secret(&SECRETS);
    pipeline.run(&["check", "--json"]).expect_code(0).expect_no_secret(&SECRETS);

    refused(&secure(&instance, &ca, WRONG), 77, "Cassandra refuses the login", "--cassandra-user");
    let nobody = Pipeline::new("nobody").with_cassandra(instance.cassandra()).with_flag("--cassandra-ca", &ca);
    refused(&nobody, 77, "Cassandra asks for a login", "--cassandra-user");
    let stranger = instance.certificates().join("stranger.pem");
    std::fs::write(&stranger, Authority::new("stranger").pem()).unwrap();
    let untrusting = secure(&instance, &stranger.display().to_string(), PASSWORD);
    refused(&untrusting, 78, "its certificate is of an authority that is not trusted", "--cassandra-ca");
    refused(&secure(&instance, "/nowhere/ca.pem", PASSWORD), 78, "bad value of --cassandra-ca at /nowhere/ca.pem", "");

    another_certificate_and_back(&instance, &authority, &pipeline);
}

/// A consumer that is not stopped while the server has an expired certificate, then that of another host, then a good one.
fn another_certificate_and_back(instance: &PrivateInstance, authority: &Authority, pipeline: &Pipeline) {
    let mut consumer = pipeline.start(&["consume"]);
    pipeline.run(PRODUCE).expect_code(0);
    until("it delivers", SOON, || pipeline.lag() == 0);
    instance.start_again_as("cassandra", &authority.issue(&HERE, Validity::Expired));
    pipeline.run(PRODUCE).expect_code(0);
    refused(pipeline, 78, "its certificate has expired", "renew the server's certificate");
    consumer.until_says("its certificate has expired");
    instance.start_again_as("cassandra", &authority.issue(&["db.example.com"], Validity::Good));
    let hint = "write in --cassandra a name that its certificate is for";
    refused(pipeline, 78, "its certificate is not for this name, but for db.example.com", hint);
    instance.start_again_as("cassandra", &authority.issue(&HERE, Validity::Good));
    until("it delivers again", SOON, || pipeline.lag() == 0);
    consumer.signal(Signal::SIGTERM);
    consumer.wait(SOON).expect_code(0).expect_said("written 40").expect_no_secret(&SECRETS);
}

#[test]
#[ignore = "needs live services: make test"]
fn cassandra_that_asks_for_a_certificate_gets_ours() {
    let authority = Authority::new("test-ca");
    let good = authority.issue(&HERE, Validity::Good);
    let instance = PrivateInstance::start_certified(&["cassandra"], "mutual", &authority, &good);
    let directory = instance.certificates();
    let ca = directory.join("ca.pem").display().to_string();
    let pipeline = |ca: Option<&str>, identity: Option<(PathBuf, PathBuf)>| {
        let pipeline = Pipeline::new("mutual").with_cassandra(instance.cassandra());
        let pipeline = pipeline.with_flag("--cassandra-user", "cassandra");
        let mut pipeline = pipeline.with_variable("USERPIPE_CASSANDRA_PASSWORD", "cassandra");
        if let Some(ca) = ca {
            pipeline = pipeline.with_flag("--cassandra-ca", ca);
        }
        match identity {
            None => pipeline,
            Some((certificate, key)) => pipeline
                .with_flag("--cassandra-cert", &certificate.display().to_string())
                .with_flag("--cassandra-key", &key.display().to_string()),
        }
    };
    let ours = authority.issue(&["userpipe"], Validity::Good).write(&directory, "ours");
    let known = pipeline(Some(&ca), Some(ours));
    known.run(&["init-schema"]).expect_code(0);
    known.run(PRODUCE).expect_code(0);
    known.run(&["consume", "-e"]).expect_code(0).expect_said("written 20");
    known.run(&["verify"]).expect_code(0);

    let identity = "--cassandra-cert and --cassandra-key";
    refused(&pipeline(Some(&ca), None), 77, "it asks for a certificate of ours", identity);
    let strangers = Authority::new("stranger").issue(&["userpipe"], Validity::Good).write(&directory, "strangers");
    refused(&pipeline(Some(&ca), Some(strangers)), 77, "it refuses our certificate", identity);
    refused(&pipeline(None, None), 78, "it wants TLS", "--cassandra-tls");
}
