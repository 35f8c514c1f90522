//! What databases spell differently. A statement is written once, with these in it.

/// A family of databases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// SQLite.
    Sqlite,
    /// PostgreSQL.
    Postgres,
    /// MySQL and MariaDB.
    #[cfg_attr(not(feature = "mysql"), expect(dead_code, reason = "what it spells is checked in every build"))]
    Mysql,
}

use Dialect::{Mysql, Postgres, Sqlite};

impl Dialect {
    /// The time as Optuna stores a trial's start and end: UTC without a zone.
    pub(crate) fn utc_now(self) -> &'static str {
        match self {
            Sqlite => "strftime('%Y-%m-%d %H:%M:%f000', 'now')",
            Postgres => "(clock_timestamp() AT TIME ZONE 'utc')",
            Mysql => "UTC_TIMESTAMP(6)",
        }
    }

    /// The time as Optuna stores heartbeats and compares them: that of the database's session.
    pub(crate) fn session_now(self) -> &'static str {
        match self {
            Sqlite => self.utc_now(),
            Postgres => "clock_timestamp()::timestamp",
            Mysql => "SYSDATE(6)",
        }
    }

    /// The database's clock in seconds since 1970 as a real number: no time zone moves it.
    pub(crate) fn seconds_now(self) -> &'static str {
        match self {
            Sqlite => "unixepoch('subsec')",
            Postgres => "extract(epoch FROM clock_timestamp())::float8",
            Mysql => "(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) / 1e6)",
        }
    }

    /// A time of Optuna's in microseconds since 1970.
    pub(crate) fn microseconds(self, column: &str) -> String {
        match self {
            // SQLite's own arithmetic ends at milliseconds.
            Sqlite => format!(
                "(CAST(strftime('%s', {column}) AS INTEGER) * 1000000 + \
                 CAST(substr(substr({column}, 21) || '000000', 1, 6) AS INTEGER))"
            ),
            Postgres => format!("(extract(epoch FROM {column}) * 1000000)::int8"),
            Mysql => format!("TIMESTAMPDIFF(MICROSECOND, '1970-01-01', {column})"),
        }
    }

    /// What a `SELECT` ends with to keep its rows from others until the transaction ends. SQLite has one
    /// writer at a time anyway.
    pub(crate) fn for_update(self) -> &'static str {
        match self {
            Sqlite => "",
            Postgres | Mysql => " FOR UPDATE",
        }
    }

    /// An `INSERT` of so many rows that writes `values` anew where rows with the same `key` stand.
    pub(crate) fn upsert(self, table: &str, key: &[&str], values: &[&str], rows: usize) -> String {
        let assignments = |spelled: fn(&str) -> String| {
            values.iter().map(|column| format!("{column} = {}", spelled(column))).collect::<Vec<_>>().join(", ")
        };
        let insert = insert(table, &[key, values].concat(), rows);
        match self {
            Sqlite | Postgres => {
                let assignments = assignments(|column| format!("excluded.{column}"));
                format!("{insert} ON CONFLICT ({}) DO UPDATE SET {assignments}", key.join(", "))
            }
            Mysql => format!("{insert} ON DUPLICATE KEY UPDATE {}", assignments(|column| format!("VALUES({column})"))),
        }
    }
}

/// An `INSERT` of so many rows.
pub(crate) fn insert(table: &str, columns: &[&str], rows: usize) -> String {
    let row = format!("({})", vec!["?"; columns.len()].join(", "));
    format!("INSERT INTO {table} ({}) VALUES {}", columns.join(", "), vec![row; rows].join(", "))
}
