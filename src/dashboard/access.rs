//! Who is answered: the Host of every request, the Origin and the token of changes, and the headers of every answer.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{Request, State};
use axum::http::header::{self, HeaderName};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Shared;
use super::answer::Problem;
use crate::config::DashboardConfig;
use crate::secret::Secret;

/// No script, style or connection but our own, nothing inline, and nobody frames the page.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// The headers of every answer.
const HEADERS: [(HeaderName, &str); 6] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];
/// Where a browser says what a request comes from.
const FETCH_SITE: &str = "sec-fetch-site";

/// What is asked of a request.
#[derive(Debug)]
pub(super) struct Access {
    token: Secret,
    hosts: Vec<String>,
    /// Where every address of this machine is listened on, none of them is known, and an address is no name that could
    /// be bound to another one.
    takes_any_address: bool,
    pub(super) needs_token_to_read: bool,
}

impl Access {
    /// For a listener at `bound`.
    pub(super) fn new(config: &DashboardConfig, bound: SocketAddr, token: Secret) -> Self {
        let loopback = ["localhost", "127.0.0.1", "[::1]"].map(str::to_owned);
        let own = match bound.ip() {
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        };
        Self {
            token,
            hosts: loopback.into_iter().chain([own]).chain(config.hosts.iter().cloned()).collect(),
            takes_any_address: bound.ip().is_unspecified(),
            needs_token_to_read: config.needs_token_to_read,
        }
    }

    /// Whether the request carries the token.
    pub(super) fn has_token(&self, headers: &HeaderMap) -> bool {
        let sent = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let sent = sent.and_then(|value| value.split_once(' ')).filter(|(kind, _)| kind.eq_ignore_ascii_case("bearer"));
        sent.is_some_and(|(_, token)| is_same(token.trim().as_bytes(), self.token.expose().as_bytes()))
    }

    /// Why a request is not answered.
    fn refusal(&self, method: &Method, path: &str, headers: &HeaderMap) -> Option<Problem> {
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let Some(host) = host.filter(|host| self.knows(host)) else {
            return Some(
                Problem::new(StatusCode::MISDIRECTED_REQUEST, "this server has another name")
                    .hint("call it by its address or localhost, or name it with --listen-host"),
            );
        };
        let is_api = path.starts_with("/api/");
        let is_foreign = headers.get(FETCH_SITE).is_some_and(|site| site == "cross-site");
        if is_api && is_foreign {
            return Some(Problem::new(StatusCode::FORBIDDEN, "another site asks"));
        }
        let is_change = *method != Method::GET && *method != Method::HEAD;
        if is_change && headers.get(header::ORIGIN).is_some_and(|origin| !is_own(origin, host)) {
            return Some(Problem::new(StatusCode::FORBIDDEN, "the Origin of the request is another site"));
        }
        let is_open = path == "/" || path.starts_with("/assets/") || path == "/healthz";
        if (is_change || (self.needs_token_to_read && !is_open)) && !self.has_token(headers) {
            return Some(Problem::no_token());
        }
        None
    }

    fn knows(&self, host: &str) -> bool {
        let name = without_port(host).to_ascii_lowercase();
        let is_address = || name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok();
        self.hosts.contains(&name) || (self.takes_any_address && is_address())
    }
}

/// `name:port` or `[::1]:port` without the port.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.chars().all(|c| c.is_ascii_digit()) && !port.ends_with(']') => name,
        _ => host,
    }
}

/// Whether an Origin is the page's own: a page of this very host and port. Something in front of us may have ended the
/// TLS, so the scheme is not compared.
fn is_own(origin: &HeaderValue, host: &str) -> bool {
    let origin = origin.to_str().unwrap_or_default();
    let place = ["http://", "https://"].iter().find_map(|scheme| origin.strip_prefix(scheme));
    place.is_some_and(|place| place.eq_ignore_ascii_case(host))
}

/// Compares in a time that depends on the lengths alone.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    let differences = one.iter().zip(other).fold(0, |sum, (a, b)| std::hint::black_box(sum | (a ^ b)));
    one.len() == other.len() && differences == 0
}

