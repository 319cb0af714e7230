//! What is read: every call tells of what is there.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::client::Page;
use super::wait_for;
use crate::sandbox::Sandbox;

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().filter_map(Value::as_f64).collect()
}

fn light<'v>(overview: &'v Value, name: &str) -> &'v Value {
    let lights = overview["lights"].as_array().unwrap();
    &lights.iter().find(|light| light["name"] == name).unwrap()["state"]
}

#[test]
fn a_source_that_is_away_has_a_red_light_and_its_run_tells_why_while_it_goes_on() {
    let sandbox = Sandbox::new();
    let run = sandbox
        .userpipe("run --interval 1h --retries 3 --retry-delay 10m --api-attempts 1 --listen 127.0.0.1:0")
        .arg("--api-url=http://127.0.0.1:9/api/")
        .start();
    let page = Page::of(&run, &sandbox);
    let overview = page.wait_overview("a source that is away", |it| light(it, "source") == "retrying");
    let lights = overview["lights"].as_array().unwrap();
    let detail = lights.iter().find(|light| light["name"] == "source").unwrap()["detail"].as_str().unwrap();
    assert!(detail.contains("127.0.0.1:9"), "{overview}");

    let going = &page.get("/api/runs?limit=1")["runs"][0];
    assert_eq!(going["state"], "running", "{going}");
    let shown = page.get(&format!("/api/runs/{}", going["run_id"].as_str().unwrap()));
    let said: Vec<_> = shown["log"].as_array().unwrap().iter().filter_map(|line| line["message"].as_str()).collect();
    assert!(said.iter().any(|line| line.contains("attempt 1 of 4 failed")), "{said:?}");
}

#[test]
fn every_call_tells_what_a_pipeline_does() {
    let sandbox = Sandbox::new();
    // The dashboard looks every 2 s. With a run each second a look would always come in the same part of one, maybe
    // always before its commit; three seconds make it come in another part each time.
    let run = sandbox.userpipe("run --interval 3s --source synthetic --count 7 --listen 127.0.0.1:0").start();
    let page = Page::of(&run, &sandbox);
    let overview = page.wait_overview("two runs in the sink, and no lag", |it| {
        it["lag"] == 0 && it["latency"]["samples"].as_u64() >= Some(14)
    });
    assert_eq!((&overview["command"], &overview["pipeline"]["source"]), (&json!("run"), &json!("synthetic")));
    assert_eq!(overview["pipeline"]["group"], "userpipe-sqlite-created_users");
    for (name, state) in [("source", "ok"), ("ledger", "ok"), ("bus", "ok"), ("sink", "ok"), ("registry", "off")] {
        assert_eq!(light(&overview, name), state, "{name}: {overview}");
    }
    assert!(overview["latency"]["p50_ms"].as_f64() <= overview["latency"]["p99_ms"].as_f64());

    let flow = page.get("/api/flow");
    let names: Vec<_> = flow["hops"].as_array().unwrap().iter().map(|hop| hop["name"].clone()).collect();
    assert_eq!(names, ["source", "ledger", "topic", "sink", "dead letters"]);
    assert!(flow["hops"][3]["total"].as_u64() >= Some(14) && flow["hops"][3]["per_second"].is_number(), "{flow}");

    let history = wait_for("a second of history", || {
        Some(page.get("/api/history")).filter(|it| numbers(&it["series"]["written"]).iter().any(|rate| *rate > 0.0))
    });
    let length = history["at"].as_array().unwrap().len();
    assert!(history["series"].as_object().unwrap().values().all(|it| it.as_array().unwrap().len() == length));

    let partitions = wait_for("an owner of every partition", || {
        Some(page.get("/api/partitions")).filter(|it| it["state"] == "stable")
    });
    assert_eq!(partitions["members"][0]["partitions"], json!([0, 1, 2]));
    assert!(partitions["partitions"].as_array().unwrap().iter().all(|it| it["owner"].is_string() && it["low"] == 0));

    let runs = page.get("/api/runs?limit=1");
    assert_eq!((&runs["schedule"], &runs["is_paused"]), (&json!("every 3s"), &json!(false)));
    assert!(runs["next_at"].is_string());
    let newest = &runs["runs"].as_array().unwrap()[..];
    assert_eq!(newest.len(), 1);
    let before = page.get(&format!("/api/runs?before={}", newest[0]["run_id"].as_str().unwrap()));
    let earlier = &before["runs"][0];
    assert!(earlier["run_id"].as_str() < newest[0]["run_id"].as_str());
    assert_eq!(
        (&earlier["state"], &earlier["produced"], &earlier["attempts"]),
        (&json!("success"), &json!(7), &json!(1))
    );
    let shown = page.get(&format!("/api/runs/{}", earlier["run_id"].as_str().unwrap()));
    assert_eq!(shown["duration_ms"], earlier["duration_ms"]);
    assert!(shown["log"].is_array());

    let config = page.get("/api/config");
    let interval = config["settings"].as_array().unwrap().iter().find(|it| it["name"] == "interval").unwrap();
    assert_eq!(
        (&interval["command"], &interval["value"], &interval["origin"]),
        (&json!("run"), &json!("3s"), &json!("flag"))
    );
    assert_eq!(config["columns"].as_array().unwrap().len(), 13);
    assert!(config["ddl"].as_str().unwrap().contains("created_users"));
    assert_eq!(page.get("/api/session"), json!({ "may_change": false }));
    assert_eq!(page.get_with_token("/api/session"), json!({ "may_change": true }));
    run.signal(Signal::SIGTERM);
    run.finish().expect_code(0);
}

