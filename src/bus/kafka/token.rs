//! Bearer tokens for OAUTHBEARER: from a file, or from an OIDC token endpoint by client credentials.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Response, StatusCode, Url};
use serde::Deserialize;

use crate::config::kafka_security::{Oidc, Token, TokenSource, Tokens};
use crate::error::{Error, Kind, Result};
use crate::secret::Secret;

/// The limit for one answer of the token endpoint.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// A token, or an answer with one, is shorter than this.
const BYTES_MAX: usize = 256 * 1024;

/// A token is replaced when less than this part of its life is left, and at the latest this long before its end.
const MARGIN_PART: u32 = 5;
const MARGIN_MAX: Duration = Duration::from_mins(1);

/// How long a token is used that does not say when it ends.
const UNKNOWN_LIFE: Duration = Duration::from_mins(5);

/// krafka asks for a new token 30 s before the end of the old one, again and again without a pause where that has
/// come: so it is told of no end sooner than this.
const KRAFKA_LIFE_MIN: Duration = Duration::from_secs(35);

/// What a token endpoint answers (RFC 6749, 5.1).
#[derive(Deserialize)]
struct Answer {
    access_token: String,
    expires_in: Option<u64>,
}

/// What it answers instead (RFC 6749, 5.2).
#[derive(Deserialize)]
struct Denial {
    error: String,
    error_description: Option<String>,
}

/// The one claim of a token that matters here (RFC 7519, 4.1.4).
#[derive(Deserialize)]
struct Claims {
    exp: Option<f64>,
}

/// A token that is good for the next login.
///
/// # Errors
/// [`Kind::Config`] for a file that cannot be read, [`Kind::Refused`] where the endpoint refuses the client, and
/// [`Kind::Unreachable`] where it does not answer.
pub(super) async fn get(tokens: &Tokens) -> Result<Token> {
    let oidc = match &tokens.source {
        TokenSource::File(path) => return of_file(path).await,
        TokenSource::Oidc(oidc) => oidc,
    };
    // Held over the request: those who wait get its token.
    let mut newest = tokens.newest.lock().await;
    if let Some((token, _)) = newest.as_ref().filter(|(_, until)| SystemTime::now() < *until) {
        return Ok(token.clone());
    }
    let token = ask(oidc).await?;
    *newest = Some((token.clone(), good_until(&token)));
    Ok(token)
}

/// When the token ends, for krafka: milliseconds since the epoch.
pub(super) fn expires_ms(token: &Token) -> Option<i64> {
    let expires = token.expires?.max(SystemTime::now() + KRAFKA_LIFE_MIN);
    i64::try_from(expires.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok()
}

fn good_until(token: &Token) -> SystemTime {
    let now = SystemTime::now();
    let Some(expires) = token.expires else { return now + UNKNOWN_LIFE };
    let left = expires.duration_since(now).unwrap_or_default();
    now + left.saturating_sub((left / MARGIN_PART).min(MARGIN_MAX))
}

async fn of_file(path: &std::path::Path) -> Result<Token> {
    let failed = || {
        Error::new(Kind::Config, "cannot read the token of sasl.oauthbearer.token.file").at(path.display().to_string())
    };
    let bytes = tokio::fs::read(path).await.map_err(|e| failed().because(e))?;
    if bytes.len() > BYTES_MAX {
        return Err(failed().because(format!("{} bytes; at most {BYTES_MAX} are read", bytes.len())));
    }
    let text = String::from_utf8(bytes).map_err(|_| failed().because("it is no text"))?;
    let text = text.trim();
    if text.is_empty() || text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(failed().because("write one token into it, and nothing else"));
    }
    Ok(Token { text: Secret::new(text), expires: expiry_of(text) })
}

/// The `exp` claim, where the token is a JWT.
fn expiry_of(token: &str) -> Option<SystemTime> {
    let payload = token.split('.').nth(1)?.trim_end_matches('=');
    let claims: Claims = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()?;
    let seconds = Duration::try_from_secs_f64(claims.exp?).ok()?;
    UNIX_EPOCH.checked_add(seconds)
}

async fn ask(oidc: &Oidc) -> Result<Token> {
    let place = oidc.endpoint.as_str();
    let unreachable = |because: String| {
        Error::new(Kind::Unreachable, "no token from sasl.oauthbearer.token.endpoint.url").at(place).because(because)
    };
    let client = reqwest::Client::builder().timeout(ANSWER_TIMEOUT).redirect(reqwest::redirect::Policy::none());
    let client = match oidc.endpoint.scheme() {
        "https" => client.tls_backend_preconfigured(oidc.tls.client_config()?),
        _ => client,
    };
    let client = client.build().map_err(|e| Error::new(Kind::Config, "cannot make a client").because(e))?;
    let mut form = vec![("grant_type", "client_credentials")];
    form.extend(oidc.scope.as_deref().map(|scope| ("scope", scope)));
    let asked = client
        .post(oidc.endpoint.clone())
        .basic_auth(encoded(&oidc.client_id), Some(encoded(oidc.client_secret.expose())))
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(ACCEPT, "application/json")
        .body(form_of(&form))
        .send()
        .await;
    let mut answer = asked.map_err(|e| {
        let text = chain(&e);
        match super::security::refusal(&text) {
            Some(refusal) => Error::new(Kind::Refused, "the token endpoint's certificate is not trusted")
                .at(place)
                .because(refusal.because)
                .hint("name the authority that signed it with -X https.ca.location=FILE"),
            None => unreachable(text),
        }
    })?;
    let status = answer.status();
    let body = capped(&mut answer).await.map_err(unreachable)?;
    if !status.is_success() {
        return Err(denied(place, status, &body));
    }
    let answer: Answer =
        serde_json::from_slice(&body).map_err(|_| unreachable("its answer holds no access_token".to_owned()))?;
    let expires = match answer.expires_in {
        Some(seconds) => SystemTime::now().checked_add(Duration::from_secs(seconds)),
        None => expiry_of(&answer.access_token),
    };
    Ok(Token { text: Secret::new(answer.access_token), expires })
}

