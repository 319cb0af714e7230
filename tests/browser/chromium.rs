//! A headless Chromium of one test's own, with a fresh profile.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use axum::http::Method;
use fantoccini::wd::WebDriverCompatibleCommand;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use reqwest::Url;
use serde_json::{Map, Value, json};
use tokio::runtime::Runtime;

use crate::SOON;

/// How often a condition of the page is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// What `axe.run` finds, cut to what a person needs to mend it.
const RUN_AXE: &str = "const done = arguments[0]; axe.run().then((found) => done(found.violations.map((it) => ({ \
     impact: it.impact, rule: it.id, nodes: it.nodes.slice(0, 5).map((node) => node.target.join(' ') + ': ' + \
     (node.any[0] ?? node.all[0] ?? node.none[0])?.message) }))), (error) => done([{ impact: 'critical', rule: String(error) }]))";
const AXE: &str = include_str!("vendor/axe.min.js");

/// A browser with one page. It ends with its drop.
pub(crate) struct Chromium {
    runtime: Runtime,
    client: Client,
    driver: Child,
    /// Held until the browser has ended.
    _profile: tempfile::TempDir,
    name: &'static str,
}

/// A command of Chromium's driver, or of a draft, that fantoccini does not know: what is posted below the session.
#[derive(Debug)]
struct Posted {
    path: &'static str,
    body: Value,
}

impl WebDriverCompatibleCommand for Posted {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, <Url as std::str::FromStr>::Err> {
        base.join(&format!("session/{}/{}", session.unwrap_or_default(), self.path))
    }

    fn method_and_body(&self, _: &Url) -> (Method, Option<String>) {
        (Method::POST, Some(self.body.to_string()))
    }
}

/// A colour scheme and a width in CSS pixels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Screen {
    /// `light` or `dark`.
    pub(crate) theme: &'static str,
    pub(crate) width: u32,
    pub(crate) height: u32,
}

