//! Kafka with its listeners, the topics and the group; the embedded bus.

use std::collections::BTreeMap;
use std::path::Path;

use futures::future::join_all;

use super::{Finding, Verdict, clock};
use crate::bus::kafka::Checkup;
use crate::bus::kafka::checkup::Broker;
use crate::bus::observer::{AnyObserver, GroupView, Observer};
use crate::bus::{Partition, Watermarks, embedded};
use crate::config::{BusConfig, Config, KafkaConfig};
use crate::error::{Error, Kind, Result};
use crate::net::{self, Unreached};
use crate::pipeline::Stores;
use crate::record::Timestamp;
use crate::sql::{Sqlite, Tables};

const KAFKA: &str = "kafka";
pub(super) const LISTENER: &str = "kafka listener";
const TOPIC: &str = "topic";
const DEAD_LETTERS: &str = "dead letters";
const GROUP: &str = "group";

/// What is found; what cannot be known behind something that is red is left out.
pub(super) async fn findings(stores: &Stores) -> Vec<Finding> {
    match &stores.config.bus {
        BusConfig::Kafka(config) => kafka(stores, config).await,
        BusConfig::Embedded(bus) => embedded(stores, &bus.path).await,
    }
}

async fn embedded(stores: &Stores, path: &Path) -> Vec<Finding> {
    // Opening it would make it, or bring an older one up to date, under the feet of older processes.
    match Sqlite::tables(path).await {
        Ok(Tables::Current) => {}
        Ok(Tables::Missing) => return vec![no_topic(&stores.config)],
        // What there is to say is said of the file.
        Ok(Tables::Older | Tables::Newer) => return Vec::new(),
        Err(error) => return vec![Finding::error(TOPIC, stores.config.topic.clone(), &error)],
    }
    match stores.sqlite(path).await {
        Ok(database) => {
            let observer = AnyObserver::Embedded(embedded::EmbeddedObserver::new(database));
            topic_and_group(stores, &observer).await
        }
        Err(error) => vec![Finding::error(TOPIC, stores.config.topic.clone(), &error)],
    }
}

async fn kafka(stores: &Stores, config: &KafkaConfig) -> Vec<Finding> {
    let mut findings = bootstrap(config).await;
    // Only those that answer: the client would try the others first.
    let answering: Vec<_> =
        findings.iter().filter(|finding| finding.verdict == Verdict::Ok).map(|finding| finding.place.clone()).collect();
    if answering.is_empty() {
        return findings;
    }
    let place = answering.join(",");
    let config = KafkaConfig { brokers: answering, ..config.clone() };
    let opened = async {
        let checkup = Checkup::open(&config).await?;
        let brokers = checkup.brokers().await?;
        Ok::<_, Error>((checkup, brokers))
    };
    let (checkup, brokers) = match opened.await {
        Ok(opened) => opened,
        Err(error) => {
            findings.push(no_talk(place, &config, &error));
            return findings;
        }
    };
    let listeners = join_all(brokers.iter().map(|broker| listener(broker, &config))).await;
    let is_reachable = listeners.iter().any(|finding| finding.verdict == Verdict::Ok);
    findings.extend(listeners);
    if brokers.is_empty() {
        findings.push(Finding::fail(
            KAFKA,
            place,
            "names no broker",
            "is it still starting? Try again with --wait 60s",
        ));
    } else if is_reachable {
        match checkup.cluster().await {
            Ok(cluster) => {
                let level = |level: Option<i16>| level.map_or_else(|| "-".to_owned(), |level| level.to_string());
                let found = format!(
                    "cluster {}, {}, metadata.version {}, group.version {}",
                    cluster.id,
                    config.security,
                    level(cluster.metadata_version),
                    level(cluster.group_version)
                );
                findings.push(Finding::ok(KAFKA, place, found));
            }
            Err(error) => findings.push(Finding::error(KAFKA, place, &error)),
        }
        findings.extend(topics(stores, &checkup).await);
    }
    findings
}

/// Each bootstrap address; those that do not answer are red only where none does.
async fn bootstrap(config: &KafkaConfig) -> Vec<Finding> {
    let limit = config.connect_timeout;
    let reached = join_all(config.brokers.iter().map(|address| net::reach(address, limit))).await;
    let verdict = if reached.iter().any(Result::is_ok) { Verdict::Warn } else { Verdict::Fail };
    let finding = |(address, reached): (&String, Result<(), Unreached>)| match reached {
        Ok(()) => Finding::ok(KAFKA, address, "accepts connections"),
        Err(unreached) => {
            let fix = match unreached {
                Unreached::Unresolved(_) => "check the name in --brokers, and this machine's DNS or /etc/hosts",
                Unreached::Refused(_) | Unreached::Silent(_) => {
                    "check --brokers and that the broker is up (make up) and listens there, or leave --brokers out to \
                     use the embedded bus"
                }
            };
            Finding { verdict, ..Finding::fail(KAFKA, address, unreached.to_string(), fix) }
        }
    };
    config.brokers.iter().zip(reached).map(finding).collect()
}

/// Something listens there, and does not talk to us.
fn no_talk(place: String, config: &KafkaConfig, error: &Error) -> Finding {
    let finding = Finding::error(KAFKA, place, error);
    match error.kind() {
        // Its protocol was tried as well: what does not fit there has an error of its own.
        Kind::Unreachable => {
            let protocol = config.security.protocol();
            let fix = format!(
                "is it a Kafka broker, and the listener for security.protocol={protocol}? A broker that is frozen or \
                 still starting does not answer (try --wait 60s)"
            );
            Finding { fix: Some(fix), ..finding }
        }
        _ => finding,
    }
}

