//! The weights that a training begins with.

use super::{Prepared, sides};
use crate::{
    cli::{failure::Failure, output::Output},
    data::{Normalisation, Partition},
    network::Network,
    numbers::grouped,
    pretrained::{Fitted, Pretrained},
    train::{Checkpoint, Description, Freezing, RunConfig, freezing_problem},
    weights::Weights,
};
use std::path::{Path, PathBuf};

/// How a training begins.
pub(super) struct Beginning {
    pub(super) weights: Weights,
    /// Mean and deviation with which images become the network's input.
    pub(super) normalisation: Normalisation,
}

impl Beginning {
    /// The weights of `--init`, else random ones; of a training that goes on only the normalisation matters.
    pub(super) fn of(prepared: &Prepared, from: Option<&Checkpoint>, output: &Output) -> Result<Self, Failure> {
        let Prepared { config, network, parts, folder, .. } = prepared;
        if config.init.is_none() || from.is_none() {
            return Self::anew(config, network, parts, output);
        }
        let (description, _) = Description::read(&folder.path().join("last.safetensors"))?;
        let weights = Weights::initial(&network.layers, config.settings.seed);
        Ok(Self { weights, normalisation: description.normalisation() })
    }

    /// The same of a training without a past.
    pub(super) fn anew(
        config: &RunConfig,
        network: &Network,
        parts: &Partition,
        output: &Output,
    ) -> Result<Self, Failure> {
        let Some(path) = &config.init else {
            let weights = Weights::initial(&network.layers, config.settings.seed);
            return Ok(Self { weights, normalisation: Normalisation::of(&parts.train) });
        };
        let (pretrained, fitted) = fitted(path, network, config.settings.seed, &parts.classes)?;
        let classes = match fitted.new_classifier {
            Some(reason) => format!("a new classifier for {} classes ({reason})", parts.classes.len()),
            None => "with its classifier".into(),
        };
        fitted.note.iter().for_each(|note| output.note(note));
        output.message(&format!("init    {path}: {}; {classes}", pretrained.origin()));
        Ok(Self { weights: fitted.weights, normalisation: pretrained.normalisation() })
    }
}

/// What can be said before images are loaded and a folder is made: whether weights fit the network, and
/// whether something learns.
pub(super) fn check(config: &RunConfig, network: &Network) -> Result<(), Failure> {
    if let Some(problem) = freezing_problem(&config.settings, &network.layers, network.rows.len()) {
        return Err(Failure::usage(problem));
    }
    match &config.init {
        Some(path) => fitted(path, network, 0, &[]).map(drop),
        None => Ok(()),
    }
}

/// The file's weights, and what the network makes of them.
fn fitted(path: &str, network: &Network, seed: u64, classes: &[String]) -> Result<(Pretrained, Fitted), Failure> {
    let wrong = |problem: String| Failure::usage(format!("--init: {path}: {problem}"));
    let file = weights_file(Path::new(path));
    let pretrained = Pretrained::read(&file).map_err(|error| Failure::usage(format!("--init: {error}")))?;
    let fitted = pretrained.fit(&network.layers, Weights::initial(&network.layers, seed), classes).map_err(wrong)?;
    let (learnt, channels) = (pretrained.normalisation().mean.len(), sides(network)?[0]);
    if learnt != channels {
        return Err(wrong(format!("it has learnt from images of {learnt} channels, and the network takes {channels}")));
    }
    Ok((pretrained, fitted))
}

/// What is frozen at the beginning, for people.
pub(super) fn frozen(config: &RunConfig, network: &Network) -> Option<String> {
    let settings = &config.settings;
    settings.freeze_until?;
    let freezing = Freezing::at(settings, &network.layers, 1, 1);
    let every = settings.unfreeze_every.map_or_else(String::new, |every| {
        let epochs = if every == 1 { "epoch".to_owned() } else { format!("{every} epochs") };
        format!(", one more row every {epochs}")
    });
    let rows = freezing.frozen_rows();
    let which = if rows == 1 { "row 0 is".to_owned() } else { format!("rows 0 to {} are", rows.saturating_sub(1)) };
    let values = if config.init.is_some() { "" } else { " at random values (there is no --init)" };
    Some(format!(
        "frozen  {which} frozen{values}: {} of {} parameters learn{every}",
        grouped(freezing.learning_params(&network.layers)),
        grouped(network.params()),
    ))
}

/// Of a run, the weights of its best epoch.
fn weights_file(path: &Path) -> PathBuf {
    if path.is_dir() { path.join("best.safetensors") } else { path.to_owned() }
}
