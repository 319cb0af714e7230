//! What was found so far, in a throwaway database, so that a million ids need little memory.
//!
//! Everything is appended as it comes; one `GROUP BY id` over it, which sorts on disk, then gives the [`Evidence`] of
//! every id. Nothing here judges.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::json;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, Row as _};
use uuid::Uuid;

use super::judge::{Evidence, Letter, Slot};
use crate::bus::{Offset, Partition};
use crate::error::Result;
use crate::record::Timestamp;
use crate::sql::{scratch, scratch_failed};

/// What was seen of an id. The numbers are those in the table, and in the statements below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Seen {
    /// A ledger row that was never marked.
    Waiting = 0,
    /// A ledger row whose place is among those that are read.
    Placed = 1,
    /// A ledger row whose place is not on the topic.
    Expired = 2,
    /// A ledger row that was sent after the cut.
    Beyond = 3,
    /// A ledger row that was stored after the cut.
    Later = 4,
    /// A record that the sink owes: committed, and no dead letter.
    Owed = 5,
    /// A record that is a dead letter.
    Dead = 6,
    /// A record that is not committed.
    InFlight = 7,
    /// A tombstone.
    Tombstone = 8,
    /// A dead letter of our topic, with this key.
    Letter = 9,
    /// A dead letter of unknown origin, with this key.
    UnplacedLetter = 10,
    /// A committed record that the filter drops.
    Filtered = 11,
}

/// One thing that was seen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fact {
    pub(super) id: Uuid,
    pub(super) seen: Seen,
    pub(super) partition: Option<Partition>,
    pub(super) offset: Option<Offset>,
    pub(super) at: Option<Timestamp>,
}

/// Where a record that cannot be decoded is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Fate {
    /// In the dead letters.
    Dead = 0,
    /// Not committed.
    InFlight = 1,
    /// Committed, and not in the dead letters.
    Lost = 2,
}

/// A record that cannot be decoded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Undecodable {
    /// Its key, where that is an id.
    pub(super) id: Option<Uuid>,
    pub(super) partition: Partition,
    pub(super) offset: Offset,
    pub(super) fate: Fate,
}

/// The origin of a dead letter, and a digest of its key and value: after a topic was recreated, the offset alone may be
/// another record's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    pub(super) partition: Partition,
    pub(super) offset: Offset,
    pub(super) digest: u64,
}

/// Undecodable records, counted by their fate.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fates {
    pub(super) dead: u64,
    pub(super) in_flight: u64,
    pub(super) lost: u64,
}

/// One id, with the number of its row in the order of ids.
#[derive(Debug)]
pub(super) struct Noted {
    pub(super) row: i64,
    pub(super) id: Uuid,
    pub(super) evidence: Evidence,
}

/// Kinds of [`Difference`], in the order in which they are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Rank {
    /// A user that is nowhere.
    Hole = 0,
    /// A user that waits in the outbox.
    Waiting = 1,
    /// A record that the group has not committed.
    InFlight = 2,
    /// An id that the ledger does not know.
    Foreign = 3,
}

impl Rank {
    /// All of them, in their order.
    pub const ALL: [Self; 4] = [Self::Hole, Self::Waiting, Self::InFlight, Self::Foreign];

    /// The word for it in reports.
    pub fn word(self) -> &'static str {
        match self {
            Self::Hole => "hole",
            Self::Waiting => "waiting",
            Self::InFlight => "in flight",
            Self::Foreign => "foreign",
        }
    }
}

/// An id or a record that is not where it should be in the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// What kind of difference it is.
    pub rank: Rank,
    /// How it was lost, of a hole: a word of [`super::Hole::word`].
    pub how: String,
    /// The id; a record that cannot be decoded has none, unless its key is one.
    pub id: Option<Uuid>,
    /// Partition and offset of its newest record, where it has one.
    pub place: Option<(Partition, Offset)>,
}

