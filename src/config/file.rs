//! `userpipe.toml`: its keys are the long flags, its values become their defaults before clap parses.
//!
//! A key at the top is a connection option; a key in a table (`[run]`, `[consume]`, …) is an option of that
//! command. Since clap then parses the values like any other, a flag and a key can never mean different things.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::builder::Resettable;
use clap::{ArgAction, Command};

use crate::error::{Error, Kind, Result};
use crate::files::read_at_most;

/// The file that is read from the current directory when none is named.
const DEFAULT_PATH: &str = "userpipe.toml";
/// A configuration file larger than this is a mistake.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Flags that cannot be keys: they choose the file, or ask a question.
pub const KEYS_NOT_IN_FILE: &[&str] = &["config", "help", "version", "verbose", "quiet"];

/// A parsed file: option values by command (`""` for the connections) and long flag.
#[derive(Debug, Default)]
pub struct File {
    path: PathBuf,
    values: BTreeMap<(String, String), String>,
}

impl File {
    /// Reads `path`, or `userpipe.toml` in the current directory if it is there.
    ///
    /// # Errors
    /// [`Kind::Config`] when a named file is missing, and for anything that is no TOML of scalars and lists.
    pub fn load(path: Option<&Path>) -> Result<Option<Self>> {
        let chosen = path.unwrap_or_else(|| Path::new(DEFAULT_PATH));
        if path.is_none() && !chosen.exists() {
            return Ok(None);
        }
        let failed = || Error::new(Kind::Config, "cannot read the configuration file").at(chosen.display().to_string());
        let bytes = read_at_most(chosen, FILE_BYTES_MAX).map_err(|e| failed().because(e))?;
        let text = String::from_utf8(bytes).map_err(|e| failed().because(e))?;
        let table: toml::Table = toml::from_str(&text).map_err(|e| {
            let line = e.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
            failed().because(format!("line {line}: {}", e.message()))
        })?;
        let mut file = File { path: chosen.to_owned(), values: BTreeMap::new() };
        for (key, value) in table {
            match value {
                toml::Value::Table(section) => {
                    for (inner, value) in section {
                        file.insert(&key, &inner, &value)?;
                    }
                }
                value => file.insert("", &key, &value)?,
            }
        }
        Ok(Some(file))
    }

    fn insert(&mut self, section: &str, key: &str, value: &toml::Value) -> Result<()> {
        let text = scalar(value).ok_or_else(|| {
            self.error(section, key).because("write a string, a number, true or false, or a list of those")
        })?;
        self.values.insert((section.to_owned(), key.to_owned()), text);
        Ok(())
    }

    /// The file's name.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the file gives this option of this command.
    pub fn names(&self, command: &str, flag: &str) -> bool {
        self.get(command, flag).is_some()
    }

    fn get(&self, command: &str, flag: &str) -> Option<&String> {
        let at = |section: &str| self.values.get(&(section.to_owned(), flag.to_owned()));
        at(command).or_else(|| at(""))
    }

    /// Makes the file's values the defaults of `program`'s arguments.
    ///
    /// # Errors
    /// [`Kind::Config`] for a key that is no long flag, with the nearest one, and for a value its flag refuses.
    pub fn apply(&self, program: Command) -> Result<Command> {
        for ((section, key), value) in &self.values {
            let command = match section.as_str() {
                "" => &program,
                name => program.find_subcommand(name).ok_or_else(|| {
                    let names = program.get_subcommands().map(|c| c.get_name().to_owned());
                    self.unknown(&format!("[{name}]"), name, names)
                })?,
            };
            if find_long(command, key).is_none() {
                let flags = longs(command).chain(longs(&program));
                return Err(self.unknown(&qualified(section, key), key, flags));
            }
            self.try_value(command, section, key, value)?;
        }
        let mut program = program.mut_args(|arg| self.with_default("", arg));
        let names: Vec<_> = program.get_subcommands().map(|c| c.get_name().to_owned()).collect();
        for name in names {
            program = program.mut_subcommand(&name, |c| c.mut_args(|arg| self.with_default(&name, arg)));
        }
        Ok(program)
    }

    fn with_default(&self, section: &str, arg: clap::Arg) -> clap::Arg {
        let value = arg.get_long().and_then(|long| self.values.get(&(section.to_owned(), long.to_owned())));
        match value.cloned() {
            Some(value) => arg.default_value(value),
            None => arg,
        }
    }

    /// Lets clap judge one value, so that the error names the key and not a flag nobody typed.
    fn try_value(&self, command: &Command, section: &str, key: &str, value: &str) -> Result<()> {
        let Some(arg) = find_long(command, key).cloned() else { return Ok(()) };
        if matches!(arg.get_action(), ArgAction::SetTrue) {
            return match value {
                "true" | "false" => Ok(()),
                _ => Err(self.error(section, key).because("write true or false")),
            };
        }
        // Without its conflicts: the arguments they name are not there.
        let arg = arg.required(false).env(None::<&str>).global(false).conflicts_with(Resettable::Reset);
        let alone = Command::new("file").no_binary_name(true).arg(arg);
        alone.try_get_matches_from([format!("--{key}={value}")]).map(|_| ()).map_err(|e| {
            let text = e.to_string();
            let first = text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
            self.error(section, key).because(first)
        })
    }

    fn unknown(&self, shown: &str, key: &str, known: impl Iterator<Item = String>) -> Error {
        let near = known
            .filter(|name| !KEYS_NOT_IN_FILE.contains(&name.as_str()))
            .map(|name| (strsim::jaro_winkler(&name, key), name))
            .filter(|(likeness, _)| *likeness > 0.7)
            .max_by(|a, b| a.0.total_cmp(&b.0));
        let error = Error::new(Kind::Config, format!("unknown key `{shown}` in the configuration file"))
            .at(self.path.display().to_string());
        match near {
            Some((_, name)) => error.hint(format!("did you mean `{name}`?")),
            None => error.hint("keys are the long flags; options of one command go into a table, as in [run]"),
        }
    }

    fn error(&self, section: &str, key: &str) -> Error {
        Error::new(Kind::Config, format!("bad value of `{}` in the configuration file", qualified(section, key)))
            .at(self.path.display().to_string())
    }
}

fn qualified(section: &str, key: &str) -> String {
    if section.is_empty() { key.to_owned() } else { format!("[{section}] {key}") }
}

fn find_long<'c>(command: &'c Command, key: &str) -> Option<&'c clap::Arg> {
    command.get_arguments().find(|arg| arg.get_long() == Some(key) && !KEYS_NOT_IN_FILE.contains(&key))
}

fn longs(command: &Command) -> impl Iterator<Item = String> {
    command.get_arguments().filter_map(|arg| arg.get_long().map(str::to_owned))
}

fn scalar(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(n) => Some(n.to_string()),
        toml::Value::Float(n) => Some(n.to_string()),
        toml::Value::Boolean(yes) => Some(yes.to_string()),
        toml::Value::Array(items) => items.iter().map(scalar).collect::<Option<Vec<_>>>().map(|items| items.join(",")),
        toml::Value::Datetime(_) | toml::Value::Table(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn the_example_file_applies() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("userpipe.example.toml");
        let program = File::load(Some(&path)).unwrap().unwrap().apply(Cli::command()).unwrap();
        let matches = program.try_get_matches_from(["userpipe", "run"]).unwrap();
        let (_, run) = matches.subcommand().unwrap();
        assert_eq!(run.get_one("interval"), Some(&std::time::Duration::from_mins(1)));
    }
}
