//! The images of a training, checked against its network.

use crate::{
    cli::{
        failure::{Failure, Kind},
        images::LoadingFlags,
        output::Output,
    },
    data::{Dataset, ImageFormat, Partition, SplitFile},
    network::Network,
    numbers::grouped,
    spec::TrainSettings,
    train::RunConfig,
};
use nasgen_modules::Shape;
use std::path::Path;

pub(super) fn load(
    config: &RunConfig,
    network: &Network,
    loading: &LoadingFlags,
    output: &Output,
) -> Result<Dataset, Failure> {
    let [channels, height, width] = sides(network)?;
    let format = ImageFormat { channels, height, width, fit: config.fit };
    let data = loading.load(&config.data, &format, output)?;
    check_classes(network, &data)?;
    Ok(data)
}

/// Channels, height and width of the images that the network takes.
pub(in crate::cli) fn sides(network: &Network) -> Result<[usize; 3], Failure> {
    match network.input {
        Shape::Image { channels, height, width } => Ok([channels, height, width]),
        _ => Err(Failure::usage("the network takes no images")),
    }
}

fn check_classes(network: &Network, data: &Dataset) -> Result<(), Failure> {
    let wanted = data.classes.len();
    match network.classes() {
        None => Err(Failure::usage(format!(
            "the network ends in an image of {}, not in class scores; end it with GlobalAvgPool, Flatten and Linear",
            network.layers.output(),
        ))),
        Some(classes) if classes != wanted => Err(Failure::usage(format!(
            "the network gives {classes} class scores, but {} has {wanted} classes; \
             --classes {wanted} replaces the last layer if it is a Linear or a FixedConv",
            data.name,
        ))),
        Some(_) => Ok(()),
    }
}

/// The images to learn from and to measure on.
pub(in crate::cli) fn partition(data: Dataset, config: &RunConfig, output: &Output) -> Result<Partition, Failure> {
    let settings = &config.settings;
    let parts = match &config.split {
        Some(path) => Partition::by(&SplitFile::read(Path::new(path))?, data, false)?,
        None => Partition::of(data, settings.val, settings.seed),
    };
    checked(subset(parts, config)?, config, output)
}

/// Says what is to be said of the parts; those that nothing can be learnt from or measured on are refused.
pub(in crate::cli) fn checked(parts: Partition, config: &RunConfig, output: &Output) -> Result<Partition, Failure> {
    if parts.left_out > 0 {
        output.note(&format!("{} images are left out", grouped(parts.left_out as u64)));
    }
    if parts.train.is_empty() {
        return Err(Failure::new(Kind::Data, "no image is left to learn from"));
    }
    let learnt = parts.train.class_counts(parts.classes.len());
    let unlearnt: Vec<&str> =
        parts.classes.iter().zip(learnt).filter(|(_, count)| *count == 0).map(|(class, _)| class.as_str()).collect();
    if !unlearnt.is_empty() {
        output.note(&format!("no training image of {}: that cannot be learnt", unlearnt.join(", ")));
    }
    let counts = parts.validation.class_counts(parts.classes.len());
    let unmeasured = parts.classes.iter().zip(counts).filter(|(_, count)| *count == 0);
    let unmeasured: Vec<&str> = unmeasured.map(|(class, _)| class.as_str()).collect();
    if parts.validation.is_empty() {
        let message = match &config.split {
            Some(path) => format!("no image is left for validation: {path} has none"),
            None => format!("no image is left for validation; raise --val (now {})", config.settings.val),
        };
        return Err(Failure::new(Kind::Data, message));
    }
    if !unmeasured.is_empty() {
        output.note(&format!("no validation image of {}: the measures say nothing of it", unmeasured.join(", ")));
    }
    Ok(parts)
}

/// The parts of the first fold of a cross-validation.
pub(in crate::cli) fn first_fold(data: Dataset, folds: usize, config: &RunConfig) -> Result<Partition, Failure> {
    let first = Partition::folds(data, folds, config.settings.seed).next();
    subset(first.ok_or_else(|| Failure::usage("--kfold: wanted at least 2"))?, config)
}

pub(in crate::cli) fn subset(parts: Partition, config: &RunConfig) -> Result<Partition, Failure> {
    let Some(text) = &config.subset else { return Ok(parts) };
    let subset = text.parse().map_err(|problem| Failure::usage(format!("--subset: {problem}")))?;
    Ok(parts.with_subset(subset, config.settings.seed))
}

/// A norm cannot learn from one value; that would show only in the first step.
pub(in crate::cli) fn check_batch(
    network: &Network,
    parts: &Partition,
    settings: &TrainSettings,
) -> Result<(), Failure> {
    match network.norm_of_one_value() {
        Some(norm) if settings.batch.min(parts.train.len()) < 2 => Err(Failure::usage(format!(
            "the norm `{norm}` sees one pixel of an image, so a batch of one gives it one value per channel; \
             raise --batch, or --input"
        ))),
        _ => Ok(()),
    }
}
