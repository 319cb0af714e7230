//! One answer of the API: its users, or what is wrong with it and whether asking again can help.
//!
//! The API answers bad parameters with 200 and one user, and some of its own failures with 200 and no user, so that
//! a good answer is known only by comparing it with the question.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, DATE, HeaderMap, RETRY_AFTER};
use reqwest::{Response, StatusCode};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::Question;
use crate::error::{Error, Kind};

/// Characters of a body that an error shows.
const SHOWN_CHARACTERS_MAX: usize = 200;

const WAIT: &str = "wait some minutes, or use --source synthetic";
const OTHER_URL: &str = "check --api-url (https://randomuser.me/api/1.4/ is the API), or use --source synthetic";

/// Why an attempt failed.
#[derive(Debug)]
pub(super) struct Failure {
    /// The exit code's kind.
    pub(super) kind: Kind,
    /// What went wrong, with the status and the first bytes of the body.
    pub(super) reason: String,
    /// What to try.
    pub(super) hint: &'static str,
    /// Whether the same request may pass later.
    pub(super) is_transient: bool,
    /// When the server asks to be asked again.
    pub(super) retry_after: Option<Duration>,
}

impl Failure {
    fn transient(reason: String, hint: &'static str) -> Self {
        Self { kind: Kind::Unreachable, reason, hint, is_transient: true, retry_after: None }
    }

    fn permanent(kind: Kind, reason: String, hint: &'static str) -> Self {
        Self { kind, reason, hint, is_transient: false, retry_after: None }
    }

    /// A connection that failed or broke.
    pub(super) fn network(error: reqwest::Error) -> Self {
        // Our Error writes a chain of causes as one line; the URL is said elsewhere.
        let chain = Error::new(Kind::Unreachable, "no answer").because(error.without_url());
        Self::transient(chain.to_string(), "check the network and --api-url, or use --source synthetic")
    }

    /// An answer that did not come in time.
    pub(super) fn no_answer(limit: Duration) -> Self {
        let reason = format!("no whole answer within {}", humantime::format_duration(limit));
        Self::transient(reason, "raise --api-timeout, lower --results, or use --source synthetic")
    }
}

/// A whole answer.
pub(super) struct Answer {
    status: StatusCode,
    is_html: bool,
    retry_after: Option<Duration>,
    /// The server's clock in milliseconds since the epoch, to the second.
    pub(super) date_ms: Option<i64>,
    body: Bytes,
}

/// Reads the body, at most `body_bytes_max` bytes of it.
pub(super) async fn read(mut response: Response, body_bytes_max: usize) -> Result<Answer, Failure> {
    let too_long = || {
        let reason = format!("status {}, a body of more than {body_bytes_max} bytes", response.status());
        Failure::permanent(Kind::Config, reason, "lower --results, or check --api-url")
    };
    if response.content_length().is_some_and(|length| length > body_bytes_max as u64) {
        return Err(too_long());
    }
    let too_long = too_long();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(Failure::network)? {
        if body.len() + chunk.len() > body_bytes_max {
            return Err(too_long);
        }
        body.extend_from_slice(&chunk);
    }
    let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let first = body.iter().copied().find(|byte| !byte.is_ascii_whitespace());
    Ok(Answer {
        status: response.status(),
        is_html: content_type.contains("html") || first == Some(b'<'),
        retry_after: retry_after(response.headers(), SystemTime::now()),
        date_ms: date_ms(response.headers()),
        body: body.into(),
    })
}

/// `Retry-After` in seconds or as a date (RFC 9110, section 10.2.3).
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = httpdate::parse_http_date(value).ok()?;
    Some(at.duration_since(now).unwrap_or(Duration::ZERO))
}

/// `Date` (RFC 9110, section 6.6.1).
fn date_ms(headers: &HeaderMap) -> Option<i64> {
    let date = httpdate::parse_http_date(headers.get(DATE)?.to_str().ok()?).ok()?;
    i64::try_from(date.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_millis()).ok()
}

/// The API's document. Every part is optional, so that what lacks can be told.
#[derive(Deserialize)]
struct Document<'a> {
    results: Option<Vec<Box<RawValue>>>,
    #[serde(borrow)]
    info: Option<Info<'a>>,
    error: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Info<'a> {
    #[serde(borrow)]
    seed: Option<Cow<'a, str>>,
    results: Option<u64>,
    page: Option<u64>,
}

/// What a user says that a filter asked for.
#[derive(Deserialize)]
struct Filtered<'a> {
    #[serde(borrow)]
    gender: Option<Cow<'a, str>>,
    #[serde(borrow)]
    nat: Option<Cow<'a, str>>,
}

/// The users of a good answer, exactly as many as asked for.
pub(super) fn users(answer: &Answer, question: &Question<'_>) -> Result<Vec<Box<RawValue>>, Failure> {
    if !answer.status.is_success() {
        return Err(refusal(answer));
    }
    if answer.is_html {
        return Err(Failure::permanent(Kind::Config, answer.shown("HTML instead of users"), OTHER_URL));
    }
    let document: Document<'_> = serde_json::from_slice(&answer.body)
        .map_err(|e| Failure::transient(answer.shown(&format!("no JSON of the API's ({e})")), WAIT))?;
    if document.error.is_some() {
        return Err(Failure::transient(answer.shown("an error of the API's"), WAIT));
    }
    let Some(users) = document.results else {
        return Err(Failure::permanent(Kind::Config, answer.shown("JSON without `results`"), OTHER_URL));
    };
    if users.is_empty() {
        return Err(Failure::transient(answer.shown("no users"), WAIT));
    }
    honoured(question, document.info.as_ref(), &users)
        .map_err(|(reason, hint)| Failure::permanent(Kind::Config, answer.shown(&reason), hint))?;
    if users.len() != question.results {
        let reason = format!("{} users instead of {}", users.len(), question.results);
        return Err(Failure::transient(answer.shown(&reason), WAIT));
    }
    Ok(users)
}

