//! Errors that point at the character in the user's file.

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet, renderer::DecorStyle};
use std::{fmt, path::Path};

/// A range of bytes in a file's text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Inclusive.
    pub start: usize,
    /// Exclusive.
    pub end: usize,
}

impl Span {
    /// The place before the byte at `at`.
    pub const fn point(at: usize) -> Self {
        Self { start: at, end: at }
    }

    /// From the start of this to the end of `last`.
    pub const fn to(self, last: Self) -> Self {
        Self { start: self.start, end: last.end }
    }
}

/// One thing that is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// What was wanted and what came.
    pub message: String,
    /// Where; `None` for the file as a whole.
    pub span: Option<Span>,
    /// A second place that explains the first.
    pub related: Option<(Span, String)>,
    /// One thing to do about it.
    pub help: Option<String>,
}

impl Diagnostic {
    /// An error about the file as a whole.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), span: None, related: None, help: None }
    }

    /// Points at `span`.
    #[must_use]
    pub fn at(self, span: Span) -> Self {
        Self { span: Some(span), ..self }
    }

    /// Points at a second place.
    #[must_use]
    pub fn also(self, span: Span, label: impl Into<String>) -> Self {
        Self { related: Some((span, label.into())), ..self }
    }

    /// Adds advice.
    #[must_use]
    pub fn help(self, help: impl Into<Option<String>>) -> Self {
        Self { help: help.into().or(self.help), ..self }
    }
}

/// A text with the name that messages call it by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceText {
    /// A path, or a name such as `cells (built in)`.
    pub name: String,
    /// The text.
    pub text: String,
}

impl SourceText {
    /// Reads a file of at most [`super::yaml::MAX_BYTES`]. The message names the path.
    pub fn read(path: &Path) -> Result<Self, SpecError> {
        let name = path.display().to_string();
        let failed = |problem: String| SpecError::Unreadable { name: name.clone(), problem };
        let size = std::fs::metadata(path).map_err(|error| failed(error.to_string()))?;
        if size.is_dir() {
            return Err(failed("it is a folder; wanted a YAML file".into()));
        }
        if size.len() > super::yaml::MAX_BYTES as u64 {
            return Err(failed(format!("wanted at most {} bytes, got {}", super::yaml::MAX_BYTES, size.len())));
        }
        let bytes = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
        let text = String::from_utf8(bytes).map_err(|error| failed(format!("it is not a text file: {error}")))?;
        // Some editors begin a file with a mark of its byte order.
        let text = text.strip_prefix('\u{feff}').map_or(text.clone(), str::to_owned);
        Ok(Self { name, text })
    }

    /// These errors about this text, as one error.
    pub fn error(&self, diagnostics: Vec<Diagnostic>) -> SpecError {
        SpecError::Invalid(Diagnostics { source: self.clone(), diagnostics })
    }
}

/// A file that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// It cannot be read at all.
    #[error("cannot read {name}: {problem}")]
    Unreadable {
        /// The path.
        name: String,
        /// Why.
        problem: String,
    },
    /// What it says is wrong.
    #[error("{0}")]
    Invalid(Diagnostics),
}

/// All that is wrong with one text; shows the user's lines with carets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostics {
    source: SourceText,
    diagnostics: Vec<Diagnostic>,
}

impl Diagnostics {
    /// What is wrong, in the order of the file.
    pub fn list(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// The report, with or without terminal colours.
    pub fn render(&self, colour: bool) -> String {
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() }.decor_style(DecorStyle::Ascii);
        let one = |diagnostic: &Diagnostic| self.render_one(&renderer, diagnostic);
        let reports: Vec<String> = self.diagnostics.iter().map(one).collect();
        reports.join("\n\n")
    }

    fn render_one(&self, renderer: &Renderer, diagnostic: &Diagnostic) -> String {
        let Diagnostic { message, span, related, help } = diagnostic;
        let mut snippet = Snippet::source(&self.source.text).path(&self.source.name);
        if let Some(span) = span {
            snippet = snippet.annotation(AnnotationKind::Primary.span(self.visible(*span)));
        }
        if let Some((span, label)) = related {
            snippet = snippet.annotation(AnnotationKind::Context.span(self.visible(*span)).label(label));
        }
        let title = Level::ERROR.primary_title(message);
        let mut group = match span {
            Some(_) => title.element(snippet),
            None => title.element(annotate_snippets::Origin::path(&self.source.name)),
        };
        if let Some(help) = help {
            group = group.element(Level::HELP.message(help));
        }
        renderer.render(&[group])
    }

    /// The part of `span` on its first line, at least one character where there is one.
    fn visible(&self, span: Span) -> std::ops::Range<usize> {
        let text = &self.source.text;
        let start = floor_boundary(text, span.start);
        let line_end = text[start..].find('\n').map_or(text.len(), |length| start + length);
        let end = floor_boundary(text, span.end.clamp(start, line_end));
        let trimmed = start + text[start..end].trim_end().len();
        if trimmed > start {
            return start..trimmed;
        }
        start..text[start..line_end].chars().next().map_or(start, |first| start + first.len_utf8())
    }
}

fn floor_boundary(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|byte| text.is_char_boundary(*byte)).unwrap_or(0)
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}
