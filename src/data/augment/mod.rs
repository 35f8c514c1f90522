//! How training images are varied: operators, and policies that draw them.

mod operation;
mod policy;
mod published;

pub use operation::{Canvas, Operation};
pub use policy::{Draws, Policy, Step};
