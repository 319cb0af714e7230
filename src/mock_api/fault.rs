//! The faults that the mock commits on request, and the answers they make.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::{StreamExt, stream};

/// Bytes of the [`FaultKind::Huge`] body, more than any client of ours accepts.
const HUGE_BYTES: usize = 40 * 1024 * 1024;
/// Time for the half of a [`FaultKind::Truncated`] body to be sent before the connection breaks.
const FLUSH_TIME: Duration = Duration::from_millis(20);
const HUGE_CHUNK: &[u8] = &[b' '; 64 * 1024];

/// What the API says when its limit of users is passed.
pub(super) fn limit_text(users: u64) -> String {
    format!(
        "Whoa, ease up there cowboy. You've requested {users} users in the last minute. Help us keep this service \
         free and spare some bandwidth for other users please :)"
    )
}

/// A way to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// 429 as the API says it, without `Retry-After`.
    TooManyRequests,
    /// 429 with `Retry-After: 1`.
    RetryAfter,
    /// 500, 502 or 503 with a line of text.
    Status(u16),
    /// 200 with `{"error": …}`.
    Error,
    /// 200 with no users, though `info.results` is what was asked for.
    Empty,
    /// 200 with one user, as the API answers bad parameters.
    OneUser,
    /// 200 with a web page.
    Html,
    /// 403 with a web page, as a content delivery network blocks clients.
    Forbidden,
    /// No answer at all.
    Hang,
    /// Headers, and then nothing.
    SlowBody,
    /// A body that ends before its `Content-Length`.
    Truncated,
    /// 200 with broken JSON.
    BadJson,
    /// 200 with a body over every client's cap.
    Huge,
    /// A good page with one user that lacks `location.postcode`.
    BadUser,
    /// The connection is closed without an answer.
    Close,
}

/// The names on the command line.
const KINDS: [(&str, FaultKind); 17] = [
    ("429", FaultKind::TooManyRequests),
    ("429-retry-after", FaultKind::RetryAfter),
    ("500", FaultKind::Status(500)),
    ("502", FaultKind::Status(502)),
    ("503", FaultKind::Status(503)),
    ("error", FaultKind::Error),
    ("empty", FaultKind::Empty),
    ("one-user", FaultKind::OneUser),
    ("html", FaultKind::Html),
    ("403", FaultKind::Forbidden),
    ("hang", FaultKind::Hang),
    ("slow-body", FaultKind::SlowBody),
    ("truncated", FaultKind::Truncated),
    ("bad-json", FaultKind::BadJson),
    ("huge", FaultKind::Huge),
    ("bad-user", FaultKind::BadUser),
    ("close", FaultKind::Close),
];

/// A fault and how many requests meet it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The way to fail.
    pub kind: FaultKind,
    /// The number of requests; all of them when `None`.
    pub requests: Option<u32>,
}

impl FromStr for Fault {
    type Err = String;

    /// `KIND` or `KIND:N`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, count) = text.split_once(':').map_or((text, None), |(name, count)| (name, Some(count)));
        let Some((_, kind)) = KINDS.iter().find(|(known, _)| *known == name) else {
            let known: Vec<_> = KINDS.iter().map(|(name, _)| *name).collect();
            return Err(format!("unknown fault `{name}`; the kinds are {}", known.join(", ")));
        };
        let requests = match count.map(str::parse) {
            None => None,
            Some(Ok(n)) if n > 0 => Some(n),
            Some(_) => return Err(format!("write {name}:N with a number of requests from 1, or {name} for all")),
        };
        Ok(Self { kind: *kind, requests })
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(KINDS.iter().find(|(_, kind)| kind == self).map_or("", |(name, _)| name))
    }
}

/// The faults that are left, in their order.
#[derive(Debug)]
pub(super) struct Plan(Mutex<VecDeque<Fault>>);

impl Plan {
    pub(super) fn new(faults: Vec<Fault>) -> Self {
        Self(Mutex::new(faults.into()))
    }

    /// The fault of the next request.
    pub(super) fn next(&self) -> Option<FaultKind> {
        let mut faults = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fault = faults.front_mut()?;
        let kind = fault.kind;
        if let Some(left) = &mut fault.requests {
            *left -= 1;
            if *left == 0 {
                faults.pop_front();
            }
        }
        Some(kind)
    }
}

