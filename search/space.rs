//! What can be drawn, as samplers see it.

use crate::Param;
use nasgen_modules::Draw;

/// Something that could be trained.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// Every draw, in order.
    pub params: Vec<Param>,
    /// The objectives that are known before training, in the study's order; `None` for the others.
    pub known: Vec<Option<f64>>,
    /// What would be computed: equal identities train equally, however they were drawn. The compiled network
    /// and the effective settings of its training.
    pub identity: String,
}

/// Why a draw gives nothing to train.
#[derive(Clone, Debug, PartialEq)]
pub enum Rejection {
    /// The layers cannot stand on each other, or a constraint of the space is broken.
    Impossible(String),
    /// It stands, and costs more than allowed.
    OverBudget {
        /// Which cost, how much, of how much.
        reason: String,
        /// Cost divided by what is allowed, the worst of them: above 1.
        excess: f64,
    },
    /// The space itself is wrong: no other draw helps.
    Invalid(String),
}

/// What is searched. Nothing is trained to answer.
pub trait SearchSpace {
    /// What comes of the values that `draw` gives. The same values give the same candidate.
    ///
    /// # Errors
    /// When they give nothing that may be trained.
    fn candidate(&self, draw: &mut dyn Draw) -> Result<Candidate, Rejection>;
}
