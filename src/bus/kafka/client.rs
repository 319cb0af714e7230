//! How either client reaches the cluster: within a limit, by name, and with the advertised addresses looked at.

use std::future::Future;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use krafka::Kafka;
use rskafka::BackoffConfig;
use rskafka::client::{Client, ClientBuilder};
use tokio::time::{Instant, timeout};

use super::errors::{Failure, unreachable};
use super::{probe, security};
use crate::config::KafkaConfig;
use crate::error::{Error, Kind, Result};
use crate::retry;

/// What the brokers' logs and quotas call us.
pub(super) const CLIENT_ID: &str = concat!("userpipe/", env!("CARGO_PKG_VERSION"));

/// The limit for one TCP connection; a broker further away than this is not there.
const CONNECTION_TIMEOUT_MAX: Duration = Duration::from_secs(10);

/// The limit for one answer on an open connection.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// How long metadata is taken for granted, and with it the number of a topic's partitions.
pub(super) const METADATA_AGE: Duration = Duration::from_mins(1);

/// How often krafka reads the certificates' files again, for those that were renewed.
const TLS_RELOAD_INTERVAL: Duration = Duration::from_mins(10);

/// The limit for the TCP probe of an advertised address.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// The addresses as one text, for errors and for krafka.
pub(super) fn addresses(config: &KafkaConfig) -> String {
    config.brokers.join(",")
}

/// Repeats `attempt` while its failure may pass, at most for `limit`; then the last failure is the answer.
pub(super) async fn within<T, F>(limit: Duration, what: &str, place: &str, attempt: impl Fn() -> F) -> Result<T>
where
    F: Future<Output = Result<T, Failure>>,
{
    let deadline = Instant::now() + limit;
    let mut last = None;
    for delay in retry::stream_backoff() {
        let error = match timeout(deadline.saturating_duration_since(Instant::now()), attempt()).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(Failure { error, transient: false })) => return Err(error),
            Ok(Err(Failure { error, transient: true })) => error,
            Err(_) => break,
        };
        tracing::debug!(%error, "Kafka is not ready, trying again");
        last = Some(error);
        if Instant::now() + delay >= deadline {
            break;
        }
        tokio::time::sleep(delay).await;
    }
    let silence = || unreachable(what, place, format!("no answer within {}", humantime::format_duration(limit)));
    Err(last.unwrap_or_else(silence))
}

/// krafka's handle on the cluster, and proof that at least one broker can be reached where it says it is.
pub(super) async fn open(config: &KafkaConfig) -> Result<Kafka> {
    let place = addresses(config);
    let what = "cannot reach Kafka";
    within(config.connect_timeout, what, &place, || async {
        let connection = config.connect_timeout.clamp(Duration::from_secs(1), CONNECTION_TIMEOUT_MAX);
        let kafka = connect(config, what, (connection, REQUEST_TIMEOUT)).await?;
        reach_advertised(config, &kafka).await?;
        Ok(kafka)
    })
    .await
}

/// One attempt to connect krafka, within these limits for a connection and for an answer. What is wrong with TLS or the
/// login is found out and named, and then the failure is one that stays.
pub(super) async fn connect(
    config: &KafkaConfig,
    what: &str,
    (connection, answer): (Duration, Duration),
) -> Result<Kafka, Failure> {
    let place = addresses(config);
    let mut builder = Kafka::builder(&place)
        .client_id(CLIENT_ID)
        .connect_timeout(connection)
        .request_timeout(answer)
        .metadata_max_age(METADATA_AGE);
    if let Some(security) = Box::pin(security::for_krafka(&config.security)).await? {
        builder = builder.security(security);
    }
    if config.security.tls.is_some() {
        builder = builder.tls_reload_interval(Some(TLS_RELOAD_INTERVAL));
    }
    match builder.connect().await {
        Ok(kafka) => Ok(kafka),
        Err(error) => match Box::pin(probe::mismatch(config, what)).await {
            Some(found) => Err(Failure::lasting(found)),
            None => Err(Failure::krafka(what, &place, &error)),
        },
    }
}

/// rskafka's client. Its own retries are off (a deadline of zero): they nest, and know no limit for a single call.
pub(super) async fn open_to_produce(config: &KafkaConfig) -> Result<Client, Failure> {
    let once = BackoffConfig { deadline: Some(Duration::ZERO), ..BackoffConfig::default() };
    let mut builder = ClientBuilder::new(config.brokers.clone()).client_id(CLIENT_ID).backoff_config(once);
    let (tls, sasl) = Box::pin(security::for_rskafka(&config.security)).await?;
    if let Some(tls) = tls {
        builder = builder.tls_config(tls);
    }
    if let Some(sasl) = sasl {
        builder = builder.sasl_config(sasl);
    }
    builder.build().await.map_err(|e| Failure::rskafka("cannot reach Kafka", &addresses(config), &e))
}