impl Chromium {
    /// Starts one; `name` is that of the test, for what it leaves.
    pub(crate) fn start(name: &'static str) -> Self {
        let profile = tempfile::tempdir().unwrap();
        let driver = std::env::var("CHROMEDRIVER").unwrap_or_else(|_| "chromedriver".to_owned());
        let mut driver = Command::new(driver)
            .args(["--port=0", "--log-level=SEVERE"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver: install Debian's chromium-driver");
        let port = port_of(&mut driver);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let mut builder = ClientBuilder::new(HttpConnector::new());
        builder.capabilities(capabilities(profile.path()));
        let client = runtime.block_on(builder.connect(&format!("http://127.0.0.1:{port}"))).unwrap();
        Self { runtime, client, driver, _profile: profile, name }
    }

    /// Opens a page.
    pub(crate) fn open(&self, url: &str) {
        self.runtime.block_on(self.client.goto(url)).unwrap();
    }

    /// The value of an expression within the page; promises are waited for.
    pub(crate) fn evaluate(&self, expression: &str) -> Value {
        let script =
            format!("const done = arguments[0]; Promise.resolve({expression}).then(done, (e) => done(`${{e}}`))");
        self.runtime.block_on(self.client.execute_async(&script, Vec::new())).unwrap()
    }

    /// Waits until an expression within the page is true; what it then was.
    ///
    /// # Panics
    /// If it is not so in time, with what the page says, after a screenshot.
    #[track_caller]
    pub(crate) fn until(&self, what: &str, expression: &str) -> Value {
        self.until_within(SOON, what, expression)
    }

    /// As [`Chromium::until`], within another time.
    #[track_caller]
    pub(crate) fn until_within(&self, limit: Duration, what: &str, expression: &str) -> Value {
        let began = Instant::now();
        let script = format!("return {expression}");
        loop {
            // While the page is being loaded or its elements are replaced, a script may fail.
            let found = self.runtime.block_on(self.client.execute(&script, Vec::new()));
            if let Ok(value) = &found
                && !matches!(value, Value::Null | Value::Bool(false))
                && value != &json!(0)
                && value != &json!("")
            {
                return value.clone();
            }
            if began.elapsed() > limit {
                let text = self.evaluate("document.body.innerText");
                self.screenshot("failed");
                panic!(
                    "not within {limit:?}: {what} ({found:?}); the page says:\n{}",
                    text.as_str().unwrap_or_default()
                );
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Waits until an element has this text in it.
    #[track_caller]
    pub(crate) fn until_says(&self, selector: &str, text: &str) {
        let (selector, text) = (json!(selector), json!(text));
        let expression =
            format!("[...document.querySelectorAll({selector})].some((it) => it.innerText.includes({text}))");
        self.until(&format!("{selector} says {text}"), &expression);
    }

    /// Clicks on what this CSS selector finds first, as a person does: it must be visible and not covered.
    #[track_caller]
    pub(crate) fn click(&self, selector: &str) {
        self.click_on(Locator::Css(selector));
    }

    /// Clicks on the first shown button with this label.
    #[track_caller]
    pub(crate) fn press(&self, label: &str) {
        self.click_on(Locator::XPath(&format!("//button[contains(., \"{label}\") and not(@hidden)]")));
    }

    #[track_caller]
    fn click_on(&self, locator: Locator<'_>) {
        let began = Instant::now();
        loop {
            let clicked = self.runtime.block_on(async { self.client.find(locator).await?.click().await });
            let Err(error) = clicked else { return };
            if began.elapsed() > SOON {
                self.screenshot("failed");
                panic!("cannot click on {locator:?}: {error}");
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Types into a field, in place of what is there.
    #[track_caller]
    pub(crate) fn fill(&self, selector: &str, text: &str) {
        let filling = async {
            let field = self.client.wait().at_most(SOON).for_element(Locator::Css(selector)).await?;
            field.clear().await?;
            field.send_keys(text).await
        };
        self.runtime.block_on(filling).unwrap_or_else(|error| panic!("cannot fill {selector}: {error}"));
    }

    /// Sets the theme that the system asks for, and the size of the window.
    pub(crate) fn emulate(&self, screen: Screen) {
        let Screen { theme, width, height } = screen;
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500 });
        self.devtools("Emulation.setDeviceMetricsOverride", &metrics);
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": theme }] });
        self.devtools("Emulation.setEmulatedMedia", &features);
    }

    /// Bytes of the page's JavaScript heap that are in use after a collection.
    pub(crate) fn heap_bytes(&self) -> f64 {
        self.devtools("HeapProfiler.collectGarbage", &json!({}));
        self.devtools("Runtime.getHeapUsage", &json!({}))["usedSize"].as_f64().unwrap()
    }

    /// Seconds that the page's main thread has worked so far: its own time, not that of the clock.
    pub(crate) fn busy_seconds(&self) -> f64 {
        self.devtools("Performance.enable", &json!({ "timeDomain": "threadTicks" }));
        let told = self.devtools("Performance.getMetrics", &json!({}));
        let tasks = told["metrics"].as_array().unwrap().iter().find(|it| it["name"] == "TaskDuration");
        tasks.and_then(|it| it["value"].as_f64()).unwrap()
    }

    /// What the console was told that is a warning or worse, since the last time.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let entries = self.post("se/log", json!({ "type": "browser" }));
        let is_bad = |entry: &&Value| entry["level"] != "INFO" && entry["level"] != "DEBUG";
        entries.as_array().unwrap().iter().filter(is_bad).map(|entry| entry["message"].to_string()).collect()
    }

    /// What axe-core finds that is serious or critical.
    pub(crate) fn barriers(&self) -> Vec<String> {
        let script = format!("{AXE};{RUN_AXE}");
        let found = self.runtime.block_on(self.client.execute_async(&script, Vec::new())).unwrap();
        let is_serious = |it: &&Value| it["impact"] == "serious" || it["impact"] == "critical";
        found.as_array().unwrap().iter().filter(is_serious).map(Value::to_string).collect()
    }

    /// Leaves a picture of what is seen.
    pub(crate) fn screenshot(&self, what: &str) {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/browser");
        std::fs::create_dir_all(&directory).unwrap();
        let picture = self.runtime.block_on(self.client.screenshot()).unwrap();
        std::fs::write(directory.join(format!("{}-{what}.png", self.name)), picture).unwrap();
    }

    fn devtools(&self, command: &str, parameters: &Value) -> Value {
        self.post("goog/cdp/execute", json!({ "cmd": command, "params": parameters }))
    }

    fn post(&self, path: &'static str, body: Value) -> Value {
        self.runtime.block_on(self.client.issue_cmd(Posted { path, body })).unwrap()
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        // A session that is closed ends its browser; the driver ends by hand. Both fail only where they have ended.
        let closing = self.client.clone().close();
        let _ = self.runtime.block_on(async { tokio::time::timeout(SOON, closing).await });
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

/// The port that the driver has chosen, from what it says.
fn port_of(driver: &mut Child) -> u16 {
    let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
    let said =
        lines.find_map(|line| line.unwrap().split_once("successfully on port ").map(|(_, port)| port.to_owned()));
    let port = said.expect("the driver says its port");
    // Read to its end, so that the driver never writes into a closed pipe.
    std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
    port.trim_end_matches('.').parse().unwrap()
}

fn capabilities(profile: &Path) -> Map<String, Value> {
    let found = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].map(PathBuf::from);
    let binary =
        std::env::var_os("CHROMIUM").map(PathBuf::from).or_else(|| found.into_iter().find(|path| path.exists()));
    let profile = format!("--user-data-dir={}", profile.display());
    let arguments = [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--window-size=1440,1000",
        // No network beyond the server under test.
        "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
        &profile,
    ];
    let Value::Object(capabilities) = json!({
        "browserName": "chrome",
        "goog:loggingPrefs": { "browser": "ALL" },
        "goog:chromeOptions": { "binary": binary.expect("Chromium: install Debian's chromium"), "args": arguments },
    }) else {
        unreachable!()
    };
    capabilities
}
