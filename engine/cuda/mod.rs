//! The engine on an NVIDIA GPU.
//!
//! A network is compiled into a *program*: stages over values, with their constants. For each size of batch and each
//! kind of step the program writes a *tape*: the launches of kernels, in order, with all their arguments, over memory
//! whose places are fixed. A device records a tape once (a CUDA graph) and plays it for every batch; what changes from
//! step to step (learning rate, number of the step, images, targets) lies in memory that the host writes before.
//!
//! The kernels (`kernels/*.cu`) are CUDA C++ that a host compiler takes as well. `host.rs` runs tapes that way,
//! thread by thread, so that all of this is tested on machines without a GPU.

mod device;
mod engine;
mod geometry;
mod gpu;
#[cfg(feature = "host-kernels")]
mod host;
mod nvrtc;
mod pass;
mod placement;
mod program;
mod sources;
mod stages;
mod tape;
#[cfg(test)]
mod tests;

pub use device::{Device, DeviceError};
pub use engine::{CudaEngine, training_bytes};
pub use gpu::{Gpu, Precision, check, free_bytes};
#[cfg(feature = "host-kernels")]
pub use host::{Arithmetic, Host, Order};
pub use placement::{Content, Placed, Placement};
