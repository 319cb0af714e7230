//! Poison among good records, and an API that misbehaves.

use std::time::Duration;

use rand::seq::SliceRandom as _;

use super::Case;
use crate::SOON;
use crate::people::{POISON_KINDS, letter, poison};
use crate::program::{self, until};
use crate::proxy::{Mode, Proxy};
use crate::world::World;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("poison", "100 poisoned records of every kind among 10,000", |world| mixed(world, 9_900, 100))
            .representative(),
        Case::new("dead_letters_unacknowledged", "acknowledgements of dead letters lost", unacknowledged),
        Case::new("api_faults", "the API fails in every way that passes", api_faults).representative(),
    ]
}

/// Puts good and poisoned records on the topic in a random order.
fn load_mixed(world: &mut World, good: usize, poisoned: usize) {
    let mut letters: Vec<_> = (0..good).map(|_| letter(&mut world.random)).collect();
    world.sent.extend(letters.iter().filter_map(|letter| letter.key.clone()));
    letters.extend((0..poisoned).map(|kind| poison(&mut world.random, kind % POISON_KINDS)));
    letters.shuffle(&mut world.random);
    world.bus().send(&world.topic, letters);
}

fn mixed(world: &mut World, good: usize, poisoned: usize) {
    world.init();
    load_mixed(world, good, poisoned);
    world.healed();
    world.run(&["consume", "-e"]).expect_code(0);
    world.recovered();
    assert_eq!(world.rows(), good);
    assert_eq!(world.lag(), 0);
    world.check(poisoned);
}

/// Where a dead letter cannot be written, consumption stops there: nothing behind it is committed.
fn unacknowledged(world: &mut World) {
    world.init();
    load_mixed(world, 900, 50);
    let proxy = Proxy::kafka(&world.kafka, &world.handle());
    world.brokers.clone_from(&proxy.address);
    proxy.set(Mode::LoseAcknowledgements);
    let mut consumer = world.start(&["consume"]);
    until("some acknowledgements are lost", SOON, || proxy.spoilt() >= 3);
    std::thread::sleep(Duration::from_secs(3));
    assert!(consumer.lives(), "it waits");
    assert!(world.lag() > 0, "what is no dead letter yet is not committed");
    world.check_committed();
    proxy.set(Mode::Pass);
    world.healed();
    world.until_drained();
    world.recovered();
    world.stop(consumer);
    world.check(50);
}

/// Every fault that asking again mends, a few at a time since each makes the pause longer, and a page with one bad user.
fn api_faults(world: &mut World) {
    world.init();
    let faults = [["429-retry-after", "500", "error"], ["empty", "truncated", "close"], ["bad-json", "503", "hang"]];
    let produce = ["produce", "--once", "--results", "100", "--count", "400", "--api-timeout", "1s", "--api-url"];
    let mut runs = Vec::new();
    for some in faults {
        let mut command = program::command(&world.path(""));
        command.arg("mock-api");
        for fault in some {
            command.args(["--fault", &format!("{fault}:1")]);
        }
        command.args(["--fault", "bad-user:1"]);
        let api = world.launch(command);
        let url = api.first_line();
        runs.push((world.start(&[&produce[..], &[&url]].concat()), api));
    }
    world.healed();
    for (run, api) in runs {
        world.finish(run).expect_code(0).expect_said("rejected 1");
        world.stop(api);
    }
    world.run(&["consume", "-e"]).expect_code(0);
    world.recovered();
    assert_eq!(world.rows(), 3 * 399);
    world.check(0);
}
