//! What a training that ended early says.

use super::{Prepared, summary::quoted};
use crate::{
    cli::failure::{Failure, Kind},
    reference::{Mode, Reference},
    train::{Divergence, Executor, Freezing, OptimizerRule, Problem, RunFolder, RunFolderError, TrainError},
};
use candle_core::Device;

/// What became NaN or infinite, in which layer first, and what to do.
pub(super) fn diverged(divergence: &Divergence, executor: &mut dyn Executor, prepared: &Prepared) -> Failure {
    let Prepared { network, folder, config, .. } = prepared;
    let layer = executor.weights().ok().and_then(|weights| {
        let (rule, seed) = (OptimizerRule::of(&config.settings), config.settings.seed);
        let mut reference = Reference::new(&network.layers, &weights, rule, seed, &Device::Cpu).ok()?;
        reference.freeze(&Freezing::at(&config.settings, &network.layers, divergence.epoch, 1));
        let mode = match divergence.problem {
            Problem::Loss(_) => Mode::Training { step: divergence.index },
            Problem::ValidationLoss(_) | Problem::Weights => Mode::Evaluation,
        };
        reference.first_bad_layer(&divergence.batch, mode).ok()?
    });
    let layer = match layer {
        Some(layer) => format!("the first layer with a bad value is `{}`: its {}", layer.label, layer.what),
        None => "every layer alone gives finite values, but large ones".into(),
    };
    let message = format!(
        "{divergence}; {layer}; try --lr {:.0e}. The last good weights are in {}",
        divergence.learning_rate / 10.0,
        folder.path().join("last.safetensors").display(),
    );
    Failure::new(Kind::Diverged, message)
}

pub(super) fn stopped(error: &TrainError, kind: Kind, folder: &RunFolder) -> Failure {
    let run = quoted(&folder.path().display().to_string());
    Failure::new(kind, format!("{error} and saved; go on with: nasgen train --resume {run}"))
}

impl From<RunFolderError> for Failure {
    fn from(error: RunFolderError) -> Self {
        let kind = match error {
            RunFolderError::NotEmpty(_) | RunFolderError::NoRun { .. } | RunFolderError::InUse(_) => Kind::Usage,
            RunFolderError::Write { .. } | RunFolderError::Weights(_) => Kind::Failed,
        };
        Self::new(kind, error.to_string())
    }
}
