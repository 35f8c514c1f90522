//! A compiled network with its weights.

use crate::{
    loss::Loss,
    operation::{Forward, Gradients, Run},
    optimizer::{Optimizer, Rule},
    parameters::Slot,
    plan::Plan,
};
use nasgen_modules::{Layers, Shape};

/// A network that runs on the CPU.
pub struct Engine {
    plan: Plan,
    parameters: Vec<f32>,
    parameter_gradients: Vec<f32>,
    optimizer: Optimizer,
    values: Vec<Vec<f32>>,
    gradients: Vec<Vec<f32>>,
    spare: Vec<Vec<f32>>,
    /// Sums of the gradients of batches that the optimizer has not seen yet.
    waiting: Vec<f32>,
    input: Shape,
}

/// One training step.
#[derive(Clone, Copy, Debug)]
pub struct TrainStep<'a> {
    /// Number of the step in the whole training: decides what dropout drops.
    pub index: u64,
    /// Learning rate.
    pub learning_rate: f64,
    /// What the scores are measured by.
    pub loss: &'a Loss,
    /// Largest norm of all gradients together; longer ones are shortened to it.
    pub clip: Option<f64>,
    /// Batches before this one whose gradients wait to be averaged with this one's.
    pub waiting: usize,
    /// Whether the optimizer moves the parameters now, or this batch waits too.
    pub update: bool,
}

/// Weights or a batch that do not fit the network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct EngineError(pub String);

/// What a step measured before it moved the parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepOutcome {
    /// Mean loss over the batch.
    pub loss: f64,
    /// Images whose highest score was their label's.
    pub correct: usize,
}

