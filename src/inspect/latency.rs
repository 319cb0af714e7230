//! End-to-end latency as running processes count it: the histogram of their `/metrics`, added up.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::{Client, Url};

use crate::error::{Error, Kind, Result};

/// The limit for one scrape.
const SCRAPE_MAX: Duration = Duration::from_secs(5);

/// A scrape that is larger is none of ours.
const SCRAPE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The samples of the histogram.
const BUCKET: &str = "userpipe_end_to_end_latency_seconds_bucket";

/// A histogram of seconds: the upper bound of each bucket (its bits, since floats have no order) with the measurements up to it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram(BTreeMap<u64, f64>);

impl Histogram {
    /// Of bucket bounds in seconds, each with the measurements up to it ([`Durations::buckets`]).
    ///
    /// [`Durations::buckets`]: crate::metrics::Durations::buckets
    #[must_use]
    pub fn of(buckets: &[(f64, u64)]) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "a count of measurements")]
        let bucket = |(bound, count): &(f64, u64)| (bound.to_bits(), *count as f64);
        Self(buckets.iter().map(bucket).collect())
    }

    /// Adds the histogram of one scrape; false where the scrape has none.
    fn add(&mut self, scrape: &str) -> bool {
        let samples = scrape.lines().filter_map(bucket);
        let before = self.0.len();
        let mut found = false;
        for (bound, count) in samples {
            *self.0.entry(bound.to_bits()).or_default() += count;
            found = true;
        }
        found || self.0.len() > before
    }

    /// The value in seconds that the part `q` of the measurements does not exceed, interpolated linearly within its bucket as
    /// Prometheus does; `None` where nothing was measured. Infinite where it is past the last bound.
    #[must_use]
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let whole = *self.0.values().next_back()?;
        if whole <= 0.0 {
            return None;
        }
        let rank = q * whole;
        let (mut low, mut before) = (0.0, 0.0);
        for (bound, count) in self.0.iter().map(|(bits, count)| (f64::from_bits(*bits), *count)) {
            if count >= rank && count > before {
                return Some(low + (bound - low) * ((rank - before) / (count - before)).clamp(0.0, 1.0));
            }
            (low, before) = (bound, count);
        }
        Some(f64::INFINITY)
    }
}

/// The upper bound and the count of a sample of the histogram.
fn bucket(line: &str) -> Option<(f64, f64)> {
    let (labels, rest) = line.strip_prefix(BUCKET)?.strip_prefix('{')?.split_once('}')?;
    let (_, bound) = labels.split_once("le=\"")?;
    let bound: f64 = bound.split('"').next()?.parse().ok()?;
    let count: f64 = rest.split_whitespace().next()?.parse().ok()?;
    // Negative bounds would not sort by their bits; a latency has none.
    (bound >= 0.0 && count >= 0.0).then_some((bound, count))
}

/// Scrapes each of these addresses and adds up what they have.
///
/// # Errors
/// [`Kind::Usage`] for what is no URL, [`Kind::Unreachable`] where one does not answer with metrics of ours.
pub async fn scrape(urls: &[String]) -> Result<Histogram> {
    let mut sum = Histogram::default();
    for text in urls {
        let url = address(text)?;
        let failed = || Error::new(Kind::Unreachable, "cannot read the metrics").at(url.as_str());
        let client = Client::builder().no_proxy().timeout(SCRAPE_MAX).build().map_err(|e| failed().because(e))?;
        let scraping = async {
            let mut answer = client.get(url.clone()).send().await?.error_for_status()?;
            let mut body = Vec::new();
            while let Some(chunk) = answer.chunk().await? {
                if body.len() + chunk.len() > SCRAPE_BYTES_MAX {
                    break;
                }
                body.extend_from_slice(&chunk);
            }
            Ok::<_, reqwest::Error>(body)
        };
        let hint = "name the --health-listen address of a process that delivers, http://HOST:PORT/metrics";
        let body = scraping.await.map_err(|e| failed().because(e.without_url()).hint(hint))?;
        if !sum.add(&String::from_utf8_lossy(&body)) {
            return Err(failed().because("there is no end-to-end latency among them").hint(hint));
        }
    }
    Ok(sum)
}

/// `http://HOST:PORT` is enough: the path is known.
fn address(text: &str) -> Result<Url> {
    let wrong =
        || Error::new(Kind::Usage, format!("bad value of --metrics: `{text}`")).hint("write http://HOST:PORT/metrics");
    let mut url = Url::parse(text).map_err(|e| wrong().because(e))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong());
    }
    if url.path() == "/" {
        url.set_path("/metrics");
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 100 measurements: 50 up to 0.1 s, 98 up to 1 s, and the rest up to 10 s.
    const SCRAPE: &str = "\
# TYPE userpipe_end_to_end_latency_seconds histogram
userpipe_end_to_end_latency_seconds_sum 41.5
userpipe_end_to_end_latency_seconds_count 100
userpipe_end_to_end_latency_seconds_bucket{le=\"0.1\"} 50
userpipe_end_to_end_latency_seconds_bucket{le=\"1.0\",instance=\"a\"} 98
userpipe_end_to_end_latency_seconds_bucket{le=\"10.0\"} 100
userpipe_end_to_end_latency_seconds_bucket{le=\"+Inf\"} 100
";

    fn of(scrapes: &[&str]) -> Histogram {
        let mut sum = Histogram::default();
        assert!(scrapes.iter().all(|scrape| sum.add(scrape)));
        sum
    }

    fn about(quantile: Option<f64>, seconds: f64) {
        let found = quantile.expect("something was measured");
        assert!((found - seconds).abs() < 1e-9, "{found} is not {seconds}");
    }

    #[test]
    fn a_quantile_is_interpolated_within_its_bucket() {
        let histogram = of(&[SCRAPE]);
        about(histogram.quantile(0.5), 0.1);
        about(histogram.quantile(0.25), 0.05);
        about(histogram.quantile(0.74), 0.55);
        about(histogram.quantile(0.99), 5.5);
        about(histogram.quantile(1.0), 10.0);
    }

    #[test]
    fn two_processes_are_one_histogram() {
        let quick = SCRAPE.replace(" 50\n", " 900\n").replace(" 98\n", " 900\n").replace(" 100\n", " 900\n");
        let both = of(&[SCRAPE, &quick]);
        about(both.quantile(0.99), 0.1 + 0.9 * (40.0 / 48.0));
    }

    #[test]
    fn past_the_last_bound_nobody_knows_how_far_and_without_measurements_there_is_none() {
        let far = SCRAPE.replace("le=\"+Inf\"} 100", "le=\"+Inf\"} 1000");
        assert_eq!(of(&[&far]).quantile(0.99), Some(f64::INFINITY));
        let none = SCRAPE.replace("} 50", "} 0").replace("} 98", "} 0").replace("} 100", "} 0");
        assert_eq!(of(&[&none]).quantile(0.99), None);
        assert_eq!(Histogram::default().quantile(0.99), None);
        assert!(!Histogram::default().add("# EOF\n"), "no metrics of ours");
    }

    #[test]
    fn an_address_needs_no_path() {
        assert_eq!(address("http://h:1").expect("a URL").as_str(), "http://h:1/metrics");
        assert_eq!(address("http://h:1/other").expect("a URL").as_str(), "http://h:1/other");
        for bad in ["h:1", "ftp://h/metrics", ""] {
            assert_eq!(address(bad).expect_err("no URL of metrics").kind(), Kind::Usage, "{bad}");
        }
    }
}
