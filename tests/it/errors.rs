//! What a person sees when something is wrong: one line, a hint, and the documented exit code.

use std::fmt::Write as _;

use nix::sys::signal::Signal;

use crate::sandbox::{Run, Sandbox};

/// What was typed, what came back on standard error, and the exit code.
fn transcript(runs: impl IntoIterator<Item = (String, Run)>) -> String {
    let mut text = String::new();
    for (line, run) in runs {
        let output = run.output();
        let code = output.status.code().unwrap();
        write!(text, "$ {line}\n{}[exit {code}]\n\n", output.stderr).unwrap();
    }
    text
}

/// The transcript of commands that are told apart by their arguments alone.
fn of_commands(sandbox: &Sandbox, commands: &[&str]) -> String {
    transcript(commands.iter().map(|command| (format!("userpipe {command}"), sandbox.userpipe(command))))
}

#[test]
fn of_the_command_line() {
    let commands = [
        "rum --once",
        "run --onec",
        "consume --form-beginning",
        "run --once --interval 1m",
        "run --for 1m --count 3",
        "produce --input users.jsonl --count 3",
        "consume --from-beginning -o end",
        "fetch --seed s --gender male",
        "-q -v config",
        "run --count 0",
        "run --count many",
        "run --interval 0s",
        "run --rate 10/day",
        "fetch --results 6000",
        "fetch --source disk",
        "consume -o 5",
        "consume -o @soon",
        "config --sink excel",
        "config --connect-timeout soon",
        "mock-api --fault 418",
        "completions tcsh",
        "completions",
    ];
    insta::assert_snapshot!("errors-usage", of_commands(&Sandbox::new(), &commands));
}

#[test]
fn of_the_configuration() {
    let commands = [
        "run --once --source auto --brokers localhost",
        "run --once --source auto --cassandra localhost",
        "consume --sink cassandra",
        "consume --sink postgres",
        "consume --cassandra localhost --cassandra-user me",
        "config --brokers ::1",
        "config --topic a/b",
        "config --table Users",
        "config --keyspace my-space --cassandra localhost",
        "config --columns id,salary",
        "config --replication 0 --cassandra localhost",
        "config --postgres mysql://localhost/db",
        "fetch --nat de,xx",
        "fetch --api-url ftp://example.com",
        "fetch --api-url http://me:secret@example.com/api/",
        "fetch --api-url https://randomuser.me/api/?results=5",
    ];
    insta::assert_snapshot!("errors-configuration", of_commands(&Sandbox::new(), &commands));
}

#[test]
fn of_services_that_are_not_there() {
    // Port 1 of loopback refuses, and .invalid never resolves (RFC 2606).
    let commands = [
        "consume -e --brokers 127.0.0.1:1 --connect-timeout 1s",
        "produce --source synthetic --brokers no-such-host.invalid --connect-timeout 1s",
        "consume -e --cassandra 127.0.0.1:1 --connect-timeout 1s",
        "consume -e --cassandra no-such-host.invalid --connect-timeout 1s",
        "consume -e --postgres postgres://me@127.0.0.1:1/db --connect-timeout 1s",
        "consume -e --postgres postgres://me@no-such-host.invalid/db --connect-timeout 1s",
        "init-schema --brokers 127.0.0.1:1 --connect-timeout 1s",
        "fetch --api-url http://127.0.0.1:1/ --api-attempts 1",
        "fetch --api-url http://no-such-host.invalid/ --api-attempts 1",
    ];
    let mut settings = insta::Settings::clone_current();
    // The resolver's words are those of the C library.
    settings
        .add_filter("failed to lookup address information: [A-Za-z ]+", "failed to lookup address information: […]");
    settings.bind(|| {
        insta::assert_snapshot!("errors-unreachable", of_commands(&Sandbox::new(), &commands));
    });
}

#[test]
fn of_files() {
    let sandbox = Sandbox::new();
    sandbox.write("file", "not a directory");
    std::fs::create_dir(sandbox.path("other")).unwrap();
    sandbox.write("other/userpipe.db", "this is a letter to my grandmother, and no database at all".repeat(100));
    let commands = [
        "run --once --source synthetic --data-dir file/below",
        "run --once --source synthetic --data-dir other",
        "produce --input nowhere.jsonl",
        "produce --input .",
        "mock-api --data nowhere",
    ];
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(r" in \d+(us|ms|s)( \d+(us|ms))?\n", " in […]\n");
    settings.bind(|| insta::assert_snapshot!("errors-files", of_commands(&sandbox, &commands)));
}

#[test]
fn of_a_full_disk() {
    let sandbox = Sandbox::new();
    let full = "userpipe fetch --source synthetic > /dev/full";
    let output = sandbox.bash(full).fails(74);
    assert_eq!(output.error(), "cannot write to standard output: No space left on device (os error 28)");
    assert!(!output.hint().is_empty());
    sandbox.userpipe("produce --source synthetic --count 5").ok();
    let output = sandbox.bash("userpipe consume --sink stdout -e --deadline 1s > /dev/full").fails(74);
    assert_eq!(output.error(), "cannot write to standard output: No space left on device (os error 28)");
    assert!(!output.hint().is_empty());
    assert_eq!(sandbox.userpipe("consume --sink stdout -e").ok().json_lines().len(), 5, "nothing was committed");
}

/// Regression: after a full disk every transaction was refused until the process was started again.
#[test]
fn a_disk_that_was_full_is_used_again() {
    let sandbox = Sandbox::new();
    let database = sandbox.prepare();
    // A soft limit on the size of files (in KiB), which can be raised again from outside.
    let limited = "trap '' XFSZ; ulimit -S -f 256; exec userpipe run --interval 200ms --source synthetic --count 500";
    let run = sandbox.bash(limited).start();
    run.wait_for_stderr("disk I/O error");
    sandbox.bash(&format!("prlimit --pid {} --fsize=unlimited", run.pid())).ok();
    database.wait_until("SELECT count(*) FROM created_users", 1000);
    run.signal(Signal::SIGTERM);
    let output = run.finish().expect_code(0);
    assert!(!output.stderr.contains("transaction depth"), "{}", output.stderr);
}

#[test]
fn of_a_data_file_that_cannot_grow() {
    let sandbox = Sandbox::new();
    sandbox.prepare();
    // A limit on the size of files (in KiB) is the full disk that needs no privileges.
    let limited = "trap '' XFSZ; ulimit -f 512; userpipe run --once --source synthetic --count 5000";
    let output = sandbox.bash(limited).fails(74);
    assert!(output.error().contains("disk I/O error"), "{}", output.error());
    assert!(output.hint().starts_with("free some disk space"), "{}", output.hint());
    sandbox.userpipe("run --once --source synthetic --count 1").ok();
    let database = sandbox.database();
    let lost = "SELECT count(*) FROM outbox WHERE id NOT IN (SELECT id FROM created_users)";
    assert_eq!(database.number(lost), 0, "what was stored arrives once there is room");
}
