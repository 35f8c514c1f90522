//! A compiled network with its weights, on a device.

use super::{
    device::{Device, DeviceError},
    geometry::THREADS,
    program::{Program, Recall, Statistics},
    stages::{Backward, COUNTERS, Scene, Target},
    tape::{Place, Tape, Writer, arguments},
};
use crate::{
    engine::{EngineError, StepOutcome, Tensors, TrainStep, find, input_of},
    loss::{Loss, LossKind},
    optimizer::{FACTORS, Rule},
    parameters::Slot,
    plan::norm_of_one_value,
};
use nasgen_modules::{Layers, Shape};
use std::collections::BTreeMap;

/// What does not learn belongs to this group of parameters.
const FROZEN: u8 = 255;

/// Recordings that are kept: a training and its validation each have a size of batch and a last, smaller one.
const RECORDINGS: usize = 8;

/// A network that runs on a device.
pub struct CudaEngine<D: Device> {
    device: D,
    program: Program,
    rule: Rule,
    optimizer_steps: u64,
    /// What keeps its values from step to step.
    fixed: D::Memory,
    places: Places,
    /// What the tapes work in, and its size in bytes.
    passing: D::Memory,
    passing_bytes: usize,
    recordings: BTreeMap<Mode, Recorded<D>>,
    /// What decides how the optimizer treats parameters: whether they decay, and the update from which on they learn.
    /// Empty until the device knows them.
    groups: Vec<(bool, u64)>,
    /// The loss that the recordings have.
    loss: Option<Loss>,
    input: Shape,
    norm_of_one_value: Option<String>,
}

/// What a recording is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Mode {
    images: usize,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Scores,
    Step {
        /// Whether gradients of earlier batches wait.
        add: bool,
        /// Whether the optimizer moves the parameters, or this batch waits too.
        update: bool,
        clips: bool,
    },
}

/// A recording, and where in its memory the host writes and reads, in bytes.
struct Recorded<D: Device> {
    recording: D::Recording,
    images: usize,
    targets: usize,
    scores: usize,
}

/// Fixed places beside those of the program.
#[derive(Clone, Copy)]
struct Places {
    moments: [Place; 2],
    /// Sums of the gradients of batches that the optimizer has not seen yet.
    waiting: Place,
    /// A byte for each parameter: its group.
    groups: Place,
    counters: Place,
    /// Number of the step, in two words.
    step: Place,
    /// What gradients are multiplied by, and how long all of them together may be.
    scaling: Place,
    /// Of each group.
    factors: Place,
    /// Mean loss and right answers, f64.
    result: Place,
    /// The squared length of all gradients together, f64.
    squares: Place,
    class_weights: Place,
    offsets: Place,
}

impl Places {
    fn in_(program: &mut Program) -> Self {
        let (parameters, classes) = (program.parameters, program.lengths[program.output]);
        let fixed = &mut program.fixed;
        let mut floats = |count| fixed.reserve(count, size_of::<f32>());
        Self {
            moments: [floats(parameters), floats(parameters)],
            waiting: floats(parameters),
            counters: floats(COUNTERS),
            step: floats(2),
            scaling: floats(2),
            factors: floats(usize::from(FROZEN) * FACTORS),
            class_weights: floats(classes),
            offsets: floats(classes),
            groups: fixed.reserve(parameters, 1),
            result: fixed.reserve(2, size_of::<f64>()),
            squares: fixed.reserve(1, size_of::<f64>()),
        }
    }
}

impl From<DeviceError> for EngineError {
    fn from(error: DeviceError) -> Self {
        Self(error.0)
    }
}