#[test]
fn users_and_messages_are_masked_and_traced() {
    let sandbox = Sandbox::new();
    let database = sandbox.prepare();
    sandbox.userpipe("run --once --source synthetic --count 30").ok();
    let dashboard = sandbox.userpipe("dashboard --listen 127.0.0.1:0").start();
    let page = Page::of(&dashboard, &sandbox);

    let users = page.get("/api/users?limit=10")["users"].as_array().unwrap().clone();
    assert_eq!(users.len(), 10);
    for user in &users {
        assert!(user["in_sink"] == true && user["lag_ms"] == 0 && user["record"]["id"] == user["id"], "{user}");
        for field in ["first_name", "last_name", "email", "username", "phone", "address", "post_code", "dob", "picture"]
        {
            assert!(user["record"][field].as_str().unwrap().ends_with("•••"), "{field} of {user}");
        }
        assert!(["female", "male"].contains(&user["record"]["gender"].as_str().unwrap()));
    }
    let id = users[0]["id"].as_str().unwrap();
    assert_eq!(page.ask("GET", "/api/users?reveal=true", &[], "").status, 401);
    let open = page.get_with_token(&format!("/api/users/{id}?reveal=true"));
    let rows = database.texts("SELECT id || ' ' || email FROM created_users");
    let email = rows.iter().find_map(|row| row.strip_prefix(id)).unwrap().trim().to_owned();
    assert_eq!(
        (&open["record"]["email"], &open["in_sink"], &open["ledger"]),
        (&json!(email), &json!(true), &json!(true))
    );
    let nobody = page.get("/api/users/00000000-0000-5000-8000-000000000000");
    assert_eq!(
        (&nobody["record"], &nobody["in_sink"], &nobody["ledger"]),
        (&Value::Null, &json!(false), &json!(false))
    );
    let trace = page.get(&format!("/api/trace/{id}"));
    assert_eq!((&trace["id"], &trace["verdict"]), (&json!(id), &json!("delivered")));
    assert_eq!(page.ask("GET", "/api/trace/nobody", &[], "").status, 400);

    let (all, done) = page.scan("from=beginning");
    assert_eq!((all.len(), &done), (30, &json!({ "scanned": 30, "matched": 30, "is_cut": false })));
    assert!(all.iter().all(|it| it["value"]["email"].as_str().unwrap().ends_with("•••") && it["reason"].is_null()));
    let (one, _) = page.scan(&format!("from=beginning&key={id}"));
    assert_eq!((one.len(), &one[0]["id"], &one[0]["key"]), (1, &json!(id), &json!(id)));
    let (by_text, _) = page.scan(&format!("from=beginning&text={}", email.to_uppercase()));
    assert_eq!(by_text[0]["id"], json!(id));
    let (cut, done) = page.scan("from=-20&limit=5");
    assert_eq!((cut.len(), &done["is_cut"]), (5, &json!(true)));
    let (later, _) = page.scan("from=3&partition=1");
    assert!(later.iter().all(|it| it["partition"] == 1 && it["offset"].as_i64() >= Some(3)), "{later:?}");
    let (none, done) = page.scan("from=@2100-01-01T00:00:00Z");
    assert_eq!((none.len(), &done["scanned"]), (0, &json!(0)));
    for bad in ["from=noon", "partition=x", "topic=other"] {
        assert_eq!(page.ask("GET", &format!("/api/messages/scan?{bad}"), &[], "").status, 400, "{bad}");
    }
}

