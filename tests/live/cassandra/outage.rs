//! Cassandra away, silent, or refusing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use userpipe::error::Kind;
use userpipe::secret::Secret;
use userpipe::sink::cassandra::{CassandraSink, init_schema};
use userpipe::sink::{Change, Outcome, Sink as _};

use super::reader::Reader;
use super::{config, fresh_keyspace, ready, refused, shared_address, user, users, write_all};
use crate::services::PrivateInstance;

/// Writes until it is written; how long that took. Everything before must be [`Outcome::Retry`].
async fn until_written(sink: &CassandraSink, limit: Duration) -> Duration {
    let began = Instant::now();
    loop {
        match &sink.write(&[Change::Upsert(user(1))]).await[..] {
            [Outcome::Written] => return began.elapsed(),
            [Outcome::Retry(error)] => {
                assert!(began.elapsed() < limit, "not written after {:?}: {error}", began.elapsed());
            }
            other => panic!("{other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a live Cassandra: make test"]
async fn writes_go_on_after_cassandra_was_killed_and_came_back() {
    let instance = PrivateInstance::start(&["cassandra"]);
    let config = config(&instance.cassandra(), &fresh_keyspace("killed"));
    let sink = ready(&config).await;
    write_all(&sink, &users(1..101)).await;
    for round in 1..=3 {
        instance.kill("cassandra", Signal::SIGKILL);
        for outcome in sink.write(&users(1..101)).await {
            assert!(matches!(outcome, Outcome::Retry(_)), "{outcome:?}");
        }
        instance.start_again("cassandra");
        let took = until_written(&sink, Duration::from_secs(30)).await;
        println!("round {round}: written {took:?} after Cassandra was back");
        write_all(&sink, &users(1..101)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a live Cassandra: make test"]
async fn a_stopped_cassandra_means_retry_in_time_and_then_goes_on() {
    let instance = PrivateInstance::start(&["cassandra"]);
    let mut config = config(&instance.cassandra(), &fresh_keyspace("stopped"));
    config.request_timeout = Duration::from_secs(2);
    config.connect_timeout = Duration::from_secs(5);
    let sink = ready(&config).await;
    write_all(&sink, &users(1..101)).await;

    instance.kill("cassandra", Signal::SIGSTOP);
    let stopped = Instant::now();
    while stopped.elapsed() < Duration::from_secs(20) {
        let began = Instant::now();
        for outcome in sink.write(&users(1..501)).await {
            assert!(matches!(outcome, Outcome::Retry(_)), "{outcome:?}");
        }
        // One limit, although 500 records are eight times what may be in flight.
        assert!(began.elapsed() < config.request_timeout * 2, "{:?}", began.elapsed());
    }
    instance.kill("cassandra", Signal::SIGCONT);
    let took = until_written(&sink, Duration::from_secs(30)).await;
    println!("written {took:?} after SIGCONT");
    write_all(&sink, &users(1..501)).await;
}

/// Forwards connections to Cassandra, until those that are open are told to go silent.
struct Proxy {
    address: String,
    silence: watch::Sender<()>,
    forwarding: Arc<AtomicUsize>,
}

impl Proxy {
    async fn to(target: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address").to_string();
        let silence = watch::Sender::new(());
        let forwarding = Arc::new(AtomicUsize::new(0));
        let (silences, counter) = (silence.clone(), Arc::clone(&forwarding));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&target).await.expect("Cassandra listens");
                counter.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(forward(client, server, silences.subscribe(), Arc::clone(&counter)));
            }
        });
        Self { address, silence, forwarding }
    }

    /// Stops all forwarding on the connections that are open, without closing them. Later ones are not concerned.
    async fn go_silent(&self) {
        self.silence.send_replace(());
        while self.forwarding.load(Ordering::SeqCst) > 0 {
            tokio::task::yield_now().await;
        }
    }
}

async fn forward(
    mut client: TcpStream,
    mut server: TcpStream,
    mut silence: watch::Receiver<()>,
    forwarding: Arc<AtomicUsize>,
) {
    let ended = tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => true,
        _ = silence.changed() => false,
    };
    forwarding.fetch_sub(1, Ordering::SeqCst);
    if !ended {
        // Neither side sees an end; both stay open until the test is over.
        std::future::pending::<()>().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a live Cassandra: make test"]
async fn a_connection_that_has_gone_silent_is_replaced() {
    let proxy = Proxy::to(shared_address()).await;
    let mut config = config(&proxy.address, &fresh_keyspace("silent"));
    config.request_timeout = Duration::from_secs(1);
    let sink = ready(&config).await;
    write_all(&sink, &users(1..101)).await;

    // The open connections never end and never answer; the driver would wait for them for ever.
    proxy.go_silent().await;
    assert!(matches!(sink.write(&[Change::Upsert(user(1))]).await[..], [Outcome::Retry(_)]));
    let took = until_written(&sink, Duration::from_secs(20)).await;
    println!("written {took:?} after the silence began");
    write_all(&sink, &users(1..101)).await;
}

#[tokio::test]
#[ignore = "needs a live Cassandra: make test"]
async fn a_dead_port_is_unreachable_at_once() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("its address").to_string();
    drop(listener);
    let began = Instant::now();
    let error = refused(CassandraSink::connect(config(&address, "ks")).await);
    assert_eq!(error.kind(), Kind::Unreachable);
    assert_eq!(error.kind().exit_code(), 69);
    assert!(error.to_string().contains(&address), "{error}");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a live Cassandra: make test"]
async fn logins_and_permissions_are_refused_with_77() {
    let instance = PrivateInstance::start_secure(&["cassandra"]);
    let mut config = config(&instance.cassandra(), &fresh_keyspace("login"));
    let anonymous = refused(CassandraSink::connect(config.clone()).await);
    assert_eq!(anonymous.kind().exit_code(), 77, "{anonymous}");
    config.login = Some(("cassandra".to_owned(), Secret::new("wrong")));
    let wrong = refused(CassandraSink::connect(config.clone()).await);
    assert_eq!(wrong.kind().exit_code(), 77, "{wrong}");
    assert!(wrong.hint_text().unwrap_or_default().contains("USERPIPE_CASSANDRA_PASSWORD"), "{wrong}");
    assert!(!wrong.report().contains("wrong"), "the password is not shown: {wrong}");

    config.login = Some(("cassandra".to_owned(), Secret::new("cassandra")));
    let sink = ready(&config).await;
    write_all(&sink, &[Change::Upsert(user(1))]).await;

    let admin = Reader::connect_as(&instance.cassandra(), Some(("cassandra", "cassandra"))).await;
    admin.cql("CREATE ROLE looker WITH PASSWORD = 'look' AND LOGIN = true").await;
    admin.cql(&format!("GRANT SELECT ON KEYSPACE {} TO looker", config.keyspace)).await;
    config.login = Some(("looker".to_owned(), Secret::new("look")));
    // Preparing needs the permission already, or else the first write does.
    let denied = match CassandraSink::connect(config.clone()).await {
        Err(error) => error,
        Ok(sink) => match sink.write(&[Change::Upsert(user(2))]).await.pop() {
            Some(Outcome::Blocked(error)) => error,
            other => panic!("{other:?}"),
        },
    };
    assert_eq!(denied.kind().exit_code(), 77, "{denied}");
    config.keyspace = fresh_keyspace("denied");
    let denied = refused(init_schema(&config).await);
    assert_eq!(denied.kind().exit_code(), 77, "{denied}");
}

/// A login that is revoked while we run shows only when the connections have to be made again.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a live Cassandra: make test"]
async fn a_login_revoked_while_running_blocks_after_the_next_outage() {
    let instance = PrivateInstance::start_secure(&["cassandra"]);
    let mut config = config(&instance.cassandra(), &fresh_keyspace("revoked"));
    config.login = Some(("cassandra".to_owned(), Secret::new("cassandra")));
    config.request_timeout = Duration::from_secs(2);
    init_schema(&config).await.expect("the schema can be made");
    let admin = Reader::connect_as(&instance.cassandra(), Some(("cassandra", "cassandra"))).await;
    admin.cql("CREATE ROLE writer WITH PASSWORD = 'first' AND LOGIN = true").await;
    admin.cql(&format!("GRANT ALL ON KEYSPACE {} TO writer", config.keyspace)).await;
    config.login = Some(("writer".to_owned(), Secret::new("first")));
    let sink = CassandraSink::connect(config.clone()).await.expect("it connects");
    write_all(&sink, &[Change::Upsert(user(1))]).await;

    admin.cql("ALTER ROLE writer WITH LOGIN = false").await;
    // An orderly end, so that the change is on disk.
    instance.kill("cassandra", Signal::SIGTERM);
    instance.start_again("cassandra");
    let began = Instant::now();
    let blocked = loop {
        match sink.write(&[Change::Upsert(user(2))]).await.pop() {
            Some(Outcome::Blocked(error)) => break error,
            Some(Outcome::Retry(error)) => assert!(began.elapsed() < Duration::from_secs(40), "{error}"),
            other => panic!("{other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    println!("blocked after {:?}: {blocked}", began.elapsed());
    assert_eq!(blocked.kind().exit_code(), 77, "{blocked}");

    let admin = Reader::connect_as(&instance.cassandra(), Some(("cassandra", "cassandra"))).await;
    admin.cql("ALTER ROLE writer WITH LOGIN = true").await;
    let began = Instant::now();
    while !matches!(sink.write(&[Change::Upsert(user(2))]).await[..], [Outcome::Written]) {
        assert!(began.elapsed() < Duration::from_secs(30), "it goes on once the login is good again");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
