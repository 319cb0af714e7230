//! What expressions mean, what they may not do, and that none of them runs for ever.

use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::{Value as Json, json};
use uuid::Uuid;

use super::*;
use crate::record::{Extras, Fields, Timestamp, column};

fn json() -> Json {
    json!({
        "id": "00000000-0000-5000-8000-000000000001", "first_name": "Ann", "last_name": "Öther", "gender": "female",
        "email": "a@b.c", "username": "ann", "phone": "1", "address": "1 X, Y, Z, W", "post_code": "0378",
        "dob": "1990-01-01T00:00:00.000Z", "registered_date": "2010-01-01T00:00:00.000Z", "picture": "p",
        "timestamp": "2026-01-01T00:00:00.000Z", "country": "Norway", "age": 36,
    })
}

fn with() -> With {
    With::columns(&["country", "age", "latitude"]).expect("columns")
}

fn user() -> User {
    let codec = Codec::new(false, with());
    codec.decode(&json().to_string().into(), Timestamp::now()).expect("a user")
}

/// The same with other fields.
fn changed(fields: Fields<'_>) -> User {
    User::new(fields, user().extras().cloned().map(Box::new))
}

fn compiled(where_: Option<&str>, map: Option<&str>) -> Transform {
    match Transform::compile(where_, map, with()) {
        Ok(Some(transform)) => transform,
        other => unreachable!("{other:?}"),
    }
}

fn mapped(expression: &str) -> Result<User, String> {
    compiled(None, Some(expression)).apply(user()).map(|verdict| match verdict {
        Verdict::Keep(user) => user,
        Verdict::Filtered => unreachable!("there is no filter"),
    })
}

fn is_kept(expression: &str) -> Result<bool, String> {
    compiled(Some(expression), None).apply(user()).map(|verdict| verdict == Verdict::Keep(user()))
}

fn mistake(expression: &str) -> String {
    match Transform::compile(None, Some(expression), With::default()) {
        Err((MAP, mistake)) => mistake.to_string(),
        other => unreachable!("{other:?}"),
    }
}

