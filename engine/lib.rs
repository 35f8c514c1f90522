//! Runs a network's layers fast on a CPU, or on a GPU ([`cuda`]).
//!
//! The graph is compiled once into a list of operations over buffers that are allocated once and
//! shared by values that are never needed together: pixels × channels (NHWC), f32. A convolution,
//! the norm after it, the norm's activation and a residual sum are one operation. Each operation knows its own
//! backward step. All parameters lie in one flat buffer, as do their gradients and the optimizer's
//! moments. Class scores are computed a few images at a time, with the norms in the weights.
//!
//! Results do not depend on the number of threads: work is cut into the same chunks of images, and
//! what chunks have in common is summed in their order.
#![expect(clippy::needless_range_loop, reason = "loops over several slices vectorise when all are indexed alike")]

mod activation;
mod buffer;
mod chunks;
pub mod cuda;
mod engine;
mod fusion;
mod instructions;
mod kernels;
mod lanes;
mod lifetimes;
mod loss;
mod operation;
mod operations;
mod optimizer;
mod parameters;
mod plan;
mod schedule;
mod window;

pub use engine::{Engine, EngineError, StepOutcome, Tensors, TrainStep, training_bytes};
pub use loss::{Loss, LossKind};
pub use optimizer::Rule;
