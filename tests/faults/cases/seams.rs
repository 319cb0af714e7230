//! SIGKILL at every seam of a record's way, and at random moments.

use nix::sys::signal::Signal;
use rand::RngExt as _;
use userpipe::seam::Seam;

use super::Case;
use crate::people::{POISON_KINDS, poison};
use crate::services;
use crate::world::World;

/// Records of a case: a few batches.
const RECORDS: usize = 2_000;
/// Among them.
const POISONED: usize = 40;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for seam in Seam::ALL {
        let case = match seam {
            Seam::AfterFetch => Case::new("killed_after_fetch", "SIGKILL after fetch", fetching),
            Seam::AfterStore => Case::new("killed_after_store", "SIGKILL after outbox store", |world| {
                producing(world, Seam::AfterStore);
            })
            .representative(),
            Seam::AfterAck => Case::new("killed_after_ack", "SIGKILL after produce acknowledgement", |world| {
                producing(world, Seam::AfterAck);
            })
            .representative(),
            Seam::AfterMark => Case::new("killed_after_mark", "SIGKILL after mark", |world| {
                producing(world, Seam::AfterMark);
            }),
            Seam::AfterWrite => Case::new("killed_after_write", "SIGKILL after sink write", |world| {
                consuming(world, Seam::AfterWrite);
            })
            .representative(),
            Seam::BeforeDeadLetter => Case::new("killed_before_dead_letter", "SIGKILL before dead letter", |world| {
                consuming(world, Seam::BeforeDeadLetter);
            }),
            Seam::AfterDeadLetter => Case::new("killed_after_dead_letter", "SIGKILL after dead letter", |world| {
                consuming(world, Seam::AfterDeadLetter);
            }),
            Seam::BeforeCommit => Case::new("killed_before_commit", "SIGKILL before commit", |world| {
                consuming(world, Seam::BeforeCommit);
            })
            .representative(),
            Seam::AfterCommit => Case::new("killed_after_commit", "SIGKILL after commit", |world| {
                consuming(world, Seam::AfterCommit);
            }),
        };
        cases.push(case);
    }
    cases.push(Case::new("killed_after_write_to_postgres", "SIGKILL after sink write, PostgreSQL", |world| {
        world.with_postgres_sink(&services::postgres());
        consuming(world, Seam::AfterWrite);
    }));
    let is_here = cfg!(feature = "failpoints");
    cases.into_iter().map(|case| case.needs("needs the feature failpoints: make test-faults", is_here)).collect()
}

/// `FAILPOINTS` for a death after a few passes.
fn dying(world: &mut World, seam: Seam, passes_max: u32) -> String {
    let passes = world.random.random_range(0..=passes_max);
    format!("{}={passes}*off->return", seam.name())
}

/// The page that was fetched is lost with the process, and fetched again by the next run under the same seed.
fn fetching(world: &mut World) {
    world.init();
    let run = ["run", "--once", "--source", "synthetic", "--seed", "faults", "--results", "100", "--count", "1000"];
    let failpoints = dying(world, Seam::AfterFetch, 5);
    let dead = world.start_dying(&run, &failpoints);
    world.finish(dead).expect_signal(Signal::SIGKILL);
    world.check_committed();
    world.healed();
    world.run(&run).expect_code(0);
    world.recovered();
    assert!(world.rows() >= 1_000, "{} rows of 1000", world.rows());
    world.check(0);
}

/// A producer dies twice at a seam; the third is left in peace, and sends what the others had stored and not marked.
fn producing(world: &mut World, seam: Seam) {
    world.with_postgres_ledger(&services::postgres());
    world.init();
    world.flag("--batch-records", "200");
    for _ in 0..2 {
        let input = world.input(RECORDS);
        let input = input.to_str().unwrap();
        let failpoints = dying(world, seam, 6);
        let dead = world.start_dying(&["produce", "--input", input], &failpoints);
        world.finish(dead).expect_signal(Signal::SIGKILL);
        // As a person does: the same command again. What was read and not stored is read again.
        world.healed();
        world.run(&["produce", "--input", input]).expect_code(0);
    }
    world.run(&["consume", "-e"]).expect_code(0);
    world.recovered();
    world.check(0);
}

/// A consumer dies at a seam, again and again; each time nothing is committed that is not durable.
fn consuming(world: &mut World, seam: Seam) {
    world.init();
    world.load(RECORDS / 2);
    let poisoned = (0..POISONED).map(|kind| poison(&mut world.random, kind % POISON_KINDS)).collect();
    world.bus().send(&world.topic, poisoned);
    world.load(RECORDS / 2);
    world.flag("--in-flight", "600");
    for _ in 0..3 {
        let failpoints = dying(world, seam, 1);
        let dead = world.start_dying(&["consume", "-e"], &failpoints);
        let ended = world.finish(dead);
        // The last one may have had too little left to come to the seam as often.
        if ended.status.success() {
            break;
        }
        ended.expect_signal(Signal::SIGKILL);
        world.check_committed();
    }
    world.healed();
    world.run(&["consume", "-e"]).expect_code(0);
    world.recovered();
    world.check(POISONED);
}
