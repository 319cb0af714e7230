//! Lines of processes: what is started again, on the same stores, until it has ended well.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use bytes::Bytes;
use serde_json::value::RawValue;
use tokio_util::sync::CancellationToken;

use super::check;
use super::faulty::Faulty;
use super::member::Member;
use super::plan::{Dice, Place};
use super::world::{GROUP, Process, World, lock, table};
use crate::bus::embedded::{EmbeddedConsumer, EmbeddedProducer};
use crate::bus::{Outgoing, Producer, dead_letter_topic};
use crate::config::{MemberConfig, SourceConfig, SourceKind};
use crate::encoding::Codec;
use crate::error::{Kind, Result};
use crate::ledger::{Ledger, SqliteLedger};
use crate::pipeline::deliver::{Deliver, End, Limits, Parts};
use crate::pipeline::ingest::{Ingest, Plan};
use crate::pipeline::suppression::Suppression;
use crate::record::{Fields, Timestamp, User, With, format};
use crate::sink::sql::SqliteSink;
use crate::source::{AnySource, synthetic};

/// A signal or a crash comes within so many milliseconds.
const SOON_MS_MAX: u64 = 60;
/// How long a drain may take, in milliseconds: too short, or long enough.
const DRAIN_MS: [u64; 3] = [0, 20, 2_000];
/// Starts of a process, at the most: faults come to an end before.
const STARTS_MAX: u32 = 100;

type SimulatedIngest = Ingest<Faulty<SqliteLedger>, Faulty<EmbeddedProducer>>;
type SimulatedDeliver = Deliver<Member, Faulty<SqliteSink>, Faulty<EmbeddedProducer>>;

async fn soon(dice: &Dice, max_ms: u64) {
    tokio::time::sleep(Duration::from_millis(dice.below(max_ms + 1))).await;
}

/// When, if ever, the process is killed, whatever it is doing.
async fn killed(world: &World, dice: &Dice) {
    match world.draw(dice, Place::Process) {
        Some(_) => soon(dice, SOON_MS_MAX).await,
        None => std::future::pending().await,
    }
}

/// `produce`, started again until it has ended well.
pub(super) async fn produce(world: Arc<World>) -> Result<()> {
    for start in 0..STARTS_MAX {
        let process = world.process();
        let dice = process.dice(Place::Process);
        let ingest = Arc::new(ingest(&process));
        let runs = if start == 0 { world.shape.runs } else { 1 };
        let outcome = tokio::select! {
            outcome = one_process(&world, &ingest, runs, &process.shutdown) => Some(outcome),
            () = process.crashed.cancelled() => None,
            () = process.stalled.cancelled() => None,
            () = killed(&world, &dice) => None,
        };
        drop(ingest);
        match outcome {
            // What the last slot of a schedule could not send is for the next process.
            Some(Ok(())) if runs == 1 && !process.shutdown.is_cancelled() => return Ok(()),
            Some(Ok(())) => {}
            Some(Err(error)) if error.kind() != Kind::Unreachable => return Err(error),
            _ => world.claims_run_out().await?,
        }
    }
    world.violated(format!("produce has not ended well in {STARTS_MAX} starts"));
    Ok(())
}

fn ingest(process: &Process) -> SimulatedIngest {
    let database = &process.world.database;
    let unused = Arc::default();
    let producer = EmbeddedProducer::new(database.clone(), process.world.topic.clone());
    let ledger = SqliteLedger::new(database.clone(), process.world.pipeline.clone());
    Ingest {
        ledger: Faulty::new(ledger, Place::Ledger, process, &unused),
        producer: Faulty::new(producer, Place::Send, process, &unused),
        codec: Codec::default(),
        transform: None,
        metrics: Arc::default(),
        health: Arc::default(),
        linger: Duration::ZERO,
        batch_records_max: 100,
        keep: None,
    }
}

/// As `produce --once` does it, or as `produce --interval` with this many slots.
async fn one_process(
    world: &World,
    ingest: &Arc<SimulatedIngest>,
    runs: u64,
    shutdown: &CancellationToken,
) -> Result<()> {
    let plan = Plan {
        count: Some(world.shape.users),
        stream_for: None,
        rate: None,
        page_size: world.shape.page,
        retries: 0,
        retry_delay: Duration::ZERO,
    };
    let mut source = source(world.shape.page)?;
    let mut outcome = Ok(());
    for slot in 1..=runs {
        let run = async {
            ingest.send_pending().await?;
            ingest.run(&mut source, plan, shutdown).await?;
            if runs == 1 {
                ingest.send_orphans(shutdown).await?;
            }
            Ok(())
        };
        outcome = run.await;
        if outcome.is_ok() && (runs == 1 || world.shape.producers == 1) {
            check::nothing_is_unsent(world, &format!("a run that ended well ({slot} of {runs})")).await?;
        }
    }
    let released = ingest.ledger.release().await;
    outcome.and(released)
}

fn source(page_size: usize) -> Result<AnySource> {
    let config = SourceConfig {
        kind: SourceKind::Synthetic,
        api_url: String::new(),
        page_size,
        seed: None,
        nationalities: Vec::new(),
        gender: None,
        connect_timeout: Duration::ZERO,
        request_timeout: Duration::ZERO,
        attempts_max: 1,
    };
    AnySource::new(&config, 1)
}

