//! Why a command ended without its result, and the exit code that says so.

use crate::spec::SpecError;
use std::process::ExitCode;

/// What went wrong, in the classes that scripts tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Failed = 1,
    Usage = 2,
    Data = 3,
    Diverged = 4,
    NothingFits = 5,
    OutOfMemory = 6,
    /// By Ctrl-C; it can be resumed.
    Interrupted = 130,
    /// By SIGTERM; it can be resumed.
    Terminated = 143,
}

/// An error with its exit code.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) kind: Kind,
    /// Complete, without `error:` before it unless it is a rendered diagnostic.
    pub(super) message: Message,
    /// What was done before it failed and is still there.
    pub(super) done: Option<String>,
}

#[derive(Debug)]
pub(super) enum Message {
    Plain(String),
    /// Part of the JSON object that the command has printed.
    InResult(String),
    Spec(SpecError),
}

impl Failure {
    pub(super) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: Message::Plain(message.into()), done: None }
    }

    /// A failure that the command's JSON object tells of.
    pub(super) fn in_result(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: Message::InResult(message.into()), done: None }
    }

    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }

    /// The same after something was done that is still there.
    pub(super) fn after(self, done: impl Into<Option<String>>) -> Self {
        Self { done: done.into(), ..self }
    }

    /// What went wrong, without colours.
    pub(super) fn text(&self) -> String {
        match &self.message {
            Message::Plain(text) | Message::InResult(text) => text.clone(),
            Message::Spec(error) => error.to_string(),
        }
    }

    pub(super) fn code(&self) -> ExitCode {
        ExitCode::from(self.kind as u8)
    }
}

impl From<SpecError> for Failure {
    fn from(error: SpecError) -> Self {
        Self { kind: Kind::Usage, message: Message::Spec(error), done: None }
    }
}
