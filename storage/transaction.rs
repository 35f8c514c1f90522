//! One transaction after the other, and again where nothing but chance was against it.

use crate::{
    Error, Result,
    dialect::Dialect,
    driver::{Access, Cell, Driver, Row},
    error::Trouble,
};
use std::{
    thread,
    time::{Duration, Instant},
};

/// How long a server may be away, or others may be in the way, before a worker gives up.
const PATIENCE: Duration = Duration::from_secs(60);
/// The first wait between attempts, which doubles up to the last.
const WAITS: [Duration; 2] = [Duration::from_millis(10), Duration::from_secs(2)];

/// What runs within a transaction.
pub(crate) struct Transaction<'a> {
    pub(crate) driver: &'a mut dyn Driver,
    pub(crate) dialect: Dialect,
    /// An earlier attempt broke while it was committed: it may have been, or not.
    pub(crate) perhaps_done: bool,
}

/// Runs `work` in a transaction. Where others are in the way or the connection breaks, it is run again.
pub(crate) fn run<T>(
    driver: &mut dyn Driver,
    access: Access,
    mut work: impl FnMut(&mut Transaction<'_>) -> Result<T>,
) -> Result<T> {
    let begun = Instant::now();
    let mut wait = WAITS[0];
    let mut perhaps_done = false;
    loop {
        let outcome = attempt(driver, access, &mut perhaps_done, &mut work);
        let Err(Error::Database { trouble: trouble @ (Trouble::Connection | Trouble::Conflict), .. }) = outcome else {
            return outcome;
        };
        if begun.elapsed() > PATIENCE {
            return outcome;
        }
        thread::sleep(wait);
        wait = (wait * 2).min(WAITS[1]);
        if trouble == Trouble::Connection {
            // Where it fails, the next attempt says so.
            let _ = driver.reconnect();
        }
    }
}

fn attempt<T>(
    driver: &mut dyn Driver,
    access: Access,
    perhaps_done: &mut bool,
    work: &mut impl FnMut(&mut Transaction<'_>) -> Result<T>,
) -> Result<T> {
    driver.begin(access)?;
    let dialect = driver.dialect();
    let outcome = work(&mut Transaction { driver, dialect, perhaps_done: *perhaps_done });
    let committed = match outcome {
        Ok(_) => driver.commit(),
        Err(_) => Ok(()),
    };
    if let Err(Error::Database { trouble: Trouble::Connection, .. }) = committed {
        *perhaps_done |= access == Access::Write;
    }
    let outcome = committed.and(outcome);
    if outcome.is_err() {
        driver.rollback();
    }
    outcome
}

impl Transaction<'_> {
    /// Runs a statement that writes: how many rows it found.
    pub(crate) fn execute(&mut self, statement: &str, values: &[Cell]) -> Result<u64> {
        self.driver.execute(statement, values)
    }

    /// The rows of a `SELECT`.
    pub(crate) fn query(&mut self, statement: &str, values: &[Cell]) -> Result<Vec<Row>> {
        self.driver.query(statement, values, false)
    }

    /// The first row of a `SELECT`.
    pub(crate) fn first(&mut self, statement: &str, values: &[Cell]) -> Result<Option<Row>> {
        Ok(self.query(statement, values)?.into_iter().next())
    }

    /// The whole number that a `SELECT` of one gives.
    pub(crate) fn count(&mut self, statement: &str, values: &[Cell]) -> Result<i64> {
        self.first(statement, values)?.map_or(Ok(0), |row| row.int(0))
    }

    /// Writes `rows`, each its cells for `key` and `values`, where rows with the same key give way.
    pub(crate) fn upsert(&mut self, table: &str, key: &[&str], values: &[&str], rows: &[Vec<Cell>]) -> Result<()> {
        // A statement may have some thousand values.
        for rows in rows.chunks(500) {
            let statement = self.dialect.upsert(table, key, values, rows.len());
            self.execute(&statement, &rows.concat())?;
        }
        Ok(())
    }
}
