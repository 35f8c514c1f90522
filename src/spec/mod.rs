//! What YAML may say. Only this module names the YAML crates.

mod blocks;
mod diagnostic;
mod emit;
mod legacy;
mod model;
mod row;
mod set;
mod train;
pub mod yaml;

pub use blocks::{StepPlaces, with_blocks_of, with_definitions};
pub use diagnostic::{Diagnostic, Diagnostics, SourceText, Span, SpecError};
pub use emit::{emit, emit_inline};
pub use legacy::{Legacy, legacy_keys, read_data_file};
pub use model::{KEYS, ModelSpec, scaled_repeat, sides};
pub use row::{MAX_REPEAT, PASS, Row, RowPlace, read as read_row};
pub use set::{check_set, distribution, first_of_a_space, is_set, labels, mistyped_set, option_label, uses_stage};
pub use train::{Balance, Loss, Metric, Optimizer, Schedule, TrainSettings, unfolded};
