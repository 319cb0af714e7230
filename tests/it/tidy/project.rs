//! The files around the code: dependencies, containers, paths.

use super::{files, nobody, read};

#[test]
fn every_dependency_has_its_reason_above_it() {
    let manifest = read("Cargo.toml");
    let mut offenders = Vec::new();
    let mut section = "";
    let mut before = "";
    for line in manifest.lines() {
        if line.starts_with('[') {
            section = line;
        } else if section.ends_with("dependencies]") && line.contains(" = ") && !before.starts_with("# ") {
            offenders.push(line.to_owned());
        }
        before = line;
    }
    nobody("a dependency has no comment above it", &offenders);
}

/// Paths of somebody's machine say nothing to anybody else.
#[test]
fn no_file_names_a_path_of_one_machine() {
    let homes = [concat!("/ho", "me/"), concat!("/ro", "ot/"), concat!("/wo", "rk/")];
    // the home directory of the image's user
    let allowed = concat!("WORKDIR /ho", "me/nonroot");
    let mut offenders = Vec::new();
    for path in files("").iter().filter(|path| *path != "Cargo.lock" && is_text(path)) {
        for (index, line) in read(path).lines().enumerate() {
            if homes.iter().any(|home| line.contains(home)) && line != allowed {
                offenders.push(format!("{path}:{}: {line}", index + 1));
            }
        }
    }
    nobody("a file names a path of one machine", &offenders);
}

fn is_text(path: &str) -> bool {
    let names = ["Dockerfile", "LICENSE", "Makefile", "run", ".gitignore", ".dockerignore"];
    let ends = ["rs", "md", "toml", "yaml", "yml", "sh", "cql", "sql", "xml", "py", "service", "env"];
    let name = path.rsplit('/').next().unwrap_or(path);
    names.contains(&name) || name.rsplit_once('.').is_some_and(|(_, end)| ends.contains(&end))
}

/// The container runs without rights, on a root file system that it cannot write to.
#[test]
fn the_container_has_no_rights_and_no_shell() {
    let image = read("Dockerfile");
    let last = image.rsplit("\nFROM ").next().expect("a stage that is shipped");
    assert!(last.starts_with("gcr.io/distroless/") && last.contains("\nUSER nonroot\n"), "{last}");
    assert!(!last.contains("\nRUN "), "there is no shell to run anything with");
    let compose = read("compose.yaml");
    let ours = compose.split("\nservices:").next().expect("what our containers share");
    for line in ["read_only: true", "cap_drop: [ALL]", "no-new-privileges:true", "user: nonroot", "tmpfs: [\"/tmp:"] {
        assert!(ours.contains(line), "compose.yaml has no `{line}` for userpipe");
    }
    let published = compose.lines().filter(|line| line.trim().starts_with("ports: "));
    published.for_each(|line| assert!(line.contains("[\"127.0.0.1:"), "on loopback alone: {line}"));
}
