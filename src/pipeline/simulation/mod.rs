//! The pipeline under thousands of schedules of faults, on the embedded stores.
//!
//! A schedule is one pipeline in one SQLite file: producing processes and group members, the real [`Ingest`] and
//! [`Deliver`], over decorated stores that fail, stall, lose acknowledgements and crash their process as a seed says. Crashed
//! processes are started again until the faults are over; the invariants of `docs/delivery.md` are checked at every
//! commit, after every end that says it is a good one, and at the end. Leases and sessions are let run out in the tables.
//!
//! The seed decides what goes wrong at which call of which process. How the tasks interleave is up to the machine, so a
//! seed is a strong hint and no recording: one that failed is run many times.
//!
//! - `USERPIPE_SIMULATION_SEED=N cargo test --lib simulation -- --nocapture` runs one seed, many times
//! - `USERPIPE_SIMULATION_SCHEDULES=N` runs that many schedules
//!
//! [`Ingest`]: crate::pipeline::ingest::Ingest
//! [`Deliver`]: crate::pipeline::deliver::Deliver

mod check;
mod faulty;
mod lines;
mod member;
mod plan;
mod world;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use tokio::task::JoinSet;

use crate::bus::embedded;
use crate::error::Result;
use crate::pipeline::deliver::Goal;
use crate::sql::Sqlite;
use plan::{POSSIBLE, Tally};
use world::{TOPIC, World};

/// Schedules of one test run.
const SCHEDULES: u64 = 2_000;
/// How often one seed is repeated when it is asked for.
const REPETITIONS: u64 = 200;
/// Schedules at once: they mostly wait.
const AT_ONCE: usize = 64;
/// A schedule that takes longer is stuck. Generous, for a machine that is busy with other things.
const LIMIT: Duration = Duration::from_mins(2);
/// With so many schedules and more, every fault comes.
const ENOUGH: u64 = 1_000;

/// What one schedule came to.
struct Outcome {
    seed: u64,
    violations: Vec<String>,
    tally: Tally,
    took: Duration,
}

async fn schedule(seed: u64, empty: PathBuf) -> Outcome {
    let started = Instant::now();
    let world = match World::new(seed, &empty).await {
        Ok(world) => world,
        Err(error) => {
            return Outcome { seed, violations: vec![error.report()], tally: Tally::new(), took: started.elapsed() };
        }
    };
    match tokio::time::timeout(LIMIT, play(&world)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => world.violated(error.report()),
        Err(_) => world.violated(format!("stuck: no end within {LIMIT:?}")),
    }
    world.database.close().await;
    Outcome { seed, violations: world.violations(), tally: world.tally(), took: started.elapsed() }
}

/// Both halves at once; the goal of delivery is known when everything is on the topic, as with `run --once`.
async fn play(world: &Arc<World>) -> Result<()> {
    let mut producing = JoinSet::new();
    producing.spawn(lines::strangers(Arc::clone(world)));
    for _ in 0..world.shape.producers {
        producing.spawn(lines::produce(Arc::clone(world)));
    }
    let mut consuming = JoinSet::new();
    for _ in 0..world.shape.members {
        consuming.spawn(lines::consume(Arc::clone(world)));
    }
    while let Some(done) = producing.join_next().await {
        done.unwrap()?;
    }
    check::nothing_is_unsent(world, "all of produce").await?;
    let ends = embedded::watermarks(&world.database, TOPIC).await?;
    world.goal.send_replace(Goal::Offsets(ends.into_iter().map(|(p, marks)| (p, marks.high)).collect()));
    while let Some(done) = consuming.join_next().await {
        done.unwrap()?;
    }
    // The first member that reached the goal has checked everything; another one may have gone on.
    if world.shape.members > 1 { check::everything(world).await } else { Ok(()) }
}

/// A directory in memory where there is one: thousands of files are written and synced.
fn place() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() }
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|e| panic!("{name}={text}: {e}")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::print_stderr, reason = "what was simulated is shown with --nocapture")]
async fn simulation_of_schedules_of_faults_loses_and_doubles_nothing() {
    let one = number("USERPIPE_SIMULATION_SEED");
    let schedules =
        number("USERPIPE_SIMULATION_SCHEDULES").unwrap_or(if one.is_some() { REPETITIONS } else { SCHEDULES });
    // Other seeds each time, so that many runs see more than one does.
    let first = one.unwrap_or_else(|| rand::random::<u64>() >> 16);
    let started = Instant::now();
    let directory = tempfile::TempDir::with_prefix_in("userpipe-simulation-", place()).unwrap();
    let empty = directory.path().join("empty.db");
    Sqlite::open(&empty).await.unwrap().close().await;
    let seeds = (0..schedules).map(|n| if one.is_some() { first } else { first + n });
    let running = seeds.map(|seed| tokio::spawn(schedule(seed, empty.clone())));
    let mut outcomes = futures::stream::iter(running).buffer_unordered(AT_ONCE);
    let mut tally = Tally::new();
    let mut slowest = (Duration::ZERO, 0);
    let mut failed: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    while let Some(outcome) = outcomes.next().await {
        let outcome = outcome.unwrap();
        slowest = slowest.max((outcome.took, outcome.seed));
        for (fault, count) in outcome.tally {
            *tally.entry(fault).or_default() += count;
        }
        if !outcome.violations.is_empty() {
            failed.insert(outcome.seed, outcome.violations);
        }
    }
    let faults: u64 = tally.values().sum();
    let (took, (longest, slowest)) = (started.elapsed(), slowest);
    eprintln!("{schedules} schedules from seed {first} in {took:?}: {faults} faults; {slowest} took {longest:?}");
    for ((place, fault), count) in &tally {
        eprintln!("{count:>7} {place:?} {fault:?}");
    }
    let shown = |(seed, violations): (&u64, &Vec<String>)| {
        format!("USERPIPE_SIMULATION_SEED={seed} cargo test --lib simulation\n  {}", violations.join("\n  "))
    };
    let shown: Vec<String> = failed.iter().take(5).map(shown).collect();
    assert!(failed.is_empty(), "{} of {schedules} schedules failed:\n{}", failed.len(), shown.join("\n"));
    let missing: Vec<_> = POSSIBLE
        .iter()
        .flat_map(|(place, faults)| faults.iter().map(|fault| (*place, *fault)))
        .filter(|fault| !tally.contains_key(fault))
        .collect();
    assert!(missing.is_empty() || schedules < ENOUGH, "never came: {missing:?}");
}
