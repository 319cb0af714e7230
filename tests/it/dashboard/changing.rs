//! What is changed: runs, the schedule, dead letters.

use serde_json::{Value, json};

use super::client::Page;
use super::wait_for;
use crate::sandbox::Sandbox;

const IN_THE_TABLE: &str = "SELECT count(*) FROM created_users";
const RUN: &str = "run --interval 1h --source synthetic --count 6 --listen 127.0.0.1:0";

#[test]
fn a_run_that_is_asked_for_lands_rows() {
    let sandbox = Sandbox::new();
    let database = sandbox.prepare();
    let run = sandbox.userpipe(RUN).start();
    let page = Page::of(&run, &sandbox);
    database.wait_until(IN_THE_TABLE, 6);
    let asked = page.post("/api/runs/trigger", &json!({}));
    assert_eq!(asked.status, 202, "{asked:?}");
    let run_id = asked.json()["run_id"].as_str().unwrap().to_owned();
    database.wait_until(IN_THE_TABLE, 12);
    let path = format!("/api/runs/{run_id}");
    let shown = wait_for("its end", || Some(page.get(&path)).filter(|it| it["state"] == "success"));
    assert_eq!((&shown["trigger"], &shown["produced"]), (&json!("manual"), &json!(6)));
    let verify = page.verify();
    assert_eq!((&verify["ok"], &verify["holes"]), (&json!(true), &json!(0)), "{verify}");
}

#[test]
fn a_schedule_is_paused_and_resumed() {
    let sandbox = Sandbox::new();
    let database = sandbox.prepare();
    let run = sandbox.userpipe("run --interval 1s --source synthetic --count 1 --listen 127.0.0.1:0").start();
    let page = Page::of(&run, &sandbox);
    database.wait_until(IN_THE_TABLE, 1);
    assert_eq!(page.post("/api/schedule/pause", &json!({})).json(), json!({ "is_paused": true }));
    let skipped =
        |it: &Value| it["runs"][0]["state"] == "skipped" && it["runs"][0]["error"] == "the schedule is paused";
    let runs = wait_for("a slot that is skipped", || Some(page.get("/api/runs")).filter(&skipped));
    assert_eq!((&runs["is_paused"], &runs["next_at"]), (&json!(true), &Value::Null));
    page.wait_overview("the header", |it| it["is_paused"] == true);
    assert_eq!(page.post("/api/schedule/resume", &json!({})).json(), json!({ "is_paused": false }));
    let done = wait_for("a run", || Some(page.get("/api/runs")).filter(|it| it["runs"][0]["state"] == "success"));
    assert_eq!(done["is_paused"], false);
}

#[test]
fn a_dead_letter_is_looked_at_and_replayed() {
    let sandbox = Sandbox::new();
    let database = sandbox.prepare();
    database.execute(
        "CREATE TRIGGER refuse BEFORE INSERT ON created_users BEGIN SELECT RAISE(ABORT, 'the column is too narrow'); END",
    );
    sandbox.userpipe("produce --source synthetic --count 5").ok();
    sandbox.userpipe("consume -e").ok();
    database.execute("DROP TRIGGER refuse");
    let consume = sandbox.userpipe("consume --listen 127.0.0.1:0").start();
    let page = Page::of(&consume, &sandbox);
    let letters = page.get("/api/dead-letters");
    assert_eq!(letters["total"], 5);
    assert_eq!(letters["reasons"], json!([{ "stage": "sink", "reason": "the column is too narrow", "count": 5 }]));
    let chosen = &letters["letters"][2];
    assert!(chosen["value"]["email"].as_str().unwrap().ends_with("•••"), "{chosen}");
    assert_eq!((&chosen["is_replayed"], &chosen["source"]["topic"]), (&json!(false), &json!("users_created")));
    let place = json!({ "partition": chosen["partition"], "offset": chosen["offset"] });
    let replay = |places: Value| page.post("/api/dead-letters/replay", &json!({ "letters": places })).json();
    assert_eq!(replay(json!([place])), json!({ "replayed": 1, "skipped": [] }));
    database.wait_until(IN_THE_TABLE, 1);
    let nowhere = json!({ "partition": 0, "offset": 4_000 });
    let again = replay(json!([place, nowhere, place]));
    let why =
        |why: &str, place: &Value| json!({ "partition": place["partition"], "offset": place["offset"], "why": why });
    assert_eq!(again["replayed"], 0);
    let mut skipped = again["skipped"].as_array().unwrap().clone();
    let mut expected = vec![why("replayed before", &place), why("it is not in the topic any more", &nowhere)];
    skipped.sort_by_key(ToString::to_string);
    expected.sort_by_key(ToString::to_string);
    assert_eq!(skipped, expected);
    let shown = page.get("/api/dead-letters")["letters"].as_array().unwrap().clone();
    assert_eq!(shown.iter().filter(|letter| letter["is_replayed"] == true).count(), 1);
    assert_eq!(page.post("/api/dead-letters/replay", &json!({ "letters": "all" })).status, 400);
    assert_eq!(page.scan("topic=dead-letters&from=beginning").0[0]["reason"], "the column is too narrow");
}

#[test]
fn without_a_ledger_there_is_nothing_to_schedule() {
    let sandbox = Sandbox::new();
    let run = sandbox.userpipe(&format!("{RUN} --ledger off")).start();
    let page = Page::of(&run, &sandbox);
    let overview = page.wait_overview("the lag", |it| it["lag"] == 0);
    assert_eq!(overview["may_schedule"], false);
    let refused = page.post("/api/runs/trigger", &json!({}));
    assert_eq!((refused.status, &refused.json()["hint"]), (409, &json!("leave --ledger out")));
    assert_eq!(page.get("/api/runs")["runs"], json!([]));
}