const TABLES: &str = "
    CREATE TABLE facts (id BLOB NOT NULL, seen INTEGER NOT NULL, partition INTEGER, offset INTEGER, at INTEGER);
    CREATE TABLE undecodable (id BLOB, partition INTEGER NOT NULL, offset INTEGER NOT NULL, fate INTEGER NOT NULL);
    CREATE TABLE letters (partition INTEGER, offset INTEGER, digest INTEGER, PRIMARY KEY (partition, offset, digest))
        WITHOUT ROWID;
    CREATE TABLE lows (partition INTEGER PRIMARY KEY, low INTEGER NOT NULL);
    CREATE TABLE absent (id BLOB PRIMARY KEY, slot INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE late (id BLOB PRIMARY KEY, at INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE suspects (row INTEGER PRIMARY KEY);
    CREATE TABLE differences (rank INTEGER NOT NULL, how TEXT NOT NULL, id BLOB, partition INTEGER, offset INTEGER);
";

/// The evidence of every id. `seen IN (5, 6, 7, 11)` are its records.
const GATHER: &str = "
    CREATE TABLE ids AS SELECT id,
        max(seen = 0) AS waiting, max(seen = 1) AS placed, max(seen = 2) AS expired, max(seen = 3) AS beyond,
        max(seen = 4) AS later, sum(seen IN (5, 6, 7, 11)) AS records,
        sum(seen IN (5, 6, 7, 11)) - count(DISTINCT CASE WHEN seen IN (5, 6, 7, 11) THEN at END) AS copies,
        max(CASE WHEN seen = 5 THEN at END) AS owed_at, max(seen = 6) AS dead, max(seen = 7) AS in_flight,
        max(CASE WHEN seen = 8 THEN at END) AS deleted_at, max(seen = 11) AS filtered,
        max(CASE seen WHEN 9 THEN 1 WHEN 10 THEN 2 ELSE 0 END) AS letter
    FROM facts GROUP BY id
";

/// What is in the places of those that have a place on the topic and no record there.
const FIND_ABSENT: &str = "
    CREATE INDEX records_by_place ON facts (partition, offset) WHERE seen IN (5, 6, 7, 8, 11);
    CREATE INDEX undecodable_by_place ON undecodable (partition, offset);
    INSERT INTO absent SELECT f.id, max(CASE
            WHEN EXISTS (SELECT 1 FROM undecodable u
                         WHERE u.partition = f.partition AND u.offset = f.offset AND u.id = f.id) THEN 2
            WHEN EXISTS (SELECT 1 FROM undecodable u WHERE u.partition = f.partition AND u.offset = f.offset)
              OR EXISTS (SELECT 1 FROM facts r WHERE r.seen IN (5, 6, 7, 8, 11)
                         AND r.partition = f.partition AND r.offset = f.offset)
              OR f.offset < (SELECT low FROM lows WHERE lows.partition = f.partition) THEN 1
            ELSE 0 END)
        FROM facts f WHERE f.seen = 1 AND f.id IN (SELECT id FROM ids WHERE placed AND records = 0) GROUP BY f.id
";

const EVIDENCE: &str = "
    SELECT ids.rowid AS row, ids.*, coalesce(absent.slot, 0) AS slot, late.at AS late_at
    FROM ids LEFT JOIN absent ON absent.id = ids.id LEFT JOIN late ON late.id = ids.id
";

/// Differences with the place of the newest record of each id.
const DIFFERENCES: &str = "
    SELECT d.rowid AS row, d.how, d.id, coalesce(d.partition, f.partition) AS partition,
           coalesce(d.offset, f.offset) AS offset
    FROM differences d LEFT JOIN facts f ON f.rowid =
        (SELECT rowid FROM facts WHERE facts.id = d.id AND seen IN (1, 2, 3, 5, 7)
         ORDER BY seen IN (5, 7) DESC, at DESC, offset DESC LIMIT 1)
    WHERE d.rank = ? AND d.rowid > ? ORDER BY d.rowid LIMIT ?
";

/// The throwaway database.
#[derive(Debug)]
pub(super) struct Notes {
    connection: SqliteConnection,
}

impl Notes {
    pub(super) async fn begin() -> Result<Self> {
        let mut notes = Self { connection: scratch().await? };
        notes.execute(TABLES).await?;
        Ok(notes)
    }

    async fn execute(&mut self, statements: &'static str) -> Result<()> {
        sqlx::raw_sql(statements).execute(&mut self.connection).await.map(drop).map_err(scratch_failed)
    }

    /// Forgets what was seen of ids.
    pub(super) async fn clear(&mut self) -> Result<()> {
        self.execute("DELETE FROM facts").await
    }

    pub(super) async fn add(&mut self, facts: &[Fact]) -> Result<()> {
        let row =
            |fact: &Fact| (hex(fact.id), fact.seen as u8, fact.partition, fact.offset, fact.at.map(Timestamp::unix_ms));
        self.insert(
            "INSERT INTO facts SELECT unhex(value ->> 0), value ->> 1, value ->> 2, value ->> 3, value ->> 4 FROM json_each(?)",
            facts.iter().map(row).collect::<Vec<_>>(),
        )
        .await
    }

    pub(super) async fn add_undecodable(&mut self, records: &[Undecodable]) -> Result<()> {
        let row = |one: &Undecodable| (one.id.map(hex), one.partition, one.offset, one.fate as u8);
        self.insert(
            "INSERT INTO undecodable SELECT unhex(value ->> 0), value ->> 1, value ->> 2, value ->> 3 FROM json_each(?)",
            records.iter().map(row).collect::<Vec<_>>(),
        )
        .await
    }

    pub(super) async fn add_letters(&mut self, origins: &[Origin]) -> Result<()> {
        let row = |origin: &Origin| (origin.partition, origin.offset, origin.digest.cast_signed());
        self.insert(
            "INSERT OR IGNORE INTO letters SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each(?)",
            origins.iter().map(row).collect::<Vec<_>>(),
        )
        .await
    }

    /// Inserts rows as one JSON value: a statement with a parameter for each would be prepared anew for each number of
    /// rows, and be large.
    async fn insert<R: Serialize>(&mut self, statement: &'static str, rows: Vec<R>) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let rows = json!(rows).to_string();
        sqlx::query(statement).bind(rows).execute(&mut self.connection).await.map(drop).map_err(scratch_failed)
    }

    /// The digests of the dead letters of records at `first..=last`.
    pub(super) async fn letters(
        &mut self,
        partition: Partition,
        first: Offset,
        last: Offset,
    ) -> Result<BTreeMap<Offset, Vec<u64>>> {
        let rows: Vec<(Offset, i64)> =
            sqlx::query_as("SELECT offset, digest FROM letters WHERE partition = ? AND offset BETWEEN ? AND ?")
                .bind(partition)
                .bind(first)
                .bind(last)
                .fetch_all(&mut self.connection)
                .await
                .map_err(scratch_failed)?;
        let mut letters: BTreeMap<Offset, Vec<u64>> = BTreeMap::new();
        for (offset, digest) in rows {
            letters.entry(offset).or_default().push(digest.cast_unsigned());
        }
        Ok(letters)
    }

    /// Puts together what belongs to each id. `lows` are the first offsets that are still on the topic now.
    pub(super) async fn gather(&mut self, lows: &BTreeMap<Partition, Offset>) -> Result<()> {
        for (partition, low) in lows {
            let insert = sqlx::query("INSERT INTO lows VALUES (?, ?)").bind(partition).bind(low);
            insert.execute(&mut self.connection).await.map_err(scratch_failed)?;
        }
        self.execute(GATHER).await?;
        if self.number("SELECT EXISTS (SELECT 1 FROM ids WHERE placed AND records = 0)").await? == 1 {
            self.execute(FIND_ABSENT).await?;
        }
        Ok(())
    }

    async fn number(&mut self, query: &'static str) -> Result<i64> {
        sqlx::query_scalar(query).fetch_one(&mut self.connection).await.map_err(scratch_failed)
    }

    /// The next ids after a row; with `suspects`, only those that were suspected.
    pub(super) async fn page(&mut self, after: i64, limit: i64, suspects: bool) -> Result<Vec<Noted>> {
        let only = if suspects { " JOIN suspects ON suspects.row = ids.rowid" } else { "" };
        let query = format!("{EVIDENCE}{only} WHERE ids.rowid > ? ORDER BY ids.rowid LIMIT ?");
        let rows = sqlx::query(AssertSqlSafe(query)).bind(after).bind(limit).fetch_all(&mut self.connection).await;
        rows.and_then(|rows| rows.iter().map(noted).collect()).map_err(scratch_failed)
    }

    /// Notes ids, by their rows, that are to be looked at again.
    pub(super) async fn suspect(&mut self, rows: &[i64]) -> Result<()> {
        self.insert("INSERT INTO suspects SELECT value FROM json_each(?)", rows.to_vec()).await
    }

    /// Notes tombstones that came after the cut.
    pub(super) async fn add_late(&mut self, tombstones: &[(Uuid, Timestamp)]) -> Result<()> {
        self.insert(
            "INSERT INTO late SELECT unhex(value ->> 0), value ->> 1 FROM json_each(?)
             WHERE true ON CONFLICT DO UPDATE SET at = max(at, excluded.at)",
            tombstones.iter().map(|(id, at)| (hex(*id), at.unix_ms())).collect::<Vec<_>>(),
        )
        .await
    }

    /// The fates of the records that cannot be decoded, of which the lost ones become differences: all of them, or
    /// those whose key is an id that the ledger has stored.
    pub(super) async fn judge_undecodable(&mut self, only_stored: bool) -> Result<Fates> {
        let stored = "id IN (SELECT id FROM ids WHERE waiting OR placed OR expired OR beyond)";
        let which = if only_stored { stored } else { "true" };
        let insert = format!(
            "INSERT INTO differences SELECT 0, 'undecodable', id, partition, offset FROM undecodable
             WHERE fate = 2 AND {which} ORDER BY partition, offset"
        );
        sqlx::raw_sql(AssertSqlSafe(insert)).execute(&mut self.connection).await.map_err(scratch_failed)?;
        let count = format!(
            "SELECT coalesce(sum(fate = 0), 0), coalesce(sum(fate = 1), 0), coalesce(sum(fate = 2), 0)
             FROM undecodable WHERE {which}"
        );
        let (dead, in_flight, lost): (i64, i64, i64) =
            sqlx::query_as(AssertSqlSafe(count)).fetch_one(&mut self.connection).await.map_err(scratch_failed)?;
        let [dead, in_flight, lost] = [dead, in_flight, lost].map(i64::cast_unsigned);
        Ok(Fates { dead, in_flight, lost })
    }

    pub(super) async fn add_differences(&mut self, differences: &[(Rank, &'static str, Uuid)]) -> Result<()> {
        self.insert(
            "INSERT INTO differences (rank, how, id) SELECT value ->> 0, value ->> 1, unhex(value ->> 2) FROM json_each(?)",
            differences.iter().map(|(rank, how, id)| (*rank as u8, how, hex(*id))).collect::<Vec<_>>(),
        )
        .await
    }

    /// Prepares the differences to be read; nothing is added afterwards.
    pub(super) async fn finish(&mut self) -> Result<()> {
        if self.number("SELECT EXISTS (SELECT 1 FROM differences)").await? == 1 {
            self.execute("CREATE INDEX ranked ON differences (rank); CREATE INDEX facts_by_id ON facts (id)").await?;
        }
        Ok(())
    }

    /// The next differences of a rank after a row, and the row of the last one.
    pub(super) async fn differences(&mut self, rank: Rank, after: i64, limit: i64) -> Result<Vec<(i64, Difference)>> {
        let query = sqlx::query(DIFFERENCES).bind(rank as u8).bind(after).bind(limit);
        let rows = query.fetch_all(&mut self.connection).await;
        let difference = |row: &SqliteRow| {
            let partition: Option<Partition> = row.try_get("partition")?;
            let place = partition.zip(row.try_get("offset")?);
            let difference = Difference { rank, how: row.try_get("how")?, id: row.try_get("id")?, place };
            Ok((row.try_get("row")?, difference))
        };
        rows.and_then(|rows| rows.iter().map(difference).collect()).map_err(scratch_failed)
    }
}

/// An id as `unhex` reads it.
fn hex(id: Uuid) -> String {
    id.simple().to_string()
}

fn noted(row: &SqliteRow) -> Result<Noted, sqlx::Error> {
    let time = |name: &str| Ok::<_, sqlx::Error>(row.try_get::<Option<i64>, _>(name)?.map(saturating));
    let number = |name: &str| Ok::<_, sqlx::Error>(row.try_get::<i64, _>(name)?.cast_unsigned());
    let evidence = Evidence {
        is_waiting: row.try_get("waiting")?,
        is_placed: row.try_get("placed")?,
        is_expired: row.try_get("expired")?,
        is_beyond: row.try_get("beyond")?,
        is_later: row.try_get("later")?,
        records: number("records")?,
        copies: number("copies")?,
        owed_at: time("owed_at")?,
        is_dead: row.try_get("dead")?,
        is_in_flight: row.try_get("in_flight")?,
        is_filtered: row.try_get("filtered")?,
        deleted_at: time("deleted_at")?.max(time("late_at")?),
        letter: match number("letter")? {
            0 => Letter::None,
            1 => Letter::Placed,
            _ => Letter::Unplaced,
        },
        slot: match number("slot")? {
            0 => Slot::Empty,
            1 => Slot::Taken,
            _ => Slot::Undecodable,
        },
    };
    Ok(Noted { row: row.try_get("row")?, id: row.try_get("id")?, evidence })
}

fn saturating(ms: i64) -> Timestamp {
    Timestamp::saturating_from_unix_ms(ms)
}
