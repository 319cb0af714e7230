//! `--health-listen`: what probes and scrapers are told while the program works.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::mock::MockApi;
use crate::sandbox::{Running, Sandbox};

const IN_THE_TABLE: &str = "SELECT count(*) FROM created_users";
const WRITTEN: &str = "userpipe_rows_written_total";
const LAG: &str = "userpipe_consumer_lag_records";
/// What does not come true within this time never will.
pub(crate) const WAIT_MAX: Duration = Duration::from_mins(1);
const ASK_AGAIN: Duration = Duration::from_millis(20);

/// The endpoints of a process that runs.
struct Endpoints(String);

impl Endpoints {
    /// Reads the address from the log.
    fn of(process: &Running) -> Self {
        let said = process.wait_for_stderr("/readyz are at http://");
        Self(said.split("/readyz are at http://").nth(1).unwrap().lines().next().unwrap().to_owned())
    }

    /// The status and the body of an answer.
    fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.0).unwrap();
        stream.set_read_timeout(Some(WAIT_MAX)).unwrap();
        write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    fn metrics(&self) -> Metrics {
        let (status, text) = self.get("/metrics");
        assert_eq!(status, 200, "{text}");
        Metrics::parse(&text)
    }

    /// Waits until an answer is as it should be, and gives it.
    fn wait_ready(&self, status: u16, words: &str) -> String {
        wait_for(words, || Some(self.get("/readyz")).filter(|(code, body)| *code == status && body.contains(words))).1
    }
}

/// Waits until there is something to be found.
pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let give_up = Instant::now() + WAIT_MAX;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < give_up, "waited in vain for {what:?}");
        std::thread::sleep(ASK_AGAIN);
    }
}

/// A scrape: the type of each family, and each sample by its name and labels as they are written.
#[derive(Debug)]
struct Metrics {
    types: BTreeMap<String, String>,
    samples: BTreeMap<String, f64>,
}

impl Metrics {
    /// Takes nothing but the lines that `OpenMetrics` allows: metadata before the samples of its family, no sample
    /// twice, no line without meaning, `# EOF` at the end.
    fn parse(text: &str) -> Self {
        let mut metrics = Self { types: BTreeMap::new(), samples: BTreeMap::new() };
        let text = text.strip_suffix("# EOF\n").expect("a whole scrape");
        for line in text.lines() {
            if let Some(metadata) = line.strip_prefix("# ") {
                let words: Vec<&str> = metadata.splitn(3, ' ').collect();
                assert!(["HELP", "TYPE", "UNIT"].contains(&words[0]) && words.len() == 3, "{line}");
                if words[0] == "TYPE" {
                    let before = metrics.types.insert(words[1].to_owned(), words[2].to_owned());
                    assert_eq!(before, None, "a family twice: {line}");
                }
                continue;
            }
            let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no sample: {line:?}"));
            let name = series.split('{').next().unwrap();
            assert!(metrics.family(name).is_some(), "a sample before its type: {line}");
            assert!(series == name || series.ends_with("\"}"), "{line}");
            let before = metrics.samples.insert(series.to_owned(), value.parse().unwrap());
            assert_eq!(before, None, "a sample twice: {line}");
        }
        metrics.as_a_scraper_reads(text);
        metrics
    }

    /// Somebody else's parser finds the same: a series each, buckets folded into their histogram.
    fn as_a_scraper_reads(&self, text: &str) {
        let scrape = prometheus_parse::Scrape::parse(text.lines().map(|line| Ok(line.to_owned()))).unwrap();
        let is_of_histogram = |series: &str| series.split('{').next().unwrap().ends_with("_bucket");
        let theirs: f64 = scrape
            .samples
            .iter()
            .filter_map(|sample| match sample.value {
                prometheus_parse::Value::Counter(n)
                | prometheus_parse::Value::Gauge(n)
                | prometheus_parse::Value::Untyped(n) => Some(n),
                _ => None,
            })
            .sum();
        let ours: f64 =
            self.samples.iter().filter(|(series, _)| !is_of_histogram(series)).map(|(_, value)| value).sum();
        assert!((theirs - ours).abs() <= 1e-6 * ours.abs(), "{theirs} and {ours}");
    }

