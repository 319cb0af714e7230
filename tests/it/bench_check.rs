//! `make bench-check` fails when it has to: its comparing part on made-up counts.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

/// The cases themselves, as `make bench-check` builds them.
#[expect(dead_code, reason = "its main is not ours")]
#[path = "../../benches/instructions/cases.rs"]
mod cases;

const ABOUT: &str = "# rustc 1.95.0\n# target x86_64-unknown-linux-gnu\n# libc glibc-2.36\n# valgrind 3.19.0\n";

/// A file of counts on the machine of the record.
fn counts(lines: &str) -> String {
    format!("{ABOUT}{lines}\n")
}

/// Whether these counts pass as ones of the recorded, and what is printed.
fn compare(recorded: &str, counted: &str) -> (bool, String) {
    let folder = TempDir::new().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/instructions/check.sh");
    let output = Command::new(script)
        .arg("compare")
        .args([file("recorded", recorded), file("counted", counted)])
        .output()
        .expect("the script runs");
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success() || output.status.code() == Some(1), "{text}");
    (output.status.success(), text)
}

#[track_caller]
fn passes(recorded: &str, counted: &str, says: &str) {
    let (passed, text) = compare(recorded, counted);
    assert!(passed && text.contains(says), "{text}");
}

#[track_caller]
fn fails(recorded: &str, counted: &str, says: &str) {
    let (passed, text) = compare(recorded, counted);
    assert!(!passed && text.contains(says), "{text}");
}

#[test]
fn five_percent_more_is_the_limit() {
    let recorded = counts("decode 900000 100000\nencode 500000 0");
    passes(&recorded, &recorded, "+0.0 %");
    passes(&recorded, &counts("decode 930000 110000\nencode 500000 0"), "+4.0 %");
    fails(&recorded, &counts("decode 950000 110000\nencode 500000 0"), "decode takes 6.0 % more");
    // the one that is worse is not made up for by the one that is better
    fails(&recorded, &counts("decode 100000 0\nencode 530000 0"), "encode takes 6.0 % more");
}

#[test]
fn who_is_stopped_is_told_how_to_go_on() {
    fails(&counts("decode 100 0"), &counts("decode 106 0"), "`make bench-record`");
    passes(&counts("decode 100 0"), &counts("decode 94 0"), "`make bench-record`");
}

#[test]
fn a_case_that_is_new_or_gone_fails() {
    fails(&counts("decode 100 0"), &counts("decode 100 0\nencode 100 0"), "encode is not recorded");
    fails(&counts("decode 100 0\nencode 100 0"), &counts("decode 100 0"), "encode is recorded, and no longer a case");
}

#[test]
fn what_is_no_file_of_counts_fails() {
    let good = counts("decode 100 0");
    for bad in [
        "decode",
        "decode 100",
        "decode many 0",
        "decode 0 0",
        "decode -100 0",
        "decode 100 0 0",
        "decode 1e9 0",
        "<<<<<<< HEAD",
    ] {
        fails(&counts(bad), &good, "is no count");
        fails(&good, &counts(bad), "is no count");
    }
    fails(&counts("decode 100 0\ndecode 200 0"), &good, "is no count");
    for empty in ["", "\n", ABOUT] {
        fails(empty, &good, "are empty");
        fails(&good, empty, "are empty");
    }
    fails("decode 100 0\n", &good, "lack rustc, target or libc");
    fails(&good, "decode 100 0\n", "lack rustc, target or libc");
}

/// What libc runs is not the developer's doing where libc is another one; what the program runs is.
#[test]
fn with_another_libc_the_program_is_compared_alone() {
    let recorded = counts("decode 1000 1000");
    let other = |lines: &str| counts(lines).replace("glibc-2.36", "glibc-2.39");
    passes(&recorded, &other("decode 1040 1500"), "what libc runs is left out");
    fails(&recorded, &other("decode 1060 1000"), "decode takes 6.0 % more");
}

#[test]
fn on_another_target_only_the_names_are_compared() {
    let recorded = counts("decode 1000 0");
    let other = |lines: &str| counts(lines).replace("x86_64", "aarch64");
    passes(&recorded, &other("decode 2000 0"), "only the names of the cases are compared");
    fails(&recorded, &other("encode 1000 0"), "encode is not recorded");
}

/// Another rustc is the developer's doing: the toolchain has its name in the project.
#[test]
fn with_another_rustc_all_is_compared() {
    let recorded = counts("decode 1000 0");
    fails(&recorded, &counts("decode 1060 0").replace("1.95.0", "1.96.0"), "this is 1.96.0");
}

#[test]
fn each_case_does_all_users_twice() {
    for (name, ready) in cases::CASES {
        let mut step = ready();
        assert_eq!((step(), step()), (cases::USERS, cases::USERS), "{name}");
    }
}

/// Whoever adds a case learns it here, without valgrind.
#[test]
fn the_recorded_cases_are_all_cases() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/instructions/recorded.txt");
    let recorded = std::fs::read_to_string(path).unwrap();
    passes(&recorded, &recorded, "+0.0 %");
    let recorded: Vec<&str> =
        recorded.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split(' ').next()).collect();
    let cases = cases::CASES.map(|(name, _)| name);
    assert_eq!(recorded, cases, "make bench-record");
}
