//! The API's rules for its parameters: bad ones are never an error, they fall back to a default.

use std::collections::HashMap;

use crate::config::{Gender, NATIONALITIES};

/// The most users of one answer; more give one.
const RESULTS_MAX: u32 = 5000;
/// The last page; one past it is page 1.
const PAGE_MAX: u32 = 10_000;

/// The keys of a user, in the API's order.
pub(super) const KEYS: [&str; 12] =
    ["gender", "name", "location", "email", "login", "dob", "registered", "phone", "cell", "id", "picture", "nat"];

/// What the API makes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Query {
    /// Users, 1 to 5000.
    pub(super) results: usize,
    /// Page, from 1.
    pub(super) page: u32,
    /// The seed, where one is given.
    pub(super) seed: Option<String>,
    /// Upper case; none is all.
    pub(super) nationalities: Vec<String>,
    /// Ignored beside a seed.
    pub(super) gender: Option<Gender>,
    /// The keys of every user; `None` is all of them, untouched.
    pub(super) keys: Option<Vec<&'static str>>,
    /// Whether `info` is left out.
    pub(super) noinfo: bool,
}

impl Query {
    pub(super) fn new(parameters: &HashMap<String, String>) -> Self {
        let text = |name: &str| parameters.get(name).map(String::as_str).filter(|text| !text.is_empty());
        let seed = text("seed").map(str::to_owned);
        Self {
            results: text("results").and_then(|t| whole(t, RESULTS_MAX)).unwrap_or(1) as usize,
            page: text("page").and_then(|t| whole(t, PAGE_MAX)).unwrap_or(1),
            nationalities: text("nat").map(nationalities).unwrap_or_default(),
            gender: text("gender").filter(|_| seed.is_none()).and_then(gender),
            keys: keys(text("inc"), text("exc")),
            noinfo: parameters.contains_key("noinfo"),
            seed,
        }
    }
}

/// A whole number from 1 to `max`, as JavaScript reads numbers (`5.0` and `1e2` are whole, `5.5` is not).
fn whole(text: &str, max: u32) -> Option<u32> {
    let number: f64 = text.trim().parse().ok()?;
    let fits = number.fract() == 0.0 && (1.0..=f64::from(max)).contains(&number);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole and from 1 to a u32")]
    fits.then_some(number as u32)
}

/// One that the API does not know, a blank around it included, drops the whole filter.
fn nationalities(text: &str) -> Vec<String> {
    let codes: Vec<_> = text.split(',').filter(|code| !code.is_empty()).map(str::to_uppercase).collect();
    if codes.iter().all(|code| NATIONALITIES.contains(&code.as_str())) { codes } else { Vec::new() }
}

fn gender(text: &str) -> Option<Gender> {
    [Gender::Female, Gender::Male].into_iter().find(|gender| gender.as_str() == text)
}

/// `inc` first, then `exc` from what is left.
fn keys(inc: Option<&str>, exc: Option<&str>) -> Option<Vec<&'static str>> {
    if inc.is_none() && exc.is_none() {
        return None;
    }
    let named = |list: &str, key: &str| list.split(',').any(|name| name.trim().eq_ignore_ascii_case(key));
    let included = |key: &str| inc.is_none_or(|list| named(list, key));
    let excluded = |key: &str| exc.is_some_and(|list| named(list, key));
    Some(KEYS.into_iter().filter(|key| included(key) && !excluded(key)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(parameters: &[(&str, &str)]) -> Query {
        Query::new(&parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn bad_results_are_one_user_and_bad_pages_page_one() {
        for bad in ["0", "-5", "5001", "2.5", "many", "", "NaN", "inf"] {
            assert_eq!(query(&[("results", bad)]).results, 1, "results={bad}");
            assert_eq!(query(&[("page", bad), ("results", "2")]).page, if bad == "5001" { 5001 } else { 1 });
        }
        assert_eq!(query(&[("results", "5000")]).results, 5000);
        assert_eq!(query(&[("page", "10001")]).page, 1);
    }

    #[test]
    fn one_bad_nationality_drops_the_filter() {
        let nat = |text| query(&[("nat", text)]).nationalities;
        assert_eq!(nat("fr,gb"), ["FR", "GB"]);
        assert_eq!(nat("Fr,,"), ["FR"]);
        assert!(nat("fr, gb").is_empty(), "a blank");
        assert!(nat("fr,xx").is_empty());
    }

    #[test]
    fn a_seed_beats_a_gender() {
        assert_eq!(query(&[("gender", "male")]).gender, Some(Gender::Male));
        assert_eq!(query(&[("gender", "male"), ("seed", "abc")]).gender, None);
        assert_eq!(query(&[("gender", "other")]).gender, None);
    }

    #[test]
    fn keys_are_included_and_excluded() {
        assert_eq!(query(&[]).keys, None);
        assert_eq!(query(&[("inc", "nat,name, x")]).keys, Some(vec!["name", "nat"]));
        assert_eq!(query(&[("inc", "nat,name"), ("exc", "nat")]).keys, Some(vec!["name"]));
        assert_eq!(query(&[("exc", "login")]).keys.map(|keys| keys.len()), Some(11));
        assert!(query(&[("noinfo", "")]).noinfo);
    }
}
