//! What can be drawn, as samplers see it.

use crate::{Attributes, Param, Trial};
use nasgen_modules::{Draw, real};
use serde_json::{Map, Value};

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
    /// What else is known before training, by name, such as parameters and multiply-adds (`params`, `macs`):
    /// hints for samplers, whether it is an objective or not.
    pub costs: Vec<(String, f64)>,
}

impl Candidate {
    /// What a trial of this candidate keeps of it in [`Trial::system`], where samplers look for it.
    pub fn attributes(&self) -> Attributes {
        let costs: Map<String, Value> = self.costs.iter().map(|(name, cost)| (name.clone(), real(*cost))).collect();
        Attributes::from([
            (Trial::IDENTITY.to_owned(), Value::from(self.identity.clone())),
            (Trial::COSTS.to_owned(), Value::Object(costs)),
            (Trial::KNOWN.to_owned(), self.known.iter().map(|known| known.map_or(Value::Null, real)).collect()),
        ])
    }
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
    /// The user, or the time, ends the search: nothing more is looked at.
    Stopped,
}

/// What is searched. Nothing is trained to answer.
pub trait SearchSpace {
    /// What comes of the values that `draw` gives. The same values give the same candidate.
    ///
    /// # Errors
    /// When they give nothing that may be trained.
    fn candidate(&self, draw: &mut dyn Draw) -> Result<Candidate, Rejection>;
}
