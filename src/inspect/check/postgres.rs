//! The PostgreSQL server, and the ledger's tables in it. The sink's table is the sink's.

use super::{Finding, clock};
use crate::config::{LedgerConfig, PostgresConfig};
use crate::pipeline::Stores;
use crate::record::Timestamp;
use crate::sql::Tables;

const SERVER: &str = "postgresql";
const LEDGER: &str = "ledger";

/// What is found; the rest is left out where the server cannot be reached.
pub(super) async fn findings(stores: &Stores, config: &PostgresConfig) -> Vec<Finding> {
    let database = match stores.postgres(config).await {
        Ok(database) => database,
        Err(error) => return vec![Finding::error(SERVER, config.url.clone(), &error)],
    };
    let place = database.place.clone();
    let asked = Timestamp::now();
    let mut findings = match database.server().await {
        Ok((version, now_ms)) => {
            let skew = clock::least_skew_ms((asked.unix_ms(), Timestamp::now().unix_ms()), (now_ms, now_ms));
            vec![
                Finding::ok(SERVER, place.clone(), format!("version {version}, the login is accepted")),
                clock::finding(format!("postgresql {place}"), skew),
            ]
        }
        Err(error) => return vec![Finding::error(SERVER, place, &error)],
    };
    if matches!(stores.config.ledger, LedgerConfig::Postgres(_)) {
        let place = "schema userpipe";
        findings.push(match database.tables().await {
            Ok(Tables::Current) => Finding::ok(LEDGER, place, "has this version's tables"),
            Ok(Tables::Missing) => Finding::warn(
                LEDGER,
                place,
                "has no tables yet; the first run makes them, if its role may",
                "userpipe init-schema, with the same options",
            ),
            Ok(Tables::Older) => Finding::warn(
                LEDGER,
                place,
                "has the tables of an older userpipe",
                "stop the older processes, then 'userpipe init-schema' brings it up to date",
            ),
            Ok(Tables::Newer) => {
                Finding::fail(LEDGER, place, "was written by a newer userpipe", "use that version, or another database")
            }
            Err(error) => Finding::error(LEDGER, place, &error),
        });
    }
    findings
}
