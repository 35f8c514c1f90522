//! A compiled network with its weights.

use crate::{
    buffer::Buffer,
    chunks,
    lifetimes::Assignment,
    loss::Loss,
    operation::{Forward, Gradients, InputGradient, Inputs, Rereads, Run},
    operations::Normaliser,
    optimizer::{Optimizer, Rule},
    parameters::Slot,
    plan::{Plan, Step},
    schedule::{Rooms, Scoring},
};
use nasgen_modules::{Layers, Primitive, Shape};

/// A network that runs on the CPU.
pub struct Engine {
    plan: Plan,
    parameters: Vec<f32>,
    parameter_gradients: Vec<f32>,
    optimizer: Optimizer,
    buffers: Vec<Buffer>,
    rooms: Rooms,
    /// Sums of the gradients of batches that the optimizer has not seen yet.
    waiting: Vec<f32>,
    input: Shape,
    /// Of the class scores of one image.
    multiply_adds: u64,
}

/// Multiply-adds that pay for waking threads: about 40 µs of one.
const WAKING: u64 = 2_000_000;

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

/// Name, shape, and values in PyTorch's order.
pub type Tensors = Vec<(String, Vec<usize>, Vec<f32>)>;

/// Chunks whose parts of a filter's gradient wait to be summed.
const PARTIAL_SUMS: u64 = 8;

