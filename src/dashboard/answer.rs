//! Answers: JSON, or a problem with its hint; nothing takes longer than its limit.

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::{Error, Kind};

/// How many of a list, and how they are shown.
#[derive(Debug, Deserialize)]
pub(super) struct Which {
    pub(super) limit: Option<usize>,
    pub(super) reveal: Option<bool>,
}

/// The limit for an answer that looks at a store.
pub(super) const CALL_MAX: Duration = Duration::from_secs(10);
/// The limit for one that reads a part of a topic.
pub(super) const SEARCH_MAX: Duration = Duration::from_secs(30);

/// The answer of a handler.
pub(super) type Answer = Result<Json<Value>, Problem>;

/// Why there is no answer.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) status: StatusCode,
    what: String,
    hint: Option<String>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, what: impl Into<String>) -> Self {
        Self { status, what: what.into(), hint: None }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The token is missing, or another one.
    pub(super) fn no_token() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "this needs the token")
            .hint("the server says at its start where it is; send it as Authorization: Bearer TOKEN")
    }

    /// The request says what cannot be understood.
    pub(super) fn bad(what: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, what)
    }

    /// What was asked for is not there.
    pub(super) fn absent(what: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, what)
    }

    /// So much is going on already.
    pub(super) fn busy(what: impl Into<String>) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, what).hint("close another one, or try again in a moment")
    }

    /// As the body of an answer, or as an event of a stream.
    pub(super) fn body(&self) -> Value {
        json!({ "error": self.what, "hint": self.hint })
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let status = match error.kind() {
            Kind::Usage | Kind::BadData => StatusCode::BAD_REQUEST,
            Kind::Config => StatusCode::CONFLICT,
            Kind::Unreachable => StatusCode::SERVICE_UNAVAILABLE,
            Kind::Refused => StatusCode::BAD_GATEWAY,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self { status, what: error.to_string(), hint: error.hint_text().map(str::to_owned) }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body())).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// Waits no longer than `limit`.
pub(super) async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, impl Into<Problem>>>,
) -> Result<T, Problem> {
    match tokio::time::timeout(limit, work).await {
        Ok(done) => done.map_err(Into::into),
        Err(_) => Err(Problem::new(
            StatusCode::GATEWAY_TIMEOUT,
            format!("no answer within {}", humantime::format_duration(limit)),
        )
        .hint("a store is slow or away: the lights tell which")),
    }
}
