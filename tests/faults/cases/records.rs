//! Poison among good records, and an API that misbehaves.

use std::time::Duration;

use rand::seq::SliceRandom as _;

use super::Case;
use crate::SOON;
use crate::people::{POISON_KINDS, letter, poison};
use crate::program::until;
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

/// Every fault that asking again mends, one after the other, and a page with one bad user.
fn api_faults(world: &mut World) {
    world.init();
    let faults = ["429-retry-after", "500", "502", "503", "error", "empty", "truncated", "bad-json", "close", "hang"];
    let mut command = crate::program::command(&world.path(""));
    command.arg("mock-api");
    for fault in faults {
        command.args(["--fault", &format!("{fault}:1")]);
    }
    command.args(["--fault", "bad-user:1"]);
    let api = world.launch(command);
    let url = api.first_line();
    let run = ["run", "--once", "--results", "100", "--count", "1000", "--api-attempts", "12", "--api-timeout", "1s"];
    world.healed();
    let done = world.run(&[&run[..], &["--api-url", &url]].concat()).expect_code(0);
    world.recovered();
    done.expect_said("rejected 1");
    world.stop(api);
    assert_eq!(world.rows(), 999);
    world.check(0);
}
