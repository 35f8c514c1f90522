//! The folder of one training.

use super::{
    Best, Checkpoint, EpochReport,
    journal::{EVENTS, TENSORBOARD},
};
use crate::{
    evaluation::Metrics,
    files, tensorboard,
    weights::{Weights, WeightsError},
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs::{self, File, TryLockError},
    io::Write,
    path::{Path, PathBuf},
    time::Duration,
};

/// Files that are only appended to.
const APPENDED: [Appended; 3] = [
    Appended { name: "results.csv", unit: Unit::Lines },
    Appended { name: EVENTS, unit: Unit::Lines },
    Appended { name: TENSORBOARD, unit: Unit::Records },
];

/// A file that is only appended to, and by what a checkpoint counts it: the bytes depend on how long
/// things took.
struct Appended {
    name: &'static str,
    unit: Unit,
}

#[derive(Clone, Copy)]
enum Unit {
    Lines,
    /// Of TensorBoard.
    Records,
}

impl Unit {
    fn count(self, file: &[u8]) -> usize {
        match self {
            Self::Lines => file.iter().filter(|byte| **byte == b'\n').count(),
            Self::Records => tensorboard::record_count(file),
        }
    }

    /// Bytes of the first `count` of them.
    fn prefix(self, file: &[u8], count: usize) -> usize {
        match self {
            Self::Lines => file.split_inclusive(|byte| *byte == b'\n').take(count).map(<[u8]>::len).sum(),
            Self::Records => tensorboard::prefix_of(file, count),
        }
    }
}

const BEST: &str = "best.safetensors";
const LAST: &str = "last.safetensors";

const COLUMNS: &str = "epoch,seconds,train/loss,train/accuracy,val/loss,val/accuracy,val/macro_f1,lr,images_per_second";

/// A run's folder: `config.yaml`, `model.yaml`, `results.csv`, `best.safetensors`,
/// `last.safetensors`. One process at a time has it.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    /// Locked for as long as this lives; the system lets go of it when the process ends, however it ends.
    _lock: File,
}