impl<D: Device> CudaEngine<D> {
    /// Compiles `layers`, which must have one input. `weights` gives the values of a tensor by name,
    /// in PyTorch's order; `seed` decides what is dropped in training.
    ///
    /// # Errors
    /// When a tensor is missing or has another size, or the device has no room.
    pub fn new<'w>(
        mut device: D,
        layers: &Layers,
        weights: impl Fn(&str) -> Option<&'w [f32]>,
        rule: Rule,
        seed: u64,
    ) -> Result<Self, EngineError> {
        let input = input_of(layers)?;
        let mut program = Program::of(layers, seed);
        let places = Places::in_(&mut program);
        let mut fixed = device.allocate(program.fixed.bytes)?;
        for (offset, bytes) in std::mem::take(&mut program.fixed.constants) {
            device.write(&mut fixed, offset, &bytes)?;
        }
        let passing = device.allocate(1)?;
        let mut engine = Self {
            device,
            program,
            rule,
            optimizer_steps: 0,
            fixed,
            places,
            passing,
            passing_bytes: 0,
            recordings: BTreeMap::new(),
            groups: Vec::new(),
            loss: None,
            input,
            norm_of_one_value: norm_of_one_value(layers),
        };
        engine.load(weights)?;
        Ok(engine)
    }

    fn load<'w>(&mut self, weights: impl Fn(&str) -> Option<&'w [f32]>) -> Result<(), EngineError> {
        self.write_parameters(self.program.places[0], "", &weights)?;
        let norms: Vec<(String, Place, usize)> =
            self.program.statistics.iter().map(|norm| (norm.label.clone(), norm.place, norm.channels)).collect();
        for (label, place, channels) in norms {
            for (index, name) in STATISTICS.iter().enumerate() {
                let values = find(&weights, &format!("{label}.{name}"), channels)?;
                self.write(place.plus(index * channels), bytemuck::cast_slice(values))?;
            }
        }
        Ok(())
    }

    /// Writes values that are found by `prefix` and the name of their parameter.
    fn write_parameters<'w>(
        &mut self,
        place: Place,
        prefix: &str,
        tensors: &impl Fn(&str) -> Option<&'w [f32]>,
    ) -> Result<(), EngineError> {
        let mut values = vec![0.0; self.program.parameters];
        for slot in &self.program.slots {
            slot.write(find(tensors, &format!("{prefix}{}", slot.name), slot.range.len())?, &mut values);
        }
        self.write(place, bytemuck::cast_slice(&values))
    }

    fn write(&mut self, place: Place, bytes: &[u8]) -> Result<(), EngineError> {
        let Place::Fixed(offset) = place else { unreachable!("only fixed places are written by name") };
        Ok(self.device.write(&mut self.fixed, offset, bytes)?)
    }

    fn read(&mut self, place: Place, bytes: &mut [u8]) -> Result<(), EngineError> {
        let Place::Fixed(offset) = place else { unreachable!("only fixed places are read by name") };
        Ok(self.device.read(&self.fixed, offset, bytes)?)
    }

    fn floats(&mut self, place: Place, count: usize) -> Result<Vec<f32>, EngineError> {
        let mut values = vec![0.0; count];
        self.read(place, bytemuck::cast_slice_mut(&mut values))?;
        Ok(values)
    }

    /// Parameters and running statistics: name, shape, values in PyTorch's order.
    ///
    /// # Errors
    /// When the device fails.
    pub fn tensors(&mut self) -> Result<Tensors, EngineError> {
        let parameters = self.floats(self.program.places[0], self.program.parameters)?;
        let named = |slot: &Slot| (slot.name.clone(), slot.shape.clone(), slot.read(&parameters));
        let mut tensors: Vec<_> = self.program.slots.iter().map(named).collect();
        for norm in 0..self.program.statistics.len() {
            let Statistics { ref label, place, channels } = self.program.statistics[norm];
            let label = label.clone();
            for (index, name) in STATISTICS.iter().enumerate() {
                let values = self.floats(place.plus(index * channels), channels)?;
                tensors.push((format!("{label}.{name}"), vec![channels], values));
            }
        }
        Ok(tensors)
    }

    /// Gradients of the parameters in the last training step: name, values in PyTorch's order.
    ///
    /// # Errors
    /// When the device fails.
    pub fn gradients(&mut self) -> Result<Vec<(String, Vec<f32>)>, EngineError> {
        let gradients = self.floats(self.program.places[1], self.program.parameters)?;
        Ok(self.program.slots.iter().map(|slot| (slot.name.clone(), slot.read(&gradients))).collect())
    }

    /// What the optimizer remembers: `{moment}.{parameter}` with PyTorch's names of the moments, shape,
    /// values in PyTorch's order.
    ///
    /// # Errors
    /// When the device fails.
    pub fn moments(&mut self) -> Result<Tensors, EngineError> {
        let mut moments = Vec::new();
        for (moment, place) in self.rule.moments().iter().zip(self.places.moments) {
            let values = self.floats(place, self.program.parameters)?;
            let tensor = |slot: &Slot| (format!("{moment}.{}", slot.name), slot.shape.clone(), slot.read(&values));
            moments.extend(self.program.slots.iter().map(tensor));
        }
        Ok(moments)
    }

    /// Steps that the optimizer has taken.
    pub fn optimizer_steps(&self) -> u64 {
        self.optimizer_steps
    }

    /// Puts everything back to where [`CudaEngine::tensors`], [`CudaEngine::moments`] and
    /// [`CudaEngine::optimizer_steps`] once were, so that training goes on as if it had never stopped.
    ///
    /// # Errors
    /// When a tensor is missing or has another size, or the device fails.
    pub fn restore<'w>(
        &mut self,
        weights: impl Fn(&str) -> Option<&'w [f32]>,
        moments: impl Fn(&str) -> Option<&'w [f32]>,
        optimizer_steps: u64,
    ) -> Result<(), EngineError> {
        self.load(weights)?;
        for (moment, place) in self.rule.moments().iter().zip(self.places.moments) {
            self.write_parameters(place, &format!("{moment}."), &moments)?;
        }
        self.optimizer_steps = optimizer_steps;
        Ok(())
    }

    /// Says which layers do not learn from now on, as `Engine::freeze` does.
    pub fn freeze(&mut self, learns_since: impl Fn(&str) -> Option<u64>) {
        self.program.slots.iter_mut().for_each(|slot| slot.learns_since = learns_since(&slot.name));
        for step in &mut self.program.steps {
            let frozen = learns_since(&step.label).is_none();
            if std::mem::replace(&mut step.frozen, frozen) != frozen {
                self.recordings.clear();
            }
        }
        self.groups.clear();
    }

    /// Tells the optimizer which group each parameter belongs to.
    fn group(&mut self) -> Result<(), EngineError> {
        let mut bytes = vec![FROZEN; self.program.parameters];
        for slot in &self.program.slots {
            let Some(since) = slot.learns_since else { continue };
            let group = (slot.decays, since);
            let number = self.groups.iter().position(|other| *other == group).unwrap_or_else(|| {
                self.groups.push(group);
                self.groups.len() - 1
            });
            let number = u8::try_from(number).ok().filter(|number| *number < FROZEN);
            let number = number.ok_or_else(|| EngineError("layers begin to learn at more than 127 moments".into()))?;
            bytes[slot.range.clone()].fill(number);
        }
        self.write(self.places.groups, &bytes)
    }

    /// Class scores of `images` (images × channels × height × width) in evaluation mode.
    ///
    /// # Errors
    /// When the images do not have the network's shape, or the device fails.
    pub fn scores(&mut self, images: &[f32]) -> Result<Vec<f32>, EngineError> {
        let mode = Mode { images: self.count(images)?, kind: Kind::Scores };
        self.record(mode)?;
        let recorded = &self.recordings[&mode];
        self.device.write(&mut self.passing, recorded.images, bytemuck::cast_slice(images))?;
        self.device.play(&recorded.recording)?;
        let mut scores = vec![0.0; mode.images * self.classes()];
        self.device.read(&self.passing, recorded.scores, bytemuck::cast_slice_mut(&mut scores))?;
        Ok(scores)
    }

    /// One training step, as `Engine::train_step`.
    ///
    /// # Errors
    /// When images or targets do not fit the network, or the device fails.
    pub fn train_step(
        &mut self,
        images: &[f32],
        targets: &[f32],
        step: &TrainStep<'_>,
    ) -> Result<StepOutcome, EngineError> {
        let (count, classes) = (self.count(images)?, self.classes());
        if targets.len() != count * classes {
            return Err(EngineError(format!("wanted {} targets of {classes}, got {}", count, targets.len())));
        }
        if let (1, Some(norm)) = (count, &self.norm_of_one_value) {
            return Err(EngineError(format!("`{norm}`: a norm in training needs more than one value per channel")));
        }
        self.take_loss(step.loss)?;
        if self.groups.is_empty() {
            self.group()?;
        }
        let kind = Kind::Step { add: step.waiting > 0, update: step.update, clips: step.clip.is_some() };
        let mode = Mode { images: count, kind };
        self.record(mode)?;
        self.write_step(step)?;
        let recorded = &self.recordings[&mode];
        self.device.write(&mut self.passing, recorded.images, bytemuck::cast_slice(images))?;
        self.device.write(&mut self.passing, recorded.targets, bytemuck::cast_slice(targets))?;
        self.device.play(&recorded.recording)?;
        let mut result = [0.0f64; 2];
        self.read(self.places.result, bytemuck::cast_slice_mut(&mut result))?;
        let [loss, correct] = result;
        self.optimizer_steps += u64::from(step.update && loss.is_finite());
        Ok(StepOutcome { loss, correct: correct as usize })
    }

    /// Images of the network's shape.
    fn count(&self, images: &[f32]) -> Result<usize, EngineError> {
        let values = self.program.lengths[0];
        if images.is_empty() || !images.len().is_multiple_of(values) {
            let message =
                format!("wanted images of {} ({values} values each), got {} values", self.input, images.len());
            return Err(EngineError(message));
        }
        Ok(images.len() / values)
    }

    fn classes(&self) -> usize {
        self.program.lengths[self.program.output]
    }

    /// Recordings have the loss in them.
    fn take_loss(&mut self, loss: &Loss) -> Result<(), EngineError> {
        if self.loss.as_ref() == Some(loss) {
            return Ok(());
        }
        self.recordings.clear();
        self.write(self.places.class_weights, bytemuck::cast_slice(&loss.class_weights))?;
        self.write(self.places.offsets, bytemuck::cast_slice(&loss.offsets))?;
        self.loss = Some(loss.clone());
        Ok(())
    }

    /// What changes from step to step.
    fn write_step(&mut self, step: &TrainStep<'_>) -> Result<(), EngineError> {
        let steps = i32::try_from(self.optimizer_steps + 1).unwrap_or(i32::MAX);
        let factors: Vec<f32> = self
            .groups
            .iter()
            .flat_map(|(decays, since)| {
                // Steps count from the first one of these parameters.
                let steps = steps - i32::try_from(*since).unwrap_or(steps);
                self.rule.factors(steps, *decays, step.learning_rate)
            })
            .collect();
        let scaling = [1.0 / (step.waiting + 1) as f32, step.clip.map_or(-1.0, |most| most as f32)];
        let Places { step: number, scaling: of_gradients, factors: of_groups, .. } = self.places;
        self.write(number, bytemuck::bytes_of(&step.index))?;
        self.write(of_gradients, bytemuck::cast_slice(&scaling))?;
        self.write(of_groups, bytemuck::cast_slice(&factors))
    }

    /// Makes a recording unless there is one.
    fn record(&mut self, mode: Mode) -> Result<(), EngineError> {
        if self.recordings.contains_key(&mode) {
            return Ok(());
        }
        if self.recordings.len() >= RECORDINGS {
            self.recordings.clear();
        }
        let (tape, [images, targets, scores]) = self.tape(mode);
        if tape.bytes > self.passing_bytes {
            // Recordings have addresses in them.
            self.recordings.clear();
            // Both at once may have no room.
            self.passing = self.device.allocate(1)?;
            self.passing = self.device.allocate(tape.bytes)?;
            self.passing_bytes = tape.bytes;
        }
        let [images, targets, scores] = [images, targets, scores].map(|place| tape.offset(place));
        let recording = self.device.record(&tape, &self.fixed, &self.passing)?;
        self.recordings.insert(mode, Recorded { recording, images, targets, scores });
        Ok(())
    }

    /// Writes a tape; where images and targets go, and where scores are.
    fn tape(&self, mode: Mode) -> (Tape, [Place; 3]) {
        let mut writer = Writer::default();
        let [images, targets] =
            [self.program.lengths[0], self.classes()].map(|length| writer.held(mode.images * length));
        let mut pass = Pass { engine: self, images: mode.images, writer, values: Vec::new(), saved: Vec::new() };
        let scores = pass.forward(images, mode.kind);
        if let Kind::Step { add, update, clips } = mode.kind {
            let of_scores = pass.loss(scores, targets);
            pass.backward(of_scores);
            pass.update(add, update, clips);
        }
        (pass.writer.finish(), [images, targets, scores])
    }
}

