//! What a space may draw, as a tree: for counting networks, for stating how likely each value is,
//! and for placing what the constraints ask for.

mod exploring;
mod goal;
mod placing;
mod shares;
mod worth;

pub(super) use exploring::{Scripted, explore, with_strides};
pub(super) use goal::Goal;
pub(super) use placing::{place_all, unrank};
pub(super) use shares::{Share, shares};
pub(super) use worth::{futures, worth};

use crate::{chance::Chance, spec::Span};
use nasgen_modules::{Distribution, Draw, Result};
use nasgen_search::RandomDraw;
use num_bigint::BigUint;
use serde_json::{Map, Value};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

/// Values by name.
pub(super) type Values = BTreeMap<String, Value>;

/// A part of what one sample draws, in order.
#[derive(Debug)]
pub(super) enum Node {
    Nothing,
    Sequence(Vec<Arc<Node>>),
    Draw(DrawNode),
    /// Copies of rows that halve the image.
    Strides(usize),
    /// From here on the image has the size of this class.
    Size(usize),
    /// No network comes this way.
    Impossible,
}

#[derive(Clone, Debug)]
pub(super) struct DrawNode {
    pub(super) name: String,
    pub(super) distribution: Distribution,
    /// Where the space says it.
    pub(super) span: Span,
    /// The probability of each value where what was drawn before rules some out: 0 for those, the whole
    /// for the others.
    left: Option<Vec<f64>>,
    /// What follows on each value; `None` where it is the same.
    pub(super) branches: Option<Vec<Arc<Node>>>,
    /// Where the space says each value, if it does so one by one.
    pub(super) spans: Vec<Span>,
}

impl DrawNode {
    /// 0 for a value that is ruled out, else 1.
    fn factor(&self, index: usize) -> f64 {
        if self.left.as_ref().is_none_or(|left| left[index] > 0.0) { 1.0 } else { 0.0 }
    }

    /// The probability of the value at `index` before anything after it is considered.
    fn probability(&self, index: usize) -> f64 {
        match &self.left {
            None => self.distribution.probability(index as u64),
            Some(left) => left[index],
        }
    }
}

impl Node {
    pub(super) fn sequence(nodes: Vec<Arc<Self>>) -> Arc<Self> {
        let mut nodes: Vec<_> = nodes.into_iter().filter(|node| !matches!(**node, Self::Nothing)).collect();
        match nodes.len() {
            0 => Arc::new(Self::Nothing),
            1 => nodes.swap_remove(0),
            _ => Arc::new(Self::Sequence(nodes)),
        }
    }

    /// A draw after which everything goes on alike.
    pub(super) fn leaf(name: &str, distribution: &Distribution, span: Span) -> Arc<Self> {
        Self::branching(name, distribution, span, Vec::new(), None)
    }

    pub(super) fn branching(
        name: &str,
        distribution: &Distribution,
        span: Span,
        spans: Vec<Span>,
        branches: Option<Vec<Arc<Self>>>,
    ) -> Arc<Self> {
        let (name, distribution) = (name.to_owned(), distribution.clone());
        Arc::new(Self::Draw(DrawNode { name, distribution, span, left: None, branches, spans }))
    }

    /// A draw of which only the values with factor 1 are left, at least one; the others lead nowhere.
    pub(super) fn restricted(
        name: &str,
        distribution: &Distribution,
        span: Span,
        factors: &[f64],
        branches: Vec<Arc<Self>>,
    ) -> Arc<Self> {
        let weight = |(index, factor): (usize, &f64)| factor * distribution.probability(index as u64);
        let weights: Vec<f64> = factors.iter().enumerate().map(weight).collect();
        let whole: f64 = weights.iter().sum();
        let left = Some(weights.into_iter().map(|weight| weight / whole).collect());
        let (name, distribution) = (name.to_owned(), distribution.clone());
        Arc::new(Self::Draw(DrawNode { name, distribution, span, left, branches: Some(branches), spans: Vec::new() }))
    }

    /// Without the draws that decide nothing about strides and sizes.
    pub(super) fn decisive(self: &Arc<Self>) -> Arc<Self> {
        self.decisive_knowing(&mut HashMap::new())
    }

    /// Ways that meet in one node are followed once.
    fn decisive_knowing(self: &Arc<Self>, known: &mut HashMap<*const Self, Arc<Self>>) -> Arc<Self> {
        if let Some(known) = known.get(&Arc::as_ptr(self)) {
            return known.clone();
        }
        let decisive = match &**self {
            Self::Sequence(nodes) => Self::sequence(nodes.iter().map(|node| node.decisive_knowing(known)).collect()),
            Self::Draw(DrawNode { branches: None, .. }) => Arc::new(Self::Nothing),
            Self::Draw(draw) => {
                let branches: Vec<_> =
                    draw.branches.iter().flatten().map(|branch| branch.decisive_knowing(known)).collect();
                if branches.iter().all(|branch| matches!(**branch, Self::Nothing)) {
                    Arc::new(Self::Nothing)
                } else {
                    Arc::new(Self::Draw(DrawNode { branches: Some(branches), ..draw.clone() }))
                }
            }
            Self::Nothing | Self::Strides(_) | Self::Size(_) | Self::Impossible => self.clone(),
        };
        known.insert(Arc::as_ptr(self), decisive.clone());
        decisive
    }

    /// Calls `see` with every draw, in order; ways that meet in one are followed once.
    pub(super) fn each_draw(&self, see: &mut dyn FnMut(&DrawNode)) {
        self.each_draw_beyond(&mut HashSet::new(), see);
    }

