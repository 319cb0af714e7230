//! The help as it is printed. Options that every command accepts are in the snapshot of the program's own help alone.

use crate::sandbox::Sandbox;

/// Sections of the options that every command accepts.
const GLOBAL: [&str; 5] = ["Pipeline:", "Kafka:", "Schema Registry:", "Cassandra:", "PostgreSQL:"];

const COMMANDS: [&str; 27] = [
    "fetch",
    "produce",
    "consume",
    "init-schema",
    "run",
    "dead-letters",
    "dead-letters list",
    "dead-letters replay",
    "runs",
    "runs list",
    "runs show",
    "runs trigger",
    "purge",
    "seek",
    "verify",
    "trace",
    "schema",
    "schema show",
    "schema register",
    "schema check",
    "config",
    "mock-api",
    "check",
    "status",
    "tap",
    "completions",
    "man",
];

#[test]
fn of_the_program() {
    let help = Sandbox::new().userpipe("--help").ok().stdout;
    insta::assert_snapshot!("userpipe", help);
}

#[test]
fn of_each_command() {
    let sandbox = Sandbox::new();
    for command in COMMANDS {
        let help = sandbox.userpipe(&format!("{command} -h")).ok().stdout;
        let own: Vec<_> =
            help.split("\n\n").filter(|section| !GLOBAL.iter().any(|title| section.starts_with(title))).collect();
        insta::assert_snapshot!(format!("userpipe-{}", command.replace(' ', "-")), own.join("\n\n"));
    }
}

#[test]
fn without_a_command_it_is_printed_as_an_error() {
    let sandbox = Sandbox::new();
    let bare = sandbox.userpipe("").output().expect_code(2);
    assert_eq!((bare.stdout.as_str(), &bare.stderr), ("", &sandbox.userpipe("-h").ok().stdout));
}
