//! The bus on real Kafka brokers: rskafka produces and creates topics, krafka consumes and tells groups and offsets.
//!
//! Two clients, since neither does both: rskafka has no consumer groups, and krafka is young and changes its API, so
//! that it stays behind this folder. What is said about either crate's behaviour holds for rskafka 0.6.0 and
//! krafka 0.28.1 against Kafka 4.3.
//!
//! - `client`: how either client reaches the cluster, within a limit, and what it says if not
//! - `errors`: from their errors to ours, and which of them pass by themselves
//! - `security`: TLS and login in the terms of either client, with `token` for OAUTHBEARER; `probe` finds out why they fail
//! - [`topic`]: what there is, and the topic that is created where it is missing
//! - `batch`: how many records travel together
//! - [`producer`]: the sending half of the contract; `full_headers` for headers that rskafka cannot carry
//! - [`consumer`]: the reading half; `member` makes krafka's, `pump` is its task, `handover` what the two share and `room`
//!   whether it is full, `begin` where partitions are read from
//! - [`reader`]: a part of a topic, read without a group
//! - [`group`]: a group's offsets: read, reset, and whose they are
//! - [`observer`]: topics and groups from outside; [`checkup`] is for a cluster that may be set up wrongly

mod batch;
mod begin;
mod client;
mod errors;
mod full_headers;
mod handover;
mod member;
mod probe;
mod pump;
mod room;
mod security;
mod token;

pub mod checkup;
pub mod consumer;
pub mod group;
pub mod observer;
pub mod producer;
pub mod reader;
pub mod topic;

pub use checkup::Checkup;
pub use consumer::KafkaConsumer;
pub use group::{Group, apply_reset, plan_reset, reset_group};
pub use observer::KafkaObserver;
pub use producer::KafkaProducer;
pub use reader::KafkaReader;
pub use topic::{Ensured, cluster_id, describe_topic, ensure_topic, retention};
