//! `--where` and `--map` on every command that has them, and `verify` with and without the same filter.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::database::Database;
use crate::sandbox::{Output, Sandbox};

const WOMEN: &str = r#".gender == "female""#;
/// Fails on one person only.
const NOT_THE_SECOND: &str = r#"if .username == "u2" then error("not this one") else .first_name |= ascii_upcase end"#;

/// Users of these numbers, a line each; the even ones are men.
fn users(numbers: std::ops::Range<u32>) -> String {
    let user = |number: u32| {
        let user = json!({
            "id": format!("00000000-0000-5000-8000-{number:012}"), "first_name": "Ann", "last_name": "Other",
            "gender": if number.is_multiple_of(2) { "male" } else { "female" }, "email": "a@b.c",
            "username": format!("u{number}"), "phone": "1", "address": "1 X, Y, Z, W", "post_code": "0378",
            "dob": "1990-01-01T00:00:00.000Z", "registered_date": "2010-01-01T00:00:00.000Z", "picture": "p",
            "timestamp": "2026-01-01T00:00:00.000Z",
        });
        format!("{user}\n")
    };
    numbers.map(user).collect()
}

/// A sandbox with these users on the bus, as they are.
fn produced(numbers: std::ops::Range<u32>) -> (Sandbox, Database) {
    let sandbox = Sandbox::new();
    sandbox.userpipe("produce --input -").input(users(numbers)).ok();
    let database = sandbox.database();
    (sandbox, database)
}

/// The counts of the last line on standard error.
fn counts(output: &Output) -> &str {
    output.last_line().rsplit_once(" in ").unwrap_or_default().0
}

fn names(database: &Database) -> BTreeSet<String> {
    database.texts("SELECT username || ' ' || first_name FROM created_users").into_iter().collect()
}

fn verified(output: &Output) -> Value {
    output.json_lines().pop().unwrap_or_default()
}

