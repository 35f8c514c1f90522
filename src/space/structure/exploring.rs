//! Finds out what is drawn, and what it decides about strides, by trying it.

use super::{DrawNode, Node, Values};
use crate::spec::Span;
use nasgen_modules::{Distribution, Draw, Result};
use serde_json::Value;
use std::sync::Arc;

/// A draw with more values than this is never looked into value by value.
const MOST_VALUES: u64 = 128;

/// Draws what a script says, and the first or the last value of all else.
pub(in crate::space) struct Scripted<'a> {
    script: &'a Values,
    last: bool,
    pub(in crate::space) asked: Vec<(String, Distribution)>,
}

impl<'a> Scripted<'a> {
    pub(in crate::space) fn new(script: &'a Values, last: bool) -> Self {
        Self { script, last, asked: Vec::new() }
    }
}

impl Draw for Scripted<'_> {
    fn draw_among(&mut self, name: &str, distribution: &Distribution, factors: Option<&[f64]>) -> Result<Value> {
        self.asked.push((name.to_owned(), distribution.clone()));
        if let Some(value) = self.script.get(name) {
            return Ok(value.clone());
        }
        let mut indices = 0..distribution.count().unwrap_or(1);
        let can_stand = |index: &u64| factors.is_none_or(|factors| factors[*index as usize] > 0.0);
        let index = if self.last { indices.rev().find(can_stand) } else { indices.find(can_stand) };
        Ok(distribution.value(index.unwrap_or(0)))
    }
}

/// Finds out what a function draws by running it: each draw is tried with its other values, and is
/// followed into each where what comes after it changes.
pub(in crate::space) fn explore(ask: &dyn Fn(&mut dyn Draw) -> Result<()>, span: Span) -> Arc<Node> {
    explore_from(ask, &Values::new(), span)
}

fn explore_from(ask: &dyn Fn(&mut dyn Draw) -> Result<()>, fixed: &Values, span: Span) -> Arc<Node> {
    let run = |script: &Values| {
        let mut draw = Scripted::new(script, false);
        ask(&mut draw).map(|()| draw.asked)
    };
    let mut fixed = fixed.clone();
    let Ok(asked) = run(&fixed) else {
        return impossible_at_first(ask, &fixed, span);
    };
    let mut nodes = Vec::new();
    for (name, distribution) in &asked {
        if fixed.contains_key(name) {
            continue;
        }
        let values = distribution.values(MOST_VALUES).unwrap_or_default();
        let with = |value: &Value| {
            let mut fixed = fixed.clone();
            fixed.insert(name.clone(), value.clone());
            fixed
        };
        let changes = |value: &Value| run(&with(value)).map_or(true, |other| other != asked);
        if values.len() > 1 && values.iter().any(changes) {
            let branches = values.iter().map(|value| explore_from(ask, &with(value), span)).collect();
            nodes.push(Node::branching(name, distribution, span, Vec::new(), Some(branches)));
            return Node::sequence(nodes);
        }
        nodes.push(Node::leaf(name, distribution, span));
        fixed.insert(name.clone(), distribution.value(0));
    }
    Node::sequence(nodes)
}

/// The first values do not stand; others of what was asked may.
fn impossible_at_first(ask: &dyn Fn(&mut dyn Draw) -> Result<()>, fixed: &Values, span: Span) -> Arc<Node> {
    let mut draw = Scripted::new(fixed, false);
    let _ = ask(&mut draw);
    let open = draw.asked.iter().find(|(name, _)| !fixed.contains_key(name));
    let Some((name, distribution)) = open else { return Arc::new(Node::Impossible) };
    let Some(values) = distribution.values(MOST_VALUES) else { return Arc::new(Node::Impossible) };
    let branch = |value: Value| {
        let mut fixed = fixed.clone();
        fixed.insert(name.clone(), value);
        explore_from(ask, &fixed, span)
    };
    let branches = values.into_iter().map(branch).collect();
    Node::branching(name, distribution, span, Vec::new(), Some(branches))
}

/// `node`, a row's draws, with the strides that the row makes: `strides` says how many for some
/// draws and the first (`false`) or last (`true`) values of all others.
pub(in crate::space) fn with_strides(node: &Arc<Node>, strides: &dyn Fn(&Values, bool) -> usize) -> Arc<Node> {
    StrideFinder { strides }.find(std::slice::from_ref(node), &Values::new())
}

struct StrideFinder<'a> {
    strides: &'a dyn Fn(&Values, bool) -> usize,
}

impl StrideFinder<'_> {
    fn find(&self, nodes: &[Arc<Node>], fixed: &Values) -> Arc<Node> {
        let Some((first, rest)) = nodes.split_first() else {
            return match (self.strides)(fixed, false) {
                0 => Arc::new(Node::Nothing),
                strides => Arc::new(Node::Strides(strides)),
            };
        };
        match &**first {
            Node::Nothing => self.find(rest, fixed),
            Node::Sequence(inner) => self.find(&[inner, rest].concat(), fixed),
            Node::Draw(draw) => {
                let values = draw.distribution.values(MOST_VALUES).unwrap_or_default();
                let with = |value: &Value| {
                    let mut fixed = fixed.clone();
                    fixed.insert(draw.name.clone(), value.clone());
                    fixed
                };
                let decides = |last: bool| {
                    let mut strides = values.iter().map(|value| (self.strides)(&with(value), last));
                    let first = strides.next();
                    strides.any(|strides| Some(strides) != first)
                };
                match &draw.branches {
                    None if !decides(false) && !decides(true) => {
                        Node::sequence(vec![first.clone(), self.find(rest, fixed)])
                    }
                    branches => {
                        let branch = |(index, value): (usize, &Value)| match branches {
                            None => self.find(rest, &with(value)),
                            Some(branches) => {
                                self.find(&[std::slice::from_ref(&branches[index]), rest].concat(), &with(value))
                            }
                        };
                        let branches = values.iter().enumerate().map(branch).collect();
                        Arc::new(Node::Draw(DrawNode { branches: Some(branches), ..draw.clone() }))
                    }
                }
            }
            Node::Strides(_) | Node::Size(_) | Node::Impossible => {
                Node::sequence(vec![first.clone(), self.find(rest, fixed)])
            }
        }
    }
}
