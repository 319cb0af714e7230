//! The README: its commands run, its tables are what the program says.

use std::collections::BTreeSet;

use clap::CommandFactory;
use clap::error::ErrorKind;
use userpipe::cli::Cli;
use userpipe::config::File;

use super::documents::{code_spans, fenced};
use super::{nobody, read, root};

const README: &str = "README.md";
const FLAGS_BEGIN: &str = "<!-- flags:begin -->";
const FLAGS_END: &str = "<!-- flags:end -->";
/// Set it to write the table instead of comparing it.
const WRITE: &str = "USERPIPE_WRITE_README";
/// The sections of the help in the order of the table, with the empty one for what has no section.
const HEADINGS: [&str; 6] = ["Pipeline", "Kafka", "Schema Registry", "Cassandra", "PostgreSQL", ""];

#[test]
fn every_command_line_is_one_that_clap_accepts() {
    let mut offenders = Vec::new();
    let mut commands = 0;
    for (line, text) in fenced(&read(README), &["sh", "console"]) {
        for arguments in calls(&text) {
            commands += 1;
            match Cli::command().try_get_matches_from(std::iter::once("userpipe".to_owned()).chain(arguments)) {
                Err(e) if !matches!(e.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
                    offenders.push(format!("{README}:{line}: {text}: {e}"));
                }
                _ => {}
            }
        }
    }
    assert!(commands > 10, "found {commands} commands only: are they no longer in sh or console blocks?");
    nobody("a command line of the README is none", &offenders);
}

#[test]
fn its_configuration_files_apply() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let readme = read(README);
    let mut blocks = readme.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).peekable();
    assert!(blocks.peek().is_some(), "the README shows a userpipe.toml");
    for block in blocks {
        let path = directory.path().join("userpipe.toml");
        std::fs::write(&path, block).expect("it can be written");
        let applied = File::load(Some(&path)).and_then(|file| file.expect("it is named").apply(Cli::command()));
        applied.unwrap_or_else(|error| panic!("{error}\n{block}"));
    }
}

#[test]
fn every_flag_and_command_in_its_prose_exists() {
    let program = Cli::command();
    let all = || std::iter::once(&program).chain(program.get_subcommands());
    let mut longs: BTreeSet<String> = ["help", "version"].map(str::to_owned).into();
    for arg in all().flat_map(clap::Command::get_arguments) {
        longs.extend(arg.get_long_and_visible_aliases().into_iter().flatten().map(str::to_owned));
    }
    let mut offenders = Vec::new();
    for (line, span) in code_spans(&read(README)) {
        let mut words = span.split([' ', '=', '|']);
        if span.starts_with('-') {
            let flags = words.filter_map(|word| word.strip_prefix("--"));
            offenders.extend(flags.filter(|f| !longs.contains(*f)).map(|f| format!("{README}:{line}: --{f}")));
        } else if words.next() == Some("userpipe")
            && let Some(name) = words.next().filter(|word| !word.starts_with('-'))
            && program.find_subcommand(name).is_none()
        {
            offenders.push(format!("{README}:{line}: userpipe {name}"));
        }
    }
    nobody("the README names a flag or command that is not there", &offenders);
}

#[test]
fn every_command_has_its_row() {
    let readme = read(README);
    let program = Cli::command();
    let names = program.get_subcommands().map(clap::Command::get_name);
    let missing: Vec<_> =
        names.filter(|name| !readme.contains(&format!("\n| `{name}` |"))).map(str::to_owned).collect();
    nobody("a command has no row in the README's table", &missing);
}

#[test]
fn the_flag_table_is_what_the_program_says() {
    let readme = read(README);
    let (before, rest) = readme.split_once(FLAGS_BEGIN).expect("the marker where the table begins");
    let (table, after) = rest.split_once(FLAGS_END).expect("the marker where the table ends");
    let expected = format!("\n{}", flag_table());
    if std::env::var_os(WRITE).is_some() {
        let text = format!("{before}{FLAGS_BEGIN}{expected}{FLAGS_END}{after}");
        std::fs::write(root().join(README), text).expect("the README can be written");
        return;
    }
    assert!(
        table == expected,
        "the flag table of {README} is not what the program says; write it anew with\n  {WRITE}=1 cargo test --test it flag_table"
    );
}

