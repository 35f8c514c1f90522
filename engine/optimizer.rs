//! One pass over all parameters.

use crate::{chunks, instructions::vectorised, parameters::Slot};

/// How gradients become steps, each as PyTorch computes it (Lion: as timm does). `decay` is the weight
/// decay of the parameters that decay.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(missing_docs, reason = "the fields are PyTorch's arguments")]
pub enum Rule {
    /// SGD; decay joins the gradient.
    Sgd { momentum: f64, nesterov: bool, decay: f64 },
    /// Adam (Kingma and Ba 2015); decay joins the gradient.
    Adam { betas: [f64; 2], epsilon: f64, decay: f64 },
    /// AdamW (Loshchilov and Hutter 2019); decay apart from the gradient.
    AdamW { betas: [f64; 2], epsilon: f64, decay: f64 },
    /// Adamax (Kingma and Ba 2015); decay joins the gradient.
    Adamax { betas: [f64; 2], epsilon: f64, decay: f64 },
    /// RMSprop (Hinton 2012), not centred; decay joins the gradient.
    RmsProp { alpha: f64, momentum: f64, epsilon: f64, decay: f64 },
    /// Lion (Chen et al. 2023); decay apart from the gradient.
    Lion { betas: [f64; 2], decay: f64 },
}

impl Rule {
    /// What PyTorch calls the moments that the rule keeps.
    pub fn moments(&self) -> &'static [&'static str] {
        match self {
            Self::Sgd { .. } => &["momentum_buffer"],
            Self::Adam { .. } | Self::AdamW { .. } => &["exp_avg", "exp_avg_sq"],
            Self::Adamax { .. } => &["exp_avg", "exp_inf"],
            Self::RmsProp { momentum: 0.0, .. } => &["square_avg"],
            Self::RmsProp { .. } => &["square_avg", "momentum_buffer"],
            Self::Lion { .. } => &["exp_avg"],
        }
    }

    fn decay(&self) -> f64 {
        match *self {
            Self::Sgd { decay, .. }
            | Self::Adam { decay, .. }
            | Self::AdamW { decay, .. }
            | Self::Adamax { decay, .. }
            | Self::RmsProp { decay, .. }
            | Self::Lion { decay, .. } => decay,
        }
    }
}

/// Factors of a rule, for kernels that have all rules in one: `FACTORS` there.
pub(crate) const FACTORS: usize = 8;

impl Rule {
    /// Its number in the kernels, which name them in this order.
    pub(crate) fn number(&self) -> i32 {
        match self {
            Self::Sgd { .. } => 0,
            Self::Adam { .. } | Self::AdamW { .. } => 1,
            Self::Adamax { .. } => 2,
            Self::RmsProp { momentum: 0.0, .. } => 3,
            Self::RmsProp { .. } => 4,
            Self::Lion { .. } => 5,
        }
    }

    /// What `optimize` in the kernels needs for step number `steps`: first what decay joins the gradient with.
    pub(crate) fn factors(&self, steps: i32, decays: bool, rate: f64) -> [f32; FACTORS] {
        let decay = if decays { self.decay() } else { 0.0 };
        let kept = 1.0 - rate * decay;
        let adam = |joined: f64, kept: f64, [first, second]: [f64; 2], epsilon: f64| {
            let corrected = [first, second].map(|beta| 1.0 - beta.powi(steps));
            [joined, first, second, kept, rate / corrected[0], 1.0 / corrected[1].sqrt(), epsilon, 0.0]
        };
        let factors = match *self {
            Self::Sgd { momentum, nesterov, .. } => {
                // The momentum begins with the first gradient itself.
                let before = if steps == 1 { 0.0 } else { momentum };
                let [of_gradient, of_velocity] = if nesterov { [1.0, momentum] } else { [0.0, 1.0] };
                [decay, before, rate, of_gradient, of_velocity, 0.0, 0.0, 0.0]
            }
            Self::Adam { betas, epsilon, .. } => adam(decay, 1.0, betas, epsilon),
            Self::AdamW { betas, epsilon, .. } => adam(0.0, kept, betas, epsilon),
            Self::Adamax { betas: [first, second], epsilon, .. } => {
                [decay, first, second, epsilon, rate / (1.0 - first.powi(steps)), 0.0, 0.0, 0.0]
            }
            Self::RmsProp { alpha, momentum, epsilon, .. } => [decay, alpha, epsilon, rate, momentum, 0.0, 0.0, 0.0],
            Self::Lion { betas: [first, second], .. } => [0.0, first, second, kept, rate, 0.0, 0.0, 0.0],
        };
        factors.map(|factor| factor as f32)
    }
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

/// A part of the parameters that are treated alike, with what belongs to it.
struct Part<'a> {
    decays: bool,
    /// The number of the update from which on they learn.
    since: u64,
    weights: &'a mut [f32],
    gradients: &'a [f32],
    first: &'a mut [f32],
    /// Empty if the rule has no second moments.
    second: &'a mut [f32],
}

