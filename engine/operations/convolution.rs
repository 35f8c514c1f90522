//! Convolution as a matrix product; what a window sees is read where it lies.

use super::{
    Size,
    filter::{Filter, apply_in_shares, input_gradient_in_shares},
};
use crate::{
    chunks,
    kernels::{
        Finish, Outer, Places, Product, Right, Segment, Tap, has_columns_for_all, outer, product, product_by_columns,
        transpose,
    },
    window::{Correlation, Phase},
};
use nasgen_modules::Convolution;
use std::ops::Range;

/// Values of a left factor that stay in the second cache while all columns are computed.
const LEFT_VALUES: usize = 32 * 1024;

/// Rows of a product for which reading the weights costs little beside multiplying.
const ROWS_FOR_ALL: usize = 32;

/// A convolution in any number of groups, or a fully connected layer. Weights: taps × input channels
/// of a group × output channels.
pub(crate) struct Convolve {
    input: Size,
    output: Size,
    groups: usize,
    taps: usize,
    /// `None` where a window sees just its own pixel.
    windows: Option<Windows>,
    /// Taps × output channels × input channels of a group: for the gradient of the input.
    transposed: Vec<f32>,
}

struct Windows {
    forward: Correlation,
    backward: Correlation,
    /// For each phase of `forward`.
    segments: Vec<Vec<Segment>>,
    /// For each phase of `backward`.
    backward_segments: Vec<Vec<Segment>>,
}

impl Convolve {
    /// A fully connected layer.
    pub(crate) fn linear(inputs: usize, outputs: usize) -> Self {
        let size = |channels| Size { height: 1, width: 1, channels };
        let (input, output) = (size(inputs), size(outputs));
        Self { input, output, groups: 1, taps: 1, windows: None, transposed: Vec::new() }
    }

    /// Input and output channels of a group.
    fn share(&self) -> (usize, usize) {
        (self.input.channels / self.groups, self.output.channels / self.groups)
    }

    /// Rows of the weights.
    fn inner(&self) -> usize {
        self.taps * self.input.channels / self.groups
    }
}

/// The pieces that `taps` see, each `length` values, with `rows` rows of the right factor for each
/// tap. Pieces that go on where the one before ends are joined.
fn segments(taps: &[Tap], length: usize, rows: usize) -> Vec<Segment> {
    let mut joined: Vec<Segment> = Vec::new();
    for tap in taps {
        let segment = Segment { left: tap.offset, right: tap.weight * rows, length };
        match joined.last_mut() {
            Some(last) if (last.left + last.length, last.right + last.length) == (segment.left, segment.right) => {
                last.length += segment.length;
            }
            _ => joined.push(segment),
        }
    }
    joined
}

/// `result = left · right` for `rows` rows that lie one after the other.
struct Rows<'a> {
    left: &'a [f32],
    left_stride: usize,
    inner: usize,
    right: &'a [f32],
    right_stride: usize,
    columns: usize,
    result_stride: usize,
    finish: Finish<'a>,
}

impl Rows<'_> {
    fn multiply(&self, rows: usize, result: &mut [f32]) {
        let at_a_time = (LEFT_VALUES / self.inner).next_multiple_of(8).max(8);
        let segments = [Segment { left: 0, right: 0, length: self.inner }];
        for first in (0..rows).step_by(at_a_time) {
            product(&mut Product {
                rows: at_a_time.min(rows - first),
                columns: self.columns,
                segments: &segments,
                left: &self.left[first * self.left_stride..],
                left_places: Places::Every(self.left_stride),
                right: self.right,
                right_stride: self.right_stride,
                result: &mut result[first * self.result_stride..],
                result_places: Places::Every(self.result_stride),
                finish: self.finish,
                is_cached: false,
            });
        }
    }
}

impl Filter for Convolve {
    fn new(convolution: &Convolution, input: Size, output: Size) -> Self {
        let window = convolution.window;
        let groups = convolution.groups;
        let in_place = window.taps() == 1 && window.stride == [1, 1] && input.pixels() == output.pixels();
        let (inputs, outputs) = (input.channels / groups, output.channels / groups);
        let windows = (!in_place).then(|| {
            let forward = Correlation::forward(&window, input, output);
            let backward = Correlation::backward(&window, input, output);
            let of_phase = |phase: &Phase| segments(&phase.taps, inputs, inputs);
            let forward_segments = forward.phases.iter().map(of_phase).collect();
            let of_phase = |phase: &Phase| segments(&phase.taps, outputs, output.channels);
            let backward_segments = backward.phases.iter().map(of_phase).collect();
            Windows { forward, backward, segments: forward_segments, backward_segments }
        });
        Self { input, output, groups, taps: window.taps(), windows, transposed: Vec::new() }
    }

