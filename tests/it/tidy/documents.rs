//! What the documents name exists: files, constants, tests.

use super::{files, is_a, nobody, read, root, sources};

/// An overview longer than this is none.
const ARCHITECTURE_LINES_MAX: usize = 200;

#[test]
fn the_architecture_stays_an_overview() {
    let lines = read("docs/architecture.md").lines().count();
    assert!(lines <= ARCHITECTURE_LINES_MAX, "docs/architecture.md has {lines} lines, of {ARCHITECTURE_LINES_MAX}");
}

#[test]
fn every_file_that_a_document_names_is_there() {
    let folders = ["src/", "tests/", "docs/", ".ci/", ".github/"];
    let mut offenders = Vec::new();
    for path in documents() {
        let text = read(&path);
        let spans = code_spans(&text).into_iter().map(|(line, span)| (line, span, false));
        for (line, name, is_link) in spans.chain(links(&text)) {
            let file = name.split("::").next().unwrap_or_default().split('#').next().unwrap_or_default();
            let from_root = folders.iter().any(|folder| file.starts_with(folder)) && !file.contains([' ', '*', '{']);
            let is_there = if is_link && !from_root {
                file.is_empty() || root().join(&path).with_file_name(file).exists()
            } else {
                !from_root || root().join(file).exists()
            };
            if !is_there {
                offenders.push(format!("{path}:{line}: {name}"));
            }
        }
    }
    nobody("a document names a file that is not there", &offenders);
}

/// A test is named as `tests/live/kafka.rs::its_name`; a rule of a contract as `tests/contracts/ledger.rs::its_name`.
#[test]
fn every_test_that_a_document_names_is_there() {
    let mut offenders = Vec::new();
    let mut tests = 0;
    for path in documents() {
        for (line, name) in code_spans(&read(&path)) {
            let Some((file, test)) = name.split_once(".rs::") else { continue };
            tests += 1;
            let file = format!("{file}.rs");
            let is_there = |text: String| ["(", "<"].iter().any(|next| text.contains(&format!("fn {test}{next}")));
            if !root().join(&file).exists() || !is_there(read(&file)) {
                offenders.push(format!("{path}:{line}: {name}"));
            }
        }
    }
    assert!(tests > 10, "docs/delivery.md names the tests of its guarantees, but only {tests} were found");
    nobody("a document names a test that is not there", &offenders);
}

#[test]
fn every_constant_that_a_document_names_is_there() {
    let code: String = sources(&["src", "tests"]).into_iter().map(|source| source.text).collect();
    let mut offenders = Vec::new();
    for path in documents().into_iter().filter(|path| path.starts_with("docs/")) {
        for (line, name) in code_spans(&read(&path)) {
            let is_constant =
                name.len() > 3 && name.chars().all(|c| c.is_ascii_uppercase() || c == '_' || c.is_ascii_digit());
            let is_there = code.contains(&format!("const {name}:")) || code.contains(&format!("\"{name}\""));
            if is_constant && name.contains('_') && !is_there {
                offenders.push(format!("{path}:{line}: {name}"));
            }
        }
    }
    nobody("a document names a constant that is not there", &offenders);
}

fn documents() -> Vec<String> {
    let mut paths = vec!["README.md".to_owned(), "CHANGELOG.md".to_owned()];
    paths.extend(files("docs").into_iter().filter(|path| is_a(path, "md")));
    paths
}

/// The lines within fences of these languages, with their numbers; lines that end with `\` are joined, and in a
/// `console` block only those after `$ ` are commands.
pub(super) fn fenced(text: &str, languages: &[&str]) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    let mut language: Option<&str> = None;
    let mut joined = String::new();
    for (index, line) in text.lines().enumerate() {
        if let Some(opens) = line.strip_prefix("```") {
            language = if language.is_some() { None } else { Some(opens) };
            continue;
        }
        let Some(language) = language.filter(|language| languages.contains(language)) else { continue };
        if let Some(part) = line.strip_suffix('\\') {
            joined.push_str(part);
            continue;
        }
        let whole = std::mem::take(&mut joined) + line;
        if language != "console" || whole.starts_with("$ ") {
            lines.push((index + 1, whole));
        }
    }
    lines
}

/// What stands between backticks outside fences, with its line.
pub(super) fn code_spans(text: &str) -> Vec<(usize, String)> {
    let mut spans = Vec::new();
    let mut is_fenced = false;
    for (index, line) in text.lines().enumerate() {
        if line.starts_with("```") {
            is_fenced = !is_fenced;
        } else if !is_fenced {
            spans.extend(line.split('`').skip(1).step_by(2).map(|span| (index + 1, span.to_owned())));
        }
    }
    spans
}

/// The targets of links to files.
fn links(text: &str) -> Vec<(usize, String, bool)> {
    let mut links = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for target in line.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if !target.contains("://") {
                links.push((index + 1, target.to_owned(), true));
            }
        }
    }
    links
}
