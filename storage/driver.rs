//! What a database must do for the storage: run statements within transactions. One implementation for each
//! kind of database, and nothing about studies in any of them.

use crate::{Error, Result, dialect::Dialect};

/// A value as databases take and give it. Times go in and out as numbers, by expressions of the [`Dialect`].
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cell {
    Null,
    Int(i64),
    Real(f64),
    Text(String),
}

impl From<i64> for Cell {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<u64> for Cell {
    fn from(value: u64) -> Self {
        // Whatever is too large for a row's number is refused by the column.
        Self::Int(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

impl From<f64> for Cell {
    fn from(value: f64) -> Self {
        Self::Real(value)
    }
}

impl From<&str> for Cell {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<String> for Cell {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

/// One row of an answer.
pub(crate) struct Row(pub(crate) Vec<Cell>);

impl Row {
    /// The whole number in `column`, from 0.
    pub(crate) fn int(&self, column: usize) -> Result<i64> {
        self.optional_int(column)?.ok_or_else(|| self.unreadable(column, "a whole number"))
    }

    /// The whole number in `column`, if there is one.
    pub(crate) fn optional_int(&self, column: usize) -> Result<Option<i64>> {
        match self.0[column] {
            Cell::Null => Ok(None),
            Cell::Int(value) => Ok(Some(value)),
            _ => Err(self.unreadable(column, "a whole number")),
        }
    }

    /// The number in `column`, if there is one.
    pub(crate) fn optional_real(&self, column: usize) -> Result<Option<f64>> {
        match self.0[column] {
            Cell::Null => Ok(None),
            Cell::Int(value) => Ok(Some(value as f64)),
            Cell::Real(value) => Ok(Some(value)),
            Cell::Text(_) => Err(self.unreadable(column, "a number")),
        }
    }

    /// The number in `column`.
    pub(crate) fn real(&self, column: usize) -> Result<f64> {
        self.optional_real(column)?.ok_or_else(|| self.unreadable(column, "a number"))
    }

    /// The text in `column`.
    pub(crate) fn text(&self, column: usize) -> Result<&str> {
        match &self.0[column] {
            Cell::Text(value) => Ok(value),
            _ => Err(self.unreadable(column, "a text")),
        }
    }

    fn unreadable(&self, column: usize, wanted: &str) -> Error {
        Error::Unreadable { what: format!("{:?}", self.0[column]), why: format!("wanted {wanted} in {:?}", self.0) }
    }
}

/// What a transaction is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Sees the database as it is at one moment.
    Read,
    /// Sees what others have committed, statement by statement.
    Write,
}

/// A connection.
pub(crate) trait Driver: Send {
    /// How this database spells what databases spell differently.
    fn dialect(&self) -> Dialect;
    /// Begins a transaction.
    fn begin(&mut self, access: Access) -> Result<()>;
    /// Ends it; what it wrote is there for all to see.
    fn commit(&mut self) -> Result<()>;
    /// Ends it as if it had not been; a connection that is broken stays so.
    fn rollback(&mut self);
    /// Runs statements without values, one after the other.
    fn batch(&mut self, statements: &str) -> Result<()>;
    /// Runs a statement with `?` for each of `values`: the number of rows that it found to write.
    fn execute(&mut self, statement: &str, values: &[Cell]) -> Result<u64>;
    /// Runs an `INSERT` of one row: the new value of its column `id`.
    fn insert(&mut self, statement: &str, id: &str, values: &[Cell]) -> Result<i64>;
    /// The rows of a `SELECT`. Statements that are `rare` are not kept prepared.
    fn query(&mut self, statement: &str, values: &[Cell], rare: bool) -> Result<Vec<Row>>;
    /// A new connection in place of a broken one.
    fn reconnect(&mut self) -> Result<()>;
    /// Leaves the database as other programs can read it.
    fn settle(&mut self) -> Result<()>;
}
