//! The engine as an executor of trainings, on a CPU and on a GPU.

use crate::{
    data::{Batch, Images, Mixed, Normalisation, Part, Placed, Placement},
    train::{Executor, ExecutorError, Freezing, Objective, ObjectiveKind, OptimizerRule, State, Step, StepResult},
    weights::{Array, Weights},
};
use nasgen_engine::{
    Engine, EngineError, Loss, LossKind, Rule, StepOutcome, Tensors, TrainStep,
    cuda::{self, Content, CudaEngine, Device},
};
use nasgen_modules::Layers;

/// Compiles a network with its weights.
///
/// # Errors
/// When the weights do not fit the network.
pub fn compile(layers: &Layers, weights: &Weights, rule: OptimizerRule, seed: u64) -> Result<Engine, ExecutorError> {
    let rule = engine_rule(rule);
    let find = |name: &str| weights.get(name).map(|array| array.values.as_slice());
    Ok(Engine::new(layers, find, rule, seed)?)
}

/// The same on a device.
///
/// # Errors
/// When the weights do not fit the network, or the device has no room.
pub fn compile_on<D: Device>(
    device: D,
    layers: &Layers,
    weights: &Weights,
    rule: OptimizerRule,
    seed: u64,
) -> Result<CudaEngine<D>, ExecutorError> {
    let find = |name: &str| weights.get(name).map(|array| array.values.as_slice());
    Ok(CudaEngine::new(device, layers, find, engine_rule(rule), seed)?)
}

fn engine_rule(rule: OptimizerRule) -> Rule {
    match rule {
        OptimizerRule::Sgd { momentum, nesterov, decay } => Rule::Sgd { momentum, nesterov, decay },
        OptimizerRule::Adam { betas, epsilon, decay } => Rule::Adam { betas, epsilon, decay },
        OptimizerRule::AdamW { betas, epsilon, decay } => Rule::AdamW { betas, epsilon, decay },
        OptimizerRule::Adamax { betas, epsilon, decay } => Rule::Adamax { betas, epsilon, decay },
        OptimizerRule::RmsProp { alpha, momentum, epsilon, decay } => Rule::RmsProp { alpha, momentum, epsilon, decay },
        OptimizerRule::Lion { betas, decay } => Rule::Lion { betas, decay },
    }
}

impl From<EngineError> for ExecutorError {
    fn from(error: EngineError) -> Self {
        Self(error.0)
    }
}

impl Executor for Engine {
    fn name(&self) -> &'static str {
        "engine"
    }

    fn train_step(&mut self, batch: &Batch, step: &Step<'_>) -> Result<StepResult, ExecutorError> {
        stepped(batch, step, |targets, step| Self::train_step(self, &batch.images, targets, step))
    }

    fn scores(&mut self, batch: &Batch) -> Result<Vec<f32>, ExecutorError> {
        Ok(Self::scores(self, &batch.images)?)
    }

    fn weights(&mut self) -> Result<Weights, ExecutorError> {
        Ok(named(self.tensors()))
    }

    fn state(&mut self) -> Result<State, ExecutorError> {
        Ok(State {
            weights: named(self.tensors()),
            moments: named(self.moments()),
            optimizer_steps: self.optimizer_steps(),
        })
    }

    fn restore(&mut self, state: &State) -> Result<(), ExecutorError> {
        let State { weights, moments, optimizer_steps } = state;
        let weight = |name: &str| weights.get(name).map(|array| array.values.as_slice());
        let moment = |name: &str| moments.get(name).map(|array| array.values.as_slice());
        Ok(Self::restore(self, weight, moment, *optimizer_steps)?)
    }

    fn freeze(&mut self, freezing: &Freezing) {
        Self::freeze(self, |name| freezing.learns_since(name));
    }
}

