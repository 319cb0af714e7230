//! Cassandra and PostgreSQL that go away, come back, and change their passwords.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::Case;
use crate::SOON;
use crate::program::{Running, until};
use crate::reader::Reader;
use crate::services::{Postgres, PrivateInstance};
use crate::stores::{Sink, execute};
use crate::world::World;

/// What a consumer may grow by while its sink is away.
const GROWTH_BYTES_MAX: u64 = 8 << 20;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("cassandra_away_for_10_s", "Cassandra killed, away for 10 s under load", |world| {
            cassandra_away(world, 10, 300);
        })
        .representative(),
        Case::new("cassandra_away_for_a_minute", "Cassandra killed, away for 60 s under load", |world| {
            cassandra_away(world, 60, 1_000);
        }),
        Case::new("cassandra_frozen", "Cassandra frozen by SIGSTOP for 12 s", cassandra_frozen),
        Case::new("cassandra_password_changed", "Cassandra's password changed", cassandra_password),
        Case::new("postgres_ledger_restarted", "PostgreSQL killed under the ledger", ledger_restarted).representative(),
        Case::new("postgres_sink_restarted", "PostgreSQL killed under the sink", sink_restarted),
        Case::new("postgres_password_changed", "PostgreSQL's password changed", postgres_password),
    ]
}

/// The consumer waits: lag grows and memory does not, and afterwards it is the other way round.
fn cassandra_away(world: &mut World, seconds: i64, rate: usize) {
    let instance = PrivateInstance::start(&["cassandra"]);
    world.on_cassandra(instance.cassandra());
    world.init();
    let per_second = format!("{rate}/s");
    let produce = ["produce", "--for", "10m", "--results", "1000", "--source", "synthetic", "--rate", &per_second];
    let producer = world.start(&produce);
    let mut consumer = world.start(&["consume", "--in-flight", "2000"]);
    world.until_rows(rate * 3);
    instance.kill("cassandra", Signal::SIGKILL);
    consumer.until_says("; trying again");
    let (before, lag) = (consumer.resident_bytes(), world.lag());
    let mut most = before;
    for _ in 0..seconds {
        std::thread::sleep(Duration::from_secs(1));
        most = most.max(consumer.resident_bytes());
    }
    let grown = world.lag() - lag;
    // Much less than what should have come: the machine may be busy.
    assert!(grown > i64::try_from(rate).unwrap() * seconds / 10, "lag grew by {grown} only");
    assert!(most - before < GROWTH_BYTES_MAX, "memory grew by {} KiB", (most - before) >> 10);
    assert!(consumer.lives(), "{}", consumer.stderr());
    instance.start_again("cassandra");
    world.stop(producer);
    world.healed();
    world.until_drained();
    world.recovered();
    world.stop(consumer);
    world.check(0);
}

fn cassandra_frozen(world: &mut World) {
    let instance = PrivateInstance::start(&["cassandra"]);
    world.on_cassandra(instance.cassandra());
    world.flag("--cassandra-timeout", "2s");
    world.init();
    world.load(3_000);
    let mut consumer = world.start(&["consume"]);
    world.until_rows(500);
    instance.kill("cassandra", Signal::SIGSTOP);
    world.load(3_000);
    consumer.until_says("; trying again");
    std::thread::sleep(Duration::from_secs(12));
    assert!(world.lag() >= 3_000, "what is not written is not committed");
    instance.kill("cassandra", Signal::SIGCONT);
    world.healed();
    world.until_drained();
    world.recovered();
    world.stop(consumer);
    world.check(0);
}

