//! In which order class scores are computed: a few images go through many operations while they stay in a cache.

use crate::{
    buffer::Buffer,
    chunks,
    lifetimes::{Assignment, assign_inside, assign_shared},
    operation::Run,
    plan::Step,
};
use std::{ops::Range, sync::Mutex};

/// Values that an operation reads and writes at a time: with its weights they stay in the second cache.
const VALUES: usize = 96 * 1024;

/// Pixels for which reading weights from memory takes less time than their multiply-adds.
const PIXELS: usize = 64;

/// Operations that need so much less room than those before them that more images fit are computed by themselves.
const SHRINKAGE: usize = 4;

/// Where and when the values of class scores are computed.
pub(crate) struct Schedule {
    stretches: Vec<Stretch>,
    /// Of the values that more than one stretch needs, for all images of a batch.
    shared: Assignment,
}

/// Operations that some images go through before others do.
struct Stretch {
    steps: Range<usize>,
    /// How many; `None` where weights are so large that all images should meet them at once.
    images: Option<usize>,
    /// Of the values that nothing else needs, for so many images.
    inside: Assignment,
}

/// Where the values of a stretch lie while it is computed; whoever computes one takes a set, and gives it back.
pub(crate) type Rooms = Mutex<Vec<Vec<Buffer>>>;

impl Schedule {
    pub(crate) fn of(steps: &[Step], lengths: &[usize], inputs: usize, output: usize) -> Self {
        let cuts = cut(steps, lengths);
        let ranges: Vec<Range<usize>> = cuts.iter().map(|(range, _)| range.clone()).collect();
        let shared = assign_shared(steps, lengths, inputs, output, &ranges);
        let stretch = |(steps_of, images): (Range<usize>, Option<usize>)| {
            let inside = assign_inside(&steps[steps_of.clone()], lengths, &shared);
            Stretch { steps: steps_of, images, inside }
        };
        Self { stretches: cuts.into_iter().map(stretch).collect(), shared }
    }

    /// Of the inputs, the output, and what lies between two stretches.
    pub(crate) fn shared(&self) -> &Assignment {
        &self.shared
    }

    /// Values that a thread has room for beside the shared ones, once it has scored `images` images.
    pub(crate) fn room(&self, images: usize) -> u64 {
        let rooms = self.stretches.iter().map(|stretch| stretch.inside.buffers.len()).max().unwrap_or(0);
        let of_stretch = |stretch: &Stretch, room: usize| {
            let values = stretch.inside.buffers.get(room).copied().unwrap_or(0) as u64;
            values.saturating_mul(stretch.images.unwrap_or(images).min(images) as u64)
        };
        (0..rooms).map(|room| self.stretches.iter().map(|stretch| of_stretch(stretch, room)).max().unwrap_or(0)).sum()
    }
}

/// Values of an image that a step reads and writes.
fn footprint(step: &Step, lengths: &[usize]) -> usize {
    step.inputs.iter().map(|input| lengths[*input]).sum::<usize>() + lengths[step.output]
}

/// The stretches, each with the number of images.
fn cut(steps: &[Step], lengths: &[usize]) -> Vec<(Range<usize>, Option<usize>)> {
    let footprints: Vec<usize> = steps.iter().map(|step| footprint(step, lengths)).collect();
    let images = |footprint: usize| (VALUES / footprint).max(1);
    let is_heavy = |index: usize| {
        let pixels = steps[index].operation.pixels();
        pixels.is_some_and(|pixels| images(footprints[index]) * pixels < PIXELS)
    };
    let mut cuts: Vec<(Range<usize>, Option<usize>)> = Vec::new();
    let mut first = 0;
    while first < steps.len() {
        let heavy = is_heavy(first);
        let alike = (first..steps.len()).find(|index| is_heavy(*index) != heavy).unwrap_or(steps.len());
        // The largest from each step on.
        let mut largest = footprints[first..alike].to_vec();
        (1..largest.len()).rev().for_each(|index| largest[index - 1] = largest[index - 1].max(largest[index]));
        let end = match heavy {
            true => alike,
            false => first + largest.iter().position(|next| next * SHRINKAGE <= largest[0]).unwrap_or(largest.len()),
        };
        cuts.push((first..end, (!heavy).then(|| images(largest[0]))));
        first = end;
    }
    cuts
}

/// The part of a batch that goes through a stretch at a time.
struct Part<'a> {
    /// Its first image.
    first: usize,
    images: usize,
    /// The values that other stretches need too.
    written: Vec<(usize, &'a mut [f32])>,
}

/// What class scores are computed from.
pub(crate) struct Scoring<'a> {
    pub(crate) run: &'a Run,
    pub(crate) steps: &'a [Step],
    pub(crate) lengths: &'a [usize],
    pub(crate) parameters: &'a [f32],
    pub(crate) rooms: &'a Rooms,
}

