//! Cassandra with its login, its replication and its table; the tables of the other sinks.

use futures::future::join_all;

use super::{Finding, Verdict, clock, replication};
use crate::config::{CassandraConfig, PostgresConfig, SinkConfig, TableConfig};
use crate::error::{Kind, Result};
use crate::net::{self, Unreached};
use crate::pipeline::Stores;
use crate::record::Timestamp;
use crate::sink::cassandra::{Checkup, takes_any_password};
use crate::sink::sql::{PostgresSink, SqliteSink, lacking_permissions};
use crate::sql::{Sqlite, Tables};

const CASSANDRA: &str = "cassandra";
const LOGIN: &str = "cassandra login";
const KEYSPACE: &str = "keyspace";
const TABLE: &str = "table";

/// What is found; what cannot be known behind something that is red is left out.
pub(super) async fn findings(stores: &Stores) -> Vec<Finding> {
    match &stores.config.sink {
        SinkConfig::Cassandra(config) => cassandra(config).await,
        SinkConfig::Postgres(config, table) => vec![postgres(stores, config, table).await],
        SinkConfig::Sqlite(path, table) => {
            let place = format!("{}/{}", path.display(), table.table);
            match Sqlite::tables(path).await {
                Ok(Tables::Current) => {}
                Ok(Tables::Missing) => {
                    let fix = "create it with 'userpipe init-schema' and the same options";
                    return vec![Finding::fail(TABLE, place, "there is no such table", fix)];
                }
                // What there is to say is said of the file; opening it would change it.
                Ok(Tables::Older | Tables::Newer) => return Vec::new(),
                Err(error) => return vec![Finding::error(TABLE, place, &error)],
            }
            let checked =
                async { SqliteSink::open_existing(stores.sqlite(path).await?, table.clone()).await.map(drop) };
            vec![fits(place, table, checked.await)]
        }
        SinkConfig::Stdout => Vec::new(),
    }
}

async fn postgres(stores: &Stores, config: &PostgresConfig, table: &TableConfig) -> Finding {
    let place = format!("postgresql {}", table.table);
    let looked = async {
        let database = stores.postgres(config).await?;
        PostgresSink::open(database.clone(), table).await?;
        lacking_permissions(&database, table).await
    };
    match looked.await {
        Ok(lacking) if lacking.is_empty() => fits(place, table, Ok(())),
        Ok(lacking) => {
            let lacking = lacking.join(", ");
            let fix = format!("GRANT {lacking} ON {} TO the role, as the table's owner", table.table);
            Finding::fail(TABLE, place, format!("the role lacks {lacking} on it"), fix)
        }
        Err(error) => Finding::error(TABLE, place, &error),
    }
}

fn fits(place: String, table: &TableConfig, checked: Result<()>) -> Finding {
    let with = table.with().map(|names| format!(", with {names}")).unwrap_or_default();
    match checked {
        Ok(()) => Finding::ok(TABLE, place, format!("is there and fits{with}")),
        Err(error) => Finding::error(TABLE, place, &error),
    }
}

async fn cassandra(config: &CassandraConfig) -> Vec<Finding> {
    let mut findings = contact_points(config).await;
    let answering: Vec<_> =
        findings.iter().filter(|finding| finding.verdict == Verdict::Ok).map(|finding| finding.place.clone()).collect();
    if answering.is_empty() {
        return findings;
    }
    let place = answering.join(",");
    let config = CassandraConfig { contact_points: answering, ..config.clone() };
    let checkup = match Checkup::open(&config).await {
        Ok(checkup) => checkup,
        Err(error) => {
            let what = if error.kind() == Kind::Refused { LOGIN } else { CASSANDRA };
            findings.push(Finding::error(what, place, &error));
            return findings;
        }
    };
    findings.extend(login(&config, &place).await);
    let asked = Timestamp::now();
    match checkup.node().await {
        Ok(node) => {
            let skew = clock::least_skew_ms((asked.unix_ms(), Timestamp::now().unix_ms()), (node.now_ms, node.now_ms));
            let found = format!("version {}, cluster {}", node.version, node.cluster);
            findings.push(Finding::ok(CASSANDRA, place.clone(), found));
            findings.push(clock::finding(format!("cassandra {place}"), skew));
        }
        Err(error) => {
            findings.push(Finding::error(CASSANDRA, place, &error));
            return findings;
        }
    }
    findings.push(data_centre(&config, &checkup));
    findings.extend(keyspace_and_table(&config, &checkup).await);
    findings
}

