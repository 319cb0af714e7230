//! A full disk under the data directory: 74, a clear line, and nothing lost once there is space again.
//!
//! A small tmpfs is the disk, so these tests have `needs_root` in their names; the runner skips them for other users.

use std::collections::BTreeSet;

use nix::sys::signal::Signal;

use super::program::{Running, until};
use super::readback::sqlite_ids as rows;
use super::small_disk::SmallDisk;
use super::{Pipeline, SOON, assert_same, readback};

fn ids(pipeline: &Pipeline) -> BTreeSet<String> {
    let ledger = readback::ledger(&pipeline.database(), &pipeline.topic);
    assert!(ledger.iter().all(|stored| stored.place.is_some()), "users that were never marked");
    ledger.into_iter().map(|stored| stored.id).collect()
}

#[test]
#[ignore = "needs live services, and root for a small tmpfs: make test"]
fn a_full_disk_under_the_ledger_is_told_and_loses_nothing_needs_root() {
    let pipeline = Pipeline::new("fulldisk").initialized();
    std::fs::remove_dir_all(pipeline.data_dir()).unwrap();
    let disk = SmallDisk::mount(pipeline.data_dir(), "3m");
    let run =
        |count: &str| pipeline.run(&["run", "--once", "--source", "synthetic", "--results", "200", "--count", count]);

    let full = run("50000").expect_failure(74, "disk is full", "free some disk space");
    assert!(full.stderr.contains("userpipe.db"), "the place is named: {}", full.stderr);
    disk.grow("64m");
    let stored = readback::ledger(&pipeline.database(), &pipeline.topic).len();
    assert!(stored > 0, "some users were stored before the disk was full");
    run("100").expect_code(0);
    let ids = ids(&pipeline);
    assert_eq!(ids.len(), stored + 100, "what was stored is kept");
    assert_same(&pipeline.ids(), &ids, "table and ledger");
    assert_eq!(pipeline.lag(), 0);
}

#[test]
#[ignore = "needs live services, and root for a small tmpfs: make test"]
fn a_disk_that_fills_up_under_a_running_consumer_holds_it_up_until_there_is_space_needs_root() {
    let pipeline = Pipeline::new("fillsup").with_cassandra(String::new()).with_flag("--sink", "sqlite").initialized();
    std::fs::remove_dir_all(pipeline.data_dir()).unwrap();
    let disk = SmallDisk::mount(pipeline.data_dir(), "6m");
    let elsewhere = pipeline.directory.path().join("elsewhere");
    let produce = |count: &str| {
        let source = ["produce", "--once", "--ledger", "off", "--source", "synthetic", "--count", count];
        let mut command = pipeline.bare_command(&source);
        command.args(["--brokers", &pipeline.kafka, "--topic", &pipeline.topic, "--data-dir"]).arg(&elsewhere);
        Running::start(command).wait(SOON).expect_code(0);
    };
    produce("500");
    let mut consumer = pipeline.start(&["consume"]);
    until("rows arrive", SOON, || pipeline.database().exists() && rows(&pipeline.database()).len() == 500);
    let ballast = disk.fill();
    produce("5000");
    consumer.until_says("disk is full");
    std::fs::remove_file(ballast).unwrap();
    disk.grow("64m");
    until("all rows arrive", SOON, || rows(&pipeline.database()).len() == 5_500);
    consumer.signal(Signal::SIGTERM);
    consumer.wait(SOON).expect_code(0).expect_said("goes on after");
    let group = "userpipe-sqlite-created_users";
    assert_eq!(readback::lag(&pipeline.kafka, &pipeline.topic, group), 0);
}

#[test]
#[ignore = "needs root for a small tmpfs: make test"]
fn a_full_disk_under_everything_embedded_is_told_and_loses_nothing_needs_root() {
    let pipeline = Pipeline::new("fullembedded");
    let disk = SmallDisk::mount(pipeline.data_dir(), "6m");
    let embedded = |arguments: &[&str]| {
        let mut command = pipeline.bare_command(arguments);
        command.args(["--topic", &pipeline.topic, "--data-dir"]).arg(pipeline.data_dir());
        Running::start(command).wait(SOON)
    };
    let produce = ["produce", "--once", "--source", "synthetic", "--results", "200", "--count"];
    embedded(&[&produce[..], &["200"]].concat()).expect_code(0);

    let ballast = disk.fill();
    embedded(&["consume", "-e"]).expect_failure(74, "userpipe.db", "free some disk space");
    std::fs::remove_file(&ballast).unwrap();
    embedded(&["consume", "-e"]).expect_code(0);
    assert_same(&rows(&pipeline.database()), &ids(&pipeline), "table and ledger");

    embedded(&[&produce[..], &["50000"]].concat()).expect_failure(74, "disk is full", "free some disk space");
    disk.grow("64m");
    embedded(&[&produce[..], &["10"]].concat()).expect_code(0);
    embedded(&["consume", "-e"]).expect_code(0);
    let ids = ids(&pipeline);
    assert!(ids.len() > 210, "{} users: some of the run that failed were stored", ids.len());
    assert_same(&rows(&pipeline.database()), &ids, "table and ledger");
}

#[test]
#[ignore = "needs root for a small tmpfs: make test"]
fn check_names_a_disk_that_is_small_full_or_read_only_needs_root() {
    let pipeline = Pipeline::new("checkdisk");
    let disk = SmallDisk::mount(pipeline.data_dir(), "64m");
    let embedded = |arguments: &[&str]| {
        let mut command = pipeline.bare_command(arguments);
        command.arg("--data-dir").arg(pipeline.data_dir());
        Running::start(command).wait(SOON)
    };
    // The verdict on one thing, what was found, and the fix.
    let check = |what: &str, code: i32| {
        let finished = embedded(&["check", "--json", "--source", "synthetic"]).expect_code(code);
        let lines = finished.stdout.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let line = lines.into_iter().find(|line| line["check"] == what).expect("it was looked at");
        ["verdict", "found", "fix"].map(|name| line[name].as_str().unwrap_or_default().to_owned())
    };
    embedded(&["init-schema"]).expect_code(0);
    let [verdict, found, _] = check("disk space", 0);
    assert!(verdict == "warn" && found.ends_with(" of 64.0 MiB free"), "{verdict}: {found}");
    let ballast = disk.fill();
    let [verdict, found, fix] = check("disk space", 10);
    assert!(verdict == "fail" && found == "0.0 KiB of 64.0 MiB free", "{verdict}: {found}");
    assert!(fix.contains("free some space"), "{fix}");
    std::fs::remove_file(ballast).unwrap();
    let sealed = std::process::Command::new("mount").args(["-o", "remount,ro"]).arg(pipeline.data_dir()).status();
    assert!(sealed.unwrap().success());
    let [verdict, found, fix] = check("data directory", 10);
    assert!(verdict == "fail" && found.contains("Read-only file system"), "{verdict}: {found}");
    assert!(fix.contains("--data-dir"), "{fix}");
}
