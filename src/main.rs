//! The `nasgen` program.

fn main() -> std::process::ExitCode {
    nasgen::cli::main_with(&[])
}