/// `consume -e`, started again until it has reached the goal.
pub(super) async fn consume(world: Arc<World>) -> Result<()> {
    for _ in 0..STARTS_MAX {
        let process = world.process();
        let dice = process.dice(Place::Leave);
        let identity = "sink".to_owned();
        let consumer = EmbeddedConsumer::join(
            world.database.clone(),
            &MemberConfig::default(),
            world.topic.clone(),
            GROUP.to_owned(),
            identity,
        )
        .await?;
        let name = consumer.member().to_owned();
        let durable = Arc::default();
        let member = Member::new(consumer, &process, &durable);
        let deeds = member.deeds();
        let deliver = deliver(&process, &dice, member, &durable).await?;
        let impatience = async {
            process.stalled.cancelled().await;
            process.shutdown.cancel();
            // With a drain that is too long, the second signal.
            soon(&dice, SOON_MS_MAX).await;
        };
        let end = tokio::select! {
            end = deliver.run(&process.shutdown) => Some(end),
            () = process.crashed.cancelled() => None,
            () = impatience => None,
            () = killed(&world, &dice) => None,
        };
        match end {
            Some(Ok(End::Reached)) => return check::everything(&world).await,
            Some(Ok(End::Stopped)) => {
                let (given, fenced) = {
                    let deeds = lock(&deeds);
                    (deeds.given.clone(), deeds.fenced)
                };
                if !fenced {
                    check::is_committed(&world, &given).await?;
                }
            }
            Some(Ok(end)) => world.violated(format!("ended with {end:?}")),
            Some(Err(error)) if matches!(error.kind(), Kind::Unreachable | Kind::Incomplete) => {}
            Some(Err(error)) => return Err(error),
            None => {}
        }
        world.session_runs_out(&name).await?;
    }
    world.violated(format!("consume has not reached its goal in {STARTS_MAX} starts"));
    Ok(())
}

async fn deliver(process: &Process, dice: &Dice, member: Member, durable: &Arc<AtomicI64>) -> Result<SimulatedDeliver> {
    let world = &process.world;
    let sink = SqliteSink::open(world.database.clone(), table()).await?;
    let letters = EmbeddedProducer::new(world.database.clone(), dead_letter_topic(&world.topic));
    let parts = Parts {
        sink: Arc::new(Faulty::new(sink, Place::Write, process, durable)),
        dead_letters: Faulty::new(letters, Place::Bury, process, durable),
        topic: world.topic.clone(),
        codec: Codec::default(),
        transform: None,
        metrics: Arc::default(),
        health: Arc::default(),
        suppression: Suppression::none(),
        in_flight_records_max: Some(world.shape.in_flight_max),
        shutdown_timeout: Duration::from_millis(dice.pick(&DRAIN_MS)),
    };
    let limits = Limits { goal: world.goal.subscribe(), ..Limits::none() };
    Ok(Deliver::new(member, parts, limits))
}

/// What other programs put on the topic: poison of every kind, several versions of one user, and tombstones.
pub(super) async fn strangers(world: Arc<World>) -> Result<()> {
    let dice = Dice::new(world.seed, u64::MAX, Place::Send);
    let producer = EmbeddedProducer::new(world.database.clone(), world.topic.clone());
    let now = Timestamp::now().unix_ms();
    let people = synthetic::users(&world.seed.to_string(), 1, 4, &[], None)?;
    let people: Vec<&RawValue> = people.iter().map(|person| &**person).collect();
    for _ in 0..dice.below(4) {
        let mut records = Vec::new();
        for _ in 0..dice.between(1, 12) {
            // No two records of a stranger have the same time: which of them is the newer is not in question.
            let at = Timestamp::saturating_from_unix_ms(now - i64::try_from(dice.below(1_000_000_000)).unwrap());
            let Ok(user) = format(dice.pick(&people), at, &With::default()) else { continue };
            let email = format!("version {}", at.unix_ms());
            let user = User::new(Fields { email: &email, ..user.fields() }, None);
            records.push(foreign(&dice, &user));
        }
        soon(&dice, SOON_MS_MAX).await;
        producer.send(&records).await;
        world.sent_more.notify_waiters();
    }
    Ok(())
}

fn foreign(dice: &Dice, user: &User) -> Outgoing {
    let (id, at) = (user.id().to_string(), user.timestamp());
    let text = user.wire();
    let (key, value) = match dice.below(10) {
        0 => (Some(id), Some(b"\xff\xfe no JSON".to_vec())),
        1 => (Some(id), Some(b"\x00\x00\x00\x00\x07framed".to_vec())),
        2 => (Some(id), Some(text.replace("\"dob\":", "\"not_dob\":").into_bytes())),
        3 => (Some(id), Some(text.replace(&at.to_string(), "2999-01-01T00:00:00.000Z").into_bytes())),
        4 => (Some("nobody".to_owned()), None),
        5 => (None, None),
        6 | 7 => (Some(id), None),
        _ => (Some(id), Some(Vec::from(Codec::default().encode(user)))),
    };
    let headers = if dice.chance(20) {
        vec![("userpipe.topic".to_owned(), Some(Bytes::from_static(b"another")))]
    } else {
        Vec::new()
    };
    let key = key.map(Bytes::from);
    Outgoing { key, value: value.map(Bytes::from), headers, timestamp: at }
}
