//! What outlives the processes of one schedule: the stores, and what is known about them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::Row;
use tempfile::TempDir;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::plan::{Dice, Fault, POSSIBLE, Place, Tally};
use crate::bus::{Message, Offset, Partition, dead_letter_topic, embedded};
use crate::config::TableConfig;
use crate::encoding::Codec;
use crate::error::Result;
use crate::pipeline::deliver::Goal;
use crate::record::{COLUMNS, Timestamp};
use crate::sink::sql::SqliteSink;
use crate::sql::Sqlite;

pub(super) const GROUP: &str = "group";
/// Faults of one schedule, below this.
const FAULTS_MAX: u64 = 12;
/// The longest delay of an answer that comes late, in milliseconds.
const LATE_MS_MAX: u64 = 15;

/// The size of a schedule.
#[derive(Debug)]
pub(super) struct Shape {
    pub(super) partitions: Partition,
    /// Users a run, and users a page.
    pub(super) users: u64,
    pub(super) page: usize,
    /// Runs of each producing process; more than one is a schedule of its own.
    pub(super) runs: u64,
    pub(super) producers: u64,
    pub(super) members: u64,
    /// Records in flight at the most, batches at once, and records of one poll.
    pub(super) in_flight_max: usize,
    pub(super) batches_max: usize,
    pub(super) poll_max: usize,
    /// Whether the sink is given a partition's records in their order, and how many of them at once.
    pub(super) batch_in_order_max: Option<usize>,
    /// Ids that the table's column refuses, in percent.
    pub(super) refused: u64,
    /// The odds of a fault at a call, in percent.
    pub(super) odds: u64,
}

impl Shape {
    fn draw(dice: &Dice) -> Self {
        let size = |max| usize::try_from(dice.between(1, max)).unwrap();
        Self {
            partitions: dice.pick(&[1, 1, 2, 3]),
            users: dice.between(1, 12),
            page: 2 + size(8),
            runs: dice.pick(&[1, 1, 1, 1, 3]),
            producers: dice.pick(&[1, 1, 1, 1, 2]),
            members: dice.pick(&[1, 1, 1, 2]),
            in_flight_max: size(25),
            batches_max: size(4),
            poll_max: size(16),
            batch_in_order_max: dice.pick(&[None, Some(4_000), Some(size(16))]),
            refused: dice.pick(&[0, 0, 5, 20]),
            odds: dice.pick(&[2, 5, 10, 30]),
        }
    }
}

/// The sink's table.
pub(super) fn table() -> TableConfig {
    TableConfig { table: "created_users".to_owned(), columns: COLUMNS.iter().map(|column| column.name).collect() }
}

/// Data files, which are used again: opening one and preparing its statements is a third of a schedule's work.
#[derive(Debug)]
pub(super) struct Files {
    directory: TempDir,
    opened: AtomicU64,
    taken: AtomicU64,
    pub(super) idle: Mutex<Vec<Sqlite>>,
}

impl Files {
    pub(super) fn new(place: &Path) -> Self {
        let directory = TempDir::with_prefix_in("userpipe-simulation-", place).unwrap();
        Self { directory, opened: AtomicU64::new(0), taken: AtomicU64::new(0), idle: Mutex::default() }
    }

    /// A file with an empty table, and a number that nobody got before.
    async fn take(&self) -> Result<(u64, Sqlite)> {
        let number = self.taken.fetch_add(1, Ordering::Relaxed);
        let idle = lock(&self.idle).pop();
        if let Some(database) = idle {
            let emptied = sqlx::query("DELETE FROM created_users").execute(&database.writer).await;
            emptied.map_err(database.failed("cannot empty the table"))?;
            return Ok((number, database));
        }
        let name = format!("{}.db", self.opened.fetch_add(1, Ordering::Relaxed));
        let database = Sqlite::open(&self.directory.path().join(name)).await?;
        SqliteSink::open(database.clone(), table()).await?;
        Ok((number, database))
    }
}

/// What is to become of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// The row has this id, and this or a later time.
    Row(Uuid, Timestamp),
    /// The row with this id is gone, unless it is newer than this.
    Gone(Uuid, Timestamp),
    /// It is a dead letter.
    Letter,
}

/// What is in the stores, as far as a record's fate depends on it.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) rows: HashMap<Uuid, Timestamp>,
    pub(super) gone: HashMap<Uuid, Timestamp>,
    pub(super) letters: HashSet<(Partition, Offset)>,
}

impl Stored {
    /// Whether the record at this place has met its fate.
    pub(super) fn has(&self, place: (Partition, Offset), fate: Fate) -> bool {
        match fate {
            Fate::Row(id, at) => {
                self.rows.get(&id).is_some_and(|row| *row >= at) || self.gone.get(&id).is_some_and(|gone| *gone >= at)
            }
            Fate::Gone(id, at) => {
                self.gone.get(&id).is_some_and(|gone| *gone >= at) && self.rows.get(&id).is_none_or(|row| *row > at)
            }
            Fate::Letter => self.letters.contains(&place),
        }
    }
}

