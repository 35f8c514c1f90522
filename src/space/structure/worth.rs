//! What the ways through a part are worth: probabilities, or numbers of networks.

use super::{DrawNode, Goal, Node};
use nasgen_modules::Distribution;
use num_bigint::BigUint;
use std::{collections::HashMap, sync::Arc};

/// What is summed over the ways through a space: probabilities, or numbers of networks.
pub(in crate::space) trait Amount: Clone {
    fn zero() -> Self;
    fn one() -> Self;
    fn plus(self, other: &Self) -> Self;
    fn times(&self, other: &Self) -> Self;
    /// What one value of a draw weighs.
    fn of_value(draw: &DrawNode, index: usize) -> Self;
    /// What all values of a distribution weigh.
    fn of_all(distribution: &Distribution) -> Self;
}

impl Amount for f64 {
    fn zero() -> Self {
        0.0
    }
    fn one() -> Self {
        1.0
    }
    fn plus(self, other: &Self) -> Self {
        self + other
    }
    fn times(&self, other: &Self) -> Self {
        self * other
    }
    fn of_value(draw: &DrawNode, index: usize) -> Self {
        draw.probability(index)
    }
    fn of_all(_: &Distribution) -> Self {
        1.0
    }
}

impl Amount for BigUint {
    fn zero() -> Self {
        Self::ZERO
    }
    fn one() -> Self {
        Self::from(1u8)
    }
    fn plus(self, other: &Self) -> Self {
        self + other
    }
    fn times(&self, other: &Self) -> Self {
        self * other
    }
    fn of_value(draw: &DrawNode, index: usize) -> Self {
        Self::from(u8::from(draw.factor(index) > 0.0))
    }
    fn of_all(distribution: &Distribution) -> Self {
        Self::from(distribution.count().unwrap_or(1))
    }
}

/// What `node` is worth in each state, if `future` is what each state is worth after it.
pub(in crate::space) fn worth<T: Amount>(node: &Node, goal: &Goal, future: &[T]) -> Vec<T> {
    Worth::before(goal, future).of(node)
}

/// What nodes are worth before one place; ways that meet in one node are worked out once.
pub(super) struct Worth<'a, T> {
    pub(super) goal: &'a Goal,
    pub(super) future: &'a [T],
    known: HashMap<*const Node, Vec<T>>,
}

impl<'a, T: Amount> Worth<'a, T> {
    pub(super) fn before(goal: &'a Goal, future: &'a [T]) -> Self {
        Self { goal, future, known: HashMap::new() }
    }

    pub(super) fn of(&mut self, node: &Node) -> Vec<T> {
        let future = self.future;
        match node {
            Node::Nothing => future.to_vec(),
            Node::Impossible => vec![T::zero(); future.len()],
            Node::Strides(strides) => {
                let after = |state| self.goal.after_strides(state, *strides);
                (0..future.len()).map(|state| after(state).map_or(T::zero(), |after| future[after].clone())).collect()
            }
            Node::Size(class) => {
                (0..future.len()).map(|state| future[self.goal.of_size(state, *class)].clone()).collect()
            }
            Node::Sequence(nodes) => {
                nodes.iter().rev().fold(future.to_vec(), |future, node| worth(node, self.goal, &future))
            }
            Node::Draw(DrawNode { distribution, branches: None, .. }) => {
                let all = T::of_all(distribution);
                future.iter().map(|amount| all.times(amount)).collect()
            }
            Node::Draw(draw @ DrawNode { branches: Some(branches), .. }) => {
                if let Some(known) = self.known.get(&std::ptr::from_ref(node)) {
                    return known.clone();
                }
                let mut sum = vec![T::zero(); future.len()];
                for (index, branch) in branches.iter().enumerate() {
                    let one = T::of_value(draw, index);
                    let more = self.of(branch);
                    sum = sum.into_iter().zip(&more).map(|(sum, more)| sum.plus(&one.times(more))).collect();
                }
                self.known.insert(std::ptr::from_ref(node), sum.clone());
                sum
            }
        }
    }
}

/// What each place of a sequence is worth: before its first node, before its second, …, at its end.
pub(in crate::space) fn futures<T: Amount>(nodes: &[Arc<Node>], goal: &Goal, end: &[T]) -> Vec<Vec<T>> {
    let mut futures = vec![end.to_vec()];
    for node in nodes.iter().rev() {
        let next = worth(node, goal, &futures[futures.len() - 1]);
        futures.push(next);
    }
    futures.reverse();
    futures
}
