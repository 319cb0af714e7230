//! `check`: set-ups that are broken for real, each named with what mends it, and nothing left behind by looking.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::mock::MockApi;
use crate::sandbox::{Run, Sandbox};

/// Nothing listens there.
const DEAD: &str = "127.0.0.1:1";

/// `check` without the API, for set-ups that are about something else.
fn check(sandbox: &Sandbox, arguments: &str) -> Run {
    sandbox.userpipe(&format!("check --source synthetic --json {arguments}"))
}

/// The only red line, as its name, what was found, and the fix.
fn only_red(run: Run) -> (String, String, String) {
    let lines = run.fails(10).json_lines();
    let mut reds = red(&lines);
    assert_eq!(reds.len(), 1, "{lines:#?}");
    reds.pop().unwrap()
}

fn red(lines: &[Value]) -> Vec<(String, String, String)> {
    let text = |line: &Value, name: &str| line[name].as_str().unwrap().to_owned();
    let reds = lines.iter().filter(|line| line["verdict"] == "fail");
    reds.map(|line| (text(line, "check"), text(line, "found"), text(line, "fix"))).collect()
}

/// A sandbox with everything that a pipeline needs.
fn prepared() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.userpipe("init-schema").ok();
    sandbox
}

#[test]
fn before_init_schema_it_says_so_and_afterwards_all_is_well() {
    let sandbox = Sandbox::new();
    let lines = check(&sandbox, "").fails(10).json_lines();
    let reds = red(&lines);
    assert_eq!(reds.iter().map(|red| red.0.as_str()).collect::<Vec<_>>(), ["topic", "table"]);
    assert!(reds.iter().all(|red| red.2.contains("userpipe init-schema")), "{reds:?}");
    assert!(!sandbox.path("userpipe-data").exists(), "looking makes nothing");

    sandbox.userpipe("init-schema").ok();
    sandbox.userpipe("run --once --source synthetic --count 20").ok();
    let files = || {
        let entries = std::fs::read_dir(sandbox.path("userpipe-data")).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = files();
    let lines = check(&sandbox, "").ok().json_lines();
    let verdicts: Vec<_> = lines.iter().map(|line| (line["check"].clone(), line["verdict"].clone())).collect();
    assert!(verdicts.iter().all(|(what, verdict)| verdict == "ok" || what == "disk space"), "{lines:#?}");
    for what in ["data directory", "disk space", "data file", "topic", "dead letters", "group", "table"] {
        assert!(verdicts.iter().any(|(check, _)| check == what), "{what} was not looked at");
    }
    let found = |what: &str| lines.iter().find(|line| line["check"] == what).unwrap()["found"].as_str().unwrap();
    assert_eq!((found("topic"), found("group")), ("3 partitions, 20 records", "no members, lag 0"));
    assert_eq!(files(), before, "looking leaves nothing");
}

#[test]
fn the_table_has_a_fix_below_each_red_line_and_no_colours_in_a_pipe() {
    let sandbox = Sandbox::new();
    let output = sandbox.userpipe("check --source synthetic").fails(10);
    assert_eq!(output.error(), "2 of 4 checks failed");
    let lines: Vec<_> = output.stdout.lines().collect();
    let red = lines.iter().position(|line| line.starts_with("fail  topic ")).unwrap();
    assert!(lines[red + 1].trim_start().starts_with("fix: create it with 'userpipe init-schema'"), "{}", output.stdout);
    assert!(!output.stdout.contains('\x1b'), "{:?}", output.stdout);
    // script(1) gives it a terminal.
    let drawn = sandbox.bash("script -qec 'userpipe check --source synthetic' /dev/null").output();
    assert!(drawn.stdout.contains("\x1b[31mfail\x1b[0m"), "{:?}", drawn.stdout);
    let plain = sandbox.bash("script -qec 'userpipe check --source synthetic' /dev/null").env("NO_COLOR", "1").output();
    assert!(plain.stdout.contains("fail  topic") && !plain.stdout.contains("\x1b[31m"), "{:?}", plain.stdout);
}

#[test]
fn what_cannot_be_reached_or_resolved_is_named_at_once() {
    let sandbox = Sandbox::new();
    for (arguments, check_name, words, fix) in [
        (format!("--ledger off --sink stdout -b {DEAD}"), "kafka", "refused", "--brokers"),
        ("--ledger off --sink stdout -b nowhere.invalid".to_owned(), "kafka", "cannot resolve the name", "DNS"),
        (format!("--ledger off --sink postgres --postgres postgres://a@{DEAD}/b"), "postgresql", "refused", "make up"),
    ] {
        let lines = check(&sandbox, &arguments).fails(10).json_lines();
        let reds: Vec<_> = red(&lines).into_iter().filter(|red| red.0 != "topic").collect();
        assert!(
            matches!(&reds[..], [(name, found, mend)] if name == check_name && found.contains(words) && mend.contains(fix)),
            "{arguments}: {lines:#?}"
        );
    }
    let cassandra = format!("--ledger off --cassandra nowhere.invalid,{DEAD}");
    let reds = red(&check(&sandbox, &cassandra).fails(10).json_lines());
    let named: Vec<_> = reds.iter().filter(|red| red.0 == "cassandra").map(|red| red.1.as_str()).collect();
    assert!(named[0].contains("cannot resolve the name") && named[1].contains("refused"), "{reds:?}");
}

#[test]
fn a_port_that_is_no_brokers_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        // Whatever it is told, it answers and hangs up.
        for stream in listener.incoming() {
            let _ = stream.unwrap().write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let sandbox = Sandbox::new();
    let arguments = format!("--ledger off --sink stdout --connect-timeout 2s -b {address}");
    let (what, found, fix) = only_red(check(&sandbox, &arguments));
    assert!(what == "kafka" && found.starts_with("cannot talk to Kafka"), "{what}: {found}");
    assert!(fix.contains("security.protocol=PLAINTEXT"), "{fix}");
}

#[test]
fn a_data_directory_that_cannot_be_one_is_named() {
    let sandbox = Sandbox::new();
    sandbox.write("file", "");
    for place in ["file", "file/below/it"] {
        let (what, found, fix) = only_red(check(&sandbox, &format!("--data-dir {place}")));
        assert_eq!(what, "data directory");
        assert!(found.contains("no directory") || found.contains("Not a directory"), "{place}: {found}");
        assert!(fix.contains("--data-dir"), "{fix}");
    }
}

#[test]
fn a_data_file_that_is_no_database_or_too_new_is_named() {
    let sandbox = prepared();
    sandbox.database().execute(
        "INSERT INTO _sqlx_migrations VALUES (99990101, 'of the future', '2099-01-01 00:00:00', TRUE, X'00', 1)",
    );
    let (what, found, _) = only_red(check(&sandbox, ""));
    assert_eq!((what.as_str(), found.as_str()), ("data file", "was written by a newer userpipe"));
    let place = "data file ./userpipe-data/userpipe.db";
    let health = sandbox.userpipe("health").fails(10);
    assert_eq!(health.error(), format!("{place}: was written by a newer userpipe"));

    sandbox.write("userpipe-data/userpipe.db", "something else entirely, and long enough to be looked at".repeat(50));
    let (what, found, fix) = only_red(check(&sandbox, ""));
    assert!(what == "data file" && found.contains("file is not a database"), "{what}: {found}");
    assert!(fix.contains("another place with --data-dir"), "{fix}");
}

/// Opening it would bring it up to date, under the feet of older processes.
#[test]
fn a_data_file_of_an_older_version_is_a_warning_and_is_left_as_it_is() {
    let sandbox = prepared();
    let database = sandbox.database();
    database.execute("DELETE FROM _sqlx_migrations WHERE version > 1");
    let lines = check(&sandbox, "").ok().json_lines();
    let file = lines.iter().find(|line| line["check"] == "data file").unwrap();
    assert!(file["verdict"] == "warn" && file["found"].as_str().unwrap().contains("an older userpipe"), "{file}");
    assert!(!lines.iter().any(|line| line["check"] == "topic" || line["check"] == "table"), "{lines:#?}");
    assert_eq!(database.number("SELECT max(version) FROM _sqlx_migrations"), 1);
    sandbox.userpipe("health").ok();
}

#[test]
fn a_table_that_lacks_a_column_or_has_it_otherwise_is_named() {
    let sandbox = prepared();
    let database = sandbox.database();
    database.execute("ALTER TABLE created_users DROP COLUMN phone");
    let (what, found, fix) = only_red(check(&sandbox, ""));
    assert!(what == "table" && found.contains("it has no column phone"), "{what}: {found}");
    assert!(fix.contains("--columns id,first_name,"), "{fix}");
    check(&sandbox, "--columns id,email").ok();

    database.execute("ALTER TABLE created_users ADD COLUMN phone INTEGER");
    let (_, found, _) = only_red(check(&sandbox, ""));
    assert!(found.contains("column phone is INTEGER, not TEXT"), "{found}");

    let (_, found, fix) = only_red(check(&sandbox, "--table another"));
    assert!(found.starts_with("there is no such table") && fix.contains("init-schema"), "{found}: {fix}");
    assert_eq!(database.number("SELECT count(*) FROM sqlite_master WHERE name = 'another'"), 0, "looking makes none");
}

#[test]
fn a_group_of_another_sink_is_named() {
    let sandbox = Sandbox::new();
    sandbox.userpipe("run --once --source synthetic --count 5 -G mine").ok();
    check(&sandbox, "-G mine").ok();
    let (what, found, fix) = only_red(check(&sandbox, "-G mine --sink stdout"));
    assert_eq!(what, "group");
    assert!(found.contains("userpipe:sqlite/created_users, not for userpipe:stdout"), "{found}");
    assert!(fix.contains("leave --group out"), "{fix}");
}

#[test]
fn a_record_of_the_future_shows_that_a_clock_is_off() {
    let sandbox = Sandbox::new();
    sandbox.userpipe("run --once --source synthetic --count 5").ok();
    let database = sandbox.database();
    database.execute("UPDATE bus_records SET timestamp_ms = timestamp_ms + 30000");
    let lines = check(&sandbox, "").ok().json_lines();
    let clock = lines.iter().find(|line| line["check"] == "clock").unwrap();
    assert_eq!((&clock["verdict"], clock["found"].as_str().unwrap().contains("ahead")), (&"warn".into(), true));
    database.execute("UPDATE bus_records SET timestamp_ms = timestamp_ms + 60000");
    let (what, found, fix) = only_red(check(&sandbox, ""));
    assert!(what == "clock" && found.contains("a producer's clock is off") && fix.contains("NTP"), "{found}: {fix}");
}

/// Between the program and the mock API: the same answers, with a `Date` that is off by this many seconds.
fn with_wrong_date(api: &MockApi, seconds: i64) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let there = api.url.trim_start_matches("http://").split('/').next().unwrap().to_owned();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            let mut head = String::new();
            let mut lines = BufReader::new(client.try_clone().unwrap());
            while lines.read_line(&mut head).unwrap() > 2 {}
            let mut server = TcpStream::connect(&there).unwrap();
            let request = head.trim_end().to_owned() + "\r\nConnection: close\r\n\r\n";
            server.write_all(request.as_bytes()).unwrap();
            let mut answer = Vec::new();
            server.read_to_end(&mut answer).unwrap();
            let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
            let head = String::from_utf8(answer[..end].to_vec()).unwrap();
            let kept = head.lines().filter(|line| !line.to_ascii_lowercase().starts_with("date:"));
            let now = SystemTime::now();
            let off = Duration::from_secs(seconds.unsigned_abs());
            let told = if seconds < 0 { now - off } else { now + off };
            let date = format!("date: {}", httpdate::fmt_http_date(told));
            let head = kept.chain([date.as_str()]).collect::<Vec<_>>().join("\r\n");
            client.write_all(&[head.as_bytes(), &answer[end..]].concat()).unwrap();
        }
    });
    format!("http://{address}/api/1.4/")
}

