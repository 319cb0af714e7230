//! Recorded users through the whole pipeline, compared with an independent reading of the same files.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use uuid::Uuid;

use crate::database::{FIELDS, UserRow};
use crate::mock::MockApi;
use crate::sandbox::Sandbox;

/// The project's own recorded users.
const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/randomuser");

/// Text as the rules want it: trimmed, or nothing where it is empty, null or missing.
fn text(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    (!text.is_empty()).then_some(text)
}

/// The row of one API user, without its `timestamp`, by the issue's own words; `None` where a needed field lacks.
fn expected_row(user: &Value) -> Option<UserRow> {
    let exact = |pointer: &str| user.pointer(pointer).and_then(Value::as_str);
    let name = ["/login/uuid", "/nat", "/email", "/dob/date", "/registered/date"].map(exact);
    let name = name.into_iter().collect::<Option<Vec<_>>>()?.join("\u{1f}");
    let namespace = Uuid::new_v5(&Uuid::NAMESPACE_URL, b"https://randomuser.me/");
    let get = |pointer: &str| text(user.pointer(pointer).unwrap_or(&Value::Null));
    let address = format!(
        "{} {}, {}, {}, {}",
        get("/location/street/number")?,
        get("/location/street/name")?,
        get("/location/city")?,
        get("/location/state")?,
        get("/location/country")?
    );
    let values = [
        Uuid::new_v5(&namespace, name.as_bytes()).to_string(),
        get("/name/first")?,
        get("/name/last")?,
        get("/gender")?,
        get("/email")?,
        get("/login/username")?,
        get("/phone")?,
        address,
        get("/location/postcode")?,
        get("/dob/date")?,
        get("/registered/date")?,
        get("/picture/medium")?,
    ];
    Some(FIELDS.map(str::to_owned).into_iter().zip(values).collect())
}

/// All users of a directory's files.
fn recorded(directory: &Path) -> Vec<Value> {
    let mut users = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let mut answer: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
            users.append(answer["results"].as_array_mut().unwrap());
        }
    }
    users
}

/// Sends all recorded users through `run --once` into the embedded sink; how many rows came of them.
fn arrive_field_by_field(directory: &Path) -> usize {
    let users = recorded(directory);
    let expected: BTreeMap<_, _> = users.iter().filter_map(expected_row).map(|row| (row["id"].clone(), row)).collect();
    let sandbox = Sandbox::new();
    let mock = MockApi::with(&sandbox, &format!("--data {}", directory.display()));
    let run = format!("run --once --count {0} --results {0} --api-url {1}", users.len(), mock.url);
    let output = sandbox.userpipe(&run).ok();

    let mut rows = sandbox.database().users();
    for row in &mut rows {
        let timestamp = row.remove("timestamp").unwrap();
        assert!(timestamp.len() == 24 && timestamp.ends_with('Z'), "UTC with milliseconds: {timestamp}");
    }
    let rejected = users.len() - users.iter().filter_map(expected_row).count();
    let told = format!("rejected {rejected}");
    assert!(rejected == 0 || output.stderr.contains(&told), "{told} in {}", output.stderr);
    assert_eq!(rows, expected.into_values().collect::<Vec<_>>());
    sandbox.userpipe("consume --from-beginning -e").ok();
    assert_eq!(sandbox.database().ids().len(), rows.len(), "reading it all again changes nothing");
    rows.len()
}

#[test]
fn the_projects_own_users_arrive_field_by_field() {
    let users = recorded(Path::new(FIXTURES));
    assert!(users.len() >= 5);
    assert_eq!(arrive_field_by_field(Path::new(FIXTURES)), users.len() - 1, "all but the one without a country");
}

#[test]
#[ignore = "needs USERPIPE_SAMPLES, a directory of recorded API answers"]
fn the_real_users_arrive_field_by_field() {
    let samples = std::env::var_os("USERPIPE_SAMPLES").expect("USERPIPE_SAMPLES names a directory");
    let users = recorded(Path::new(&samples)).len();
    assert_eq!(arrive_field_by_field(Path::new(&samples)), users, "none is rejected, and no id comes twice");
}
