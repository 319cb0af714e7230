//! Disks that are full under the embedded stores: a small tmpfs, which root may mount.

use nix::sys::signal::Signal;
use nix::unistd::Uid;

use super::Case;
use crate::SOON;
use crate::program::until;
use crate::small_disk::SmallDisk;
use crate::stores::Sink;
use crate::world::World;

pub(super) fn cases() -> Vec<Case> {
    let cases = [
        Case::new("disk_full_under_ledger", "disk full under the SQLite ledger", under_ledger),
        Case::new("disk_full_under_sink", "disk full under the SQLite sink", under_sink),
    ];
    cases.into_iter().map(|case| case.needs("needs root for a small tmpfs", Uid::effective().is_root())).collect()
}

/// 74 and a clear line; what was stored arrives once there is space.
fn under_ledger(world: &mut World) {
    world.init();
    std::fs::remove_dir_all(world.data_dir()).unwrap();
    let disk = SmallDisk::mount(world.data_dir(), "3m");
    let run = ["run", "--once", "--source", "synthetic", "--results", "200", "--count"];
    world.run(&[&run[..], &["50000"]].concat()).expect_failure(74, "disk is full", "free some disk space");
    world.check_committed();
    disk.grow("64m");
    world.healed();
    world.run(&[&run[..], &["100"]].concat()).expect_code(0);
    world.recovered();
    world.check(0);
    assert!(world.tally().records > 100, "some users were stored before the disk was full");
}

/// It is waited for, and nothing is committed meanwhile.
fn under_sink(world: &mut World) {
    world.contact_point.clear();
    world.flag("--sink", "sqlite");
    world.sink = Sink::Sqlite { file: world.data_dir().join("userpipe.db") };
    world.init();
    std::fs::remove_dir_all(world.data_dir()).unwrap();
    let disk = SmallDisk::mount(world.data_dir(), "6m");
    world.load(500);
    let mut consumer = world.start(&["consume"]);
    until("no lag", SOON, || world.lag() == 0);
    let ballast = disk.fill();
    world.load(5_000);
    consumer.until_says("disk is full");
    world.check_committed();
    std::fs::remove_file(ballast).unwrap();
    disk.grow("64m");
    world.healed();
    world.until_drained();
    world.recovered();
    consumer.signal(Signal::SIGTERM);
    world.finish(consumer).expect_code(0);
    world.check(0);
}
