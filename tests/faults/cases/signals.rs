//! SIGTERM and SIGPIPE, whatever the process is doing, and a clock that jumps.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::Case;
use crate::program::until;
use crate::proxy::{Mode, Proxy};
use crate::world::World;

/// The library of Debian's package libfaketime.
fn faketime() -> PathBuf {
    PathBuf::from(format!("/usr/lib/{}-linux-gnu/faketime/libfaketimeMT.so.1", std::env::consts::ARCH))
}

pub(super) fn cases() -> Vec<Case> {
    let clock = Case::new("clock_stepped", "clock stepped by an hour, forth and back", clock_stepped);
    vec![
        Case::new("sigterm_idle", "SIGTERM while idle", sigterm_idle),
        Case::new("sigterm_mid_batch", "SIGTERM in the middle of a batch", sigterm_mid_batch),
        Case::new("sigterm_in_retry", "SIGTERM while the sink is away", |world| signalled_in_retry(world, false)),
        Case::new("second_sigterm", "a second SIGTERM during the drain", |world| signalled_in_retry(world, true)),
        Case::new("sigpipe", "stdout closed by its reader", sigpipe),
        clock.needs("needs the package libfaketime", faketime().exists()),
    ]
}

fn sigterm_idle(world: &mut World) {
    world.init();
    world.load(100);
    let consumer = world.start(&["consume"]);
    world.until_drained();
    let stopped = world.stop(consumer);
    assert!(stopped.took < Duration::from_secs(5), "it took {:?}", stopped.took);
    // Whoever comes next need not wait for the session of the one that left.
    world.load(100);
    world.healed();
    world.run(&["consume", "-e"]).expect_code(0);
    world.recovered();
    assert!(world.tally().recovery.is_some_and(|took| took < Duration::from_secs(8)), "it left its group");
    world.check(0);
}

/// What is in flight is written and committed, and nothing else is taken.
fn sigterm_mid_batch(world: &mut World) {
    world.init();
    world.load(6_000);
    let consumer = world.start(&["consume", "--cassandra-in-flight", "2", "--in-flight", "1000"]);
    world.until_rows(1_000);
    world.stop(consumer);
    let (rows, lag) = (world.rows(), world.lag());
    assert_eq!(i64::try_from(rows).unwrap() + lag, 6_000, "what was written is committed");
    assert!(lag > 0, "it was not in the middle");
    world.healed();
    world.run(&["consume", "-e"]).expect_code(0);
    world.recovered();
    world.check(0);
}

/// A drain that cannot end is 75, after its limit or at the second signal; what is left is kept.
fn signalled_in_retry(world: &mut World, is_twice: bool) {
    world.init();
    world.load(2_000);
    let target = world.contact_point.clone();
    let proxy = Proxy::bytes(&target, &world.handle());
    world.contact_point.clone_from(&proxy.address);
    let limit = if is_twice { "60s" } else { "2s" };
    let options = ["--shutdown-timeout", limit, "--cassandra-timeout", "1s", "--cassandra-in-flight", "2"];
    let mut consumer = world.start(&[&["consume"], &options[..]].concat());
    world.until_rows(100);
    proxy.set(Mode::Cut);
    consumer.until_says("; trying again");
    consumer.signal(Signal::SIGTERM);
    consumer.until_says("stopping");
    if is_twice {
        consumer.signal(Signal::SIGTERM);
    }
    let began = Instant::now();
    world.finish(consumer).expect_code(75);
    assert!(began.elapsed() < Duration::from_secs(8), "it took {:?}", began.elapsed());
    world.check_committed();
    world.contact_point = target;
    world.healed();
    world.run(&["consume", "-e"]).expect_code(0);
    world.recovered();
    world.check(0);
}

/// A reader that goes away is no failure, and what it was not given is not committed.
fn sigpipe(world: &mut World) {
    world.init();
    world.load(5_000);
    let group = std::mem::take(&mut world.group);
    world.group = format!("{group}-out");
    let consume = world.command(&["consume", "-e", "--sink", "stdout"]);
    let mut bash = Command::new("bash");
    // Both ends of the pipe must be content.
    bash.args(["-o", "pipefail", "-c", "\"$@\" | head -n 3", "bash"]).arg(consume.get_program());
    bash.args(consume.get_args()).current_dir(world.path(""));
    let piped = world.launch(bash);
    let piped = world.finish(piped).expect_code(0);
    assert_eq!(piped.stdout.lines().count(), 3, "{}", piped.stdout);
    let lag = world.lag();
    assert!(lag > 0, "what nobody was there to read is not committed");
    world.healed();
    let rest = world.run(&["consume", "-e", "--sink", "stdout"]).expect_code(0);
    assert_eq!(i64::try_from(rest.stdout.lines().count()).unwrap(), lag, "the rest comes to the next reader");
    world.group = group;
    world.run(&["consume", "-e"]).expect_code(0);
    world.recovered();
    world.check(0);
}

/// Timers and leases count time that passes, not the time of day.
fn clock_stepped(world: &mut World) {
    world.init();
    let clock = world.path("clock");
    std::fs::write(&clock, "+0").unwrap();
    let mut command = world.command(&["run", "--for", "15s", "--rate", "200/s", "--source", "synthetic"]);
    command.env("LD_PRELOAD", faketime()).env("FAKETIME_TIMESTAMP_FILE", &clock);
    command.env("FAKETIME_NO_CACHE", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    let began = Instant::now();
    let mut run = world.launch(command);
    for step in ["+3600", "-3600"] {
        let before = world.rows();
        until("rows arrive", crate::SOON, || world.rows() >= before + 300);
        std::fs::write(&clock, step).unwrap();
    }
    world.healed();
    assert!(run.lives(), "{}", run.stderr());
    world.finish(run).expect_code(0);
    world.recovered();
    assert!(began.elapsed() < Duration::from_mins(1), "it took {:?}", began.elapsed());
    assert!(world.rows() >= 2_500, "{} rows", world.rows());
    world.run(&["consume", "-e"]).expect_code(0);
    world.check(0);
}