/// Whether the answer is one to the question: the API ignores what it does not understand.
fn honoured(
    question: &Question<'_>,
    info: Option<&Info<'_>>,
    users: &[Box<RawValue>],
) -> Result<(), (String, &'static str)> {
    let Some(info) = info else {
        return Err(("JSON without `info`".to_owned(), OTHER_URL));
    };
    let results = question.results as u64;
    if info.results != Some(results) {
        let got = info.results.map_or_else(|| "none".to_owned(), |n| n.to_string());
        return Err((format!("results={results} was not honoured (info.results is {got})"), "lower --results"));
    }
    if info.page != Some(u64::from(question.page)) {
        return Err((format!("page={} was not honoured", question.page), "check --api-url"));
    }
    if question.seed.is_some_and(|seed| info.seed.as_deref() != Some(seed)) {
        return Err(("the seed was not honoured".to_owned(), "give another --seed"));
    }
    if question.nationalities.is_empty() && question.gender.is_none() {
        return Ok(());
    }
    for user in users {
        // A user that is no such object is for the formatter to reject, alone.
        let Ok(user) = serde_json::from_str::<Filtered<'_>>(user.get()) else { continue };
        let nat = user.nat.as_deref();
        if !question.nationalities.is_empty() && nat.is_some_and(|nat| !question.nationalities.iter().any(|n| n == nat))
        {
            return Err(("the nationalities were not honoured".to_owned(), "check --nat and --api-url"));
        }
        if question.gender.is_some_and(|asked| user.gender.as_deref().is_some_and(|told| told != asked.as_str())) {
            return Err(("the gender was not honoured".to_owned(), "check --gender and --api-url"));
        }
    }
    Ok(())
}

/// What a status other than success means.
fn refusal(answer: &Answer) -> Failure {
    let reason = answer.shown("");
    let code = answer.status.as_u16();
    match code {
        429 => Failure {
            retry_after: answer.retry_after,
            ..Failure::transient(reason, "the API's limit of users is reached: wait 5 minutes, or fetch fewer users")
        },
        408 | 425 | 500.. => Failure { retry_after: answer.retry_after, ..Failure::transient(reason, WAIT) },
        401 | 403 => Failure::permanent(
            Kind::Refused,
            reason,
            "the API refuses this address or client (it blocks some clouds): use --source synthetic, or --api-url",
        ),
        _ => Failure::permanent(Kind::Config, reason, OTHER_URL),
    }
}

impl Answer {
    /// A good answer with this body, and nothing in its headers.
    pub(super) fn of_body(body: Bytes) -> Self {
        let first = body.iter().copied().find(|byte| !byte.is_ascii_whitespace());
        Self { status: StatusCode::OK, is_html: first == Some(b'<'), retry_after: None, date_ms: None, body }
    }

    /// The status, what is wrong, and the first characters of the body.
    fn shown(&self, what: &str) -> String {
        let comma = if what.is_empty() { "" } else { ", " };
        match excerpt(&self.body) {
            Some(body) => format!("status {}{comma}{what}, body `{body}`", self.status),
            None => format!("status {}{comma}{what}, an empty body", self.status),
        }
    }
}

/// The first characters of a body with control characters escaped; `None` where it has none.
fn excerpt(body: &[u8]) -> Option<String> {
    // 4 bytes are the longest character, so no more are looked at.
    let head = String::from_utf8_lossy(&body[..body.len().min(SHOWN_CHARACTERS_MAX * 4)]);
    let mut text = String::new();
    for character in head.trim().chars().take(SHOWN_CHARACTERS_MAX) {
        if character.is_control() {
            text.extend(character.escape_default());
        } else {
            text.push(character);
        }
    }
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let read = |value: &'static str| {
            retry_after(&HeaderMap::from_iter([(RETRY_AFTER, value.parse().expect("a header"))]), now)
        };
        assert_eq!(read("90"), Some(Duration::from_secs(90)));
        assert_eq!(read("Sun, 09 Sep 2001 01:47:10 GMT"), Some(Duration::from_secs(30)));
        assert_eq!(read("Sun, 09 Sep 1990 01:47:10 GMT"), Some(Duration::ZERO), "a date that has passed");
        assert_eq!(read("soon"), None);
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }

    #[test]
    fn an_excerpt_is_short_and_harmless_to_a_terminal() {
        assert_eq!(excerpt(b"  a\x1b[31mb\n\xff ").as_deref(), Some("a\\u{1b}[31mb\\n\u{fffd}"));
        assert_eq!(excerpt(b" \n "), None);
        assert_eq!(excerpt("ж".repeat(10_000).as_bytes()).map(|t| t.chars().count()), Some(SHOWN_CHARACTERS_MAX));
    }
}
