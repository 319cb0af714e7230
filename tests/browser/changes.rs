//! What a click changes: runs, the schedule, dead letters; and that it needs the right token.

use std::time::Duration;

use serde_json::Value;
use uuid::Uuid;

use crate::SOON;
use crate::chromium::Chromium;
use crate::program::until;
use crate::world::{TOKEN, World};

/// A schedule that does not come in the way of a test.
const RARELY: [&str; 7] = ["run", "--interval", "1h", "--source", "synthetic", "--count", "30"];

/// Gives the token to the dialog that asks for it.
fn give_token(browser: &Chromium, token: &str) {
    browser.fill("dialog #token", token);
    browser.click("dialog button[type=submit]");
}

fn runs(world: &World) -> Vec<Value> {
    world.json("/api/runs?limit=100")["runs"].as_array().unwrap().clone()
}

#[test]
#[ignore = "needs Chromium and live services: make test-browser"]
fn a_click_makes_a_run_that_lands_its_rows() {
    let world = World::live_running("trigger", &RARELY);
    let browser = world.browse("trigger", "runs");
    browser
        .until("the run of the first slot has ended", "document.querySelectorAll('.square-of-run.is-ok').length === 1");
    browser.press("Run now");
    give_token(&browser, "this is not the right token");
    browser.until_says("dialog .said", "This token was refused. Nothing was changed.");
    assert_eq!(runs(&world).len(), 1, "a wrong token changes nothing");
    browser.screenshot("refused");
    give_token(&browser, TOKEN);
    browser.until_says("#notes", "was asked for");
    browser.until("the run has ended", "document.querySelectorAll('.square-of-run.is-ok').length === 2");
    let run = runs(&world).remove(0);
    assert_eq!(
        (&run["state"], &run["trigger"], &run["produced"]),
        (&"success".into(), &"manual".into(), &30.into()),
        "{run}"
    );

    // The token is remembered: the users of this run are in the sink, and shown unmasked to who has it.
    browser.open(&world.url("users"));
    browser.press("Reveal personal fields");
    browser.until("an address is shown", "/@/.test(document.querySelector('tbody td:nth-child(3)')?.textContent)");
    browser.until("all are in the sink", "document.querySelectorAll('tbody .state.is-ok').length === 25");
    assert_eq!(browser.evaluate("localStorage.getItem('userpipe-token')"), Value::Null, "it is kept for the tab alone");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
#[ignore = "needs Chromium and live services: make test-browser"]
fn pause_stops_the_schedule_and_resume_goes_on() {
    let world = World::embedded(&["run", "--interval", "1s", "--source", "synthetic", "--count", "5"]);
    let browser = world.browse("pause", "runs");
    browser.until("runs come", "document.querySelectorAll('.square-of-run.is-ok').length >= 2");
    browser.press("Pause");
    give_token(&browser, TOKEN);
    browser.until_says("#notes", "The schedule is paused");
    browser.until_says(".schedule", "paused");
    let succeeded = || runs(&world).iter().filter(|run| run["state"] == "success").count();
    until("the run that was going ends", SOON, || runs(&world).iter().all(|run| run["state"] != "running"));
    let before = succeeded();
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(succeeded(), before, "no slot of four seconds was run");
    browser.press("Resume");
    browser.until_says("#notes", "The schedule goes on.");
    until("runs come again", SOON, || succeeded() > before);
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
#[ignore = "needs Chromium and live services: make test-browser"]
fn a_chosen_dead_letter_is_replayed_by_a_click() {
    let world = World::live_running("replay", &RARELY);
    let browser = world.browse("replay", "dead-letters");
    let ids = [Uuid::now_v7(), Uuid::now_v7()];
    world.send_poison(&ids);
    browser.until("both letters are there", "document.querySelectorAll('tbody tr').length === 2");
    browser.click("tbody tr input[type=checkbox]");
    browser.press("Replay 1 chosen");
    give_token(&browser, TOKEN);
    browser.until_says("#notes", "1 letter was sent to the topic again.");
    // It is no user still: it was read again, and is a letter again.
    browser.until("the letter is marked", "document.querySelectorAll('tbody .state.is-ok').length === 1");
    browser.until("and comes back", "document.querySelectorAll('tbody tr').length === 3");
    let letters = world.json("/api/dead-letters?limit=10")["letters"].as_array().unwrap().clone();
    let replayed: Vec<_> = letters.iter().filter(|letter| letter["is_replayed"] == true).collect();
    assert_eq!(replayed.len(), 1, "{letters:?}");
    browser.screenshot("done");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}
