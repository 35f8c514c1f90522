//! Whether a training fits into the memory.

use crate::{
    cli::failure::{Failure, Kind},
    data::Partition,
    forecast::training_bytes,
    network::Network,
    numbers::short,
    train::RunConfig,
};
use std::fs;

/// Refuses a training that needs more memory than there is: the system would kill it.
pub(in crate::cli) fn check(config: &RunConfig, network: &Network, parts: &Partition) -> Result<(), Failure> {
    let Some(available) = available() else { return Ok(()) };
    let batch = config.settings.batch.min(parts.train.len()) as u64;
    let need = |batch| training_bytes(network, &config.executor, batch);
    if config.device != "cpu" || need(batch) <= available {
        return Ok(());
    }
    let powers = (0..u64::BITS).rev().map(|power| 1u64 << power);
    let advice = match powers.filter(|smaller| *smaller < batch).find(|smaller| need(*smaller) <= available) {
        Some(smaller) => format!("--batch {smaller} fits"),
        None => "no batch fits; take smaller images with --input, or another network".into(),
    };
    Err(Failure::new(
        Kind::OutOfMemory,
        format!(
            "a batch of {batch} needs about {}B of memory, and {}B are free; {advice}",
            short(need(batch)),
            short(available)
        ),
    ))
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