/// Where a broker says that it is, tried from here.
async fn listener(broker: &Broker, config: &KafkaConfig) -> Finding {
    let place = format!("broker {} at {}", broker.id, broker.address);
    let bootstrap = &config.brokers[0];
    if config.brokers.contains(&broker.address) {
        return Finding::ok(LISTENER, place, "advertises a bootstrap address");
    }
    match net::reach(&broker.address, config.connect_timeout).await {
        Ok(()) => Finding::ok(LISTENER, place, "accepts connections where it is advertised"),
        Err(unreached) => {
            let found = format!("{bootstrap} answers, but its advertised address does not: {unreached}");
            let fix = format!(
                "set advertised.listeners of broker {} to an address that works from this machine, for the listener that \
                 {bootstrap} belongs to (PLAINTEXT://{bootstrap}, say); in Docker give clients outside a listener of \
                 their own",
                broker.id
            );
            Finding::fail(LISTENER, place, found, fix)
        }
    }
}

async fn topics(stores: &Stores, checkup: &Checkup) -> Vec<Finding> {
    let topic = stores.config.topic.as_str();
    match checkup.replicas(topic).await {
        Err(error) => vec![Finding::error(TOPIC, topic, &error)],
        Ok(None) => vec![no_topic(&stores.config)],
        Ok(Some(replicas)) if replicas.leaderless > 0 => vec![Finding::fail(
            TOPIC,
            topic,
            format!("{} of {} partitions have no leader", replicas.leaderless, replicas.partitions),
            "start the brokers that hold them: kafka-topics --describe --unavailable-partitions",
        )],
        Ok(Some(replicas)) => {
            let mut findings = topic_and_group(stores, &AnyObserver::Kafka(Box::new(checkup.observer()))).await;
            if replicas.under_replicated > 0 {
                findings.push(Finding::warn(
                    TOPIC,
                    topic,
                    format!(
                        "{} of {} partitions lack in-sync replicas",
                        replicas.under_replicated, replicas.partitions
                    ),
                    "look at the brokers: kafka-topics --describe --under-replicated-partitions",
                ));
            }
            findings
        }
    }
}

async fn topic_and_group(stores: &Stores, observer: &AnyObserver) -> Vec<Finding> {
    let Config { topic, group, .. } = &stores.config;
    let marks = match observer.watermarks(topic).await {
        Ok(marks) if marks.is_empty() => return vec![no_topic(&stores.config)],
        Ok(marks) => marks,
        Err(error) => return vec![Finding::error(TOPIC, topic, &error)],
    };
    let mut findings = vec![Finding::ok(TOPIC, topic, format!("{}, {}", partitions(marks.len()), records(&marks)))];
    findings.extend(newest(observer, topic).await);
    let letters = stores.dead_letter_topic();
    findings.push(match observer.watermarks(&letters).await {
        Ok(marks) if marks.is_empty() => Finding::ok(DEAD_LETTERS, letters, "no topic yet; the first one makes it"),
        Ok(marks) => Finding::ok(DEAD_LETTERS, letters, format!("{}, {}", partitions(marks.len()), records(&marks))),
        Err(error) => Finding::error(DEAD_LETTERS, letters, &error),
    });
    findings.push(match observer.group(topic, group).await {
        Ok(view) => group_finding(&stores.config, &view, &marks),
        Err(error) => Finding::error(GROUP, group, &error),
    });
    findings
}

/// A bus has no clock to ask; but what it holds must not come from the future.
async fn newest(observer: &AnyObserver, topic: &str) -> Option<Finding> {
    match observer.newest(topic).await {
        Ok(None) => None,
        Ok(Some(newest)) => {
            let ahead = (newest.unix_ms() - Timestamp::now().unix_ms()).max(0);
            let finding = clock::finding(format!("newest record of {topic}"), ahead);
            (finding.verdict != Verdict::Ok)
                .then(|| Finding { found: format!("is {}, so a producer's clock is off", finding.found), ..finding })
        }
        Err(error) => Some(Finding { verdict: Verdict::Warn, ..Finding::error(TOPIC, topic, &error) }),
    }
}

fn group_finding(config: &Config, view: &GroupView, marks: &BTreeMap<Partition, Watermarks>) -> Finding {
    let group = &config.group;
    if let Some(other) = view.another_sink(&config.sink_identity()) {
        return Finding::fail(
            GROUP,
            group,
            format!("its offsets were committed for {other}, not for {}", config.sink_identity()),
            "leave --group out to get one named after the sink, or choose another name",
        );
    }
    let members = match view.members.len() {
        0 => "no members".to_owned(),
        1 => "1 member".to_owned(),
        n => format!("{n} members"),
    };
    let lag: i64 = marks.iter().map(|(partition, marks)| view.lag(*partition, *marks)).sum();
    Finding::ok(GROUP, group, format!("{members}, lag {lag}"))
}

fn no_topic(config: &Config) -> Finding {
    Finding::fail(
        TOPIC,
        config.topic.clone(),
        format!("there is no topic {}", config.topic),
        "create it with 'userpipe init-schema', or check --topic",
    )
}

fn partitions(count: usize) -> String {
    if count == 1 { "1 partition".to_owned() } else { format!("{count} partitions") }
}

fn records(marks: &BTreeMap<Partition, Watermarks>) -> String {
    let count: i64 = marks.values().map(|marks| (marks.high - marks.low).max(0)).sum();
    if count == 1 { "1 record".to_owned() } else { format!("{count} records") }
}
