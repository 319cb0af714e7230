//! Verifications and totals in PostgreSQL.

use super::PostgresLedger;
use crate::error::Result;
use crate::ledger::{Audit, Totals, Verification, count, time};

impl Audit for PostgresLedger {
    async fn remember(&self, verification: &Verification) -> Result<()> {
        sqlx::query(
            "INSERT INTO userpipe.verifications AS known (pipeline, verified_at, holes, foreign_ids, in_flight, summary)
             VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT (pipeline) DO UPDATE SET verified_at = excluded.verified_at, holes = excluded.holes,
             foreign_ids = excluded.foreign_ids, in_flight = excluded.in_flight, summary = excluded.summary
             WHERE excluded.verified_at >= known.verified_at",
        )
        .bind(&self.pipeline)
        .bind(verification.at.unix_ms())
        .bind(verification.holes.cast_signed())
        .bind(verification.foreign.cast_signed())
        .bind(verification.in_flight.cast_signed())
        .bind(&verification.summary)
        .execute(&self.database.pool)
        .await
        .map_err(self.database.failed("cannot remember the verification in the ledger"))?;
        Ok(())
    }

    async fn last_verification(&self) -> Result<Option<Verification>> {
        let row: Option<(i64, i64, i64, i64, String)> = sqlx::query_as(
            "SELECT verified_at, holes, foreign_ids, in_flight, summary FROM userpipe.verifications WHERE pipeline = $1",
        )
        .bind(&self.pipeline)
        .fetch_optional(&self.database.pool)
        .await
        .map_err(self.database.failed("cannot read the last verification in the ledger"))?;
        Ok(row.map(|(at, holes, foreign, in_flight, summary)| Verification {
            at: time(at),
            holes: count(holes),
            foreign: count(foreign),
            in_flight: count(in_flight),
            summary,
        }))
    }

    async fn totals(&self) -> Result<Totals> {
        let (fetched, rejected, produced, failed): (i64, i64, i64, i64) = sqlx::query_as(
            "SELECT coalesce(sum(fetched), 0)::bigint, coalesce(sum(rejected), 0)::bigint,
             coalesce(sum(produced), 0)::bigint,
             count(*) FILTER (WHERE state = 'failed') FROM userpipe.runs WHERE pipeline = $1",
        )
        .bind(&self.pipeline)
        .fetch_one(&self.database.pool)
        .await
        .map_err(self.database.failed("cannot add up the runs in the ledger"))?;
        Ok(Totals {
            fetched: count(fetched),
            rejected: count(rejected),
            produced: count(produced),
            failed: count(failed),
        })
    }
}
