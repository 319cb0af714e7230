//! Which columns a record has, and which of them are written.

use super::resolve::bad;
use crate::error::Result;
use crate::record::{COLUMNS, OPTIONAL_COLUMNS, With, column};

/// Names less like what was written than this are no help.
const LIKENESS_MIN: f64 = 0.7;

/// The optional columns of `--with`.
///
/// # Errors
/// For a name that is none, with the nearest one.
pub(super) fn with(names: &[String]) -> Result<With> {
    let names: Vec<&str> = names.iter().map(|name| name.trim()).filter(|name| !name.is_empty()).collect();
    With::columns(&names).map_err(|name| match column(name) {
        Some(_) => bad("--with", &format!("`{name}` is one of the 13 columns that every record has; leave it out")),
        None => bad("--with", &unknown(name, &OPTIONAL_COLUMNS.iter().map(|c| c.name).collect::<Vec<_>>())),
    })
}

/// The columns that are written: those of `--columns`, else the 13 and those of `--with`; in the record's order, and always
/// the id.
///
/// # Errors
/// For a name that is none, with the nearest one, and for an optional one that `--with` does not name.
pub(super) fn written(names: &[String], with: &With) -> Result<Vec<&'static str>> {
    let known: Vec<&'static str> = COLUMNS.iter().chain(with.iter()).map(|column| column.name).collect();
    if names.is_empty() {
        return Ok(known);
    }
    let names: Vec<&str> = names.iter().map(|name| name.trim()).collect();
    for name in &names {
        if known.contains(name) {
            continue;
        }
        return Err(match column(name) {
            Some(_) => bad("--columns", &format!("`{name}` is a column that --with adds: --with {name}")),
            None => bad("--columns", &unknown(name, &known)),
        });
    }
    Ok(known.into_iter().filter(|name| *name == "id" || names.contains(name)).collect())
}

fn unknown(name: &str, known: &[&str]) -> String {
    let nearest = known
        .iter()
        .map(|known| (strsim::jaro_winkler(known, name), known))
        .filter(|(likeness, _)| *likeness > LIKENESS_MIN)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    let nearest = nearest.map(|(_, nearest)| format!(" (did you mean `{nearest}`?)")).unwrap_or_default();
    format!("`{name}` is none of {}{nearest}", known.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn names(columns: &[&str], optional: &[&str]) -> Option<Vec<&'static str>> {
        written(&list(columns), &with(&list(optional)).ok()?).ok()
    }

    #[test]
    fn columns_keep_the_records_order_and_always_have_the_id() {
        assert_eq!(names(&["email", " first_name"], &[]), Some(vec!["id", "first_name", "email"]));
        assert_eq!(names(&[], &[]).map(|c| c.len()), Some(13));
        assert_eq!(names(&["salary"], &[]), None);
        let all = names(&[], &["country", "age", " country", ""]).expect("known names");
        assert_eq!((all.len(), &all[12..]), (15, &["timestamp", "age", "country"][..]));
        assert_eq!(names(&["country", "dob"], &["age", "country"]), Some(vec!["id", "dob", "country"]));
    }

    #[test]
    fn a_name_that_is_none_comes_with_the_nearest() {
        let refused = |name: &str| with(&list(&[name])).expect_err("unknown").to_string();
        assert!(refused("contry").ends_with("(did you mean `country`?)"), "{}", refused("contry"));
        assert!(refused("salary").contains("`salary` is none of title, age, nationality, "), "{}", refused("salary"));
        assert!(refused("email").contains("one of the 13"), "{}", refused("email"));
        let refused = |name: &str| written(&list(&[name]), &With::default()).expect_err("refused").to_string();
        assert!(refused("country").ends_with("--with country"), "{}", refused("country"));
        assert!(refused("emial").ends_with("(did you mean `email`?)"), "{}", refused("emial"));
    }
}
