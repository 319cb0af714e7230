//! A thousand records a second for a minute: the page stays smooth, and its memory flat.

use std::time::{Duration, Instant};

use crate::chromium::Chromium;
use crate::world::World;

const RATE: &str = "1000";
const MINUTE: Duration = Duration::from_mins(1);
/// Before the first measurement: caches fill, code is compiled.
const WARM_UP: Duration = Duration::from_secs(10);
/// How much of a core the page may take: its main thread's own time, whatever else the machine does.
const CORE_PART_MAX: f64 = 0.25;
/// The longest that the page may be busy at once, by the clock of a machine that also runs the pipeline.
const TASK_MS_MAX: f64 = 500.0;
/// How much of the minute may go into tasks that can be felt (50 ms and more).
const FELT_PART_MAX: f64 = 0.10;
/// With more processes that want each core, the clock tells of them and not of the page.
const LOAD_PER_CORE_MAX: f64 = 2.0;
/// What the heap may grow by in the minute: less than a hundred records a second would leave behind.
const GROWTH_BYTES_MAX: f64 = 4_000_000.0;
/// Elements on the page, whatever went by.
const ELEMENTS_MAX: u64 = 6_000;

/// Counts what the page does from now on: tasks of 50 ms and more, and frames.
const OBSERVE: &str = "(() => { window.felt = []; window.frames_ = 0; \
     new PerformanceObserver((list) => window.felt.push(...list.getEntries().map((it) => it.duration))).observe({ type: 'longtask' }); \
     const frame = () => { window.frames_ += 1; requestAnimationFrame(frame); }; requestAnimationFrame(frame); return true; })()";

/// Processes that wanted a core in the last minute, for each core.
fn load_per_core() -> f64 {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap();
    let cores = u32::try_from(std::thread::available_parallelism().unwrap().get()).unwrap();
    load.split(' ').next().unwrap().parse::<f64>().unwrap() / f64::from(cores)
}

/// Watches a part for a minute.
fn stays_smooth(browser: &Chromium, what: &str) {
    std::thread::sleep(WARM_UP);
    browser.evaluate(OBSERVE);
    let before = browser.heap_bytes();
    let busy_before = browser.busy_seconds();
    let began = Instant::now();
    std::thread::sleep(MINUTE);
    let took_ms = began.elapsed().as_secs_f64() * 1_000.0;
    let busy = (browser.busy_seconds() - busy_before) * 1_000.0 / took_ms;
    let felt: Vec<f64> = serde_json::from_value(browser.evaluate("window.felt")).unwrap();
    let frames = browser.evaluate("window.frames_").as_f64().unwrap() / took_ms * 1_000.0;
    let after = browser.heap_bytes();
    let elements = browser.evaluate("document.querySelectorAll('*').length").as_u64().unwrap();
    let (longest, sum) = (felt.iter().copied().fold(0.0, f64::max), felt.iter().sum::<f64>());
    eprintln!(
        "{what}: {:.1} % of a core, {frames:.0} frames/s, {} tasks over 50 ms, {sum:.0} ms together, {longest:.0} ms the \
         longest; heap {before} -> {after} bytes; {elements} elements; {:.1} processes want a core",
        busy * 100.0,
        felt.len(),
        load_per_core()
    );
    assert!(busy <= CORE_PART_MAX, "{what} takes {busy} of a core");
    if load_per_core() <= LOAD_PER_CORE_MAX {
        assert!(longest <= TASK_MS_MAX && sum / took_ms <= FELT_PART_MAX, "{what}: {felt:?}");
    }
    assert!(after <= before + GROWTH_BYTES_MAX, "{what}: {before} -> {after} bytes");
    assert!(elements <= ELEMENTS_MAX, "{what}: {elements} elements");
}

#[test]
#[ignore = "needs Chromium and live services: make test-browser"]
fn a_thousand_records_a_second_for_a_minute_leave_the_page_smooth_and_flat() {
    // All of it in one process, so that the services do not take the cores that the page is measured on.
    let world =
        World::embedded(&["run", "--interval", "1s", "--source", "synthetic", "--count", RATE, "--results", RATE]);
    let overview = world.browse("load-overview", "overview");
    let rate = "Number(document.querySelector('.hop-sink .rate').textContent.replace(',', ''))";
    overview.until("the rows are written", &format!("{rate} > 500"));
    let tail = world.browse("load-messages", "messages");
    tail.until("the tail is full", "document.querySelectorAll('tr.clickable').length >= 100");
    std::thread::scope(|scope| {
        scope.spawn(|| stays_smooth(&overview, "overview"));
        scope.spawn(|| stays_smooth(&tail, "messages"));
    });
    let fetched = world.json("/api/flow")["hops"][0]["per_second"].as_f64().unwrap();
    assert!(fetched > 500.0, "the pipeline itself had {fetched} records a second");
    for browser in [overview, tail] {
        browser.screenshot("end");
        assert_eq!(browser.complaints(), Vec::<String>::new());
    }
}
