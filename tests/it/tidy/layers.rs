//! Who may import whom.

use std::collections::{BTreeMap, BTreeSet};

use syn::visit::{self, Visit};

use super::{Source, is_test, nobody, sources};

/// The stages: none of them knows another. `pipeline` joins them.
const STAGES: [&str; 4] = ["source", "ledger", "bus", "sink"];

/// Modules below the stages: they know no stage, and nothing that joins stages.
const GROUND_FLOOR: [&str; 14] = [
    "encoding",
    "error",
    "files",
    "metrics",
    "net",
    "record",
    "retry",
    "run_log",
    "seam",
    "secret",
    "shutdown",
    "sql",
    "tls",
    "transform",
];

/// Which module of the crate may use which, and does.
const MAY_USE: [(&str, &[&str]); 27] = [
    ("error", &[]),
    ("files", &[]),
    ("net", &[]),
    ("metrics", &[]),
    ("seam", &[]),
    ("secret", &[]),
    ("retry", &["error"]),
    ("shutdown", &["error"]),
    ("tls", &["error", "files"]),
    ("record", &[]),
    ("run_log", &["record"]),
    ("encoding", &["config", "error", "record", "retry"]),
    ("transform", &["encoding", "record"]),
    ("sql", &["config", "error", "retry", "tls"]),
    // The command line is parsed into the types of those it is for: start offsets, faults of the mock.
    ("cli", &["bus", "config", "mock_api", "record"]),
    ("config", &["cli", "error", "files", "record", "secret", "tls", "transform"]),
    ("terminal", &["cli", "error", "metrics", "run_log"]),
    ("source", &["config", "error", "metrics", "record", "retry"]),
    ("ledger", &["error", "record", "sql"]),
    ("bus", &["config", "error", "net", "record", "retry", "secret", "sql", "tls"]),
    ("sink", &["config", "error", "record", "retry", "secret", "sql", "tls"]),
    // It answers as the API does, with the users of the synthetic source.
    ("mock_api", &["config", "error", "metrics", "source"]),
    (
        "pipeline",
        &[
            "bus",
            "cli",
            "config",
            "encoding",
            "error",
            "ledger",
            "metrics",
            "record",
            "retry",
            "run_log",
            "seam",
            "sink",
            "source",
            "sql",
            "transform",
        ],
    ),
    (
        "inspect",
        &[
            "bus",
            "config",
            "encoding",
            "error",
            "ledger",
            "net",
            "pipeline",
            "record",
            "sink",
            "source",
            "sql",
            "transform",
        ],
    ),
    // It reads what the pipeline counts and what is in its way.
    ("endpoints", &["error", "metrics", "pipeline"]),
    // It tells what the others hold; of the stages it knows what they call things.
    (
        "dashboard",
        &[
            "bus",
            "config",
            "encoding",
            "endpoints",
            "error",
            "inspect",
            "ledger",
            "metrics",
            "pipeline",
            "record",
            "run_log",
            "secret",
            "tls",
            "transform",
        ],
    ),
    (
        "commands",
        &[
            "bus",
            "cli",
            "config",
            "dashboard",
            "encoding",
            "endpoints",
            "error",
            "inspect",
            "ledger",
            "metrics",
            "mock_api",
            "pipeline",
            "record",
            "shutdown",
            "sink",
            "source",
            "terminal",
            "transform",
        ],
    ),
];

#[test]
fn no_module_uses_what_it_may_not() {
    let table: BTreeMap<&str, BTreeSet<&str>> =
        MAY_USE.iter().map(|(user, used)| (*user, used.iter().copied().collect())).collect();
    let mut offenders = Vec::new();
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let sources = sources(&["src"]);
    let tests = test_files(&sources);
    for source in sources.iter().filter(|source| !tests.contains(&source.path)) {
        let module = module_of(&source.path);
        let Some(user) = module.first().cloned() else { continue };
        let mut visitor = Uses { module, used: BTreeSet::new() };
        visitor.visit_file(&source.syntax);
        for used in visitor.used.into_iter().filter(|used| *used != user && table.contains_key(used.as_str())) {
            if !table.get(user.as_str()).is_some_and(|may| may.contains(used.as_str())) {
                offenders.push(format!("{} uses crate::{used}", source.path));
            }
            found.entry(user.clone()).or_default().insert(used);
        }
    }
    for (user, may) in &table {
        for used in may.iter().filter(|used| !found.get(*user).is_some_and(|found| found.contains(**used))) {
            offenders.push(format!("{user} does not use {used} any more: take it out of MAY_USE"));
        }
    }
    nobody("a module uses what MAY_USE does not allow it", &offenders);
}

