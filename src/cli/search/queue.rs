//! Specs that are tried first.

use super::{setup::Setup, study::Opened};
use crate::{
    cli::{failure::Failure, output::Output},
    search::{attributes, hash},
    spec::{ModelSpec, SourceText},
};
use nasgen_search::Attributes;
use nasgen_storage::connect;
use serde_json::json;
use std::path::{Path, PathBuf};

/// User attribute of a trial that was put into the queue: a checksum of the file.
const ENQUEUED: &str = "enqueued";

/// A spec for the queue: its file, its text and what that says.
pub(super) type Queued<'a> = (&'a Path, SourceText, ModelSpec);

impl<'a> Setup<'a> {
    /// The specs of `--enqueue`, all read before the first of them is put into the queue.
    pub(super) fn queue(&self) -> Result<Vec<Queued<'a>>, Failure> {
        let read = |path: &'a PathBuf| {
            let source = SourceText::read(path)?;
            let spec = ModelSpec::parse(&source, self.space.blocks())?;
            Ok((path.as_path(), source, spec))
        };
        self.arguments.enqueue.iter().map(read).collect()
    }

    /// Puts specs into the queue, each once.
    pub(super) fn enqueue(&self, queue: &[Queued<'_>], opened: &Opened, output: &Output) -> Result<(), Failure> {
        if queue.is_empty() {
            return Ok(());
        }
        let mut storage = connect(&opened.url)?;
        for (path, source, spec) in queue {
            let mark = json!(hash(&source.text));
            if storage.trials(opened.id)?.iter().any(|trial| trial.user.get(ENQUEUED) == Some(&mark)) {
                output.note(&format!("{} was in the queue before", path.display()));
                continue;
            }
            let mut user = Attributes::from([(ENQUEUED.to_owned(), mark)]);
            let drawn = spec.sample.as_ref().filter(|sample| sample["space"] == json!(self.space.name));
            let draws = drawn.and_then(|sample| sample["draws"].as_object());
            let fixed = draws.map(|draws| draws.clone().into_iter().collect()).unwrap_or_default();
            if draws.is_none() {
                output.note(&format!(
                    "{} was not drawn from the space: it is ranked, and no sampler learns from it",
                    path.display()
                ));
                user.insert(attributes::CONFIG.to_owned(), json!(source.text));
                user.insert(attributes::GIVEN.to_owned(), json!(true));
            }
            storage.enqueue(opened.id, &fixed, &user)?;
        }
        Ok(())
    }
}
