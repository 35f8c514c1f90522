//! What a study makes better.

/// Whether more or less is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Less is better.
    Minimize,
    /// More is better.
    Maximize,
}

impl Direction {
    /// `value` so that less is better, whatever the direction.
    pub fn to_minimize(self, value: f64) -> f64 {
        match self {
            Self::Minimize => value,
            Self::Maximize => -value,
        }
    }
}

/// One value that every finished trial has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Objective {
    /// The name that users give: `accuracy`, `macro_f1`, `loss`, `params`, `macs`, `latency`, `value`.
    pub name: String,
    /// Which way is better.
    pub direction: Direction,
    /// Whether it is known before training: then a [`Candidate`](crate::Candidate) brings it along, and a
    /// sampler need not model it.
    pub known: bool,
}