#[test]
fn the_page_alone_looks_from_outside_and_leaves_nothing_behind() {
    let sandbox = Sandbox::new();
    let dashboard = sandbox.userpipe("dashboard --listen 127.0.0.1:0").start();
    let page = Page::of(&dashboard, &sandbox);
    let overview = page.wait_overview("the first look", |it| light(it, "bus") != "unknown");
    assert_eq!((&overview["command"], &overview["lag"]), (&json!("dashboard"), &Value::Null));
    let partitions = page.ask("GET", "/api/partitions", &[], "");
    assert!(partitions.status == 409 && partitions.json()["error"] == "there is no topic users_created");
    assert_eq!(page.ask("GET", "/api/users", &[], "").status, 409);
    assert!(!sandbox.path("userpipe-data/userpipe.db").exists(), "it only looked");

    sandbox.userpipe("produce --source synthetic --count 25").ok();
    page.wait_overview("the lag of a group that nobody is in", |it| it["lag"] == 25 && light(it, "sink") == "blocked");
    sandbox.userpipe("consume -e").ok();
    page.wait_overview("no lag", |it| it["lag"] == 0 && light(it, "sink") == "ok");
    let hops = page.get("/api/flow")["hops"].clone();
    let total = |at: usize| hops[at]["total"].clone();
    assert_eq!([total(0), total(1), total(2), total(3), total(4)], [25, 25, 25, 25, 0].map(|n| json!(n)));
    sandbox.userpipe("verify").ok();
    let verify = page.wait_overview("the verification of another process", |it| it["verify"]["ok"] == true);
    assert_eq!(verify["verify"]["summary"], "nothing is lost: 25 in the sink");
    dashboard.signal(Signal::SIGTERM);
    dashboard.finish().expect_code(0);
}

#[test]
fn a_tick_comes_every_second_and_a_run_when_it_changes() {
    let sandbox = Sandbox::new();
    let run = sandbox.userpipe("run --interval 1s --source synthetic --count 3 --listen 127.0.0.1:0").start();
    let page = Page::of(&run, &sandbox);
    let mut events = page.events("/api/events");
    let first = events.next_of("tick");
    for part in ["overview", "flow", "partitions", "runs_changed", "dead_letters"] {
        assert!(first.get(part).is_some(), "{part}");
    }
    events.next_of("tick");
    let began = Instant::now();
    for _ in 0..3 {
        events.next_of("tick");
    }
    let took = began.elapsed();
    assert!(took > Duration::from_secs(2) && took < Duration::from_secs(8), "{took:?}");
    assert_eq!(events.next_of("run")["trigger"], "interval");

    let mut tail = page.events("/api/messages/tail");
    assert!(tail.next_of("message")["value"]["email"].as_str().unwrap().ends_with("•••"));
    // An open page does not keep the process.
    run.signal(Signal::SIGTERM);
    let began = Instant::now();
    run.finish().expect_code(0);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    while events.next().is_some() {}
}

#[test]
fn a_reader_that_goes_away_makes_room_for_another() {
    let sandbox = Sandbox::new();
    sandbox.userpipe("run --once --source synthetic --count 5").ok();
    let dashboard = sandbox.userpipe("dashboard --listen 127.0.0.1:0").start();
    let page = Page::of(&dashboard, &sandbox);
    let tails: Vec<_> = (0..4).map(|_| page.events("/api/messages/tail")).collect();
    assert_eq!(page.try_events("/api/messages/tail").err(), Some(429));
    assert_eq!(page.try_events("/api/messages/scan").err(), Some(429));
    drop(tails);
    wait_for("the places of those who went", || page.try_events("/api/messages/scan?from=beginning").ok());
}
