//! An answer of the Random User API, or of whatever is in its place.

use bytes::Bytes;
use userpipe::record::{Timestamp, With, format, without_secrets};
use userpipe::source::random_user::users_of_page;

use super::{Corpus, INPUT_BYTES_MAX, TIME};

/// What an API user has and nothing of ours may have.
const SECRETS: [&str; 5] = ["password", "salt", "md5", "sha1", "sha256"];
/// The value that those have in the corpus, and the value of an API user's `id`.
const SECRET_VALUE: &str = "fuzz-secret";

/// A page that is taken has as many users as were asked for; no user has a secret after the formatter.
fn body(input: &[u8]) {
    for results in [1, 2] {
        if let Ok(users) = users_of_page(Bytes::copy_from_slice(input), results) {
            assert_eq!(users.len(), results);
            for raw in users {
                let at = Timestamp::saturating_from_unix_ms(1_790_000_000_000);
                let kept = without_secrets(&raw);
                let kept_user: serde_json::Value = serde_json::from_str(kept.get()).unwrap();
                for secret in SECRETS {
                    assert!(kept_user["login"].get(secret).is_none(), "{secret} in {kept}");
                }
                assert!(kept_user["id"].get("value").is_none(), "{kept}");
                if let Ok(user) = format(&raw, at, &With::all()) {
                    assert_eq!(format(&kept, at, &With::all()).as_ref(), Ok(&user), "what is kept makes the same user");
                    let shown = serde_json::to_string(&user).unwrap();
                    // A changed input may have moved the value to a place where it is none.
                    let is_elsewhere = raw.get().matches(SECRET_VALUE).count() > SECRETS.len() + 1;
                    assert!(!shown.contains(SECRET_VALUE) || is_elsewhere || moved(&raw), "{shown}");
                }
            }
        }
    }
}

/// Whether the value is anywhere but where the API has secrets.
fn moved(raw: &serde_json::value::RawValue) -> bool {
    without_secrets(raw).get().contains(SECRET_VALUE)
}

#[test]
fn page() {
    let corpus = Corpus::tried("page", body);
    let check = bolero::check!().with_max_len(INPUT_BYTES_MAX).with_test_time(TIME);
    check.for_each(|chance: &[u8]| corpus.vary(chance, body));
}
