//! `schema`: the schema of the topic's values, shown, checked and registered.

use serde_json::{Value, json};

use super::Context;
use crate::cli::{Connections, SchemaAction, SchemaArgs};
use crate::config::{Config, Encoding};
use crate::encoding::subject::{self, Standing, Subject};
use crate::error::{Error, Kind, Result};
use crate::terminal::print;

pub(super) async fn run(args: SchemaArgs, context: &Context) -> Result<()> {
    match args.action {
        // It was served without a context.
        SchemaAction::Show => Ok(()),
        SchemaAction::Register(report) => register(context, report.json).await,
        SchemaAction::Check(report) => check(context, report.json).await,
    }
}

/// Prints the schema. It takes no registry, which an encoding needs everywhere else.
pub(super) fn show(connections: &Connections) -> Result<()> {
    let mut plain = connections.clone();
    plain.registry.encoding = Encoding::Json;
    let config = Config::resolve(&plain)?;
    let schema = subject::schema(connections.registry.encoding, &config.with).ok_or_else(no_schema)?;
    say(&format!("{schema:#}"))
}

async fn register(context: &Context, is_json: bool) -> Result<()> {
    let subject = subject_of(context).await?;
    let id = subject.ensure(true).await?;
    let version = match subject.look().await? {
        Standing::Registered { version, .. } => version,
        _ => None,
    };
    if is_json {
        return say(&json!({ "subject": subject.name(), "id": id, "version": version }).to_string());
    }
    let version = version.map_or(String::new(), |version| format!(" version {version}"));
    say(&format!("{}{version} has the id {id}", subject.name()))
}

async fn check(context: &Context, is_json: bool) -> Result<()> {
    let subject = subject_of(context).await?;
    let standing = subject.look().await?;
    let line = if is_json { object(&subject, &standing).to_string() } else { text(&subject, &standing) };
    say(&line)?;
    match standing {
        Standing::Incompatible { reason, .. } => {
            // The fields were printed.
            Err(subject.refused(&reason, &[]).with_kind(Kind::Unhealthy))
        }
        Standing::Registered { .. } | Standing::New | Standing::Compatible => Ok(()),
    }
}

fn object(subject: &Subject, standing: &Standing) -> Value {
    let (word, id, version) = match standing {
        Standing::Registered { id, version } => ("registered", Some(*id), *version),
        Standing::New => ("new", None, None),
        Standing::Compatible => ("compatible", None, None),
        Standing::Incompatible { .. } => ("incompatible", None, None),
    };
    let (reason, differs) = match standing {
        Standing::Incompatible { reason, differs } => (Some(reason), differs.as_slice()),
        _ => (None, [].as_slice()),
    };
    json!({
        "subject": subject.name(), "standing": word, "id": id, "version": version, "reason": reason, "differs": differs,
    })
}

fn text(subject: &Subject, standing: &Standing) -> String {
    let name = subject.name();
    match standing {
        Standing::Registered { id, version: Some(version) } => format!("{name}: is version {version}, id {id}"),
        Standing::Registered { id, version: None } => format!("{name}: is registered, id {id}"),
        Standing::New => format!("{name}: has no version yet"),
        Standing::Compatible => format!("{name}: compatible with the latest version, and not registered yet"),
        Standing::Incompatible { differs, .. } => {
            let lines = std::iter::once(format!("{name}: not compatible with the latest version"));
            let lines = lines.chain(differs.iter().map(|line| format!("  {line}")));
            lines.collect::<Vec<_>>().join(
                "
",
            )
        }
    }
}

async fn subject_of(context: &Context) -> Result<Subject> {
    if context.config().encoding == Encoding::Json {
        return Err(no_schema());
    }
    // An encoding with a schema was refused before if there is no registry.
    context.stores.subject().await?.ok_or_else(no_schema)
}

fn no_schema() -> Error {
    Error::new(Kind::Config, "plain JSON has no schema").hint("add --encoding avro or --encoding json-schema")
}

fn say(text: &str) -> Result<()> {
    tokio::task::block_in_place(|| print(format!("{text}\n").as_bytes())).map(|_| ())
}
