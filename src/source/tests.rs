//! The choice of a source, and what the tests of all sources share.

use std::time::Duration;

use super::*;
use crate::error::Kind;
use crate::mock_api::tests::start;

/// A configuration for tests: pages of 20 users, two attempts, short limits.
pub(crate) fn config(kind: SourceKind, api_url: &str) -> SourceConfig {
    // Another test of this process may have installed it already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    SourceConfig {
        kind,
        api_url: api_url.to_owned(),
        page_size: 20,
        seed: None,
        nationalities: Vec::new(),
        gender: None,
        connect_timeout: Duration::from_secs(5),
        request_timeout: Duration::from_secs(5),
        attempts_max: 2,
    }
}

#[test]
fn a_source_tells_what_it_is() {
    let describe = |kind, url| config(kind, url).to_string();
    let api = |url| describe(SourceKind::Api, url);
    assert_eq!(api("https://randomuser.me/api/1.4/"), "api randomuser.me");
    assert_eq!(api("https://randomuser.me:443/api/1.4/"), "api randomuser.me");
    assert_eq!(api("http://[::1]:8080/api/1.4/"), "api [::1]:8080");
    assert_eq!(describe(SourceKind::Synthetic, "x"), "synthetic");
    assert_eq!(describe(SourceKind::Auto, "http://localhost/"), "auto");
    let new = |kind, url| AnySource::new(&config(kind, url), 1).map(|_| ()).map_err(|error| error.kind());
    assert_eq!(new(SourceKind::Api, "not a url"), Err(Kind::Config));
    assert_eq!(new(SourceKind::Synthetic, "x"), Ok(()), "no URL needed");
    assert_eq!(new(SourceKind::Auto, "http://localhost/"), Ok(()));
}

#[tokio::test]
async fn auto_asks_the_api_and_stays_with_synthetic_users_once_it_failed() {
    let mock = start(&[]).await;
    let settings = SourceConfig { seed: Some("auto".to_owned()), ..config(SourceKind::Auto, &mock.url) };
    let mut source = AnySource::new(&settings, 3).expect("a URL");
    let page = source.page(5).await.expect("the API answers");
    let expected = synthetic::users("auto", 3, 5, &[], None).expect("synthetic");
    assert_eq!(page.users.len(), 5);
    assert_eq!(page.users[4].get(), expected[4].get());

    let refused = start(&["403"]).await;
    let settings = config(SourceKind::Auto, &refused.url);
    let mut source = AnySource::new(&settings, 1).expect("a URL");
    let drawn = source.seed().map(str::to_owned);
    assert_eq!(source.page(5).await.expect("falls back").users.len(), 5);
    assert_eq!(source.page(5).await.expect("stays").users.len(), 5);
    assert_eq!(refused.requests(), 1, "the API is not asked again");
    assert_ne!(source.seed().map(str::to_owned), drawn, "the seed told is that of the users handed out");
    assert_eq!(source.next_page(), None, "a drawn seed never comes again");
}