    /// The family that a sample belongs to by its suffix and the family's type.
    fn family(&self, sample: &str) -> Option<&str> {
        let suffixes = |kind: &str| match kind {
            "counter" => vec!["_total"],
            "gauge" => vec![""],
            "info" => vec!["_info"],
            "histogram" => vec!["_sum", "_count", "_bucket"],
            other => panic!("a type nobody uses: {other}"),
        };
        let is_its = |(family, kind): &(&String, &String)| {
            suffixes(kind).iter().any(|suffix| sample.strip_suffix(suffix) == Some(family.as_str()))
        };
        self.types.iter().find(is_its).map(|(family, _)| family.as_str())
    }

    /// A sample that counts whole things.
    fn count(&self, series: &str) -> i64 {
        let value = self.samples.get(series).unwrap_or_else(|| panic!("no {series} in {:?}", self.samples));
        assert!(value.fract() == 0.0, "{series} is {value}");
        #[expect(clippy::cast_possible_truncation, reason = "it is whole and small")]
        let count = *value as i64;
        count
    }

    /// The sum of a family's samples, over its labels.
    fn sum(&self, name: &str) -> i64 {
        let series = self.samples.keys().filter(|series| series.split('{').next() == Some(name));
        series.map(|series| self.count(series)).sum()
    }
}

