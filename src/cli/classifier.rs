//! A trained network that answers.

use super::{
    device,
    failure::{Failure, Kind},
    train::{ExecutorName, executor, executor_failure},
};
use crate::{
    data::{Batch, ImageFormat, Images, Normalisation, evaluation_batch, mirrored_batch},
    evaluation::probabilities,
    network::Network,
    spec::{ModelSpec, SourceText},
    train::{Checkpoint, Description, Executor, OptimizerRule},
    weights::{Weights, WeightsError},
};
use nasgen_modules::{Blocks, Shape};
use std::{
    ops::Range,
    path::{Path, PathBuf},
};

/// Makes a batch of the images in a range.
type MakeBatch = fn(&Images, Range<usize>, &Normalisation) -> Batch;

/// How trained networks are run; the same for every command that does.
#[derive(clap::Args)]
pub(super) struct ClassifierFlags {
    /// The weights of the best epoch or of the last one.
    #[arg(long, default_value = "best", value_name = "WHICH")]
    weights: Which,
    /// Also answer for the mirrored image, and take the mean: `flips`.
    #[arg(long, value_name = "NAME")]
    tta: Option<Variations>,
    /// How several runs decide: by the mean of their probabilities, or by majority.
    #[arg(long, default_value = "soft", value_name = "HOW")]
    pub(super) vote: VoteName,
    /// Images at a time.
    #[arg(long, default_value_t = 64, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65536))]
    batch: u32,
    /// cpu, cuda or cuda:INDEX.
    #[arg(long, default_value = "cpu")]
    device: String,
    /// engine or reference [default: engine; reference for networks with custom operations].
    #[arg(long, value_name = "NAME")]
    executor: Option<ExecutorName>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Which {
    Best,
    Last,
}

/// What else is asked of a network about an image (test-time augmentation).
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Variations {
    Flips,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum VoteName {
    Soft,
    Hard,
}

impl From<VoteName> for crate::evaluation::Vote {
    fn from(name: VoteName) -> Self {
        match name {
            VoteName::Soft => Self::Soft,
            VoteName::Hard => Self::Hard,
        }
    }
}

/// A trained network.
pub(super) struct Classifier {
    pub(super) description: Description,
    pub(super) format: ImageFormat,
    executor: Box<dyn Executor>,
    mirrored_too: bool,
    batch: usize,
}

/// Whether `path` is a run or a weights file.
pub(super) fn is_run(path: &Path) -> bool {
    path.join("config.yaml").is_file() || path.extension().is_some_and(|ending| ending == "safetensors")
}

impl Classifier {
    /// Opens a run's folder, or a weights file.
    pub(super) fn open(path: &Path, flags: &ClassifierFlags, blocks: &Blocks) -> Result<Self, Failure> {
        let file = weights_file(path, flags.weights)?;
        let (description, weights) = Description::read(&file)?;
        let text = SourceText { name: format!("the spec in {}", file.display()), text: description.spec.clone() };
        let spec = ModelSpec::parse(&text, blocks)?;
        let [channels, height, width] = description.input;
        let network = Network::plan(&spec, Shape::image(channels, height, width))
            .map_err(|diagnostic| text.error(vec![diagnostic]))?;
        let weights = own(&network, weights, &file)?;
        let device = device::open(&flags.device)?;
        // It is never trained: any rule does.
        let rule = OptimizerRule::PLAIN;
        let executor = executor(flags.executor, &network, &weights, rule, 0, device)?;
        let format = description
            .image_format()
            .map_err(|problem| Failure::usage(format!("{}: fit {problem}", file.display())))?;
        let (mirrored_too, batch) = (flags.tta == Some(Variations::Flips), flags.batch as usize);
        Ok(Self { description, format, executor, mirrored_too, batch })
    }

    /// Class probabilities: images × classes.
    pub(super) fn probabilities(&mut self, images: &Images) -> Result<Vec<f64>, Failure> {
        let mut answers = self.answers(images, evaluation_batch)?;
        if self.mirrored_too {
            let mirrored = self.answers(images, mirrored_batch)?;
            answers.iter_mut().zip(mirrored).for_each(|(answer, other)| *answer = f64::midpoint(*answer, other));
        }
        Ok(answers)
    }

    fn answers(&mut self, images: &Images, make: MakeBatch) -> Result<Vec<f64>, Failure> {
        let (normalisation, classes) = (self.description.normalisation(), self.description.classes.len());
        let mut answers = Vec::with_capacity(images.len() * classes);
        for start in (0..images.len()).step_by(self.batch) {
            let batch = make(images, start..(start + self.batch).min(images.len()), &normalisation);
            let scores = self.executor.scores(&batch).map_err(|error| executor_failure(&error.0))?;
            answers.extend(probabilities(&scores, classes));
        }
        Ok(answers)
    }
}

fn weights_file(path: &Path, which: Which) -> Result<PathBuf, Failure> {
    let file = match which {
        _ if path.is_file() => path.to_owned(),
        Which::Best => path.join("best.safetensors"),
        Which::Last => path.join("last.safetensors"),
    };
    match file.is_file() {
        true => Ok(file),
        false if path.join("fold-1").is_dir() => Err(Failure::usage(format!(
            "{path} is a cross-validation; name its folds, which are one classifier together: {path}/fold-*",
            path = path.display(),
        ))),
        false => Err(Failure::usage(format!(
            "{} is no run: wanted the folder of a training, with {} in it",
            path.display(),
            file.file_name().unwrap_or_default().display(),
        ))),
    }
}

/// The network's own tensors, without what else a checkpoint holds.
fn own(network: &Network, weights: Weights, file: &Path) -> Result<Weights, Failure> {
    let own = Checkpoint::network_tensors(weights);
    match own.misfits(&network.layers).first() {
        None => Ok(own),
        Some(first) => Err(Failure::usage(format!("{}: the weights do not fit its spec: {first}", file.display()))),
    }
}

impl From<WeightsError> for Failure {
    fn from(error: WeightsError) -> Self {
        Self::new(Kind::Failed, error.to_string())
    }
}
