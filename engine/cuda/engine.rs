//! A compiled network with its weights, on a device.

use super::{
    device::{Device, DeviceError},
    pass::{FROZEN, Kind, Mode, Places, Plan, Written},
    placement::Content,
    program::{Program, Statistics},
    tape::Place,
};
use crate::{
    engine::{EngineError, StepOutcome, Tensors, TrainStep, find, input_of},
    loss::{Loss, LossKind},
    operations::Size,
    optimizer::Rule,
    parameters::Slot,
    plan::norm_of_one_value,
};
use nasgen_modules::{Layers, Shape};
use std::{borrow::Cow, collections::BTreeMap};

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
    /// Sets of images, as bytes.
    held: BTreeMap<usize, Held<D>>,
    /// What decides how the optimizer treats parameters: whether they decay, and the update from which on they learn.
    /// Empty until the device knows them.
    groups: Vec<(bool, u64)>,
    /// The loss that the recordings have, once the device knows it.
    loss: Option<Loss>,
    input: Shape,
    norm_of_one_value: Option<String>,
}

/// Images as bytes.
struct Held<D: Device> {
    memory: D::Memory,
    count: usize,
}

/// Of what is free, so much may be taken by held images: a network needs room too.
const HELD_SHARE: u64 = 4;

/// A recording, and where in its memory the host writes and reads, in bytes.
struct Recorded<D: Device> {
    recording: D::Recording,
    images: usize,
    targets: usize,
    scores: usize,
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
        let places = Places::reserve(&mut program, input.channels());
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
            held: BTreeMap::new(),
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

    /// Bytes that are taken on the device.
    pub fn bytes(&self) -> u64 {
        (self.program.fixed.bytes + self.passing_bytes) as u64
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

    /// Takes a set of images onto the device under a number, so that batches can be made there ([`Content::Placed`]).
    /// Each image has the bytes of its channels, one after the other, of which `tables` says for each channel what
    /// they are worth; the tables of all sets are those of the last one.
    ///
    /// # Errors
    /// When images or tables do not have the network's shape, or would take more than a quarter of what is free.
    pub fn hold<'i>(
        &mut self,
        set: usize,
        images: impl ExactSizeIterator<Item = Cow<'i, [u8]>>,
        tables: &[[f32; 256]],
    ) -> Result<(), EngineError> {
        let (count, length) = (images.len(), self.program.lengths[0]);
        if tables.len() != self.input.channels() {
            return Err(EngineError(format!("wanted {} tables, got {}", self.input.channels(), tables.len())));
        }
        let bytes = (count * length).max(1);
        if self.device.free().is_some_and(|free| (bytes as u64).saturating_mul(HELD_SHARE) > free) {
            return Err(EngineError(format!("{count} images of {length} bytes would take too much of the device")));
        }
        let mut memory = self.device.allocate(bytes)?;
        for (number, image) in images.enumerate() {
            if image.len() != length {
                return Err(EngineError(format!("wanted images of {}, got {} bytes", self.input, image.len())));
            }
            self.device.write(&mut memory, number * length, &image)?;
        }
        self.write(self.places.tables, bytemuck::cast_slice(tables))?;
        // Recordings have addresses in them.
        self.recordings.retain(|mode, _| mode.held != Some(set));
        self.held.insert(set, Held { memory, count });
        Ok(())
    }