#[test]
fn a_clock_that_differs_from_the_apis_is_named() {
    let sandbox = prepared();
    let api = MockApi::start(&sandbox, &[]);
    let clock = |seconds: i64| {
        let url = with_wrong_date(&api, seconds);
        let output = sandbox.userpipe(&format!("check --json --api-url {url}")).output();
        let lines = output.json_lines();
        let clock = lines.iter().find(|line| line["check"] == "clock").unwrap_or_else(|| panic!("{lines:#?}"));
        (output.status.code(), clock["verdict"].as_str().unwrap().to_owned(), clock["found"].to_string())
    };
    let (code, verdict, _) = clock(0);
    assert_eq!((code, verdict.as_str()), (Some(0), "ok"));
    let (code, verdict, found) = clock(20);
    assert_eq!((code, verdict.as_str(), found.contains("ahead of")), (Some(0), "warn", true), "{found}");
    let (code, verdict, found) = clock(-3600);
    assert_eq!((code, verdict.as_str(), found.contains("59m")), (Some(10), "fail", true), "{found}");
}

#[test]
fn an_api_that_is_away_is_a_warning() {
    let sandbox = prepared();
    let lines = sandbox.userpipe(&format!("check --json --api-url http://{DEAD}/")).ok().json_lines();
    let api = lines.iter().find(|line| line["check"] == "api").unwrap();
    assert_eq!(api["verdict"], "warn");
    assert!(api["fix"].as_str().unwrap().contains("--source synthetic"), "{api}");
    let mock = MockApi::start(&sandbox, &["503"]);
    let lines = sandbox.userpipe(&format!("check --json --api-url {}", mock.url)).ok().json_lines();
    let api = lines.iter().find(|line| line["check"] == "api").unwrap();
    assert!(api["verdict"] == "warn" && api["found"].as_str().unwrap().contains("status 503"), "{api}");
    assert_eq!(mock.requests(), 1, "it is asked once");
}

#[test]
fn it_waits_until_what_is_red_is_green() {
    let sandbox = Sandbox::new();
    let waiting = check(&sandbox, "--wait 60s").start();
    waiting.wait_for_stderr("waiting for topic users_created: there is no topic");
    sandbox.userpipe("init-schema").ok();
    waiting.finish().expect_code(0);
    let output = check(&Sandbox::new(), "--wait 1s").fails(10);
    assert_eq!(output.error(), "2 of 4 checks failed");
}

#[test]
fn health_looks_with_the_same_eyes_and_makes_nothing() {
    let sandbox = Sandbox::new();
    let output = sandbox.userpipe("health").fails(10);
    assert_eq!(output.error(), "topic users_created: there is no topic users_created");
    assert!(output.hint().contains("userpipe init-schema"), "{}", output.hint());
    assert!(!sandbox.path("userpipe-data").exists());
    let sandbox = prepared();
    sandbox.userpipe("health").ok();
    sandbox.database().execute("DROP TABLE created_users");
    assert!(sandbox.userpipe("health").fails(10).error().contains("there is no such table"));
}
