//! Optimizers as PyTorch computes them, tensor by tensor.

use crate::train::{Freezing, OptimizerRule};
use candle_core::{Result, Tensor, Var};
use nasgen_modules::{TensorRole, TensorSpec};
use std::collections::{BTreeMap, BTreeSet};

/// An optimizer with its state.
pub(super) struct Optimizer {
    rule: OptimizerRule,
    decaying: BTreeSet<String>,
    /// In the order of [`OptimizerRule::moments`].
    pub(super) moments: BTreeMap<String, Vec<Tensor>>,
    /// Steps taken.
    pub(super) steps: i32,
}

impl Optimizer {
    pub(super) fn new(rule: OptimizerRule, tensors: &[TensorSpec]) -> Self {
        let decays = |tensor: &&TensorSpec| tensor.role == TensorRole::Parameter { decays: true };
        let decaying = tensors.iter().filter(decays).map(|tensor| tensor.name.clone()).collect();
        Self { rule, decaying, moments: BTreeMap::new(), steps: 0 }
    }

    pub(super) fn moment_names(&self) -> &'static [&'static str] {
        self.rule.moments()
    }

    /// Moves the parameters against their gradients.
    pub(super) fn step(
        &mut self,
        parameters: &BTreeMap<String, Var>,
        gradients: &BTreeMap<String, Tensor>,
        freezing: &Freezing,
        learning_rate: f64,
    ) -> Result<()> {
        self.steps += 1;
        for (name, gradient) in gradients {
            let (Some(parameter), Some(since)) = (parameters.get(name), freezing.learns_since(name)) else { continue };
            let decay = if self.decaying.contains(name) { self.rule.decay() } else { 0.0 };
            let update = Update {
                weight: parameter.as_tensor().detach(),
                gradient: gradient.detach(),
                moments: self.moments.get(name).map_or(&[], Vec::as_slice),
                decay,
                rate: learning_rate,
                steps: self.steps - i32::try_from(since).unwrap_or(self.steps),
            };
            let (weight, moments) = update.by(self.rule)?;
            parameter.set(&weight)?;
            self.moments.insert(name.clone(), moments.into_iter().map(|moment| moment.detach()).collect());
        }
        Ok(())
    }
}

/// One parameter's step.
struct Update<'a> {
    weight: Tensor,
    gradient: Tensor,
    /// Empty before the first step.
    moments: &'a [Tensor],
    decay: f64,
    rate: f64,
    steps: i32,
}

impl Update<'_> {
    /// The new weight and moments.
    fn by(&self, rule: OptimizerRule) -> Result<(Tensor, Vec<Tensor>)> {
        match rule {
            OptimizerRule::Sgd { momentum, nesterov, .. } => self.sgd(momentum, nesterov),
            OptimizerRule::Adam { betas, epsilon, .. } => self.adam(&self.weight, &self.with_decay()?, betas, epsilon),
            OptimizerRule::AdamW { betas, epsilon, .. } => self.adam(&self.decayed()?, &self.gradient, betas, epsilon),
            OptimizerRule::Adamax { betas, epsilon, .. } => self.adamax(betas, epsilon),
            OptimizerRule::RmsProp { alpha, momentum, epsilon, .. } => self.rmsprop(alpha, momentum, epsilon),
            OptimizerRule::Lion { betas, .. } => self.lion(betas),
        }
    }

    /// Decay as part of the gradient.
    fn with_decay(&self) -> Result<Tensor> {
        &self.gradient + (&self.weight * self.decay)?
    }

    /// Decay apart from the gradient.
    fn decayed(&self) -> Result<Tensor> {
        &self.weight * (1.0 - self.rate * self.decay)
    }

    fn moment(&self, index: usize) -> Result<Tensor> {
        self.moments.get(index).map_or_else(|| self.gradient.zeros_like(), |moment| Ok(moment.clone()))
    }

    /// `torch.optim.SGD`: the momentum begins with the first gradient itself.
    fn sgd(&self, momentum: f64, nesterov: bool) -> Result<(Tensor, Vec<Tensor>)> {
        let gradient = self.with_decay()?;
        let velocity = match self.moments.first() {
            None => gradient.clone(),
            Some(velocity) => ((velocity * momentum)? + &gradient)?,
        };
        let direction = if nesterov { (gradient + (&velocity * momentum)?)? } else { velocity.clone() };
        Ok(((&self.weight - (direction * self.rate)?)?, vec![velocity]))
    }

    /// `torch.optim.Adam` and, with a weight that has decayed, `AdamW`.
    fn adam(&self, weight: &Tensor, gradient: &Tensor, betas: [f64; 2], epsilon: f64) -> Result<(Tensor, Vec<Tensor>)> {
        let first = mixed(&self.moment(0)?, gradient, betas[0])?;
        let second = mixed(&self.moment(1)?, &gradient.sqr()?, betas[1])?;
        let corrections = betas.map(|beta| 1.0 - beta.powi(self.steps));
        let divisor = ((second.sqrt()? / corrections[1].sqrt())? + epsilon)?;
        let weight = (weight - ((&first / divisor)? * (self.rate / corrections[0]))?)?;
        Ok((weight, vec![first, second]))
    }

    /// `torch.optim.Adamax`.
    fn adamax(&self, betas: [f64; 2], epsilon: f64) -> Result<(Tensor, Vec<Tensor>)> {
        let gradient = self.with_decay()?;
        let first = mixed(&self.moment(0)?, &gradient, betas[0])?;
        let largest = (self.moment(1)? * betas[1])?.maximum(&(gradient.abs()? + epsilon)?)?;
        let rate = self.rate / (1.0 - betas[0].powi(self.steps));
        Ok(((&self.weight - ((&first / &largest)? * rate)?)?, vec![first, largest]))
    }

    /// `torch.optim.RMSprop`, not centred.
    fn rmsprop(&self, alpha: f64, momentum: f64, epsilon: f64) -> Result<(Tensor, Vec<Tensor>)> {
        let gradient = self.with_decay()?;
        let square = mixed(&self.moment(0)?, &gradient.sqr()?, alpha)?;
        let direction = (&gradient / (square.sqrt()? + epsilon)?)?;
        if momentum == 0.0 {
            return Ok(((&self.weight - (direction * self.rate)?)?, vec![square]));
        }
        let velocity = ((self.moment(1)? * momentum)? + direction)?;
        Ok(((&self.weight - (&velocity * self.rate)?)?, vec![square, velocity]))
    }

    /// `timm.optim.Lion` (Chen et al. 2023).
    fn lion(&self, betas: [f64; 2]) -> Result<(Tensor, Vec<Tensor>)> {
        let before = self.moment(0)?;
        let direction = mixed(&before, &self.gradient, betas[0])?.sign()?;
        let weight = (self.decayed()? - (direction * self.rate)?)?;
        Ok((weight, vec![mixed(&before, &self.gradient, betas[1])?]))
    }
}

