//! Whether a training fits into the memory.

use crate::{
    cli::{
        device::Device,
        failure::{Failure, Kind},
    },
    data::Partition,
    forecast::training_bytes,
    network::Network,
    numbers::short,
    train::RunConfig,
};
use nasgen_engine::cuda;
use std::fs;

/// Refuses a training that needs more memory than there is: the system would kill it, or the GPU refuse it later.
pub(in crate::cli) fn check(config: &RunConfig, network: &Network, parts: &Partition) -> Result<(), Failure> {
    let Some(room) = Room::of(config) else { return Ok(()) };
    let batch = config.settings.batch.min(parts.train.len()) as u64;
    let need = |batch| room.needed(config, network, batch);
    if need(batch) <= room.bytes {
        return Ok(());
    }
    let powers = (0..u64::BITS).rev().map(|power| 1u64 << power);
    let advice = match powers.filter(|smaller| *smaller < batch).find(|smaller| need(*smaller) <= room.bytes) {
        Some(smaller) => format!("--batch {smaller} fits"),
        None => "no batch fits; take smaller images with --input, or another network".into(),
    };
    Err(Failure::new(
        Kind::OutOfMemory,
        format!(
            "a batch of {batch} needs about {}B of {}, and {}B are free; {advice}",
            short(need(batch)),
            room.device.memory(),
            short(room.bytes)
        ),
    ))
}

/// The memory that a training works in.
pub(in crate::cli) struct Room {
    device: Device,
    /// Free now.
    pub(in crate::cli) bytes: u64,
}

impl Room {
    /// `None` where nothing says how much is free.
    pub(in crate::cli) fn of(config: &RunConfig) -> Option<Self> {
        let device = config.device.parse().ok()?;
        let bytes = match device {
            Device::Cpu => available()?,
            // A quarter may be taken by the images.
            Device::Gpu(number) => cuda::free_bytes(number)? / 4 * 3,
        };
        Some(Self { device, bytes })
    }

    /// Bytes that batches of so many images take of it; 0 where it cannot be known.
    pub(in crate::cli) fn needed(&self, config: &RunConfig, network: &Network, batch: u64) -> u64 {
        match self.device {
            Device::Cpu => training_bytes(network, &config.executor, batch),
            Device::Gpu(_) if config.executor == "reference" => 0,
            Device::Gpu(_) => {
                let images = usize::try_from(batch).unwrap_or(usize::MAX);
                cuda::training_bytes(&network.layers, images).unwrap_or(0)
            }
        }
    }
}

/// Bytes that this process may still take; `None` where the system does not say.
pub(in crate::cli) fn available() -> Option<u64> {
    let free = field("/proc/meminfo", "MemAvailable:");
    [free, control_group(), address_space()].into_iter().flatten().min()
}

/// What the limit on this process's address space leaves.
fn address_space() -> Option<u64> {
    #[cfg(unix)]
    {
        use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
        let (limit, _) = getrlimit(Resource::RLIMIT_AS).ok()?;
        (limit != RLIM_INFINITY).then(|| limit.saturating_sub(field("/proc/self/status", "VmSize:").unwrap_or(0)))
    }
    #[cfg(not(unix))]
    None
}

/// What a container's limit leaves.
fn control_group() -> Option<u64> {
    let number = |path: &str| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let folder = "/sys/fs/cgroup";
    Some(number(&format!("{folder}/memory.max"))?.saturating_sub(number(&format!("{folder}/memory.current"))?))
}

/// A line such as `MemAvailable:  123 kB`, in bytes.
fn field(path: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}
