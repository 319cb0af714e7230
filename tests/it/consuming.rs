//! `consume`: where it starts, when it ends, and that the table is the same however often records come.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::database::Database;
use crate::sandbox::{Output, Sandbox};

/// Every partition belongs to a member that lives and does nothing.
const SOMEBODY_ELSES: [&str; 2] = [
    "INSERT INTO bus_members SELECT 'userpipe-sqlite-created_users', 'users_created', '0', 9999999999999",
    "INSERT INTO bus_leases SELECT 'userpipe-sqlite-created_users', topic, partition, '0', '0' FROM bus_partitions
     WHERE topic = 'users_created'",
];

/// A sandbox with this many users on the bus.
fn produced(count: u32) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.userpipe(&format!("produce --source synthetic --count {count}")).ok();
    sandbox
}

fn ids(output: &Output) -> BTreeSet<String> {
    output.json_lines().iter().map(|user| user["id"].as_str().unwrap().to_owned()).collect()
}

/// The counts of the last line on standard error.
fn counts(output: &Output) -> &str {
    output.last_line().rsplit_once(" in ").unwrap().0
}

#[test]
fn one_process_produces_and_another_goes_on_where_the_group_is() {
    let sandbox = produced(30);
    assert_eq!(counts(&sandbox.userpipe("consume -e").ok()), "written 30");
    assert_eq!(counts(&sandbox.userpipe("consume -e").ok()), "nothing yet", "offsets are stored");
    sandbox.userpipe("produce --source synthetic --count 5").ok();
    assert_eq!(counts(&sandbox.userpipe("consume -e").ok()), "written 5");
    assert_eq!(sandbox.database().ids().len(), 35);
}

#[test]
fn reading_everything_again_leaves_the_same_rows() {
    let sandbox = produced(40);
    sandbox.userpipe("consume -e").ok();
    let before = sandbox.database().users();
    assert_eq!(counts(&sandbox.userpipe("consume --from-beginning -e").ok()), "written 40");
    assert_eq!(counts(&sandbox.userpipe("consume -o beginning -e").ok()), "written 40");
    assert_eq!(sandbox.database().users(), before);
}

#[test]
fn records_in_another_order_end_in_the_same_table() {
    let sandbox = Sandbox::new();
    let user = |email: &str, timestamp: &str| {
        json!({
            "id": "00000000-0000-5000-8000-000000000001", "first_name": "Ann", "last_name": "Other", "gender": "female",
            "email": email, "username": "ann", "phone": "1", "address": "1 X, Y, Z, W", "post_code": "1",
            "dob": "1990-01-01T00:00:00.000Z", "registered_date": "2010-01-01T00:00:00.000Z", "picture": "p",
            "timestamp": timestamp,
        })
    };
    let (new, old) = (user("new@x", "2026-01-02T00:00:00.000Z"), user("old@x", "2026-01-01T00:00:00.000Z"));
    for order in [[&new, &old], [&old, &new]] {
        for user in order {
            sandbox.userpipe("produce --input -").input(user.to_string()).ok();
        }
        sandbox.userpipe("consume -e").ok();
        assert_eq!(sandbox.database().texts("SELECT email FROM created_users"), ["new@x"]);
    }
}

#[test]
fn from_the_end_only_what_comes_later_is_read() {
    let sandbox = produced(10);
    let first = sandbox.userpipe("consume --sink stdout -o end -e").ok();
    assert_eq!(first.stdout, "");
    sandbox.userpipe("produce --source synthetic --count 3").ok();
    assert_eq!(ids(&sandbox.userpipe("consume --sink stdout -e").ok()).len(), 3);
}

#[test]
fn from_a_time_on_only_younger_records_are_read() {
    let sandbox = Sandbox::new();
    let record = |day: u8| {
        let record: Value = json!({
            "id": format!("00000000-0000-5000-8000-0000000000{day:02}"), "first_name": "Ann", "last_name": "Other",
            "gender": "female", "email": "a@b.c", "username": "ann", "phone": "1", "address": "1 X, Y, Z, W",
            "post_code": "1", "dob": "1990-01-01T00:00:00.000Z", "registered_date": "2010-01-01T00:00:00.000Z",
            "picture": "p", "timestamp": format!("2026-01-{day:02}T12:00:00.000Z"),
        });
        format!("{record}\n")
    };
    sandbox.userpipe("produce --input -").input((1..=9).map(record).collect::<String>()).ok();
    let read = |from: &str| {
        let output = sandbox.userpipe(&format!("consume --sink stdout -e -o @{from}")).ok();
        let mut days: Vec<_> = ids(&output).iter().map(|id| id[34..].parse::<u8>().unwrap()).collect();
        days.sort_unstable();
        days
    };
    assert_eq!(read("2026-01-06T12:00:00Z"), [6, 7, 8, 9], "a record at the very time is read");
    assert_eq!(read("2026-01-06T14:00:00.001+02:00"), [7, 8, 9]);
    assert_eq!(read("1767700800001"), [7, 8, 9], "a millisecond after noon of the 6th");
    assert_eq!(read("2026-02-01"), [0; 0]);
}

