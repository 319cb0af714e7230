//! `config`: the effective values, each with its origin; secrets hidden.

use std::fmt::Write;

use serde_json::json;

use crate::cli::ConfigArgs;
use crate::config::{Config, Loaded, Setting};
use crate::error::Result;
use crate::terminal::print;

/// Where secrets come from; only whether they are set is told.
const SECRETS: [(&str, &str); 4] = [
    ("cassandra-password", "USERPIPE_CASSANDRA_PASSWORD"),
    ("postgres-password", "PGPASSWORD"),
    ("schema-registry-password", "USERPIPE_SCHEMA_REGISTRY_PASSWORD"),
    ("schema-registry-token", "USERPIPE_SCHEMA_REGISTRY_TOKEN"),
];

pub(super) fn run(args: ConfigArgs, loaded: &Loaded) -> Result<()> {
    // What would be refused is refused here too.
    let config = Config::resolve(&loaded.cli.connections)?;
    let mut settings = loaded.settings();
    settings.extend(SECRETS.iter().filter_map(|(name, variable)| secret(name, variable)));
    let text = if args.json {
        let document = json!({
            "settings": settings,
            "bus": config.bus.to_string(),
            "topic": config.topic,
            "group": config.group,
            "sink": config.sink.to_string(),
        });
        format!("{document:#}\n")
    } else {
        table(&settings, &config)
    };
    print(text.as_bytes()).map(|_| ())
}

fn secret(name: &str, variable: &str) -> Option<Setting> {
    std::env::var_os(variable).filter(|value| !value.is_empty())?;
    Some(Setting {
        command: String::new(),
        name: name.to_owned(),
        value: Some("***".to_owned()),
        origin: format!("environment {variable}"),
    })
}

fn table(settings: &[Setting], config: &Config) -> String {
    let label = |setting: &Setting| match setting.command.as_str() {
        "" => setting.name.clone(),
        command => format!("[{command}] {}", setting.name),
    };
    let width = settings.iter().map(|s| label(s).len()).max().unwrap_or(0);
    let value = |setting: &Setting| setting.value.clone().unwrap_or_else(|| "-".to_owned());
    let value_width = settings.iter().map(|s| value(s).chars().count()).max().unwrap_or(0).min(60);
    let mut text = String::new();
    for setting in settings {
        let (name, value) = (label(setting), value(setting));
        let _ = writeln!(text, "{name:width$}  {value:value_width$}  {}", setting.origin);
    }
    let _ = writeln!(text, "\nchosen: {}/{} → {}, group {}", config.bus, config.topic, config.sink, config.group);
    text
}