    /// Class scores of `images` (images × channels × height × width) in evaluation mode.
    ///
    /// # Errors
    /// When the images do not have the network's shape or are not held, or the device fails.
    pub fn scores<'i>(&mut self, images: impl Into<Content<'i>>) -> Result<Vec<f32>, EngineError> {
        let (bytes, mode) = self.take(images.into(), Kind::Scores)?;
        self.record(mode)?;
        let recorded = &self.recordings[&mode];
        self.device.write(&mut self.passing, recorded.images, bytes)?;
        self.device.play(&recorded.recording)?;
        let mut scores = vec![0.0; mode.images * self.classes()];
        self.device.read(&self.passing, recorded.scores, bytemuck::cast_slice_mut(&mut scores))?;
        Ok(scores)
    }

    /// One training step, as `Engine::train_step`.
    ///
    /// # Errors
    /// When images or targets do not fit the network, or the device fails.
    pub fn train_step<'i>(
        &mut self,
        images: impl Into<Content<'i>>,
        targets: &[f32],
        step: &TrainStep<'_>,
    ) -> Result<StepOutcome, EngineError> {
        let kind = Kind::Step { add: step.waiting > 0, update: step.update, clips: step.clip.is_some() };
        let (bytes, mode) = self.take(images.into(), kind)?;
        let (count, classes) = (mode.images, self.classes());
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
        self.record(mode)?;
        self.write_step(step)?;
        let recorded = &self.recordings[&mode];
        self.device.write(&mut self.passing, recorded.images, bytes)?;
        self.device.write(&mut self.passing, recorded.targets, bytemuck::cast_slice(targets))?;
        self.device.play(&recorded.recording)?;
        let mut result = [0.0f64; 2];
        self.read(self.places.result, bytemuck::cast_slice_mut(&mut result))?;
        let [loss, correct] = result;
        self.optimizer_steps += u64::from(step.update && loss.is_finite());
        Ok(StepOutcome { loss, correct: correct as usize })
    }

    /// What is written to the device for a batch, and what its recording is for.
    fn take<'i>(&self, images: Content<'i>, kind: Kind) -> Result<(&'i [u8], Mode), EngineError> {
        match images {
            Content::Values(values) => {
                let mode = Mode { images: self.count(values)?, held: None, kind };
                Ok((bytemuck::cast_slice(values), mode))
            }
            Content::Placed(set, placed) => {
                let held = self.held.get(&set).map_or(0, |held| held.count);
                let is_held = |image: i32| usize::try_from(image).is_ok_and(|image| image < held);
                let all_held = placed.iter().all(|placed| is_held(placed.own.image) && is_held(placed.partner.image));
                if placed.is_empty() || !all_held {
                    return Err(EngineError(format!("a batch names images that set {set} of {held} does not hold")));
                }
                let mode = Mode { images: self.countable(placed.len())?, held: Some(set), kind };
                Ok((bytemuck::cast_slice(placed), mode))
            }
        }
    }

    /// Images of the network's shape.
    fn count(&self, images: &[f32]) -> Result<usize, EngineError> {
        let values = self.program.lengths[0];
        if images.is_empty() || !images.len().is_multiple_of(values) {
            let message =
                format!("wanted images of {} ({values} values each), got {} values", self.input, images.len());
            return Err(EngineError(message));
        }
        self.countable(images.len() / values)
    }

    /// So many images, unless they are too many.
    fn countable(&self, count: usize) -> Result<usize, EngineError> {
        let longest = self.program.lengths.iter().max().copied().unwrap_or(0);
        // Kernels count in `int`.
        if count.saturating_mul(longest) > i32::MAX as usize {
            let most = i32::MAX as usize / longest;
            return Err(EngineError(format!(
                "wanted at most {most} images at a time, got {count}: use smaller batches"
            )));
        }
        Ok(count)
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
        let plan = plan(&self.program, self.places, self.input, self.rule, self.loss.as_ref().unwrap_or(&NO_LOSS));
        let Written { tape, images, targets, scores } = plan.write(mode);
        if tape.bytes > self.passing_bytes {
            // Recordings have addresses in them.
            self.recordings.clear();
            // Both at once may have no room.
            self.passing = self.device.allocate(1)?;
            self.passing = self.device.allocate(tape.bytes)?;
            self.passing_bytes = tape.bytes;
        }
        let [images, targets, scores] = [images, targets, scores].map(|place| tape.offset(place));
        let given = mode.held.map(|set| &self.held[&set].memory);
        let recording = self.device.record(&tape, &self.fixed, &self.passing, given)?;
        self.recordings.insert(mode, Recorded { recording, images, targets, scores });
        Ok(())
    }
}

/// What scores are computed with, which ask for none.
static NO_LOSS: Loss = Loss { kind: LossKind::CrossEntropy, class_weights: Vec::new(), offsets: Vec::new() };

fn plan<'a>(program: &'a Program, places: Places, input: Shape, rule: Rule, loss: &'a Loss) -> Plan<'a> {
    Plan { program, places, input: Size::of(input), rule, loss }
}

/// Bytes that a network takes on a device which trains on `images` images at a time and scores as many. `None` for
/// networks that it cannot run.
pub fn training_bytes(layers: &Layers, images: usize) -> Option<u64> {
    let input = input_of(layers).ok()?;
    let mut program = Program::of(layers, 0);
    let places = Places::reserve(&mut program, input.channels());
    let rule = Rule::Sgd { momentum: 0.0, nesterov: false, decay: 0.0 };
    let plan = plan(&program, places, input, rule, &NO_LOSS);
    let step = Kind::Step { add: true, update: true, clips: true };
    let passing = [Kind::Scores, step].map(|kind| plan.write(Mode { images, held: None, kind }).tape.bytes);
    Some((program.fixed.bytes + passing[0].max(passing[1])) as u64)
}

/// What running statistics are called.
const STATISTICS: [&str; 2] = ["running_mean", "running_var"];
