//! `-X` and `-F`: what is taken, what is refused and how, and that no secret is shown.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use crate::sandbox::{Output, Run, Sandbox};

const SECRET: &str = "hunter2hunter2";
const LOGIN: &str = "-X security.protocol=SASL_SSL -X sasl.mechanism=PLAIN -X sasl.username=me";

fn config(sandbox: &Sandbox, arguments: &str) -> Run {
    sandbox.userpipe(&format!("config --json --brokers kafka.invalid {arguments}"))
}

fn setting(output: &Output, name: &str) -> Value {
    let document: Value = serde_json::from_str(&output.stdout).unwrap();
    let settings = document["settings"].as_array().unwrap();
    settings.iter().find(|setting| setting["name"] == name).cloned().unwrap_or_default()
}

fn bus(output: &Output) -> String {
    let document: Value = serde_json::from_str(&output.stdout).unwrap();
    document["bus"].as_str().unwrap().to_owned()
}

#[test]
fn what_is_wrong_is_one_line_with_the_property_and_what_to_write() {
    let sandbox = Sandbox::new();
    for (arguments, error, hint) in [
        ("-X security.protocl=SSL", "unknown Kafka property security.protocl at -X", "did you mean security.protocol?"),
        ("-X sasl.mechansim=PLAIN", "unknown Kafka property sasl.mechansim at -X", "did you mean sasl.mechanism?"),
        ("-X bootstrap.servers=a:1", "the Kafka property bootstrap.servers is not taken at -X", "give --brokers"),
        ("-X group.id=a", "the Kafka property group.id is not taken at -X", "give --group"),
        (
            "-X enable.ssl.certificate.verification=false",
            "the Kafka property enable.ssl.certificate.verification is not taken at -X",
            "certificates are always checked",
        ),
        ("-X security.protocol", "bad Kafka property at -X: write KEY=VALUE", ""),
        ("-X security.protocol=", "the Kafka property security.protocol is empty at -X", ""),
        ("-X security.protocol=TLS", "bad value of security.protocol: `TLS`", "one of PLAINTEXT, SSL"),
        ("-X security.protocol=SASL_SSL", "security.protocol=SASL_SSL needs sasl.mechanism", "SCRAM-SHA-512"),
        (
            "-X sasl.username=me",
            "sasl.username needs security.protocol=SASL_SSL or SASL_PLAINTEXT: it is PLAINTEXT",
            "",
        ),
        ("-X ssl.ca.location=ca", "ssl.ca.location needs security.protocol=SSL or SASL_SSL: it is PLAINTEXT", ""),
        (
            "-X security.protocol=SSL -X ssl.certificate.location=c",
            "ssl.certificate.location needs ssl.key.location",
            "",
        ),
        (LOGIN, "sasl.username needs a password", "USERPIPE_SASL_PASSWORD"),
        (
            "-X security.protocol=SASL_SSL -X sasl.mechanism=OAUTHBEARER",
            "sasl.mechanism=OAUTHBEARER needs a token",
            "sasl.oauthbearer.token.file",
        ),
        ("-F nowhere.properties", "cannot read the file of -F at nowhere.properties: ", ""),
    ] {
        let output = config(&sandbox, arguments).fails(78);
        assert!(output.error().starts_with(error), "{arguments}: {}", output.error());
        assert!(hint.is_empty() || output.hint().contains(hint), "{arguments}: {}", output.stderr);
    }
    // Whichever command it is.
    for command in ["produce --source synthetic --once", "consume -e", "check", "init-schema", "status"] {
        let line = format!("{command} --brokers 127.0.0.1:1 -X sasl.mechansim=PLAIN");
        assert_eq!(sandbox.userpipe(&line).fails(78).error(), "unknown Kafka property sasl.mechansim at -X", "{line}");
    }
}

#[test]
fn a_login_in_clear_text_stays_on_this_machine() {
    let sandbox = Sandbox::new();
    let clear = "-X security.protocol=SASL_PLAINTEXT -X sasl.mechanism=SCRAM-SHA-256 -X sasl.username=me";
    let output = config(&sandbox, clear).env("USERPIPE_SASL_PASSWORD", SECRET).fails(78);
    let line = "the login for Kafka would go to kafka.invalid:9092 in clear text";
    assert_eq!(output.error(), line);
    assert!(output.hint().contains("SASL_SSL"), "{}", output.hint());
    let here = sandbox.userpipe(&format!("config --json --brokers localhost,127.0.0.1:9093 {clear}"));
    assert!(bus(&here.env("USERPIPE_SASL_PASSWORD", SECRET).ok()).ends_with("(SASL_PLAINTEXT SCRAM-SHA-256 as me)"));
}

