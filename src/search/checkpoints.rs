//! Which weights stay on the disk.

use nasgen_search::{Direction, Objective, State, Trial};
use std::{
    cmp::Ordering,
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    str::FromStr,
};

/// What of the weights of finished trials is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Of the best so many in the first objective.
    pub best: usize,
    /// At most so many bytes in all, those of paused trials included.
    pub bytes: u64,
}

impl FromStr for Keep {
    type Err = String;

    /// `best:5`; the cap is another flag.
    fn from_str(text: &str) -> Result<Self, String> {
        let best = text.strip_prefix("best:").and_then(|count| count.parse().ok());
        best.map(|best| Self { best, bytes: u64::MAX })
            .ok_or_else(|| format!("wanted best:N, such as best:5, got `{text}`"))
    }
}

/// The folder of a trial, in the study's.
pub fn trial_folder(study: &Path, number: u64) -> PathBuf {
    study.join("trials").join(format!("{number:05}"))
}

/// The trials with values, the best of the first objective first; of equal ones the earlier.
pub fn by_value<'a>(trials: &'a [Trial], objectives: &[Objective]) -> Vec<&'a Trial> {
    let direction = objectives.first().map_or(Direction::Minimize, |objective| objective.direction);
    let has_value = |trial: &&Trial| trial.state == State::Complete && !trial.values.is_empty();
    let mut complete: Vec<&Trial> = trials.iter().filter(has_value).collect();
    complete.sort_by(|one, other| better(direction, one.values[0], other.values[0]));
    complete
}

/// The same without reused results, which do not count.
pub fn ranking<'a>(trials: &'a [Trial], objectives: &[Objective]) -> Vec<&'a Trial> {
    by_value(trials, objectives).into_iter().filter(|trial| super::attributes::reused(trial).is_none()).collect()
}

/// Trials without a value that were set aside or stopped early: those that came farthest first, of those the best.
pub(super) fn furthest(trials: &[Trial], objectives: &[Objective]) -> Vec<u64> {
    let beaten = |trial: &&Trial| trial.paused || trial.state == State::Pruned;
    let unused = |trial: &&Trial| super::attributes::reused(trial).is_none();
    let reported = trials.iter().filter(beaten).filter(unused);
    let mut beaten: Vec<(u64, f64, u64)> =
        reported.filter_map(|trial| trial.reports.last().map(|(step, value)| (*step, *value, trial.number))).collect();
    let by_value = |one: f64, other: f64| better(objectives[0].direction, one, other);
    beaten.sort_by(|one, other| other.0.cmp(&one.0).then_with(|| by_value(one.1, other.1)));
    beaten.into_iter().map(|(_, _, number)| number).collect()
}

/// `Less` where `one` is better.
pub(super) fn better(direction: Direction, one: f64, other: f64) -> Ordering {
    direction.to_minimize(one).total_cmp(&direction.to_minimize(other))
}

/// Deletes the weights that are not kept, of finished trials those that `can_be_best` refuses too. Specs and results
/// stay.
///
/// # Errors
/// When the file system refuses.
pub(super) fn tidy(
    study: &Path,
    trials: &[Trial],
    can_be_best: impl Fn(&Trial) -> bool,
    objectives: &[Objective],
    keep: Keep,
) -> io::Result<()> {
    let ranked = ranking(trials, objectives).into_iter().filter(|trial| can_be_best(trial));
    let kept: Vec<u64> = ranked.take(keep.best).map(|trial| trial.number).collect();
    let best: BTreeSet<u64> = kept.iter().copied().collect();
    for trial in trials.iter().filter(|trial| trial.state.is_finished() && !best.contains(&trial.number)) {
        delete_weights(&trial_folder(study, trial.number))?;
    }
    let mut paused: Vec<&Trial> = trials.iter().filter(|trial| trial.paused).collect();
    let last = |trial: &Trial| trial.reports.last().map_or(f64::NAN, |(_, value)| *value);
    paused.sort_by(|one, other| better(objectives[0].direction, last(one), last(other)));
    // The worst last of both; a paused trial begins anew if it is taken up without its checkpoint.
    let mut numbers: Vec<u64> = paused.iter().map(|trial| trial.number).chain(kept).collect();
    let mut bytes: u64 = trials
        .iter()
        .filter(|trial| !trial.state.is_finished() || best.contains(&trial.number))
        .map(|trial| weights(&trial_folder(study, trial.number)).iter().map(|(_, size)| size).sum::<u64>())
        .sum();
    while bytes > keep.bytes
        && let Some(number) = numbers.pop()
    {
        bytes -= delete_weights(&trial_folder(study, number))?;
    }
    Ok(())
}