#[test]
fn fetch_lets_a_person_try_them() {
    let sandbox = Sandbox::new();
    let fetch = "fetch --source synthetic --seed try --count 40";
    let all = sandbox.userpipe(fetch).ok().json_lines();
    let women = sandbox.userpipe(fetch).arg("--where").arg(WOMEN).arg("--map").arg(".gender |= ascii_upcase").ok();
    let expected = all.iter().filter(|user| user["gender"] == "female").count();
    assert_eq!(women.json_lines().len(), expected);
    assert!(women.json_lines().iter().all(|user| user["gender"] == "FEMALE"));
    assert_eq!(women.last_line(), format!("--where dropped {} of 40 users", 40 - expected));

    let failing = sandbox.userpipe(fetch).arg("--map").arg(r#".id = "x""#).fails(1);
    assert_eq!(failing.error(), "every one of the 40 users was rejected");
    assert!(failing.stderr.contains("rejected a user: --map: id: "), "{}", failing.stderr);
    assert_eq!(sandbox.userpipe(fetch).arg("--where").arg("false").ok().stdout, "", "none is no failure");
    sandbox.userpipe("fetch --raw --where .id").output().expect_code(2);
}

#[test]
fn a_mistake_is_shown_with_a_caret_before_anything_is_connected_to() {
    let sandbox = Sandbox::new();
    for command in [
        "fetch",
        "produce --source synthetic",
        "consume",
        "run --once --source synthetic",
        "verify",
        "produce --input -",
    ] {
        let refused = sandbox.userpipe(command).arg("--where").arg(r#".gender = == "female""#).fails(78);
        let lines: Vec<_> = refused.stderr.lines().skip_while(|line| !line.starts_with("error: ")).collect();
        let [what, expression, caret, hint] = lines[..] else { panic!("{command}: {}", refused.stderr) };
        assert_eq!(what, "error: bad value of --where: expected term, found `==`");
        assert_eq!((expression, caret), (r#"  .gender = == "female""#, "            ^"));
        assert!(hint.starts_with("hint: try it on a few users with 'userpipe fetch "), "{hint}");
    }
    let map = sandbox.userpipe("consume").env("USERPIPE_MAP", ".a | now").fails(78);
    assert!(map.error().starts_with("bad value of --map: `now` is left out"), "{}", map.error());
    sandbox.write("userpipe.toml", "[consume]\nwhere = '.gender | nowhere'\n");
    let file = sandbox.userpipe("consume").fails(78);
    assert_eq!(file.error(), "bad value of --where: there is no filter `nowhere`");
    assert!(!sandbox.path("userpipe-data").exists(), "nothing was opened");
}

#[test]
fn produce_stores_only_what_is_let_through_and_names_what_it_fails_on() {
    let sandbox = Sandbox::new();
    let filtered = sandbox.userpipe("produce --input - --where").arg(r#".gender == "male""#).input(users(0..10)).ok();
    assert_eq!(counts(&filtered), "fetched 10 · produced 5 · filtered 5");
    assert!(filtered.stderr.contains("--where dropped 5 of 10 users"), "{}", filtered.stderr);
    let database = sandbox.database();
    assert_eq!(database.number("SELECT count(*) FROM outbox"), 5);

    let input = sandbox.userpipe("produce --input - --map").arg(NOT_THE_SECOND).input(users(1..4));
    let rejected = input.output().expect_code(65);
    assert_eq!(counts_before_error(&rejected), "fetched 3 · produced 2 · rejected 1");
    let reasons = database.texts("SELECT id || ' ' || reason FROM rejections");
    assert_eq!(reasons, ["00000000-0000-5000-8000-000000000002 --map: not this one"]);

    sandbox.userpipe("consume -e").ok();
    let traced = sandbox.userpipe("trace 00000000-0000-5000-8000-000000000002").ok();
    assert!(traced.stdout.contains("--map: not this one"), "{}", traced.stdout);
    let found = names(&database);
    assert!(found.contains("u1 ANN") && found.contains("u3 ANN") && found.contains("u4 Ann"), "{found:?}");
    let balanced = sandbox.userpipe("verify --json --where").arg(r#".gender == "male""#).ok();
    assert_eq!(verified(&balanced)["filtered"], 0, "what was dropped before the ledger is no business of anybody");

    let restore = sandbox.userpipe("produce --from-ledger --where .id").fails(78);
    assert_eq!(
        restore.error(),
        "--from-ledger sends what is stored as it is: --where and --map were for users that are not stored yet"
    );
}

/// The counts where an error follows.
fn counts_before_error(output: &Output) -> &str {
    let line = output.stderr.lines().find(|line| line.starts_with("fetched ")).unwrap_or_default();
    line.rsplit_once(" in ").unwrap_or_default().0
}

#[test]
fn consume_drops_and_verify_with_the_same_filter_balances() {
    let (sandbox, database) = produced(1..41);
    let filtered = sandbox.userpipe("consume -e --where").arg(WOMEN).ok();
    assert_eq!(counts(&filtered), "written 20 · filtered 20");
    assert_eq!(database.ids().len(), 20);
    assert_eq!(counts(&sandbox.userpipe("consume -e --where").arg(WOMEN).ok()), "nothing yet", "they are done");

    let balanced = sandbox.userpipe("verify --json --where").arg(WOMEN).ok();
    let found = verified(&balanced);
    assert_eq!((&found["sink"], &found["filtered"], &found["holes"]), (&json!(20), &json!(20), &json!(0)));
    assert!(balanced.last_line().contains("20 in the sink, 20 filtered"), "{}", balanced.last_line());
    let without = verified(&sandbox.userpipe("verify --json").output().expect_code(11));
    assert_eq!((&without["filtered"], &without["holes"]), (&json!(0), &json!(20)));

    let second = "00000000-0000-5000-8000-000000000002";
    let traced = sandbox.userpipe(&format!("trace {second} --where")).arg(WOMEN).ok();
    assert!(traced.stdout.contains(", committed, dropped by --where") && traced.stdout.contains("filtered"));
    sandbox.userpipe(&format!("trace {second}")).output().expect_code(11);

    // What is filtered excuses nothing else.
    assert_eq!(database.execute("DELETE FROM created_users WHERE username = 'u7'"), 1);
    let lost = verified(&sandbox.userpipe("verify --json --where").arg(WOMEN).output().expect_code(11));
    assert_eq!((&lost["filtered"], &lost["holes"]), (&json!(20), &json!(1)));
}

#[test]
fn what_has_expired_is_judged_by_the_ledgers_record() {
    let (sandbox, database) = produced(1..11);
    sandbox.userpipe("consume -e --where").arg(WOMEN).ok();
    database.execute("DELETE FROM bus_records WHERE topic = 'users_created'");
    let found = verified(&sandbox.userpipe("verify --json --where").arg(WOMEN).ok());
    let counted = ["expired", "sink", "filtered", "holes"].map(|name| found[name].as_u64());
    assert_eq!(counted, [Some(10), Some(5), Some(5), Some(0)]);
}

#[test]
fn a_goal_is_reached_when_everything_or_the_last_is_dropped() {
    let (sandbox, _) = produced(1..11);
    let none = sandbox.userpipe("consume -e --deadline 20s --where false").ok();
    assert_eq!(counts(&none), "filtered 10");
    let counted = sandbox.userpipe("consume --from-beginning --count 4 --where").arg("false").ok();
    assert_eq!(counts(&counted), "filtered 4");
    let stdout = sandbox.userpipe("consume --sink stdout -e --where").arg(WOMEN).ok();
    assert!(stdout.json_lines().iter().all(|user| user["gender"] == "female") && stdout.json_lines().len() == 5);

    let once = Sandbox::new().userpipe("run --once --source synthetic --count 20 --where false").ok();
    assert!(once.stderr.contains("fetched 20 · filtered 20 in "), "{}", once.stderr);
}

#[test]
fn a_tombstone_passes_in_its_place() {
    let sandbox = Sandbox::new();
    let database = sandbox.prepare();
    let (id, user) = (b"00000000-0000-5000-8000-000000000001", users(1..2));
    database.append("users_created", 0, Some(id), Some(user.as_bytes()));
    database.append("users_created", 0, Some(id), None);
    sandbox.userpipe("consume -e --where .id --map .").ok();
    assert!(database.ids().is_empty(), "it came last");
}

#[test]
fn run_transforms_once_before_the_ledger() {
    let sandbox = Sandbox::new();
    let run = "run --once --source synthetic --seed run --count 40";
    let run = sandbox.userpipe(run).arg("--where").arg(WOMEN).arg("--map").arg(r#".first_name += "!""#).ok();
    let database = sandbox.database();
    let first_names = database.texts("SELECT first_name FROM created_users");
    assert!(!first_names.is_empty() && first_names.len() < 40, "{}", run.stderr);
    assert!(first_names.iter().all(|name| name.ends_with('!') && !name.ends_with("!!")), "{first_names:?}");
    assert_eq!(database.number("SELECT count(*) FROM outbox"), i64::try_from(first_names.len()).unwrap());
    sandbox.userpipe("verify").ok();
    sandbox.userpipe("verify --where").arg(WOMEN).ok();
}

#[test]
fn what_a_mapping_fails_on_is_a_dead_letter_and_comes_in_after_the_fix() {
    let (sandbox, database) = produced(1..6);
    let first = sandbox.userpipe("consume -e --map").arg(NOT_THE_SECOND).ok();
    assert_eq!(counts(&first), "written 4 · dead letters 1");
    let letters = sandbox.userpipe("dead-letters list --json").ok().json_lines();
    let [letter] = &letters[..] else { panic!("{letters:?}") };
    assert_eq!((&letter["stage"], &letter["error"]), (&json!("transform"), &json!("--map: not this one")));
    sandbox.userpipe("verify").ok();

    sandbox.userpipe("dead-letters replay").ok();
    sandbox.userpipe("consume -e --map").arg(".first_name |= ascii_upcase").ok();
    assert_eq!(names(&database), (1..6).map(|n| format!("u{n} ANN")).collect());
    sandbox.userpipe("verify").ok();
}

#[test]
fn an_expression_that_never_ends_is_a_dead_letter_and_no_hang() {
    let (sandbox, database) = produced(1..4);
    let hangs = r#"if .username == "u1" then def f: f; f else . end"#;
    assert_eq!(counts(&sandbox.userpipe("consume -e --map").arg(hangs).ok()), "written 2 · dead letters 1");
    assert_eq!(database.ids().len(), 2);
}

#[test]
fn a_rewrite_changes_the_rows_and_not_their_times() {
    let (sandbox, database) = produced(1..4);
    sandbox.userpipe("consume -e").ok();
    let times = || database.texts("SELECT DISTINCT timestamp FROM created_users");
    let before = times();
    let rewrite = |map: &str| {
        sandbox.userpipe("consume --from-beginning -e --rewrite --map").arg(map).ok();
        names(&database)
    };
    assert!(rewrite(".first_name |= ascii_upcase").contains("u1 ANN"));
    assert!(rewrite(".first_name |= ascii_downcase").contains("u1 ann"), "and once more");
    assert_eq!(times(), before);
    sandbox.userpipe("verify").ok();
    // A newer record of the person wins as ever.
    let newer = users(1..2).replace("2026-01-01", "2026-01-02").replace("Ann", "New");
    sandbox.userpipe("produce --input -").input(newer).ok();
    sandbox.userpipe("consume -e").ok();
    assert!(names(&database).contains("u1 New"));
    assert!(rewrite(".first_name += \"!\"").contains("u1 New!"), "the newest is the one that is rewritten");
    assert_eq!(names(&database).len(), 3);

    let nowhere = sandbox.userpipe("consume -e --rewrite").fails(78);
    assert!(nowhere.error().starts_with("--rewrite needs a place to replay from: "), "{}", nowhere.error());
    let stdout = sandbox.userpipe("consume --from-beginning --rewrite --sink stdout").fails(78);
    assert!(stdout.error().starts_with("--rewrite needs a table: "), "{}", stdout.error());
}