#[test]
fn config_shows_properties_and_no_secret() {
    let sandbox = Sandbox::new();
    let output = config(&sandbox, LOGIN).env("USERPIPE_SASL_PASSWORD", SECRET).ok();
    let property = setting(&output, "property");
    assert_eq!(property["value"], "security.protocol=SASL_SSL,sasl.mechanism=PLAIN,sasl.username=me");
    assert_eq!(property["origin"], "flag");
    assert_eq!(setting(&output, "sasl-password")["value"], "***");
    assert_eq!(bus(&output), "kafka kafka.invalid:9092 (SASL_SSL PLAIN as me)");
    assert!(!output.stdout.contains(SECRET) && !output.stderr.contains(SECRET));

    let secret = format!("sasl.password={SECRET}");
    for run in [
        config(&sandbox, LOGIN).arg("-X").arg(&secret),
        config(&sandbox, "").env("USERPIPE_PROPERTY", &secret),
        config(&sandbox, "-vv").arg("-X").arg(&secret),
        // Refused for something else, with the secret beside it.
        config(&sandbox, "--topic a/b").arg("-X").arg(&secret),
        config(&sandbox, "--in-flight many").arg("-X").arg(&secret),
    ] {
        let output = run.output();
        assert_ne!(output.status.code(), Some(0));
        assert!(!output.stdout.contains(SECRET) && !output.stderr.contains(SECRET), "{output:?}");
    }
    let output = config(&sandbox, "").arg("-X").arg(&secret).fails(78);
    assert_eq!(output.error(), "sasl.password must not be given with -X: every user of the machine can read it");
    assert!(output.hint().contains("--sasl-password-file"), "{}", output.hint());
}

#[test]
fn a_properties_file_may_hold_the_password_and_is_looked_at() {
    let sandbox = Sandbox::new();
    let text = format!(
        "# of the team\nsecurity.protocol=SASL_SSL\nsasl.mechanisms=SCRAM-SHA-512\nsasl.username=me\nsasl.password={SECRET}\n"
    );
    sandbox.write("client.properties", &text);
    let mode = |mode| {
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(sandbox.path("client.properties"), permissions).unwrap();
    };
    let run = |arguments: &str| {
        let output = config(&sandbox, &format!("-F client.properties {arguments}")).ok();
        assert!(!output.stdout.contains(SECRET) && !output.stderr.contains(SECRET), "{output:?}");
        output
    };
    mode(0o600);
    let output = run("");
    assert_eq!(bus(&output), "kafka kafka.invalid:9092 (SASL_SSL SCRAM-SHA-512 as me)");
    assert_eq!(setting(&output, "properties-file")["value"], "client.properties");
    assert!(!output.stderr.contains("chmod"), "{}", output.stderr);
    assert!(bus(&run("-X sasl.username=somebody")).ends_with("as somebody)"), "-X goes over -F");
    mode(0o644);
    let output = run("");
    assert!(output.stderr.contains("every user of this machine can read the secret in client.properties"));

    sandbox.write("client.properties", "security.protocol=SSL\nssl.ca.locaton=x\n");
    let output = config(&sandbox, "-F client.properties").fails(78);
    assert_eq!(output.error(), "unknown Kafka property ssl.ca.locaton at client.properties, line 2");
    assert_eq!(output.hint(), "did you mean ssl.ca.location?");
}

#[test]
fn userpipe_toml_and_the_environment_take_them_too() {
    let sandbox = Sandbox::new();
    sandbox.write("password", SECRET);
    sandbox.write(
        "userpipe.toml",
        "brokers = 'kafka.invalid'\nsasl-password-file = 'password'\n\
         property = ['security.protocol=SASL_SSL', 'sasl.mechanism=PLAIN', 'sasl.username=me']",
    );
    let output = sandbox.userpipe("config --json").ok();
    assert_eq!(bus(&output), "kafka kafka.invalid:9092 (SASL_SSL PLAIN as me)");
    assert_eq!(setting(&output, "property")["origin"], "file userpipe.toml");
    let output = sandbox.userpipe("config --json").env("USERPIPE_PROPERTY", "security.protocol=SSL").ok();
    assert_eq!(bus(&output), "kafka kafka.invalid:9092 (SSL)", "the environment goes over the file");
    sandbox.write("userpipe.toml", "brokers = 'kafka.invalid'\nproperties-file = 'client.properties'");
    sandbox.write("client.properties", "security.protocol=SSL\n");
    assert_eq!(bus(&sandbox.userpipe("config --json").ok()), "kafka kafka.invalid:9092 (SSL)");
}
