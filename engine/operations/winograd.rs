//! 3×3 convolutions at stride 1 with 16 products of matrices for each 2×2 tile of the output instead of 36:
//! Winograd's F(2×2, 3×3) (Lavin and Gray 2016, arXiv:1509.09308). Its sums are about as exact as the direct
//! ones, which larger tiles are not.

use super::{
    Size, Taps,
    filter::{Filter, turn},
};
use crate::{
    chunks,
    kernels::{
        Finish, Map, Outer, Places, Points, Product, Results, Segment, Tiles, Transform, multiply_to_results, outer,
        product, transform,
    },
};
use nasgen_modules::{Convolution, Window};

/// Matrix products for a tile.
const POINTS: usize = 16;
/// What the transforms of a tile cost for each channel, in multiplications: measured, and rounded up.
const TRANSFORM: usize = 112;
/// Taps of the window.
const TAPS: usize = 9;
/// Values of transformed inputs and outputs that are worked on at a time: they stay in the second cache.
const ROOM: usize = 64 * 1024;

/// Channels of an input whose weights, of all points and 16 channels of the output, fill half of the first cache.
const FEW_CHANNELS: usize = 16;

/// Values from one plane of `values` to the next: not a multiple of what a set of the first cache holds, or all
/// planes would want the same few of its lines.
const fn plane(values: usize) -> usize {
    values + 16
}

/// A convolution in one group, 3×3 at stride 1. Weights: taps × input channels × output channels.
pub(crate) struct Winograd {
    forward: Correlation,
    backward: Correlation,
    /// Of the weights, turned around and with input and output channels exchanged.
    turned: Vec<f32>,
}

impl Winograd {
    /// Whether it computes `convolution`, and faster than directly.
    pub(crate) fn suits(convolution: &Convolution, input: Size, output: Size) -> bool {
        let Window { kernel, stride, dilation, padding } = convolution.window;
        let is_possible = kernel == [3, 3]
            && (stride, dilation, convolution.groups) == ([1, 1], [1, 1], 1)
            && padding.top <= 2
            && padding.left <= 2;
        is_possible && {
            let pairs = input.channels * output.channels;
            let tiles = output.height.div_ceil(2) * output.width.div_ceil(2);
            let directly = pairs * Taps::of(&convolution.window, input, output).count();
            directly > tiles * (POINTS * pairs + TRANSFORM * (input.channels + output.channels))
        }
    }
}

impl Filter for Winograd {
    fn new(convolution: &Convolution, input: Size, output: Size) -> Self {
        let padding = convolution.window.padding;
        Self {
            forward: Correlation::new(input, output, [padding.top, padding.left]),
            backward: Correlation::new(output, input, [2 - padding.top, 2 - padding.left]),
            turned: Vec::new(),
        }
    }

    fn input(&self) -> Size {
        self.forward.input
    }

    fn output(&self) -> Size {
        self.forward.output
    }

    fn weights(&self) -> usize {
        TAPS * self.forward.pairs()
    }

    fn prepare_forward(&mut self, weights: &[f32]) {
        self.forward.transform_weights(weights);
    }

    fn apply(&self, _: &[f32], images: &[f32], output: &mut [f32], finish: Finish<'_>) {
        self.forward.apply(images, output, finish);
    }

    fn prepare_backward(&mut self, weights: &[f32]) {
        turn(weights, self.forward.pairs(), self.forward.output.channels, &mut self.turned);
        self.backward.transform_weights(&self.turned);
    }

    fn input_gradient(&self, _: &[f32], of_output: &[f32], of_input: &mut [f32], add: bool) {
        self.backward.apply(of_output, of_input, Finish::added(add));
    }

    fn weight_gradient(&self, images: &[f32], of_output: &[f32], of_weights: &mut [f32]) {
        self.forward.weight_gradient(images, of_output, of_weights);
    }
}

/// One direction.
struct Correlation {
    input: Size,
    output: Size,
    /// The 4×4 pixels of an input image that each tile sees.
    patches: Tiles,
    /// The 2×2 pixels of an output image that each tile gives.
    results: Tiles,
    /// Transformed weights: points × input channels × output channels.
    weights: Vec<f32>,
}

