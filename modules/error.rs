//! What can be wrong with a block, said so that the caller can point at the place.

use crate::nearest::nearest;

/// The result of planning or parsing a block.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Which part of a row an [`Error`] is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The row as a whole.
    Row,
    /// The name of the block.
    Name,
    /// The argument list as a whole.
    Arguments,
    /// The argument of this name.
    Argument(String),
    /// The row as a whole, because of this step of a block that is data: `MyBlock.layers[2]`.
    Step(String),
    /// The argument at this position of the list, where no name belongs to it.
    Position(usize),
}

/// A block that cannot stand as it is written. The message is a lowercase fragment without the
/// row's or the file's name: whoever knows those adds them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// What to point at.
    pub place: Place,
    /// What was wanted and what came.
    pub message: String,
    /// One thing to do about it.
    pub help: Option<String>,
}

impl Error {
    /// An error about the part of the row named by `place`.
    pub fn new(place: Place, message: impl Into<String>) -> Self {
        Self { place, message: message.into(), help: None }
    }

    /// An error about the block as it stands in this network: its shapes do not fit.
    pub fn row(message: impl Into<String>) -> Self {
        Self::new(Place::Row, message)
    }

    /// An error about one argument: ``argument `stride`: must be 1 or 2, got 3``.
    pub fn argument(name: &str, problem: impl std::fmt::Display) -> Self {
        Self::new(Place::Argument(name.to_owned()), format!("argument `{name}`: {problem}"))
    }

    /// A name that nothing bears, with the nearest that something does.
    pub fn unknown<'a>(place: Place, what: &str, name: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        Self::new(place, format!("unknown {what} `{name}`"))
            .help(nearest(name, known).map(|near| format!("did you mean `{near}`?")))
    }

    /// Adds advice, where there is some.
    #[must_use]
    pub fn help(self, help: impl Into<Option<String>>) -> Self {
        Self { help: help.into().or(self.help), ..self }
    }

    /// Adds advice, where there is none yet.
    #[must_use]
    pub fn or_help(self, help: impl FnOnce() -> String) -> Self {
        Self { help: self.help.or_else(|| Some(help())), ..self }
    }
}