/// A run folder that cannot be made or written to.
#[derive(Debug, thiserror::Error)]
pub enum RunFolderError {
    /// It holds something already.
    #[error("the run folder {0} is not empty; choose another with --run, or delete it")]
    NotEmpty(String),
    /// There is no run in it to go on with.
    #[error("{path} is no run to go on with: {problem}")]
    NoRun {
        /// The folder.
        path: String,
        /// What is missing.
        problem: String,
    },
    /// Another process has it.
    #[error("another process is training in {0}; wait until it ends, or stop it")]
    InUse(String),
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
        let folder = Self { path: path.to_owned(), _lock: lock(path)? };
        folder.write("results.csv", &format!("{COLUMNS}\n"))?;
        Ok(folder)
    }

    /// Opens the folder of a run that was stopped or killed, and removes what a kill left half
    /// written.
    ///
    /// # Errors
    /// When there is no run in it, or another process has it.
    pub fn open(path: &Path) -> Result<Self, RunFolderError> {
        // The last file of a beginning: where it is, the others are.
        if !path.join("config.yaml").is_file() {
            let problem = "it has no config.yaml; start a training with `nasgen train CONFIG`".into();
            return Err(RunFolderError::NoRun { path: path.display().to_string(), problem });
        }
        let folder = Self { path: path.to_owned(), _lock: lock(path)? };
        files::remove_unfinished(path).map_err(|error| failed(path, &error))?;
        Ok(folder)
    }

    /// The last checkpoint; `None` if the run was killed before its first.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn last(&self) -> Result<Option<Checkpoint>, WeightsError> {
        let path = self.path.join(LAST);
        if path.exists() { Checkpoint::load(&path).map(Some) } else { Ok(None) }
    }

    /// Makes the folder `path` of which a kill may have left a beginning without settings.
    ///
    /// # Errors
    /// When it holds a run, or cannot be made.
    pub fn create_anew(path: &Path) -> Result<Self, RunFolderError> {
        if path.is_dir() && !path.join("config.yaml").exists() {
            let _lock = lock(path)?;
            fs::remove_dir_all(path).map_err(|error| failed(path, &error))?;
        }
        Self::create(path)
    }

    /// Makes the folder `name` in `runs`.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create_in(runs: &Path, name: &str) -> Result<Self, RunFolderError> {
        // Two runs may begin in the same second.
        let free = (1..).map(|count| if count == 1 { name.to_owned() } else { format!("{name}-{count}") });
        let name = free.into_iter().find(|name| !runs.join(name).exists()).unwrap_or_else(|| name.to_owned());
        Self::create(&runs.join(&name))
    }

    /// Points the link `latest` beside the folder at it, if there is one or they lie in a folder of runs.
    pub fn point_latest(&self) {
        let (Some(runs), Some(name)) = (self.path.parent(), self.path.file_name()) else { return };
        if runs.file_name().is_some_and(|name| name == "runs") || runs.join("latest").is_symlink() {
            point_latest(runs, &name.to_string_lossy());
        }
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
        self.write_bytes(name, text.as_bytes())
    }

    /// Writes a file of bytes, whole or not at all.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn write_bytes(&self, name: &str, bytes: &[u8]) -> Result<(), RunFolderError> {
        let path = self.path.join(name);
        files::write_whole(&path, bytes).map_err(|error| failed(&path, &error))
    }

    /// Saves the weights of the best epoch, whole or not at all.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn save_best(&self, weights: &Weights, metadata: &Value, best: &Best) -> Result<(), RunFolderError> {
        let mut metadata = metadata.clone();
        metadata["epoch"] = json!(best.epoch);
        metadata["val_accuracy"] = json!(best.validation.accuracy);
        Ok(weights.save(&self.path.join(BEST), &metadata)?)
    }

    /// The epoch of `best.safetensors`; `None` if there is none that can be read.
    pub fn best_epoch(&self) -> Option<usize> {
        let (_, metadata) = Weights::load(&self.path.join(BEST)).ok()?;
        let metadata: Value = serde_json::from_str(metadata.get("nasgen")?).ok()?;
        metadata["epoch"].as_u64().map(|epoch| epoch as usize)
    }

    /// Saves a checkpoint, whole or not at all.
    ///
    /// # Errors
    /// When the file system refuses; the one before is then still whole.
    pub fn save_last(&self, checkpoint: &Checkpoint, metadata: &Value) -> Result<(), RunFolderError> {
        // What it counts must be there after a power cut.
        for Appended { name, .. } in APPENDED {
            let path = self.path.join(name);
            let synced = File::open(&path).and_then(|file| file.sync_data());
            match synced {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(&path, &error)),
                _ => {}
            }
        }
        Ok(checkpoint.save(&self.path.join(LAST), metadata)?)
    }

    /// Lines or records of each file that is only appended to.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn lines(&self) -> Result<BTreeMap<String, usize>, RunFolderError> {
        let count = |file: &Appended| Ok((file.name.to_owned(), file.unit.count(&self.read_bytes(file.name)?)));
        APPENDED.iter().map(count).collect()
    }

    /// Cuts off what was appended after a checkpoint that counted these lines. Without counts all
    /// but the heading goes.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn cut_back(&self, lines: &BTreeMap<String, usize>) -> Result<(), RunFolderError> {
        for Appended { name, unit } in APPENDED {
            let (file, keep) = (self.read_bytes(name)?, lines.get(name).copied().unwrap_or(1));
            let kept = unit.prefix(&file, keep);
            if kept < file.len() {
                self.write_bytes(name, &file[..kept])?;
            }
        }
        Ok(())
    }

    /// How long the epochs in `results.csv` took, and of that the training steps.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn time_spent(&self, images_per_epoch: usize) -> Result<(Duration, Duration), RunFolderError> {
        let text = self.read("results.csv")?;
        let column = |name: &str| COLUMNS.split(',').position(|column| column == name).unwrap_or_default();
        let number =
            |line: &str, name: &str| line.split(',').nth(column(name)).and_then(|cell| cell.parse::<f64>().ok());
        let rows: Vec<&str> = text.lines().skip(1).collect();
        let rates = rows.iter().filter_map(|row| number(row, "images_per_second")).filter(|rate| *rate > 0.0);
        let stepping: f64 = rates.map(|rate| images_per_epoch as f64 / rate).sum();
        let total = rows.last().and_then(|row| number(row, "seconds")).unwrap_or(0.0);
        let duration = |seconds| Duration::try_from_secs_f64(seconds).unwrap_or_default();
        Ok((duration(total), duration(stepping)))
    }

    fn read(&self, name: &str) -> Result<String, RunFolderError> {
        let path = self.path.join(name);
        fs::read_to_string(&path).map_err(|error| failed(&path, &error))
    }

    /// The bytes of a file; none where there is no file yet.
    fn read_bytes(&self, name: &str) -> Result<Vec<u8>, RunFolderError> {
        let path = self.path.join(name);
        match fs::read(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failed(&path, &error)),
            read => Ok(read.unwrap_or_default()),
        }
    }

    /// Makes a folder in it.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn create_folder(&self, name: &str) -> Result<(), RunFolderError> {
        let path = self.path.join(name);
        fs::create_dir_all(&path).map_err(|error| failed(&path, &error))
    }

    /// Appends to a file. A checkpoint that counts what it holds syncs it.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn append_to(&self, name: &str, bytes: &[u8]) -> Result<(), RunFolderError> {
        let path = self.path.join(name);
        let appended = fs::OpenOptions::new().append(true).create(true).open(&path);
        appended.and_then(|mut file| file.write_all(bytes)).map_err(|error| failed(&path, &error))
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
        file.write_all(line.as_bytes()).map_err(|error| failed(&path, &error))
    }
}