impl Correlation {
    fn new(input: Size, output: Size, [top, left]: [usize; 2]) -> Self {
        let size = |size: Size| [size.height, size.width, size.channels];
        let rows = (0..output.height as isize).step_by(2);
        let corners = rows.flat_map(|row| (0..output.width as isize).step_by(2).map(move |column| [row, column]));
        let seen = corners.clone().map(|[row, column]| [row - top as isize, column - left as isize]);
        let (patches, results) = (Tiles::new(size(input), 4, seen), Tiles::new(size(output), 2, corners));
        Self { input, output, patches, results, weights: Vec::new() }
    }

    /// Pairs of channels.
    fn pairs(&self) -> usize {
        self.input.channels * self.output.channels
    }

    fn transform_weights(&mut self, weights: &[f32]) {
        let pairs = self.pairs();
        self.weights.resize(POINTS * pairs, 0.0);
        transform(&mut Transform {
            map: Map::Weights,
            tiles: 1,
            channels: pairs,
            from: weights,
            from_points: Points::Planes(pairs),
            to: &mut self.weights,
            to_points: Points::Planes(pairs),
            finish: Finish::STORE,
        });
    }

    /// Tiles that are worked on at a time.
    fn tiles_at_a_time(&self) -> usize {
        let of_tile = POINTS * (self.input.channels + self.output.channels);
        (ROOM / of_tile / 8 * 8).max(8).min(self.patches.count())
    }

    /// Calls `work` with the first tile and the number of tiles of each part of an image.
    fn for_each_part(&self, mut work: impl FnMut(usize, usize)) {
        let at_a_time = self.tiles_at_a_time();
        for first in (0..self.patches.count()).step_by(at_a_time) {
            work(first, at_a_time.min(self.patches.count() - first));
        }
    }

    fn transform_patches(&self, image: &[f32], first: usize, tiles: usize, patches: &mut [f32]) {
        transform(&mut Transform {
            map: Map::Patch,
            tiles,
            channels: self.input.channels,
            from: image,
            from_points: Points::Image(&self.patches, first),
            to: patches,
            to_points: Points::Planes(plane(tiles * self.input.channels)),
            finish: Finish::STORE,
        });
    }

    fn apply(&self, images: &[f32], output: &mut [f32], finish: Finish<'_>) {
        let (from, to) = (self.input.channels, self.output.channels);
        let tiles = self.tiles_at_a_time();
        let images = images.chunks_exact(self.input.values());
        chunks::with_room(POINTS * (plane(tiles * from) + plane(tiles * to)), |room| {
            let (patches, results) = room.split_at_mut(POINTS * plane(tiles * from));
            for (image, output) in images.zip(output.chunks_exact_mut(self.output.values())) {
                self.for_each_part(|first, tiles| {
                    self.transform_patches(image, first, tiles, patches);
                    if self.has_few_weights() {
                        return multiply_to_results(&mut Results {
                            tiles,
                            inner: from,
                            columns: to,
                            patches,
                            distance: plane(tiles * from),
                            weights: &self.weights,
                            to: output,
                            to_tiles: (&self.results, first),
                            finish,
                        });
                    }
                    self.multiply(tiles, patches, results);
                    transform(&mut Transform {
                        map: Map::Result,
                        tiles,
                        channels: to,
                        from: results,
                        from_points: Points::Planes(plane(tiles * to)),
                        to: output,
                        to_points: Points::Image(&self.results, first),
                        finish,
                    });
                });
            }
        });
    }

    /// Whether the weights of one register of columns stay in the first cache while all points are computed.
    fn has_few_weights(&self) -> bool {
        self.input.channels <= FEW_CHANNELS
    }

    /// The products of all points, each of `tiles` rows.
    fn multiply(&self, tiles: usize, patches: &[f32], results: &mut [f32]) {
        let (from, to) = (self.input.channels, self.output.channels);
        let factors = patches.chunks_exact(plane(tiles * from)).zip(self.weights.chunks_exact(from * to));
        for ((left, right), result) in factors.zip(results.chunks_exact_mut(plane(tiles * to))) {
            product(&mut Product {
                rows: tiles,
                columns: to,
                segments: &[Segment { left: 0, right: 0, length: from }],
                left,
                left_places: Places::Every(from),
                right,
                right_stride: to,
                result,
                result_places: Places::Every(to),
                finish: Finish::STORE,
                is_cached: true,
            });
        }
    }

