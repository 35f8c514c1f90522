//! Which executor runs a network.

use crate::{
    cli::{
        device::{self, Device},
        failure::{Failure, Kind},
        output::Output,
    },
    engine,
    network::Network,
    reference::Reference,
    train::{Executor, OptimizerRule},
    weights::Weights,
};
use nasgen_engine::cuda::{Gpu, Precision};
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

/// The executor that was asked for, else the fastest that can run the network.
pub(in crate::cli) fn executor(
    name: Option<ExecutorName>,
    network: &Network,
    weights: &Weights,
    rule: OptimizerRule,
    seed: u64,
    device: Device,
) -> Result<Box<dyn Executor>, Failure> {
    let layers = &network.layers;
    let fastest = match network.custom_operation() {
        Some(_) => ExecutorName::Reference,
        None => ExecutorName::Engine,
    };
    match (name.unwrap_or(fastest), device) {
        (ExecutorName::Engine, Device::Cpu) => {
            let engine = engine::compile(layers, weights, rule, seed);
            Ok(Box::new(engine.map_err(|error| executor_failure(&error.0))?))
        }
        (ExecutorName::Engine, Device::Gpu(number)) => {
            let gpu = Gpu::new(number, Precision::default());
            let gpu = gpu.map_err(|error| device::unusable(device, &error.to_string()))?;
            let engine = engine::compile_on(gpu, layers, weights, rule, seed);
            Ok(Box::new(engine.map_err(|error| executor_failure(&error.0))?))
        }
        (ExecutorName::Reference, device) => {
            let reference = Reference::new(layers, weights, rule, seed, &of_candle(device)?);
            Ok(Box::new(reference.map_err(|error| executor_failure(&error.to_string()))?))
        }
    }
}

/// The device as the reference executor knows it.
fn of_candle(device: Device) -> Result<candle_core::Device, Failure> {
    match device {
        Device::Cpu => Ok(candle_core::Device::Cpu),
        Device::Gpu(_) if !cfg!(feature = "cuda") => Err(Failure::usage(format!(
            "--device {device}: the reference executor was built without CUDA; build it with `cargo build --release \
             --features cuda` where the CUDA toolkit is installed, or use --executor engine"
        ))),
        Device::Gpu(number) => candle_core::Device::new_cuda(number)
            .map_err(|error| device::unusable(device, &format!("candle cannot use it ({error})"))),
    }
}

pub(in crate::cli) fn executor_failure(message: &str) -> Failure {
    let out_of_memory = message.to_lowercase().contains("out of memory")
        || message.contains("OUT_OF_MEMORY")
        || message.contains("has no room");
    let kind = if out_of_memory { Kind::OutOfMemory } else { Kind::Failed };
    Failure::new(kind, message)
}
