//! Everything that is tested from outside, in one binary.

/// Tables over every block: what each gets tested for free.
mod blocks;
/// The committed PyTorch fixtures.
mod oracle;

use std::path::{Path, PathBuf};

/// A file of the repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
