//! The effective settings with their origins, and the schema; secrets are in neither.

use axum::Json;
use axum::extract::State;
use serde_json::json;

use super::Shared;
use super::answer::Answer;
use crate::config::Setting;
use crate::inspect::schema;
use crate::record::{COLUMNS, Column};

/// What is in a name of something that may hold a secret.
const SECRETIVE: [&str; 5] = ["password", "secret", "token", "credential", "sasl.jaas"];
/// Names that end like this tell where a secret is, and not which.
const PLACE_OF_SECRET: &str = "-file";
/// What stands for a secret.
const HIDDEN: &str = "(hidden)";

/// `GET /api/config`
pub(super) async fn settings(State(app): State<Shared>) -> Answer {
    app.asked();
    let setting = |setting: &Setting| {
        let Setting { command, name, value, origin } = setting;
        let value = value.as_deref().map(|value| shown(name, value));
        json!({ "command": command, "name": name, "value": value, "origin": origin })
    };
    let with = &app.process.config.with;
    let column = |column: &Column, is_optional: bool| json!({ "name": column.name, "type": format!("{:?}", column.kind).to_lowercase(), "optional": is_optional });
    let columns = COLUMNS.iter().map(|it| column(it, false)).chain(with.iter().map(|it| column(it, true)));
    Ok(Json(json!({
        "settings": app.process.settings.iter().map(setting).collect::<Vec<_>>(),
        "columns": columns.collect::<Vec<_>>(),
        "encoding": app.process.config.encoding.name(),
        "ddl": schema::statements(&app.process.config).join("\n\n"),
    })))
}

/// A value without the secrets that somebody may have put into it: under a name of one, as `NAME=VALUE` in a list, or
/// before the host of a URL.
fn shown(name: &str, value: &str) -> String {
    if is_secretive(name) {
        return HIDDEN.to_owned();
    }
    let part = |part: &str| match part.split_once('=') {
        Some((name, _)) if is_secretive(name) => format!("{name}={HIDDEN}"),
        _ => without_login(part),
    };
    value.split(',').map(part).collect::<Vec<_>>().join(",")
}

fn is_secretive(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    !name.ends_with(PLACE_OF_SECRET) && SECRETIVE.iter().any(|word| name.contains(word))
}

fn without_login(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    match authority.rsplit_once('@').map(|(login, host)| (login.split(':').next().unwrap_or_default(), host, login)) {
        Some((user, host, login)) if login.contains(':') => format!("{scheme}://{user}:{HIDDEN}@{host}{path}"),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_hidden_wherever_they_are() {
        for (name, value, expected) in [
            ("topic", "users_created", "users_created"),
            ("cassandra-password-file", "secret.txt", "secret.txt"),
            ("cassandra-password", "hunter2", HIDDEN),
            ("property", "sasl.username=ann,sasl.password=hunter2", "sasl.username=ann,sasl.password=(hidden)"),
            ("postgres", "postgres://ann@h:5432/db", "postgres://ann@h:5432/db"),
            ("postgres", "postgres://ann:hunter2@h/db?a=b", "postgres://ann:(hidden)@h/db?a=b"),
            ("schema-registry", "https://ann:hunter2@h:1", "https://ann:(hidden)@h:1"),
        ] {
            assert_eq!(shown(name, value), expected, "{name} {value}");
        }
    }
}
