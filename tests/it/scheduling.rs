//! Schedules of several processes, and the commands that look at them and steer them through the ledger.

use nix::sys::signal::Signal;

use crate::mock::MockApi;
use crate::sandbox::Sandbox;

const SUCCEEDED: &str = "SELECT count(*) FROM runs WHERE state = 'success'";
const RUNNING: &str = "SELECT count(*) FROM runs WHERE state = 'running'";
const IN_THE_LEDGER: &str = "SELECT count(*) FROM outbox";
const SECONDS: &str = "produce --interval 1s --source synthetic --count 2";

/// As when the leases of dead processes have run out.
const LATER: &str = "UPDATE runs SET claimed_until = 1 WHERE state = 'running'";

#[test]
fn two_processes_run_each_slot_once_and_one_that_is_killed_is_not_missed() {
    let sandbox = Sandbox::new();
    let database = sandbox.prepare();
    let (first, second) = (sandbox.userpipe(SECONDS).start(), sandbox.userpipe(SECONDS).start());
    database.wait_until(SUCCEEDED, 3);
    first.signal(Signal::SIGKILL);
    let before = database.number(SUCCEEDED);
    database.wait_until(SUCCEEDED, before + 3);
    second.signal(Signal::SIGTERM);
    second.finish().expect_code(0);

    let twice = "SELECT count(*) FROM (SELECT 1 FROM runs GROUP BY scheduled_for HAVING count(*) > 1)";
    let holes = "SELECT (max(scheduled_for) - min(scheduled_for)) / 1000 + 1 - count(*) FROM runs";
    assert_eq!((database.number(twice), database.number(holes)), (0, 0));
    let lost = "SELECT count(*) FROM runs WHERE state = 'success'
                AND 2 <> (SELECT count(*) FROM outbox WHERE outbox.run_id = runs.run_id)";
    assert_eq!(database.number(lost), 0);
}

#[test]
fn a_run_whose_process_was_killed_is_taken_over_with_the_same_users() {
    let sandbox = Sandbox::new();
    let database = sandbox.prepare();
    let slow = "produce --interval 1h --source synthetic --count 60 --results 10 --rate 20/s";
    let killed = sandbox.userpipe(slow).start();
    database.wait_until(IN_THE_LEDGER, 10);
    killed.signal(Signal::SIGKILL);
    assert_eq!(killed.finish().status.code(), None);
    database.execute(LATER);

    let heir = sandbox.userpipe("produce --interval 1h --source synthetic --count 60 --results 10").start();
    database.wait_until(SUCCEEDED, 1);
    heir.signal(Signal::SIGTERM);
    let output = heir.finish().expect_code(0);
    assert!(output.stderr.contains("which another process has left"), "{}", output.stderr);
    assert_eq!(database.texts("SELECT state || ' ' || attempts FROM runs"), ["success 2"]);
    assert_eq!(database.number("SELECT count(DISTINCT id) FROM outbox"), 60, "the same users, and nobody new");
}

#[test]
fn a_run_that_is_interrupted_is_left_to_the_next_process() {
    let sandbox = Sandbox::new();
    let database = sandbox.prepare();
    let slow = "produce --interval 1h --source synthetic --count 60 --results 10 --rate 20/s";
    let stopped = sandbox.userpipe(slow).start();
    database.wait_until(IN_THE_LEDGER, 10);
    stopped.signal(Signal::SIGTERM);
    let output = stopped.finish().expect_code(0);
    assert!(output.stderr.contains("is left to others: stopped by a signal"), "{}", output.stderr);
    assert_eq!(database.number(RUNNING), 1);

    let next = sandbox.userpipe("produce --interval 1h --source synthetic --count 60 --results 10").start();
    database.wait_until(SUCCEEDED, 1);
    next.signal(Signal::SIGTERM);
    next.finish().expect_code(0);
    assert_eq!(database.number("SELECT count(DISTINCT id) FROM outbox"), 60);
}

#[test]
fn a_failed_attempt_is_tried_again_and_both_are_in_its_log() {
    let sandbox = Sandbox::new();
    let mock = MockApi::start(&sandbox, &["500:2"]);
    let database = sandbox.prepare();
    let run = "produce --once --count 5 --api-attempts 1 --retries 2 --retry-delay 10ms --api-url";
    sandbox.userpipe(&format!("{run} {}", mock.url)).ok();
    assert_eq!(database.texts("SELECT state || ' ' || attempts FROM runs"), ["success 3"]);
    let shown = sandbox.userpipe("runs show").ok().stdout;
    for (name, value) in [("state", "success"), ("attempts", "3"), ("fetched", "5"), ("trigger", "once")] {
        assert!(shown.contains(&format!("{name:<9} {value}\n")), "{shown}");
    }
    assert!(shown.contains("WARN  attempt 1 of 3 failed") && shown.contains("attempt 2 of 3 failed"), "{shown}");
    let shown = sandbox.userpipe("runs show --json").ok().json_lines();
    assert_eq!(
        shown[0]["sent"].as_array().unwrap().iter().map(|range| range["records"].as_u64().unwrap()).sum::<u64>(),
        5
    );
    let log = shown[0]["log"].as_array().unwrap();
    assert_eq!(log.iter().filter(|line| line["level"] == "WARN").count(), 2, "{log:?}");
    assert!(log.last().unwrap()["text"].as_str().unwrap().starts_with("Source goes on after"), "{log:?}");
}

#[test]
fn a_run_that_fails_for_good_says_so_in_the_list() {
    let sandbox = Sandbox::new();
    let mock = MockApi::start(&sandbox, &["500"]);
    sandbox.userpipe(&format!("produce --once --api-attempts 1 --api-url {}", mock.url)).fails(69);
    let listed = sandbox.userpipe("runs list").ok().stdout;
    let line = listed.lines().nth(1).unwrap();
    assert!(line.contains("failed     once") && line.contains("status 500"), "{listed}");
    let listed = sandbox.userpipe("runs list --json").ok().json_lines();
    assert_eq!((&listed[0]["state"], &listed[0]["attempts"]), (&"failed".into(), &1.into()));
}