impl Optimizer {
    pub(crate) fn new(rule: Rule, parameters: usize) -> Self {
        let second = if rule.moments().len() > 1 { parameters } else { 0 };
        Self { rule, first: vec![0.0; parameters], second: vec![0.0; second], steps: 0 }
    }

    /// The moments by PyTorch's names, each as long as the parameters.
    pub(crate) fn moments(&mut self) -> Vec<(&'static str, &mut Vec<f32>)> {
        self.rule.moments().iter().copied().zip([&mut self.first, &mut self.second]).collect()
    }

    /// Moves the parameters against their gradients.
    pub(crate) fn step(&mut self, slots: &[Slot], parameters: &mut [f32], gradients: &[f32], learning_rate: f64) {
        self.steps += 1;
        let (rule, steps) = (self.rule, self.steps);
        let tasks = tasks(slots, parameters, gradients, &mut self.first, &mut self.second);
        chunks::run(tasks, gradients.len(), |part| {
            let decay = if part.decays { rule.decay() } else { 0.0 };
            // Steps count from the first one of these parameters.
            let steps = steps - i32::try_from(part.since).unwrap_or(steps);
            update(rule, steps, decay, learning_rate, part);
        });
    }
}

/// All parameters, cut where the treatment changes and into blocks.
fn tasks<'a>(
    slots: &[Slot],
    mut weights: &'a mut [f32],
    mut gradients: &'a [f32],
    mut first: &'a mut [f32],
    mut second: &'a mut [f32],
) -> Vec<Part<'a>> {
    let mut tasks = Vec::new();
    let alike = |one: &Slot, other: &Slot| one.decays == other.decays && one.learns_since == other.learns_since;
    for run in slots.chunk_by(alike) {
        let mut left: usize = run.iter().map(|slot| slot.range.len()).sum();
        while left > 0 {
            let length = left.min(BLOCK);
            left -= length;
            let part = Part {
                decays: run[0].decays,
                since: run[0].learns_since.unwrap_or(0),
                weights: weights.split_off_mut(..length).expect("the slots cover the parameters"),
                gradients: gradients.split_off(..length).expect("each parameter has a gradient"),
                first: first.split_off_mut(..length).expect("each parameter has a moment"),
                second: second.split_off_mut(..length.min(second.len())).expect("checked by the range"),
            };
            if run[0].learns_since.is_some() {
                tasks.push(part);
            }
        }
    }
    tasks
}

fn update(rule: Rule, steps: i32, decay: f64, rate: f64, part: Part<'_>) {
    let Part { weights, gradients, first, second, .. } = part;
    let kept = (1.0 - rate * decay) as f32;
    let (rate32, decay32) = (rate as f32, decay as f32);
    let narrow = |values: [f64; 2]| values.map(|value| value as f32);
    match rule {
        Rule::Sgd { momentum, nesterov, .. } => {
            // The momentum begins with the first gradient itself.
            let before = if steps == 1 { 0.0 } else { momentum as f32 };
            sgd(weights, gradients, first, [decay32, before, momentum as f32, rate32], nesterov);
        }
        Rule::Adam { betas, epsilon, .. } => {
            let factors = adam_factors(betas, epsilon, rate, steps);
            adam(weights, gradients, first, second, 1.0, decay32, narrow(betas), factors);
        }
        Rule::AdamW { betas, epsilon, .. } => {
            let factors = adam_factors(betas, epsilon, rate, steps);
            adam(weights, gradients, first, second, kept, 0.0, narrow(betas), factors);
        }
        Rule::Adamax { betas, epsilon, .. } => {
            let rate = (rate / (1.0 - betas[0].powi(steps))) as f32;
            adamax(weights, gradients, first, second, [decay32, epsilon as f32, rate], narrow(betas));
        }
        Rule::RmsProp { alpha, momentum: 0.0, epsilon, .. } => {
            rmsprop(weights, gradients, first, [decay32, alpha as f32, epsilon as f32, rate32]);
        }
        Rule::RmsProp { alpha, momentum, epsilon, .. } => {
            let factors = [decay32, alpha as f32, epsilon as f32, rate32, momentum as f32];
            rmsprop_with_momentum(weights, gradients, first, second, factors);
        }
        Rule::Lion { betas, .. } => lion(weights, gradients, first, kept, rate32, narrow(betas)),
    }
}

