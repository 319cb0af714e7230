//! Statements that write many rows at once, in SQLite.

use std::sync::Arc;

use sqlx::sqlite::SqliteArguments;
use sqlx::{AssertSqlSafe, SqliteConnection};

/// Rows of the largest statement: what a statement costs beside its rows is below a percent of them, and what it holds
/// prepared still fits a processor's cache.
const ROWS_MAX: usize = 128;

/// One statement for 128, 64, 32 … 1 rows: rows of any number are few statements, and each of the few texts is prepared
/// once a connection and kept.
#[derive(Clone, Debug)]
pub struct RowStatements(Arc<[Arc<str>]>);

impl RowStatements {
    /// From `head`, a list of as many `row`s as there are, and `tail`.
    pub fn new(head: &str, row: &str, tail: &str) -> Self {
        let text = |rows: usize| Arc::from(format!("{head}{}{tail}", vec![row; rows].join(", ")));
        Self((0..=ROWS_MAX.ilog2()).map(|power| text(1 << power)).collect())
    }

    /// Writes rows in their order. `arguments` makes the values of one statement; SQLite runs in a thread of its own, and
    /// those for the next statement are made meanwhile.
    ///
    /// # Errors
    /// Of SQLite, unsorted: the caller knows what it was for.
    pub async fn execute<T: Sync>(
        &self,
        connection: &mut SqliteConnection,
        rows: &[T],
        arguments: impl Fn(&[T]) -> Result<SqliteArguments, sqlx::Error> + Send,
    ) -> Result<(), sqlx::Error> {
        let mut statements = self.cut(rows).map(|(text, rows)| (text, arguments(rows)));
        let mut next = statements.next();
        while let Some((text, arguments)) = next {
            let executing = sqlx::query_with(text, arguments?).execute(&mut *connection);
            let (executed, prepared) = tokio::join!(biased; executing, async { statements.next() });
            executed?;
            next = prepared;
        }
        Ok(())
    }

    /// Cuts rows into those of one statement each, in their order.
    fn cut<'r, T>(&self, rows: &'r [T]) -> impl Iterator<Item = (AssertSqlSafe<Arc<str>>, &'r [T])> + use<'r, T> {
        let (texts, mut rest) = (Arc::clone(&self.0), rows);
        std::iter::from_fn(move || {
            let power = rest.len().min(ROWS_MAX).checked_ilog2()?;
            let (now, later) = rest.split_at(1 << power);
            rest = later;
            Some((AssertSqlSafe(Arc::clone(&texts[power as usize])), now))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_number_of_rows_is_cut_into_statements_of_a_few_sizes() {
        let statements = RowStatements::new("a ", "(?)", " z");
        let rows: Vec<usize> = (0..300).collect();
        let cut: Vec<_> =
            statements.cut(&rows).map(|(text, rows)| (text.0.matches('?').count(), rows.to_vec())).collect();
        assert_eq!(cut.iter().map(|(places, _)| *places).collect::<Vec<_>>(), [128, 128, 32, 8, 4]);
        assert!(cut.iter().all(|(places, rows)| *places == rows.len()));
        assert_eq!(cut.into_iter().flat_map(|(_, rows)| rows).collect::<Vec<_>>(), rows);
        assert_eq!(statements.cut(&rows[..1]).map(|(text, _)| text.0.to_string()).collect::<Vec<_>>(), ["a (?) z"]);
        assert_eq!(statements.cut(&rows[..0]).count(), 0);
    }
}