impl<D: Device> Executor for CudaEngine<D> {
    fn name(&self) -> &'static str {
        "engine"
    }

    fn train_step(&mut self, batch: &Batch, step: &Step<'_>) -> Result<StepResult, ExecutorError> {
        let placed = placed(batch);
        stepped(batch, step, |targets, step| Self::train_step(self, content(batch, &placed), targets, step))
    }

    fn scores(&mut self, batch: &Batch) -> Result<Vec<f32>, ExecutorError> {
        let placed = placed(batch);
        Ok(Self::scores(self, content(batch, &placed))?)
    }

    fn hold(&mut self, part: Part, images: &Images, normalisation: &Normalisation) -> bool {
        let pixels = (0..images.len()).map(|image| images.image(image));
        Self::hold(self, part as usize, pixels, &normalisation.tables(images.channels)).is_ok()
    }

    fn weights(&mut self) -> Result<Weights, ExecutorError> {
        Ok(named(self.tensors()?))
    }

    fn state(&mut self) -> Result<State, ExecutorError> {
        Ok(State {
            weights: named(self.tensors()?),
            moments: named(self.moments()?),
            optimizer_steps: self.optimizer_steps(),
        })
    }

    fn restore(&mut self, state: &State) -> Result<(), ExecutorError> {
        let State { weights, moments, optimizer_steps } = state;
        let weight = |name: &str| weights.get(name).map(|array| array.values.as_slice());
        let moment = |name: &str| moments.get(name).map(|array| array.values.as_slice());
        Ok(Self::restore(self, weight, moment, *optimizer_steps)?)
    }

    fn freeze(&mut self, freezing: &Freezing) {
        Self::freeze(self, |name| freezing.learns_since(name));
    }
}

/// A step on `batch`, as the engines know it.
fn stepped(
    batch: &Batch,
    step: &Step<'_>,
    run: impl FnOnce(&[f32], &TrainStep<'_>) -> Result<StepOutcome, EngineError>,
) -> Result<StepResult, ExecutorError> {
    let Step { index, learning_rate, objective, clip, waiting, update } = *step;
    let loss = loss(objective);
    let step = TrainStep { index, learning_rate, loss: &loss, clip, waiting, update };
    let StepOutcome { loss, correct } = run(&objective.targets(batch).map_err(ExecutorError)?, &step)?;
    Ok(StepResult { loss, correct })
}

/// What a device needs to make a batch of the images that it holds.
fn placed(batch: &Batch) -> Vec<cuda::Placed> {
    let placement = |placement: Placement| cuda::Placement {
        image: placement.image as i32,
        mirrored: placement.mirrored.into(),
        down: placement.moved.0 as i32,
        right: placement.moved.1 as i32,
    };
    let placed = |placed: &Placed| {
        let own = cuda::Placed { own: placement(placed.own), ..cuda::Placed::default() };
        match placed.mixed {
            None => own,
            Some(Mixed { partner, share, window }) => cuda::Placed {
                partner: placement(partner),
                mixing: if window.is_some() { 2 } else { 1 },
                share,
                window: window.unwrap_or_default().map(|side| side as i32),
                ..own
            },
        }
    };
    batch.placed.iter().flat_map(|(_, images)| images).map(placed).collect()
}

fn content<'a>(batch: &'a Batch, placed: &'a [cuda::Placed]) -> Content<'a> {
    match batch.placed {
        None => Content::Values(&batch.images),
        Some((part, _)) => Content::Placed(part as usize, placed),
    }
}

fn loss(objective: &Objective) -> Loss {
    let kind = match objective.kind {
        ObjectiveKind::CrossEntropy => LossKind::CrossEntropy,
        ObjectiveKind::Focal { gamma } => LossKind::Focal { gamma },
        ObjectiveKind::Binary => LossKind::Binary,
    };
    Loss { kind, class_weights: objective.class_weights.clone(), offsets: objective.offsets.clone() }
}

fn named(tensors: Tensors) -> Weights {
    tensors.into_iter().map(|(name, shape, values)| (name, Array { shape, values })).collect()
}
