//! How krafka's member is made: its limits, the protocol it speaks, and the name it may have to wait for.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use krafka::admin::DescribeFeaturesOptions;
use krafka::consumer::{
    AutoOffsetReset, Consumer as Member, ConsumerRecord, GroupProtocol as Protocol, IsolationLevel,
    PartitionAssignmentStrategy as Assignor,
};
use krafka::error::ErrorCode;
use krafka::{Kafka, KrafkaError};
use tokio::time::Instant;

use super::begin::Begin;
use super::errors::from_krafka;
use super::handover::Handover;
use super::pump::Listener;
use crate::bus::static_member_taken;
use crate::config::{GroupProtocol, MemberConfig};
use crate::error::{Error, Kind, Result};

/// Without a sign of life for this long, a classic member is out of its group (Kafka's default; KIP-848 groups have
/// the broker's).
const SESSION_TIMEOUT: Duration = Duration::from_secs(45);

/// How often a classic member says that it lives (Kafka's default); at the least three times a session.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(3);

/// Members differ by up to this part of the interval. They all begin to beat when a rebalance ends, and krafka takes a
/// beat that crosses the end of the next one for the loss of all partitions: with one beat for all that happens often.
const HEARTBEAT_JITTER: f64 = 0.3;

/// The rebalance timeout: how long a member may take to give partitions away (Kafka's default). The pump polls all
/// the time, so nothing else comes near it.
const MAX_POLL_INTERVAL: Duration = Duration::from_mins(5);

/// Records of one poll: what the queue may go over its limit by.
const POLL_RECORDS_MAX: i32 = 1_000;

/// Records that krafka holds decoded beyond those of a poll.
const BUFFERED_RECORDS_MAX: i32 = 7_000;

/// Bytes of one answer, and of one partition in it, before decompression. A larger batch still comes, alone (KIP-74).
const FETCH_BYTES_MAX: i32 = 1024 * 1024;
const PARTITION_FETCH_BYTES_MAX: i32 = 256 * 1024;

/// krafka's pause between looks at paused partitions.
const IDLE_POLL_BACKOFF: Duration = Duration::from_millis(100);

/// How much longer than a session the holder of a static member's name is waited for: it may have died just now.
const NAME_WAIT_MARGIN: Duration = Duration::from_secs(10);

/// The delay between two attempts at a name that is held.
const NAME_INTERVAL: Duration = Duration::from_secs(1);

/// The limit for asking the cluster for its features.
const FEATURES_TIMEOUT: Duration = Duration::from_secs(10);

/// The protocol to speak: KIP-848 where the cluster has it (`group.version` 1 and up), else the classic one, which every
/// broker has.
///
/// Fails with [`Kind::Config`] where the consumer protocol is asked for and the cluster does not have it.
pub(super) async fn protocol(kafka: &Kafka, choice: GroupProtocol) -> Result<Protocol> {
    if choice == GroupProtocol::Classic {
        return Ok(Protocol::Classic);
    }
    let options = DescribeFeaturesOptions::default().timeout(FEATURES_TIMEOUT);
    match (kafka.admin().describe_features(options).await, choice) {
        (Ok(features), _)
            if features.finalized.iter().any(|f| f.name == "group.version" && f.max_version_level >= 1) =>
        {
            Ok(Protocol::Consumer)
        }
        (Ok(_), GroupProtocol::Consumer) => {
            Err(Error::new(Kind::Config, "the brokers do not have the consumer group protocol (KIP-848)")
                .hint("use --group-protocol classic, or auto"))
        }
        // The join tells what is wrong.
        (Err(_), GroupProtocol::Consumer) => Ok(Protocol::Consumer),
        (Ok(_), _) => Ok(Protocol::Classic),
        (Err(error), _) => {
            tracing::debug!(%error, "cannot read the cluster's features, using the classic group protocol");
            Ok(Protocol::Classic)
        }
    }
}

/// What a member is made of.
pub(super) struct Blueprint<'a> {
    pub(super) kafka: &'a Kafka,
    pub(super) protocol: Protocol,
    pub(super) settings: &'a MemberConfig,
    pub(super) begin: &'a Arc<Begin>,
    pub(super) handover: &'a Arc<Handover>,
}

