//! `status`: what it shows is what is in the stores, and its limits make a gate.

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::sandbox::Sandbox;

fn look(sandbox: &Sandbox) -> Value {
    sandbox.userpipe("status --json").ok().json_lines().remove(0)
}

#[test]
fn it_is_a_gate_while_the_lag_is_over_the_limit() {
    let sandbox = Sandbox::new();
    sandbox.userpipe("produce --source synthetic --count 150").ok();
    let shut = sandbox.userpipe("status --max-lag 100").fails(10);
    assert_eq!(shut.error(), "lag 150 is over 100");
    assert!(shut.stdout.contains("\nlag 150 · "), "it shows all the same: {}", shut.stdout);
    sandbox.userpipe("status --max-lag 150").ok();
    sandbox.userpipe("consume -e").ok();
    sandbox.userpipe("status --max-lag 0").ok();
}

#[test]
fn it_shows_topic_group_outbox_dead_letters_and_runs() {
    let sandbox = Sandbox::new();
    sandbox.userpipe("produce --source synthetic --count 40").ok();
    let database = sandbox.database();
    database.append("users_created", 1, None, Some(b"poison"));
    sandbox.userpipe("consume -e").ok();
    sandbox.userpipe("produce --source synthetic --count 9").ok();
    database.execute("UPDATE outbox SET published_at = NULL WHERE id IN (SELECT id FROM outbox LIMIT 4)");

    let status = look(&sandbox);
    assert_eq!(status["topic"], "users_created");
    assert_eq!(status["group"], "userpipe-sqlite-created_users");
    assert_eq!((&status["lag"], &status["dead_letters"], &status["outbox_waiting"]), (&json!(9), &json!(1), &json!(4)));
    assert_eq!((&status["members"], &status["another_sink"]), (&json!([]), &Value::Null));
    let partitions = status["partitions"].as_array().unwrap();
    let shown: Vec<_> = partitions.iter().map(|p| format!("{}:{}", p["partition"], p["high"])).collect();
    assert_eq!(
        shown,
        database.texts(
            "SELECT partition || ':' || next_offset FROM bus_partitions WHERE topic = 'users_created' ORDER BY 1"
        )
    );
    for of in partitions {
        let number = |name: &str| of[name].as_i64().unwrap();
        assert_eq!((number("low"), number("lag")), (0, number("high") - number("committed")), "{of}");
    }
    let runs = status["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 2);
    assert_eq!((&runs[0]["produced"], &runs[1]["produced"]), (&json!(9), &json!(40)), "newest first");
    assert_eq!((&runs[0]["state"], &runs[0]["trigger"]), (&json!("success"), &json!("once")));
    assert!(status["age_seconds"].as_f64().unwrap() < 60.0, "{status}");

    let text = sandbox.userpipe("status").ok().stdout;
    for words in ["lag 9 · ", "dead letters 1", "outbox 4 waiting", "last runs", "fetched 9, produced 9, rejected 0"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let other = sandbox.userpipe("status -G userpipe-sqlite-created_users --sink stdout").ok().stdout;
    assert!(other.contains("committed for another sink, userpipe:sqlite/created_users"), "{other}");
}

#[test]
fn members_are_shown_with_their_partitions() {
    let sandbox = Sandbox::new();
    let database = sandbox.prepare();
    let consume = sandbox.userpipe("consume").start();
    database.wait_until("SELECT count(*) FROM bus_leases", 3);
    let status = look(&sandbox);
    let members = status["members"].as_array().unwrap();
    assert_eq!((members.len(), &members[0]["partitions"]), (1, &json!([0, 1, 2])));
    assert!(status["partitions"].as_array().unwrap().iter().all(|p| p["owner"] == members[0]["name"]), "{status}");
    consume.signal(Signal::SIGTERM);
    consume.finish().expect_code(0);
    assert_eq!(look(&sandbox)["members"], json!([]));
}

#[test]
fn the_newest_record_must_not_be_older_than_the_limit() {
    let sandbox = Sandbox::new();
    sandbox.userpipe("init-schema").ok();
    assert_eq!(sandbox.userpipe("status --max-age 5m").fails(10).error(), "the topic holds no record");
    sandbox.userpipe("produce --source synthetic --count 5").ok();
    sandbox.userpipe("status --max-age 5m").ok();
    sandbox.database().execute("UPDATE bus_records SET timestamp_ms = timestamp_ms - 400000");
    let old = sandbox.userpipe("status --max-age 5m").fails(10);
    assert!(
        old.error().starts_with("the newest record is 6m ") && old.error().ends_with(" old, over 5m"),
        "{}",
        old.error()
    );
}

#[test]
fn the_latency_comes_from_processes_that_deliver() {
    let sandbox = Sandbox::new();
    let database = sandbox.prepare();
    let consume = sandbox.userpipe("consume --health-listen 127.0.0.1:0").start();
    let said = consume.wait_for_stderr("/readyz are at http://");
    let address = said.split("/readyz are at ").nth(1).unwrap().lines().next().unwrap().to_owned();
    let gate = |limit: &str| sandbox.userpipe(&format!("status --json --max-p99 {limit} --metrics {address}"));
    assert_eq!(gate("1h").fails(10).error(), "no latency was measured yet");
    sandbox.userpipe("produce --source synthetic --count 50").ok();
    database.wait_until("SELECT count(*) FROM created_users", 50);

    let seconds = gate("1h").ok().json_lines()[0]["p99_seconds"].as_f64().unwrap();
    assert!(seconds > 0.0 && seconds < 60.0, "{seconds}");
    let over = gate("1ms").fails(10);
    assert!(over.error().starts_with("p99 latency ") && over.error().ends_with(" is over 1ms"), "{}", over.error());
    let by_variable =
        sandbox.userpipe("status --max-p99 1h").env("USERPIPE_STATUS_METRICS", &format!("{address}/metrics"));
    assert!(by_variable.ok().stdout.contains(" · p99 latency "));
    // Another page of the same process is no metrics.
    let other = sandbox.userpipe(&format!("status --max-p99 1h --metrics {address}/healthz")).fails(10);
    assert!(other.error().contains("no end-to-end latency among them"), "{}", other.error());
    consume.signal(Signal::SIGTERM);
    consume.finish().expect_code(0);
    assert!(gate("1h").fails(10).error().starts_with("cannot read the metrics at "));
}

#[test]
fn wrong_usage_and_a_missing_topic_have_their_codes() {
    let sandbox = Sandbox::new();
    sandbox.userpipe("status --max-p99 1s").output().expect_code(2);
    sandbox.userpipe("status --watch --max-lag 1").output().expect_code(2);
    let output = sandbox.userpipe("status --metrics nowhere").fails(2);
    assert!(output.error().contains("--metrics"), "{}", output.error());
    let missing = sandbox.userpipe("status").fails(10);
    assert_eq!(missing.error(), "there is no topic users_created");
    assert!(!sandbox.path("userpipe-data").exists(), "looking makes nothing");
}

#[test]
fn watching_goes_on_until_it_is_stopped() {
    let sandbox = Sandbox::new();
    sandbox.userpipe("produce --source synthetic --count 10").ok();
    let watch = sandbox.userpipe("status --watch --json").start();
    watch.wait_for_lines(1);
    sandbox.userpipe("consume -e").ok();
    let before = watch.wait_for_lines(1).lines().count();
    // The look that is under way may be from before the end of the group's work; the one after it is not.
    watch.wait_for_lines(before + 2);
    watch.signal(Signal::SIGINT);
    let output = watch.finish().expect_code(0);
    let lags: Vec<_> = output.json_lines().iter().map(|status| status["lag"].clone()).collect();
    assert_eq!((lags.first(), lags.last()), (Some(&json!(10)), Some(&json!(0))), "{lags:?}");

    let watch = sandbox.userpipe("status --watch").start();
    watch.wait_for_lines(16);
    watch.signal(Signal::SIGTERM);
    let output = watch.finish().expect_code(0);
    assert!(!output.stdout.contains('\x1b'), "nothing is redrawn in a pipe: {:?}", output.stdout);
    // script(1) gives it a terminal.
    let drawn = sandbox.bash("script -qec 'timeout --signal INT 3 userpipe status --watch' /dev/null").output().stdout;
    assert!(
        drawn.matches("\x1b[H").count() >= 2 && drawn.contains("\x1b[J"),
        "each look is in place of the last: {drawn:?}"
    );
    assert_eq!(sandbox.bash("userpipe status --watch | head -2").ok().stdout.lines().count(), 2);
}

#[test]
fn an_outage_is_shown_while_it_is_watched() {
    let sandbox = Sandbox::new();
    let watch = sandbox.userpipe("status --watch --json").start();
    watch.wait_for_lines(1);
    sandbox.userpipe("produce --source synthetic --count 10").ok();
    let before = watch.wait_for_lines(1).lines().count();
    watch.wait_for_lines(before + 2);
    watch.signal(Signal::SIGTERM);
    let lines = watch.finish().expect_code(0).json_lines();
    assert_eq!(lines[0]["error"], "there is no topic users_created");
    assert_eq!(lines.last().unwrap()["lag"], json!(10), "{lines:?}");
}
