//! Results on stdout, everything else on stderr.

use super::failure::{Failure, Kind, Message};
use crate::spec::SpecError;
use serde_json::{Value, json};
use std::io::{IsTerminal, Write};

/// Where a command's result and messages go.
pub(super) struct Output {
    json: bool,
    colour: bool,
    silent: bool,
}

impl Output {
    pub(super) fn new(json: bool) -> Self {
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self { json, colour: std::io::stderr().is_terminal() && !no_colour && !dumb, silent: false }
    }

    /// Says nothing that is not a result: for what was said before.
    pub(super) fn silent() -> Self {
        Self { json: false, colour: false, silent: true }
    }

    /// The result: for people, or as one JSON object.
    pub(super) fn result(&self, text: impl FnOnce() -> String, json: impl FnOnce() -> Value) -> Result<(), Failure> {
        let text = if self.json { json().to_string() } else { text() };
        let mut stdout = std::io::stdout();
        let written = writeln!(stdout, "{}", text.trim_end_matches('\n')).and_then(|()| stdout.flush());
        match written {
            // A reader that has seen enough (`| head`) closes the pipe: not an error.
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                Err(Failure::new(Kind::Failed, format!("cannot write to stdout: {error}")))
            }
            _ => Ok(()),
        }
    }

    /// Something worth knowing that is not the result.
    pub(super) fn note(&self, text: &str) {
        if self.silent {
            return;
        }
        let _ = writeln!(std::io::stderr(), "note: {text}");
    }

    /// Lines for people that are not the result.
    pub(super) fn message(&self, text: &str) {
        let _ = writeln!(std::io::stderr(), "{text}");
    }

    pub(super) fn failure(&self, failure: &Failure) {
        let message = |colour| {
            let problem = match &failure.message {
                Message::Plain(text) | Message::InResult(text) => format!("error: {text}"),
                Message::Spec(SpecError::Invalid(diagnostics)) => diagnostics.render(colour),
                Message::Spec(error) => format!("error: {error}"),
            };
            let done = failure.done.as_ref().map_or_else(String::new, |done| format!("\nnote: {done}"));
            format!("{problem}{done}")
        };
        if self.json && !matches!(failure.message, Message::InResult(_)) {
            let text = message(false);
            let text = text.strip_prefix("error: ").unwrap_or(&text);
            let object = json!({"error": {"code": failure.kind as u8, "message": text}});
            let _ = writeln!(std::io::stdout(), "{object}");
        }
        let _ = writeln!(std::io::stderr(), "{}", message(self.colour));
    }
}
