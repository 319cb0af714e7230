//! Connections that lose answers, go silent or are cut, and a Cassandra that refuses.

use std::time::Duration;

use super::Case;
use crate::SOON;
use crate::program::until;
use crate::proxy::{Mode, Proxy, Refusal};
use crate::world::World;

/// Records of a case.
const RECORDS: usize = 3_000;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("lost_acknowledgements", "Kafka's acknowledgements lost", lost_acknowledgements).representative(),
        Case::new("kafka_cut_producing", "connections to Kafka cut while producing", |world| {
            producing_through(world, Mode::Cut);
        }),
        Case::new("kafka_stalled_producing", "connections to Kafka stalled while producing", |world| {
            producing_through(world, Mode::Stall);
        }),
        Case::new("kafka_cut_consuming", "connections to Kafka cut while consuming", |world| {
            consuming_through(world, Mode::Cut);
        }),
        Case::new("kafka_stalled_consuming", "connections to Kafka stalled while consuming", |world| {
            consuming_through(world, Mode::Stall);
        }),
        Case::new("cassandra_cut", "connections to Cassandra cut", |world| writing_through(world, Mode::Cut)),
        Case::new("cassandra_stalled", "connections to Cassandra stalled", |world| {
            writing_through(world, Mode::Stall);
        })
        .representative(),
        Case::new("cassandra_answers_lost", "Cassandra's answers to writes lost", |world| {
            writing_through(world, Mode::LoseAcknowledgements);
        }),
        Case::new("cassandra_unavailable", "Cassandra answers Unavailable", |world| {
            writing_through(world, Mode::Refuse(Refusal::Unavailable));
        }),
        Case::new("cassandra_write_timeout", "Cassandra answers WriteTimeout", |world| {
            writing_through(world, Mode::Refuse(Refusal::WriteTimeout));
        })
        .representative(),
        Case::new("cassandra_overloaded", "Cassandra answers Overloaded", |world| {
            writing_through(world, Mode::Refuse(Refusal::Overloaded));
        }),
    ]
}

/// What the broker has and the producer does not know of is sent again: a second copy on the topic, one row.
fn lost_acknowledgements(world: &mut World) {
    world.init();
    let proxy = Proxy::kafka(&world.kafka, &world.handle());
    world.brokers.clone_from(&proxy.address);
    world.flag("--batch-records", "200");
    let input = world.input(RECORDS);
    proxy.set(Mode::LoseAcknowledgements);
    let producer = world.start(&["produce", "--input", input.to_str().unwrap()]);
    until("some acknowledgements are lost", SOON, || proxy.spoilt() >= 5);
    proxy.set(Mode::Pass);
    world.healed();
    world.finish(producer).expect_code(0);
    world.run(&["consume", "-e"]).expect_code(0);
    world.recovered();
    world.check(0);
    assert!(world.tally().copies > 0, "what was sent again is on the topic twice");
}

/// A stream of users, whose way to Kafka is blocked for a while.
fn producing_through(world: &mut World, mode: Mode) {
    world.init();
    let proxy = Proxy::kafka(&world.kafka, &world.handle());
    world.brokers.clone_from(&proxy.address);
    let producer = world.start(&["produce", "--for", "12s", "--rate", "300/s", "--source", "synthetic"]);
    let bus = world.bus();
    until("records are on the topic", SOON, || bus.ends(&world.topic).values().sum::<i64>() >= 600);
    proxy.set(mode);
    std::thread::sleep(Duration::from_secs(2));
    let blocked = bus.ends(&world.topic);
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(bus.ends(&world.topic), blocked, "nothing comes through");
    proxy.set(Mode::Pass);
    world.healed();
    world.finish(producer).expect_code(0);
    world.recovered();
    world.brokers.clone_from(&world.kafka);
    world.run(&["consume", "-e"]).expect_code(0);
    world.check(0);
    assert!(world.tally().records >= 3_000, "it made up for the time that it was held up");
}

/// A consumer, whose way to Kafka is blocked longer than a session lasts.
fn consuming_through(world: &mut World, mode: Mode) {
    world.init();
    world.load(RECORDS);
    let proxy = Proxy::kafka(&world.kafka, &world.handle());
    world.brokers.clone_from(&proxy.address);
    let consumer = world.start(&["consume", "-v"]);
    world.until_rows(1);
    proxy.set(mode);
    world.load(RECORDS);
    std::thread::sleep(Duration::from_secs(14));
    assert!(world.lag() >= i64::try_from(RECORDS).unwrap(), "nothing comes through");
    world.check_committed();
    proxy.set(Mode::Pass);
    world.healed();
    world.until_drained();
    world.recovered();
    world.stop(consumer);
    world.check(0);
}

/// A consumer, whose way to Cassandra is blocked, or which is refused there.
fn writing_through(world: &mut World, mode: Mode) {
    world.init();
    world.load(RECORDS);
    let target = world.contact_point.clone();
    let is_refusing = matches!(mode, Mode::Refuse(_) | Mode::LoseAcknowledgements);
    let proxy = if is_refusing { Proxy::cql(&target, &world.handle()) } else { Proxy::bytes(&target, &world.handle()) };
    world.contact_point.clone_from(&proxy.address);
    world.flag("--cassandra-timeout", "2s");
    let mut consumer = world.start(&["consume"]);
    world.until_rows(RECORDS);
    proxy.set(mode);
    world.load(RECORDS);
    consumer.until_says("; trying again");
    // Longer than a few attempts.
    std::thread::sleep(Duration::from_secs(6));
    assert!(consumer.lives(), "it waits");
    world.check_committed();
    assert!(world.lag() > 0, "what is not written is not committed");
    proxy.set(Mode::Pass);
    world.healed();
    world.until_drained();
    world.recovered();
    world.stop(consumer);
    assert_eq!(proxy.spoilt() > 0, is_refusing);
    world.check(0);
}
