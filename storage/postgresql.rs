//! PostgreSQL, for workers on many machines.

use crate::{
    Error, Result,
    dialect::Dialect,
    driver::{Access, Cell, Driver, Row},
    error::Trouble,
};
use ::postgres::{
    Client, Config, NoTls, Statement,
    error::SqlState,
    types::{FromSql, IsNull, Kind, ToSql, Type, private::BytesMut},
};
use std::{collections::HashMap, error::Error as StdError, time::Duration};

/// How long a connection may take to come about, and to notice that the other side has gone.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection without TLS.
pub(crate) struct Postgres {
    config: Config,
    client: Client,
    prepared: HashMap<String, Statement>,
}

impl Postgres {
    /// Connects to `url`, `postgresql://user:password@host:port/database`.
    pub(crate) fn open(url: &str) -> Result<Self> {
        let mut config: Config = url.parse().map_err(|error: ::postgres::Error| Error::Address {
            url: crate::address::without_password(url),
            why: error.to_string(),
        })?;
        config.connect_timeout(PATIENCE).tcp_user_timeout(PATIENCE).application_name("nasgen");
        let client = connect(&config)?;
        Ok(Self { config, client, prepared: HashMap::new() })
    }
}

fn connect(config: &Config) -> Result<Client> {
    let mut client = config.connect(NoTls)?;
    // A worker that is stopped amidst a transaction would keep its locks, and every other worker waiting.
    client.batch_execute("SET idle_in_transaction_session_timeout = '30s'; SET client_min_messages = warning")?;
    Ok(client)
}

impl From<::postgres::Error> for Error {
    fn from(error: ::postgres::Error) -> Self {
        let trouble = match error.code() {
            // Without a code it never came to an answer.
            None if error.is_closed() || has_io_error(&error) => Trouble::Connection,
            Some(code) if ends_connection(code) => Trouble::Connection,
            Some(code) if is_conflict(code) => Trouble::Conflict,
            Some(&SqlState::DISK_FULL) => Trouble::Full,
            _ => Trouble::Other,
        };
        // The library's own text says only "db error".
        let message = match (error.as_db_error(), error.source()) {
            (Some(answer), _) => answer.to_string(),
            (None, Some(source)) => format!("{error}: {source}"),
            (None, None) => error.to_string(),
        };
        Self::Database { trouble, message }
    }
}

fn has_io_error(error: &::postgres::Error) -> bool {
    error.source().is_some_and(|source| source.is::<std::io::Error>())
}

fn ends_connection(code: &SqlState) -> bool {
    let class_of_connections = code.code().starts_with("08");
    let stopping = [
        SqlState::ADMIN_SHUTDOWN,
        SqlState::CRASH_SHUTDOWN,
        SqlState::CANNOT_CONNECT_NOW,
        SqlState::TOO_MANY_CONNECTIONS,
        SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
    ];
    class_of_connections || stopping.contains(code)
}

fn is_conflict(code: &SqlState) -> bool {
    [
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::LOCK_NOT_AVAILABLE,
        SqlState::UNIQUE_VIOLATION,
        // Two workers make the tables at the same moment.
        SqlState::DUPLICATE_TABLE,
        SqlState::DUPLICATE_OBJECT,
    ]
    .contains(code)
}

impl Driver for Postgres {
    fn dialect(&self) -> Dialect {
        Dialect::Postgres
    }

    fn begin(&mut self, access: Access) -> Result<()> {
        Ok(self.client.batch_execute(match access {
            Access::Read => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
            Access::Write => "BEGIN",
        })?)
    }

    fn commit(&mut self) -> Result<()> {
        Ok(self.client.batch_execute("COMMIT")?)
    }

    fn rollback(&mut self) {
        // It fails where the connection is broken, and then the server rolls back by itself.
        let _ = self.client.batch_execute("ROLLBACK");
    }

    fn batch(&mut self, statements: &str) -> Result<()> {
        Ok(self.client.batch_execute(statements)?)
    }

