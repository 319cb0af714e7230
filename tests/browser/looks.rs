//! How the page looks: nothing serious for axe-core in either theme, nothing wider than a phone.

use serde_json::json;
use uuid::Uuid;

use crate::chromium::{Chromium, Screen};
use crate::world::World;

const PARTS: [&str; 7] = ["overview", "runs", "messages", "partitions", "dead-letters", "users", "configuration"];
const SCREENS: [Screen; 3] = [
    Screen { theme: "light", width: 1440, height: 1000 },
    Screen { theme: "dark", width: 1440, height: 1000 },
    Screen { theme: "light", width: 360, height: 780 },
];

fn looks_well(browser: &Chromium, what: &str) {
    assert_eq!(browser.barriers(), Vec::<String>::new(), "{what}");
    let widths =
        browser.evaluate("[document.documentElement.scrollWidth > innerWidth, document.documentElement.scrollWidth]");
    assert_eq!(widths[0], json!(false), "{what} is {widths} wide");
}

#[test]
#[ignore = "needs Chromium and live services: make test-browser"]
fn every_part_is_accessible_in_both_themes_and_fits_a_phone() {
    let world = World::live("looks");
    let browser = world.browse("looks", "overview");
    browser.until("some runs are there", "document.querySelectorAll('.square-of-run.is-ok').length >= 3");
    world.send_poison(&[Uuid::now_v7(), Uuid::now_v7()]);
    for screen in SCREENS {
        browser.emulate(screen);
        for part in PARTS {
            browser.open(&world.url(part));
            let shown = "document.querySelector('main table tbody tr, main .chart canvas') !== null";
            browser.until(&format!("{part} shows something"), shown);
            let what = format!("{part}-{}-{}", screen.theme, screen.width);
            looks_well(&browser, &what);
            browser.screenshot(&what);
        }
        let what = format!("dialogs-{}-{}", screen.theme, screen.width);
        browser.open(&world.url("messages"));
        browser.press("Search");
        browser.click("form.search button[type=submit]");
        browser.until("records are found", "document.querySelectorAll('tr.clickable').length > 5");
        looks_well(&browser, &what);
        browser.click("tr.clickable button");
        browser.until_says(".drawer .trace", "Ledger");
        looks_well(&browser, &what);
        browser.click(".drawer button[aria-label=Close]");
        browser.press("Reveal personal fields");
        browser.until_says("dialog", "Token needed");
        looks_well(&browser, &what);
        browser.click("dialog button[type=button]");
    }
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

/// Every part can be reached and used without a mouse.
#[test]
#[ignore = "needs Chromium and live services: make test-browser"]
fn a_keyboard_is_enough() {
    let world = World::embedded(&["run", "--interval", "1s", "--source", "synthetic", "--count", "5"]);
    let browser = world.browse("keyboard", "overview");
    browser.until("some runs are there", "document.querySelectorAll('.square-of-run.is-ok').length >= 3");
    let reachable = "[...document.querySelectorAll('main button, main a, main input, main [role=region]')]\
                     .filter((it) => it.offsetParent && it.tabIndex < 0 && !it.matches('.square-of-run')).length";
    assert_eq!(browser.evaluate(reachable), json!(0));
    assert_eq!(browser.evaluate("document.querySelectorAll('.square-of-run[tabindex=\"0\"]').length"), json!(1));
    let moves = "(() => { const last = document.querySelector('.square-of-run[tabindex=\"0\"]'); last.focus(); \
                 last.dispatchEvent(new KeyboardEvent('keydown', { key: 'ArrowLeft', bubbles: true })); \
                 return document.activeElement.nextElementSibling === last && document.activeElement.tabIndex === 0; })()";
    assert_eq!(browser.evaluate(moves), json!(true), "an arrow moves to the run before");
    browser.evaluate("document.activeElement.click()");
    browser.until_says(".run-panel", "success");
    browser.evaluate("document.querySelector('.tabs a[href=\"#/users\"]').click()");
    browser.until("the focus goes with the part", "document.activeElement.id === 'view'");
}