    fn each_draw_beyond(&self, seen: &mut HashSet<*const Self>, see: &mut dyn FnMut(&DrawNode)) {
        if !seen.insert(std::ptr::from_ref(self)) {
            return;
        }
        match self {
            Self::Sequence(nodes) => nodes.iter().for_each(|node| node.each_draw_beyond(seen, see)),
            Self::Draw(draw) => {
                see(draw);
                draw.branches.iter().flatten().for_each(|branch| branch.each_draw_beyond(seen, see));
            }
            Self::Nothing | Self::Strides(_) | Self::Size(_) | Self::Impossible => {}
        }
    }
}

/// Gives what is placed already, and draws all else; keeps what was asked for, in order.
pub(super) struct Recorder<'a> {
    placed: Values,
    inner: &'a mut dyn Draw,
    pub(super) draws: Map<String, Value>,
}

impl<'a> Recorder<'a> {
    pub(super) fn new(placed: Values, inner: &'a mut dyn Draw) -> Self {
        Self { placed, inner, draws: Map::new() }
    }
}

impl Draw for Recorder<'_> {
    fn draw_among(&mut self, name: &str, distribution: &Distribution, factors: Option<&[f64]>) -> Result<Value> {
        let value = match self.placed.get(name) {
            Some(value) => value.clone(),
            None => self.inner.draw_among(name, distribution, factors)?,
        };
        self.draws.insert(name.to_owned(), value.clone());
        Ok(value)
    }
}

/// A number below `count`, each as likely but for one part in 2⁶⁴.
pub(super) fn random_below(count: &BigUint, chance: &mut Chance) -> BigUint {
    let words = count.bits() / 32 + 3;
    let digits = (0..words).map(|_| chance.below(1 << 32) as u32).collect();
    BigUint::new(digits) % count
}

/// Draws at random for one stream of a purpose.
pub(super) fn stream(seed: u64, purpose: &str, number: u64) -> RandomDraw {
    RandomDraw::new(Chance::new(seed, purpose, number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn choice(values: &[i64]) -> Distribution {
        Distribution::Choice(values.iter().copied().map(Value::from).collect())
    }

    /// Three rows with stride 1 or 2, of which the second may be absent.
    fn three_rows() -> Vec<Arc<Node>> {
        let stride = |name: &str| {
            let branches = vec![Arc::new(Node::Nothing), Arc::new(Node::Strides(1))];
            Node::branching(name, &choice(&[1, 2]), Span::default(), Vec::new(), Some(branches))
        };
        let out = Node::leaf("out", &choice(&[8, 16, 24]), Span::default());
        let second = Node::sequence(vec![out, stride("b.stride")]);
        let optional = Node::branching(
            "b",
            &choice(&[0, 1]),
            Span::default(),
            Vec::new(),
            Some(vec![Arc::new(Node::Nothing), second]),
        );
        vec![stride("a.stride"), optional, stride("c.stride")]
    }

    #[test]
    fn networks_are_counted_listed_and_drawn_alike() {
        let rows = three_rows();
        let goal = Goal::new(2, vec![Some(2)]);
        let end: Vec<BigUint> = goal.end();
        let futures = futures(&rows, &goal, &end);
        // Without b: 2 and 2. With it, three ways to place two strides, times three widths.
        assert_eq!(futures[0][0], BigUint::from(1u8 + 9));
        let mut all = Vec::new();
        for index in 0..10u8 {
            let draws = unrank(&rows, &goal, &futures, BigUint::from(index));
            let strides = draws.iter().filter(|(name, value)| name.ends_with("stride") && **value == 2);
            assert_eq!(strides.count(), 2, "{draws:?}");
            assert!(!all.contains(&draws));
            all.push(draws);
        }

        let shares = shares(&rows, &goal).unwrap();
        let chances = super::futures::<f64>(&rows, &goal, &goal.end());
        let mut counts = BTreeMap::new();
        for number in 0..4000 {
            let mut draw = stream(0, "test", number);
            place_all(&rows, &goal, 0, &chances, &mut draw).unwrap();
            assert_eq!(draw.draws.iter().filter(|(name, value)| name.ends_with("stride") && **value == 2).count(), 2);
            for (name, value) in draw.draws {
                *counts.entry((name, value.to_string())).or_insert(0) += 1;
            }
        }
        for share in &shares {
            for (index, share_of_value) in share.values.iter().enumerate() {
                let value = share.distribution.value(index as u64).to_string();
                let count = counts.get(&(share.name.clone(), value)).copied().unwrap_or(0);
                assert!((count as f64 - 4000.0 * share_of_value).abs() < 150.0, "{share:?} {count}");
            }
        }
        // As likely as rejection would have it: 1/8 of all draws without b, 3/16 with it.
        assert!((shares[1].values[0] - 0.4).abs() < 1e-12, "{:?}", shares[1]);
    }

    #[test]
    fn what_a_function_draws_is_found_by_running_it() {
        let ask = |draw: &mut dyn Draw| {
            draw.draw("a", &choice(&[1, 2, 3]))?;
            let b = draw.draw("b", &choice(&[0, 1]))?;
            if b == 1 {
                draw.draw("c", &choice(&[5, 6]))?;
            }
            draw.draw("d", &choice(&[7]))?;
            Ok(())
        };
        let node = explore(&ask, Span::default());
        let goal = Goal::none();
        assert_eq!(worth::<BigUint>(&node, &goal, &goal.end())[0], BigUint::from(3u8 * (1 + 2)));
        let shares = shares(&[node], &goal).unwrap();
        let names: Vec<&str> = shares.iter().map(|share| share.name.as_str()).collect();
        assert_eq!(names, ["a", "b", "d", "c"]);
        assert_eq!(shares[3].when, [("b".to_owned(), vec![json!(1)])]);
    }
}
