//! The Random User API as a source: pages over HTTP, with an answer to each of its faults.
//!
//! - `answer` judges one answer of the API: users, or why not
//! - `breaker` stops asking for a while after too many failed pages
//!
//! Pages: with one seed, users of distinct pages are distinct, and a smaller `results` is a prefix of a larger one
//! on the same page (the API's rules). So the page number grows with every request and no user comes twice. The
//! size of a page never shrinks within one source, since a server that slices a fixed list (the mock's recorded
//! users) would repeat some; what a caller does not take of a page is kept for its next call.

mod answer;
mod breaker;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use reqwest::{Client, Url};
use serde_json::value::RawValue;

use super::{Page, Source, seed};
use crate::config::{Gender, SourceConfig};
use crate::error::{Error, Kind, Result};
use crate::metrics::Count;
use crate::record::Timestamp;
use crate::retry;
use answer::{Answer, Failure};
use breaker::Breaker;

/// The API takes a page past this one for page 1, which would repeat users.
const PAGE_MAX: u32 = 10_000;

const USER_AGENT: &str = concat!("userpipe/", env!("CARGO_PKG_VERSION"));

/// The source's limits that are no configuration; tests shorten them.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The delay before the second attempt at a page; it doubles from there, with jitter.
    pub retry_first: Duration,
    /// The longest delay between two attempts.
    pub retry_ceiling: Duration,
    /// The longest wait that a `Retry-After` can ask for: the API's own window.
    pub retry_after_max: Duration,
    /// The most bytes of one answer's body, decompressed. 5,000 users are about 5.4 MB.
    pub body_bytes_max: usize,
    /// Pages that fail in a row before the API is left alone.
    pub failed_pages_max: u32,
    /// How long it is left alone then.
    pub pause: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            retry_first: Duration::from_millis(500),
            retry_ceiling: Duration::from_secs(30),
            retry_after_max: Duration::from_mins(5),
            body_bytes_max: 32 * 1024 * 1024,
            failed_pages_max: 5,
            pause: Duration::from_mins(1),
        }
    }
}

/// The Random User API.
#[derive(Debug)]
pub struct RandomUser {
    client: Client,
    url: Url,
    /// For messages.
    host: String,
    seed: Option<String>,
    seed_is_drawn: bool,
    nationalities: Vec<String>,
    gender: Option<Gender>,
    page_size: usize,
    request_timeout: Duration,
    attempts_max: usize,
    retries: Count,
    limits: Limits,
    next_page: u32,
    /// The largest size asked for yet.
    asked_size: usize,
    /// What the caller has not taken of the last page.
    rest: VecDeque<Box<RawValue>>,
    rest_fetched_at: Timestamp,
    breaker: Breaker,
}

/// What one request asks for; the answer is compared with it.
struct Question<'a> {
    results: usize,
    page: u32,
    seed: Option<&'a str>,
    nationalities: &'a [String],
    gender: Option<Gender>,
}

/// The users of the body of an answer to a request for `results` users on the first page, exactly as many as asked for.
/// What a fuzzer and a benchmark feed with bodies: a source does the same with those that come.
///
/// # Errors
/// Says what is wrong with it.
pub fn users_of_page(body: Bytes, results: usize) -> Result<Vec<Box<RawValue>>> {
    let question = Question { results, page: 1, seed: None, nationalities: &[], gender: None };
    answer::users(&Answer::of_body(body), &question).map_err(|failure| Error::new(failure.kind, failure.reason))
}

