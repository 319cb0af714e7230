//! Members that come, leave and die while records flow; and processes that are killed at random moments.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use rand::RngExt as _;

use super::Case;
use crate::program::Running;
use crate::world::World;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("two_members_churn", "two consumers joining, leaving and killed", |world| churn(world, 2)),
        Case::new("three_members_churn", "three consumers joining, leaving and killed", |world| churn(world, 3))
            .representative(),
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
            let one = members.swap_remove(world.random.random_range(0..members.len()));
            if chance % 2 == 0 {
                world.kill(one);
            } else {
                world.stop(one);
            }
        }
        let pause = world.random.random_range(200..1_500);
        std::thread::sleep(Duration::from_millis(pause));
    }
    world.finish(producer).expect_code(0);
    world.healed();
    world.until_drained();
    world.recovered();
    for member in members {
        world.stop(member);
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
