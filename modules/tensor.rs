//! The tensors that a layer owns, as data: no tensor exists yet.

/// One tensor of a layer or of a network.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorSpec {
    /// `weight` in a layer, `backbone.{row}.{copy}.{label}.weight` in a network.
    pub name: String,
    /// In PyTorch's layout: a convolution's weight is output × input / groups × height × width.
    pub shape: Vec<usize>,
    /// Learnt or counted along.
    pub role: TensorRole,
    /// The values before training.
    pub initial: Initial,
}

/// What training does with a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TensorRole {
    /// Learnt by gradient.
    Parameter {
        /// Whether weight decay applies: to weights, not to norms and biases.
        decays: bool,
    },
    /// A running statistic of a norm; not counted among the parameters.
    Statistic,
}

/// How a tensor begins; a function of the seed and the tensor's name (`randomness`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Initial {
    /// One value everywhere.
    Constant(f32),
    /// Normal around 0.
    Normal {
        /// Standard deviation.
        deviation: f64,
    },
    /// Uniform in `-bound..bound`.
    Uniform {
        /// Exclusive upper bound.
        bound: f64,
    },
}

impl TensorSpec {
    /// A weight, to which decay applies.
    pub fn weight(shape: Vec<usize>, initial: Initial) -> Self {
        Self { name: "weight".into(), shape, role: TensorRole::Parameter { decays: true }, initial }
    }

    /// A learnt vector without decay: a bias, a norm's scale.
    pub fn vector(name: &str, length: usize, initial: Initial) -> Self {
        Self { name: name.into(), shape: vec![length], role: TensorRole::Parameter { decays: false }, initial }
    }

    /// A running statistic.
    pub fn statistic(name: &str, length: usize, value: f32) -> Self {
        Self { name: name.into(), shape: vec![length], role: TensorRole::Statistic, initial: Initial::Constant(value) }
    }

    /// Number of values, saturating.
    pub fn elements(&self) -> u64 {
        self.shape.iter().fold(1, |product, &side| product.saturating_mul(side as u64))
    }

    /// Whether gradients reach this tensor.
    pub fn is_parameter(&self) -> bool {
        matches!(self.role, TensorRole::Parameter { .. })
    }
}
