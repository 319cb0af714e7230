//! The Schema Registry, and how the schema of the topic's values stands in it.

use super::Finding;
use crate::encoding::subject::Standing;
use crate::error::Result;
use crate::pipeline::Stores;

const WHAT: &str = "registry";

/// What is found; nothing where no registry is configured.
pub(super) async fn findings(stores: &Stores) -> Vec<Finding> {
    let Some(config) = &stores.config.registry else { return Vec::new() };
    match look(stores).await {
        Ok(None) => vec![Finding::ok(WHAT, config.url.clone(), "answers, and the login is accepted")],
        Ok(Some((subject, standing))) => vec![judge(subject, standing, config.may_register)],
        Err(error) => vec![Finding::error(WHAT, config.url.clone(), &error)],
    }
}

/// The subject and the standing of our schema; `None` for plain JSON, which has none.
async fn look(stores: &Stores) -> Result<Option<(String, Standing)>> {
    if let Some(subject) = stores.subject().await? {
        return Ok(Some((subject.name().to_owned(), subject.look().await?)));
    }
    if let Some(registry) = stores.registry().await? {
        registry.ping().await?;
    }
    Ok(None)
}

fn judge(subject: String, standing: Standing, may_register: bool) -> Finding {
    match standing {
        Standing::Registered { id, version } => {
            let version = version.map_or(String::new(), |version| format!("version {version}, "));
            Finding::ok(WHAT, subject, format!("has our schema, {version}id {id}"))
        }
        Standing::New | Standing::Compatible if !may_register => {
            let found = "does not have our schema, and --no-register is set";
            Finding::fail(WHAT, subject, found, "userpipe schema register, with the same options")
        }
        Standing::New => Finding::ok(WHAT, subject, "has no version yet; the first produce registers one"),
        Standing::Compatible => Finding::ok(WHAT, subject, "our schema is compatible; the next produce registers it"),
        Standing::Incompatible { reason, differs } => {
            let cause = if differs.is_empty() { reason } else { differs.join(", ") };
            let found = format!("our schema is not compatible with the latest one: {cause}");
            let fix = "send to a topic of its own, or change the subject's schema or compatibility in the registry";
            Finding::fail(WHAT, subject, found, fix)
        }
    }
}
