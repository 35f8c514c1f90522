//! Networks for other programs.

mod pytorch;

pub use pytorch::{pytorch_layers, pytorch_module};
