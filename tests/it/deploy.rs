//! What is shipped to run the program elsewhere (compose.yaml and deploy/) says nothing that the program does not understand.
//!
//! Command lines and variables are looked for in the text of every file, so that a new file is looked at too. The shape of the
//! files (YAML, Kubernetes' schemas, systemd's, the DAG) is for `make test-deploy`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use clap::builder::ArgAction;
use clap::{Arg, Command, CommandFactory};
use userpipe::cli::Cli;
use walkdir::WalkDir;

use crate::sandbox::Sandbox;

/// The files, by their path from the root.
fn shipped() -> BTreeMap<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let below = WalkDir::new(root.join("deploy")).into_iter().map(|entry| entry.unwrap().into_path());
    let paths = below.filter(|path| path.is_file()).chain([root.join("compose.yaml")]);
    let text = |path: &Path| std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    paths.map(|path| (path.strip_prefix(root).unwrap().display().to_string(), text(&path))).collect()
}

fn commands(program: &Command) -> impl Iterator<Item = &Command> {
    std::iter::once(program).chain(program.get_subcommands())
}

/// The calls of the program in a file: lists of words as in YAML and JSON, and lines of a shell, of a unit, of prose in backticks.
fn calls(text: &str, program: &Command) -> Vec<Vec<String>> {
    let is_command = |word: &str| program.find_subcommand(word).is_some();
    let mut calls = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some((_, list)) = line.split_once(": [") {
            let words: Vec<String> = serde_json::from_str(&format!("[{list}")).unwrap_or_default();
            let words: Vec<String> = words.into_iter().skip_while(|word| word == "CMD" || is_program(word)).collect();
            if words.first().is_some_and(|word| is_command(word)) {
                calls.push(words);
            }
            continue;
        }
        for (at, _) in line.match_indices("userpipe ") {
            let (before, rest) = line.split_at(at);
            if !before.is_empty() && !before.ends_with(['/', '`', '"', '\'', '=']) && !before.ends_with("exec ") {
                continue;
            }
            let rest = rest.split(['`', '"', '\'', ';', '|', '&']).next().unwrap_or_default();
            let words: Vec<String> =
                rest.split_whitespace().skip(1).take_while(|word| *word != "#").map(str::to_owned).collect();
            if words.first().is_some_and(|word| word.starts_with('-') || is_command(word)) {
                calls.push(words);
            }
        }
    }
    calls
}

fn is_program(word: &str) -> bool {
    word.rsplit('/').next() == Some("userpipe")
}

#[test]
fn every_command_line_is_one_that_the_program_takes() {
    let program = Cli::command();
    let (mut offenders, mut started) = (Vec::new(), BTreeSet::new());
    for (path, text) in shipped() {
        for words in calls(&text, &program) {
            if let Err(error) =
                Cli::command().try_get_matches_from(["userpipe"].into_iter().chain(words.iter().map(String::as_str)))
            {
                offenders.push(format!("{path}: {}: {error}", words.join(" ")));
            }
            started.insert((path.clone(), words.join(" ")));
        }
    }
    assert!(offenders.is_empty(), "{}", offenders.join("\n"));
    for (path, line) in [
        ("compose.yaml", "init-schema --wait 120s"),
        ("compose.yaml", "run --no-deliver --interval 1m"),
        ("compose.yaml", "consume"),
        ("compose.yaml", "health --connect-timeout 8s"),
        ("deploy/kubernetes/run.yaml", "run --no-deliver --interval 1m --keep 30d"),
        ("deploy/kubernetes/consume.yaml", "consume"),
        ("deploy/systemd/userpipe.service", "run"),
        ("deploy/systemd/userpipe-consume@.service", "consume --static-member %l-%i"),
        ("deploy/airflow/userpipe_produce.py", "produce --count 100"),
    ] {
        assert!(started.contains(&(path.to_owned(), line.to_owned())), "{path} no longer has '{line}': {started:?}");
    }
}

/// Comments and documents included.
#[test]
fn every_variable_is_one_that_the_program_reads() {
    let mut program = Cli::command();
    program.build();
    let help: String = commands(&program).map(|command| command.clone().render_long_help().to_string()).collect();
    let known = variables(&help);
    assert!(known.len() > 40 && known.contains("USERPIPE_CASSANDRA_PASSWORD"), "{known:?}");
    for (path, text) in shipped() {
        let unknown: Vec<_> = variables(&text).difference(&known).cloned().collect();
        assert!(unknown.is_empty(), "{path} has {unknown:?}, which nobody reads");
    }
}