/// The lock of a run's folder. Where the file system has no locks, the user has to take care.
fn lock(folder: &Path) -> Result<File, RunFolderError> {
    let path = folder.join(".lock");
    let file = File::create(&path).map_err(|error| failed(&path, &error))?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(RunFolderError::InUse(folder.display().to_string())),
        Ok(()) | Err(TryLockError::Error(_)) => Ok(file),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn report(epoch: usize) -> EpochReport {
        EpochReport {
            epoch,
            epochs: 9,
            seconds: epoch as f64 * 2.0,
            train_loss: 1.0,
            train_accuracy: 0.5,
            validation: Metrics { accuracy: 0.5, macro_f1: 0.5, loss: 1.0 },
            learning_rate: 0.1,
            images_per_second: 100.0,
            is_best: false,
            frozen_rows: 0,
        }
    }

    #[test]
    fn what_a_kill_left_behind_is_cut_off_and_cleaned_away() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("run");
        let folder = RunFolder::create(&path).unwrap();
        folder.append(&report(1)).unwrap();
        let lines = folder.lines().unwrap();
        let counted = folder.read("results.csv").unwrap();
        folder.append(&report(2)).unwrap();
        fs::OpenOptions::new().append(true).open(path.join("results.csv")).unwrap().write_all(b"3,4.0,0.").unwrap();
        fs::write(path.join(".nasgen-x7Gh2k"), b"half a file").unwrap();
        fs::write(path.join("config.yaml"), b"").unwrap();
        drop(folder);

        let folder = RunFolder::open(&path).unwrap();
        folder.cut_back(&lines).unwrap();
        assert_eq!(folder.read("results.csv").unwrap(), counted);
        assert!(!path.join(".nasgen-x7Gh2k").exists());
        assert_eq!(folder.time_spent(50).unwrap(), (Duration::from_secs(2), Duration::from_millis(500)));
        folder.cut_back(&BTreeMap::new()).unwrap();
        assert_eq!(folder.read("results.csv").unwrap(), format!("{COLUMNS}\n"));
    }

    #[test]
    fn a_run_has_one_process_and_a_folder_without_one_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("run");
        let folder = RunFolder::create(&path).unwrap();
        let error = RunFolder::open(&path).unwrap_err().to_string();
        assert!(error.contains("no config.yaml"), "{error}");
        fs::write(path.join("config.yaml"), b"").unwrap();
        assert!(matches!(RunFolder::open(&path), Err(RunFolderError::InUse(_))));
        drop(folder);
        assert!(RunFolder::open(&path).is_ok());
    }
}
