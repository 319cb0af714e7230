//! Synthetic users against the formatter, and against the API's rules.

use std::collections::HashSet;

use super::*;
use crate::config::NATIONALITIES;
use crate::record::{With, format};

fn made(seed: &str, page: u32, count: usize, nat: &[&str]) -> Vec<Box<RawValue>> {
    let nationalities: Vec<_> = nat.iter().map(|n| (*n).to_owned()).collect();
    users(seed, page, count, &nationalities, None).expect("known nationalities")
}

fn texts(users: &[Box<RawValue>]) -> Vec<&str> {
    users.iter().map(|u| u.get()).collect()
}

#[test]
fn every_user_of_every_nationality_formats() {
    for nat in NATIONALITIES {
        for raw in made("formats", 1, 500, &[nat]) {
            let user = format(&raw, Timestamp::now(), &With::all()).map_err(|r| format!("{nat}: {r}: {raw}"));
            let user = user.expect("a whole user");
            let (local, domain) = user.email().split_once('@').expect("an address");
            let (first, last) = local.split_once('.').expect("first.last");
            assert_eq!(domain, "example.com");
            assert!(!first.is_empty() && !last.is_empty() && user.email().is_ascii(), "{raw}");
            assert!(raw.get().len() < 1400, "{raw}");
        }
    }
}

#[test]
fn fifty_thousand_users_of_one_seed_have_as_many_ids() {
    let ids: HashSet<_> = (1..=10)
        .flat_map(|page| made("unique", page, 5000, &[]))
        .map(|raw| format(&raw, Timestamp::now(), &With::all()).expect("a whole user").id())
        .collect();
    assert_eq!(ids.len(), 50_000);
}

#[test]
fn the_same_question_has_the_same_answer_and_fewer_users_are_a_prefix() {
    let many = made("abc", 3, 50, &["NO", "IR"]);
    assert_eq!(texts(&many), texts(&made("abc", 3, 50, &["NO", "IR"])));
    assert_eq!(texts(&many)[..7], texts(&made("abc", 3, 7, &["NO", "IR"])));
    assert_ne!(texts(&many), texts(&made("abd", 3, 50, &["NO", "IR"])));
    assert_eq!(texts(&made("abc", 2, 5, &[])), texts(&made("abc2", 1, 5, &[])), "the API's rule for pages");
}

#[test]
fn keys_stand_in_the_apis_order() {
    let user = made("order", 1, 1, &["TR"]).remove(0);
    let keys = [
        "\"gender\"",
        "\"name\":{\"title\"",
        "\"first\"",
        "\"last\"",
        "\"location\":{\"street\":{\"number\"",
        "\"name\"",
        "\"city\"",
        "\"state\"",
        "\"country\"",
        "\"postcode\"",
        "\"coordinates\":{\"latitude\"",
        "\"longitude\"",
        "\"timezone\":{\"offset\"",
        "\"description\"",
        "\"email\"",
        "\"login\":{\"uuid\"",
        "\"username\"",
        "\"password\"",
        "\"salt\"",
        "\"md5\"",
        "\"sha1\"",
        "\"sha256\"",
        "\"dob\":{\"date\"",
        "\"age\"",
        "\"registered\":{\"date\"",
        "\"age\"",
        "\"phone\"",
        "\"cell\"",
        "\"id\":{\"name\":\"\",\"value\":null}",
        "\"picture\":{\"large\"",
        "\"medium\"",
        "\"thumbnail\"",
        "\"nat\":\"TR\"}",
    ];
    let mut rest = user.get();
    for key in keys {
        let after = rest.split_once(key).ok_or_else(|| format!("{key} is not where it should be in {user}"));
        rest = after.expect("all keys").1;
    }
    assert_eq!(rest, "");
}

#[test]
fn filters_are_honoured() {
    let users = users("f", 1, 300, &["DK".into(), "BR".into()], Some(Gender::Female)).expect("known");
    let nats = |nat: &str| users.iter().filter(|u| u.get().contains(&format!("\"nat\":\"{nat}\""))).count();
    assert!(nats("DK") > 100 && nats("BR") > 100 && nats("DK") + nats("BR") == 300);
    assert!(users.iter().all(|u| u.get().starts_with(r#"{"gender":"female""#)));
    assert!(users.iter().any(|u| u.get().contains(" \"},\"city\"")), "stray blanks in Brazil");
    assert_eq!(super::users("f", 1, 1, &["XX".into()], None).expect_err("no such").kind(), Kind::Config);
}

#[test]
fn norwegian_post_codes_keep_their_zeros_and_the_others_are_numbers() {
    assert!(made("p", 1, 300, &["NO"]).iter().any(|u| u.get().contains("\"postcode\":\"0")));
    for nat in NATIONALITIES {
        let text = ["CA", "GB", "NL", "NO"].contains(&nat);
        assert!(made("p", 1, 20, &[nat]).iter().all(|u| u.get().contains("\"postcode\":\"") == text), "{nat}");
    }
}

#[tokio::test]
async fn pages_go_on_from_call_to_call() {
    let config = crate::source::tests::config(crate::config::SourceKind::Synthetic, "http://unused/");
    let mut source = Synthetic::new(&config, 4);
    let seed = source.seed().to_owned();
    let first = source.page(3).await.expect("synthetic");
    let second = source.page(100_000).await.expect("synthetic");
    assert_eq!(texts(&first.users), texts(&made(&seed, 4, 3, &[])));
    assert_eq!(second.users.len(), config.page_size, "a page is never longer than asked for with --results");
    assert_eq!(texts(&second.users), texts(&made(&seed, 5, config.page_size, &[])));
    assert_eq!(source.next_page(), 6);
}
