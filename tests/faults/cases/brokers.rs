//! Kafka killed, frozen, restarted; a topic deleted and made again.

use std::time::Duration;

use nix::sys::signal::Signal;

use super::Case;
use crate::SOON;
use crate::program::until;
use crate::services::PrivateInstance;
use crate::world::World;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("broker_killed", "Kafka killed by SIGKILL and started again", |world| {
            streaming(world, |broker| {
                broker.kill("kafka", Signal::SIGKILL);
                broker.start_again("kafka");
            });
        })
        .representative(),
        Case::new("broker_restarted", "Kafka restarted in order", |world| {
            streaming(world, |broker| {
                broker.kill("kafka", Signal::SIGTERM);
                broker.start_again("kafka");
            });
        }),
        Case::new("broker_frozen", "Kafka frozen by SIGSTOP for 12 s", |world| {
            streaming(world, |broker| {
                broker.kill("kafka", Signal::SIGSTOP);
                std::thread::sleep(Duration::from_secs(12));
                broker.kill("kafka", Signal::SIGCONT);
            });
        }),
        Case::new("topic_recreated_consuming", "topic deleted and made again under a consumer", |world| {
            recreated_consuming(world, Duration::from_secs(2));
        }),
        Case::new("topic_recreated_at_once", "topic deleted and at once made again under a consumer", |world| {
            recreated_consuming(world, Duration::ZERO);
        }),
        Case::new("topic_recreated_producing", "topic deleted and made again under a producer", recreated_producing),
    ]
}

/// Both halves in one process, with a broker that something happens to.
fn streaming(world: &mut World, happens: impl Fn(&PrivateInstance)) {
    let broker = PrivateInstance::start(&["kafka"]);
    world.on_kafka(broker.kafka());
    world.init();
    let run = world.start(&["run", "--for", "20s", "--rate", "300/s", "--source", "synthetic"]);
    world.until_rows(600);
    happens(&broker);
    world.healed();
    let before = world.rows();
    world.until_rows(before + 300);
    world.recovered();
    world.finish(run).expect_code(0);
    world.check(0);
    assert_eq!(world.lag(), 0);
}

/// What is on the new topic arrives: from the member that was there, or it ends with an error and the next one goes on
/// where a person says.
fn recreated_consuming(world: &mut World, pause: Duration) {
    world.init();
    world.load(900);
    let mut consumer = world.start(&["consume"]);
    world.until_drained();
    let bus = world.bus();
    bus.delete(&world.topic);
    std::thread::sleep(pause);
    bus.create(&world.topic, 3);
    // More than there was: offsets of the old topic would point into the middle of the new one.
    world.load(3_000);
    world.healed();
    until("new records arrive, or an error", SOON, || world.rows() >= 3_900 || !consumer.lives());
    if consumer.lives() {
        world.stop(consumer);
    } else {
        let ended = world.finish(consumer);
        assert!(ended.status.code().is_some_and(|code| code != 0), "{}: {}", ended.status, ended.stderr);
        world.run(&["seek", "--to", "beginning"]).expect_code(0);
    }
    world.run(&["consume", "-e"]).expect_code(0);
    world.recovered();
    world.check(0);
}

/// What was on the old topic and not read yet went with it; what the producer sends to the new one arrives.
fn recreated_producing(world: &mut World) {
    world.is_topic_replaced = true;
    world.init();
    let consumer = world.start(&["consume"]);
    let producer = world.start(&["produce", "--for", "15s", "--rate", "300/s", "--source", "synthetic"]);
    world.until_rows(600);
    world.bus().delete(&world.topic);
    std::thread::sleep(Duration::from_secs(2));
    let made = world.run(&["init-schema"]);
    made.expect_code(0);
    world.healed();
    let ended = world.finish(producer);
    if !ended.status.success() {
        world.run(&["produce", "--once", "--count", "1", "--source", "synthetic"]).expect_code(0);
    }
    consumer.signal(Signal::SIGTERM);
    world.finish(consumer);
    world.run(&["seek", "--to", "beginning"]).expect_code(0);
    world.run(&["consume", "-e"]).expect_code(0);
    world.recovered();
    world.check(0);
    assert!(world.bus().ends(&world.topic).values().sum::<i64>() > 0, "the producer went on");
}