/// Rate, correction of the second moment and epsilon.
fn adam_factors(betas: [f64; 2], epsilon: f64, rate: f64, steps: i32) -> [f32; 3] {
    let [first, second] = betas.map(|beta| 1.0 - beta.powi(steps));
    [rate / first, 1.0 / second.sqrt(), epsilon].map(|factor| factor as f32)
}

vectorised! {
    fn sgd(weights: &mut [f32], gradients: &[f32], velocity: &mut [f32], factors: [f32; 4], nesterov: bool) {
        let [decay, before, momentum, rate] = factors;
        let (of_gradient, of_velocity) = if nesterov { (1.0, momentum) } else { (0.0, 1.0) };
        for ((weight, gradient), velocity) in weights.iter_mut().zip(gradients).zip(velocity) {
            let gradient = gradient + decay * *weight;
            *velocity = before * *velocity + gradient;
            *weight -= rate * (of_gradient * gradient + of_velocity * *velocity);
        }
    }

    #[expect(clippy::too_many_arguments, reason = "plain slices and numbers vectorise")]
    fn adam(weights: &mut [f32], gradients: &[f32], first: &mut [f32], second: &mut [f32], kept: f32, decay: f32, betas: [f32; 2], factors: [f32; 3]) {
        let [rate, correction, epsilon] = factors;
        let moments = first.iter_mut().zip(second);
        for ((weight, gradient), (first, second)) in weights.iter_mut().zip(gradients).zip(moments) {
            let gradient = gradient + decay * *weight;
            *first = betas[0] * *first + (1.0 - betas[0]) * gradient;
            *second = betas[1] * *second + (1.0 - betas[1]) * gradient * gradient;
            *weight = *weight * kept - rate * *first / (second.sqrt() * correction + epsilon);
        }
    }

    fn adamax(weights: &mut [f32], gradients: &[f32], first: &mut [f32], largest: &mut [f32], factors: [f32; 3], betas: [f32; 2]) {
        let [decay, epsilon, rate] = factors;
        let moments = first.iter_mut().zip(largest);
        for ((weight, gradient), (first, largest)) in weights.iter_mut().zip(gradients).zip(moments) {
            let gradient = gradient + decay * *weight;
            *first = betas[0] * *first + (1.0 - betas[0]) * gradient;
            *largest = (betas[1] * *largest).max(gradient.abs() + epsilon);
            *weight -= rate * *first / *largest;
        }
    }

    fn rmsprop(weights: &mut [f32], gradients: &[f32], squares: &mut [f32], factors: [f32; 4]) {
        let [decay, alpha, epsilon, rate] = factors;
        for ((weight, gradient), square) in weights.iter_mut().zip(gradients).zip(squares) {
            let gradient = gradient + decay * *weight;
            *square = alpha * *square + (1.0 - alpha) * gradient * gradient;
            *weight -= rate * gradient / (square.sqrt() + epsilon);
        }
    }

    fn rmsprop_with_momentum(weights: &mut [f32], gradients: &[f32], squares: &mut [f32], velocity: &mut [f32], factors: [f32; 5]) {
        let [decay, alpha, epsilon, rate, momentum] = factors;
        let moments = squares.iter_mut().zip(velocity);
        for ((weight, gradient), (square, velocity)) in weights.iter_mut().zip(gradients).zip(moments) {
            let gradient = gradient + decay * *weight;
            *square = alpha * *square + (1.0 - alpha) * gradient * gradient;
            *velocity = momentum * *velocity + gradient / (square.sqrt() + epsilon);
            *weight -= rate * *velocity;
        }
    }

    fn lion(weights: &mut [f32], gradients: &[f32], first: &mut [f32], kept: f32, rate: f32, betas: [f32; 2]) {
        for ((weight, gradient), first) in weights.iter_mut().zip(gradients).zip(first) {
            let direction = betas[0] * *first + (1.0 - betas[0]) * gradient;
            // Unlike `signum` 0 for 0.
            let sign = f32::from(i8::from(direction > 0.0) - i8::from(direction < 0.0));
            *weight = *weight * kept - rate * sign;
            *first = betas[1] * *first + (1.0 - betas[1]) * gradient;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nasgen_modules::{Initial, Primitive, TensorSpec};
    use safetensors::SafeTensors;
    use std::{error::Error, fs, path::Path};

    /// 200 steps of PyTorch's optimizer, whose gradients depend on the weights: `w` decays, `b` does not.
    fn follow(file: &str, rate: f64, rule: Rule) -> Result<(), Box<dyn Error>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/training");
        let bytes = fs::read(folder.join(file))?;
        let fixture = SafeTensors::deserialize(&bytes)?;
        let values = |name: &str| -> Result<Vec<f32>, Box<dyn Error>> {
            Ok(fixture.tensor(name)?.data().as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four)).collect())
        };
        for (name, decays) in [("w", true), ("b", false)] {
            let mut weights = values(&format!("{name}.0"))?;
            let (noise, expected) = (values(&format!("noise_{name}"))?, values(name)?);
            let length = weights.len();
            let zero = Initial::Constant(0.0);
            let spec =
                if decays { TensorSpec::weight(vec![length], zero) } else { TensorSpec::vector(name, length, zero) };
            let slot = Slot::new(&Primitive::Flatten, false, &spec, name.into(), 0);
            let mut optimizer = Optimizer::new(rule, length);
            for (step, noise) in noise.chunks(length).enumerate() {
                let gradients: Vec<f32> =
                    weights.iter().zip(noise).map(|(weight, noise)| weight * 0.5 + noise).collect();
                optimizer.step(std::slice::from_ref(&slot), &mut weights, &gradients, rate);
                if step % 10 == 9 {
                    let expected = &expected[step / 10 * length..][..length];
                    let differences = weights.iter().zip(expected).map(|(weight, expected)| (weight - expected).abs());
                    let worst = differences.fold(0.0, f32::max);
                    assert!(worst < 1e-5, "{file}: {name} differs by {worst} after step {step}");
                }
            }
        }
        Ok(())
    }

    #[test]
    fn every_optimizer_is_pytorchs_over_200_steps() -> Result<(), Box<dyn Error>> {
        let (betas, epsilon) = ([0.9, 0.999], 1e-8);
        let rmsprop = |alpha, momentum| Rule::RmsProp { alpha, momentum, epsilon, decay: 1e-2 };
        for (file, rate, rule) in [
            ("sgd", 0.05, Rule::Sgd { momentum: 0.9, nesterov: true, decay: 5e-4 }),
            ("sgd_plain", 0.05, Rule::Sgd { momentum: 0.8, nesterov: false, decay: 5e-4 }),
            ("adam", 0.01, Rule::Adam { betas: [0.9, 0.99], epsilon: 1e-6, decay: 1e-2 }),
            ("adamw", 0.01, Rule::AdamW { betas, epsilon, decay: 0.05 }),
            ("adamax", 0.01, Rule::Adamax { betas, epsilon, decay: 1e-2 }),
            ("rmsprop", 0.005, rmsprop(0.99, 0.0)),
            ("rmsprop_momentum", 0.002, rmsprop(0.95, 0.9)),
            ("lion", 0.002, Rule::Lion { betas: [0.9, 0.99], decay: 0.5 }),
        ] {
            follow(&format!("trace_{file}.safetensors"), rate, rule)?;
        }
        Ok(())
    }
}