    fn weight_gradient(&self, images: &[f32], of_output: &[f32], of_weights: &mut [f32]) {
        let (from, to, pairs) = (self.input.channels, self.output.channels, self.pairs());
        let tiles = self.tiles_at_a_time();
        chunks::with_room(POINTS * (plane(tiles * from) + plane(tiles * to) + pairs), |room| {
            let (sums, room) = room.split_at_mut(POINTS * pairs);
            let (patches, gradients) = room.split_at_mut(POINTS * plane(tiles * from));
            sums.fill(0.0);
            let images = images.chunks_exact(self.input.values());
            for (image, of_output) in images.zip(of_output.chunks_exact(self.output.values())) {
                self.for_each_part(|first, tiles| {
                    self.transform_patches(image, first, tiles, patches);
                    transform(&mut Transform {
                        map: Map::ResultGradient,
                        tiles,
                        channels: to,
                        from: of_output,
                        from_points: Points::Image(&self.results, first),
                        to: gradients,
                        to_points: Points::Planes(plane(tiles * to)),
                        finish: Finish::STORE,
                    });
                    let factors =
                        patches.chunks_exact(plane(tiles * from)).zip(gradients.chunks_exact(plane(tiles * to)));
                    for ((left, right), result) in factors.zip(sums.chunks_exact_mut(pairs)) {
                        outer(&mut Outer {
                            rows: tiles,
                            inner: from,
                            columns: to,
                            left,
                            left_places: Places::Every(from),
                            right,
                            right_places: Places::Every(to),
                            result,
                            result_stride: to,
                        });
                    }
                });
            }
            transform(&mut Transform {
                map: Map::WeightsGradient,
                tiles: 1,
                channels: pairs,
                from: sums,
                from_points: Points::Planes(pairs),
                to: of_weights,
                to_points: Points::Planes(pairs),
                finish: Finish::added(true),
            });
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operations::filter::tests::check_against_direct;
    use nasgen_modules::Padding;

    fn cases() -> Vec<(Convolution, Size, Size)> {
        let mut cases = Vec::new();
        for [height, width] in [[1, 1], [2, 3], [5, 4], [6, 9], [16, 10]] {
            for [top, bottom, left, right] in [[1, 1, 1, 1], [2, 0, 1, 2], [0, 2, 2, 0]] {
                for [channels, out] in [[1, 1], [3, 17], [16, 8], [20, 5]] {
                    let (rows, columns) = (height + top + bottom, width + left + right);
                    if rows < 3 || columns < 3 {
                        continue;
                    }
                    let padding = Padding { top, bottom, left, right };
                    let convolution = Convolution::new(out, Window::square(3, 1, padding));
                    let output = Size { height: rows - 2, width: columns - 2, channels: out };
                    cases.push((convolution, Size { height, width, channels }, output));
                }
            }
        }
        cases
    }

    #[test]
    fn it_computes_what_the_direct_convolution_does() {
        for (convolution, input, output) in cases() {
            check_against_direct::<Winograd>(&convolution, input, output);
        }
    }

    #[test]
    fn it_is_chosen_where_it_saves_work() {
        let suits = |window: Window, channels: usize, side: usize, groups: usize| {
            let size = Size { height: side, width: side, channels };
            Winograd::suits(&Convolution::new(channels, window).groups(groups), size, size)
        };
        let window = Window::centered(3, 1);
        assert!(suits(window, 16, 32, 1) && suits(window, 32, 8, 1) && suits(window, 256, 8, 1));
        assert!(!suits(window, 8, 32, 1) && !suits(window, 16, 6, 1) && !suits(window, 32, 32, 32));
        assert!(!suits(Window::centered(5, 1), 64, 16, 1) && !suits(Window::centered(3, 2), 64, 16, 1));
        assert!(!suits(Window { dilation: [2, 2], padding: Padding::all(2), ..window }, 64, 16, 1));
    }
}
