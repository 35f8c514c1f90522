//! `--device`.

use super::failure::Failure;
use nasgen_engine::cuda;
use std::{fmt, str::FromStr};

/// Where a network runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Device {
    Cpu,
    /// The GPU with this number.
    Gpu(usize),
}

impl FromStr for Device {
    type Err = Failure;

    /// `cpu`, `cuda` or `cuda:INDEX`.
    fn from_str(name: &str) -> Result<Self, Failure> {
        let unknown = || Failure::usage(format!("--device: wanted cpu, cuda or cuda:INDEX, got `{name}`"));
        match name.split_once(':') {
            None if name == "cpu" => Ok(Self::Cpu),
            None if name == "cuda" => Ok(Self::Gpu(0)),
            Some(("cuda", number)) => number.parse().map(Self::Gpu).map_err(|_| unknown()),
            _ => Err(unknown()),
        }
    }
}

impl Device {
    /// What its memory is called.
    pub(super) fn memory(self) -> &'static str {
        match self {
            Self::Cpu => "memory",
            Self::Gpu(_) => "the GPU's memory",
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Gpu(number) => write!(f, "cuda:{number}"),
        }
    }
}

/// The device of this name, if it is there.
pub(super) fn open(name: &str) -> Result<Device, Failure> {
    let device = name.parse()?;
    if let Device::Gpu(number) = device {
        cuda::check(number).map_err(|error| unusable(device, &error.to_string()))?;
    }
    Ok(device)
}

/// A GPU that cannot be used.
pub(super) fn unusable(device: Device, problem: &str) -> Failure {
    Failure::usage(format!("--device {device}: {problem}; without a GPU use --device cpu"))
}
