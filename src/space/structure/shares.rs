//! How likely each value of each draw is.

use super::{
    DrawNode, Goal, Node,
    worth::{Worth, futures},
};
use crate::spec::Span;
use nasgen_modules::Distribution;
use serde_json::Value;
use std::{collections::HashMap, sync::Arc};

/// Ways to a draw beyond which its probability is not worked out.
const MOST_WAYS: usize = 20_000;

/// How likely the values of one draw are.
#[derive(Clone, Debug)]
pub(in crate::space) struct Share {
    pub(in crate::space) name: String,
    pub(in crate::space) distribution: Distribution,
    pub(in crate::space) spans: Vec<Span>,
    /// That it is drawn at all.
    pub(in crate::space) applies: f64,
    /// That it is drawn and has each value; empty where the values follow the distribution.
    pub(in crate::space) values: Vec<f64>,
    /// The draws on which it depends that this one is made, with the values that lead to it.
    pub(in crate::space) when: Vec<(String, Vec<Value>)>,
}

/// The share of every draw, in order, when samples are drawn until the goal is met; `None` where
/// there are too many ways to work through.
pub(in crate::space) fn shares(nodes: &[Arc<Node>], goal: &Goal) -> Option<Vec<Share>> {
    let end: Vec<f64> = goal.end();
    let futures = futures(nodes, goal, &end);
    let total = futures[0][0];
    let mut ways = Ways { goal, total, shares: Vec::new(), index: HashMap::new(), path: Vec::new(), left: MOST_WAYS };
    let mut past = vec![0.0; end.len()];
    past[0] = 1.0;
    for (node, future) in nodes.iter().zip(&futures[1..]) {
        past = ways.follow(node, &past, &mut Worth::before(goal, future))?;
    }
    Some(ways.shares)
}

struct Ways<'a> {
    goal: &'a Goal,
    total: f64,
    shares: Vec<Share>,
    index: HashMap<String, usize>,
    path: Vec<(String, Value)>,
    left: usize,
}

impl Ways<'_> {
    /// From how likely each state is before `node` to how likely it is after.
    fn follow(&mut self, node: &Node, past: &[f64], worth: &mut Worth<'_, f64>) -> Option<Vec<f64>> {
        self.left = self.left.checked_sub(1)?;
        Some(match node {
            Node::Nothing => past.to_vec(),
            Node::Impossible => vec![0.0; past.len()],
            Node::Strides(strides) => self.moved(past, |goal, state| goal.after_strides(state, *strides)),
            Node::Size(class) => self.moved(past, |goal, state| Some(goal.of_size(state, *class))),
            Node::Sequence(nodes) => {
                let futures = futures(nodes, self.goal, worth.future);
                let mut past = past.to_vec();
                for (node, future) in nodes.iter().zip(&futures[1..]) {
                    past = self.follow(node, &past, &mut Worth::before(self.goal, future))?;
                }
                past
            }
            Node::Draw(draw) => self.draw(draw, past, worth)?,
        })
    }

    fn moved(&self, past: &[f64], to: impl Fn(&Goal, usize) -> Option<usize>) -> Vec<f64> {
        let mut after = vec![0.0; past.len()];
        for (state, amount) in past.iter().enumerate() {
            if let Some(target) = to(self.goal, state) {
                after[target] += amount;
            }
        }
        after
    }

    fn draw(&mut self, draw: &DrawNode, past: &[f64], worth: &mut Worth<'_, f64>) -> Option<Vec<f64>> {
        let meets =
            |past: &[f64], future: &[f64]| past.iter().zip(future).map(|(p, f)| p * f).sum::<f64>() / self.total;
        let Some(branches) = &draw.branches else {
            let applies = meets(past, worth.future);
            self.add(draw, applies, &[]);
            return Some(past.to_vec());
        };
        let probability = |index: usize| draw.probability(index);
        let values: Vec<f64> = branches
            .iter()
            .enumerate()
            .map(|(index, branch)| probability(index) * meets(past, &worth.of(branch)))
            .collect();
        self.add(draw, values.iter().sum(), &values);
        let mut after = vec![0.0; past.len()];
        for (index, branch) in branches.iter().enumerate() {
            let before: Vec<f64> = past.iter().map(|amount| amount * probability(index)).collect();
            self.path.push((draw.name.clone(), draw.distribution.value(index as u64)));
            let more = self.follow(branch, &before, worth)?;
            self.path.pop();
            after.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
        }
        Some(after)
    }

    fn add(&mut self, draw: &DrawNode, applies: f64, values: &[f64]) {
        let next = self.shares.len();
        let index = *self.index.entry(draw.name.clone()).or_insert(next);
        if index == next {
            let DrawNode { name, distribution, spans, .. } = draw;
            self.shares.push(Share {
                name: name.clone(),
                distribution: distribution.clone(),
                spans: spans.clone(),
                applies: 0.0,
                values: vec![0.0; values.len()],
                when: Vec::new(),
            });
        }
        let share = &mut self.shares[index];
        share.applies += applies;
        share.values.iter_mut().zip(values).for_each(|(sum, more)| *sum += more);
        for (name, value) in &self.path {
            match share.when.iter_mut().find(|(known, _)| known == name) {
                Some((_, values)) if !values.contains(value) => values.push(value.clone()),
                Some(_) => {}
                None => share.when.push((name.clone(), vec![value.clone()])),
            }
        }
    }
}
