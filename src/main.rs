//! The `nasgen` program.

/// Training on the reference executor allocates and frees large tensors at every step: the system's
/// allocator gave them back to the kernel each time, which took two fifths of the processor's time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    nasgen::cli::main_with(&[])
}
