//! Members that come, leave and die while records flow; and processes that are killed at random moments.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use rand::RngExt as _;

use super::Case;
use crate::program::Running;
use crate::services::PrivateInstance;
use crate::world::World;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("two_members_churn", "two consumers joining, leaving and killed", |world| churn(world, 2)),
        Case::new("three_members_churn", "three consumers joining, leaving and killed", |world| churn(world, 3))
            .representative(),
        Case::new("consumer_frozen", "a consumer frozen by SIGSTOP for longer than its session", frozen),
        Case::new("everything_at_random", "consumers, Kafka, Cassandra and PostgreSQL killed at random", storm),
        Case::new("consumer_killed_at_random", "SIGKILL at random, consumer", consumer_at_random),
        Case::new("run_killed_at_random", "SIGKILL at random, both halves", run_at_random),
    ]
}

/// Up to `members_max` of them on six partitions under load; every second or so one comes, leaves in order, or is killed.
fn churn(world: &mut World, members_max: usize) {
    world.flag("--partitions", "6");
    world.init();
    let produce = ["produce", "--for", "18s", "--rate", "500/s", "--results", "500", "--source", "synthetic"];
    let mut producer = world.start(&produce);
    let mut members: Vec<Running> = Vec::new();
    while producer.lives() {
        let chance = world.random.random_range(0..10);
        if members.len() < members_max && chance < 6 || members.is_empty() {
            members.push(world.start(&["consume", "--cassandra-in-flight", "8"]));
        } else {
            let mut one = members.swap_remove(world.random.random_range(0..members.len()));
            if chance % 2 == 0 {
                world.kill(one);
            } else {
                // Before that nobody has asked to be told of signals.
                one.until_says(" → ");
                one.signal(Signal::SIGTERM);
                let ended = world.finish(one);
                assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
            }
        }
        let pause = world.random.random_range(200..1_500);
        std::thread::sleep(Duration::from_millis(pause));
    }
    world.finish(producer).expect_code(0);
    // Chance may have ended the last one.
    members.push(world.start(&["consume"]));
    world.healed();
    world.until_drained();
    world.recovered();
    for mut member in members {
        member.until_says(" → ");
        world.stop(member);
    }
    world.check(0);
}

/// Another member takes over; the one that was frozen commits nothing of what it lost.
fn frozen(world: &mut World) {
    world.init();
    world.load(6_000);
    let sleeper = world.start(&["consume", "--cassandra-in-flight", "2", "--in-flight", "2000"]);
    world.until_rows(1_000);
    sleeper.signal(Signal::SIGSTOP);
    let other = world.start(&["consume"]);
    // Everything that the first one had not committed, which it still believes to be its own.
    world.until_drained();
    world.load(3_000);
    world.until_drained();
    let committed = world.bus().committed(&world.group, &world.topic);
    sleeper.signal(Signal::SIGCONT);
    world.healed();
    world.load(3_000);
    world.until_drained();
    world.recovered();
    let after = world.bus().committed(&world.group, &world.topic);
    assert!(
        committed.iter().all(|(partition, offset)| after[partition] >= *offset),
        "{committed:?} and then {after:?}"
    );
    world.stop(sleeper);
    world.stop(other);
    world.check(0);
}

/// For 40 s something dies every few seconds and is started again; ledger and sink are both in databases.
fn storm(world: &mut World) {
    let services = PrivateInstance::start(&["kafka", "cassandra", "postgres"]);
    world.on_kafka(services.kafka());
    world.on_cassandra(services.cassandra());
    world.with_postgres_ledger(&services.postgres());
    world.init();
    let produce = ["produce", "--for", "10m", "--rate", "200/s", "--source", "synthetic"];
    let mut producer = world.start(&produce);
    let mut consumers = [world.start(&["consume"]), world.start(&["consume"])];
    world.until_rows(200);
    let end = Instant::now() + Duration::from_secs(40);
    while Instant::now() < end {
        match world.random.random_range(0..5) {
            0 => world.kill(std::mem::replace(&mut producer, world.start(&produce))),
            1 => world.kill(std::mem::replace(&mut consumers[0], world.start(&["consume"]))),
            number => {
                let service = ["kafka", "cassandra", "postgres"][number - 2];
                services.kill(service, Signal::SIGKILL);
                sleep_at_random(world, 2_000);
                services.start_again(service);
            }
        }
        sleep_at_random(world, 3_000);
        // What gives up says so, and whoever supervises it starts it again.
        if !producer.lives() {
            let gave_up = std::mem::replace(&mut producer, world.start(&produce));
            assert!(!world.finish(gave_up).status.success());
        }
    }
    world.healed();
    producer.signal(Signal::SIGTERM);
    world.finish(producer);
    world.run(&["produce", "--once", "--count", "1", "--source", "synthetic"]).expect_code(0);
    world.until_drained();
    world.recovered();
    for consumer in consumers {
        world.stop(consumer);
    }
    world.check(0);
}

fn consumer_at_random(world: &mut World) {
    world.init();
    world.load(12_000);
    for _ in 0..5 {
        let consumer = world.start(&["consume", "--cassandra-in-flight", "4", "--in-flight", "2000"]);
        sleep_at_random(world, 2_500);
        world.kill(consumer);
        world.check_committed();
    }
    world.healed();
    world.run(&["consume", "-e"]).expect_code(0);
    world.recovered();
    world.check(0);
}

fn run_at_random(world: &mut World) {
    world.init();
    let run = ["run", "--source", "synthetic", "--results", "100", "--for", "60s", "--rate", "2000/s"];
    for _ in 0..5 {
        let mut both = world.start(&run);
        both.until_says(" → ");
        sleep_at_random(world, 5_000);
        both.signal(Signal::SIGKILL);
        world.finish(both).expect_signal(Signal::SIGKILL);
        world.check_committed();
    }
    world.healed();
    world.run(&["run", "--once", "--source", "synthetic", "--count", "100"]).expect_code(0);
    world.run(&["consume", "-e"]).expect_code(0);
    world.recovered();
    world.check(0);
}

/// Not a wait for something: the moment is what the case is about.
fn sleep_at_random(world: &mut World, most_ms: u64) {
    let until = Instant::now() + Duration::from_millis(world.random.random_range(50..most_ms));
    std::thread::sleep(until.saturating_duration_since(Instant::now()));
}
