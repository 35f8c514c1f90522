//! `--batch auto`: how many images a step takes.

use super::{ExecutorName, executor, memory};
use crate::{
    bench::{Mode, measure, noise},
    cli::{device, failure::Failure, output::Output},
    data::Partition,
    network::Network,
    train::{OptimizerRule, RunConfig},
    weights::Weights,
};
use clap::ValueEnum;
use std::time::Duration;

/// What is tried.
const SIZES: [usize; 8] = [8, 16, 32, 64, 128, 256, 512, 1024];
/// Fewer steps in an epoch teach too little.
const STEPS_PER_EPOCH: usize = 20;
/// A larger batch must bring more than this.
const WORTH: f64 = 1.05;
/// For each size.
const PATIENCE: Duration = Duration::from_millis(400);

/// The smallest of the sizes that is within 5 % of the fastest, measured here and now; a size must leave 20
/// steps to an epoch and fit the memory.
pub(super) fn choose(
    config: &RunConfig,
    network: &Network,
    parts: &Partition,
    output: &Output,
) -> Result<usize, Failure> {
    let name = ExecutorName::from_str(&config.executor, false).map_err(Failure::usage)?;
    let (rule, seed) = (OptimizerRule::of(&config.settings), config.settings.seed);
    let device = device::open(&config.device)?;
    // Half of it: others want some too.
    let room = memory::Room::of(config);
    let fits =
        |size: usize| room.as_ref().is_none_or(|room| room.needed(config, network, size as u64) <= room.bytes / 2);
    let enough_steps = |size: usize| size == SIZES[0] || size * STEPS_PER_EPOCH <= parts.train.len();
    let sizes = SIZES.into_iter().filter(|size| enough_steps(*size) && fits(*size));
    let mut speeds: Vec<(usize, f64)> = Vec::new();
    for size in sizes {
        let weights = Weights::initial(&network.layers, seed);
        let mut executor = executor(Some(name), network, &weights, rule, seed, device)?;
        let batch = noise(&network.layers, size, 0);
        // What no longer fits a GPU ends the list.
        let Ok(timing) = measure(&mut *executor, &batch, parts.classes.len(), Mode::Train, PATIENCE) else { break };
        speeds.push((size, size as f64 / (timing.median_ms() * 1e-3)));
    }
    let Some(size) = smallest_fast(&speeds) else {
        return Err(Failure::usage("--batch auto: no size fits the memory; name one with --batch"));
    };
    let measured: Vec<String> = speeds.iter().map(|(size, speed)| format!("{size}: {speed:.0}")).collect();
    output.message(&format!(
        "batch   {size}, the smallest within 5 % of the fastest; images per second measured now: {}",
        measured.join(", ")
    ));
    Ok(size)
}

fn smallest_fast(speeds: &[(usize, f64)]) -> Option<usize> {
    let fastest = speeds.iter().map(|(_, speed)| *speed).fold(0.0, f64::max);
    speeds.iter().find(|(_, speed)| speed * WORTH >= fastest).map(|(size, _)| *size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_that_is_fast_enough_is_taken() {
        assert_eq!(smallest_fast(&[(8, 100.0), (16, 190.0), (32, 198.0), (64, 199.0)]), Some(16));
        assert_eq!(smallest_fast(&[(8, 100.0), (16, 120.0)]), Some(16));
        assert_eq!(smallest_fast(&[]), None);
    }
}