#[test]
fn stages_know_no_stage_and_the_ground_floor_knows_none_either() {
    let above = ["pipeline", "inspect", "commands", "mock_api", "terminal"];
    for (user, may) in MAY_USE {
        let is_low = STAGES.contains(&user) || GROUND_FLOOR.contains(&user);
        for used in may.iter().filter(|_| is_low) {
            assert!(!STAGES.contains(used) && !above.contains(used), "{user} may use {used}");
        }
    }
}

#[test]
fn every_module_of_the_crate_has_its_row() {
    let rows: BTreeSet<String> = MAY_USE.iter().map(|(module, _)| (*module).to_owned()).collect();
    let modules: BTreeSet<String> =
        sources(&["src"]).iter().filter_map(|source| module_of(&source.path).into_iter().next()).collect();
    assert_eq!(modules, rows);
}

/// `src/bus/kafka/mod.rs` is `bus::kafka`; the crate's root has no name.
fn module_of(path: &str) -> Vec<String> {
    let inner = path.trim_start_matches("src/").trim_end_matches(".rs");
    let mut names: Vec<String> = inner.split('/').map(str::to_owned).collect();
    if names.last().is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str())) {
        names.pop();
    }
    names
}

/// Files that are modules under `#[cfg(test)]`.
pub(super) fn test_files(sources: &[Source]) -> BTreeSet<String> {
    let mut files = BTreeSet::new();
    for source in sources {
        let folder = match source.path.strip_suffix("/mod.rs").or(source.path.strip_suffix("/lib.rs")) {
            Some(folder) => folder,
            None => source.path.trim_end_matches(".rs"),
        };
        for item in &source.syntax.items {
            if let syn::Item::Mod(module) = item
                && module.content.is_none()
                && is_test(&module.attrs)
            {
                let below = format!("{folder}/{}/", module.ident);
                files.insert(format!("{folder}/{}.rs", module.ident));
                files.extend(sources.iter().map(|source| source.path.clone()).filter(|path| path.starts_with(&below)));
            }
        }
    }
    files
}

/// The crate's modules that one file names, outside its tests.
struct Uses {
    module: Vec<String>,
    used: BTreeSet<String>,
}

impl Uses {
    /// Notes the module of the crate that a path leads to.
    fn note(&mut self, path: &[String]) {
        let climbs = path.iter().take_while(|name| *name == "super").count();
        let name = match path.first().map(String::as_str) {
            Some("crate") => path.get(1),
            Some("super") if climbs >= self.module.len() => path.get(climbs),
            _ => None,
        };
        self.used.extend(name.cloned());
    }

    fn note_tree(&mut self, before: &[String], tree: &syn::UseTree) {
        let with = |ident: &syn::Ident| {
            let mut path = before.to_vec();
            path.push(ident.to_string());
            path
        };
        match tree {
            syn::UseTree::Path(path) => self.note_tree(&with(&path.ident), &path.tree),
            syn::UseTree::Name(name) => self.note(&with(&name.ident)),
            syn::UseTree::Rename(rename) => self.note(&with(&rename.ident)),
            syn::UseTree::Glob(_) => self.note(before),
            syn::UseTree::Group(group) => group.items.iter().for_each(|tree| self.note_tree(before, tree)),
        }
    }
}

impl<'ast> Visit<'ast> for Uses {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if !is_test(&item.attrs) {
            self.note_tree(&[], &item.tree);
        }
    }

    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if !is_test(&module.attrs) {
            self.module.push(module.ident.to_string());
            visit::visit_item_mod(self, module);
            self.module.pop();
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.note(&path.segments.iter().map(|segment| segment.ident.to_string()).collect::<Vec<_>>());
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, mac: &'ast syn::Macro) {
        // What a macro is given has no syntax tree: its paths are found in the text.
        let text = mac.tokens.to_string().replace(' ', "");
        for after in text.split("crate::").skip(1) {
            let name = after.split(|c: char| c != '_' && !c.is_ascii_alphanumeric()).next().unwrap_or_default();
            self.used.insert(name.to_owned());
        }
        visit::visit_macro(self, mac);
    }
}