/// What the endpoint says when it gives no token. Only the fields of the RFC are shown: the rest of an answer may
/// repeat the request.
fn denied(place: &str, status: StatusCode, body: &[u8]) -> Error {
    let words = serde_json::from_slice::<Denial>(body).ok().map(|denial| match denial.error_description {
        Some(description) => format!("{} ({description})", denial.error),
        None => denial.error,
    });
    let because = words.map_or_else(|| format!("it answers {status}"), |words| format!("it answers {status}: {words}"));
    if status.is_client_error() && !matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT) {
        return Error::new(Kind::Refused, "the token endpoint refuses the client (sasl.oauthbearer.client.id)")
            .at(place)
            .because(because)
            .hint("check sasl.oauthbearer.client.id, its secret (USERPIPE_SASL_CLIENT_SECRET) and the scope");
    }
    Error::new(Kind::Unreachable, "no token from sasl.oauthbearer.token.endpoint.url").at(place).because(because)
}

async fn capped(answer: &mut Response) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|e| chain(&e))? {
        if body.len() + chunk.len() > BYTES_MAX {
            return Err(format!("its answer is longer than {BYTES_MAX} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The error and its causes; reqwest's own text leaves those out.
fn chain(error: &reqwest::Error) -> String {
    let mut text = String::from("cannot ask it");
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}

/// As `application/x-www-form-urlencoded` has it.
fn form_of(pairs: &[(&str, &str)]) -> String {
    let Ok(mut url) = Url::parse("form:/") else { return String::new() };
    url.query_pairs_mut().extend_pairs(pairs);
    url.query().unwrap_or_default().to_owned()
}

/// User and password of HTTP's basic scheme are encoded first (RFC 6749, 2.3.1).
fn encoded(text: &str) -> String {
    form_of(&[("", text)]).trim_start_matches('=').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jwt(claims: &str) -> String {
        format!("e30.{}.signature", URL_SAFE_NO_PAD.encode(claims))
    }

    fn of_life(seconds: u64) -> Token {
        let expires = SystemTime::now().checked_add(Duration::from_secs(seconds));
        Token { text: Secret::new("t"), expires }
    }

    #[test]
    fn the_end_of_a_token_is_read_from_its_claims() {
        let at = |seconds| Some(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(expiry_of(&jwt(r#"{"sub":"a","exp":1700000000}"#)), at(1_700_000_000));
        assert_eq!(expiry_of(&jwt(r#"{"exp":1700000000.0}"#)), at(1_700_000_000));
        for opaque in ["opaque", "a.b", "a.!.c", &jwt("{}"), &jwt(r#"{"exp":-1}"#), &jwt(r#"{"exp":1e300}"#)] {
            assert_eq!(expiry_of(opaque), None, "{opaque}");
        }
    }

    #[test]
    fn a_token_is_replaced_before_its_end_and_krafka_never_asks_without_a_pause() {
        let used = |token: &Token| good_until(token).duration_since(SystemTime::now()).unwrap_or_default().as_secs();
        assert!((7..=8).contains(&used(&of_life(10))), "a fifth before");
        assert!((3538..=3540).contains(&used(&of_life(3600))), "a minute before");
        assert_eq!(used(&of_life(0)), 0);
        assert!(used(&Token { text: Secret::new("t"), expires: None }) <= UNKNOWN_LIFE.as_secs());
        let soon = SystemTime::now() + Duration::from_secs(34);
        let soon = i64::try_from(soon.duration_since(UNIX_EPOCH).expect("after it").as_millis()).expect("in range");
        assert!(expires_ms(&of_life(1)).is_some_and(|told| told > soon), "krafka asks on for the last 30 s");
    }

    #[tokio::test]
    async fn a_file_is_read_anew_and_holds_one_token() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("token");
        let tokens = Tokens { source: TokenSource::File(path.clone()), newest: std::sync::Arc::default() };
        for text in ["first", "second"] {
            std::fs::write(&path, format!("{text}\n")).expect("written");
            assert_eq!(get(&tokens).await.expect("a token").text.expose(), text);
        }
        for bad in ["", "two words", "two\nlines"] {
            std::fs::write(&path, bad).expect("written");
            assert_eq!(get(&tokens).await.expect_err(bad).kind(), Kind::Config);
        }
    }

    #[test]
    fn a_denial_is_told_by_its_fields_and_only_a_clients_fault_is_final() {
        let error = denied("https://idp", StatusCode::UNAUTHORIZED, br#"{"error":"invalid_client","echo":"hunter2"}"#);
        assert_eq!(error.kind(), Kind::Refused);
        assert!(error.to_string().ends_with("it answers 401 Unauthorized: invalid_client"), "{error}");
        for passing in [StatusCode::TOO_MANY_REQUESTS, StatusCode::BAD_GATEWAY] {
            assert_eq!(denied("https://idp", passing, b"hunter2").kind(), Kind::Unreachable);
        }
    }

    #[test]
    fn a_form_is_encoded() {
        assert_eq!(form_of(&[("scope", "a b&c"), ("x", "1")]), "scope=a+b%26c&x=1");
        assert_eq!(encoded("me:é"), "me%3A%C3%A9");
    }
}
