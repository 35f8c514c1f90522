//! MySQL and MariaDB.

use crate::{
    Error, Result,
    dialect::Dialect,
    driver::{Access, Cell, Driver, Row},
    error::Trouble,
};
use ::mysql::{Conn, Opts, OptsBuilder, Params, Value, consts::CapabilityFlags, prelude::Queryable};
use std::time::Duration;

/// How long a connection may take to come about.
const PATIENCE: Duration = Duration::from_secs(30);

/// Standard quotes, errors where a value does not fit, and what is read within a transaction is what others have
/// committed; so the statements can be the same as for other databases.
const SESSION: [&str; 2] = [
    "SET SESSION sql_mode = 'ANSI_QUOTES,STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'",
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
];

/// A connection without TLS.
pub(crate) struct Mysql {
    options: Opts,
    connection: Conn,
}

impl Mysql {
    /// Connects to `url`, `mysql://user:password@host:port/database`.
    pub(crate) fn open(url: &str) -> Result<Self> {
        let options = Opts::from_url(url)
            .map_err(|error| Error::Address { url: crate::address::without_password(url), why: error.to_string() })?;
        let options = OptsBuilder::from_opts(options)
            .tcp_connect_timeout(Some(PATIENCE))
            .init(SESSION.to_vec())
            // An update that changes nothing has found its row all the same.
            .additional_capabilities(CapabilityFlags::CLIENT_FOUND_ROWS)
            .into();
        let connection = Conn::new(Opts::clone(&options))?;
        Ok(Self { options, connection })
    }
}

impl From<::mysql::Error> for Error {
    fn from(error: ::mysql::Error) -> Self {
        use ::mysql::Error::{CodecError, DriverError, IoError, MySqlError};
        let trouble = match &error {
            IoError(_) | CodecError(_) => Trouble::Connection,
            DriverError(::mysql::DriverError::ConnectTimeout | ::mysql::DriverError::CouldNotConnect(_)) => {
                Trouble::Connection
            }
            MySqlError(answer) => match answer.code {
                // Server shutdown, connection killed, too many connections.
                1053 | 1927 | 1040 => Trouble::Connection,
                // Deadlock, lock timeout, duplicate row, table or index made by another worker.
                1213 | 1205 | 1062 | 1050 | 1061 => Trouble::Conflict,
                // No room in a table, on the disk.
                1114 | 1021 => Trouble::Full,
                _ => Trouble::Other,
            },
            _ => Trouble::Other,
        };
        Self::Database { trouble, message: error.to_string() }
    }
}

impl Driver for Mysql {
    fn dialect(&self) -> Dialect {
        Dialect::Mysql
    }

    fn begin(&mut self, access: Access) -> Result<()> {
        if access == Access::Read {
            self.connection.query_drop("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")?;
        }
        Ok(self.connection.query_drop("START TRANSACTION")?)
    }

    fn commit(&mut self) -> Result<()> {
        Ok(self.connection.query_drop("COMMIT")?)
    }

    fn rollback(&mut self) {
        // It fails where the connection is broken, and then the server rolls back by itself.
        let _ = self.connection.query_drop("ROLLBACK");
    }

    fn batch(&mut self, statements: &str) -> Result<()> {
        // MySQL has no IF NOT EXISTS for an index.
        let made_index = statements.starts_with("CREATE") && statements.contains("INDEX");
        match self.connection.query_drop(statements.replace("INDEX IF NOT EXISTS", "INDEX")) {
            Err(::mysql::Error::MySqlError(answer)) if made_index && answer.code == 1061 => Ok(()),
            answer => Ok(answer?),
        }
    }

    fn execute(&mut self, statement: &str, values: &[Cell]) -> Result<u64> {
        self.connection.exec_drop(statement, bound(values))?;
        Ok(self.connection.affected_rows())
    }

    fn insert(&mut self, statement: &str, _id: &str, values: &[Cell]) -> Result<i64> {
        self.execute(statement, values)?;
        Ok(i64::try_from(self.connection.last_insert_id()).unwrap_or(i64::MAX))
    }

    fn query(&mut self, statement: &str, values: &[Cell], _rare: bool) -> Result<Vec<Row>> {
        let rows: Vec<::mysql::Row> = self.connection.exec(statement, bound(values))?;
        rows.into_iter().map(|row| row.unwrap().into_iter().map(cell).collect::<Result<_>>().map(Row)).collect()
    }

    fn reconnect(&mut self) -> Result<()> {
        self.connection = Conn::new(self.options.clone())?;
        Ok(())
    }

    fn settle(&mut self) -> Result<()> {
        Ok(())
    }
}

fn bound(values: &[Cell]) -> Params {
    if values.is_empty() {
        return Params::Empty;
    }
    let value = |cell: &Cell| match cell {
        Cell::Null => Value::NULL,
        Cell::Int(value) => Value::Int(*value),
        Cell::Real(value) => Value::Double(*value),
        Cell::Text(value) => Value::Bytes(value.clone().into_bytes()),
    };
    Params::Positional(values.iter().map(value).collect())
}

fn cell(value: Value) -> Result<Cell> {
    Ok(match value {
        Value::NULL => Cell::Null,
        Value::Int(value) => Cell::Int(value),
        Value::UInt(value) => Cell::Int(i64::try_from(value).unwrap_or(i64::MAX)),
        Value::Float(value) => Cell::Real(value.into()),
        Value::Double(value) => Cell::Real(value),
        Value::Bytes(value) => Cell::Text(String::from_utf8_lossy(&value).into_owned()),
        Value::Date(..) | Value::Time(..) => {
            return Err(Error::Unreadable { what: format!("{value:?}"), why: "times are read as numbers".to_owned() });
        }
    })
}
