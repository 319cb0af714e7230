//! From the command line, the environment and `userpipe.toml` to parsed arguments.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::Resettable;
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command, CommandFactory, FromArgMatches};

use super::File;
use super::kafka_properties::without_secrets;
use crate::cli::Cli;
use crate::error::{Error, Result};

/// The parsed arguments, with what is needed to tell where each came from.
#[derive(Debug)]
pub struct Loaded {
    /// The arguments.
    pub cli: Cli,
    /// The program, with the file's values as its defaults.
    pub program: Command,
    matches: ArgMatches,
    file: Option<File>,
}

/// Why there are no arguments to go on with.
#[derive(Debug)]
pub enum Stop {
    /// Help, a version, or wrong usage: clap prints it and knows the exit code.
    Clap(clap::Error),
    /// The configuration file.
    File(Error),
}

/// Parses `args` over the environment over the file over the defaults.
///
/// # Errors
/// See [`Stop`].
pub fn load(args: Vec<OsString>) -> Result<Loaded, Stop> {
    let file = File::load(path_of_file(&args).as_deref()).map_err(Stop::File)?;
    let mut program = without_empty_variables(Cli::command());
    if let Some(file) = &file {
        program = file.apply(program).map_err(Stop::File)?;
    }
    let matches = program.clone().try_get_matches_from(args).map_err(Stop::Clap)?;
    let cli = Cli::from_arg_matches(&matches).map_err(|e| Stop::Clap(e.format(&mut program)))?;
    Ok(Loaded { cli, program, matches, file })
}

/// `--config` must be known before everything else is parsed.
fn path_of_file(args: &[OsString]) -> Option<PathBuf> {
    let first = without_empty_variables(Cli::command()).ignore_errors(true).try_get_matches_from(args).ok()?;
    first.get_one::<PathBuf>("config").cloned()
}

/// A variable that is set to nothing is as good as none: scripts and compose files pass `${NAME:-}` on as such.
fn without_empty_variables(program: Command) -> Command {
    let of_arg = |arg: Arg| {
        let is_empty = arg.get_env().and_then(std::env::var_os).is_some_and(|value| value.is_empty());
        if is_empty { arg.env(Resettable::Reset) } else { arg }
    };
    program.mut_args(of_arg).mut_subcommands(|command| command.mut_args(of_arg))
}

/// One effective value.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Setting {
    /// The command it belongs to; empty for the connections.
    pub command: String,
    /// The long flag, which is also its key in the file.
    pub name: String,
    /// The value as it would be typed; `None` where there is none.
    pub value: Option<String>,
    /// `flag`, `environment NAME`, `file PATH` or `default`.
    pub origin: String,
}

impl Loaded {
    /// The effective values of every connection option, and of the commands' own options where the environment or
    /// the file sets them.
    pub fn settings(&self) -> Vec<Setting> {
        let mut settings = self.of_command("", &self.program, &self.matches);
        for command in self.program.get_subcommands() {
            let name = command.get_name();
            // A command with a required argument cannot be parsed without it, and has nothing to configure.
            let Ok(matches) = self.program.clone().try_get_matches_from(["userpipe", name]) else { continue };
            let Some(own) = matches.subcommand_matches(name) else { continue };
            settings.extend(self.of_command(name, command, own).into_iter().filter(|s| s.origin != "default"));
        }
        settings
    }

    /// As [`Loaded::settings`], and all options of the command that was called.
    pub fn effective(&self) -> Vec<Setting> {
        let mut settings = self.settings();
        let Some((name, own)) = self.matches.subcommand() else { return settings };
        let Some(command) = self.program.find_subcommand(name) else { return settings };
        settings.retain(|setting| setting.command != name);
        settings.extend(self.of_command(name, command, own));
        settings
    }

    fn of_command(&self, command: &str, program: &Command, matches: &ArgMatches) -> Vec<Setting> {
        let configurable = |arg: &&clap::Arg| {
            arg.get_long().is_some_and(|long| !super::KEYS_NOT_IN_FILE.contains(&long) || long == "config")
                && (command.is_empty() || !arg.is_global_set())
        };
        let setting = |arg: &clap::Arg| {
            let id = arg.get_id().as_str();
            let long = arg.get_long()?;
            let value = matches
                .get_raw(id)
                .map(|values| values.map(|v| shown(long, &v.to_string_lossy())).collect::<Vec<_>>().join(","));
            let origin = self.origin(command, long, arg, matches.value_source(id));
            Some(Setting { command: command.to_owned(), name: long.to_owned(), value, origin })
        };
        program.get_arguments().filter(configurable).filter_map(setting).collect()
    }

    fn origin(&self, command: &str, long: &str, arg: &clap::Arg, source: Option<ValueSource>) -> String {
        match source {
            Some(ValueSource::CommandLine) => "flag".to_owned(),
            Some(ValueSource::EnvVariable) => {
                let name = arg.get_env().map(|name| name.to_string_lossy().into_owned());
                format!("environment {}", name.unwrap_or_default())
            }
            _ => match &self.file {
                Some(file) if file.names(command, long) => format!("file {}", file.path().display()),
                _ => "default".to_owned(),
            },
        }
    }
}

/// A value as it was typed, without a secret that somebody typed although it is refused.
fn shown(long: &str, value: &str) -> String {
    if long == "property" { without_secrets(value) } else { value.to_owned() }
}
