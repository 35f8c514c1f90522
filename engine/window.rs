//! What a window sees, in both directions, as offsets into an image with padding around it.

use crate::{chunks, kernels::Tap, operations::Size};
use nasgen_modules::Window;

/// Positions that are computed together; images that have fewer go several at a time.
const POSITIONS: usize = 64;

/// Sums over windows of a padded source, for all values of a result. Read forwards the source is a
/// convolution's input and the result its output; read backwards it is the other way round, and the
/// positions fall into phases that see different taps.
#[derive(Clone, Debug)]
pub(crate) struct Correlation {
    source: Size,
    top: usize,
    left: usize,
    /// Height and width of a source with its padding.
    padded: [usize; 2],
    /// Images that the tables cover.
    pub(crate) images: usize,
    pub(crate) phases: Vec<Phase>,
}

/// Positions that see the same taps.
#[derive(Clone, Debug)]
pub(crate) struct Phase {
    /// Positions in an image.
    pub(crate) positions: usize,
    /// Where each position begins in the padded sources, image after image.
    pub(crate) sources: Vec<u32>,
    /// Where each position's result lies, image after image.
    pub(crate) results: Vec<u32>,
    pub(crate) taps: Vec<Tap>,
}

/// Positions and taps along one axis.
struct Axis {
    /// Padding before the source, and its whole length with padding.
    before: usize,
    length: usize,
    phases: Vec<AxisPhase>,
}

struct AxisPhase {
    /// First result and results in all; the distance between two is the number of phases.
    first: usize,
    count: usize,
    /// (tap, its place after the position's beginning).
    taps: Vec<(usize, usize)>,
    /// Source steps between two positions.
    step: usize,
}

impl Correlation {
    /// From inputs to outputs of a convolution.
    pub(crate) fn forward(window: &Window, input: Size, output: Size) -> Self {
        let axis = |axis: usize, before: usize, input: usize, output: usize| {
            let (stride, dilation, kernel) = (window.stride[axis], window.dilation[axis], window.kernel[axis]);
            let taps = (0..kernel).map(|tap| (tap, tap * dilation)).collect();
            let seen = (output - 1) * stride + (kernel - 1) * dilation + 1;
            let phases = vec![AxisPhase { first: 0, count: output, taps, step: stride }];
            Axis { before, length: seen.max(before + input), phases }
        };
        let rows = axis(0, window.padding.top, input.height, output.height);
        let columns = axis(1, window.padding.left, input.width, output.width);
        Self::of(&rows, &columns, input, output, window.kernel[1])
    }

    /// From gradients of outputs to gradients of inputs: input `i` gets, for each tap, the output
    /// at `(i + padding − tap · dilation) / stride` where that is whole.
    pub(crate) fn backward(window: &Window, input: Size, output: Size) -> Self {
        let axis = |axis: usize, padding: usize, input: usize, output: usize| {
            let (stride, dilation, kernel) = (window.stride[axis], window.dilation[axis], window.kernel[axis]);
            let place = |first: usize, tap: usize| {
                let distance = (first + padding) as isize - (tap * dilation) as isize;
                (distance.rem_euclid(stride as isize) == 0).then(|| distance.div_euclid(stride as isize))
            };
            let seen: Vec<(usize, Vec<(usize, isize)>)> = (0..stride.min(input))
                .map(|first| (first, (0..kernel).filter_map(|tap| Some((tap, place(first, tap)?))).collect()))
                .collect();
            let count = |first: usize| (input - first).div_ceil(stride);
            let places = || seen.iter().flat_map(|(first, taps)| taps.iter().map(move |(_, place)| (*first, *place)));
            let before = places().map(|(_, place)| -place).max().unwrap_or(0).max(0);
            let end = places().map(|(first, place)| place + count(first) as isize).max().unwrap_or(0);
            let shifted = |taps: Vec<(usize, isize)>| {
                taps.into_iter().map(|(tap, place)| (tap, (place + before) as usize)).collect()
            };
            let phases = seen.iter().map(|(first, taps)| AxisPhase {
                first: *first,
                count: count(*first),
                taps: shifted(taps.clone()),
                step: 1,
            });
            let length = (end.max(output as isize) + before) as usize;
            Axis { before: before as usize, length, phases: phases.collect() }
        };
        let rows = axis(0, window.padding.top, input.height, output.height);
        let columns = axis(1, window.padding.left, input.width, output.width);
        Self::of(&rows, &columns, output, input, window.kernel[1])
    }

