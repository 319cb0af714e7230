//! Each of the eight parts shows what is so, on a real Kafka and Cassandra and on the embedded default.

use serde_json::Value;
use uuid::Uuid;

use crate::chromium::Chromium;
use crate::world::World;

/// The lights of the header by name, as they are seen: `name state`.
const LIGHTS: &str = "[...document.querySelectorAll('.light')].map((it) => it.querySelector('.name').textContent + ' ' + \
                      it.querySelector('.word').textContent)";

fn header(browser: &Chromium, bus: &str) {
    browser.until("every light is on", &format!("{LIGHTS}.length === 6"));
    for light in ["source ok", "ledger ok", &format!("{bus} ok"), "sink ok"] {
        browser.until(light, &format!("{LIGHTS}.includes('{light}')"));
    }
    let figure = |name: &str| {
        format!(
            "[...document.querySelectorAll('.figure')].find((it) => it.firstChild.textContent === '{name}').querySelector('dd').textContent"
        )
    };
    for name in ["p50", "p99"] {
        browser.until(&format!("{name} is a time"), &format!("/^[0-9].* (ms|s)$/.test({})", figure(name)));
    }
    browser.until("the lag is a number", &format!("/^[0-9,]+$/.test({})", figure("lag")));
}

fn flow(browser: &Chromium) {
    for hop in ["source", "ledger", "topic", "sink"] {
        let total = format!("document.querySelector('.hop-{hop} .facts dd').textContent");
        browser.until(&format!("{hop} has a total"), &format!("/[1-9]/.test({total})"));
        let rate = format!("document.querySelector('.hop-{hop} .rate').textContent");
        browser.until(&format!("{hop} has a rate"), &format!("/[1-9]/.test({rate})"));
    }
    browser.until("four charts are drawn", "document.querySelectorAll('.chart canvas').length === 4");
    browser.until("the runs are squares", "document.querySelectorAll('.square-of-run.is-ok').length >= 2");
}

fn runs(browser: &Chromium, world: &World) {
    browser.open(&world.url("runs"));
    browser.until("runs are listed", "document.querySelectorAll('.beside tbody tr').length >= 3");
    browser.click(".square-of-run.is-ok");
    browser.until_says(".run-panel", "success");
    browser.until_says(".run-panel", "fetched");
    browser.until_says(".run-panel", "Log");
    let id = browser.evaluate("location.hash.split('/')[2]");
    let run = world.json(&format!("/api/runs/{}", id.as_str().unwrap()));
    assert_eq!(run["state"], "success");
    let row = "document.querySelector('.square-of-run:last-child').getAttribute('aria-label')";
    browser.until("a new run comes by itself", &format!("{row} !== {}", browser.evaluate(row)));
}

fn messages(browser: &Chromium, world: &World) -> String {
    browser.open(&world.url("messages"));
    browser.until("the tail is live", "document.querySelectorAll('tr.clickable').length >= 3");
    browser.press("Hold");
    browser.click("tr.clickable button");
    browser.until_says(".drawer .trace", "Ledger");
    browser.until_says(".drawer .verdict", "delivered");
    let email = browser.evaluate(
        "[...document.querySelectorAll('.drawer .fields div')].find((it) => it.firstChild.textContent === 'email').lastChild.textContent",
    );
    assert!(email.as_str().unwrap().contains("•••"), "personal fields are masked: {email}");
    let id = browser.evaluate("document.querySelector('.drawer .fields dd').textContent").as_str().unwrap().to_owned();
    browser.screenshot("trace");
    browser.click(".drawer button[aria-label=Close]");

    browser.press("Search");
    browser.fill("#key", &id);
    browser.click("form.search button[type=submit]");
    browser.until_says(".progress .said", "Searched");
    browser.until("the record is found by its key", "document.querySelectorAll('tr.clickable').length === 1");
    id
}

fn partitions(browser: &Chromium, world: &World, partitions: usize, members: usize) {
    browser.open(&world.url("partitions"));
    let rows =
        |number: usize| format!("document.querySelectorAll('main section:nth-of-type({number}) tbody tr').length");
    browser.until("every partition is there", &format!("{} === {partitions}", rows(1)));
    browser.until("every member is there", &format!("{} === {members}", rows(2)));
    browser.until("every partition has its owner", "!document.querySelector('main').innerText.includes('nobody')");
    browser
        .until("something is committed", "/[1-9]/.test(document.querySelector('tbody td:nth-child(3)').textContent)");
}

fn users(browser: &Chromium, world: &World, id: &str) {
    browser.open(&world.url("users"));
    browser.until("users are listed", "document.querySelectorAll('tbody tr').length >= 20");
    browser.until("they are in the sink", "document.querySelectorAll('tbody .state.is-ok').length >= 10");
    browser.fill("#user-id", id);
    browser.press("Find");
    browser.until_says(".drawer", id);
    browser.until_says(".drawer .facts", "yes");
    browser.click(".drawer button[aria-label=Close]");
}

fn configuration(browser: &Chromium, world: &World, set: &str, type_of_id: &str) {
    browser.open(&world.url("configuration"));
    browser.until("settings are listed", "document.querySelectorAll('tbody tr').length > 20");
    browser.fill("#filter", set);
    browser.until("the filter finds it", "[...document.querySelectorAll('main section:first-of-type tbody tr')].some((it) => !it.hidden && it.querySelector('.chip.set'))");
    browser.until_says("pre", type_of_id);
}

/// Nothing was said on the console, and nothing was asked of another origin.
fn was_clean(browser: &Chromium, world: &World) {
    let origin = format!("http://{}/", world.address);
    let foreign = format!(
        "performance.getEntriesByType('resource').map((it) => it.name).filter((it) => !it.startsWith('{origin}') && !it.startsWith('data:'))"
    );
    assert_eq!(browser.evaluate(&foreign), Value::Array(Vec::new()));
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
#[ignore = "needs Chromium and live services: make test-browser"]
fn every_part_is_live_on_kafka_and_cassandra() {
    let world = World::live("parts");
    let browser = world.browse("parts", "overview");
    header(&browser, "bus");
    flow(&browser);
    browser.screenshot("overview");
    runs(&browser, &world);
    browser.screenshot("runs");
    let id = messages(&browser, &world);
    browser.screenshot("messages");
    // The process with the dashboard delivers too.
    partitions(&browser, &world, 6, 3);
    browser.screenshot("partitions");
    world.send_poison(&[Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7()]);
    browser.open(&world.url("dead-letters"));
    browser.until("the letters come by themselves", "document.querySelectorAll('tbody tr').length === 3");
    browser.until_says(".reasons", "missing");
    browser.screenshot("dead-letters");
    users(&browser, &world, &id);
    browser.screenshot("users");
    configuration(&browser, &world, "brokers", "uuid");
    browser.screenshot("configuration");
    was_clean(&browser, &world);
}

#[test]
#[ignore = "needs Chromium and live services: make test-browser"]
fn every_part_is_live_on_the_embedded_default() {
    let world = World::embedded(&["run", "--interval", "1s", "--source", "synthetic", "--count", "40"]);
    let browser = world.browse("embedded", "overview");
    header(&browser, "bus");
    flow(&browser);
    runs(&browser, &world);
    let id = messages(&browser, &world);
    let count = world.json("/api/partitions")["partitions"].as_array().unwrap().len();
    partitions(&browser, &world, count, 1);
    browser.open(&world.url("dead-letters"));
    browser.until_says(".notice", "No dead letters.");
    users(&browser, &world, &id);
    configuration(&browser, &world, "interval", "created_users");
    was_clean(&browser, &world);
}