/// Each contact point; those that do not answer are red only where none does.
async fn contact_points(config: &CassandraConfig) -> Vec<Finding> {
    let limit = config.connect_timeout;
    let reached = join_all(config.contact_points.iter().map(|address| net::reach(address, limit))).await;
    let verdict = if reached.iter().any(Result::is_ok) { Verdict::Warn } else { Verdict::Fail };
    let finding = |(address, reached): (&String, Result<(), Unreached>)| match reached {
        Ok(()) => Finding::ok(CASSANDRA, address, "accepts connections"),
        Err(unreached) => {
            let fix = match unreached {
                Unreached::Unresolved(_) => "check the name in --cassandra, and this machine's DNS or /etc/hosts",
                Unreached::Refused(_) | Unreached::Silent(_) => {
                    "check --cassandra, that the node is up (make up), and its rpc_address; or leave --cassandra out to \
                     use the embedded sink"
                }
            };
            Finding { verdict, ..Finding::fail(CASSANDRA, address, unreached.to_string(), fix) }
        }
    };
    config.contact_points.iter().zip(reached).map(finding).collect()
}

/// Whether the password that was given means anything.
async fn login(config: &CassandraConfig, place: &str) -> Option<Finding> {
    let (user, _) = config.login.as_ref()?;
    Some(match takes_any_password(config).await {
        Ok(false) => Finding::ok(LOGIN, place, format!("{user} is accepted, and a wrong password is not")),
        Ok(true) => Finding::fail(
            LOGIN,
            place,
            format!(
                "the password of {user} is ignored: Cassandra accepts every password, from everybody who reaches it"
            ),
            "set authenticator: PasswordAuthenticator in its cassandra.yaml (it is AllowAllAuthenticator) and restart it, \
             or leave --cassandra-user out",
        ),
        Err(error) => Finding { verdict: Verdict::Warn, ..Finding::error(LOGIN, place, &error) },
    })
}

fn data_centre(config: &CassandraConfig, checkup: &Checkup) -> Finding {
    const WHAT: &str = "data centre";
    let centres = checkup.data_centres();
    let nodes =
        |(name, nodes): (&String, &usize)| format!("{nodes} {} in {name}", if *nodes == 1 { "node" } else { "nodes" });
    let found = centres.iter().map(nodes).collect::<Vec<_>>().join(", ");
    let place = config.local_dc.clone().unwrap_or_else(|| "any".to_owned());
    if let Err(error) = checkup.check_local_dc() {
        return Finding::error(WHAT, place, &error);
    }
    if config.local_dc.is_none() && centres.len() > 1 {
        let fix = "name the nearest one with --local-dc; without it, nodes far away coordinate writes too";
        return Finding::warn(WHAT, place, found, fix);
    }
    Finding::ok(WHAT, place, found)
}

async fn keyspace_and_table(config: &CassandraConfig, checkup: &Checkup) -> Vec<Finding> {
    let keyspace = match checkup.keyspace().await {
        Ok(Some(keyspace)) => keyspace,
        Ok(None) => return vec![Finding::error(KEYSPACE, &config.keyspace, &checkup.missing_keyspace())],
        Err(error) => return vec![Finding::error(KEYSPACE, &config.keyspace, &error)],
    };
    let judged = replication::judge(config.consistency, &keyspace, config.local_dc.as_deref(), &checkup.data_centres());
    let place = format!("{}.{}", config.keyspace, config.table.table);
    vec![judged.finding(KEYSPACE, &config.keyspace), fits(place, &config.table, checkup.check_table().await)]
}
