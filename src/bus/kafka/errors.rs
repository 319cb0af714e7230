//! From the two clients' errors to ours: what the person can do about it, and whether it passes by itself.

use std::error::Error as StdError;

use krafka::KrafkaError;
use krafka::error::ErrorCode;
use rskafka::client::error::{Error as RskafkaError, ProtocolError};

use super::security::refusal;
use crate::error::{Error, Kind};

const HINT_UNREACHABLE: &str = "start it with 'make up', or leave --brokers out to use the embedded bus";
const HINT_REFUSED: &str = "ask for the permission on this topic and group, or check the credentials";

/// A failed attempt, and whether the next one may succeed.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: Error,
    pub(super) transient: bool,
}

impl Failure {
    /// A failure that stays.
    pub(super) fn lasting(error: Error) -> Self {
        Self { error, transient: false }
    }

    /// A failure that may pass.
    pub(super) fn passing(error: Error) -> Self {
        Self { error, transient: true }
    }

    /// krafka's error while doing `what` to `place` (addresses or a topic).
    pub(super) fn krafka(what: &str, place: &str, error: &KrafkaError) -> Self {
        Self { transient: krafka_passes(error), error: from_krafka(what, place, error) }
    }

    /// rskafka's error while doing `what` to `place`.
    pub(super) fn rskafka(what: &str, place: &str, error: &RskafkaError) -> Self {
        Self { error: from_rskafka(what, place, error), transient: rskafka_passes(error) }
    }
}

/// Whether krafka's error may pass: its own opinion, and what brokers say while they start or elect.
pub(super) fn krafka_passes(error: &KrafkaError) -> bool {
    if is_refused(error) {
        return false;
    }
    let starting = matches!(
        error,
        KrafkaError::UnknownTopic { .. }
            | KrafkaError::Broker {
                code: ErrorCode::UnknownTopicOrPartition
                    | ErrorCode::CoordinatorLoadInProgress
                    | ErrorCode::CoordinatorNotAvailable
                    | ErrorCode::NotCoordinator
                    | ErrorCode::UnstableOffsetCommit,
                ..
            }
    );
    error.is_retriable() || starting
}

/// Whether krafka's error says that this member does not own what it commits, now or any more.
pub(super) fn krafka_fenced(error: &KrafkaError) -> bool {
    matches!(
        error,
        KrafkaError::Fenced { .. }
            | KrafkaError::IllegalState { .. }
            | KrafkaError::Broker {
                code: ErrorCode::UnknownMemberId
                    | ErrorCode::IllegalGeneration
                    | ErrorCode::FencedMemberEpoch
                    | ErrorCode::FencedInstanceId,
                ..
            }
    )
}

/// Whether certificate or login were refused. A broker that does so within TLS 1.3 does it after the handshake, and
/// krafka takes that for a broken connection.
fn is_refused(error: &KrafkaError) -> bool {
    matches!(error, KrafkaError::Auth { .. } | KrafkaError::Network(_)) && refusal(&error.to_string()).is_some()
}