    fn execute(&mut self, statement: &str, values: &[Cell]) -> Result<u64> {
        let prepared = self.prepared(statement)?;
        Ok(self.client.execute(&prepared, &bound(values))?)
    }

    fn insert(&mut self, statement: &str, id: &str, values: &[Cell]) -> Result<i64> {
        let prepared = self.prepared(&format!("{statement} RETURNING {id}"))?;
        read(&self.client.query_one(&prepared, &bound(values))?)?.int(0)
    }

    fn query(&mut self, statement: &str, values: &[Cell], rare: bool) -> Result<Vec<Row>> {
        let rows = if rare {
            self.client.query(&numbered(statement), &bound(values))?
        } else {
            let prepared = self.prepared(statement)?;
            self.client.query(&prepared, &bound(values))?
        };
        rows.iter().map(read).collect()
    }

    fn reconnect(&mut self) -> Result<()> {
        self.client = connect(&self.config)?;
        self.prepared.clear();
        Ok(())
    }

    fn settle(&mut self) -> Result<()> {
        Ok(())
    }
}

impl Postgres {
    fn prepared(&mut self, statement: &str) -> Result<Statement> {
        if let Some(prepared) = self.prepared.get(statement) {
            return Ok(prepared.clone());
        }
        let prepared = self.client.prepare(&numbered(statement))?;
        self.prepared.insert(statement.to_owned(), prepared.clone());
        Ok(prepared)
    }
}

/// `?` as PostgreSQL has it: `$1`, `$2`, …
fn numbered(statement: &str) -> String {
    let mut parts = statement.split('?');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.zip(1..).fold(first, |text, (part, number)| format!("{text}${number}{part}"))
}

fn bound(values: &[Cell]) -> Vec<&(dyn ToSql + Sync)> {
    values.iter().map(|value| value as _).collect()
}

fn read(row: &::postgres::Row) -> Result<Row> {
    (0..row.len()).map(|column| Ok(row.try_get(column)?)).collect::<Result<_>>().map(Row)
}

type Converted<T> = std::result::Result<T, Box<dyn StdError + Sync + Send>>;

/// Values go as what the column is, so that statements need no casts to PostgreSQL's enumerations.
impl ToSql for Cell {
    fn to_sql(&self, column: &Type, out: &mut BytesMut) -> Converted<IsNull> {
        match (self, column) {
            (Self::Null, _) => Ok(IsNull::Yes),
            (Self::Int(value), &Type::INT4) => i32::try_from(*value)?.to_sql(column, out),
            (Self::Int(value), &Type::INT8) => value.to_sql(column, out),
            (Self::Int(value), &Type::FLOAT8) => (*value as f64).to_sql(column, out),
            (Self::Real(value), &Type::FLOAT8) => value.to_sql(column, out),
            (Self::Text(value), _) => value.to_sql(column, out),
            (value, column) => Err(format!("{value:?} does not go into a column of type {column}").into()),
        }
    }

    fn accepts(_column: &Type) -> bool {
        true
    }

    ::postgres::types::to_sql_checked!();
}

impl<'a> FromSql<'a> for Cell {
    fn from_sql(column: &Type, raw: &'a [u8]) -> Converted<Self> {
        match *column {
            Type::INT4 => Ok(Self::Int(i32::from_sql(column, raw)?.into())),
            Type::INT8 => Ok(Self::Int(i64::from_sql(column, raw)?)),
            Type::FLOAT8 => Ok(Self::Real(f64::from_sql(column, raw)?)),
            Type::TEXT | Type::VARCHAR => Ok(Self::Text(String::from_sql(column, raw)?)),
            // An enumeration's value travels as its name.
            _ if matches!(column.kind(), Kind::Enum(_)) => Ok(Self::Text(std::str::from_utf8(raw)?.to_owned())),
            _ => Err(format!("a column of type {column} is not one of Optuna's").into()),
        }
    }

    fn from_sql_null(_column: &Type) -> Converted<Self> {
        Ok(Self::Null)
    }

    fn accepts(_column: &Type) -> bool {
        true
    }
}