/// Bytes that an engine for `layers` holds once it has trained on `images` images at a time and scored as
/// many on one thread (others need room for a few images more): the buffers of its plan, parameters, their gradients in parts and whole, two moments, and weights with norms
/// in them. `None` for networks that it cannot run.
pub fn training_bytes(layers: &Layers, images: usize) -> Option<u64> {
    if layers.inputs().len() != 1 || layers.nodes().iter().any(|node| matches!(node.primitive, Primitive::Custom(_))) {
        return None;
    }
    let plan = Plan::of(layers, 0);
    let [training, evaluation] = [&plan.training.buffers, &plan.schedule.shared().buffers];
    let length = |buffers: &[usize], index| buffers.get(index).copied().unwrap_or(0);
    let places = 0..training.len().max(evaluation.len());
    let values: usize = places.map(|index| length(training, index).max(length(evaluation, index))).sum();
    let of_parameters = (plan.parameters() as u64).saturating_mul(5 + PARTIAL_SUMS);
    let of_images = (values as u64).saturating_mul(images as u64);
    let of_rooms = plan.schedule.room(images);
    Some(of_images.saturating_add(of_parameters).saturating_add(of_rooms).saturating_mul(size_of::<f32>() as u64))
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
        let input = input_of(layers)?;
        let plan = Plan::of(layers, seed);
        let count = plan.parameters();
        let mut engine = Self {
            parameters: vec![0.0; count],
            parameter_gradients: vec![0.0; count],
            optimizer: Optimizer::new(rule, count),
            buffers: Vec::new(),
            rooms: Rooms::default(),
            waiting: Vec::new(),
            input,
            multiply_adds: layers.macs(),
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
            step.operation.parameters_changed();
        }
        Ok(())
    }

    /// Parameters and running statistics: name, shape, values in PyTorch's order.
    pub fn tensors(&mut self) -> Tensors {
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
    pub fn moments(&mut self) -> Tensors {
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

    /// Says which layers do not learn from now on: `learns_since` gives, for the name of a parameter or of
    /// a layer, the number of the update from which on it learns, or `None` while it is frozen. What comes
    /// before a frozen layer must be frozen too. Frozen layers run as in evaluation, and cost no backward
    /// step. Before the first call all layers learn.
    pub fn freeze(&mut self, learns_since: impl Fn(&str) -> Option<u64>) {
        self.plan.slots.iter_mut().for_each(|slot| slot.learns_since = learns_since(&slot.name));
        self.plan.steps.iter_mut().for_each(|step| step.frozen = learns_since(&step.label).is_none());
    }

    /// Class scores of `images` (images × channels × height × width) in evaluation mode.
    ///
    /// # Errors
    /// When the images do not have the network's shape.
    pub fn scores(&mut self, images: &[f32]) -> Result<Vec<f32>, EngineError> {
        let run = Run { images: self.take_images(images, false)?, training: false, step: 0 };
        if self.multiply_adds.saturating_mul(run.images as u64) < WAKING {
            chunks::alone(|| self.score(&run));
        } else {
            let _alert = (run.images < chunks::threads()).then(chunks::Alert::raise);
            self.score(&run);
        }
        Ok(self.output(&run).to_vec())
    }

    fn score(&mut self, run: &Run) {
        let Self { plan: Plan { steps, lengths, schedule, .. }, parameters, buffers, rooms, .. } = self;
        for step in &mut *steps {
            step.operation.prepare(run, &parameters[step.parameters.clone()]);
        }
        Scoring { run, steps, lengths, parameters, rooms }.run(schedule, buffers);
    }

    /// The scores that the last forward pass gave.
    fn output(&self, run: &Run) -> &[f32] {
        let buffer = assignment(&self.plan, run).values[self.plan.output].expect("the output has a buffer");
        self.buffers[buffer].part(run.images * self.plan.lengths[self.plan.output])
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
        let run = Run { images: self.take_images(images, true)?, training: true, step: step.index };
        let classes = self.plan.lengths[self.plan.output];
        if targets.len() != run.images * classes {
            return Err(EngineError(format!("wanted {} targets of {classes}, got {}", run.images, targets.len())));
        }
        if let (1, Some(norm)) = (run.images, &self.plan.norm_of_one_value) {
            return Err(EngineError(format!("`{norm}`: a norm in training needs more than one value per channel")));
        }
        self.forward(&run);
        let buffer = self.plan.training.gradients[self.plan.output].expect("the output has a gradient");
        let mut of_scores = std::mem::take(&mut self.buffers[buffer]);
        let gradient = of_scores.part_mut(run.images * classes);
        let (loss, correct) = step.loss.measure(self.output(&run), targets, run.images, gradient);
        self.buffers[buffer] = of_scores;
        if loss.is_finite() {
            self.backward(&run);
            self.update(step);
        }
        Ok(StepOutcome { loss, correct })
    }

    /// Moves the parameters, or keeps the gradients until enough batches have come.
    fn update(&mut self, step: &TrainStep<'_>) {
        let Self { optimizer, plan, parameters, parameter_gradients, waiting, .. } = self;
        for slot in plan.slots.iter().filter(|slot| slot.learns_since.is_none()) {
            // Of a frozen convolution whose norm learns there is a gradient that nobody asked for.
            parameter_gradients[slot.range.clone()].fill(0.0);
        }
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
        plan.steps.iter_mut().for_each(|step| step.operation.parameters_changed());
    }

    /// Stores images pixels × channels; how many there are.
    fn take_images(&mut self, images: &[f32], training: bool) -> Result<usize, EngineError> {
        let values = self.plan.lengths[0];
        if images.is_empty() || !images.len().is_multiple_of(values) {
            let message =
                format!("wanted images of {} ({values} values each), got {} values", self.input, images.len());
            return Err(EngineError(message));
        }
        let run = Run { images: images.len() / values, training, step: 0 };
        self.make_room(&run);
        let buffer = assignment(&self.plan, &run).values[0].expect("an input has a buffer");
        let channels = self.input.channels();
        chunks::for_each(run.images, self.buffers[buffer].part_mut(images.len()), values, |first, part| {
            for (from, to) in images[first * values..].chunks(values).zip(part.chunks_mut(values)) {
                interleave(from, to, channels);
            }
        });
        Ok(run.images)
    }

    /// Buffers grow to the largest batch that is run, and stay.
    fn make_room(&mut self, run: &Run) {
        let needed = &assignment(&self.plan, run).buffers;
        self.buffers.resize_with(self.buffers.len().max(needed.len()), Buffer::default);
        for (buffer, length) in self.buffers.iter_mut().zip(needed) {
            buffer.grow(run.images * length);
        }
    }

    fn forward(&mut self, run: &Run) {
        let Self { plan, parameters, buffers, .. } = self;
        let Plan { steps, lengths, training, .. } = plan;
        let place = |value: usize| training.values[value].expect("a value that is read or written has a buffer");
        let length = |value: usize| run.images * lengths[value];
        for index in 0..steps.len() {
            let (step, norm) = at(steps, index);
            let output = if step.leaves_norm { step.saved.filter(|_| step.frozen) } else { Some(step.output) };
            let saved = step.saved.filter(|_| !step.frozen);
            let mut take = |value: Option<usize>| value.map(|value| std::mem::take(&mut buffers[place(value)]));
            let (mut into, mut room) = (take(output).unwrap_or_default(), take(saved).unwrap_or_default());
            let value = |number| buffers[place(step.stored_input(number))].part(length(step.inputs[number]));
            let values: Vec<&[f32]> = (0..step.inputs.len()).map(value).collect();
            let parameters = &parameters[step.parameters.clone()];
            let part = into.part_mut(output.map_or(0, length));
            if step.frozen {
                let run = &Run { training: false, ..*run };
                step.operation.prepare(run, parameters);
                step.operation.apply(run, parameters, &values, part);
            } else {
                let inputs = Inputs { values: &values, norm: norm.as_deref() };
                step.operation.forward(run, parameters, inputs, room.part_mut(saved.map_or(0, length)), part);
            }
            for (value, buffer) in [(output, into), (saved, room)] {
                if let Some(value) = value {
                    buffers[place(value)] = buffer;
                }
            }
        }
    }

    fn backward(&mut self, run: &Run) {
        let Self { plan, parameters, parameter_gradients, buffers, .. } = self;
        let Plan { steps, lengths, training: Assignment { values, gradients, .. }, .. } = plan;
        let length = |value: usize| run.images * lengths[value];
        let mut written = vec![false; lengths.len()];
        // What a frozen step gave is given no gradient.
        let mut gradients = gradients.clone();
        steps.iter().filter(|step| step.frozen).for_each(|step| gradients[step.output] = None);
        for index in (0..steps.len()).rev() {
            let (step, norm) = at(steps, index);
            // Nothing reads its output: its parameters' gradients stay 0.
            let Some(place) = gradients[step.output] else { continue };
            let mut of_output = std::mem::take(&mut buffers[place]);
            // An operation that reads a value twice gives it two gradients: the second has its own
            // room until it is added.
            let mut rooms: Vec<(Buffer, bool)> = Vec::with_capacity(step.inputs.len());
            for (index, input) in step.inputs.iter().enumerate() {
                rooms.push(match gradients[*input] {
                    Some(_) if step.inputs[..index].contains(input) => (Buffer::of(length(*input)), false),
                    Some(place) => (std::mem::take(&mut buffers[place]), std::mem::replace(&mut written[*input], true)),
                    None => (Buffer::default(), false),
                });
            }
            {
                let value = |value: usize| buffers[values[value].expect("reread")].part(length(value));
                let rereads = step.operation.rereads();
                let reread = |number| if rereads.input(number) { value(step.stored_input(number)) } else { &[] };
                let inputs: Vec<&[f32]> = (0..step.inputs.len()).map(reread).collect();
                let forward = Forward {
                    parameters: &parameters[step.parameters.clone()],
                    inputs: &inputs,
                    saved: step.saved.map_or(&[], value),
                    output: if rereads == Rereads::Output { value(step.output) } else { &[] },
                };
                let parts = rooms.iter_mut().zip(&step.inputs).map(|((room, add), input)| {
                    let needed = gradients[*input].map_or(0, |_| length(*input));
                    InputGradient { values: room.part_mut(needed), add: *add }
                });
                let into = Gradients {
                    parameters: &mut parameter_gradients[step.parameters.clone()],
                    inputs: &mut parts.collect::<Vec<_>>(),
                    output: of_output.part_mut(length(step.output)),
                    norm,
                };
                step.operation.backward(run, &forward, into);
            }
            buffers[place] = of_output;
            for (index, (input, (room, _))) in step.inputs.iter().zip(rooms).enumerate() {
                let Some(place) = gradients[*input] else { continue };
                if step.inputs[..index].contains(input) {
                    let sums = buffers[place].part_mut(length(*input));
                    sums.iter_mut().zip(room.part(length(*input))).for_each(|(sum, part)| *sum += part);
                } else {
                    buffers[place] = room;
                }
            }
        }
    }
}

/// The step at `index`, and the norm that it takes over from one before, if that learns.
fn at(steps: &mut [Step], index: usize) -> (&mut Step, Option<&mut Normaliser>) {
    let (before, rest) = steps.split_at_mut(index);
    let step = &mut rest[0];
    let left = step.norm_of.map(|norm| &mut before[norm.step]).filter(|before| !before.frozen);
    (step, left.and_then(|before| before.operation.norm()))
}

/// The `length` values of the tensor called `name`.
pub(crate) fn find<'w>(
    tensors: &impl Fn(&str) -> Option<&'w [f32]>,
    name: &str,
    length: usize,
) -> Result<&'w [f32], EngineError> {
    match tensors(name) {
        Some(values) if values.len() == length => Ok(values),
        Some(values) => Err(EngineError(format!("`{name}`: wanted {length} values, got {}", values.len()))),
        None => Err(EngineError(format!("`{name}` is missing"))),
    }
}

