//! Goes one way through the parts: drawn so that a goal is met, or by its number.

use super::{
    DrawNode, Goal, Node, Values,
    worth::{Worth, futures},
};
use nasgen_modules::{Draw, Result};
use num_bigint::BigUint;
use std::sync::Arc;

/// Draws everything in `node` so that the goal can still be met; gives the state after it.
fn place(node: &Node, state: usize, worth: &mut Worth<'_, f64>, draw: &mut dyn Draw) -> Result<usize> {
    let goal = worth.goal;
    match node {
        Node::Nothing | Node::Impossible => Ok(state),
        Node::Strides(strides) => Ok(goal.after_strides(state, *strides).unwrap_or(state)),
        Node::Size(class) => Ok(goal.of_size(state, *class)),
        Node::Sequence(nodes) => {
            let futures = futures(nodes, goal, worth.future);
            place_all(nodes, goal, state, &futures, draw)
        }
        Node::Draw(drawn @ DrawNode { name, distribution, branches, .. }) => {
            let Some(branches) = branches else {
                draw.draw(name, distribution)?;
                return Ok(state);
            };
            let factor = |(index, branch)| drawn.factor(index) * worth.of(branch)[state];
            let factors: Vec<f64> = branches.iter().map(Arc::as_ref).enumerate().map(factor).collect();
            let value = draw.draw_among(name, distribution, Some(&factors))?;
            let chosen = distribution.index_of(&value).unwrap_or(0) as usize;
            place(&branches[chosen], state, worth, draw)
        }
    }
}

/// Draws everything in a sequence whose futures are known, so that the goal can still be met; gives the
/// state after it.
pub(in crate::space) fn place_all(
    nodes: &[Arc<Node>],
    goal: &Goal,
    mut state: usize,
    futures: &[Vec<f64>],
    draw: &mut dyn Draw,
) -> Result<usize> {
    for (node, future) in nodes.iter().zip(&futures[1..]) {
        state = place(node, state, &mut Worth::before(goal, future), draw)?;
    }
    Ok(state)
}

/// The draws of the network at `index`, counted from 0 in the order of the space's values.
pub(in crate::space) fn unrank(
    nodes: &[Arc<Node>],
    goal: &Goal,
    futures: &[Vec<BigUint>],
    mut index: BigUint,
) -> Values {
    let mut draws = Values::new();
    unrank_all(nodes, goal, 0, futures, &mut index, &mut draws);
    draws
}

fn unrank_all(
    nodes: &[Arc<Node>],
    goal: &Goal,
    state: usize,
    futures: &[Vec<BigUint>],
    index: &mut BigUint,
    draws: &mut Values,
) -> usize {
    let steps = nodes.iter().zip(&futures[1..]);
    steps.fold(state, |state, (node, future)| unrank_one(node, state, &mut Worth::before(goal, future), index, draws))
}

fn unrank_one(
    node: &Node,
    state: usize,
    worth: &mut Worth<'_, BigUint>,
    index: &mut BigUint,
    draws: &mut Values,
) -> usize {
    let goal = worth.goal;
    match node {
        Node::Nothing | Node::Impossible => state,
        Node::Strides(strides) => goal.after_strides(state, *strides).unwrap_or(state),
        Node::Size(class) => goal.of_size(state, *class),
        Node::Sequence(nodes) => {
            let futures = futures(nodes, goal, worth.future);
            unrank_all(nodes, goal, state, &futures, index, draws)
        }
        Node::Draw(DrawNode { name, distribution, branches: None, .. }) => {
            let each = &worth.future[state];
            let value = u64::try_from(&*index / each).unwrap_or(0);
            *index = &*index % each;
            draws.insert(name.clone(), distribution.value(value));
            state
        }
        Node::Draw(draw @ DrawNode { name, distribution, branches: Some(branches), .. }) => {
            for (value, branch) in branches.iter().enumerate().filter(|(value, _)| draw.factor(*value) > 0.0) {
                let size = worth.of(branch)[state].clone();
                if *index < size {
                    draws.insert(name.clone(), distribution.value(value as u64));
                    return unrank_one(branch, state, worth, index, draws);
                }
                *index -= size;
            }
            state
        }
    }
}
