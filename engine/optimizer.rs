//! One pass over all parameters.

use crate::{instructions::vectorised, parameters::Slot};
use rayon::prelude::*;

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
        for slot in slots {
            let range = slot.range.clone();
            let weights = parameters[range.clone()].par_chunks_mut(BLOCK);
            let work = weights.zip(gradients[range.clone()].par_chunks(BLOCK));
            let work = work.zip(self.first[range.clone()].par_chunks_mut(BLOCK));
            match self.rule {
                Rule::Sgd { momentum, decay } => {
                    let decay = if slot.decays { decay } else { 0.0 };
                    let factors = [decay, momentum, learning_rate].map(|factor| factor as f32);
                    let first_step = self.steps == 1;
                    work.for_each(|((w, g), velocity)| sgd(w, g, velocity, factors, first_step));
                }
                Rule::AdamW { decay } => {
                    let decay = if slot.decays { decay } else { 0.0 };
                    let [first, second] = [0.9f64, 0.999].map(|beta| 1.0 - beta.powi(self.steps));
                    let factors = [1.0 - learning_rate * decay, learning_rate / first, 1.0 / second.sqrt()];
                    let factors = factors.map(|factor| factor as f32);
                    let work = work.zip(self.second[range].par_chunks_mut(BLOCK));
                    work.for_each(|(((w, g), first), second)| adamw(w, g, first, second, factors));
                }
            }
        }
    }
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