/// krafka's error as ours.
pub(super) fn from_krafka(what: &str, place: &str, error: &KrafkaError) -> Error {
    if is_refused(error)
        && let Some(refusal) = refusal(&error.to_string())
    {
        return Error::new(Kind::Refused, what).at(place).because(refusal.because).hint(refusal.hint);
    }
    let (kind, hint) = match error {
        KrafkaError::Network(_) | KrafkaError::Timeout { .. } => (Kind::Unreachable, Some(HINT_UNREACHABLE)),
        KrafkaError::Auth { .. } => (Kind::Refused, Some(HINT_REFUSED)),
        KrafkaError::Config { .. } => (Kind::Config, None),
        KrafkaError::UnknownTopic { .. } => (Kind::Failed, Some("create it: 'userpipe init-schema'")),
        KrafkaError::Broker { code, .. } => broker_code(*code),
        _ if krafka_passes(error) => (Kind::Unreachable, None),
        _ => (Kind::Failed, None),
    };
    // krafka tells its whole way down; a person needs the last of it.
    let text = error.to_string();
    let cause = text.rsplit("network error: ").next().unwrap_or(&text);
    let error = Error::new(kind, what).at(place).because(cause.to_owned());
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

fn broker_code(code: ErrorCode) -> (Kind, Option<&'static str>) {
    match code {
        ErrorCode::TopicAuthorizationFailed
        | ErrorCode::GroupAuthorizationFailed
        | ErrorCode::ClusterAuthorizationFailed
        | ErrorCode::SaslAuthenticationFailed => (Kind::Refused, Some(HINT_REFUSED)),
        ErrorCode::InvalidTopic | ErrorCode::InvalidGroupId => (Kind::Config, None),
        ErrorCode::UnknownTopicOrPartition => (Kind::Failed, Some("create it: 'userpipe init-schema'")),
        // a broker or coordinator that is not ready is as good as away
        _ if code.is_retriable() => (Kind::Unreachable, None),
        _ => (Kind::Failed, None),
    }
}

/// Whether rskafka's error may pass: what a broker says is decided by its code, and a refused certificate or login
/// stays. The rest does: lost connections,
/// metadata that names no leader yet, and "all retries failed", which with rskafka's own retries off wraps the one
/// failure to connect.
pub(super) fn rskafka_passes(error: &RskafkaError) -> bool {
    match rskafka_code(error) {
        Some(code) => protocol_passes(code),
        None => refusal(&error.to_string()).is_none(),
    }
}

/// Whether rskafka's client is better built anew: the connection is in doubt, or its metadata is. It caches metadata
/// and does not read it again for a leader that is missing in there.
pub(super) fn rskafka_stale(error: &RskafkaError) -> bool {
    use ProtocolError as P;
    rskafka_code(error).is_none_or(|code| {
        matches!(
            code,
            P::UnknownTopicOrPartition
                | P::LeaderNotAvailable
                | P::NotLeaderOrFollower
                | P::BrokerNotAvailable
                | P::ReplicaNotAvailable
                | P::FencedLeaderEpoch
                | P::UnknownLeaderEpoch
                | P::UnknownTopicId
                | P::InconsistentTopicId
        )
    })
}

/// The broker's own code, where the error is a broker's answer.
pub(super) fn rskafka_code(error: &RskafkaError) -> Option<ProtocolError> {
    match innermost(error) {
        RskafkaError::ServerError { protocol_error, .. } => Some(*protocol_error),
        _ => None,
    }
}

fn protocol_passes(code: ProtocolError) -> bool {
    use ProtocolError as P;
    matches!(
        code,
        P::UnknownTopicOrPartition
            | P::LeaderNotAvailable
            | P::NotLeaderOrFollower
            | P::RequestTimedOut
            | P::BrokerNotAvailable
            | P::ReplicaNotAvailable
            | P::NetworkException
            | P::CoordinatorLoadInProgress
            | P::CoordinatorNotAvailable
            | P::NotCoordinator
            | P::NotController
            | P::NotEnoughReplicas
            | P::NotEnoughReplicasAfterAppend
            | P::KafkaStorageError
            | P::CorruptMessage
            | P::FencedLeaderEpoch
            | P::UnknownLeaderEpoch
            | P::OffsetNotAvailable
            | P::ThrottlingQuotaExceeded
            | P::UnknownTopicId
            | P::InconsistentTopicId
            | P::StaleBrokerEpoch
            | P::UnknownServerError
    )
}

/// rskafka's error as ours. Its own text carries the whole request; what a person needs is the cause at the bottom.
pub(super) fn from_rskafka(what: &str, place: &str, error: &RskafkaError) -> Error {
    if let Some(refusal) = rskafka_code(error).is_none().then(|| refusal(&error.to_string())).flatten() {
        return Error::new(Kind::Refused, what).at(place).because(refusal.because).hint(refusal.hint);
    }
    let because = match innermost(error) {
        RskafkaError::ServerError { protocol_error, error_message, .. } => {
            error_message.clone().unwrap_or_else(|| protocol_error.to_string())
        }
        other => bottom(other),
    };
    let (kind, hint) = match rskafka_code(error) {
        Some(
            ProtocolError::TopicAuthorizationFailed
            | ProtocolError::ClusterAuthorizationFailed
            | ProtocolError::SaslAuthenticationFailed,
        ) => (Kind::Refused, Some(HINT_REFUSED)),
        Some(ProtocolError::InvalidTopicException | ProtocolError::InvalidPartitions) => (Kind::Config, None),
        Some(ProtocolError::InvalidReplicationFactor) => {
            (Kind::Config, Some("give --replication-factor no more than there are brokers"))
        }
        Some(code) if protocol_passes(code) => (Kind::Unreachable, None),
        Some(_) => (Kind::Failed, None),
        None => (Kind::Unreachable, Some(HINT_UNREACHABLE)),
    };
    let error = Error::new(kind, what).at(place).because(because);
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

/// Unwraps "all retries failed": with rskafka's own retries off it only wraps the first error.
fn innermost(error: &RskafkaError) -> &RskafkaError {
    match error {
        RskafkaError::RetryFailed(outer) => {
            match outer.source().and_then(|inner| inner.downcast_ref::<RskafkaError>()) {
                Some(inner) => innermost(inner),
                None => error,
            }
        }
        _ => error,
    }
}

/// The text of the last error of the chain; rskafka's texts repeat their causes, so the last one says it all.
fn bottom(error: &(dyn StdError + 'static)) -> String {
    let mut last = error;
    while let Some(next) = last.source() {
        last = next;
    }
    let mut text = last.to_string();
    // rskafka formats some causes into a text instead of linking them
    for wrapping in ["Connection error: ", "all retries failed: ", "Retry exceeded deadline. Source: "] {
        if let Some((_, cause)) = text.rsplit_once(wrapping) {
            text = cause.to_owned();
        }
    }
    text
}

/// The hint that goes with "cannot reach Kafka".
pub(super) fn unreachable(what: &str, place: &str, because: impl Into<String>) -> Error {
    Error::new(Kind::Unreachable, what).at(place).because(because.into()).hint(HINT_UNREACHABLE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rskafka::client::error::RequestContext;

    fn server(protocol_error: ProtocolError) -> RskafkaError {
        RskafkaError::ServerError {
            protocol_error,
            error_message: None,
            request: RequestContext::Topic("t".to_owned()),
            response: None,
            is_virtual: false,
        }
    }

    #[test]
    fn a_broker_that_is_short_of_replicas_or_elects_is_waited_for() {
        for code in [
            ProtocolError::RequestTimedOut,
            ProtocolError::NotEnoughReplicas,
            ProtocolError::NotEnoughReplicasAfterAppend,
            ProtocolError::NotLeaderOrFollower,
        ] {
            assert!(rskafka_passes(&server(code)), "{code:?}");
        }
        for code in [ProtocolError::MessageTooLarge, ProtocolError::TopicAuthorizationFailed] {
            assert!(!rskafka_passes(&server(code)), "{code:?}");
        }
        assert!(rskafka_stale(&server(ProtocolError::LeaderNotAvailable)));
        assert!(!rskafka_stale(&server(ProtocolError::NotEnoughReplicas)), "the connection is good");
    }

    #[test]
    fn a_refused_permission_ends_with_77_and_a_lost_network_with_69() {
        let refused = from_rskafka("cannot send", "t", &server(ProtocolError::TopicAuthorizationFailed));
        assert_eq!(refused.kind(), Kind::Refused);
        let denied = KrafkaError::broker(ErrorCode::GroupAuthorizationFailed, "no");
        assert_eq!(from_krafka("cannot join", "g", &denied).kind(), Kind::Refused);
        let lost = KrafkaError::network(std::io::Error::from(std::io::ErrorKind::ConnectionRefused));
        let error = from_krafka("cannot reach Kafka", "localhost:9092", &lost);
        assert_eq!(error.kind(), Kind::Unreachable);
        assert!(error.hint_text().is_some_and(|h| h.contains("make up")), "{error}");
    }

    #[tokio::test]
    async fn a_dead_port_is_named_with_its_cause_and_without_rskafkas_wrappings() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let dead = listener.local_addr().expect("it has an address").to_string();
        drop(listener);
        let once = rskafka::BackoffConfig { deadline: Some(std::time::Duration::ZERO), ..Default::default() };
        let client = rskafka::client::ClientBuilder::new(vec![dead.clone()]).backoff_config(once).build().await;
        let error = from_rskafka("cannot reach Kafka", "here", &client.expect_err("nobody is there"));
        let because = format!("error connecting to broker \"{dead}\": IO Error: Connection refused (os error 111)");
        assert_eq!(error.to_string(), format!("cannot reach Kafka at here: {because}"));
    }

    #[test]
    fn what_a_coordinator_says_while_it_loads_passes_and_a_fence_does_not() {
        assert!(krafka_passes(&KrafkaError::broker(ErrorCode::CoordinatorLoadInProgress, "")));
        let fenced = KrafkaError::broker(ErrorCode::UnknownMemberId, "");
        assert!(krafka_fenced(&fenced) && !krafka_passes(&fenced));
    }
}