/// What running statistics are called.
const STATISTICS: [&str; 2] = ["running_mean", "running_var"];

/// A tape that is being written.
struct Pass<'a, D: Device> {
    engine: &'a CudaEngine<D>,
    images: usize,
    writer: Writer,
    /// Where each value lies.
    values: Vec<Place>,
    /// What the forward step of each stage saved.
    saved: Vec<Vec<Place>>,
}

impl<D: Device> Pass<'_, D> {
    fn scene(&mut self, training: bool) -> Scene<'_> {
        let Places { step, counters, .. } = self.engine.places;
        Scene { writer: &mut self.writer, images: self.images, training, step, counters }
    }

    fn forward(&mut self, images: Place, kind: Kind) -> Place {
        let Program { steps, lengths, output, recall, places, .. } = &self.engine.program;
        let training = kind != Kind::Scores;
        if let Some(recall) = recall.filter(|_| !training || steps.iter().any(|step| step.frozen)) {
            let Recall { norms, statistics, lines, table, epsilons } = recall;
            let arguments = arguments![places[0], statistics, table, epsilons, lines];
            self.writer.launch("norm_recall", [norms, 1, 1], THREADS, arguments);
        }
        for (value, length) in lengths.iter().enumerate() {
            let count = self.images * length;
            let place = if value == *output { self.writer.held(count) } else { self.writer.buffer(count) };
            self.values.push(place);
        }
        let channels = self.engine.input.channels();
        let arguments = arguments![images, self.values[0], lengths[0] / channels, channels, self.images];
        self.writer.for_each("interleave", self.images * lengths[0], arguments);
        for step in steps {
            let inputs: Vec<Place> = step.inputs.iter().map(|input| self.values[*input]).collect();
            let output = self.values[step.output];
            let saved = step.stage.forward(&mut self.scene(training && !step.frozen), &inputs, output);
            self.saved.push(saved);
        }
        self.values[*output]
    }

    /// The gradient of the scores.
    fn loss(&mut self, scores: Place, targets: Place) -> Place {
        let CudaEngine { places, loss, .. } = self.engine;
        let loss = loss.as_ref().expect("a step has a loss");
        let classes = self.engine.classes();
        let gradient = self.writer.buffer(self.images * classes);
        let (kind, gamma) = match loss.kind {
            LossKind::CrossEntropy => (0, 0.0),
            LossKind::Focal { gamma } => (0, gamma as f32),
            LossKind::Binary => (1, 0.0),
        };
        let class_weights = (!loss.class_weights.is_empty()).then_some(places.class_weights);
        let offsets = (!loss.offsets.is_empty()).then_some(places.offsets);
        let arguments = arguments![
            scores,
            targets,
            class_weights,
            offsets,
            gradient,
            places.result,
            kind,
            gamma,
            classes,
            self.images
        ];
        self.writer.launch("loss", [1; 3], THREADS, arguments);
        gradient
    }

    fn backward(&mut self, of_scores: Place) {
        let Program { steps, lengths, output, .. } = &self.engine.program;
        let mut gradients: Vec<Option<Place>> = vec![None; lengths.len()];
        gradients[*output] = Some(of_scores);
        // What a frozen stage gave is given no gradient, and neither are the images.
        let mut needed = vec![true; lengths.len()];
        needed[0] = false;
        steps.iter().filter(|step| step.frozen).for_each(|step| needed[step.output] = false);
        for (index, step) in steps.iter().enumerate().rev().filter(|(_, step)| !step.frozen) {
            // Nothing reads its output: its parameters' gradients stay 0.
            let Some(of_output) = gradients[step.output] else { continue };
            let mut of_inputs = Vec::new();
            for input in &step.inputs {
                let add = gradients[*input].is_some();
                of_inputs.push(needed[*input].then(|| {
                    let place =
                        *gradients[*input].get_or_insert_with(|| self.writer.buffer(self.images * lengths[*input]));
                    Target { place, add }
                }));
            }
            let inputs: Vec<Place> = step.inputs.iter().map(|input| self.values[*input]).collect();
            let (output, saved) = (self.values[step.output], std::mem::take(&mut self.saved[index]));
            let backward = Backward { inputs: &inputs, output, saved: &saved, of_output, of_inputs: &of_inputs };
            step.stage.backward(&mut self.scene(true), &backward);
        }
    }

    /// Moves the parameters, or keeps the gradients until enough batches have come.
    fn update(&mut self, add: bool, update: bool, clips: bool) {
        let CudaEngine { program, places, rule, .. } = self.engine;
        let (count, [parameters, gradients]) = (program.parameters, program.places);
        if add || !update || clips {
            let arguments = arguments![gradients, places.waiting, places.groups, add, !update, count];
            self.writer.for_each("gather_gradients", count, arguments);
        }
        if !update {
            return;
        }
        if clips {
            const BLOCKS: usize = 64;
            let partials = self.writer.buffer(2 * BLOCKS);
            let arguments = arguments![gradients, partials, places.squares, places.counters, count];
            self.writer.launch("squared_length", [BLOCKS, 1, 1], THREADS, arguments);
        }
        let [first, second] = places.moments;
        let arguments = arguments![
            parameters,
            gradients,
            first,
            second,
            places.groups,
            places.factors,
            places.result,
            places.squares,
            places.scaling,
            rule.number(),
            count
        ];
        self.writer.for_each("optimize", count, arguments);
    }
}
