//! Operations of other crates. Only here do blocks see a tensor.

use super::Primitive;
use crate::{error::Result, shape::Shape, tensor::TensorSpec};
use candle_core::Tensor;
use std::{
    any::type_name,
    collections::BTreeMap,
    fmt::Debug,
    sync::{Mutex, PoisonError},
};

/// An operation that nasgen does not have: its author states what every layer of nasgen states, and
/// how candle computes it. Two values of one type with the same `Debug` text are the same operation.
pub trait CustomOperation: Debug + Send + Sync + 'static {
    /// A short name for messages and pictures.
    fn name(&self) -> String;

    /// The shape that comes out, for the shapes of one image that go in.
    ///
    /// # Errors
    /// When it cannot stand on these inputs.
    fn output(&self, inputs: &[Shape]) -> Result<Shape>;

    /// Multiply-adds for one image.
    fn macs(&self, inputs: &[Shape], output: Shape) -> u64;

    /// The parameters that it owns, named within it; no statistics.
    fn tensors(&self, _inputs: &[Shape]) -> Vec<TensorSpec> {
        Vec::new()
    }

    /// Whether it shrinks its image by striding, which counts as a downsampling.
    fn strides(&self) -> bool {
        false
    }

    /// Computes it for a batch. Images are `batch × channels × height × width`, vectors `batch ×
    /// length`; `parameters` are those of [`Self::tensors`], in that order. Made of candle's
    /// operations, it has its gradient by itself.
    ///
    /// # Errors
    /// Whatever candle says.
    fn forward(&self, inputs: &[Tensor], parameters: &[Tensor]) -> candle_core::Result<Tensor>;
}

/// A [`CustomOperation`] as a layer.
#[derive(Clone, Copy, Debug)]
pub struct Custom(&'static dyn CustomOperation);

/// Every operation that was made a layer, by its identity. Layers are copied freely, so what they
/// share must last; distinct operations are few, and each is kept once.
static KNOWN: Mutex<BTreeMap<String, &'static dyn CustomOperation>> = Mutex::new(BTreeMap::new());

impl Custom {
    /// The layer of an operation.
    pub fn new<T: CustomOperation>(operation: T) -> Self {
        let identity = format!("{} {operation:?}", type_name::<T>());
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        Self(*known.entry(identity).or_insert_with(|| Box::leak(Box::new(operation))))
    }

    /// What it does.
    pub fn operation(&self) -> &'static dyn CustomOperation {
        self.0
    }
}

impl PartialEq for Custom {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::addr_eq(self.0, other.0)
    }
}

impl<T: CustomOperation> From<T> for Primitive {
    fn from(operation: T) -> Self {
        Self::Custom(Custom::new(operation))
    }
}