    fn input(&self) -> Size {
        self.input
    }

    fn output(&self) -> Size {
        self.output
    }

    fn weights(&self) -> usize {
        self.inner() * self.output.channels
    }

    fn images_at_a_time(&self) -> usize {
        self.windows.as_ref().map_or(1, |windows| windows.forward.images.max(windows.backward.images))
    }

    fn is_pointwise(&self) -> bool {
        self.windows.is_none()
    }

    fn is_heavy(&self) -> bool {
        self.weights() > self.output.values()
    }

    fn shares_one_product(&self, images: usize) -> bool {
        let rows = images * self.output.pixels();
        // With more rows, to read all weights on each thread costs less than to put columns together.
        rows < ROWS_FOR_ALL * chunks::threads()
            && self.is_heavy()
            && self.is_one_matrix(rows)
            && has_columns_for_all(rows, self.output.channels)
    }

    fn apply(&self, weights: &[f32], images: &[f32], output: &mut [f32], finish: Finish<'_>) {
        let (inputs, outputs) = self.share();
        let (from, to) = (self.input.channels, self.output.channels);
        let Some(windows) = &self.windows else {
            for group in 0..self.groups {
                let rows = Rows {
                    left: &images[group * inputs..],
                    left_stride: from,
                    inner: inputs,
                    right: &weights[group * outputs..],
                    right_stride: to,
                    columns: outputs,
                    result_stride: to,
                    finish: finish.at_column(group * outputs),
                };
                rows.multiply(output.len() / to, &mut output[group * outputs..]);
            }
            return;
        };
        let table = &windows.forward;
        let blocks = images.chunks(table.images * self.input.values());
        for (images, output) in blocks.zip(output.chunks_mut(table.images * self.output.values())) {
            for (phase, segments) in table.phases.iter().zip(&windows.segments) {
                for group in 0..self.groups {
                    product(&mut Product {
                        rows: phase.positions * (output.len() / self.output.values()),
                        columns: outputs,
                        segments,
                        left: &images[group * inputs..],
                        left_places: Places::At(&phase.sources),
                        right: &weights[group * outputs..],
                        right_stride: to,
                        result: &mut output[group * outputs..],
                        result_places: Places::At(&phase.results),
                        finish: finish.at_column(group * outputs),
                        is_cached: false,
                    });
                }
            }
        }
    }

    fn prepare_backward(&mut self, weights: &[f32]) {
        let (inputs, outputs) = (self.share().0, self.output.channels);
        self.transposed.resize(weights.len(), 0.0);
        let taps = weights.chunks(inputs * outputs).zip(self.transposed.chunks_mut(inputs * outputs));
        chunks::run(taps.collect(), weights.len(), |(weights, transposed)| {
            transpose(weights, outputs, transposed);
        });
    }

    fn input_gradient(&self, _: &[f32], of_output: &[f32], of_input: &mut [f32], add: bool) {
        let (inputs, outputs) = self.share();
        let (from, to) = (self.input.channels, self.output.channels);
        let Some(windows) = &self.windows else {
            for group in 0..self.groups {
                let rows = Rows {
                    left: &of_output[group * outputs..],
                    left_stride: to,
                    inner: outputs,
                    right: &self.transposed[group * outputs * inputs..],
                    right_stride: inputs,
                    columns: inputs,
                    result_stride: from,
                    finish: Finish::added(add),
                };
                rows.multiply(of_output.len() / to, &mut of_input[group * inputs..]);
            }
            return;
        };
        let table = &windows.backward;
        let blocks = of_output.chunks(table.images * self.output.values());
        for (of_output, of_input) in blocks.zip(of_input.chunks_mut(table.images * self.input.values())) {
            for (phase, segments) in table.phases.iter().zip(&windows.backward_segments) {
                for group in 0..self.groups {
                    product(&mut Product {
                        rows: phase.positions * (of_input.len() / self.input.values()),
                        columns: inputs,
                        segments,
                        left: &of_output[group * outputs..],
                        left_places: Places::At(&phase.sources),
                        right: &self.transposed[group * outputs * inputs..],
                        right_stride: inputs,
                        result: &mut of_input[group * inputs..],
                        result_places: Places::At(&phase.results),
                        finish: Finish::added(add),
                        is_cached: false,
                    });
                }
            }
        }
    }

