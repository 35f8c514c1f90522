//! The tapes of a network: forward, loss, backward, and the optimizer's step.

use super::{
    geometry::THREADS,
    placement::Placed,
    program::{Program, Recall},
    stages::{Backward, COUNTERS, Scene, Target},
    tape::{Place, Tape, Writer, arguments},
};
use crate::{
    loss::{Loss, LossKind},
    operations::Size,
    optimizer::{FACTORS, Rule},
};

/// What does not learn belongs to this group of parameters.
pub(super) const FROZEN: u8 = 255;

/// What a recording is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mode {
    pub(super) images: usize,
    /// The set of held images that the batch is made from; `None` where its values are written.
    pub(super) held: Option<usize>,
    pub(super) kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Scores,
    Step {
        /// Whether gradients of earlier batches wait.
        add: bool,
        /// Whether the optimizer moves the parameters, or this batch waits too.
        update: bool,
        clips: bool,
    },
}

/// Fixed places beside those of the program.
#[derive(Clone, Copy)]
pub(super) struct Places {
    pub(super) moments: [Place; 2],
    /// Sums of the gradients of batches that the optimizer has not seen yet.
    pub(super) waiting: Place,
    /// A byte for each parameter: its group.
    pub(super) groups: Place,
    pub(super) counters: Place,
    /// Number of the step, in two words.
    pub(super) step: Place,
    /// What gradients are multiplied by, and how long all of them together may be.
    pub(super) scaling: Place,
    /// Of each group.
    pub(super) factors: Place,
    /// Mean loss and right answers, f64.
    pub(super) result: Place,
    /// The squared length of all gradients together, f64.
    pub(super) squares: Place,
    pub(super) class_weights: Place,
    pub(super) offsets: Place,
    /// What the bytes of held images become, 256 values for each channel.
    pub(super) tables: Place,
}

impl Places {
    pub(super) fn reserve(program: &mut Program, channels: usize) -> Self {
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
            tables: floats(channels * 256),
            groups: fixed.reserve(parameters, 1),
            result: fixed.reserve(2, size_of::<f64>()),
            squares: fixed.reserve(1, size_of::<f64>()),
        }
    }
}

/// All that tapes follow from.
#[derive(Clone, Copy)]
pub(super) struct Plan<'a> {
    pub(super) program: &'a Program,
    pub(super) places: Places,
    /// Of the images.
    pub(super) input: Size,
    pub(super) rule: Rule,
    pub(super) loss: &'a Loss,
}

/// A tape, and where the host writes images and targets and reads scores.
pub(super) struct Written {
    pub(super) tape: Tape,
    pub(super) images: Place,
    pub(super) targets: Place,
    pub(super) scores: Place,
}

impl Plan<'_> {
    pub(super) fn classes(&self) -> usize {
        self.program.lengths[self.program.output]
    }

    /// Writes a tape.
    pub(super) fn write(&self, mode: Mode) -> Written {
        let mut writer = Writer::default();
        let of_image = if mode.held.is_some() { size_of::<Placed>() / size_of::<f32>() } else { self.input.values() };
        let [images, targets] = [of_image, self.classes()].map(|length| writer.held(mode.images * length));
        let mut pass = Pass { plan: self, images: mode.images, writer, values: Vec::new(), saved: Vec::new() };
        let scores = pass.forward(images, mode);
        if let Kind::Step { add, update, clips } = mode.kind {
            let of_scores = pass.loss(scores, targets);
            pass.backward(of_scores);
            pass.update(add, update, clips);
        }
        Written { tape: pass.writer.finish(), images, targets, scores }
    }
}

/// A tape that is being written.
struct Pass<'a> {
    plan: &'a Plan<'a>,
    images: usize,
    writer: Writer,
    /// Where each value lies.
    values: Vec<Place>,
    /// What the forward step of each stage saved.
    saved: Vec<Vec<Place>>,
}

impl Pass<'_> {
    fn scene(&mut self, training: bool) -> Scene<'_> {
        let Places { step, counters, .. } = self.plan.places;
        Scene { writer: &mut self.writer, images: self.images, training, step, counters }
    }

    fn forward(&mut self, images: Place, Mode { kind, held, .. }: Mode) -> Place {
        let Program { steps, lengths, output, recall, places, .. } = self.plan.program;
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
        let (Size { height, width, channels }, count) = (self.plan.input, self.images * lengths[0]);
        match held {
            Some(_) => {
                let tables = self.plan.places.tables;
                let arguments =
                    arguments![Place::Given, tables, images, self.values[0], channels, height, width, self.images];
                self.writer.for_each("place_images", count, arguments);
            }
            None => {
                let arguments = arguments![images, self.values[0], height * width, channels, self.images];
                self.writer.for_each("interleave", count, arguments);
            }
        }
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
        let Plan { places, loss, .. } = *self.plan;
        let classes = self.plan.classes();
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
        let Program { steps, lengths, output, .. } = self.plan.program;
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
        let Plan { program, places, rule, .. } = *self.plan;
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