fn variables(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'));
    words.filter(|word| word.starts_with("USERPIPE_") && word.len() > 9).map(str::to_owned).collect()
}

/// `NAME: "value"`, `NAME=value`, `Environment=NAME=value`, `"NAME": "value",`, and what is commented out.
fn settings(text: &str) -> Vec<(String, String)> {
    let setting = |line: &str| {
        let line = line.trim_start_matches(['#', ' ']).trim_start_matches("Environment=").trim_start_matches('"');
        let end = line.find(['=', ':', '"']).filter(|_| line.starts_with("USERPIPE_"))?;
        let (name, value) = line.split_at(end);
        let value = value.trim_start_matches(['"', ':', '=', ' ']).trim_end_matches([',', '"']);
        Some((name.to_owned(), value.to_owned()))
    };
    text.lines().map(str::trim).filter_map(setting).collect()
}

#[test]
fn every_value_of_a_variable_is_one_that_its_option_takes() {
    let program = Cli::command();
    let mut seen = 0;
    for (path, text) in shipped() {
        for (name, value) in settings(&text) {
            let sets = |arg: &&Arg| arg.get_env().is_some_and(|env| env == name.as_str());
            let option = commands(&program).find_map(|it| Some((it, it.get_arguments().find(sets)?)));
            let (command, arg) = option.unwrap_or_else(|| panic!("{path}: {name} is not an option's"));
            let long = arg.get_long().expect("an option of the environment has a long flag");
            let mut line = vec!["userpipe".to_owned()];
            line.push(if command.get_name() == "userpipe" { "run" } else { command.get_name() }.to_owned());
            line.push(match arg.get_action() {
                ArgAction::SetTrue => format!("--{long}"),
                _ => format!("--{long}={value}"),
            });
            let parsed = Cli::command().try_get_matches_from(&line);
            assert!(parsed.is_ok(), "{path}: {name}={value}: {}", parsed.err().unwrap());
            seen += 1;
        }
    }
    assert!(seen > 20, "{seen} settings only: are they written in another way?");
}

/// All that is set together works together, with a password in each of the files that are named.
#[test]
fn the_settings_of_each_file_are_a_configuration() {
    for (path, text) in shipped() {
        let sandbox = Sandbox::new();
        sandbox.write("password", "of-a-test");
        let secret = sandbox.path("password").display().to_string();
        let mut run = sandbox.userpipe("config").env("PGPASSWORD", "of-a-test");
        let settings = settings(&text);
        for (name, value) in &settings {
            run = run.env(name, if name.ends_with("_PASSWORD_FILE") { &secret } else { value });
        }
        // two ways to give the same password, of which a process has one
        if settings.iter().any(|(name, _)| name == "USERPIPE_POSTGRES_PASSWORD_FILE") {
            run = run.env("PGPASSWORD", "");
        }
        let output = run.output();
        assert!(output.status.success(), "{path}: {}", output.stderr);
    }
}

/// Whoever stops the process gives it longer than it takes for itself, or the drain is cut off.
#[test]
fn a_stop_leaves_time_for_the_drain() {
    let program = Cli::command();
    let option = program.get_arguments().find(|arg| arg.get_id() == "shutdown_timeout").expect("it is an option");
    let default = option.get_default_values()[0].to_str().unwrap().to_owned();
    let seconds = |text: &str| text.trim().trim_end_matches('s').parse::<u64>().expect("seconds");
    let drain = seconds(&default);
    let mut stops = 0;
    for (path, text) in shipped() {
        for line in text.lines().map(str::trim) {
            let given = ["terminationGracePeriodSeconds:", "TimeoutStopSec="]
                .into_iter()
                .find_map(|key| line.strip_prefix(key));
            if let Some(given) = given {
                assert!(seconds(given) >= drain + 5, "{path}: {line}, and --shutdown-timeout is {default}");
                stops += 1;
            }
            if let Some(own) = line.strip_prefix("USERPIPE_SHUTDOWN_TIMEOUT:") {
                assert_eq!(seconds(own.trim_matches([' ', '"'])), drain, "{path}");
            }
        }
    }
    assert_eq!(stops, 5, "three pods and two units");
    let compose = &shipped()["compose.yaml"];
    assert_eq!(
        compose.matches(&format!("stop_grace_period: {}s", drain + 5)).count(),
        3,
        "cassandra and the two of ours"
    );
}