/// A JSON answer.
pub(super) fn json(status: StatusCode, body: impl Into<Body>) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json; charset=utf-8")], body.into()).into_response()
}

/// A JSON answer that says what is wrong.
pub(super) fn error(status: StatusCode, text: &str) -> Response {
    json(status, serde_json::json!({ "error": text }).to_string())
}

fn html(status: StatusCode, title: &str) -> Response {
    let page =
        format!("<!DOCTYPE html>\n<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>");
    (status, [(header::CONTENT_TYPE, "text/html; charset=UTF-8")], page).into_response()
}

/// 429 with `Retry-After: 1`.
pub(super) fn retry_after(users: u64) -> Response {
    let mut response = error(StatusCode::TOO_MANY_REQUESTS, &limit_text(users));
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// An HTTP status with a line of text.
pub(super) fn status(code: u16) -> Response {
    let status = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, status.canonical_reason().unwrap_or_default()).into_response()
}

/// 200 with the API's words for an internal failure.
pub(super) fn uh_oh() -> Response {
    let text = "Uh oh, something has gone wrong. Please tweet us @randomapi about the issue. Thank you.";
    error(StatusCode::OK, text)
}

/// A web page where JSON is expected, as a captive portal answers.
pub(super) fn portal() -> Response {
    html(StatusCode::OK, "Sign in to the network")
}

/// The refusal of a content delivery network.
pub(super) fn forbidden() -> Response {
    html(StatusCode::FORBIDDEN, "Attention Required! | Cloudflare")
}

/// Half of `body`, announced as the whole.
pub(super) fn truncated(body: &str) -> Response {
    let half = Bytes::copy_from_slice(&body.as_bytes()[..body.len() / 2]);
    // The half is sent when its successor is not there yet; the end that comes then breaks the connection.
    let end = stream::once(tokio::time::sleep(FLUSH_TIME)).map(|()| Bytes::new());
    let parts = stream::iter([half]).chain(end).map(Ok::<_, Infallible>);
    let mut response = json(StatusCode::OK, Body::from_stream(parts));
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    response
}

/// JSON's own blanks without an end in sight, streamed.
pub(super) fn huge() -> Response {
    let chunks = stream::repeat(Bytes::from_static(HUGE_CHUNK)).take(HUGE_BYTES / HUGE_CHUNK.len());
    json(StatusCode::OK, Body::from_stream(chunks.map(Ok::<_, Infallible>)))
}

/// Headers at once, and a body that is nothing until `end`.
pub(super) fn slow_body(end: impl Future<Output = ()> + Send + 'static) -> Response {
    let nothing = stream::once(async move {
        end.await;
        Ok::<_, Infallible>(Bytes::new())
    });
    json(StatusCode::OK, Body::from_stream(nothing))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_read_by_its_name_and_written_as_it() {
        for (name, kind) in KINDS {
            assert_eq!(name.parse(), Ok(Fault { kind, requests: None }));
            assert_eq!(format!("{name}:3").parse(), Ok(Fault { kind, requests: Some(3) }));
            assert_eq!(kind.to_string(), name);
        }
    }

    #[test]
    fn a_bad_fault_is_refused_with_what_is_possible() {
        let refused = |text: &str| text.parse::<Fault>().expect_err("refused");
        assert!(refused("418").starts_with("unknown fault `418`; the kinds are 429, 429-retry-after, 500, "));
        for text in ["hang:0", "hang:", "hang:-1", "hang:x"] {
            assert_eq!(refused(text), "write hang:N with a number of requests from 1, or hang for all");
        }
    }

    #[test]
    fn faults_are_consumed_in_their_order() {
        let faults = ["500:2", "close:1", "empty"].map(|text| text.parse().expect("a fault"));
        let plan = Plan::new(faults.to_vec());
        let next: Vec<_> = (0..5).filter_map(|_| plan.next()).map(|kind| kind.to_string()).collect();
        assert_eq!(next, ["500", "500", "close", "empty", "empty"]);
    }
}
