//! Which combinations of properties work, and what the others are told.

use super::*;
use crate::cli::Property;

const HERE: &str = "localhost:9092";

fn resolve(list: &str, broker: &str) -> Result<KafkaSecurity> {
    // No environment variable: tests share the process.
    let directory = tempfile::tempdir().expect("a directory");
    let file = |name: &str, secret: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, secret).expect("written");
        path
    };
    let property = list.split_whitespace().map(|text| Property(text.to_owned())).collect();
    let from = KafkaArgs {
        property,
        properties_file: None,
        sasl_password_file: Some(file("password", "hunter2\n")),
        sasl_client_secret_file: Some(file("secret", "hunter3\n")),
    };
    KafkaSecurity::resolve(&from, &[broker.to_owned()], false)
}

#[test]
fn what_works_is_named_by_protocol_mechanism_and_user() {
    let oidc = "sasl.oauthbearer.method=OIDC sasl.oauthbearer.client.id=me \
                sasl.oauthbearer.token.endpoint.url=https://idp.example/token";
    for (list, shown) in [
        ("", "PLAINTEXT"),
        ("security.protocol=ssl", "SSL"),
        ("security.protocol=SSL ssl.ca.location=/ca ssl.certificate.location=/c ssl.key.location=/k", "SSL"),
        ("security.protocol=SASL_SSL sasl.mechanism=plain sasl.username=me", "SASL_SSL PLAIN as me"),
        (
            "security.protocol=SASL_PLAINTEXT sasl.mechanisms=SCRAM-SHA-512 sasl.username=me",
            "SASL_PLAINTEXT SCRAM-SHA-512 as me",
        ),
        (
            "security.protocol=SASL_SSL sasl.mechanism=OAUTHBEARER sasl.oauthbearer.token.file=/t",
            "SASL_SSL OAUTHBEARER",
        ),
        (&format!("security.protocol=SASL_SSL sasl.mechanism=OAUTHBEARER {oidc}"), "SASL_SSL OAUTHBEARER"),
    ] {
        let security = resolve(list, HERE).unwrap_or_else(|error| panic!("{list}: {error}"));
        assert_eq!(security.to_string(), shown);
        let debug = format!("{security:?}");
        assert!(!debug.contains("hunter"), "{debug}");
    }
}

#[test]
fn what_cannot_work_is_refused_by_name() {
    let plain = "security.protocol=SASL_SSL sasl.mechanism=PLAIN";
    let bearer = "security.protocol=SASL_SSL sasl.mechanism=OAUTHBEARER";
    for (list, line) in [
        ("security.protocol=TLS", "bad value of security.protocol: `TLS`"),
        ("ssl.ca.location=/ca", "ssl.ca.location needs security.protocol=SSL or SASL_SSL: it is PLAINTEXT"),
        (
            "security.protocol=SASL_PLAINTEXT sasl.mechanism=PLAIN sasl.username=me ssl.key.location=/k",
            "ssl.key.location needs security.protocol=SSL or SASL_SSL: it is SASL_PLAINTEXT",
        ),
        ("security.protocol=SSL ssl.certificate.location=/c", "ssl.certificate.location needs ssl.key.location"),
        ("security.protocol=SSL ssl.key.location=/k", "ssl.key.location needs ssl.certificate.location"),
        (
            "security.protocol=SSL sasl.username=me",
            "sasl.username needs security.protocol=SASL_SSL or SASL_PLAINTEXT: it is SSL",
        ),
        ("sasl.mechanism=PLAIN", "sasl.mechanism needs security.protocol=SASL_SSL or SASL_PLAINTEXT: it is PLAINTEXT"),
        ("security.protocol=SASL_SSL sasl.username=me", "security.protocol=SASL_SSL needs sasl.mechanism"),
        ("security.protocol=SASL_SSL sasl.mechanism=GSSAPI", "bad value of sasl.mechanism: `GSSAPI`"),
        (plain, "sasl.mechanism=PLAIN needs sasl.username"),
        (
            &format!("{plain} sasl.username=me sasl.oauthbearer.scope=x"),
            "sasl.mechanism=PLAIN takes no sasl.oauthbearer.scope",
        ),
        (bearer, "sasl.mechanism=OAUTHBEARER needs a token"),
        (&format!("{bearer} sasl.username=me"), "sasl.mechanism=OAUTHBEARER takes no sasl.username"),
        (
            &format!("{bearer} sasl.oauthbearer.token.file=/t sasl.oauthbearer.method=oidc"),
            "sasl.oauthbearer.token.file and sasl.oauthbearer.method exclude each other",
        ),
        (
            &format!("{bearer} sasl.oauthbearer.client.id=me"),
            "sasl.oauthbearer.client.id needs sasl.oauthbearer.method=oidc",
        ),
        (&format!("{bearer} sasl.oauthbearer.method=oidc"), "sasl.oauthbearer.method needs sasl.oauthbearer.client.id"),
        (&format!("{bearer} sasl.oauthbearer.method=default"), "bad value of sasl.oauthbearer.method: `default`"),
    ] {
        let error = resolve(list, HERE).expect_err(list);
        assert_eq!((error.kind(), error.to_string().as_str()), (Kind::Config, line), "{list}");
    }
}