impl RandomUser {
    /// A client of `config`'s endpoint that starts with page `starting_page` (1 is the first). Asks nothing yet.
    ///
    /// Without a seed in `config` one is drawn here, so that pages go on; with a gender none is sent, since the API
    /// ignores a gender beside a seed. The process has to have installed its TLS provider before.
    ///
    /// # Errors
    /// [`Kind::Config`] for a URL or a system proxy that cannot work.
    pub fn new(config: &SourceConfig, starting_page: u32) -> Result<Self> {
        let limits = Limits::default();
        let url = Url::parse(&config.api_url)
            .map_err(|e| Error::new(Kind::Config, "--api-url is no URL").at(&config.api_url).because(e))?;
        let (seed, seed_is_drawn) = match (&config.seed, config.gender) {
            (Some(seed), _) => (Some(seed.clone()), false),
            (None, Some(_)) => (None, false),
            (None, None) => (Some(seed::draw()), true),
        };
        Ok(Self {
            client: client(&url, config.connect_timeout)?,
            url,
            host: config.host(),
            seed,
            seed_is_drawn,
            nationalities: config.nationalities.clone(),
            gender: config.gender,
            page_size: config.page_size,
            request_timeout: config.request_timeout,
            attempts_max: config.attempts_max,
            retries: Count::default(),
            limits,
            next_page: starting_page.max(1),
            asked_size: 0,
            rest: VecDeque::new(),
            rest_fetched_at: Timestamp::now(),
            breaker: Breaker::new(limits.failed_pages_max, limits.pause),
        })
    }

    /// With other limits than the defaults.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self.breaker = Breaker::new(limits.failed_pages_max, limits.pause);
        self
    }

    /// Begins a new run: a seed that was drawn is drawn anew; under a given one pages go on.
    pub fn start_run(&mut self) {
        if self.seed_is_drawn {
            self.start_again(&seed::draw());
        }
    }

    /// Begins a run with this drawn seed; without an effect on a given one, and where none is sent.
    pub(super) fn start_again(&mut self, seed: &str) {
        if self.seed_is_drawn {
            self.seed = Some(seed.to_owned());
            self.go_on_from(1);
        }
    }

    /// Goes on with this page.
    pub(super) fn go_on_from(&mut self, page: u32) {
        self.next_page = page;
        self.rest.clear();
    }

    /// The seed that is sent, given or drawn; `None` with a gender, beside which the API would ignore it.
    pub fn seed(&self) -> Option<&str> {
        self.seed.as_deref()
    }

    /// Whether the seed is one that was given.
    pub(super) fn seed_is_given(&self) -> bool {
        self.seed.is_some() && !self.seed_is_drawn
    }

    /// The page that comes next, for a later run with the same seed to start with. It skips what the caller has not
    /// taken of the page before.
    pub fn next_page(&self) -> u32 {
        self.next_page
    }

    fn take(&mut self, count: usize) -> Page {
        let users = self.rest.drain(..count.min(self.rest.len())).collect();
        Page { users, fetched_at: self.rest_fetched_at }
    }

    /// Past the API's last page a drawn seed is replaced; a given one has no more users.
    fn turn_over(&mut self) -> Result<()> {
        if self.next_page <= PAGE_MAX {
            return Ok(());
        }
        if self.seed_is_given() {
            return Err(Error::new(Kind::Config, format!("the API has no page past {PAGE_MAX} of one seed"))
                .at(self.url.as_str())
                .hint("give another --seed, or leave it out"));
        }
        if self.seed_is_drawn {
            self.seed = Some(seed::draw());
        }
        self.next_page = 1;
        Ok(())
    }

    /// Counts the attempts that are repeated there from now on.
    pub(super) fn count_retries(&mut self, retries: Count) {
        self.retries = retries;
    }

    /// Asks for one page until it comes, at most `attempts_max` times.
    async fn fetch(&self, question: &Question<'_>) -> Result<Vec<Box<RawValue>>> {
        let mut delays = retry::request_backoff(self.limits.retry_first, self.limits.retry_ceiling, self.attempts_max);
        let mut attempts = 1;
        loop {
            let failure = match self.attempt(question).await {
                Ok(users) => return Ok(users),
                Err(failure) => failure,
            };
            let next = if failure.is_transient { delays.next() } else { None };
            let Some(delay) = next else {
                return Err(self.gave_up(question, failure, attempts));
            };
            let delay = failure.retry_after.map_or(delay, |asked| asked.min(self.limits.retry_after_max).max(delay));
            tracing::warn!(
                "page {} of {}: {}; attempt {} of {} in {}",
                question.page,
                self.host,
                failure.reason,
                attempts + 1,
                self.attempts_max,
                humantime::format_duration(Duration::from_millis(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX))),
            );
            tokio::time::sleep(delay).await;
            attempts += 1;
            self.retries.add(1);
        }
    }

    /// Asks once for one user: the API's clock when it answered, to the second, where it told.
    ///
    /// # Errors
    /// Says what is wrong with the API, within the request timeout.
    pub async fn probe(&self) -> Result<Option<Timestamp>> {
        let question = Question {
            results: 1,
            page: 1,
            seed: self.seed.as_deref(),
            nationalities: &self.nationalities,
            gender: self.gender,
        };
        let failed = |failure| self.gave_up(&question, failure, 1);
        let answer = self.ask(&question).await.map_err(failed)?;
        answer::users(&answer, &question).map_err(failed)?;
        Ok(answer.date_ms.and_then(Timestamp::from_unix_ms))
    }

    /// One request: its users within the deadline.
    async fn attempt(&self, question: &Question<'_>) -> Result<Vec<Box<RawValue>>, Failure> {
        answer::users(&self.ask(question).await?, question)
    }

    /// One request, its whole answer within the deadline.
    async fn ask(&self, question: &Question<'_>) -> Result<Answer, Failure> {
        let call = async {
            let response = self.client.get(self.address(question)).send().await.map_err(Failure::network)?;
            answer::read(response, self.limits.body_bytes_max).await
        };
        tokio::time::timeout(self.request_timeout, call).await.map_err(|_| Failure::no_answer(self.request_timeout))?
    }

    fn address(&self, question: &Question<'_>) -> Url {
        let mut url = self.url.clone();
        let mut query = url.query_pairs_mut();
        query.append_pair("results", &question.results.to_string()).append_pair("page", &question.page.to_string());
        if let Some(seed) = question.seed {
            query.append_pair("seed", seed);
        }
        if !question.nationalities.is_empty() {
            query.append_pair("nat", &question.nationalities.join(",").to_lowercase());
        }
        if let Some(gender) = question.gender {
            query.append_pair("gender", gender.as_str());
        }
        drop(query);
        url
    }

    fn gave_up(&self, question: &Question<'_>, failure: Failure, attempts: usize) -> Error {
        let what = match attempts {
            1 => format!("cannot fetch page {} of users", question.page),
            _ => format!("cannot fetch page {} of users in {attempts} attempts", question.page),
        };
        Error::new(failure.kind, what).at(self.url.as_str()).because(failure.reason).hint(failure.hint)
    }
}

