//! What strides and sizes must come to.

use super::worth::Amount;

/// What a network must meet at its end, in terms of strides and sizes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::space) struct Goal {
    /// The most strides that an image of each class bears; `None` where it is too small as it is.
    pub(in crate::space) most: Vec<Option<usize>>,
    /// The fewest strides.
    pub(in crate::space) least: usize,
    /// Whether there is no goal: strides are not counted.
    free: bool,
}

impl Goal {
    pub(in crate::space) fn none() -> Self {
        Self { most: vec![Some(0)], least: 0, free: true }
    }

    pub(in crate::space) fn new(least: usize, most: Vec<Option<usize>>) -> Self {
        Self { most, least, free: false }
    }

    fn width(&self) -> usize {
        self.most.iter().flatten().max().map_or(1, |most| most + 1)
    }

    /// 1 for each state (class, strides) that meets the goal at the end, else 0.
    pub(in crate::space) fn end<T: Amount>(&self) -> Vec<T> {
        let state = |most: &Option<usize>| {
            let fits = |strides| most.is_some_and(|most| (self.least..=most).contains(&strides));
            (0..self.width()).map(fits).collect::<Vec<_>>()
        };
        let met = self.most.iter().flat_map(state);
        met.map(|met| if met { T::one() } else { T::zero() }).collect()
    }

    pub(super) fn after_strides(&self, state: usize, strides: usize) -> Option<usize> {
        let width = self.width();
        if self.free {
            return Some(state);
        }
        (state % width + strides < width).then_some(state + strides)
    }

    pub(super) fn of_size(&self, state: usize, class: usize) -> usize {
        if self.free { state } else { class * self.width() + state % self.width() }
    }
}