#[test]
fn a_count_stops_and_the_next_reads_the_rest() {
    let sandbox = produced(10);
    let first = sandbox.userpipe("consume --sink stdout -c 4").ok();
    let rest = sandbox.userpipe("consume --sink stdout -e").ok();
    let (first, rest) = (ids(&first), ids(&rest));
    assert_eq!((first.len(), rest.len(), first.union(&rest).count()), (4, 6, 10));
}

#[test]
fn the_end_of_an_empty_topic_is_reached_at_once() {
    let output = Sandbox::new().userpipe("consume -e").ok();
    assert_eq!((output.stdout.as_str(), counts(&output)), ("", "nothing yet"));
}

#[test]
fn silence_ends_it_well_without_an_end_to_reach() {
    let sandbox = produced(10);
    assert_eq!(counts(&sandbox.userpipe("consume --idle-timeout 300ms").ok()), "written 10");
}

#[test]
fn silence_before_the_end_is_75() {
    let sandbox = produced(10);
    for statement in SOMEBODY_ELSES {
        sandbox.database().execute(statement);
    }
    let output = sandbox.userpipe("consume -e --idle-timeout 300ms").fails(75);
    assert_eq!(output.error(), "the end was not reached: 10 records to go: nothing came within --idle-timeout");
    assert!(!output.hint().is_empty());
}

#[test]
fn no_progress_before_the_end_is_75() {
    let sandbox = produced(10);
    for statement in SOMEBODY_ELSES {
        sandbox.database().execute(statement);
    }
    let output = sandbox.userpipe("consume -e --deadline 300ms").fails(75);
    assert_eq!(output.error(), "the end was not reached: 10 records to go: nothing moved within --deadline");
}

#[test]
fn a_group_of_another_sink_is_refused() {
    let sandbox = produced(3);
    sandbox.userpipe("consume -e -G mine --sink stdout").ok();
    let output = sandbox.userpipe("consume -e -G mine").fails(78);
    assert!(output.error().starts_with("group mine belongs to another sink: "), "{}", output.error());
    assert!(output.hint().contains("--group"), "{}", output.hint());
    assert_eq!(sandbox.database().number("SELECT count(*) FROM created_users"), 0, "before it reads");
}

/// Regression: offsets were committed for the absolute path of the table, and the group refused after a move.
#[test]
fn a_data_directory_can_be_moved() {
    let sandbox = produced(3);
    sandbox.userpipe("consume -e").ok();
    std::fs::rename(sandbox.path("userpipe-data"), sandbox.path("moved")).unwrap();
    sandbox.userpipe("run --once --source synthetic --count 2 --data-dir moved").ok();
    assert_eq!(Database::open(&sandbox.path("moved/userpipe.db")).ids().len(), 5);
}

#[test]
fn looking_at_a_topic_never_moves_the_real_sink() {
    let sandbox = produced(10);
    assert_eq!(ids(&sandbox.userpipe("consume --sink stdout -e").ok()).len(), 10);
    assert_eq!(counts(&sandbox.userpipe("consume -e").ok()), "written 10");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let sandbox = produced(2000);
    let output = sandbox.bash("userpipe consume --sink stdout | head -n 1").ok();
    assert_eq!(output.json_lines().len(), 1);
    assert!(!output.stderr.contains("error"), "{}", output.stderr);
    let output = sandbox.bash("userpipe fetch --source synthetic --count 5000 | head -n 1").ok();
    assert_eq!(output.json_lines().len(), 1);
    assert!(!output.stderr.contains("error"), "{}", output.stderr);
    sandbox.bash("userpipe --help | head -n 1; userpipe man | head -n 1; userpipe config | head -n 1").ok();
}

#[test]
fn records_without_an_id_get_one_where_that_is_asked_for() {
    let sandbox = Sandbox::new();
    let record = json!({
        "first_name": "Ann", "last_name": "Other", "gender": "female", "email": "a@b.c", "username": "ann", "phone": "1",
        "address": "1 X, Y, Z, W", "postcode": 1234, "dob": "1990-01-01T00:00:00", "registered_date": "2010-01-01",
        "picture": "p",
    });
    sandbox.userpipe("produce --input -").input(record.to_string()).fails(65);
    for _ in 0..2 {
        sandbox.userpipe("produce --input - --derive-id").input(record.to_string()).ok();
    }
    sandbox.userpipe("consume -e").ok();
    let users = sandbox.database().users();
    let field = |name: &str| users[0][name].as_str();
    assert_eq!((users.len(), field("post_code"), field("dob")), (1, "1234", "1990-01-01T00:00:00.000Z"));
}

#[test]
fn topics_groups_and_tables_are_apart() {
    let sandbox = Sandbox::new();
    sandbox.userpipe("produce --source synthetic --count 4 -t other").ok();
    sandbox.userpipe("produce --source synthetic --count 3").ok();
    sandbox.userpipe("consume -e -t other --table people").ok();
    let count = "SELECT count(*) FROM people";
    assert_eq!(sandbox.database().number(count), 4);
    assert_eq!(counts(&sandbox.userpipe("consume -e").ok()), "written 3");
}