/// The one input of a network that has no operation of its own.
pub(crate) fn input_of(layers: &Layers) -> Result<Shape, EngineError> {
    let [input] = layers.inputs() else {
        return Err(EngineError(format!("wanted a network with one input, got {}", layers.inputs().len())));
    };
    if let Some(node) = layers.nodes().iter().find(|node| matches!(node.primitive, Primitive::Custom(_))) {
        let (label, name) = (&node.label, node.primitive.name());
        return Err(EngineError(format!("`{label}` is a custom operation, {name}, which only the reference runs")));
    }
    Ok(*input)
}

fn assignment<'a>(plan: &'a Plan, run: &Run) -> &'a Assignment {
    if run.training { &plan.training } else { plan.schedule.shared() }
}

/// Channels × pixels become pixels × channels.
fn interleave(from: &[f32], to: &mut [f32], channels: usize) {
    let pixels = from.len() / channels;
    // The compiler vectorises what it knows the width of.
    if let (3, Some((red, rest))) = (channels, from.split_at_checked(pixels)) {
        let (green, blue) = rest.split_at(pixels);
        for (((to, red), green), blue) in to.chunks_exact_mut(3).zip(red).zip(green).zip(blue) {
            to.copy_from_slice(&[*red, *green, *blue]);
        }
        return;
    }
    for (pixel, to) in to.chunks_mut(channels).enumerate() {
        for (channel, to) in to.iter_mut().enumerate() {
            *to = from[channel * pixels + pixel];
        }
    }
}