#[test]
fn a_filter_keeps_what_is_neither_false_nor_null() {
    for kept in [
        r#".gender == "female""#,
        ".first_name",
        "0",
        r#".country == "Norway" and .age > 30"#,
        r#".last_name | test("^Öth")"#,
        r#"select(.gender == "female")"#,
        ".dob | fromdate < 1e9",
        r#"(.address | split(", ") | length) == 4"#,
        r#".id | startswith("0000")"#,
    ] {
        assert_eq!(is_kept(kept), Ok(true), "{kept}");
    }
    for dropped in ["false", "null", ".latitude", r#".gender == "male""#, "empty", "select(false)"] {
        assert_eq!(is_kept(dropped), Ok(false), "{dropped}");
    }
    assert_eq!(is_kept(".first_name, .last_name"), Err("--where: it gives more than one value".to_owned()));
    let failed = is_kept(".first_name.x").expect_err("a text has no fields");
    assert_eq!(failed, r#"--where: cannot index "Ann" with "x""#);
}

#[test]
fn a_mapping_makes_another_record_of_the_same_person() {
    let made = mapped(r#".first_name |= ascii_upcase | .email = (.email | sub("@.*"; "@example.com")) | .age += 1"#);
    let made = made.expect("a user");
    assert_eq!((made.first_name(), made.email()), ("ANN", "a@example.com"));
    assert_eq!(made.value(column("age").expect("a column")), Some(crate::record::Value::Int(37)));
    assert_eq!((made.id(), made.timestamp()), (user().id(), user().timestamp()));
    // As from the wire: a number as postal code, a date without a zone, a null column, an unknown field.
    let lenient =
        mapped(r#". + {post_code: 378, dob: "1990-01-01T10:00:00", country: null, more: [1]}"#).expect("a user");
    assert_eq!((lenient.post_code(), lenient.value(column("country").expect("a column"))), ("378", None));
    assert_eq!(lenient.dob().to_string(), "1990-01-01T10:00:00.000Z");
    assert_eq!(mapped("del(.timestamp)").expect("left out is not changed"), user());
}

#[test]
fn what_a_mapping_may_not_do_says_why() {
    let reason = |expression: &str| mapped(expression).expect_err(expression);
    assert_eq!(
        reason(r#".id = "00000000-0000-5000-8000-000000000002""#),
        "--map: it changes `id`, by which the record is known"
    );
    assert_eq!(
        reason(r#".timestamp = "2027-01-01T00:00:00Z""#),
        "--map: it changes `timestamp`, by which the newest record wins"
    );
    assert_eq!(reason("del(.id)"), "--map: id: missing or null");
    assert_eq!(reason("del(.email)"), "--map: email: missing or null");
    assert_eq!(reason(".phone = 1"), mapped(".phone = 2").expect_err("a number").replace('2', "1"));
    assert_eq!(reason(".first_name"), "--map: it gives no object");
    assert_eq!(reason("., ."), "--map: it gives more than one value");
    assert_eq!(reason("empty"), "--map: it gives no value; to drop records there is --where");
    assert_eq!(reason(r#"error("not\nthis one")"#), "--map: not this one");
    assert_eq!(reason(".age = nan"), reason(".age = infinite").replace("Infinity", "NaN"));
    let long = reason(r#"error("x" * 5000)"#);
    assert_eq!(long.chars().count(), "--map: ".len() + REASON_CHARS_MAX + 1);
}

#[test]
fn the_filter_comes_before_the_mapping() {
    let both = compiled(Some(r#".gender == "female""#), Some(r#".gender = "male""#));
    assert!(matches!(both.apply(user()), Ok(Verdict::Keep(user)) if user.gender() == "male"));
    let female = user();
    let male = changed(Fields { gender: "male", ..female.fields() });
    assert_eq!(both.apply(male), Ok(Verdict::Filtered));
}

#[test]
fn a_mistake_has_its_caret() {
    assert_eq!(
        mistake(r#".gender == "female"#),
        "there is no closing quote to this\n  .gender == \"female\n             ^"
    );
    assert_eq!(mistake(".a +"), "expected term, found the end\n  .a +\n      ^");
    assert_eq!(mistake(".a | uppercase"), "there is no filter `uppercase`\n  .a | uppercase\n       ^");
    assert_eq!(mistake("test(.a; .b; .c)"), "there is no filter `test` with 3 arguments\n  test(.a; .b; .c)\n  ^");
    assert_eq!(mistake(".a = $b"), "there is no variable `$b`\n  .a = $b\n       ^");
    assert!(mistake(".a ) .b").ends_with("\n  .a ) .b\n     ^"), "{}", mistake(".a ) .b"));
    assert!(mistake("").starts_with("expected term, found the end"), "{}", mistake(""));
    assert!(mistake(&"[".repeat(20_000)).starts_with("longer than 8192 bytes"));
    assert!(mistake(&"[".repeat(8_000)).starts_with("there is no closing bracket"), "as deep as it may be long");
    assert!(mistake(&".|".repeat(4_000)).starts_with("expected term"));
}

#[test]
fn what_differs_from_one_delivery_to_the_next_is_not_there() {
    for name in
        ["now", "env", "$ENV", "input", "inputs", "localtime", "halt", "halt_error", "debug", "stderr", "halt(1)"]
    {
        let text = mistake(name);
        assert!(text.contains("is left out: ") && text.ends_with("\n  ^"), "{name}: {text}");
    }
    for name in ["input_filename", "$__prog_args", "now | todate", r#"strflocaltime("%Z")"#, "getpath(env)"] {
        assert!(!mistake(name).is_empty());
    }
    for name in [r#"import "a" as a; ."#, r#"include "a"; ."#] {
        assert!(mistake(name).contains("\n  "), "a module is read from a file: {name}");
    }
}

#[test]
fn what_would_never_end_fails() {
    let steps = "--map: it takes more than 200000 steps; does it end?";
    let bytes = "--map: it makes more than 64 MiB of values";
    let depth = "--map: it nests values deeper than 100";
    for (expression, limit) in [
        ("def f: f; f", steps),
        ("until(false; .)", steps),
        ("last(repeat(1))", steps),
        ("[limit(1e9; repeat(1))]", steps),
        ("[range(1e12)]", steps),
        ("last(range(infinite))", steps),
        ("range(0; 1; 0) | select(false)", steps),
        (r#""x" * 1000000000000"#, bytes),
        (r#"1000000000000 * "x""#, bytes),
        (".first_name *= 1000000000000", bytes),
        (r#"reduce range(64) as $i ("x"; . + .)"#, bytes),
        (r#"reduce range(64) as $i ("x"; . += .)"#, bytes),
        ("reduce range(64) as $i ([1]; . + .)", bytes),
        (r#"reduce range(64) as $i ("x"; "\(.)\(.)")"#, bytes),
        ("reduce range(64) as $i (1; [., .])", bytes),
        ("reduce range(64) as $i (1; {a: ., b: .})", bytes),
        (r#"reduce range(64) as $i ("\""; tojson)"#, bytes),
        (r#"reduce range(99) as $i ("xx"; @base64)"#, bytes),
        (r#"("x" * 1000000) as $x | [range(1000)] | .[] = $x"#, bytes),
        (r#"("x" * 1000000) as $x | [range(1000) | tostring] | .[] += $x"#, bytes),
        (r#"reduce range(64) as $i ("x"; gsub("x"; "xx"))"#, steps),
        ("reduce range(1000) as $i (1; [.])", depth),
        (r#"("[" * 1000) | fromjson"#, depth),
    ] {
        let reason = mapped(expression).expect_err(expression);
        assert_eq!(reason, limit, "{expression}");
    }
    let reason = mapped("[[range(10000)], [range(10000)]] | [combinations]").expect_err("too many");
    assert!(reason == steps || reason == bytes, "{reason}");
    let reason = mapped("def f: 1 + f; f").expect_err("no tail call");
    assert!(reason.starts_with("--map: it calls itself too deeply"), "{reason}");
}

#[test]
fn what_is_large_and_ends_is_within_the_limits() {
    let long = r#".address = (.address * 1000 | gsub("X"; "Y") | .[:20]) | .phone = ([range(5000)] | add | tostring)"#;
    let made = mapped(long).expect("a user");
    assert_eq!((made.address(), made.phone()), ("1 Y, Y, Z, W1 Y, Y, ", "12497500"));
}

#[test]
fn charging_changes_no_meaning() {
    for (expression, expected) in [
        ("[(1, 2) * (10, 20)]", json!([10, 20, 20, 40])),
        ("{a: 2} * {b: {c: 1}}", json!({"a": 2, "b": {"c": 1}})),
        ("[1, 2] | .[] *= 3", json!([3, 6])),
        ("[1, 2] | .[] += (10, 20)", json!([11, 12])),
        ("[[1, 2] | .[] += (10, 20)]", json!([[11, 12], [21, 22]])),
        ("[path(.a, .b[0])]", json!([["a"], ["b", 0]])),
        ("[range(5; 0; -2)]", json!([5, 3, 1])),
        ("[range(0, 1; 3)]", json!([0, 1, 2, 1, 2])),
        ("[range(3) | range(.)]", json!([0, 0, 1])),
        ("[range(2.5)]", json!([0, 1, 2])),
        (r#""[1, {\"a\": null}] 2" | [fromjson]"#, json!([[1, {"a": null}], 2])),
        (r#""12" | tonumber"#, json!(12)),
        (r#"try ("[" | fromjson) catch "no""#, json!("no")),
        (r#""a,b" | [@json, @base64, ascii_upcase | length]"#, json!([5, 4, 3])),
        (r#"def f($x): if $x == 0 then "end" else f($x - 1) end; f(1000)"#, json!("end")),
        (r#""x" as $y | {$y, "a\($y)": 1, (["k"][0]): 2}"#, json!({"y": "x", "ax": 1, "k": 2})),
        ("{} | .a |= 1", json!({"a": 1})),
        ("[1, [2]] | (.[1][0], .[0]) |= . + 1", json!([2, [3]])),
    ] {
        let expression_of_it = format!("[null | {expression}] | first | tojson");
        let made = mapped(&format!(".address = ({expression_of_it})")).expect(expression);
        let found: Json = serde_json::from_str(made.address()).expect("JSON");
        assert_eq!(found, expected, "{expression}");
    }
}

#[tokio::test]
async fn many_are_judged_in_their_order_and_each_apart() {
    let transform = compiled(Some(r#".post_code != "2""#), Some(r#"if .post_code == "1" then error("no") else . end"#));
    let with_code = |code: u32| changed(Fields { post_code: &code.to_string(), ..user().fields() });
    let verdicts = Arc::new(transform).apply_all((0..4).map(with_code).collect()).await;
    let expected = [Ok(Verdict::Keep(with_code(0))), Err("--map: no".to_owned()), Ok(Verdict::Filtered)];
    assert_eq!(verdicts[..3], expected);
    assert_eq!(verdicts[3], Ok(Verdict::Keep(with_code(3))));
}

#[test]
fn without_an_expression_there_is_nothing_to_do() {
    assert!(matches!(Transform::compile(None, None, With::default()), Ok(None)));
}

fn any_user() -> impl Strategy<Value = User> {
    let ms = -2_000_000_000_000_i64..4_000_000_000_000;
    let texts = prop::collection::vec(any::<String>(), 4);
    (any::<u128>(), texts, ms, any::<Option<i32>>()).prop_map(|(id, texts, ms, age)| {
        let plain = user();
        let fields = Fields {
            id: Uuid::from_u128(id),
            timestamp: Timestamp::from_unix_ms(ms).expect("in range"),
            first_name: &texts[0],
            last_name: &texts[1],
            email: &texts[2],
            address: &texts[3],
            ..plain.fields()
        };
        let latitude = age.map(|age| f64::from(age % 900_000) / 10_000.0);
        let extras = Extras { age, latitude, ..plain.extras().cloned().expect("it has some") };
        User::new(fields, Some(Box::new(extras)))
    })
}

static IDENTITY: LazyLock<Transform> = LazyLock::new(|| compiled(None, Some(".")));
static ALL: LazyLock<Transform> = LazyLock::new(|| compiled(Some("true"), None));
static NONE: LazyLock<Transform> = LazyLock::new(|| compiled(Some("false"), None));

proptest! {
    #[test]
    fn the_identity_gives_the_same_user(user in any_user()) {
        prop_assert_eq!(IDENTITY.apply(user.clone()), Ok(Verdict::Keep(user)));
    }

    #[test]
    fn true_keeps_all_and_false_none(user in any_user()) {
        prop_assert_eq!(ALL.apply(user.clone()), Ok(Verdict::Keep(user.clone())));
        prop_assert_eq!(NONE.apply(user), Ok(Verdict::Filtered));
    }
}

proptest! {
    // Each case compiles the library too.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn compiling_never_panics(text in r#"[-+*/.|,;:$@"'(){}\[\] a-d0-9\n]{0,40}"#) {
        if let Ok(Some(transform)) = Transform::compile(Some(&text), None, With::default()) {
            let _ = transform.apply(user());
        }
    }
}