/// One schedule.
#[derive(Debug)]
pub(super) struct World {
    pub(super) seed: u64,
    pub(super) shape: Shape,
    pub(super) database: Sqlite,
    pub(super) topic: String,
    pub(super) pipeline: String,
    /// Where delivery is to get to, once it is known.
    pub(super) goal: watch::Sender<Goal>,
    /// Deletes that the sink remembers, as Cassandra does; held while it writes.
    pub(super) gone: tokio::sync::Mutex<HashMap<Uuid, Timestamp>>,
    /// Users that the ledger has stored.
    pub(super) accepted: Mutex<HashSet<Uuid>>,
    /// Who is where on the topic, as it was acknowledged to the decorated producers.
    pub(super) sent: Mutex<HashMap<(Partition, Offset), Uuid>>,
    /// What is to become of the records on the topic, as far as that was asked.
    fates: Mutex<HashMap<(Partition, Offset), Fate>>,
    /// What the dead letters were made of, in their order, as far as they were read.
    letters: tokio::sync::Mutex<Vec<(Partition, Offset)>>,
    /// There is more on the topic.
    pub(super) sent_more: Notify,
    faults_left: AtomicI64,
    tally: Mutex<Tally>,
    processes: AtomicU64,
    violations: Mutex<Vec<String>>,
}

impl World {
    /// In a file that no other schedule uses now, under names that none has used.
    pub(super) async fn new(seed: u64, files: &Files) -> Result<Arc<Self>> {
        let (number, database) = files.take().await?;
        let topic = format!("users_{number}");
        let dice = Dice::new(seed, 0, Place::Process);
        let shape = Shape::draw(&dice);
        embedded::ensure_topic(&database, &topic, shape.partitions).await?;
        embedded::ensure_topic(&database, &dead_letter_topic(&topic), 1).await?;
        Ok(Arc::new(Self {
            seed,
            shape,
            database,
            pipeline: format!("embedded/{topic}"),
            topic,
            goal: watch::Sender::new(Goal::Open),
            gone: tokio::sync::Mutex::default(),
            accepted: Mutex::default(),
            sent: Mutex::default(),
            fates: Mutex::default(),
            letters: tokio::sync::Mutex::default(),
            sent_more: Notify::new(),
            faults_left: AtomicI64::new(i64::try_from(dice.below(FAULTS_MAX)).unwrap()),
            tally: Mutex::default(),
            processes: AtomicU64::new(1),
            violations: Mutex::default(),
        }))
    }

    /// A process that starts now.
    pub(super) fn process(self: &Arc<Self>) -> Process {
        Process {
            world: Arc::clone(self),
            number: self.processes.fetch_add(1, Ordering::Relaxed),
            shutdown: CancellationToken::new(),
            crashed: CancellationToken::new(),
            stalled: CancellationToken::new(),
        }
    }

    /// An invariant is broken.
    pub(super) fn violated(&self, what: String) {
        lock(&self.violations).push(what);
    }

    pub(super) fn violations(&self) -> Vec<String> {
        lock(&self.violations).clone()
    }

    pub(super) fn tally(&self) -> Tally {
        lock(&self.tally).clone()
    }

    /// Whether a fault comes here, and which.
    pub(super) fn draw(&self, dice: &Dice, place: Place) -> Option<Fault> {
        if !dice.chance(self.shape.odds) || self.faults_left.fetch_sub(1, Ordering::Relaxed) <= 0 {
            return None;
        }
        let (_, possible) = POSSIBLE.iter().find(|(at, _)| *at == place)?;
        let fault = dice.pick(possible);
        *lock(&self.tally).entry((place, fault)).or_default() += 1;
        Some(fault)
    }

    /// Whether the table's column refuses this user, now and for ever.
    pub(super) fn is_refused(&self, id: Uuid) -> bool {
        u64::from(id.as_bytes()[15]) * 100 / 256 < self.shape.refused
    }

    /// What is to become of a record, by the rules of `docs/delivery.md`.
    pub(super) fn fate(&self, message: &Message) -> Fate {
        *lock(&self.fates).entry((message.partition, message.offset)).or_insert_with(|| self.decide(message))
    }

    fn decide(&self, message: &Message) -> Fate {
        let Some(value) = &message.value else {
            let id = message.key.as_deref().and_then(|key| Uuid::try_parse_ascii(key).ok());
            return id.map_or(Fate::Letter, |id| Fate::Gone(id, message.timestamp));
        };
        match Codec::default().decode(value, message.timestamp) {
            Ok(user) if is_far_ahead(user.timestamp()) || self.is_refused(user.id()) => Fate::Letter,
            Ok(user) => Fate::Row(user.id(), user.timestamp()),
            Err(_) => Fate::Letter,
        }
    }

