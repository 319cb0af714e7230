//! Secrets: never shown, whatever a command logs, prints, refuses or breaks with.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;

use crate::sandbox::{Run, Sandbox};

/// What nothing may show. In the environment, in files, and in places where they must not be.
const OF_CASSANDRA: &str = "s3cret-of-cassandra-e1a7";
const OF_POSTGRES: &str = "s3cret-of-postgres-40cd";
const MISPLACED: &str = "s3cret-misplaced-77b2";
const SECRETS: [&str; 3] = [OF_CASSANDRA, OF_POSTGRES, MISPLACED];

/// Runs it at its most talkative, and looks for secrets in all that it wrote.
fn told(run: Run, code: i32) -> String {
    let output = run.arg("-vv").env("RUST_BACKTRACE", "full").env("RUST_SPANTRACE", "1").output().expect_code(code);
    let all = format!("{}{}", output.stdout, output.stderr);
    for secret in SECRETS {
        assert!(!all.contains(secret), "{secret} is told:\n{all}");
    }
    all
}

fn with_secrets(run: Run) -> Run {
    let run = run.env("USERPIPE_CASSANDRA_PASSWORD", OF_CASSANDRA).env("USERPIPE_CASSANDRA_USER", "alice");
    run.env("PGPASSWORD", OF_POSTGRES)
}

/// A server on a free port that serves each connection so.
fn server(serve: fn(TcpStream) -> std::io::Result<()>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            // A client that has gone wanted no more.
            let _ = serve(stream.unwrap());
        }
    });
    address
}

/// A PostgreSQL without TLS that asks for the password in clear text, and refuses it.
fn postgres(mut stream: TcpStream) -> std::io::Result<()> {
    let message = |stream: &mut TcpStream, head: usize| {
        let mut bytes = vec![0; head + 4];
        stream.read_exact(&mut bytes)?;
        let length = u32::from_be_bytes(bytes[head..].try_into().unwrap()) as usize - 4;
        let mut body = vec![0; length];
        stream.read_exact(&mut body).map(|()| body)
    };
    // SSLRequest is answered by a single letter, the start-up message by a request for the password.
    if message(&mut stream, 0)?.starts_with(&80_877_103_u32.to_be_bytes()) {
        stream.write_all(b"N")?;
        message(&mut stream, 0)?;
    }
    stream.write_all(b"R\x00\x00\x00\x08\x00\x00\x00\x03")?;
    let password = message(&mut stream, 1)?;
    assert_eq!(password, format!("{OF_POSTGRES}\0").as_bytes(), "it is sent, and nowhere shown");
    let fields = b"SFATAL\0VFATAL\0C28P01\0Mpassword authentication failed for user \"u\"\0\0";
    stream.write_all(b"E")?;
    stream.write_all(&u32::try_from(fields.len() + 4).unwrap().to_be_bytes())?;
    stream.write_all(fields)
}

#[test]
fn no_command_shows_the_secrets_that_it_is_given() {
    let sandbox = Sandbox::new();
    sandbox.write("password", format!("{OF_CASSANDRA}\n"));
    let address = server(postgres);
    let stores = format!("--cassandra 127.0.0.1:1 --postgres postgres://u@{address}/db --connect-timeout 2s");
    for (command, code) in [
        ("config", 0),
        ("config --json", 0),
        ("check", 10),
        ("health", 10),
        ("init-schema", 77),
        ("produce --once --source synthetic --count 1", 77),
        ("status", 10),
        ("verify", 69),
        ("run --no-deliver --once --source synthetic --count 1", 77),
    ] {
        told(with_secrets(sandbox.userpipe(&format!("{command} {stores}"))), code);
    }
    let by_file = "config --cassandra 127.0.0.1:1 --cassandra-user alice --cassandra-password-file password";
    told(sandbox.userpipe(by_file), 0);
    told(with_secrets(sandbox.userpipe("consume -e --ledger off --connect-timeout 2s --cassandra 127.0.0.1:1")), 69);
}

