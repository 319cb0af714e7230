//! The users that the mock serves: synthetic ones, or recorded ones with their bytes as they were recorded.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::query::Query;
use crate::config::Gender;
use crate::error::{Error, Kind, Result};
use crate::source::synthetic;

const DATA_HINT: &str = "give --data a directory with answers of the API as *.json";

/// Where the mock's users come from.
#[derive(Debug)]
pub enum Users {
    /// Synthetic users; requests that name no seed get those of this one.
    Synthetic(String),
    /// Recorded users.
    Recorded(Recorded),
}

/// Recorded users, in the order they are served.
#[derive(Debug)]
pub struct Recorded(Vec<RecordedUser>);

#[derive(Debug)]
struct RecordedUser {
    raw: Box<RawValue>,
    nat: String,
    gender: String,
}

impl Recorded {
    /// Reads the `results` of every `*.json` file of `directory`, joined in file-name order.
    ///
    /// # Errors
    /// [`Kind::LocalIo`] where a file cannot be read, [`Kind::BadData`] where it is no answer of the API or there
    /// are no users at all.
    pub fn read(directory: &Path) -> Result<Self> {
        let failed =
            |e| Error::new(Kind::LocalIo, "cannot read recorded users").at(shown(directory)).because(e).hint(DATA_HINT);
        let mut files = Vec::new();
        for entry in std::fs::read_dir(directory).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                files.push(path);
            }
        }
        files.sort();
        let mut users = Vec::new();
        for file in &files {
            users.extend(read_file(file)?);
        }
        if users.is_empty() {
            return Err(Error::new(Kind::BadData, "no recorded users").at(shown(directory)).hint(DATA_HINT));
        }
        Ok(Self(users))
    }

    /// How many users there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn read_file(file: &Path) -> Result<Vec<RecordedUser>> {
    #[derive(Deserialize)]
    struct Answer {
        results: Vec<Box<RawValue>>,
    }
    let text = std::fs::read_to_string(file).map_err(|e| {
        Error::new(Kind::LocalIo, "cannot read recorded users").at(shown(file)).because(e).hint(DATA_HINT)
    })?;
    let answer: Answer = serde_json::from_str(&text).map_err(|e| {
        Error::new(Kind::BadData, "not an answer of the API").at(shown(file)).because(e).hint(DATA_HINT)
    })?;
    Ok(answer.results.into_iter().map(RecordedUser::new).collect())
}

impl RecordedUser {
    fn new(raw: Box<RawValue>) -> Self {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Filtered<'a> {
            #[serde(borrow)]
            nat: Cow<'a, str>,
            #[serde(borrow)]
            gender: Cow<'a, str>,
        }
        // A recorded user without these is served as it is, where no filter asks for them.
        let filtered: Filtered<'_> = serde_json::from_str(raw.get()).unwrap_or_default();
        Self { nat: filtered.nat.into_owned(), gender: filtered.gender.into_owned(), raw }
    }
}

impl Users {
    /// The users of one answer, as JSON objects. Page P of recorded users is the P-th slice; the list wraps.
    ///
    /// # Errors
    /// Those of the synthetic source.
    pub(super) fn page(&self, query: &Query) -> Result<Vec<Cow<'_, str>>> {
        let whole: Vec<Cow<'_, str>> = match self {
            Self::Synthetic(seed) => {
                let seed = query.seed.as_ref().unwrap_or(seed);
                synthetic::users(seed, query.page, query.results, &query.nationalities, query.gender)?
                    .into_iter()
                    .map(|user| Cow::Owned(String::from(Box::<str>::from(user))))
                    .collect()
            }
            Self::Recorded(recorded) => recorded.page(query),
        };
        Ok(match &query.keys {
            Some(keys) => whole.iter().map(|user| Cow::Owned(only(user, keys))).collect(),
            None => whole,
        })
    }

    /// The seed that `info` tells.
    pub(super) fn seed<'a>(&'a self, query: &'a Query) -> &'a str {
        match (self, &query.seed) {
            (_, Some(seed)) | (Self::Synthetic(seed), None) => seed,
            (Self::Recorded(_), None) => "recorded",
        }
    }
}

impl Recorded {
    fn page(&self, query: &Query) -> Vec<Cow<'_, str>> {
        let matches = |user: &&RecordedUser| {
            (query.nationalities.is_empty() || query.nationalities.contains(&user.nat))
                && query.gender.map(Gender::as_str).is_none_or(|gender| gender == user.gender)
        };
        let users: Vec<_> = self.0.iter().filter(matches).collect();
        if users.is_empty() {
            return Vec::new();
        }
        let first = (query.page as usize - 1) * query.results % users.len();
        users.iter().cycle().skip(first).take(query.results).map(|user| Cow::Borrowed(user.raw.get())).collect()
    }
}

/// A user with only these keys, their values as they are.
fn only(user: &str, keys: &[&str]) -> String {
    let fields: BTreeMap<Cow<'_, str>, &RawValue> = serde_json::from_str(user).unwrap_or_default();
    let kept: Vec<_> =
        keys.iter().filter_map(|key| fields.get(*key).map(|value| format!("\"{key}\":{}", value.get()))).collect();
    format!("{{{}}}", kept.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mock_api::tests::fixtures;
    use std::collections::HashMap;

    fn page(users: &Users, parameters: &str) -> Vec<String> {
        let parameters: HashMap<_, _> = parameters
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let users = users.page(&Query::new(&parameters)).expect("a page");
        users.into_iter().map(Cow::into_owned).collect()
    }

    #[test]
    fn recorded_users_are_sliced_and_wrap() {
        let count = fixtures().count();
        let users = Users::Recorded(fixtures());
        let all = page(&users, &format!("results={count}"));
        assert_eq!(all.len(), count);
        assert_eq!(page(&users, "results=2&page=2"), all[2..4]);
        assert_eq!(page(&users, &format!("results=1&page={}", count + 1)), all[..1], "the list wraps");
        assert_eq!(page(&users, "results=20").len(), 20, "within a page too");
    }

    #[test]
    fn recorded_users_are_filtered() {
        let users = Users::Recorded(fixtures());
        let norwegians = page(&users, "results=2&nat=no");
        assert!(norwegians.iter().all(|user| user.contains(r#""nat":"NO""#)), "{norwegians:?}");
        let men = page(&users, "results=9&gender=male");
        assert!(men.iter().all(|user| user.contains(r#""gender":"male""#)), "{men:?}");
        assert!(page(&users, "results=2&nat=au").is_empty(), "there are none");
    }

    #[test]
    fn keys_keep_their_values_as_they_are() {
        let user = r#"{"gender":"male","name":{"first":"\u00e9 "},"nat":"FR"}"#;
        assert_eq!(only(user, &["name", "nat"]), r#"{"name":{"first":"\u00e9 "},"nat":"FR"}"#);
        assert_eq!(only(user, &["email"]), "{}");
    }

    #[test]
    fn a_directory_without_users_is_refused() {
        let empty = tempfile::tempdir().expect("a directory");
        assert_eq!(Recorded::read(empty.path()).expect_err("no files").kind(), Kind::BadData);
        std::fs::write(empty.path().join("x.json"), "[]").expect("written");
        assert_eq!(Recorded::read(empty.path()).expect_err("no answer").kind(), Kind::BadData);
        assert_eq!(Recorded::read(&empty.path().join("nowhere")).expect_err("nothing").kind(), Kind::LocalIo);
    }
}