    /// What the stores hold.
    pub(super) async fn stored(&self) -> Result<Stored> {
        let failed = || self.database.failed("cannot check");
        // First the table: what is added meanwhile is no harm.
        let gone = self.gone.lock().await.clone();
        let rows: Vec<(String, String)> = sqlx::query_as("SELECT id, timestamp FROM created_users")
            .fetch_all(&self.database.reader)
            .await
            .map_err(failed())?;
        let mut letters = self.letters.lock().await;
        let unread: Vec<String> =
            sqlx::query_scalar("SELECT headers FROM bus_records WHERE topic = ? AND offset >= ? ORDER BY offset")
                .bind(dead_letter_topic(&self.topic))
                .bind(i64::try_from(letters.len()).unwrap())
                .fetch_all(&self.database.reader)
                .await
                .map_err(failed())?;
        letters.extend(unread.iter().map(|json| origin(json)));
        Ok(Stored {
            rows: rows.iter().map(|(id, at)| (id.parse().unwrap(), at.parse().unwrap())).collect(),
            gone,
            letters: letters.iter().copied().collect(),
        })
    }

    /// Every record of a topic.
    pub(super) async fn records(&self, topic: &str) -> Result<BTreeMap<(Partition, Offset), Message>> {
        use crate::bus::Reader as _;
        let ranges = embedded::watermarks(&self.database, topic).await?;
        let mut reader = embedded::EmbeddedReader::new(self.database.clone(), topic.to_owned(), ranges);
        let mut records = BTreeMap::new();
        loop {
            let page = reader.next().await?;
            if page.is_empty() {
                return Ok(records);
            }
            records.extend(page.into_iter().map(|message| ((message.partition, message.offset), message)));
        }
    }

    /// The offsets that the group has committed.
    pub(super) async fn committed(&self) -> Result<BTreeMap<Partition, Offset>> {
        let rows = sqlx::query("SELECT partition, offset FROM bus_offsets WHERE group_name = ? AND topic = ?")
            .bind(GROUP)
            .bind(&self.topic)
            .fetch_all(&self.database.reader)
            .await
            .map_err(self.database.failed("cannot check"))?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }

    /// Changes something behind the back of the processes: time that passes, above all.
    pub(super) async fn execute(&self, statement: &'static str, name: &str) -> Result<()> {
        sqlx::query(statement)
            .bind(name)
            .execute(&self.database.writer)
            .await
            .map_err(self.database.failed("cannot let time pass"))?;
        Ok(())
    }

    /// The claims of processes that died run out (those of a living one too, which then was merely slow).
    pub(super) async fn claims_run_out(&self) -> Result<()> {
        self.execute("UPDATE outbox_claims SET until = 0 WHERE pipeline = ?", &self.pipeline).await
    }

    /// The session of a member runs out.
    pub(super) async fn session_runs_out(&self, member: &str) -> Result<()> {
        self.execute("UPDATE bus_members SET expires_at_ms = 0 WHERE member = ?", member).await
    }
}

fn is_far_ahead(at: Timestamp) -> bool {
    at.unix_ms() > Timestamp::now().unix_ms() + 24 * 60 * 60 * 1000
}

/// The place of the record that a dead letter was made of, from its headers.
pub(super) fn origin(headers: &str) -> (Partition, Offset) {
    let headers: Vec<(String, Vec<u8>)> = serde_json::from_str(headers).unwrap();
    let number = |name: &str| {
        let (_, value) = headers.iter().rfind(|(header, _)| header == name).unwrap();
        str::from_utf8(value).unwrap().parse::<i64>().unwrap()
    };
    (Partition::try_from(number("userpipe.partition")).unwrap(), number("userpipe.offset"))
}

/// What a panicking holder has left is as good as before.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A simulated process, from its start to its end. Clones are the same process.
#[derive(Clone, Debug)]
pub(super) struct Process {
    pub(super) world: Arc<World>,
    pub(super) number: u64,
    /// It was asked to end.
    pub(super) shutdown: CancellationToken,
    /// It is dead: whoever runs it drops its futures.
    pub(super) crashed: CancellationToken,
    /// One of its calls never answers.
    pub(super) stalled: CancellationToken,
}

impl Process {
    pub(super) fn dice(&self, role: Place) -> Dice {
        Dice::new(self.world.seed, self.number, role)
    }

    /// Draws a fault for a call, and suffers those that come before its effect.
    pub(super) async fn fault(&self, dice: &Dice, place: Place) -> Option<Fault> {
        let fault = self.world.draw(dice, place);
        match fault {
            Some(Fault::CrashBefore) => self.crash().await,
            Some(Fault::Stall) => {
                self.stalled.cancel();
                std::future::pending::<()>().await;
            }
            Some(Fault::Stop) => self.shutdown.cancel(),
            Some(Fault::Late) => tokio::time::sleep(Duration::from_millis(dice.below(LATE_MS_MAX))).await,
            _ => {}
        }
        fault
    }

    /// Nothing of it goes on from here.
    pub(super) async fn crash(&self) -> ! {
        self.crashed.cancel();
        std::future::pending().await
    }
}
