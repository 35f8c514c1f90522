//! How many there are: counted, or estimated from those that were tried.

use crate::space::{
    Part, Space,
    structure::{Goal, Values, futures, unrank},
};
use num_bigint::BigUint;
use std::sync::Arc;

/// A number of networks.
#[derive(Clone, Debug, PartialEq)]
pub enum Count {
    /// Counted.
    Exact(BigUint),
    /// Estimated from networks drawn with the same probability each, with the interval in which it
    /// lies with 95 % confidence (Wilson 1927).
    Estimate {
        /// The most likely number.
        value: f64,
        /// Its interval.
        interval: [f64; 2],
    },
    /// Some value is from a continuum: there is no number.
    Continuous,
}

impl Count {
    /// What there is of where nothing is drawn.
    pub fn one() -> Self {
        Self::Exact(BigUint::from(1u8))
    }

    /// How many pairs there are of these with `others`.
    pub(super) fn times(&self, others: &Self) -> Self {
        match (self, others) {
            (Self::Continuous, _) | (_, Self::Continuous) => Self::Continuous,
            (Self::Exact(one), Self::Exact(other)) => Self::Exact(one * other),
            (Self::Estimate { value, interval }, Self::Exact(exact))
            | (Self::Exact(exact), Self::Estimate { value, interval }) => {
                let factor = exact.to_string().parse::<f64>().unwrap_or(f64::INFINITY);
                Self::Estimate { value: value * factor, interval: interval.map(|bound| bound * factor) }
            }
            (Self::Estimate { value, interval: [low, high] }, Self::Estimate { value: other, interval }) => {
                Self::Estimate { value: value * other, interval: [low * interval[0], high * interval[1]] }
            }
        }
    }
}

/// Every combination of the values that decide about the network.
pub(super) struct Combinations<'a> {
    space: &'a Space,
    goal: Goal,
    futures: Vec<Vec<BigUint>>,
    pub(super) total: BigUint,
    pub(super) continuous: bool,
}

impl<'a> Combinations<'a> {
    pub(super) fn new(space: &'a Space, goal: Goal) -> Self {
        let futures = futures::<BigUint>(&space.network_parts, &goal, &goal.end());
        let total = futures[0][0].clone();
        Self { space, goal, total, futures, continuous: is_continuous(&space.network_parts) }
    }

    pub(super) fn draws(&self, index: BigUint) -> Values {
        unrank(&self.space.network_parts, &self.goal, &self.futures, index)
    }

    pub(super) fn all(&self) -> Count {
        if self.continuous { Count::Continuous } else { Count::Exact(self.total.clone()) }
    }

    /// How many there are if `stood` of those that were tried count.
    pub(super) fn count(&self, stood: usize, tried: usize, all: bool) -> Count {
        if self.continuous {
            return Count::Continuous;
        }
        if all {
            return Count::Exact(BigUint::from(stood));
        }
        let total = self.total.to_string().parse::<f64>().unwrap_or(f64::INFINITY);
        let interval = wilson(stood as f64, tried as f64).map(|share| share * total);
        Count::Estimate { value: total * stood as f64 / tried as f64, interval }
    }
}

fn is_continuous(parts: &[Arc<Part>]) -> bool {
    let mut continuous = false;
    parts.iter().for_each(|part| part.each_draw(&mut |draw| continuous |= draw.distribution.count().is_none()));
    continuous
}

pub(super) fn count_all(parts: &[Arc<Part>]) -> Count {
    let goal = Goal::none();
    match is_continuous(parts) {
        true => Count::Continuous,
        false => Count::Exact(futures::<BigUint>(parts, &goal, &goal.end())[0][0].clone()),
    }
}

/// The interval of a share of which `hits` in `tries` were seen, with 95 % confidence.
fn wilson(hits: f64, tries: f64) -> [f64; 2] {
    const Z: f64 = 1.959_963_984_540_054;
    let share = hits / tries;
    let centre = share + Z * Z / (2.0 * tries);
    let half = Z * (share * (1.0 - share) / tries + Z * Z / (4.0 * tries * tries)).sqrt();
    let bound = |side: f64| ((centre + side * half) / (1.0 + Z * Z / tries)).clamp(0.0, 1.0);
    // At the ends rounding would leave a trace.
    [if hits == 0.0 { 0.0 } else { bound(-1.0) }, if hits == tries { 1.0 } else { bound(1.0) }]
}

#[cfg(test)]
mod tests {
    use super::wilson;

    /// Newcombe 1998, Statistics in Medicine 17, table I: 81 of 263.
    #[test]
    fn intervals_are_wilsons() {
        let [low, high] = wilson(81.0, 263.0);
        assert!((low - 0.2553).abs() < 5e-5 && (high - 0.3662).abs() < 5e-5, "{low} {high}");
        for tries in [20.0, 1000.0] {
            assert_eq!((wilson(0.0, tries)[0], wilson(tries, tries)[1]), (0.0, 1.0));
        }
    }
}
