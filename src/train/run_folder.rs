//! The folder of one training.

use super::{EpochReport, Metrics};
use crate::{
    files,
    weights::{Weights, WeightsError},
};
use serde_json::Value;
use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

const COLUMNS: &str = "epoch,seconds,train/loss,train/accuracy,val/loss,val/accuracy,val/macro_f1,lr,images_per_second";

/// A run's folder: `config.yaml`, `model.yaml`, `results.csv`, `best.safetensors`,
/// `last.safetensors`.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
}

/// A run folder that cannot be made or written to.
#[derive(Debug, thiserror::Error)]
pub enum RunFolderError {
    /// It holds something already.
    #[error("the run folder {0} is not empty; choose another with --run, or delete it")]
    NotEmpty(String),
    /// The file system refused.
    #[error("cannot write {path}: {problem}")]
    Write {
        /// What was to be written.
        path: String,
        /// Why it was not.
        problem: String,
    },
    /// Weights could not be saved.
    #[error("cannot write {0}")]
    Weights(#[from] WeightsError),
}

impl RunFolder {
    /// Makes the folder `path`, which must not hold anything yet.
    ///
    /// # Errors
    /// When it does, or cannot be made.
    pub fn create(path: &Path) -> Result<Self, RunFolderError> {
        if fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some()) {
            return Err(RunFolderError::NotEmpty(path.display().to_string()));
        }
        fs::create_dir_all(path).map_err(|error| failed(path, &error))?;
        let folder = Self { path: path.to_owned() };
        folder.write("results.csv", &format!("{COLUMNS}\n"))?;
        Ok(folder)
    }

    /// Makes the folder `name` in `runs`, and points `runs/latest` at it.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create_in(runs: &Path, name: &str) -> Result<Self, RunFolderError> {
        // Two runs may begin in the same second.
        let free = (1..).map(|count| if count == 1 { name.to_owned() } else { format!("{name}-{count}") });
        let name = free.into_iter().find(|name| !runs.join(name).exists()).unwrap_or_else(|| name.to_owned());
        let folder = Self::create(&runs.join(&name))?;
        point_latest(runs, &name);
        Ok(folder)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a text file, whole or not at all.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn write(&self, name: &str, text: &str) -> Result<(), RunFolderError> {
        let path = self.path.join(name);
        files::write_whole(&path, text.as_bytes()).map_err(|error| failed(&path, &error))
    }

    /// Saves weights under `name`, whole or not at all.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn save_weights(&self, name: &str, weights: &Weights, metadata: &Value) -> Result<(), RunFolderError> {
        Ok(weights.save(&self.path.join(name), metadata)?)
    }

    /// Appends an epoch to `results.csv`.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn append(&self, report: &EpochReport) -> Result<(), RunFolderError> {
        let path = self.path.join("results.csv");
        let Metrics { accuracy, macro_f1, loss } = report.validation;
        let line = format!(
            "{},{:.3},{:.6},{:.6},{loss:.6},{accuracy:.6},{macro_f1:.6},{:.8},{:.1}\n",
            report.epoch,
            report.seconds,
            report.train_loss,
            report.train_accuracy,
            report.learning_rate,
            report.images_per_second,
        );
        let mut file = fs::OpenOptions::new().append(true).open(&path).map_err(|error| failed(&path, &error))?;
        file.write_all(line.as_bytes()).and_then(|()| file.sync_data()).map_err(|error| failed(&path, &error))
    }
}

/// A link is a convenience: where the file system has none, the run goes on without.
fn point_latest(runs: &Path, name: &str) {
    #[cfg(unix)]
    {
        let _ = fs::remove_file(runs.join("latest"));
        let _ = std::os::unix::fs::symlink(name, runs.join("latest"));
    }
    #[cfg(not(unix))]
    let _ = fs::write(runs.join("latest"), name);
}

fn failed(path: &Path, error: &std::io::Error) -> RunFolderError {
    RunFolderError::Write { path: path.display().to_string(), problem: error.to_string() }
}
