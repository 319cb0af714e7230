//! The quick way of reading a user that is written as the API writes it: one walk over its bytes.

use std::ops::Range;

use super::super::cursor::Cursor;
use super::super::{NumberOrText, Text};
use super::{ApiUser, Dated, Location, Login, Name, Picture, Street};

/// A user that was walked over.
pub(in crate::record) struct Walked<'a> {
    /// What the parser would make of it.
    pub(super) user: ApiUser<'a>,
    /// Where its secrets are in the JSON, each with the comma before it; empty where they were left out already.
    pub(in crate::record) secrets: [Range<usize>; 2],
    /// Whether the JSON is written as `serde_json` writes it.
    pub(in crate::record) is_plain: bool,
}

/// A user whose keys are the API's, in the API's order and without a blank before them, and none of whose values is missing;
/// `None` for any other, which is the parser's. Passing the keys that must come next costs a fraction of finding out which
/// ones they are.
pub(in crate::record) fn user(json: &str) -> Option<Walked<'_>> {
    let mut cursor = Cursor::new(json);
    cursor.pass(r#"{"gender":"#)?;
    let gender = Some(text(&mut cursor)?);
    let name = name(&mut cursor)?;
    let location = location(&mut cursor)?;
    cursor.pass(r#","email":"#)?;
    let email = Some(text(&mut cursor)?);
    let (login, login_secrets) = login(&mut cursor)?;
    cursor.pass(r#","dob":{"date":"#)?;
    let dob = dated(&mut cursor)?;
    cursor.pass(r#","registered":{"date":"#)?;
    let registered = dated(&mut cursor)?;
    cursor.pass(r#","phone":"#)?;
    let phone = Some(text(&mut cursor)?);
    cursor.pass(r#","cell":"#)?;
    cursor.value()?;
    cursor.pass(r#","id":{"name":"#)?;
    cursor.value()?;
    let start = cursor.at();
    if cursor.pass(r#","value":"#).is_some() {
        cursor.value()?;
    }
    let id_secrets = start..cursor.at();
    cursor.pass(r#"},"picture":{"large":"#)?;
    cursor.value()?;
    cursor.pass(r#","medium":"#)?;
    let picture = Picture { medium: Some(text(&mut cursor)?) };
    cursor.pass(r#","thumbnail":"#)?;
    cursor.value()?;
    cursor.pass(r#"},"nat":"#)?;
    let nat = Some(text(&mut cursor)?);
    cursor.pass("}")?;
    let user = ApiUser { gender, name, location, email, login, dob, registered, phone, picture, nat };
    let is_plain = cursor.is_plain();
    cursor.ended().then_some(Walked { user, secrets: [login_secrets, id_secrets], is_plain })
}

#[inline]
fn text<'a>(cursor: &mut Cursor<'a>) -> Option<Text<'a>> {
    cursor.text().map(Text)
}

fn name<'a>(cursor: &mut Cursor<'a>) -> Option<Name<'a>> {
    cursor.pass(r#","name":{"title":"#)?;
    cursor.value()?;
    cursor.pass(r#","first":"#)?;
    let first = Some(text(cursor)?);
    cursor.pass(r#","last":"#)?;
    let last = Some(text(cursor)?);
    cursor.pass("}")?;
    Some(Name { first, last })
}

fn location<'a>(cursor: &mut Cursor<'a>) -> Option<Location<'a>> {
    cursor.pass(r#","location":{"street":{"number":"#)?;
    let number = cursor.text_or_natural().map(NumberOrText)?;
    cursor.pass(r#","name":"#)?;
    let street = Street { number: Some(number), name: Some(text(cursor)?) };
    cursor.pass(r#"},"city":"#)?;
    let city = Some(text(cursor)?);
    cursor.pass(r#","state":"#)?;
    let state = Some(text(cursor)?);
    cursor.pass(r#","country":"#)?;
    let country = Some(text(cursor)?);
    cursor.pass(r#","postcode":"#)?;
    let postcode = cursor.text_or_natural().map(NumberOrText)?;
    cursor.pass(r#","coordinates":"#)?;
    cursor.value()?;
    cursor.pass(r#","timezone":"#)?;
    cursor.value()?;
    cursor.pass("}")?;
    Some(Location { street, city, state, country, postcode: Some(postcode) })
}

/// The login, and where its secrets are.
fn login<'a>(cursor: &mut Cursor<'a>) -> Option<(Login<'a>, Range<usize>)> {
    cursor.pass(r#","login":{"uuid":"#)?;
    let uuid = Some(text(cursor)?);
    cursor.pass(r#","username":"#)?;
    let username = Some(text(cursor)?);
    let start = cursor.at();
    if cursor.pass(r#","password":"#).is_some() {
        cursor.value()?;
        cursor.pass(r#","salt":"#)?;
        cursor.value()?;
        cursor.pass(r#","md5":"#)?;
        cursor.value()?;
        cursor.pass(r#","sha1":"#)?;
        cursor.value()?;
        cursor.pass(r#","sha256":"#)?;
        cursor.value()?;
    }
    let secrets = start..cursor.at();
    cursor.pass("}")?;
    Some((Login { uuid, username }, secrets))
}

/// After its first key.
fn dated<'a>(cursor: &mut Cursor<'a>) -> Option<Dated<'a>> {
    let date = Some(text(cursor)?);
    cursor.pass(r#","age":"#)?;
    cursor.value()?;
    cursor.pass("}")?;
    Some(Dated { date })
}

#[cfg(test)]
pub(in crate::record) mod tests {
    use proptest::prelude::*;
    use serde_json::value::RawValue;

    use super::super::super::without_secrets;

    /// As the API answers, byte for byte.
    pub(in crate::record) const USER: &str = concat!(
        r#"{"gender":"female","name":{"title":"Ms","first":"Vanessa","last":"Mitchell"},"location":{"street":{"number":8128,"#,
        r#""name":"Valley View Ln"},"city":"Terråk","state":"Capital Territory","country":"Australia","postcode":5579,"#,
        r#""coordinates":{"latitude":"58.4467","longitude":"64.8826"},"timezone":{"offset":"-12:00","description":"Eniwetok"}},"#,
        r#""email":"v.m@example.com","login":{"uuid":"f9d0ddd0-400b-43ae-836d-331f31145a01","username":"smallduck293","#,
        r#""password":"harvard","salt":"abToO4qn","md5":"e7d1","sha1":"9eb5","sha256":"fc95"},"#,
        r#""dob":{"date":"1948-04-30T01:13:18.467Z","age":78},"registered":{"date":"2021-03-10T18:22:35.595Z","age":5},"#,
        r#""phone":"01-1236-0082","cell":"0405-510-041","id":{"name":"TFN","value":"577001087"},"picture":"#,
        r#"{"large":"https://x/21.jpg","medium":"https://x/med/21.jpg","thumbnail":"https://x/thumb/21.jpg"},"nat":"AU"}"#,
    );

    /// The walk gives up, or has what the parser has; it takes nothing that the parser refuses.
    fn agrees_with_the_parser(json: &str) -> bool {
        let walked = super::user(json);
        let is_taken = walked.is_some();
        if let Some(walked) = walked {
            let parsed: super::ApiUser<'_> = serde_json::from_str(json).expect("what was walked over can be parsed");
            assert_eq!(format!("{:?}", walked.user), format!("{parsed:?}"), "{json}");
        }
        is_taken
    }

    #[test]
    fn a_user_as_the_api_writes_it_is_walked_over() {
        assert!(agrees_with_the_parser(USER));
        let raw: &RawValue = serde_json::from_str(USER).expect("the test's own JSON");
        assert!(agrees_with_the_parser(without_secrets(raw).get()), "nor is the ledger's backup");
        for (from, to) in [
            ("\"Terråk\"", r#""Terr\u00e5k \"\ud83d\ude00\\""#),
            ("5579", "\"0378\""),
            ("5579", "999999999999999999"),
            ("5579", "0"),
            ("5579", " 5579"),
            ("\"577001087\"", "null"),
            ("\"577001087\"", r#"[1,-2.5e300,{"a":[[],{}],"\ud800":"\ud800]}"},true]"#),
            ("\"0405-510-041\"", r#""\ud800""#),
        ] {
            assert!(agrees_with_the_parser(&USER.replace(from, to)), "{to}");
        }
    }

    #[test]
    fn what_is_written_otherwise_is_left_to_the_parser() {
        let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        for (from, to) in [
            ("\"cell\":", r#""nat":"NO","cell":"#),
            ("\"cell\":", r#""new":1,"cell":"#),
            ("\"cell\":", r#""c\u0065ll":"#),
            ("\"cell\":", " \"cell\":"),
            ("\"phone\":\"01-1236-0082\",", ""),
            ("\"0405-510-041\"", &deep),
            ("\"Terråk\"", r#""\ud800""#),
            ("\"Terråk\"", "null"),
            ("\"Terråk\"", "7"),
            ("5579", "-0"),
            ("5579", "1e400"),
            ("5579", "18446744073709551616"),
            ("5579", "{}"),
            ("\"AU\"}", "\"AU\",\"nat\":\"AU\"}"),
        ] {
            let json = USER.replace(from, to);
            assert!(serde_json::from_str::<&RawValue>(&json).is_ok(), "it is JSON: {to}");
            assert!(json != USER && super::user(&json).is_none(), "{to}");
        }
        for json in ["[1]", "null", "\"x\"", "7", "{}", r#"["female",{}]"#] {
            assert!(super::user(json).is_none(), "{json}");
        }
    }

    /// A user that chance has put something into; some of them are still JSON.
    pub(in crate::record) fn changed_user() -> impl Strategy<Value = String> {
        const PIECES: [&str; 16] =
            ["\"", "\\", "{", "}", "[", "]", ",", ":", "null", "1", "-", ".", "e9", " ", "\\u00e9", "[{}]"];
        prop::collection::vec((any::<prop::sample::Index>(), 0_usize..16), 1..4).prop_map(|changes| {
            let mut json = USER.to_owned();
            for (at, piece) in changes {
                let places: Vec<_> = json.char_indices().map(|(at, _)| at).collect();
                json.insert_str(*at.get(&places), PIECES[piece]);
            }
            json
        })
    }

    proptest! {
        #[test]
        fn the_walk_and_the_parser_agree(json in changed_user()) {
            if serde_json::from_str::<&RawValue>(&json).is_ok() {
                agrees_with_the_parser(&json);
            } else {
                let _ = super::user(&json);
            }
        }
    }
}
