//! Which executor runs a network.

use crate::{
    cli::{
        failure::{Failure, Kind},
        output::Output,
    },
    engine,
    network::Network,
    reference::Reference,
    train::{Executor, OptimizerRule},
    weights::Weights,
};
use candle_core::Device;
use std::fmt;

/// The executors that a user can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(in crate::cli) enum ExecutorName {
    Engine,
    Reference,
}

impl fmt::Display for ExecutorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Engine => "engine",
            Self::Reference => "reference",
        })
    }
}

/// Says that the engine cannot run the network, where nobody asked for an executor.
pub(in crate::cli) fn note_reference(name: Option<ExecutorName>, network: &Network, output: &Output) {
    if let (None, Some(label)) = (name, network.custom_operation()) {
        output.note(&format!("`{label}` is a custom operation: the network runs on the reference executor"));
    }
}

/// The executor that was asked for, else the fastest that can run on the device.
pub(in crate::cli) fn executor(
    name: Option<ExecutorName>,
    network: &Network,
    weights: &Weights,
    rule: OptimizerRule,
    seed: u64,
    device: &Device,
) -> Result<Box<dyn Executor>, Failure> {
    let layers = &network.layers;
    let name = name.or(network.custom_operation().map(|_| ExecutorName::Reference));
    match (name, device.is_cpu()) {
        (Some(ExecutorName::Engine), false) => {
            Err(Failure::usage("--executor engine runs on the CPU; use --executor reference on a GPU"))
        }
        (None | Some(ExecutorName::Engine), true) => {
            let engine = engine::compile(layers, weights, rule, seed);
            Ok(Box::new(engine.map_err(|error| executor_failure(&error.0))?))
        }
        (Some(ExecutorName::Reference), _) | (None, false) => {
            let reference = Reference::new(layers, weights, rule, seed, device);
            Ok(Box::new(reference.map_err(|error| executor_failure(&error.to_string()))?))
        }
    }
}

pub(in crate::cli) fn executor_failure(message: &str) -> Failure {
    let out_of_memory = message.to_lowercase().contains("out of memory") || message.contains("OUT_OF_MEMORY");
    let kind = if out_of_memory { Kind::OutOfMemory } else { Kind::Failed };
    Failure::new(kind, message)
}