#[test]
fn the_exit_codes_are_those_of_the_error_kinds() {
    let syntax = syn::parse_file(&read("src/error.rs")).expect("it compiles");
    let kinds = syntax.items.iter().find_map(|item| match item {
        syn::Item::Enum(it) if it.ident == "Kind" => Some(&it.variants),
        _ => None,
    });
    let code = |variant: &syn::Variant| match &variant.discriminant {
        Some((_, syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Int(code), .. }))) => code.base10_parse().ok(),
        _ => None,
    };
    let mut codes: BTreeSet<u8> = kinds.expect("error::Kind").iter().filter_map(code).collect();
    codes.insert(0);
    let readme = read(README);
    let section = readme.split_once("\n## Exit codes\n").map(|(_, rest)| rest).expect("the section");
    let section = section.split("\n## ").next().unwrap_or_default();
    let rows: BTreeSet<u8> =
        section.lines().filter_map(|line| line.strip_prefix("| ")?.split(' ').next()?.parse().ok()).collect();
    assert_eq!(rows, codes);
}

#[test]
fn its_makefile_targets_exist() {
    let makefile = read("Makefile");
    let targets: BTreeSet<&str> =
        makefile.lines().filter_map(|line| line.split_once(':').map(|(name, _)| name)).collect();
    let readme = read(README);
    let mut named: Vec<(usize, String)> = code_spans(&readme);
    named.extend(fenced(&readme, &["sh", "console"]));
    let mut offenders = Vec::new();
    for (line, text) in named {
        let mut words = text.trim_start_matches("$ ").split_whitespace();
        if words.next() == Some("make")
            && let Some(target) = words.next()
            && !targets.contains(target)
        {
            offenders.push(format!("{README}:{line}: make {target}"));
        }
    }
    nobody("the README names a make target that is not there", &offenders);
}

/// The arguments of each call of userpipe in a shell line.
fn calls(line: &str) -> Vec<Vec<String>> {
    let mut calls = Vec::new();
    for part in line.split(['|', ';', '&']) {
        let mut words = words(part);
        words.retain(|word| word != "$");
        let is_assignment = |word: &String| word.split_once('=').is_some_and(|(name, _)| !name.contains(['-', '/']));
        let command = words.iter().position(|word| !is_assignment(word));
        let Some(command) = command.filter(|at| words[*at].rsplit('/').next() == Some("userpipe")) else { continue };
        calls.push(words.split_off(command + 1));
    }
    calls
}

/// The words of a shell command, without its comment; quotes hold words together.
fn words(command: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in command.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '#') if word.is_none() => break,
            (None, ' ') => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// The table of the options that every command accepts.
fn flag_table() -> String {
    let program = Cli::command();
    let mut rows = vec!["| flag | environment | default | |\n|---|---|---|---|\n".to_owned()];
    for heading in HEADINGS {
        let title = if heading.is_empty() { "Output and configuration" } else { heading };
        rows.push(format!("| **{title}** | | | |\n"));
        let of_heading = |arg: &&clap::Arg| arg.is_global_set() && arg.get_help_heading().unwrap_or("") == heading;
        rows.extend(program.get_arguments().filter(of_heading).map(row));
    }
    rows.concat()
}

fn row(arg: &clap::Arg) -> String {
    let mut flags: Vec<String> = arg.get_short().map(|short| format!("`-{short}`")).into_iter().collect();
    let longs = arg.get_long_and_visible_aliases().unwrap_or_default();
    flags.extend(longs.iter().map(|long| format!("`--{long}`")));
    let value = match arg.get_value_names() {
        Some([name, ..]) if arg.get_action().takes_values() => format!(" `{name}`"),
        _ => String::new(),
    };
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    // "[default: …]" in the help is for what is decided at run time.
    let (help, told) = match help.split_once(" [default: ") {
        Some((help, default)) => (help.to_owned(), default.trim_end_matches(']').to_owned()),
        None => (help, String::new()),
    };
    let values = arg.get_default_values();
    let is_shown = arg.get_action().takes_values() && !values.is_empty() && told.is_empty();
    let default = if is_shown { format!("`{}`", values.join(",".as_ref()).to_string_lossy()) } else { told };
    let possible = arg.get_possible_values();
    let names: Vec<String> = possible.iter().map(|value| format!("`{}`", value.get_name())).collect();
    let is_choice = arg.get_action().takes_values() && !names.is_empty() && !arg.is_hide_possible_values_set();
    let help = if is_choice { format!("{help}: {}", names.join(", ")) } else { help };
    let env = arg.get_env().map(|env| format!("`{}`", env.to_string_lossy())).unwrap_or_default();
    let cells = [format!("{}{value}", flags.join(", ")), env, default, help].map(|cell| cell.replace('|', "\\|"));
    format!("| {} |\n", cells.join(" | ")).replace("|  |", "| |").replace("|  |", "| |")
}