/// Where another worker goes on with a trial whose folder is still held by the one that was thought dead.
pub fn taken_over(folder: &Path) -> PathBuf {
    let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    folder.with_file_name(format!("{name}-taken-over"))
}

/// Weights files of a trial, those of its folds included, with their sizes.
fn weights(folder: &Path) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned(), taken_over(folder)];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            match fs::metadata(&path) {
                Ok(file) if file.is_dir() => folders.push(path),
                Ok(file) if path.extension().is_some_and(|ending| ending == "safetensors") => {
                    found.push((path, file.len()))
                }
                _ => {}
            }
        }
    }
    found
}

fn delete_weights(folder: &Path) -> io::Result<u64> {
    let mut deleted = 0;
    for (path, size) in weights(folder) {
        match fs::remove_file(&path) {
            Ok(()) => deleted += size,
            // Another worker tidies as well.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(deleted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nasgen_search::Attributes;

    fn trial(number: u64, state: State, value: f64) -> Trial {
        Trial {
            number,
            state,
            paused: state == State::Running,
            params: Vec::new(),
            values: if state == State::Complete { vec![value] } else { Vec::new() },
            reports: vec![(1, value)],
            user: Attributes::new(),
            system: Attributes::new(),
            started: None,
            finished: None,
        }
    }

    #[test]
    fn the_best_and_the_paused_stay_up_to_the_cap() {
        let folder = tempfile::tempdir().unwrap();
        let states = [State::Complete, State::Complete, State::Pruned, State::Running, State::Complete, State::Running];
        let trials: Vec<Trial> = states
            .iter()
            .enumerate()
            .map(|(number, state)| trial(number as u64, *state, 0.5 + 0.1 * number as f64))
            .collect();
        let fill = || {
            for number in 0..6 {
                let path = trial_folder(folder.path(), number);
                fs::create_dir_all(&path).unwrap();
                fs::write(path.join("last.safetensors"), [0; 100]).unwrap();
                fs::write(path.join("model.yaml"), "").unwrap();
            }
        };
        let left = || {
            let has = |number: &u64| trial_folder(folder.path(), *number).join("last.safetensors").exists();
            (0..6).filter(has).collect::<Vec<u64>>()
        };
        let objectives = [Objective { name: "accuracy".into(), direction: Direction::Maximize, known: false }];
        for (best, bytes, expected) in [
            (1, 1000, vec![3, 4, 5]),
            (2, 1000, vec![1, 3, 4, 5]),
            (2, 300, vec![3, 4, 5]),
            (2, 150, vec![5]),
            (0, 0, vec![]),
        ] {
            fill();
            tidy(folder.path(), &trials, |_| true, &objectives, Keep { best, bytes }).unwrap();
            assert_eq!(left(), expected, "best:{best}, {bytes} bytes");
        }
        fill();
        let keep = Keep { best: 1, bytes: 1000 };
        tidy(folder.path(), &trials, |trial| trial.number < 4, &objectives, keep).unwrap();
        assert_eq!(left(), [1, 3, 5], "the best of those that can be it, and what waits");
        assert!(trial_folder(folder.path(), 0).join("model.yaml").exists(), "specs stay");
    }

    #[test]
    fn keep_is_read_as_it_is_written() {
        assert_eq!("best:5".parse(), Ok(Keep { best: 5, bytes: u64::MAX }));
        assert!("5".parse::<Keep>().unwrap_err().contains("best:N"));
    }
}
