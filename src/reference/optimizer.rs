//! SGD with Nesterov momentum and AdamW, as PyTorch computes them.

use crate::train::OptimizerRule;
use candle_core::{Result, Tensor, Var};
use nasgen_modules::{TensorRole, TensorSpec};
use std::collections::{BTreeMap, BTreeSet};

/// An optimizer with its state.
pub(super) struct Optimizer {
    rule: OptimizerRule,
    decaying: BTreeSet<String>,
    /// Momentum of SGD; first and second moments of AdamW.
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

    /// What PyTorch calls the moments.
    pub(super) fn moment_names(&self) -> &'static [&'static str] {
        match self.rule {
            OptimizerRule::Sgd { .. } => &["momentum_buffer"],
            OptimizerRule::AdamW { .. } => &["exp_avg", "exp_avg_sq"],
        }
    }

    /// Moves the parameters against their gradients.
    pub(super) fn step(
        &mut self,
        parameters: &BTreeMap<String, Var>,
        gradients: &BTreeMap<String, Tensor>,
        learning_rate: f64,
    ) -> Result<()> {
        self.steps += 1;
        for (name, gradient) in gradients {
            let Some(parameter) = parameters.get(name) else { continue };
            let moments = self.moments.entry(name.clone()).or_default();
            let decay = if self.decaying.contains(name) { self.rule.decay() } else { 0.0 };
            let weight = parameter.as_tensor().detach();
            let updated = match self.rule {
                OptimizerRule::Sgd { momentum, .. } => sgd(&weight, gradient, moments, decay, momentum, learning_rate)?,
                OptimizerRule::AdamW { .. } => adamw(&weight, gradient, moments, decay, self.steps, learning_rate)?,
            };
            parameter.set(&updated)?;
        }
        Ok(())
    }
}

/// `torch.optim.SGD(nesterov=True)`: decay joins the gradient; the momentum begins with the first
/// gradient itself.
fn sgd(
    weight: &Tensor,
    gradient: &Tensor,
    moments: &mut Vec<Tensor>,
    decay: f64,
    momentum: f64,
    learning_rate: f64,
) -> Result<Tensor> {
    let gradient = (gradient + (weight * decay)?)?;
    let velocity = match moments.first() {
        None => gradient.clone(),
        Some(velocity) => ((velocity * momentum)? + &gradient)?,
    };
    let direction = (gradient + (&velocity * momentum)?)?;
    *moments = vec![velocity.detach()];
    weight - (direction * learning_rate)?
}

/// `torch.optim.AdamW` with betas 0.9 and 0.999 and eps 1e-8 (Loshchilov and Hutter 2019).
fn adamw(
    weight: &Tensor,
    gradient: &Tensor,
    moments: &mut Vec<Tensor>,
    decay: f64,
    steps: i32,
    learning_rate: f64,
) -> Result<Tensor> {
    const BETAS: [f64; 2] = [0.9, 0.999];
    const EPS: f64 = 1e-8;
    if moments.is_empty() {
        *moments = vec![gradient.zeros_like()?, gradient.zeros_like()?];
    }
    let first = ((&moments[0] * BETAS[0])? + (gradient * (1.0 - BETAS[0]))?)?.detach();
    let second = ((&moments[1] * BETAS[1])? + (gradient.sqr()? * (1.0 - BETAS[1]))?)?.detach();
    let corrections = BETAS.map(|beta| 1.0 - beta.powi(steps));
    let scale = ((second.sqrt()? / corrections[1].sqrt())? + EPS)?;
    let decayed = (weight * (1.0 - learning_rate * decay))?;
    let updated = decayed - ((&first / scale)? * (learning_rate / corrections[0]))?;
    *moments = vec![first, second];
    updated
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::Weights;
    use candle_core::Device;
    use nasgen_modules::Initial;
    use std::path::Path;

    /// Twelve steps with given gradients and rates: `w` decays, `b` does not.
    fn follow(file: &str, rule: OptimizerRule) {
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
        for (step, rate) in tensor("lr").to_vec1::<f32>().unwrap().into_iter().enumerate() {
            let gradient = |name: &str| tensor(&format!("grad_{name}")).get(step).unwrap();
            let gradients = BTreeMap::from(["w", "b"].map(|name| (name.to_owned(), gradient(name))));
            optimizer.step(&parameters, &gradients, f64::from(rate)).unwrap();
            for (name, parameter) in &parameters {
                let expected = tensor(name).get(step).unwrap();
                let difference = (parameter.as_tensor() - expected).unwrap().abs().unwrap().max_all().unwrap();
                let difference = difference.to_scalar::<f32>().unwrap();
                assert!(difference < 1e-5, "{file}: {name} differs by {difference} after step {step}");
            }
        }
    }

    #[test]
    fn sgd_with_nesterov_momentum_equals_pytorch() {
        follow("sgd_nesterov.safetensors", OptimizerRule::Sgd { momentum: 0.9, decay: 5e-4 });
    }

    #[test]
    fn adamw_equals_pytorch() {
        follow("adamw.safetensors", OptimizerRule::AdamW { decay: 0.05 });
    }
}
