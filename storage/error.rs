//! What can go wrong with a storage.

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a storage did not do what was asked. Then it changed nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another worker has the trial now, or it was set aside.
    #[error("trial {number} was taken over by another worker: this one was silent for too long")]
    LeaseLost {
        /// The trial.
        number: u64,
    },
    /// The trial ended before: finished trials never change.
    #[error("trial {number} is finished and cannot be changed")]
    Finished {
        /// The trial.
        number: u64,
    },
    /// There is no such trial any more.
    #[error("trial {number} is not there: its study was deleted")]
    NoTrial {
        /// The trial.
        number: u64,
    },
    /// There is no such study any more.
    #[error("the study with id {study} is not there: it was deleted")]
    NoStudy {
        /// The study's id.
        study: i64,
    },
    /// A trial cannot end like that.
    #[error("trial {number} cannot end with {came} values: wanted {wanted}")]
    WrongValues {
        /// The trial.
        number: u64,
        /// How many there should be.
        wanted: usize,
        /// How many there were.
        came: usize,
    },
    /// Optuna's schema has no place for it.
    #[error("cannot store {what}: {why}")]
    Unstorable {
        /// What it is and where it belongs.
        what: String,
        /// What is wanted instead.
        why: String,
    },
    /// A storage's address that is no address.
    #[error("no storage at `{url}`: {why}")]
    Address {
        /// As it was given, without a password.
        url: String,
        /// What is wrong, and what to write.
        why: String,
    },
    /// Tables of another version of Optuna, or of nasgen.
    #[error("the database has {found}, and nasgen reads {wanted}: {advice}")]
    Version {
        /// What stands there.
        found: String,
        /// What should.
        wanted: String,
        /// What to do.
        advice: &'static str,
    },
    /// Something in the database that no program should have written there.
    #[error("the database has {what}, which cannot be read: {why}")]
    Unreadable {
        /// Where it stands.
        what: String,
        /// What was wanted.
        why: String,
    },
    /// The database itself refused or failed.
    #[error("{trouble}: {message}")]
    Database {
        /// What kind of failure.
        trouble: Trouble,
        /// The database's own words.
        message: String,
    },
}

impl Error {
    /// The same; what a database says, with the place where it is.
    pub(crate) fn at(self, place: &str) -> Self {
        match self {
            Self::Database { trouble, message } => Self::Database { trouble, message: format!("{place}: {message}") },
            other => other,
        }
    }
}

/// Kinds of failures of databases, as far as somebody can do something about them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trouble {
    /// Not reached, or the connection broke; it was tried again for a minute.
    Connection,
    /// Others wrote the same rows, again and again.
    Conflict,
    /// Another program holds the file's lock.
    Busy,
    /// No room for more.
    Full,
    /// Anything else.
    Other,
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Connection => "the database cannot be reached",
            Self::Conflict => "the database stayed busy with other workers",
            Self::Busy => {
                "another program holds the lock of the database file; if that is a worker that was stopped while it \
                 wrote, continue or end it and start again, nothing is lost"
            }
            Self::Full => "the database's disk is full; free some space and start again, nothing is lost",
            Self::Other => "the database failed",
        })
    }
}