impl Blueprint<'_> {
    /// A member that joins with its first poll, and the records that came while it waited for its name.
    ///
    /// Under the consumer protocol a name is free when its holder has left or its session is over (the coordinator
    /// answers `UNRELEASED_INSTANCE_ID`), so a process that was killed is waited for. Under the classic one the
    /// newcomer takes it, and the holder is fenced.
    pub(super) async fn build(&self) -> Result<(Arc<Member>, Vec<ConsumerRecord>)> {
        let Some(id) = self.settings.static_id.as_deref().filter(|_| self.protocol == Protocol::Consumer) else {
            return Ok((self.member().await?, Vec::new()));
        };
        let group = &self.begin.group;
        let session = self.settings.session_timeout.unwrap_or(SESSION_TIMEOUT);
        let deadline = Instant::now() + session + NAME_WAIT_MARGIN;
        let mut told = false;
        loop {
            let member = self.member().await?;
            match member.poll(Duration::ZERO).await {
                Err(error) if is_name_taken(&error) => {}
                Ok(records) => return Ok((member, records)),
                // The pump meets it again.
                Err(_) => return Ok((member, Vec::new())),
            }
            super::client::close(&member).await;
            if Instant::now() + NAME_INTERVAL >= deadline {
                return Err(static_member_taken(group, id));
            }
            if !told {
                tracing::warn!(group, id, "another process holds this member's name, waiting for its session to end");
                told = true;
            }
            tokio::time::sleep(NAME_INTERVAL).await;
        }
    }

    async fn member(&self) -> Result<Arc<Member>> {
        let failed = |e: KrafkaError| from_krafka("cannot join the consumer group", &self.begin.group, &e);
        let session = self.settings.session_timeout.unwrap_or(SESSION_TIMEOUT);
        let this = Arc::new(OnceLock::new());
        let mut builder = self
            .kafka
            .consumer(self.begin.group.as_str())
            .group_protocol(self.protocol)
            .partition_assignment_strategies([Assignor::CooperativeSticky, Assignor::Range])
            .auto_offset_reset(AutoOffsetReset::None)
            .isolation_level(IsolationLevel::ReadCommitted)
            .enable_auto_commit(false)
            .session_timeout(session)
            .heartbeat_interval(heartbeat_interval(session))
            .max_poll_interval(MAX_POLL_INTERVAL)
            .max_poll_records(POLL_RECORDS_MAX)
            .max_buffered_records(BUFFERED_RECORDS_MAX)
            .fetch_max_bytes(FETCH_BYTES_MAX)
            .max_partition_fetch_bytes(PARTITION_FETCH_BYTES_MAX)
            .idle_poll_backoff(IDLE_POLL_BACKOFF)
            .metrics_push(false)
            .rebalance_listener(Listener {
                handover: Arc::clone(self.handover),
                begin: Arc::clone(self.begin),
                member: Arc::clone(&this),
            });
        if let Some(id) = &self.settings.static_id {
            builder = builder.group_instance_id(id.as_str());
        }
        let member = Arc::new(builder.build().await.map_err(failed)?);
        // Weak: the member owns its listener.
        this.get_or_init(|| Arc::downgrade(&member));
        member.subscribe([self.begin.topic.as_str()]).await.map_err(failed)?;
        Ok(member)
    }
}

fn heartbeat_interval(session: Duration) -> Duration {
    let interval = HEARTBEAT_INTERVAL.min(session / 3);
    interval.mul_f64(1.0 - HEARTBEAT_JITTER * rand::random::<f64>())
}

/// Whether another process is, or has become, the member of our name.
pub(super) fn is_name_taken(error: &KrafkaError) -> bool {
    matches!(
        error,
        KrafkaError::Fenced { .. }
            | KrafkaError::Broker { code: ErrorCode::UnreleasedInstanceId | ErrorCode::FencedInstanceId, .. }
    )
}

/// The member's epoch or generation moves on with its next heartbeat or join, and then the same commit is good; or the
/// member is out, and the pump is about to learn that the partitions are lost.
pub(super) fn is_between_generations(error: &KrafkaError) -> bool {
    matches!(
        error,
        KrafkaError::Broker {
            code: ErrorCode::StaleMemberEpoch | ErrorCode::RebalanceInProgress | ErrorCode::IllegalGeneration,
            ..
        }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_cluster_decides_unless_a_person_does() {
        let broker = krafka::testing::FakeBroker::start_in_memory(1);
        let kafka = broker.kafka().connect().await.expect("connects");
        let chosen = async |choice| protocol(&kafka, choice).await.map_err(|error| error.kind());
        for (level, auto, consumer) in
            [(0, Ok(Protocol::Classic), Err(Kind::Config)), (1, Ok(Protocol::Consumer), Ok(Protocol::Consumer))]
        {
            broker.with_state(|state| state.finalized_features.insert("group.version".to_owned(), level));
            assert_eq!(chosen(GroupProtocol::Auto).await, auto, "{level}");
            assert_eq!(chosen(GroupProtocol::Consumer).await, consumer, "{level}");
            assert_eq!(chosen(GroupProtocol::Classic).await, Ok(Protocol::Classic), "{level}");
        }
    }
}