/// A bootstrap address only tells where the brokers say they are. In a container or behind a proxy that is often a
/// place the client cannot reach, and then every later call fails far from the cause; so it is tried here and named.
async fn reach_advertised(config: &KafkaConfig, kafka: &Kafka) -> Result<(), Failure> {
    let reader = kafka.consumer_without_group().build().await;
    let reader = reader.map_err(|e| Failure::krafka("cannot read Kafka's metadata", &addresses(config), &e))?;
    let metadata = reader.fetch_metadata(None).await;
    close(&reader).await;
    let brokers =
        metadata.map_err(|e| Failure::krafka("cannot read Kafka's metadata", &addresses(config), &e))?.brokers;
    for broker in &brokers {
        // The login would follow the broker to wherever it says it is.
        config.security.refuse_plaintext_to(broker.address()).map_err(Failure::lasting)?;
    }
    if brokers.iter().any(|b| config.brokers.iter().any(|bootstrap| bootstrap == b.address())) {
        return Ok(());
    }
    let mut probes: FuturesUnordered<_> = brokers.iter().map(|b| probe(b.address())).collect();
    let mut first = None;
    while let Some(outcome) = probes.next().await {
        match outcome {
            Ok(()) => return Ok(()),
            Err(error) => first = first.or(Some(error)),
        }
    }
    let error = first.unwrap_or_else(|| {
        Error::new(Kind::Unreachable, "Kafka names no broker").at(addresses(config)).hint("is it still starting?")
    });
    Err(Failure::passing(error))
}

/// Closes a consumer without a group. There is nothing to leave; it only tells krafka that the drop is meant.
pub(super) async fn close(reader: &krafka::consumer::Consumer) {
    if let Err(error) = reader.close().await {
        tracing::debug!(%error, "cannot close a reader");
    }
}

async fn probe(address: &str) -> Result<()> {
    let reached = crate::net::reach(address, PROBE_TIMEOUT).await;
    reached.map_err(|unreached| {
        Error::new(Kind::Unreachable, "Kafka answered, but its broker's advertised address cannot be reached")
            .at(address)
            .because(unreached.to_string())
            .hint("set the broker's advertised.listeners to an address that works from this machine")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::KafkaSecurity;
    use crate::config::kafka_security::{Login, Sasl};
    use crate::secret::Secret;

    #[tokio::test(start_paused = true)]
    async fn what_passes_is_tried_again_until_the_limit_and_what_stays_is_not() {
        let begin = Instant::now();
        let error = within(Duration::from_secs(30), "cannot ask", "here", || async {
            Err::<(), _>(Failure::passing(Error::new(Kind::Unreachable, "refused")))
        })
        .await
        .expect_err("it never passes");
        assert_eq!(error.to_string(), "refused");
        let waited = begin.elapsed();
        assert!(waited > Duration::from_secs(5) && waited <= Duration::from_secs(30), "{waited:?}");

        let begin = Instant::now();
        let denied = || async { Err::<(), _>(Failure::lasting(Error::new(Kind::Refused, "denied"))) };
        let error = within(Duration::from_secs(30), "cannot ask", "here", denied).await.expect_err("it stays");
        assert_eq!((error.kind(), begin.elapsed()), (Kind::Refused, Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_at_the_limit() {
        let error = within(Duration::from_secs(3), "cannot ask", "here", std::future::pending::<Result<(), _>>)
            .await
            .expect_err("it never answers");
        assert_eq!(error.to_string(), "cannot ask at here: no answer within 3s");
        assert_eq!(error.kind(), Kind::Unreachable);
    }

    #[tokio::test]
    async fn an_advertised_address_that_does_not_work_is_named() {
        // The bootstrap address answers and says that the broker is at broker-0:9092, which is nowhere.
        let broker = krafka::testing::FakeBroker::start_in_memory(1);
        let kafka = broker.kafka().connect().await.expect("the bootstrap address answers");
        let config = KafkaConfig {
            brokers: vec!["localhost:9092".to_owned()],
            security: crate::config::KafkaSecurity::default(),
            partitions: 1,
            replication_factor: None,
            compression: crate::config::Compression::None,
            batch_bytes_max: 1,
            batch_records_max: 1,
            delivery_timeout: PROBE_TIMEOUT,
            connect_timeout: PROBE_TIMEOUT,
        };
        let failure = reach_advertised(&config, &kafka).await.expect_err("nobody is at broker-0");
        assert!(
            failure.error.to_string().contains("advertised address cannot be reached at broker-0:9092"),
            "{failure:?}"
        );
        assert!(failure.error.hint_text().is_some_and(|h| h.contains("advertised.listeners")));
        assert_eq!(failure.error.kind(), Kind::Unreachable);

        let same = KafkaConfig { brokers: vec!["broker-0:9092".to_owned()], ..config };
        reach_advertised(&same, &kafka).await.expect("it is where it was reached");

        let login = Login { user: "me".to_owned(), password: Secret::new("hunter2") };
        let security = KafkaSecurity { sasl: Some(Sasl::Plain(login)), ..KafkaSecurity::default() };
        let failure = reach_advertised(&KafkaConfig { security, ..same }, &kafka).await.expect_err("in clear text");
        assert_eq!((failure.error.kind(), failure.transient), (Kind::Config, false), "{failure:?}");
        assert_eq!(failure.error.to_string(), "the login for Kafka would go to broker-0:9092 in clear text");
    }
}