/// A password that is changed shows when the connections are made again. A person is needed: health is red until then.
fn cassandra_password(world: &mut World) {
    let instance = PrivateInstance::start_secure(&["cassandra"]);
    world.on_cassandra(instance.cassandra());
    let admin = ("cassandra", "cassandra");
    let cql = |world: &World, statement: &str| {
        let address = instance.cassandra();
        world.handle().block_on(async { Reader::connect_as(&address, Some(admin)).await.cql(statement).await });
    };
    let first = "first-of-two-passwords";
    cql(world, &format!("CREATE ROLE writer WITH PASSWORD = '{first}' AND LOGIN = true AND SUPERUSER = true"));
    if let Sink::Cassandra { login, .. } = &mut world.sink {
        *login = Some((admin.0.to_owned(), admin.1.to_owned()));
    }
    world.secrets = vec![first.to_owned()];
    world.flag("--cassandra-user", "writer");
    world.flag("--cassandra-timeout", "2s");
    world.set("USERPIPE_CASSANDRA_PASSWORD", first);
    world.init();
    world.load(500);
    let mut consumer = world.start(&["consume", "--health-listen", "127.0.0.1:0"]);
    world.until_rows(500);

    cql(world, "ALTER ROLE writer WITH PASSWORD = 'second'");
    instance.kill("cassandra", Signal::SIGTERM);
    instance.start_again("cassandra");
    world.load(500);
    until_red(&mut consumer, "assandra");
    world.run(&["consume", "-e", "--deadline", "3s"]).expect_code(77);
    world.check_committed();
    cql(world, &format!("ALTER ROLE writer WITH PASSWORD = '{first}'"));
    world.healed();
    world.until_drained();
    world.recovered();
    world.stop(consumer);
    world.check(0);
}

/// Users are fetched, stored, sent and marked while the ledger is killed and started again.
fn ledger_restarted(world: &mut World) {
    let instance = PrivateInstance::start(&["postgres"]);
    world.with_postgres_ledger(&instance.postgres());
    world.init();
    let producer = world.start(&["produce", "--for", "10m", "--rate", "300/s", "--source", "synthetic"]);
    let bus = world.bus();
    let sent = || bus.ends(&world.topic).values().sum::<i64>();
    until("records are on the topic", SOON, || sent() >= 600);
    instance.kill("postgres", Signal::SIGKILL);
    std::thread::sleep(Duration::from_secs(2));
    let before = sent();
    instance.start_again("postgres");
    let healed = Instant::now();
    until("users are stored and sent again", SOON, || sent() >= before + 300);
    world.tally().recovery = Some(healed.elapsed());
    world.stop(producer);
    world.run(&["consume", "-e"]).expect_code(0);
    world.check(0);
}

fn sink_restarted(world: &mut World) {
    let instance = PrivateInstance::start(&["postgres"]);
    world.with_postgres_sink(&instance.postgres());
    world.init();
    world.load(2_000);
    let mut consumer = world.start(&["consume"]);
    world.until_rows(1);
    instance.kill("postgres", Signal::SIGKILL);
    world.load(2_000);
    consumer.until_says("; trying again");
    assert!(consumer.lives(), "it waits");
    instance.start_again("postgres");
    world.healed();
    world.until_drained();
    world.recovered();
    world.stop(consumer);
    world.check(0);
}

fn postgres_password(world: &mut World) {
    let instance = PrivateInstance::start(&["postgres"]);
    let first = Postgres { password: "first-of-two-passwords".to_owned(), ..instance.postgres() };
    let set = |from: &Postgres, to: &Postgres, world: &World| {
        // And no connection is left that was let in before.
        let statement = format!(
            "ALTER ROLE userpipe PASSWORD '{}'; \
             SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND usename = 'userpipe'",
            to.password
        );
        execute(from, &statement, &world.handle());
    };
    set(&instance.postgres(), &first, world);
    world.with_postgres_sink(&first);
    world.secrets = vec![first.password.clone()];
    world.init();
    world.load(500);
    let mut consumer = world.start(&["consume", "--health-listen", "127.0.0.1:0"]);
    world.until_rows(500);

    let second = Postgres { password: "second".to_owned(), ..first.clone() };
    set(&first, &second, world);
    world.load(500);
    until_red(&mut consumer, "ostgre");
    world.run(&["consume", "-e", "--deadline", "3s"]).expect_code(77);
    set(&second, &first, world);
    world.healed();
    world.until_drained();
    world.recovered();
    world.stop(consumer);
    world.check(0);
}

/// Waits until `/readyz` answers 503 with this text.
fn until_red(consumer: &mut Running, text: &str) {
    consumer.until_says("/readyz are at http://");
    let said = consumer.stderr();
    let address = said.split_once("/readyz are at http://").unwrap().1.lines().next().unwrap().trim().to_owned();
    until(&format!("503 with {text}"), SOON, || {
        let answer = ready(&address);
        answer.contains(" 503 ") && answer.contains(text)
    });
    assert!(consumer.lives(), "it waits for a person");
}

/// What `/readyz` answers.
fn ready(address: &str) -> String {
    let mut connection = TcpStream::connect(address).unwrap();
    connection.write_all(b"GET /readyz HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    answer
}
