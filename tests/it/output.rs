//! The conventions around the data: quiet, JSON logs, completions, the manual, the version.

use serde_json::Value;

use crate::sandbox::Sandbox;

#[test]
fn quiet_says_nothing_on_success() {
    let sandbox = Sandbox::new();
    for command in
        ["run --once --source synthetic", "produce --source synthetic", "consume -e", "init-schema --dry-run"]
    {
        let output = sandbox.userpipe(&format!("-q {command}")).ok();
        assert_eq!(output.stderr, "", "{command}");
    }
    let rejected = sandbox.userpipe("-q produce --input -").input("broken\n").fails(65);
    assert_eq!(rejected.stderr.lines().count(), 2, "the error and its hint: {}", rejected.stderr);
}

#[test]
fn json_logs_are_nothing_but_json() {
    let sandbox = Sandbox::new();
    for (command, code) in [
        ("run --once --source synthetic", 0),
        ("produce --input nowhere", 74),
        ("consume -e --cassandra 127.0.0.1:1", 69),
        ("run --once --source auto --brokers x", 78),
    ] {
        let output = sandbox.userpipe(&format!("--log-format json {command}")).output().expect_code(code);
        let lines: Vec<Value> = output.stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(lines.iter().all(|line| line["level"].is_string() && line["message"].is_string()), "{lines:?}");
        if code != 0 {
            let last = lines.last().unwrap();
            assert_eq!((last["level"].as_str(), last["exit_code"].as_i64()), (Some("ERROR"), Some(i64::from(code))));
            assert!(last["hint"].is_string(), "{last}");
        }
    }
}

#[test]
fn nothing_is_coloured_or_drawn_where_there_is_no_terminal() {
    let sandbox = Sandbox::new();
    let output =
        sandbox.bash("echo broken | userpipe produce --input -; userpipe run --once --source synthetic -v").ok();
    assert!(!output.stderr.contains('\u{1b}') && !output.stderr.contains('\r'), "{:?}", output.stderr);
}

#[test]
fn on_a_terminal_a_bar_is_drawn() {
    let sandbox = Sandbox::new();
    // `script` runs a command on a terminal of its own.
    let run = "script -qec 'userpipe run --source synthetic --for 1200ms --rate 20/s' /dev/null";
    let output = sandbox.bash(run).env("TERM", "xterm").ok();
    let drawn = output.stdout.split(['\r', '\n']).any(|line| line.contains("00:00:0") && line.contains("fetched 20"));
    assert!(drawn, "{:?}", output.stdout);
}

#[test]
fn every_shell_gets_its_completions() {
    let sandbox = Sandbox::new();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = sandbox.userpipe(&format!("completions {shell}")).ok().stdout;
        for word in ["init-schema", "from-beginning", "connect-timeout"] {
            assert!(script.contains(word), "{word} for {shell}");
        }
    }
    sandbox.bash("source <(userpipe completions bash) && complete -p userpipe").ok();
}

#[test]
fn the_manual_is_a_page_of_it() {
    let page = Sandbox::new().userpipe("man").ok().stdout;
    assert!(page.contains(".TH userpipe 1"), "{page}");
    for word in ["init\\-schema", "data\\-dir", "Exit codes"] {
        assert!(page.contains(word), "{word}");
    }
}

#[test]
fn each_command_has_a_page_of_its_own() {
    let sandbox = Sandbox::new();
    assert_eq!(sandbox.userpipe("man --dir share/man1").ok().stdout, "");
    let page = |name: &str| std::fs::read_to_string(sandbox.path("share/man1").join(name)).unwrap();
    assert!(page("userpipe.1").contains("userpipe\\-init\\-schema(1)"));
    assert!(page("userpipe-consume.1").contains("exit\\-at\\-end"));
    assert!(page("userpipe-runs-trigger.1").contains(".TH userpipe-runs-trigger 1"));
    sandbox.write("file", "");
    let output = sandbox.userpipe("man --dir file").fails(74);
    assert!(output.error().starts_with("cannot write the man pages at file: "), "{}", output.error());
}

#[test]
fn the_version_is_that_of_the_package() {
    let sandbox = Sandbox::new();
    let version = concat!("userpipe ", env!("CARGO_PKG_VERSION"), "\n");
    assert_eq!(sandbox.userpipe("--version").ok().stdout, version);
    assert_eq!(sandbox.userpipe("-V").ok().stdout, version);
}