impl Source for RandomUser {
    async fn page(&mut self, count: usize) -> Result<Page> {
        if !self.rest.is_empty() {
            return Ok(self.take(count));
        }
        self.breaker.admit().map_err(|error| error.at(self.url.as_str()))?;
        self.turn_over()?;
        self.asked_size = self.asked_size.max(count.clamp(1, self.page_size));
        let question = Question {
            results: self.asked_size,
            page: self.next_page,
            seed: self.seed.as_deref(),
            nationalities: &self.nationalities,
            gender: self.gender,
        };
        match self.fetch(&question).await {
            Ok(users) => {
                self.breaker.succeeded();
                self.next_page += 1;
                self.rest = users.into();
                self.rest_fetched_at = Timestamp::now();
                Ok(self.take(count))
            }
            Err(error) => {
                self.breaker.failed(&error);
                Err(error)
            }
        }
    }
}

fn client(url: &Url, connect_timeout: Duration) -> Result<Client> {
    let builder = Client::builder().user_agent(USER_AGENT).connect_timeout(connect_timeout);
    // A proxy of the system's cannot reach this machine's loopback.
    let loopback = url.host_str().is_some_and(|host| host == "localhost" || is_loopback(host));
    let builder = if loopback { builder.no_proxy() } else { builder };
    builder.build().map_err(|e| Error::new(Kind::Config, "cannot set up the API's client").at(url.as_str()).because(e))
}

fn is_loopback(host: &str) -> bool {
    host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}