#[test]
fn a_secret_in_a_wrong_place_is_refused_without_being_shown() {
    let sandbox = Sandbox::new();
    for arguments in [
        format!("health --postgres postgres://u:{MISPLACED}@db/x"),
        format!("health --postgres postgres://u@db/x?password={MISPLACED}"),
        format!("health --postgres postgres://u@db/x?sslpassword={MISPLACED}"),
        format!("health --postgres postgres://u@db/x?pasword={MISPLACED}"),
        format!("health --cassandra u:{MISPLACED}@db:9042"),
        format!("health --brokers u:{MISPLACED}@kafka:9092"),
        format!("fetch --api-url https://u:{MISPLACED}@example.com/"),
    ] {
        told(sandbox.userpipe(&arguments), 78);
    }
}

#[test]
fn a_file_that_others_can_read_is_warned_about() {
    let sandbox = Sandbox::new();
    sandbox.write("password", OF_POSTGRES);
    let mode = |mode| std::fs::set_permissions(sandbox.path("password"), PermissionsExt::from_mode(mode)).unwrap();
    let address = server(postgres);
    let line = format!("init-schema --postgres postgres://u@{address}/db --postgres-password-file password");
    mode(0o644);
    let warned = told(sandbox.userpipe(&line), 77);
    assert!(warned.contains("every user of this machine can read the secret in"), "{warned}");
    mode(0o600);
    let silent = told(sandbox.userpipe(&line), 77);
    assert!(!silent.contains("every user of this machine"), "{silent}");
}

#[test]
fn each_way_to_give_a_password_works() {
    let sandbox = Sandbox::new();
    sandbox.write("password", OF_POSTGRES);
    let address = server(postgres);
    let line = format!("init-schema --postgres postgres://u@{address}/db");
    for (name, value) in [
        ("PGPASSWORD", OF_POSTGRES),
        ("USERPIPE_POSTGRES_PASSWORD", OF_POSTGRES),
        ("USERPIPE_POSTGRES_PASSWORD_FILE", "password"),
    ] {
        // The server looks at it, and refuses it with 28P01.
        let said = told(sandbox.userpipe(&line).env(name, value), 77);
        assert!(said.contains("password authentication failed"), "{name}: {said}");
    }
    let cassandra = "config --cassandra 127.0.0.1:1 --cassandra-user alice";
    for (name, value) in
        [("USERPIPE_CASSANDRA_PASSWORD", OF_CASSANDRA), ("USERPIPE_CASSANDRA_PASSWORD_FILE", "password")]
    {
        told(sandbox.userpipe(cassandra).env(name, value), 0);
    }
    sandbox.userpipe(cassandra).fails(78);
}

/// The program of the tests can be made to panic at its seams.
#[test]
#[cfg(feature = "failpoints")]
fn a_panic_shows_no_environment() {
    let sandbox = Sandbox::new();
    let run = with_secrets(sandbox.userpipe("run --once --source synthetic --count 1"));
    let said = told(run.env("FAILPOINTS", "after-fetch=panic"), 101);
    assert!(said.contains("panicked") && !said.contains("PGPASSWORD"), "{said}");
}

#[test]
fn a_password_stays_on_this_machine_unless_it_may_go_in_clear_text() {
    let sandbox = Sandbox::new();
    let cassandra = || with_secrets(sandbox.userpipe("config --cassandra db.example.com"));
    let refused = cassandra().fails(78);
    assert_eq!(refused.error(), "the password for Cassandra would go to db.example.com:9042 in clear text");
    assert!(refused.hint().contains("--cassandra-tls") && refused.hint().contains("--allow-plaintext-credentials"));
    cassandra().arg("--cassandra-tls").ok();
    cassandra().arg("--allow-plaintext-credentials").ok();
    cassandra().env("USERPIPE_ALLOW_PLAINTEXT_CREDENTIALS", "true").ok();
    sandbox.write("userpipe.toml", "allow-plaintext-credentials = true\n");
    cassandra().ok();
}
