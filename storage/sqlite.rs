//! SQLite: a file beside the run.

use crate::{
    Error, Result,
    dialect::Dialect,
    driver::{Access, Cell, Driver, Row},
    error::Trouble,
};
use rusqlite::{
    Connection, ErrorCode, OpenFlags, ToSql, ffi,
    types::{ToSqlOutput, ValueRef},
};
use std::{
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

/// How long a writer waits for another one.
const BUSY: Duration = Duration::from_secs(30);
/// Statements that are kept prepared.
const PREPARED: usize = 64;
/// How often the last one tries to leave the file as other programs can read it.
const SETTLE_ATTEMPTS: u32 = 5;

/// A file. While it is open a file `-wal` beside it belongs to it.
pub(crate) struct Sqlite {
    path: PathBuf,
    /// `None` only while [`Driver::settle`] is at work.
    connection: Option<Connection>,
}

impl Sqlite {
    /// Opens the file at `path`; creates it if `create`.
    pub(crate) fn open(path: &Path, create: bool) -> Result<Self> {
        if create && let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(|error| Error::Database {
                trouble: Trouble::Other,
                message: format!("cannot make the folder {}: {error}", folder.display()),
            })?;
        }
        let connection = connect(path, create)?;
        use_write_ahead_log(&connection)?;
        Ok(Self { path: path.to_owned(), connection: Some(connection) })
    }

    fn connection(&self) -> Result<&Connection> {
        self.connection.as_ref().ok_or_else(|| Error::Database {
            trouble: Trouble::Connection,
            message: format!("{} is closed", self.path.display()),
        })
    }
}

fn connect(path: &Path, create: bool) -> Result<Connection> {
    let create = if create { OpenFlags::SQLITE_OPEN_CREATE } else { OpenFlags::empty() };
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | create;
    let connection = Connection::open_with_flags(path, flags).map_err(|error| Error::Database {
        trouble: Trouble::Other,
        message: format!("cannot open {}: {error}", path.display()),
    })?;
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(PREPARED);
    connection.pragma_update(None, "foreign_keys", true)?;
    Ok(connection)
}

/// Commits cost no wait for the disk, and readers none for writers. A power cut may take the last
/// transactions; a killed process loses nothing.
fn use_write_ahead_log(connection: &Connection) -> Result<()> {
    // SQLite does not wait for others when it changes the mode, whatever the timeout.
    let begun = Instant::now();
    let mode = loop {
        match connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get::<_, String>(0)) {
            Err(error) if is_busy(&error) && begun.elapsed() < BUSY => thread::sleep(Duration::from_millis(20)),
            answer => break answer?,
        }
    };
    // Where the file system cannot have it, SQLite stays as it was and must wait for the disk.
    if mode == "wal" {
        connection.pragma_update(None, "synchronous", "normal")?;
    }
    Ok(())
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        let extended = error.sqlite_error().map(|error| error.extended_code);
        let trouble = match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Trouble::Busy,
            Some(ErrorCode::DiskFull) => Trouble::Full,
            _ if matches!(extended, Some(ffi::SQLITE_CONSTRAINT_UNIQUE | ffi::SQLITE_CONSTRAINT_PRIMARYKEY)) => {
                Trouble::Conflict
            }
            _ => Trouble::Other,
        };
        Self::Database { trouble, message: error.to_string() }
    }
}

impl ToSql for Cell {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Int(value) => ValueRef::Integer(*value),
            Self::Real(value) => ValueRef::Real(*value),
            Self::Text(value) => ValueRef::Text(value.as_bytes()),
        }))
    }
}

fn cell(value: ValueRef<'_>) -> Cell {
    match value {
        ValueRef::Null => Cell::Null,
        ValueRef::Integer(value) => Cell::Int(value),
        ValueRef::Real(value) => Cell::Real(value),
        ValueRef::Text(value) | ValueRef::Blob(value) => Cell::Text(String::from_utf8_lossy(value).into_owned()),
    }
}

impl Driver for Sqlite {
    fn dialect(&self) -> Dialect {
        Dialect::Sqlite
    }

    fn begin(&mut self, access: Access) -> Result<()> {
        // Without IMMEDIATE a transaction that reads first cannot write once another one has written.
        Ok(self.connection()?.execute_batch(match access {
            Access::Read => "BEGIN",
            Access::Write => "BEGIN IMMEDIATE",
        })?)
    }

    fn commit(&mut self) -> Result<()> {
        Ok(self.connection()?.execute_batch("COMMIT")?)
    }

    fn rollback(&mut self) {
        if let Ok(connection) = self.connection()
            && !connection.is_autocommit()
        {
            // Where even this fails, closing the file undoes the transaction.
            let _ = connection.execute_batch("ROLLBACK");
        }
    }

    fn batch(&mut self, statements: &str) -> Result<()> {
        Ok(self.connection()?.execute_batch(statements)?)
    }

    fn execute(&mut self, statement: &str, values: &[Cell]) -> Result<u64> {
        let mut statement = self.connection()?.prepare_cached(statement)?;
        Ok(statement.execute(rusqlite::params_from_iter(values))? as u64)
    }

    fn insert(&mut self, statement: &str, _id: &str, values: &[Cell]) -> Result<i64> {
        self.execute(statement, values)?;
        Ok(self.connection()?.last_insert_rowid())
    }

    fn query(&mut self, statement: &str, values: &[Cell], rare: bool) -> Result<Vec<Row>> {
        let connection = self.connection()?;
        if rare {
            return all(&mut connection.prepare(statement)?, values);
        }
        all(&mut *connection.prepare_cached(statement)?, values)
    }

    fn reconnect(&mut self) -> Result<()> {
        self.connection = None;
        let connection = connect(&self.path, false)?;
        use_write_ahead_log(&connection)?;
        self.connection = Some(connection);
        Ok(())
    }

    /// Viewers that run in a browser, and people who copy the file alone, need it without a `-wal`.
    fn settle(&mut self) -> Result<()> {
        if self.path.as_os_str() == ":memory:" {
            return Ok(());
        }
        // An open connection is in the way of others that do the same now: close it, and try for moments.
        self.connection = None;
        for attempt in 0..SETTLE_ATTEMPTS {
            thread::sleep(Duration::from_millis(u64::from(attempt * (std::process::id() % 7 + 1))));
            if settle_now(&self.path).unwrap_or(false) {
                break;
            }
            // Somebody else has it open: whoever closes last leaves it settled.
        }
        Ok(())
    }
}

fn settle_now(path: &Path) -> Result<bool> {
    let connection = connect(path, false)?;
    connection.busy_timeout(Duration::ZERO)?;
    let mode = connection.pragma_update_and_check(None, "journal_mode", "delete", |row| row.get::<_, String>(0))?;
    Ok(mode == "delete")
}

fn all(statement: &mut rusqlite::Statement<'_>, values: &[Cell]) -> Result<Vec<Row>> {
    let columns = statement.column_count();
    let mut rows = statement.query(rusqlite::params_from_iter(values))?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        let cells = (0..columns).map(|column| Ok(cell(row.get_ref(column)?))).collect::<rusqlite::Result<_>>()?;
        all.push(Row(cells));
    }
    Ok(all)
}

impl Drop for Sqlite {
    fn drop(&mut self) {
        // Nobody could be told of a failure, and none loses anything.
        let _ = self.settle();
    }
}
