//! What of an API user may be kept: everything but its secrets.

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::api::walk;

/// The API's own object less its secrets: for the ledger's raw backup and for `fetch --raw`. Always on one line.
///
/// What is no JSON object has no fields that could be told apart, so nothing of it is kept.
pub fn without_secrets(raw: &RawValue) -> Box<RawValue> {
    let kept = kept_as_written(raw.get()).and_then(|kept| RawValue::from_string(kept).ok());
    kept.unwrap_or_else(|| kept_as_read(raw.get()))
}

/// What is kept of any JSON.
fn kept_as_read(json: &str) -> Box<RawValue> {
    let mut user: Map<String, Value> = serde_json::from_str(json).unwrap_or_default();
    if let Some(Value::Object(login)) = user.get_mut("login") {
        login.retain(|key, _| matches!(key.as_str(), "uuid" | "username"));
    }
    if let Some(Value::Object(id)) = user.get_mut("id") {
        id.retain(|key, _| key == "name");
    }
    serde_json::value::to_raw_value(&user).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

/// What is kept of a user that is written as the API writes it: its bytes, but for those of its secrets. `None` for one that
/// is written otherwise.
fn kept_as_written(json: &str) -> Option<String> {
    let walk::Walked { secrets: [login, id], is_plain: true, .. } = walk::user(json)? else { return None };
    Some([json.get(..login.start)?, json.get(login.end..id.start)?, json.get(id.end..)?].concat())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::api::tests::{USER, at, raw};
    use super::super::api::walk::tests::{USER as API_USER, changed_user};
    use super::super::{With, format};
    use super::*;

    #[test]
    fn secrets_are_gone_and_the_rest_stays_in_order() {
        let kept = without_secrets(&raw(USER));
        for secret in ["harvard", "abToO4qn", "e7d1", "9eb5", "fc95", "30044842439", "future"] {
            assert!(!kept.get().contains(secret), "{secret} in {kept}");
        }
        assert!(kept.get().starts_with(r#"{"gender":"female","name":{"title":"Ms""#), "{kept}");
        assert!(kept.get().contains(r#""id":{"name":"FN"}"#), "{kept}");
        assert_eq!(format(&kept, at(), &With::default()), format(&raw(USER), at(), &With::default()));
    }

    #[test]
    fn both_ways_of_keeping_agree() {
        for (from, to) in [
            ("5579", "5578"),
            ("\"AU\"", r#""\"password\":\"harvard\"""#),
            ("\"577001087\"", "null"),
            ("\"577001087\"", r#"{"value":7}"#),
            ("\"58.4467\"", r#"[[1,"{"],{"login":{"salt":"not one of ours"}},true]"#),
            ("5579", "\"0378\""),
        ] {
            let json = API_USER.replace(from, to);
            let read = kept_as_read(&json);
            assert_eq!(kept_as_written(&json).as_deref().unwrap_or(read.get()), read.get(), "{to}");
            assert_eq!(kept_as_written(&json).is_some(), !json.contains('\\'), "{to}");
            let kept = without_secrets(&raw(&json));
            assert_eq!(without_secrets(&kept).get(), kept.get(), "what has none loses nothing");
            assert!(!kept.get().contains("abToO4qn") && !kept.get().contains("577001087"), "{kept}");
        }
    }

    #[test]
    fn what_is_written_in_another_way_is_kept_as_it_is_read_on_one_line() {
        let pretty: Value = serde_json::from_str(API_USER).expect("the test's own JSON");
        assert_eq!(without_secrets(&raw(&format!("{pretty:#}"))).get(), kept_as_read(API_USER).get());
        let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        for (from, to) in [
            ("\"password\":", r#""p\u0061ssword":"x","password":"#),
            ("\"login\":", r#""l\u006fgin":{"salt":"x"},"login":"#),
            ("\"login\":", r#""login":{"sha1":"a"},"login":"#),
            ("\"password\":", r#""password":"a","password":"#),
            ("\"id\":", r#""new":1,"id":"#),
            ("\"Terråk\"", r#""\ud800""#),
            ("\"58.4467\"", "1e400"),
            ("\"58.4467\"", "-0"),
            ("\"58.4467\"", "[1, 2]"),
            ("\"58.4467\"", &deep),
            ("5579", "\n5579"),
        ] {
            let json = API_USER.replace(from, to);
            assert_eq!(kept_as_written(&json), None, "{to}");
            assert_eq!(without_secrets(&raw(&json)).get(), kept_as_read(&json).get());
        }
    }

    proptest! {
        #[test]
        fn both_ways_of_keeping_agree_on_what_chance_has_changed(json in changed_user()) {
            if let Ok(user) = serde_json::from_str::<&RawValue>(&json) {
                let (kept, read) = (without_secrets(user), kept_as_read(&json));
                prop_assert_eq!(kept.get(), read.get());
            }
        }
    }
}