#[test]
fn a_value_that_is_nearly_right_is_suggested() {
    let hint = |list: &str| resolve(list, HERE).expect_err(list).hint_text().unwrap_or_default().to_owned();
    assert!(hint("security.protocol=SASL-SSL").starts_with("did you mean SASL_SSL? "));
    assert!(hint("security.protocol=SASL_SSL sasl.mechanism=SCRAM-SHA256").starts_with("did you mean SCRAM-SHA-256? "));
    assert_eq!(hint("security.protocol=x"), "it is one of PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL");
}

#[test]
fn a_login_leaves_this_machine_only_with_tls() {
    let login = "sasl.mechanism=SCRAM-SHA-256 sasl.username=me";
    for (broker, is_here) in
        [("localhost:1", true), ("127.0.0.9:1", true), ("[::1]:1", true), ("kafka:1", false), ("10.0.0.1:1", false)]
    {
        let clear = resolve(&format!("security.protocol=SASL_PLAINTEXT {login}"), broker);
        assert_eq!(clear.is_ok(), is_here, "{broker}");
        if !broker.starts_with('[') {
            resolve(&format!("security.protocol=SASL_SSL {login}"), broker).expect("with TLS it may go anywhere");
        }
        resolve("", broker).expect("without a login there is nothing to lose");
        assert!(plaintext::refuse("it", "TLS", broker, true).is_ok(), "it is allowed");
    }
    let error = resolve(&format!("security.protocol=SASL_PLAINTEXT {login}"), "kafka:9092").expect_err("clear text");
    assert_eq!(error.to_string(), "the login for Kafka would go to kafka:9092 in clear text");
    assert!(error.hint_text().is_some_and(|hint| hint.contains("--allow-plaintext-credentials")));
}

#[test]
fn a_certificate_is_for_a_name_and_not_for_an_ipv6_address() {
    let error = resolve("security.protocol=SSL", "[::1]:9093").expect_err("no name");
    let line = "security.protocol=SSL needs a host name in --brokers: [::1]:9093 is an IPv6 address";
    assert_eq!((error.kind(), error.to_string().as_str()), (Kind::Config, line));
}

#[test]
fn a_client_secret_goes_to_a_token_endpoint_with_tls() {
    let at = |url: &str| {
        let list = format!(
            "security.protocol=SASL_SSL sasl.mechanism=OAUTHBEARER sasl.oauthbearer.method=oidc \
             sasl.oauthbearer.client.id=me sasl.oauthbearer.token.endpoint.url={url}"
        );
        resolve(&list, HERE)
    };
    at("http://localhost:8080/token").expect("on this machine");
    let error = at("http://idp.example/token").expect_err("in clear text");
    assert!(error.to_string().starts_with("sasl.oauthbearer.client.secret would go to idp.example:80 "), "{error}");
    for bad in ["ftp://idp/token", "nonsense", "https://user:hunter2@idp/token"] {
        let error = at(bad).expect_err(bad);
        assert!(error.to_string().starts_with("bad value of sasl.oauthbearer.token.endpoint.url: "), "{error}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}
