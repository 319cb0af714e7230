//! A PostgreSQL with passwords (SCRAM) and TLS: who may in, and what is said to those who may not.

use super::Pipeline;
use crate::certificates::{Authority, Validity};
use crate::services::{self, Postgres, PrivateInstance};

const HERE: [&str; 2] = ["localhost", "127.0.0.1"];
const PASSWORD: &str = "s3cret-Postgres-91bc";
const WRONG: &str = "s3cret-Postgres-wrong";
const SECRETS: [&str; 2] = [PASSWORD, WRONG];
const PRODUCE: &[&str] = &["produce", "--once", "--count", "20", "--source", "synthetic", "-vv"];
const INIT: &[&str] = &["init-schema", "-vv"];

/// A pipeline into a table of its own in this instance, with these parameters in the URL.
fn with(instance: &PrivateInstance, parameters: &str, password: &str) -> Pipeline {
    let Postgres { url, .. } = instance.postgres();
    let postgres = Postgres { url: format!("{url}?{parameters}"), password: password.to_owned() };
    super::postgres::pipeline("pgtls", &postgres).0
}

fn refused(pipeline: &Pipeline, code: i32, error: &str, hint: &str) {
    pipeline.run(INIT).expect_failure(code, error, hint).expect_no_secret(&SECRETS);
}

/// Sink and ledger, from the tables to the proof.
fn works(pipeline: &Pipeline) {
    pipeline.run(INIT).expect_code(0).expect_no_secret(&SECRETS);
    pipeline.run(PRODUCE).expect_code(0).expect_no_secret(&SECRETS);
    pipeline.run(&["consume", "-e", "-vv"]).expect_code(0).expect_said("written 20").expect_no_secret(&SECRETS);
    pipeline.run(&["verify"]).expect_code(0).expect_no_secret(&SECRETS);
}

#[test]
#[ignore = "needs live services: make test"]
fn postgres_is_written_to_with_the_right_credentials_and_certificates_alone() {
    let authority = Authority::new("test-ca");
    let good = authority.issue(&HERE, Validity::Good);
    let instance = PrivateInstance::start_certified(&["postgres"], "optional", &authority, &good);
    let ca = instance.certificates().join("ca.pem");
    services::psql(&instance.postgres(), &format!("ALTER ROLE userpipe PASSWORD '{PASSWORD}'"));
    let full = format!("sslmode=verify-full&sslrootcert={}", ca.display());

    works(&with(&instance, &full, PASSWORD));
    with(&instance, "sslmode=require", PASSWORD).run(INIT).expect_code(0);
    with(&instance, "", PASSWORD).run(INIT).expect_code(0);
    // The environment says it as well, as it does for libpq.
    with(&instance, "", PASSWORD)
        .with_variable("PGSSLMODE", "verify-full")
        .with_variable("PGSSLROOTCERT", &ca.display().to_string())
        .run(INIT)
        .expect_code(0);

    refused(&with(&instance, &full, WRONG), 77, "password authentication failed", "PGPASSWORD");
    refused(&with(&instance, &full, ""), 77, "cannot connect to PostgreSQL", "PGPASSWORD");
    refused(&with(&instance, "sslmode=disable", PASSWORD), 77, "no encryption", "sslmode");
    let stranger = instance.certificates().join("stranger.pem");
    std::fs::write(&stranger, Authority::new("stranger").pem()).unwrap();
    for mode in ["verify-full", "verify-ca", "require"] {
        let untrusting = format!("sslmode={mode}&sslrootcert={}", stranger.display());
        let error = "its certificate is of an authority that is not trusted";
        refused(&with(&instance, &untrusting, PASSWORD), 78, error, "sslrootcert");
    }
    refused(&with(&instance, "sslmode=verify-full", PASSWORD), 78, "an authority that is not trusted", "sslrootcert");
    let nowhere = "sslmode=verify-full&sslrootcert=/nowhere/ca.pem";
    refused(&with(&instance, nowhere, PASSWORD), 78, "bad value of sslrootcert", "");

    certificates_of_clients(&instance, &authority, &full);
    certificates_of_the_server(&instance, &authority, &full);
}

fn certificates_of_clients(instance: &PrivateInstance, authority: &Authority, full: &str) {
    let as_certified = |identity: Option<(std::path::PathBuf, std::path::PathBuf)>| {
        let url = instance.postgres().url.replace("userpipe@", "certified@");
        let identity = identity.map_or_else(String::new, |(certificate, key)| {
            format!("&sslcert={}&sslkey={}", certificate.display(), key.display())
        });
        let postgres = Postgres { url: format!("{url}?{full}{identity}"), password: String::new() };
        super::postgres::pipeline("pgcert", &postgres).0
    };
    let directory = instance.certificates();
    let ours = authority.issue(&["certified"], Validity::Good).write(&directory, "ours");
    // The role may not make tables of its own, but it is in.
    as_certified(Some(ours)).run(&["check"]).expect_code(10).expect_no_secret(&SECRETS);
    refused(&as_certified(None), 77, "requires a valid client certificate", "sslcert");
    let strangers = Authority::new("stranger").issue(&["certified"], Validity::Good).write(&directory, "strangers");
    refused(&as_certified(Some(strangers)), 77, "it refuses our certificate", "sslcert");
}

fn certificates_of_the_server(instance: &PrivateInstance, authority: &Authority, full: &str) {
    instance.start_again_as("postgres", &authority.issue(&HERE, Validity::Expired));
    refused(&with(instance, full, PASSWORD), 78, "its certificate has expired", "renew the server's certificate");
    instance.start_again_as("postgres", &authority.issue(&["db.example.com"], Validity::Good));
    let error = "its certificate is not for this name, but for db.example.com";
    refused(&with(instance, full, PASSWORD), 78, error, "--postgres");
    let any_name = full.replace("verify-full", "verify-ca");
    with(instance, &any_name, PASSWORD).run(INIT).expect_code(0);
    instance.start_again_as("postgres", &authority.issue(&HERE, Validity::Good));
    with(instance, full, PASSWORD).run(INIT).expect_code(0);
}

#[test]
#[ignore = "needs live services: make test"]
fn postgres_that_speaks_no_tls_is_refused_where_tls_is_asked_for() {
    let Postgres { url, password } = services::postgres();
    let encrypted = Postgres { url: format!("{url}?sslmode=require"), password };
    let (pipeline, _) = super::postgres::pipeline("pgplain", &encrypted);
    refused(&pipeline, 78, "it does not speak TLS", "ssl = on");
}