/// Lets a request through or refuses it, and gives every answer its headers.
pub(super) async fn guard(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let is_api = request.uri().path().starts_with("/api/");
    let refusal = shared.access.refusal(request.method(), request.uri().path(), request.headers());
    let mut response = match refusal {
        Some(problem) => problem.into_response(),
        None => next.run(request).await,
    };
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if is_api || !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(bound: &str, needs_token_to_read: bool) -> Access {
        let bound: SocketAddr = bound.parse().expect("an address");
        let config = DashboardConfig {
            address: bound,
            tls: None,
            hosts: vec!["users.example.org".to_owned()],
            token_file: None,
            data_dir: "data".into(),
            needs_token_to_read,
        };
        Access::new(&config, bound, Secret::new("0123456789abcdef"))
    }

    fn headers(list: &[(&'static str, &'static str)]) -> HeaderMap {
        list.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn only_known_hosts_are_answered() {
        let here = access("127.0.0.1:8080", false);
        for host in ["localhost", "localhost:8080", "LOCALHOST:1", "127.0.0.1:8080", "[::1]:8080", "users.example.org"]
        {
            assert!(here.knows(host), "{host}");
        }
        for host in ["", "evil.example", "evil.example:8080", "127.0.0.1.evil.example", "localhost.evil", "10.0.0.1"] {
            assert!(!here.knows(host), "{host}");
        }
        let everywhere = access("0.0.0.0:8080", true);
        assert!(everywhere.knows("192.0.2.7:8080") && everywhere.knows("[2001:db8::1]:8080"));
        assert!(!everywhere.knows("evil.example:8080"));
        assert!(access("192.0.2.7:80", true).knows("192.0.2.7"));
    }

    #[test]
    fn a_change_needs_the_token_and_an_origin_of_its_own() {
        let here = access("127.0.0.1:8080", false);
        let bearer = ("authorization", "Bearer 0123456789abcdef");
        let own = ("host", "localhost:8080");
        let post = |list: &[(&'static str, &'static str)]| {
            here.refusal(&Method::POST, "/api/runs/trigger", &headers(list)).map(|problem| problem.status.as_u16())
        };
        assert_eq!(post(&[own, bearer]), None);
        assert_eq!(post(&[own, bearer, ("origin", "http://localhost:8080")]), None);
        assert_eq!(post(&[own]), Some(401));
        for wrong in ["Bearer 0123456789abcdeF", "Bearer 0123456789abcde", "Bearer ", "Basic 0123456789abcdef"] {
            assert_eq!(post(&[own, ("authorization", wrong)]), Some(401), "{wrong}");
        }
        for origin in ["http://localhost:8081", "http://evil.example", "null", "http://localhost:8080.evil.example"] {
            assert_eq!(post(&[own, bearer, ("origin", origin)]), Some(403), "{origin}");
        }
        assert_eq!(post(&[own, bearer, ("sec-fetch-site", "cross-site")]), Some(403));
        assert_eq!(post(&[("host", "evil.example"), bearer]), Some(421));
        assert_eq!(post(&[bearer]), Some(421), "no Host at all");
    }

    #[test]
    fn reading_needs_nothing_here_and_the_token_elsewhere() {
        let get = |access: &Access, path: &str, list: &[(&'static str, &'static str)]| {
            access.refusal(&Method::GET, path, &headers(list)).map(|problem| problem.status.as_u16())
        };
        let (here, far) = (access("127.0.0.1:8080", false), access("192.0.2.7:8080", true));
        assert_eq!(get(&here, "/api/overview", &[("host", "localhost:8080")]), None);
        let host = ("host", "192.0.2.7:8080");
        for path in ["/", "/assets/app.js", "/healthz"] {
            assert_eq!(get(&far, path, &[host]), None, "{path}");
        }
        for path in ["/api/overview", "/api/session", "/metrics", "/readyz"] {
            assert_eq!(get(&far, path, &[host]), Some(401), "{path}");
            assert_eq!(get(&far, path, &[host, ("authorization", "bearer 0123456789abcdef")]), None, "{path}");
        }
    }
}
