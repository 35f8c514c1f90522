//! The `nasgen` program.

/// Training allocates and frees large tensors at every step: the system's allocator gives them back
/// to the kernel each time and spends as long clearing pages as it saves.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    nasgen::cli::main_with(&[])
}
