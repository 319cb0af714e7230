//! The dashboard on Kafka, Cassandra and a ledger in PostgreSQL, beside what their own tools say.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::program::Running;
use super::{Pipeline, SOON, program};
use crate::services::postgres;

/// A dashboard that runs, and the token of its data directory.
struct Page {
    address: String,
    token: String,
}

impl Page {
    fn of(process: &mut Running, pipeline: &Pipeline) -> Self {
        process.until_says("the token for changes on it is in ");
        let said = process.stderr();
        let address = said.split("/readyz are at http://").nth(1).unwrap().lines().next().unwrap().to_owned();
        let token = std::fs::read_to_string(pipeline.data_dir().join("dashboard-token")).unwrap().trim().to_owned();
        Self { address, token }
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let (mut stream, mut text) = (TcpStream::connect(&self.address).unwrap(), String::new());
        stream.set_read_timeout(Some(SOON)).unwrap();
        let Self { address, token } = self;
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.0\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    fn get(&self, path: &str) -> Value {
        let (status, body) = self.ask("GET", path, "");
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    fn light(&self, name: &str) -> Value {
        let overview = self.get("/api/overview");
        let lights = overview["lights"].as_array().unwrap();
        lights.iter().find(|light| light["name"] == name).unwrap()["state"].clone()
    }

    /// The data of every event of this name in a stream that ends.
    fn events(&self, path: &str, name: &str) -> Vec<Value> {
        let (status, body) = self.ask("GET", path, "");
        assert_eq!(status, 200, "{path}: {body}");
        let of_name = body.split("\n\n").filter_map(|event| event.strip_prefix(&format!("event: {name}\ndata: ")));
        of_name.map(|data| serde_json::from_str(data).unwrap()).collect()
    }
}

#[test]
#[ignore = "needs live services: make test"]
fn the_page_tells_what_two_consumers_do() {
    let server = postgres();
    let pipeline = Pipeline::new("dashboard").with_flag("--postgres", &server.url).with_flag("--sink", "cassandra");
    let pipeline = pipeline.with_variable("PGPASSWORD", &server.password).initialized();
    let mut run = pipeline.start(&[
        "run",
        "--no-deliver",
        "--interval",
        "1s",
        "--source",
        "synthetic",
        "--count",
        "40",
        "--listen",
        "127.0.0.1:0",
    ]);
    let page = Page::of(&mut run, &pipeline);
    let consumers = [pipeline.start(&["consume", "-v"]), pipeline.start(&["consume", "-v"])];
    let rows = pipeline.rows();
    program::until("rows", SOON, || rows.count() >= 80);

    program::until("both members own partitions", SOON, || {
        let partitions = page.get("/api/partitions");
        let members = partitions["members"].as_array().unwrap();
        partitions["state"] == "stable" && members.len() == 2 && members.iter().all(|it| it["partitions"] != json!([]))
    });
    let partitions = page.get("/api/partitions");
    assert!(
        partitions["members"]
            .as_array()
            .unwrap()
            .iter()
            .all(|it| { it["client_id"].as_str().unwrap().starts_with("userpipe/") && it["host"].is_string() }),
        "{partitions}"
    );
    assert_eq!(partitions["partitions"].as_array().unwrap().len(), 3);
    for light in ["source", "ledger", "bus", "sink"] {
        program::until(light, SOON, || page.light(light) == "ok");
    }
    let flow = page.get("/api/flow");
    assert_eq!(flow["hops"][3]["what"], "records committed by the group");
    assert!(flow["hops"][2]["total"].as_u64() >= Some(80), "{flow}");

    users_are_found(&page);

    let (status, asked) = page.ask("POST", "/api/runs/trigger", "");
    assert_eq!(status, 202, "{asked}");
    let asked: Value = serde_json::from_str(&asked).unwrap();
    let path = format!("/api/runs/{}", asked["run_id"].as_str().unwrap());
    program::until("the run that was asked for", SOON, || page.get(&path)["state"] == "success");
    assert_eq!(page.ask("POST", "/api/schedule/pause", "").0, 200);
    program::until("no lag", SOON, || page.get("/api/overview")["lag"] == 0);
    assert_eq!(page.ask("POST", "/api/verify", "").0, 202);
    program::until("a verification", SOON, || page.get("/api/overview")["verify"]["ok"] == true);
    assert_eq!(pipeline.ids().len(), rows.count());

    run.signal(Signal::SIGTERM);
    let finished = run.wait(SOON);
    assert!(finished.took < SOON / 2, "{:?}", finished.took);
    finished.expect_code(0);
    for consumer in consumers {
        consumer.signal(Signal::SIGTERM);
        consumer.wait(SOON).expect_code(0);
    }
}

/// The newest users are in Cassandra, and each is found by its id and by time.
fn users_are_found(page: &Page) {
    let users = page.get("/api/users?limit=10");
    assert_eq!(users["users"].as_array().unwrap().len(), 10, "{users}");
    program::until("the newest users in Cassandra", SOON, || {
        let users = page.get("/api/users?limit=10");
        users["users"].as_array().unwrap().iter().any(|it| it["in_sink"] == true && it["lag_ms"] == 0)
    });
    let id = users["users"][0]["id"].as_str().unwrap();
    assert_eq!(page.events(&format!("/api/messages/scan?from=beginning&key={id}"), "message").len(), 1);
    assert_eq!(page.get(&format!("/api/users/{id}"))["ledger"], true);
    assert_eq!(page.get(&format!("/api/trace/{id}"))["id"], json!(id));
    let since = page.get("/api/overview")["started_at"].as_str().unwrap().to_owned();
    assert!(page.events(&format!("/api/messages/scan?from=@{since}&limit=5"), "done")[0]["matched"] == 5);
}

#[test]
#[ignore = "needs live services: make test"]
fn a_dead_letter_is_replayed_and_a_store_that_is_away_blocks_nothing() {
    let pipeline = Pipeline::new("letters").initialized();
    super::readback::send_lines(
        &pipeline.kafka,
        &pipeline.topic,
        false,
        &["{\"id\": 1}".to_owned(), "broken".to_owned()],
    );
    let mut consume = pipeline.start(&["consume", "--listen", "127.0.0.1:0"]);
    let page = Page::of(&mut consume, &pipeline);
    program::until("two dead letters", SOON, || page.get("/api/dead-letters")["total"] == 2);
    let letter = page.get("/api/dead-letters")["letters"][0].clone();
    let chosen = json!({ "letters": [{ "partition": letter["partition"], "offset": letter["offset"] }] });
    let (status, replayed) = page.ask("POST", "/api/dead-letters/replay", &chosen.to_string());
    assert_eq!((status, replayed.as_str()), (200, r#"{"replayed":1,"skipped":[]}"#));
    // It is as broken as before, and comes back as another letter.
    program::until("three dead letters", SOON, || page.get("/api/dead-letters")["total"] == 3);

    let away = Pipeline::new("away").with_kafka("127.0.0.1:1".to_owned()).with_cassandra("127.0.0.1:1".to_owned());
    let mut dashboard = away.start(&["dashboard", "--listen", "127.0.0.1:0"]);
    let lost = Page::of(&mut dashboard, &away);
    let began = std::time::Instant::now();
    for path in ["/api/overview", "/api/flow", "/api/history", "/api/config"] {
        lost.get(path);
    }
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    program::until("a light for the bus", SOON, || lost.light("bus") == "retrying");
    let (status, body) = lost.ask("GET", "/api/users", "");
    assert!([503, 504].contains(&status), "{status} {body}");
    dashboard.signal(Signal::SIGTERM);
    dashboard.wait(SOON).expect_code(0);
    consume.signal(Signal::SIGTERM);
    consume.wait(SOON).expect_code(0);
}