#[test]
fn what_a_schedule_counts_is_what_landed_in_the_table() {
    let sandbox = Sandbox::new();
    let database = sandbox.prepare();
    let run = sandbox.userpipe("run --interval 1s --source synthetic --count 7 --health-listen 127.0.0.1:0").start();
    let endpoints = Endpoints::of(&run);
    database.wait_until(IN_THE_TABLE, 14);
    let settled = [
        "userpipe_users_fetched_total",
        "userpipe_records_produced_total",
        "userpipe_records_consumed_total",
        WRITTEN,
        "userpipe_end_to_end_latency_seconds_count",
        "userpipe_end_to_end_latency_seconds_bucket{le=\"+Inf\"}",
    ];
    // Between two runs, when the table stands still and everything has been counted.
    let (rows, metrics) = wait_for("as many of each as there are rows, and a page a run", || {
        let rows = database.number(IN_THE_TABLE);
        let metrics = endpoints.metrics();
        let is_settled = settled.iter().all(|name| metrics.count(name) == rows) && metrics.sum(LAG) == 0;
        let is_between = metrics.count("userpipe_fetch_duration_seconds_count") == rows / 7;
        (is_settled && is_between && database.number(IN_THE_TABLE) == rows).then_some((rows, metrics))
    });
    assert!(rows >= 14 && rows % 7 == 0, "{rows}");
    assert!(metrics.count("userpipe_write_duration_seconds_count") >= rows / 7);
    for name in ["users_rejected", "dead_letters", "retries", "runs_failed"] {
        assert_eq!(metrics.sum(&format!("userpipe_{name}_total")), 0, "{name}");
    }
    assert_eq!(metrics.count(concat!("userpipe_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"}")), 1);
    assert_eq!(endpoints.get("/healthz"), (200, "ok\n".to_owned()));
    assert_eq!(endpoints.get("/readyz"), (200, "ready\n".to_owned()));
    assert_eq!(endpoints.get("/").0, 404);
    run.signal(Signal::SIGTERM);
    let output = run.finish().expect_code(0);
    assert!(output.stderr.starts_with("synthetic → embedded "), "the path stays first: {}", output.stderr);
}

#[test]
fn while_the_sink_is_blocked_it_is_alive_but_not_ready() {
    let sandbox = Sandbox::new();
    let database = sandbox.prepare();
    let consume = sandbox.userpipe("consume --health-listen 127.0.0.1:0").start();
    let endpoints = Endpoints::of(&consume);
    endpoints.wait_ready(200, "ready");
    database.execute("DROP TABLE created_users");
    sandbox.userpipe("produce --source synthetic --count 20").ok();
    let reason = endpoints.wait_ready(503, "created_users");
    assert!(reason.starts_with("cannot write at ") && reason.lines().count() == 1, "{reason:?}");
    assert_eq!(endpoints.get("/healthz"), (200, "ok\n".to_owned()));
    // The lag is surveyed every so often, by partition.
    let metrics = wait_for("all of the lag", || Some(endpoints.metrics()).filter(|metrics| metrics.sum(LAG) == 20));
    let of_partitions = metrics.samples.keys().filter(|series| series.starts_with(LAG)).count();
    assert_eq!(of_partitions, 3, "{metrics:?}");
    assert!(metrics.samples.contains_key("userpipe_consumer_lag_records{topic=\"users_created\",partition=\"2\"}"));
    assert!(metrics.count("userpipe_retries_total{stage=\"sink\"}") > 0);
    assert_eq!(metrics.count(WRITTEN), 0);
    sandbox.userpipe("init-schema").ok();
    endpoints.wait_ready(200, "ready");
    wait_for("no lag", || (endpoints.metrics().sum(LAG) == 0).then_some(()));
    assert_eq!(endpoints.metrics().count(WRITTEN), 20);
    assert_eq!(database.number(IN_THE_TABLE), 20);
    consume.signal(Signal::SIGTERM);
    consume.finish().expect_code(0);
}

#[test]
fn what_an_ingest_process_rejects_and_repeats_is_counted() {
    let sandbox = Sandbox::new();
    let mock = MockApi::start(&sandbox, &["503:1", "bad-user:1"]);
    let arguments = "produce --interval 1s --count 5 --listen 127.0.0.1:0 --api-url";
    let produce = sandbox.userpipe(&format!("{arguments} {}", mock.url)).start();
    let endpoints = Endpoints::of(&produce);
    let metrics = wait_for("a rejected user", || {
        Some(endpoints.metrics()).filter(|metrics| metrics.count("userpipe_records_produced_total") >= 4)
    });
    assert_eq!(metrics.count("userpipe_users_rejected_total"), 1);
    assert_eq!(metrics.count("userpipe_retries_total{stage=\"source\"}"), 1);
    produce.signal(Signal::SIGTERM);
    produce.finish().expect_code(0);
}

#[test]
fn listen_is_for_this_machine_unless_it_is_protected() {
    let sandbox = Sandbox::new();
    let output = sandbox.userpipe("run --once --source synthetic --listen 0.0.0.0:8080").fails(78);
    assert!(output.error().starts_with("other machines are not served without TLS"), "{}", output.stderr);
    assert!(output.hint().contains("--health-listen"), "{}", output.stderr);
}

#[test]
fn an_address_that_is_taken_ends_the_command_before_its_work() {
    let sandbox = Sandbox::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let run = format!("run --once --source synthetic --health-listen {address}");
    let output = sandbox.userpipe(&run).fails(74);
    let error = output.error();
    assert!(error.starts_with(&format!("cannot listen at {address}: ")), "{error}");
    assert_eq!(output.hint(), "port 0 takes a free one");
    assert!(!sandbox.path("userpipe-data").exists(), "nothing was begun");
}

/// The README's list of metrics is the program's.
#[test]
fn every_metric_has_its_row_in_the_readme() {
    let sandbox = Sandbox::new();
    let consume = sandbox.userpipe("consume --health-listen 127.0.0.1:0").start();
    let endpoints = Endpoints::of(&consume);
    // The lag's partitions are known after the first survey.
    let metrics = wait_for(LAG, || Some(endpoints.metrics()).filter(|metrics| metrics.types.contains_key(LAG)));
    let suffix = |kind: &str| match kind {
        "counter" => "_total",
        "info" => "_info",
        _ => "",
    };
    let mut told: Vec<String> = metrics.types.iter().map(|(name, kind)| format!("{name}{}", suffix(kind))).collect();
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let rows = readme.lines().filter_map(|line| line.strip_prefix("| `userpipe_")?.split(['`', '{']).next());
    let mut named: Vec<String> = rows.map(|name| format!("userpipe_{name}")).collect();
    named.sort();
    told.sort();
    assert_eq!(named, told);
}