    fn of(rows: &Axis, columns: &Axis, source: Size, result: Size, kernel_width: usize) -> Self {
        let images = (POSITIONS / result.pixels()).max(1);
        let padded = [rows.length, columns.length];
        let per_image = padded[0] * padded[1] * source.channels;
        let phase = |row: &AxisPhase, column: &AxisPhase| {
            let (mut sources, mut results) = (Vec::new(), Vec::new());
            for image in 0..images {
                for y in 0..row.count {
                    for x in 0..column.count {
                        let from = (y * row.step * padded[1] + x * column.step) * source.channels;
                        sources.push((image * per_image + from) as u32);
                        let [y, x] = [row.first + y * rows.phases.len(), column.first + x * columns.phases.len()];
                        let to = (y * result.width + x) * result.channels;
                        results.push((image * result.values() + to) as u32);
                    }
                }
            }
            let tap = |(y, down): &(usize, usize), (x, right): &(usize, usize)| Tap {
                weight: y * kernel_width + x,
                offset: (down * padded[1] + right) * source.channels,
            };
            let taps = row.taps.iter().flat_map(|y| column.taps.iter().map(move |x| tap(y, x))).collect();
            Phase { positions: row.count * column.count, sources, results, taps }
        };
        let phases = rows.phases.iter().flat_map(|row| columns.phases.iter().map(move |column| phase(row, column)));
        Self { source, top: rows.before, left: columns.before, padded, images, phases: phases.collect() }
    }

    /// Values of a source with its padding.
    pub(crate) fn padded_values(&self) -> usize {
        self.padded[0] * self.padded[1] * self.source.channels
    }

    /// Whether the source needs no padding.
    pub(crate) fn is_bare(&self) -> bool {
        self.padded == [self.source.height, self.source.width]
    }

    /// Calls `work` with the images, padded.
    pub(crate) fn with_padded(&self, images: &[f32], work: impl FnOnce(&[f32])) {
        if self.is_bare() {
            return work(images);
        }
        let count = images.len() / self.source.values();
        chunks::with_room(count * self.padded_values(), |room| {
            self.pad(images, self.source.channels, &[], room);
            work(room);
        });
    }

    /// Copies `images` of `outer` channels into `room` with zeros around each. `channels` says which
    /// of them each channel of the source is; empty where they are the same.
    pub(crate) fn pad(&self, images: &[f32], outer: usize, channels: &[u32], room: &mut [f32]) {
        let Size { height, width, channels: inner } = self.source;
        let row_values = self.padded[1] * inner;
        for (image, room) in images.chunks(height * width * outer).zip(room.chunks_mut(self.padded_values())) {
            for (y, row) in room.chunks_mut(row_values).enumerate() {
                let Some(line) = y.checked_sub(self.top).filter(|line| *line < height) else {
                    row.fill(0.0);
                    continue;
                };
                let line = &image[line * width * outer..][..width * outer];
                let (before, rest) = row.split_at_mut(self.left * inner);
                let (middle, after) = rest.split_at_mut(width * inner);
                before.fill(0.0);
                after.fill(0.0);
                if channels.is_empty() {
                    middle.copy_from_slice(line);
                } else {
                    for (from, to) in line.chunks_exact(outer).zip(middle.chunks_exact_mut(inner)) {
                        to.iter_mut().zip(channels).for_each(|(to, channel)| *to = from[*channel as usize]);
                    }
                }
            }
        }
    }
}
