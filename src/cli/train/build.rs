//! What a bit-identical resume depends on beside its run.

use std::{env, sync::LazyLock};

/// The program, by the checksum of its file, and what its kernels find in the processor.
pub(in crate::cli) fn identity() -> &'static str {
    // Read once: a search begins many trainings, and the file may be another one by then.
    static IDENTITY: LazyLock<String> = LazyLock::new(|| {
        let program = env::current_exe().and_then(std::fs::read).map_or(0, |bytes| crc32fast::hash(&bytes));
        format!("nasgen {} {program:08x} on {} {}", env!("CARGO_PKG_VERSION"), env::consts::ARCH, instructions())
    });
    &IDENTITY
}

/// The widest instructions for which there are kernels.
fn instructions() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    {
        if std::arch::is_x86_feature_detected!("avx512f") {
            return "avx512";
        }
        if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
            return "avx2";
        }
    }
    "baseline"
}
