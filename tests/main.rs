//! Everything that is tested from outside, in one binary.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says that it was skipped"
)]

/// Operators and policies on training images.
mod augmenting;
/// Tables over every block: what each gets tested for free.
mod blocks;
/// The kernels for GPUs, on a CPU.
mod cuda;
/// Data sets that are downloaded.
mod downloading;
/// The loop of a worker.
mod driving;
/// The engine against the reference.
mod engine;
/// Measures, and what trained networks say.
mod evaluating;
mod exact;
/// Networks that other programs run.
mod exporting;
/// What must not lose data.
mod faults;
/// Weights from elsewhere, rows that do not learn.
mod fine_tuning;
/// Committed expected outputs.
mod golden;
/// What a search ends with.
mod last_step;
/// Losses, optimizers and settings.
mod optimising;
/// The committed PyTorch fixtures.
mod oracle;
/// Kinds of image files.
mod pictures;
/// What is decided before a training.
mod planning;
/// The program as a user meets it.
mod program;
/// What a run shows of itself.
mod reporting;
/// Killed, stopped and resumed.
mod resume;
/// What a space gives.
mod sampling;
/// What `nasgen search` can be told.
mod search_flags;
/// `nasgen search`.
mod searching;
/// Where settings come from, and what is said of those that cannot be.
mod settings;
/// The commands about spaces, for users who make mistakes.
mod space_commands;
/// What the shipped spaces give, and what is said of a space.
mod spaces;
/// What a spec may say.
mod specs;
/// Which images a training gets.
mod splitting;
/// What is said of studies.
mod studies;
/// The page of a study.
mod study_page;
/// From a spec to a trained network.
mod training;
/// Studies that Optuna made.
mod with_optuna;
/// Several processes that do one search.
#[cfg(unix)]
mod workers;
/// Blocks that a spec defines.
mod yaml_blocks;

use std::path::{Path, PathBuf};

/// A file of the repository.
pub(crate) fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