impl Engine {
    /// Compiles `layers`, which must have one input. `weights` gives the values of a tensor by name,
    /// in PyTorch's order; `seed` decides what is dropped in training.
    ///
    /// # Errors
    /// When a tensor is missing or has another size.
    pub fn new<'w>(
        layers: &Layers,
        weights: impl Fn(&str) -> Option<&'w [f32]>,
        rule: Rule,
        seed: u64,
    ) -> Result<Self, EngineError> {
        let [input] = layers.inputs() else {
            return Err(EngineError(format!("wanted a network with one input, got {}", layers.inputs().len())));
        };
        let plan = Plan::of(layers, seed);
        let count = plan.parameters();
        let mut engine = Self {
            parameters: vec![0.0; count],
            parameter_gradients: vec![0.0; count],
            optimizer: Optimizer::new(rule, count),
            values: vec![Vec::new(); plan.lengths.len()],
            gradients: vec![Vec::new(); plan.lengths.len()],
            spare: Vec::new(),
            waiting: Vec::new(),
            input: *input,
            plan,
        };
        engine.load(weights)?;
        Ok(engine)
    }

    fn load<'w>(&mut self, weights: impl Fn(&str) -> Option<&'w [f32]>) -> Result<(), EngineError> {
        for slot in &self.plan.slots {
            slot.write(find(&weights, &slot.name, slot.range.len())?, &mut self.parameters);
        }
        for step in &mut self.plan.steps {
            for (name, values) in step.operation.statistics() {
                let found = find(&weights, &format!("{}.{name}", step.label), values.len())?;
                values.copy_from_slice(found);
            }
        }
        Ok(())
    }

    /// Parameters and running statistics: name, shape, values in PyTorch's order.
    pub fn tensors(&mut self) -> Vec<(String, Vec<usize>, Vec<f32>)> {
        let slots = self.plan.slots.iter();
        let mut tensors: Vec<_> =
            slots.map(|slot| (slot.name.clone(), slot.shape.clone(), slot.read(&self.parameters))).collect();
        for step in &mut self.plan.steps {
            let label = &step.label;
            let statistics = step.operation.statistics().into_iter();
            tensors.extend(
                statistics.map(|(name, values)| (format!("{label}.{name}"), vec![values.len()], values.clone())),
            );
        }
        tensors
    }

    /// Gradients of the parameters in the last training step: name, values in PyTorch's order.
    pub fn gradients(&self) -> Vec<(String, Vec<f32>)> {
        let slots = self.plan.slots.iter();
        slots.map(|slot| (slot.name.clone(), slot.read(&self.parameter_gradients))).collect()
    }

    /// What the optimizer remembers: `{moment}.{parameter}` with PyTorch's names of the moments, shape,
    /// values in PyTorch's order.
    pub fn moments(&mut self) -> Vec<(String, Vec<usize>, Vec<f32>)> {
        let Self { optimizer, plan, .. } = self;
        let of_moment = |(moment, values): (&'static str, &mut Vec<f32>)| {
            let tensor = |slot: &Slot| (format!("{moment}.{}", slot.name), slot.shape.clone(), slot.read(values));
            plan.slots.iter().map(tensor).collect::<Vec<_>>()
        };
        optimizer.moments().into_iter().flat_map(of_moment).collect()
    }

    /// Steps that the optimizer has taken.
    pub fn optimizer_steps(&self) -> u64 {
        self.optimizer.steps as u64
    }

    /// Puts everything back to where [`Engine::tensors`], [`Engine::moments`] and
    /// [`Engine::optimizer_steps`] once were, so that training goes on as if it had never stopped.
    ///
    /// # Errors
    /// When a tensor is missing or has another size.
    pub fn restore<'w>(
        &mut self,
        weights: impl Fn(&str) -> Option<&'w [f32]>,
        moments: impl Fn(&str) -> Option<&'w [f32]>,
        optimizer_steps: u64,
    ) -> Result<(), EngineError> {
        self.load(weights)?;
        for (moment, values) in self.optimizer.moments() {
            for slot in &self.plan.slots {
                slot.write(find(&moments, &format!("{moment}.{}", slot.name), slot.range.len())?, values);
            }
        }
        self.optimizer.steps = i32::try_from(optimizer_steps).unwrap_or(i32::MAX);
        Ok(())
    }

    /// Class scores of `images` (images × channels × height × width) in evaluation mode.
    ///
    /// # Errors
    /// When the images do not have the network's shape.
    pub fn scores(&mut self, images: &[f32]) -> Result<Vec<f32>, EngineError> {
        let run = Run { images: self.take_images(images)?, training: false, step: 0 };
        self.forward(&run);
        let output = self.plan.output;
        Ok(self.values[output][..run.images * self.plan.lengths[output]].to_vec())
    }

    /// One training step: forward, loss, backward, and the optimizer's step unless the loss is not
    /// finite. `targets` has a distribution over the classes for each image.
    ///
    /// # Errors
    /// When images or targets do not fit the network.
    pub fn train_step(
        &mut self,
        images: &[f32],
        targets: &[f32],
        step: &TrainStep<'_>,
    ) -> Result<StepOutcome, EngineError> {
        let run = Run { images: self.take_images(images)?, training: true, step: step.index };
        let (output, classes) = (self.plan.output, self.plan.lengths[self.plan.output]);
        if targets.len() != run.images * classes {
            return Err(EngineError(format!("wanted {} targets of {classes}, got {}", run.images, targets.len())));
        }
        if let (1, Some(norm)) = (run.images, &self.plan.norm_of_one_value) {
            return Err(EngineError(format!("`{norm}`: a norm in training needs more than one value per channel")));
        }
        self.forward(&run);
        let scores = &self.values[output][..run.images * classes];
        resize(&mut self.gradients[output], run.images * classes);
        let (loss, correct) = step.loss.measure(scores, targets, run.images, &mut self.gradients[output]);
        if loss.is_finite() {
            self.backward(&run);
            self.update(step);
        }
        Ok(StepOutcome { loss, correct })
    }

    /// Moves the parameters, or keeps the gradients until enough batches have come.
    fn update(&mut self, step: &TrainStep<'_>) {
        let Self { optimizer, plan, parameters, parameter_gradients, waiting, .. } = self;
        if step.waiting > 0 {
            waiting.iter().zip(&mut *parameter_gradients).for_each(|(sum, gradient)| *gradient += sum);
        }
        if !step.update {
            waiting.clone_from(parameter_gradients);
            return;
        }
        let mut factor = 1.0 / (step.waiting + 1) as f32;
        if let Some(most) = step.clip {
            let sum: f64 = parameter_gradients.iter().map(|gradient| f64::from(*gradient).powi(2)).sum();
            // As `torch.nn.utils.clip_grad_norm_`.
            factor *= (most / (sum.sqrt() * f64::from(factor) + 1e-6)).min(1.0) as f32;
        }
        if factor != 1.0 {
            parameter_gradients.iter_mut().for_each(|gradient| *gradient *= factor);
        }
        optimizer.step(&plan.slots, parameters, parameter_gradients, step.learning_rate);
    }

    /// Stores images pixels × channels; how many there are.
    fn take_images(&mut self, images: &[f32]) -> Result<usize, EngineError> {
        let values = self.plan.lengths[0];
        if images.is_empty() || !images.len().is_multiple_of(values) {
            let message =
                format!("wanted images of {} ({values} values each), got {} values", self.input, images.len());
            return Err(EngineError(message));
        }
        resize(&mut self.values[0], images.len());
        let channels = self.input.channels();
        let pixels = values / channels;
        for (from, to) in images.chunks(values).zip(self.values[0].chunks_mut(values)) {
            for (pixel, to) in to.chunks_mut(channels).enumerate() {
                for (channel, to) in to.iter_mut().enumerate() {
                    *to = from[channel * pixels + pixel];
                }
            }
        }
        Ok(images.len() / values)
    }

    fn forward(&mut self, run: &Run) {
        let Self { plan, parameters, values, .. } = self;
        for step in &mut plan.steps {
            let mut output = std::mem::take(&mut values[step.output]);
            resize(&mut output, run.images * plan.lengths[step.output]);
            let inputs: Vec<&[f32]> = step.inputs.iter().map(|input| values[*input].as_slice()).collect();
            step.operation.forward(run, &parameters[step.parameters.clone()], &inputs, &mut output);
            values[step.output] = output;
        }
    }

    fn backward(&mut self, run: &Run) {
        let Self { plan, parameters, parameter_gradients, values, gradients, spare, .. } = self;
        parameter_gradients.fill(0.0);
        let mut written = vec![false; plan.lengths.len()];
        for step in plan.steps.iter_mut().rev() {
            let mut of_output = std::mem::take(&mut gradients[step.output]);
            // A value that several steps read gets the sum of what they give it.
            let mut buffers: Vec<(Vec<f32>, bool)> = Vec::with_capacity(step.inputs.len());
            for input in &step.inputs {
                let length = if *input < plan.inputs { 0 } else { run.images * plan.lengths[*input] };
                let adds = std::mem::replace(&mut written[*input], true);
                let mut buffer =
                    if adds { spare.pop().unwrap_or_default() } else { std::mem::take(&mut gradients[*input]) };
                resize(&mut buffer, length);
                buffers.push((buffer, adds));
            }
            let inputs: Vec<&[f32]> = step.inputs.iter().map(|input| values[*input].as_slice()).collect();
            let range = step.parameters.clone();
            let forward =
                Forward { parameters: &parameters[range.clone()], inputs: &inputs, output: &values[step.output] };
            let mut slices: Vec<&mut [f32]> = buffers.iter_mut().map(|(buffer, _)| buffer.as_mut_slice()).collect();
            let into =
                Gradients { parameters: &mut parameter_gradients[range], inputs: &mut slices, output: &mut of_output };
            step.operation.backward(run, &forward, into);
            for (input, (buffer, adds)) in step.inputs.iter().zip(buffers) {
                if adds {
                    gradients[*input].iter_mut().zip(&buffer).for_each(|(sum, part)| *sum += part);
                    spare.push(buffer);
                } else {
                    gradients[*input] = buffer;
                }
            }
            gradients[step.output] = of_output;
        }
    }
}

/// The `length` values of the tensor called `name`.
fn find<'w>(tensors: &impl Fn(&str) -> Option<&'w [f32]>, name: &str, length: usize) -> Result<&'w [f32], EngineError> {
    match tensors(name) {
        Some(values) if values.len() == length => Ok(values),
        Some(values) => Err(EngineError(format!("`{name}`: wanted {length} values, got {}", values.len()))),
        None => Err(EngineError(format!("`{name}` is missing"))),
    }
}

/// Makes room for `length` values; memory is kept from step to step.
fn resize(buffer: &mut Vec<f32>, length: usize) {
    if buffer.len() != length {
        buffer.resize(length, 0.0);
    }
}
