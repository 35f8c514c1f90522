//! What YAML may say. Only this module names the YAML crates.

mod diagnostic;
mod emit;
mod legacy;
mod model;
mod row;
mod train;
pub mod yaml;

pub use diagnostic::{Diagnostic, Diagnostics, SourceText, Span, SpecError};
pub use emit::{emit, emit_inline};
pub use model::{KEYS, ModelSpec, scaled_repeat};
pub use row::{MAX_REPEAT, Row, RowPlace};
pub use train::{Balance, Loss, Metric, Optimizer, Schedule, TrainSettings};