    fn weight_gradient(&self, images: &[f32], of_output: &[f32], of_weights: &mut [f32]) {
        self.add_weight_gradient(images, of_output, 0..self.inner(), of_weights);
    }

    fn apply_to_all(&self, weights: &[f32], images: &[f32], output: &mut [f32], finish: Finish<'_>) {
        let sizes = [output.len() / self.output.channels, self.input.channels, self.output.channels];
        if self.is_one_matrix(sizes[0]) && has_columns_for_all(sizes[0], sizes[2]) {
            return product_by_columns(sizes, images, Right::Rows(weights), output, finish);
        }
        apply_in_shares(self, weights, images, output, finish);
    }

    fn input_gradient_of_all(&mut self, weights: &[f32], of_output: &[f32], of_input: &mut [f32], add: bool) {
        let sizes = [of_output.len() / self.output.channels, self.output.channels, self.input.channels];
        // A sum that is added to another is rounded otherwise than one that begins with it: the number of threads
        // must not decide.
        if self.is_one_matrix(sizes[0]) && (add || has_columns_for_all(sizes[0], sizes[2])) {
            let finish = Finish::added(add);
            return product_by_columns(sizes, of_output, Right::Columns(weights), of_input, finish);
        }
        self.prepare_backward(weights);
        input_gradient_in_shares(self, weights, of_output, of_input, add);
    }

    fn weight_gradient_of_all(&mut self, images: &[f32], of_output: &[f32], of_weights: &mut [f32]) {
        let this = &*self;
        // A few tasks for each thread, whole tiles of rows.
        let rows_per_task = (this.inner() / 16).next_multiple_of(8).clamp(8, 64);
        let tasks = of_weights.chunks_mut(rows_per_task * this.output.channels).enumerate().collect();
        chunks::run(tasks, usize::MAX, |(index, part)| {
            let first = index * rows_per_task;
            part.fill(0.0);
            this.add_weight_gradient(images, of_output, first..first + part.len() / this.output.channels, part);
        });
    }
}

impl Convolve {
    /// Adds to some `rows` of the weights' gradient what some images give them.
    fn add_weight_gradient(&self, images: &[f32], of_output: &[f32], rows: Range<usize>, of_weights: &mut [f32]) {
        let Some(windows) = &self.windows else {
            let whole = [Segment { left: 0, right: 0, length: self.inner() }];
            let places = (Places::Every(self.input.channels), Places::Every(self.output.channels));
            let pixels = of_output.len() / self.output.channels;
            return self.add_outer(images, of_output, (pixels, places), &whole, rows, of_weights);
        };
        let table = &windows.forward;
        let blocks = images.chunks(table.images * self.input.values());
        for (images, of_output) in blocks.zip(of_output.chunks(table.images * self.output.values())) {
            let count = of_output.len() / self.output.values();
            for (phase, segments) in table.phases.iter().zip(&windows.segments) {
                let places = (Places::At(&phase.sources), Places::At(&phase.results));
                let pixels = phase.positions * count;
                self.add_outer(images, of_output, (pixels, places), segments, rows.clone(), of_weights);
            }
        }
    }

    fn add_outer(
        &self,
        images: &[f32],
        of_output: &[f32],
        (pixels, (left_places, right_places)): (usize, (Places<'_>, Places<'_>)),
        segments: &[Segment],
        rows: Range<usize>,
        of_weights: &mut [f32],
    ) {
        let (inputs, outputs) = self.share();
        let to = self.output.channels;
        for segment in segments {
            let start = segment.right.max(rows.start);
            let end = (segment.right + segment.length).min(rows.end);
            if start >= end {
                continue;
            }
            for group in 0..self.groups {
                outer(&mut Outer {
                    rows: pixels,
                    inner: end - start,
                    columns: outputs,
                    left: &images[group * inputs + segment.left + (start - segment.right)..],
                    left_places,
                    right: &of_output[group * outputs..],
                    right_places,
                    result: &mut of_weights[(start - rows.start) * to + group * outputs..],
                    result_stride: to,
                });
            }
        }
    }

    /// Whether `rows` rows of the output are so few that reading the weights is most of the work,
    /// and one product gives them.
    fn is_one_matrix(&self, rows: usize) -> bool {
        self.windows.is_none() && self.groups == 1 && rows <= 512
    }
}
