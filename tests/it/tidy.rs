//! The house rules, as tests: who may import whom, how large things get, and whether the documents say what is there.

mod documents;
mod layers;
mod project;
mod readme;
mod source;
mod sql;

use std::fs;
use std::path::Path;

use walkdir::WalkDir;

/// A Rust file of the project.
struct Source {
    /// From the project's root, with `/`.
    path: String,
    text: String,
    syntax: syn::File,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("cannot read {path}: {e}"))
}

/// The files below a folder, as paths from the root, without what is built or not ours.
fn files(folder: &str) -> Vec<String> {
    let skipped = ["target", ".git", "userpipe-data", "var"];
    let mut paths: Vec<String> = WalkDir::new(root().join(folder))
        .into_iter()
        .filter_entry(|entry| !entry.file_name().to_str().is_some_and(|name| skipped.contains(&name)))
        .map(|entry| entry.expect("the project's own files can be read"))
        .filter(|entry| entry.file_type().is_file())
        .filter_map(|entry| Some(entry.path().strip_prefix(root()).ok()?.to_str()?.to_owned()))
        .collect();
    paths.sort();
    paths
}

/// The Rust files below some folders.
fn sources(folders: &[&str]) -> Vec<Source> {
    let paths = folders.iter().flat_map(|folder| files(folder)).filter(|path| is_a(path, "rs"));
    let parse = |path: String| {
        let text = read(&path);
        let syntax = syn::parse_file(&text).unwrap_or_else(|e| panic!("cannot parse {path}: {e}"));
        Source { path, text, syntax }
    };
    paths.map(parse).collect()
}

/// Whether the file's name ends so.
fn is_a(path: &str, extension: &str) -> bool {
    Path::new(path).extension().is_some_and(|end| end == extension)
}

/// Whether an item is there for tests alone.
fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        syn::Meta::List(list) => list.path.is_ident("cfg") && list.tokens.to_string() == "test",
        meta => meta.path().segments.last().is_some_and(|segment| segment.ident == "test"),
    })
}

/// Fails with all offenders against a rule at once.
#[track_caller]
fn nobody(breaks: &str, offenders: &[String]) {
    assert!(offenders.is_empty(), "{breaks}:\n  {}\n", offenders.join("\n  "));
}