impl Scoring<'_> {
    /// Computes the values that all stretches share, from the inputs that lie in `buffers`.
    pub(crate) fn run(&self, schedule: &Schedule, buffers: &mut [Buffer]) {
        for stretch in &schedule.stretches {
            self.stretch(stretch, &schedule.shared, buffers);
        }
    }

    fn stretch(&self, stretch: &Stretch, shared: &Assignment, buffers: &mut [Buffer]) {
        let (images, threads) = (self.run.images, chunks::threads());
        let at_a_time = match stretch.images {
            Some(at_a_time) if images >= threads => at_a_time.min(images.div_ceil(threads)),
            _ => images,
        };
        let shared_place = |value: usize| shared.values[value];
        let outputs = self.steps[stretch.steps.clone()].iter().map(|step| step.output);
        let mut written: Vec<(usize, Buffer)> =
            outputs.filter_map(|value| Some((value, std::mem::take(&mut buffers[shared_place(value)?])))).collect();
        let part = |index: usize| {
            let first = index * at_a_time;
            Part { first, images: at_a_time.min(images - first), written: Vec::new() }
        };
        let mut parts: Vec<Part<'_>> = (0..images.div_ceil(at_a_time)).map(part).collect();
        for (value, buffer) in &mut written {
            let length = self.lengths[*value];
            let pieces = buffer.part_mut(images * length).chunks_mut(at_a_time * length);
            parts.iter_mut().zip(pieces).for_each(|(part, piece)| part.written.push((*value, piece)));
        }
        let read = |value: usize| shared_place(value).map(|place| &buffers[place]);
        if parts.len() == 1 {
            parts.into_iter().for_each(|part| self.part(stretch, part, &read));
        } else {
            chunks::run(parts, usize::MAX, |part| chunks::alone(|| self.part(stretch, part, &read)));
        }
        for (value, buffer) in written {
            buffers[shared_place(value).expect("it was taken from there")] = buffer;
        }
    }

    /// `read` knows the shared values that come from stretches before.
    fn part<'b>(&self, stretch: &Stretch, mut part: Part<'_>, read: &impl Fn(usize) -> Option<&'b Buffer>) {
        let mut rooms = self.rooms.lock().expect("nobody panics with the lock").pop().unwrap_or_default();
        let needed = &stretch.inside.buffers;
        rooms.resize_with(rooms.len().max(needed.len()), Buffer::default);
        rooms.iter_mut().zip(needed).for_each(|(room, length)| room.grow(part.images * length));
        let run = &Run { images: part.images, ..*self.run };
        let length = |value: usize| part.images * self.lengths[value];
        for step in &self.steps[stretch.steps.clone()] {
            let room = stretch.inside.values[step.output];
            let mut own = room.map(|room| std::mem::take(&mut rooms[room])).unwrap_or_default();
            let index = part.written.iter().position(|(value, _)| *value == step.output);
            let mut piece = index.map(|index| std::mem::take(&mut part.written[index].1));
            let output = match &mut piece {
                Some(piece) => &mut **piece,
                None => own.part_mut(length(step.output)),
            };
            let input = |value: &usize| {
                if let Some(room) = stretch.inside.values[*value] {
                    return rooms[room].part(length(*value));
                }
                if let Some((_, values)) = part.written.iter().find(|(written, _)| written == value) {
                    return values;
                }
                let buffer = read(*value).expect("a value that is read has a place");
                let all = buffer.part(self.run.images * self.lengths[*value]);
                &all[part.first * self.lengths[*value]..][..length(*value)]
            };
            let inputs: Vec<&[f32]> = step.inputs.iter().map(input).collect();
            step.operation.apply(run, &self.parameters[step.parameters.clone()], &inputs, output);
            if let (Some(index), Some(piece)) = (index, piece) {
                part.written[index].1 = piece;
            }
            if let Some(room) = room {
                rooms[room] = own;
            }
        }
        self.rooms.lock().expect("nobody panics with the lock").push(rooms);
    }
}

#[cfg(test)]
mod tests {
    use crate::plan::Plan;
    use nasgen_modules::{Convolution, Layers, Primitive, Shape, Source, Window};

    #[test]
    fn stretches_take_as_many_images_as_stay_in_a_cache() {
        let mut layers = Layers::identity(vec![Shape::image(3, 32, 32)]);
        let mut last = Source::Input(0);
        let mut push = |label: &str, primitive| last = layers.push(label.into(), primitive, vec![last]).unwrap();
        push("wide", Convolution::new(32, Window::centered(3, 1)).into());
        push("half", Convolution::new(48, Window::centered(3, 2)).into());
        push("same", Convolution::new(48, Window::centered(3, 1)).into());
        push("quarter", Convolution::new(48, Window::centered(3, 2)).into());
        push("small", Convolution::new(48, Window::centered(3, 2)).into());
        push("pool", Primitive::AdaptiveAveragePool { output: 1 });
        push("flat", Primitive::Flatten);
        push("large", Primitive::Linear { out: 2000 });
        push("last", Primitive::Linear { out: 10 });
        let schedule = Plan::of(&layers, 0).schedule;
        let cuts: Vec<_> = schedule.stretches.iter().map(|stretch| (stretch.steps.clone(), stretch.images)).collect();
        // "half" reads and writes most, 45 056 values; "small" 3 840, the pool 816, "flat" 96. Of 98 304 / 2 048 images
        // "large" has 48 pixels, too few for its weights.
        let expected = [(0..4, Some(2)), (4..5, Some(25)), (5..6, Some(120)), (6..7, Some(1024)), (7..9, None)];
        assert_eq!(cuts, expected);
    }
}