#[test]
fn a_schedule_is_paused_resumed_and_asked_for_a_run_from_another_terminal() {
    let sandbox = Sandbox::new();
    let database = sandbox.prepare();
    let schedule = sandbox.userpipe(SECONDS).start();
    database.wait_until(SUCCEEDED, 1);
    assert!(sandbox.userpipe("runs pause").ok().stderr.contains("paused: slots are skipped"));
    assert!(sandbox.userpipe("runs pause").ok().stderr.contains("it was paused already"));
    schedule.wait_for_stderr("the schedule is paused");
    assert!(sandbox.userpipe("runs list").ok().stderr.contains("the schedule is paused since"));

    let asked = sandbox.userpipe("runs trigger --wait 30s").ok().stdout;
    let shown = sandbox.userpipe(&format!("runs show {} --json", asked.trim())).ok().json_lines();
    assert_eq!((&shown[0]["trigger"], &shown[0]["state"]), (&"manual".into(), &"success".into()));

    assert!(sandbox.userpipe("runs resume").ok().stderr.contains("resumed"));
    let before = database.number(SUCCEEDED);
    database.wait_until(SUCCEEDED, before + 1);
    schedule.signal(Signal::SIGTERM);
    schedule.finish().expect_code(0);
    let skipped = "SELECT count(*) FROM runs WHERE state = 'skipped' AND error = 'the schedule is paused'";
    assert!(database.number(skipped) >= 1);
}

#[test]
fn slots_that_nobody_was_there_for_are_on_record_as_missed() {
    let sandbox = Sandbox::new();
    let database = sandbox.prepare();
    let start = || {
        let before = database.number(SUCCEEDED);
        let schedule = sandbox.userpipe("produce --interval 1m --source synthetic --count 1").start();
        database.wait_until(SUCCEEDED, before + 1);
        schedule.signal(Signal::SIGTERM);
        schedule.finish().expect_code(0);
    };
    start();
    database.execute("UPDATE runs SET scheduled_for = scheduled_for - 5 * 60000");
    start();
    // 4, or 5 where a minute began meanwhile.
    let missed = "SELECT count(*) FROM runs WHERE state = 'missed' AND error = 'no process was awake'";
    assert!([4, 5].contains(&database.number(missed)), "{}", database.number(missed));
    database.execute("DELETE FROM runs WHERE state = 'missed'");
    database.execute("UPDATE runs SET scheduled_for = scheduled_for - 500000 * 60000");
    start();
    assert_eq!(database.number(missed), 100, "after a year of rest only the last ones are noted");
}

#[test]
fn a_given_seed_goes_on_across_processes() {
    let sandbox = Sandbox::new();
    let database = sandbox.prepare();
    let seeded = "produce --interval 1s --source synthetic --seed s --count 3 --results 3";
    let (first, second) = (sandbox.userpipe(seeded).start(), sandbox.userpipe(seeded).start());
    database.wait_until(SUCCEEDED, 4);
    for schedule in [first, second] {
        schedule.signal(Signal::SIGTERM);
        schedule.finish().expect_code(0);
    }
    let repeated = "SELECT count(*) - count(DISTINCT id) FROM outbox";
    assert_eq!(database.number(repeated), 0, "whichever process runs a slot goes on where the last one ended");
}

#[test]
fn without_runs_or_a_ledger_it_says_so() {
    let sandbox = Sandbox::new();
    let output = sandbox.userpipe("runs list").ok();
    assert!(output.stdout.is_empty() && output.stderr.contains("no runs yet"), "{}", output.stderr);
    assert!(!sandbox.path("userpipe-data").exists(), "looking leaves nothing behind");
    assert_eq!(sandbox.userpipe("runs show").fails(1).error(), "the ledger has no runs yet");
    let output = sandbox.userpipe("runs pause --ledger off").fails(78);
    assert_eq!(output.error(), "runs are kept in the ledger: --ledger is off");
    let output = sandbox.userpipe("runs trigger --wait 10ms").fails(75);
    assert!(output.error().starts_with("nobody has taken run"), "{}", output.error());
    assert!(output.hint().contains("userpipe run --interval"), "{}", output.hint());
}

#[test]
fn bad_times_are_refused_with_the_reason() {
    let sandbox = Sandbox::new();
    for (arguments, words) in [
        ("--cron '61 * * * *'", "write five fields"),
        ("--cron '0 0 30 2 *'", "there is no such time"),
        ("--cron '* * * * *' --timezone Mars/Olympus", "timezone"),
        ("--cron '* * * * *' --interval 1m", "cannot be used with"),
        ("--cron '* * * * *' --once", "cannot be used with"),
    ] {
        let output = sandbox.bash(&format!("userpipe run --source synthetic {arguments}")).output().expect_code(2);
        assert!(output.stderr.contains(words), "{arguments}: {}", output.stderr);
    }
}

/// Regression: without `--once` a plain `produce` was taken for a schedule, and tried again for a minute and a half.
#[test]
fn a_command_that_is_no_schedule_fails_at_its_first_attempt() {
    let sandbox = Sandbox::new();
    let mock = MockApi::start(&sandbox, &["500"]);
    sandbox
        .userpipe(&format!("produce --count 5 --api-attempts 1 --retry-delay 10ms --api-url {}", mock.url))
        .fails(69);
    assert_eq!(sandbox.database().texts("SELECT state || ' ' || attempts FROM runs"), ["failed 1"]);
}
