//! What must arrive, from the API's files: a second reading of the rules that shares no code with the program.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use uuid::Uuid;

/// The text of every column by its name; ids and dates as the topic writes them.
pub(super) type Row = BTreeMap<String, String>;

/// The 13 columns.
pub(super) const COLUMNS: [&str; 13] = [
    "id",
    "first_name",
    "last_name",
    "gender",
    "email",
    "username",
    "phone",
    "address",
    "post_code",
    "dob",
    "registered_date",
    "picture",
    "timestamp",
];

/// What the users of a directory's JSON files become.
pub(super) struct Expected {
    /// Users in the files.
    pub(super) users: usize,
    /// By id, without `timestamp`, which is that of the fetch. Users without a country (LEGO) are not among them.
    pub(super) rows: BTreeMap<String, Row>,
}

impl Expected {
    /// # Panics
    /// If a file is not an answer of the API, or two users have one id.
    pub(super) fn read(directory: &Path) -> Self {
        let mut expected = Self { users: 0, rows: BTreeMap::new() };
        for entry in directory.read_dir().unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let answer: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
            for user in answer["results"].as_array().unwrap() {
                expected.users += 1;
                if user["location"]["country"].is_null() {
                    continue;
                }
                let row = row(user);
                let twice = expected.rows.insert(row["id"].clone(), row);
                assert!(twice.is_none(), "{twice:?} comes twice");
            }
        }
        expected
    }
}

fn row(user: &Value) -> Row {
    let text = |path: &str| match user.pointer(path).unwrap() {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string(),
        other => panic!("{path} is {other}"),
    };
    let parts = ["/location/street/name", "/location/city", "/location/state", "/location/country"].map(text);
    let address = format!("{} {}", text("/location/street/number"), parts.join(", "));
    let values = [
        ("id", id(user).to_string()),
        ("first_name", text("/name/first")),
        ("last_name", text("/name/last")),
        ("gender", text("/gender")),
        ("email", text("/email")),
        ("username", text("/login/username")),
        ("phone", text("/phone")),
        ("address", address),
        ("post_code", text("/location/postcode")),
        ("dob", text("/dob/date")),
        ("registered_date", text("/registered/date")),
        ("picture", text("/picture/medium")),
    ];
    values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The design's identity: UUIDv5 of five fields exactly as the API gives them.
fn id(user: &Value) -> Uuid {
    let names = ["/login/uuid", "/nat", "/email", "/dob/date", "/registered/date"];
    let name = names.map(|path| user.pointer(path).and_then(Value::as_str).unwrap()).join("\u{1f}");
    Uuid::new_v5(&Uuid::new_v5(&Uuid::NAMESPACE_URL, b"https://randomuser.me/"), name.as_bytes())
}
