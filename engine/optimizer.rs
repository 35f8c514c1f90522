//! One pass over all parameters.

use crate::{chunks, instructions::vectorised, parameters::Slot};

/// How gradients become steps; both as PyTorch computes them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// SGD with Nesterov momentum; decay joins the gradient.
    Sgd {
        /// In `0.0..1.0`.
        momentum: f64,
        /// Weight decay.
        decay: f64,
    },
    /// AdamW with betas 0.9 and 0.999 and eps 1e-8.
    AdamW {
        /// Weight decay.
        decay: f64,
    },
}

/// Parameters updated by one task.
const BLOCK: usize = 16 * 1024;

/// A rule with its moments.
pub(crate) struct Optimizer {
    rule: Rule,
    first: Vec<f32>,
    second: Vec<f32>,
    /// Steps taken.
    pub(crate) steps: i32,
}

impl Optimizer {
    pub(crate) fn new(rule: Rule, parameters: usize) -> Self {
        let second = if matches!(rule, Rule::AdamW { .. }) { parameters } else { 0 };
        Self { rule, first: vec![0.0; parameters], second: vec![0.0; second], steps: 0 }
    }

    /// The moments by PyTorch's names, each as long as the parameters.
    pub(crate) fn moments(&mut self) -> Vec<(&'static str, &mut Vec<f32>)> {
        match self.rule {
            Rule::Sgd { .. } => vec![("momentum_buffer", &mut self.first)],
            Rule::AdamW { .. } => vec![("exp_avg", &mut self.first), ("exp_avg_sq", &mut self.second)],
        }
    }

    /// Moves the parameters against their gradients.
    pub(crate) fn step(&mut self, slots: &[Slot], parameters: &mut [f32], gradients: &[f32], learning_rate: f64) {
        self.steps += 1;
        let (steps, rule) = (self.steps, self.rule);
        let tasks = tasks(slots, parameters, gradients, &mut self.first, &mut self.second);
        chunks::run(tasks, gradients.len(), |Task { decays, weights, gradients, first, second }| match rule {
            Rule::Sgd { momentum, decay } => {
                let decay = if decays { decay } else { 0.0 };
                let factors = [decay, momentum, learning_rate].map(|factor| factor as f32);
                sgd(weights, gradients, first, factors, steps == 1);
            }
            Rule::AdamW { decay } => {
                let decay = if decays { decay } else { 0.0 };
                let corrections = [0.9f64, 0.999].map(|beta| 1.0 - beta.powi(steps));
                let factors =
                    [1.0 - learning_rate * decay, learning_rate / corrections[0], 1.0 / corrections[1].sqrt()];
                adamw(weights, gradients, first, second, factors.map(|factor| factor as f32));
            }
        });
    }
}

/// A part of the parameters that are treated alike, with what belongs to it.
struct Task<'a> {
    decays: bool,
    weights: &'a mut [f32],
    gradients: &'a [f32],
    first: &'a mut [f32],
    /// Empty if the rule has no second moments.
    second: &'a mut [f32],
}

/// All parameters, cut where the treatment changes and into blocks.
fn tasks<'a>(
    slots: &[Slot],
    mut weights: &'a mut [f32],
    mut gradients: &'a [f32],
    mut first: &'a mut [f32],
    mut second: &'a mut [f32],
) -> Vec<Task<'a>> {
    let mut tasks = Vec::new();
    for run in slots.chunk_by(|one, other| one.decays == other.decays) {
        let mut left: usize = run.iter().map(|slot| slot.range.len()).sum();
        while left > 0 {
            let length = left.min(BLOCK);
            left -= length;
            tasks.push(Task {
                decays: run[0].decays,
                weights: weights.split_off_mut(..length).expect("the slots cover the parameters"),
                gradients: gradients.split_off(..length).expect("each parameter has a gradient"),
                first: first.split_off_mut(..length).expect("each parameter has a moment"),
                second: second.split_off_mut(..length.min(second.len())).expect("checked by the range"),
            });
        }
    }
    tasks
}

vectorised! {
    fn sgd(weights: &mut [f32], gradients: &[f32], velocity: &mut [f32], factors: [f32; 3], first_step: bool) {
        let [decay, momentum, learning_rate] = factors;
        // The momentum begins with the first gradient itself.
        let kept = if first_step { 0.0 } else { momentum };
        for ((weight, gradient), velocity) in weights.iter_mut().zip(gradients).zip(velocity) {
            let gradient = gradient + decay * *weight;
            *velocity = kept * *velocity + gradient;
            *weight -= learning_rate * (gradient + momentum * *velocity);
        }
    }

    fn adamw(weights: &mut [f32], gradients: &[f32], first: &mut [f32], second: &mut [f32], factors: [f32; 3]) {
        let [kept, rate, correction] = factors;
        let moments = first.iter_mut().zip(second);
        for ((weight, gradient), (first, second)) in weights.iter_mut().zip(gradients).zip(moments) {
            *first = 0.9 * *first + 0.1 * gradient;
            *second = 0.999 * *second + 0.001 * gradient * gradient;
            *weight = *weight * kept - rate * *first / (second.sqrt() * correction + 1e-8);
        }
    }
}