/// `kept` of the one, the rest of the other.
fn mixed(one: &Tensor, other: &Tensor, kept: f64) -> Result<Tensor> {
    (one * kept)? + (other * (1.0 - kept))?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::Weights;
    use candle_core::Device;
    use nasgen_modules::Initial;
    use std::path::Path;

    /// 200 steps of PyTorch's optimizer, whose gradients depend on the weights: `w` decays, `b` does not.
    fn follow(file: &str, rate: f64, rule: OptimizerRule) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/training").join(file);
        let (fixture, _) = Weights::load(&path).unwrap();
        let tensor = |name: &str| {
            let array = fixture.get(name).unwrap_or_else(|| panic!("no {name}"));
            Tensor::from_slice(&array.values, array.shape.as_slice(), &Device::Cpu).unwrap()
        };
        let begin = |name: &str| Var::from_tensor(&tensor(&format!("{name}.0"))).unwrap();
        let parameters = BTreeMap::from(["w", "b"].map(|name| (name.to_owned(), begin(name))));
        let initial = Initial::Constant(0.0);
        let specs = [
            TensorSpec { name: "w".into(), ..TensorSpec::weight(parameters["w"].dims().to_vec(), initial) },
            TensorSpec::vector("b", parameters["b"].elem_count(), initial),
        ];
        let mut optimizer = Optimizer::new(rule, &specs);
        for step in 0..200 {
            let gradient = |(name, parameter): (&String, &Var)| {
                let noise = tensor(&format!("noise_{name}")).get(step).unwrap();
                (name.clone(), ((parameter.as_tensor() * 0.5).unwrap() + noise).unwrap())
            };
            let gradients = parameters.iter().map(gradient).collect();
            optimizer.step(&parameters, &gradients, &Freezing::default(), rate).unwrap();
            if step % 10 < 9 {
                continue;
            }
            for (name, parameter) in &parameters {
                let expected = tensor(name).get(step / 10).unwrap();
                let difference = (parameter.as_tensor() - expected).unwrap().abs().unwrap().max_all().unwrap();
                let difference = difference.to_scalar::<f32>().unwrap();
                assert!(difference < 1e-5, "{file}: {name} differs by {difference} after step {step}");
            }
        }
    }

    #[test]
    fn every_optimizer_is_pytorchs_over_200_steps() {
        let (betas, epsilon) = ([0.9, 0.999], 1e-8);
        let rmsprop = |alpha, momentum| OptimizerRule::RmsProp { alpha, momentum, epsilon, decay: 1e-2 };
        for (file, rate, rule) in [
            ("sgd", 0.05, OptimizerRule::Sgd { momentum: 0.9, nesterov: true, decay: 5e-4 }),
            ("sgd_plain", 0.05, OptimizerRule::Sgd { momentum: 0.8, nesterov: false, decay: 5e-4 }),
            ("adam", 0.01, OptimizerRule::Adam { betas: [0.9, 0.99], epsilon: 1e-6, decay: 1e-2 }),
            ("adamw", 0.01, OptimizerRule::AdamW { betas, epsilon, decay: 0.05 }),
            ("adamax", 0.01, OptimizerRule::Adamax { betas, epsilon, decay: 1e-2 }),
            ("rmsprop", 0.005, rmsprop(0.99, 0.0)),
            ("rmsprop_momentum", 0.002, rmsprop(0.95, 0.9)),
            ("lion", 0.002, OptimizerRule::Lion { betas: [0.9, 0.99], decay: 0.5 }),
        ] {
            follow(&format!("trace_{file}.safetensors"), rate, rule);
        }
    }
}
