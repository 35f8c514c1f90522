//! Which values share memory: those that are never needed at the same time.

use crate::{operation::Rereads, plan::Step};
use std::ops::Range;

/// A buffer for each value and each gradient that a run needs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Assignment {
    /// Of each value.
    pub(crate) values: Vec<Option<usize>>,
    /// Of the gradient of each value.
    pub(crate) gradients: Vec<Option<usize>>,
    /// Values of one image that each buffer must hold.
    pub(crate) buffers: Vec<usize>,
}

/// From first to last moment at which something is needed.
#[derive(Clone, Copy, Debug)]
struct Lifetime {
    first: usize,
    last: usize,
}

impl Lifetime {
    fn overlaps(&self, other: &Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// Assigns buffers to the values of a training step. Time runs from 0, where the inputs appear, through the
/// steps and the loss back through the steps.
pub(crate) fn assign(steps: &[Step], lengths: &[usize], inputs: usize, output: usize) -> Assignment {
    let loss = steps.len() + 1;
    let backward = |step: usize| 2 * steps.len() + 1 - step;
    let mut values: Vec<Option<Lifetime>> = vec![None; lengths.len()];
    let mut gradients: Vec<Option<Lifetime>> = vec![None; lengths.len()];
    (0..inputs).for_each(|input| need(&mut values[input], 0));
    for (index, step) in steps.iter().enumerate() {
        let rereads = step.operation.rereads();
        if !step.leaves_norm {
            need(&mut values[step.output], index + 1);
        }
        for number in 0..step.inputs.len() {
            let input = step.stored_input(number);
            need(&mut values[input], index + 1);
            if rereads.input(number) {
                need(&mut values[input], backward(index));
            }
        }
        if rereads == Rereads::Output {
            need(&mut values[step.output], backward(index));
        }
        if let Some(saved) = step.saved {
            need(&mut values[saved], index + 1);
            need(&mut values[saved], backward(index));
        }
    }
    need(&mut values[output], loss);
    need(&mut gradients[output], loss);
    for (index, step) in steps.iter().enumerate().rev() {
        // What nothing reads has no gradient, and gives none.
        if gradients[step.output].is_none() {
            continue;
        }
        need(&mut gradients[step.output], backward(index));
        for input in step.inputs.iter().filter(|input| **input >= inputs) {
            need(&mut gradients[*input], backward(index));
        }
    }
    pack(&values, &gradients, lengths)
}

/// Assigns buffers to the values of class scores that more than one of `stretches` needs. Time counts these, from 1 on.
pub(crate) fn assign_shared(
    steps: &[Step],
    lengths: &[usize],
    inputs: usize,
    output: usize,
    stretches: &[Range<usize>],
) -> Assignment {
    let mut values: Vec<Option<Lifetime>> = vec![None; lengths.len()];
    (0..inputs).for_each(|input| need(&mut values[input], 0));
    for (index, stretch) in stretches.iter().enumerate() {
        for step in &steps[stretch.clone()] {
            step.inputs.iter().chain([&step.output]).for_each(|value| need(&mut values[*value], index + 1));
        }
    }
    need(&mut values[output], stretches.len() + 1);
    let is_shared = |lifetime: &Lifetime| lifetime.last > lifetime.first;
    let shared: Vec<_> = values.into_iter().map(|lifetime| lifetime.filter(is_shared)).collect();
    pack(&shared, &[], lengths)
}

/// Assigns buffers to the values that nothing but these steps needs. Time counts them.
pub(crate) fn assign_inside(steps: &[Step], lengths: &[usize], shared: &Assignment) -> Assignment {
    let mut values: Vec<Option<Lifetime>> = vec![None; lengths.len()];
    for (index, step) in steps.iter().enumerate() {
        let inside = step.inputs.iter().chain([&step.output]).filter(|value| shared.values[**value].is_none());
        inside.for_each(|value| need(&mut values[*value], index));
    }
    pack(&values, &[], lengths)
}

fn need(lifetime: &mut Option<Lifetime>, moment: usize) {
    match lifetime {
        Some(Lifetime { last, .. }) => *last = (*last).max(moment),
        None => *lifetime = Some(Lifetime { first: moment, last: moment }),
    }
}

/// Largest first, each into the first buffer that is free all its lifetime.
fn pack(values: &[Option<Lifetime>], gradients: &[Option<Lifetime>], lengths: &[usize]) -> Assignment {
    let mut assignment =
        Assignment { values: vec![None; values.len()], gradients: vec![None; gradients.len()], buffers: Vec::new() };
    let all = values.iter().chain(gradients).enumerate();
    let mut needed: Vec<(usize, Lifetime)> = all.filter_map(|(index, lifetime)| Some((index, (*lifetime)?))).collect();
    needed.sort_by_key(|(index, lifetime)| (std::cmp::Reverse(lengths[index % lengths.len()]), lifetime.first, *index));
    let mut taken: Vec<Vec<Lifetime>> = Vec::new();
    for (index, lifetime) in needed {
        let is_free = |lifetimes: &Vec<Lifetime>| lifetimes.iter().all(|other| !other.overlaps(&lifetime));
        let buffer = taken.iter().position(is_free).unwrap_or_else(|| {
            taken.push(Vec::new());
            assignment.buffers.push(lengths[index % lengths.len()]);
            taken.len() - 1
        });
        taken[buffer].push(lifetime);
        match index.checked_sub(lengths.len()) {
            None => assignment.values[index] = Some(buffer),
            Some(index) => assignment.gradients[index] = Some(buffer),
        }
    }
    assignment
}
