//! `--device`.

use super::failure::Failure;
use candle_core::Device;

/// Opens `cpu`, `cuda` or `cuda:INDEX`.
pub(super) fn open(name: &str) -> Result<Device, Failure> {
    let index = match name.split_once(':') {
        None if name == "cpu" => return Ok(Device::Cpu),
        None if name == "cuda" => 0,
        Some(("cuda", index)) => index.parse().map_err(|_| unknown(name))?,
        _ => return Err(unknown(name)),
    };
    if !cfg!(feature = "cuda") {
        return Err(Failure::usage(
            "--device cuda: this program was built without CUDA; build it with `cargo build --release --features cuda` \
             where the CUDA toolkit is installed, or use --device cpu",
        ));
    }
    Device::new_cuda(index).map_err(|error| {
        Failure::usage(format!("--device {name}: no such GPU can be used here ({error}); use --device cpu"))
    })
}

fn unknown(name: &str) -> Failure {
    Failure::usage(format!("--device: wanted cpu, cuda or cuda:INDEX, got `{name}`"))
}
