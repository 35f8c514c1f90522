//! 3×3 convolutions at stride 1 with 16 products of matrices for each 2×2 tile of the output instead of 36, and at
//! stride 2 with 25: Winograd's (Lavin and Gray 2016, arXiv:1509.09308). Their sums are about as exact as the direct ones,
//! which larger tiles are not.

mod scheme;

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
use nasgen_modules::{Convolution, Padding};
use scheme::{Scheme, Schemes};

/// What the transforms of a tile cost for each channel and point, in multiplications: measured at stride 1, and rounded
/// up; with it no layer at stride 2 was slower than directly (benches/NOTES.md).
const TRANSFORM: usize = 7;
/// Taps of the window.
const TAPS: usize = 9;
/// Values of transformed inputs and outputs that are worked on at a time: they stay in the second cache.
const ROOM: usize = 64 * 1024;
/// Tiles that are worked on at a time, at least: to read the weights costs little beside multiplying.
const FEWEST_TILES: usize = 32;
/// The same for a gradient of weights, where one thread works on all points.
const SHARED_ROOM: usize = 256 * 1024;
/// Where several do, all of them wait for each other between parts: each transforms so many until then.
const PARTS_OF_THREAD: usize = 4;

/// Channels of an input whose weights, of all points and 16 channels of the output, fill half of the first cache.
const FEW_CHANNELS: usize = 16;

/// Values from one plane of `values` to the next: not a multiple of what a set of the first cache holds, or all
/// planes would want the same few of its lines.
const fn plane(values: usize) -> usize {
    values + 16
}

/// A convolution in one group, 3×3 at stride 1 or 2. Weights: taps × input channels × output channels.
pub(crate) struct Winograd {
    schemes: &'static Schemes,
    forward: Correlation,
    backward: Correlation,
    /// Of the weights, turned around and with input and output channels exchanged.
    turned: Vec<f32>,
    /// Gradient of the transformed weights.
    sums: Vec<f32>,
}

impl Winograd {
    /// Whether it computes `convolution`, and faster than directly.
    pub(crate) fn suits(convolution: &Convolution, input: Size, output: Size) -> bool {
        Schemes::of(convolution).is_some_and(|Schemes { forward, .. }| {
            let pairs = input.channels * output.channels;
            let tiles = output.height.div_ceil(forward.steps[1]) * output.width.div_ceil(forward.steps[1]);
            let directly = pairs * Taps::of(&convolution.window, input, output).count();
            directly > tiles * forward.points() * (pairs + TRANSFORM * (input.channels + output.channels))
        })
    }
}

impl Filter for Winograd {
    fn new(convolution: &Convolution, input: Size, output: Size) -> Self {
        let schemes = Schemes::of(convolution).expect("a convolution that these compute");
        let Padding { top, left, .. } = convolution.window.padding;
        Self {
            schemes,
            forward: Correlation::new(&schemes.forward, input, output, [top, left].map(|before| [before, 0])),
            backward: Correlation::new(
                &schemes.backward,
                output,
                input,
                [top, left].map(|before| schemes.before_backward(before)),
            ),
            turned: Vec::new(),
            sums: Vec::new(),
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

    fn images_at_a_time(&self) -> usize {
        self.forward.images.max(self.backward.images)
    }

    fn is_heavy(&self) -> bool {
        self.weights() > self.forward.output.values()
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
        let Self { forward, schemes, .. } = self;
        chunks::with_room(forward.scheme.planes() * forward.pairs(), |sums| {
            sums.fill(0.0);
            let [result, _] = schemes.learning;
            chunks::with_room(forward.room(), |room| {
                forward.for_each_part(images, of_output, |images, of_output, first, tiles| {
                    forward.transform_factors(images, (of_output, result), first, tiles, room);
                    let planes = sums.chunks_exact_mut(forward.pairs()).enumerate();
                    planes.for_each(|(plane, sums)| forward.add_outer(plane, tiles, room, sums));
                });
            });
            self.add_sums(sums, of_weights);
        });
    }

    fn weight_gradient_of_all(&mut self, images: &[f32], of_output: &[f32], of_weights: &mut [f32]) {
        let mut sums = std::mem::take(&mut self.sums);
        let Self { forward, schemes, .. } = self;
        let (room, [result, _]) = (forward.room(), schemes.learning);
        sums.clear();
        sums.resize(forward.scheme.planes() * forward.pairs(), 0.0);
        let mut parts = Vec::new();
        forward.for_each_part(images, of_output, |images, of_output, first, tiles| {
            parts.push((images, of_output, first, tiles));
        });
        // Parts are summed in the same order, however many of them are transformed at a time.
        let at_a_time = match chunks::threads() {
            1 => (SHARED_ROOM / room).max(1),
            threads => PARTS_OF_THREAD * threads,
        };
        chunks::with_room(at_a_time * room, |rooms| {
            for parts in parts.chunks(at_a_time) {
                let transforms = parts.iter().zip(rooms.chunks_exact_mut(room)).collect();
                chunks::run(transforms, usize::MAX, |((images, of_output, first, tiles), room)| {
                    forward.transform_factors(images, (of_output, result), *first, *tiles, room);
                });
                let planes = sums.chunks_exact_mut(forward.pairs()).enumerate().collect();
                chunks::run(planes, usize::MAX, |(plane, sums)| {
                    for ((.., tiles), room) in parts.iter().zip(rooms.chunks_exact(room)) {
                        forward.add_outer(plane, *tiles, room, sums);
                    }
                });
            }
        });
        of_weights.fill(0.0);
        self.add_sums(&sums, of_weights);
        self.sums = sums;
    }
}

impl Winograd {
    /// Adds to the gradient of the weights what that of the transformed ones gives.
    fn add_sums(&self, sums: &[f32], of_weights: &mut [f32]) {
        let [_, map] = self.schemes.learning;
        let pairs = self.forward.pairs();
        transform(&mut Transform {
            map,
            tiles: 1,
            channels: pairs,
            from: sums,
            from_points: Points::Planes(pairs),
            to: of_weights,
            to_points: Points::Planes(pairs),
            finish: Finish::added(true),
        });
    }
}

/// One direction.
struct Correlation {
    scheme: &'static Scheme,
    input: Size,
    output: Size,
    /// Images whose tiles are worked on together.
    images: usize,
    /// The pixels of an input image that each tile sees.
    patches: Tiles,
    /// The pixels of an output image that each tile gives.
    results: Tiles,
    /// Transformed weights: planes × input channels × output channels.
    weights: Vec<f32>,
}

impl Correlation {
    /// `before` are the pixels before the input where the first patch begins, and before the output where the first result
    /// does: of rows and of columns.
    fn new(scheme: &'static Scheme, input: Size, output: Size, before: [[usize; 2]; 2]) -> Self {
        let count = |side: usize, [_, of_result]: [usize; 2]| (side + of_result).div_ceil(scheme.steps[1]) as isize;
        let (rows, columns) = (count(output.height, before[0]), count(output.width, before[1]));
        let images = (tiles_at_a_time(scheme, input, output) / (rows * columns) as usize).max(1);
        let list = |size: Size, side: usize, which: usize| {
            let [top, left] = before.map(|before| before[which] as isize);
            let step = scheme.steps[which];
            let first = |row: isize, column: isize| [row * step as isize - top, column * step as isize - left];
            let corners = (0..rows).flat_map(|row| (0..columns).map(move |column| first(row, column)));
            Tiles::new([images, size.height, size.width, size.channels], [side, step], corners)
        };
        let (patches, results) = (list(input, scheme.patch.sides()[0], 0), list(output, scheme.result.sides()[1], 1));
        Self { scheme, input, output, images, patches, results, weights: Vec::new() }
    }

    /// Pairs of channels.
    fn pairs(&self) -> usize {
        self.input.channels * self.output.channels
    }

    fn transform_weights(&mut self, weights: &[f32]) {
        let pairs = self.pairs();
        self.weights.resize(self.scheme.planes() * pairs, 0.0);
        transform(&mut Transform {
            map: self.scheme.weights,
            tiles: 1,
            channels: pairs,
            from: weights,
            from_points: Points::Planes(pairs),
            to: &mut self.weights,
            to_points: Points::Planes(pairs),
            finish: Finish::STORE,
        });
    }

    /// The most tiles that are worked on at a time.
    fn tiles_at_a_time(&self) -> usize {
        tiles_at_a_time(self.scheme, self.input, self.output).min(self.images * self.patches.of_image())
    }

    /// Values of the transformed inputs of so many tiles, and of the outputs.
    fn rooms(&self, tiles: usize) -> [usize; 2] {
        [self.input, self.output].map(|size| self.scheme.points() * plane(tiles * size.channels))
    }

    /// Values of both for [`Self::tiles_at_a_time`].
    fn room(&self) -> usize {
        self.rooms(self.tiles_at_a_time()).iter().sum()
    }

    /// Calls `work` with some images, their outputs, the first tile and the number of tiles of each part.
    fn for_each_part<'a>(
        &self,
        images: &'a [f32],
        of_output: &'a [f32],
        mut work: impl FnMut(&'a [f32], &'a [f32], usize, usize),
    ) {
        let groups = images.chunks(self.images * self.input.values());
        for (images, of_output) in groups.zip(of_output.chunks(self.images * self.output.values())) {
            self.for_each_range(images, |first, tiles| work(images, of_output, first, tiles));
        }
    }

    /// Calls `work` with the first tile and the number of tiles of each part of a group of images.
    fn for_each_range(&self, images: &[f32], mut work: impl FnMut(usize, usize)) {
        let count = images.len() / self.input.values() * self.patches.of_image();
        let at_a_time = self.tiles_at_a_time();
        for first in (0..count).step_by(at_a_time) {
            work(first, at_a_time.min(count - first));
        }
    }

    fn transform_patches(&self, images: &[f32], first: usize, tiles: usize, patches: &mut [f32]) {
        transform(&mut Transform {
            map: self.scheme.patch,
            tiles,
            channels: self.input.channels,
            from: images,
            from_points: Points::Image(&self.patches, first),
            to: patches,
            to_points: Points::Planes(plane(tiles * self.input.channels)),
            finish: Finish::STORE,
        });
    }

    fn apply(&self, images: &[f32], output: &mut [f32], finish: Finish<'_>) {
        let (from, to) = (self.input.channels, self.output.channels);
        let groups = images.chunks(self.images * self.input.values());
        chunks::with_room(self.room(), |room| {
            for (images, output) in groups.zip(output.chunks_mut(self.images * self.output.values())) {
                self.for_each_range(images, |first, tiles| {
                    let (patches, results) = room.split_at_mut(self.rooms(tiles)[0]);
                    self.transform_patches(images, first, tiles, patches);
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
                        map: self.scheme.result,
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
        self.scheme.result == Map::Result && self.input.channels <= FEW_CHANNELS
    }

    /// The products of all points, each of `tiles` rows.
    fn multiply(&self, tiles: usize, patches: &[f32], results: &mut [f32]) {
        let (from, to) = (self.input.channels, self.output.channels);
        for (index, right) in self.weights.chunks_exact(from * to).enumerate() {
            for point in self.scheme.points_of(index) {
                product(&mut Product {
                    rows: tiles,
                    columns: to,
                    segments: &[Segment { left: 0, right: 0, length: from }],
                    left: &patches[point * plane(tiles * from)..],
                    left_places: Places::Every(from),
                    right,
                    right_stride: to,
                    result: &mut results[point * plane(tiles * to)..],
                    result_places: Places::Every(to),
                    finish: Finish::STORE,
                    is_cached: true,
                });
            }
        }
    }

    /// The patches of some tiles and, by `map`, the gradients of their results, one after the other in `room`.
    fn transform_factors(
        &self,
        images: &[f32],
        (of_output, map): (&[f32], Map),
        first: usize,
        tiles: usize,
        room: &mut [f32],
    ) {
        let (patches, gradients) = room.split_at_mut(self.rooms(tiles)[0]);
        self.transform_patches(images, first, tiles, patches);
        transform(&mut Transform {
            map,
            tiles,
            channels: self.output.channels,
            from: of_output,
            from_points: Points::Image(&self.results, first),
            to: gradients,
            to_points: Points::Planes(plane(tiles * self.output.channels)),
            finish: Finish::STORE,
        });
    }

    /// Adds what [`Self::transform_factors`] left in `room` gives to the gradient of a plane of transformed weights.
    fn add_outer(&self, index: usize, tiles: usize, room: &[f32], sums: &mut [f32]) {
        let (from, to) = (self.input.channels, self.output.channels);
        let (patches, gradients) = room.split_at(self.rooms(tiles)[0]);
        for point in self.scheme.points_of(index) {
            outer(&mut Outer {
                rows: tiles,
                inner: from,
                columns: to,
                left: &patches[point * plane(tiles * from)..],
                left_places: Places::Every(from),
                right: &gradients[point * plane(tiles * to)..],
                right_places: Places::Every(to),
                result: &mut *sums,
                result_stride: to,
            });
        }
    }
}

/// The most tiles of a scheme that are worked on at a time.
fn tiles_at_a_time(scheme: &Scheme, input: Size, output: Size) -> usize {
    let of_tile = scheme.points() * (input.channels + output.channels);
    (ROOM / of_tile / 8 * 8).max(FEWEST_TILES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operations::filter::tests::check_against_direct;
    use nasgen_modules::{Window, randomness::Stream};

    fn cases() -> Vec<(Convolution, Size, Size)> {
        let mut cases = Vec::new();
        for [height, width] in [[1, 1], [2, 3], [5, 4], [6, 9], [16, 10]] {
            for [top, bottom, left, right] in [[1, 1, 1, 1], [2, 0, 1, 2], [0, 2, 2, 0], [1, 0, 0, 1]] {
                for [channels, out] in [[1, 1], [3, 17], [16, 8], [20, 5]] {
                    for stride in [1, 2] {
                        let (rows, columns) = (height + top + bottom, width + left + right);
                        if rows < 3 || columns < 3 {
                            continue;
                        }
                        let padding = Padding { top, bottom, left, right };
                        let convolution = Convolution::new(out, Window::square(3, stride, padding));
                        let [height_out, width_out] = [rows, columns].map(|side| (side - 3) / stride + 1);
                        let output = Size { height: height_out, width: width_out, channels: out };
                        cases.push((convolution, Size { height, width, channels }, output));
                    }
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

    /// Many parts, groups of images the last of which is not full, and rounds of shared parts.
    #[test]
    fn images_in_groups_are_computed_as_one_by_one() {
        for (stride, channels, side) in [(1, 48, 4), (2, 48, 8), (2, 24, 16), (1, 200, 6)] {
            let window = Window::centered(3, stride);
            let [input, output] = [side, side / stride].map(|side| Size { height: side, width: side, channels });
            let mut winograd = Winograd::new(&Convolution::new(channels, window), input, output);
            let images = 2 * winograd.images_at_a_time() + 1;
            let stream = Stream::new(1, "images");
            let numbers = |count: usize| -> Vec<f32> { (0..count as u64).map(|at| stream.uniform(at) - 0.5).collect() };
            let (weights, seen) = (numbers(winograd.weights()), numbers(images * input.values()));
            let of_output = numbers(images * output.values());
            winograd.prepare_forward(&weights);
            winograd.prepare_backward(&weights);

            let mut together = [vec![0.0; of_output.len()], vec![0.0; seen.len()]];
            let mut alone = together.clone();
            winograd.apply(&weights, &seen, &mut together[0], Finish::STORE);
            winograd.input_gradient(&weights, &of_output, &mut together[1], false);
            let [results, gradients] = &mut alone;
            let pairs = seen.chunks(input.values()).zip(of_output.chunks(output.values()));
            let places = results.chunks_mut(output.values()).zip(gradients.chunks_mut(input.values()));
            for ((seen, of_output), (result, gradient)) in pairs.zip(places) {
                winograd.apply(&weights, seen, result, Finish::STORE);
                winograd.input_gradient(&weights, of_output, gradient, false);
            }
            assert!(together == alone, "stride {stride}, {channels} channels");

            let mut sums = vec![0.0; weights.len()];
            winograd.weight_gradient(&seen, &of_output, &mut sums);
            let mut shared_by = |threads| {
                let mut shared = vec![7.0; weights.len()];
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| winograd.weight_gradient_of_all(&seen, &of_output, &mut shared));
                shared
            };
            let shared = shared_by(1);
            assert!([2, 5].into_iter().all(|threads| shared_by(threads) == shared), "threads change bits");
            let most = sums.iter().fold(0.0f32, |most, sum| most.max(sum.abs()));
            for (shared, sum) in shared.iter().zip(&sums) {
                assert!((shared - sum).abs() < 1e-5 * most, "stride {stride}, {channels} channels: {shared} for {sum}");
            }
        }
    }

    #[test]
    fn it_is_chosen_where_it_saves_work() {
        let suits = |window: Window, channels: usize, side: usize, groups: usize| {
            let [input, output] =
                [side, side / window.stride[0]].map(|side| Size { height: side, width: side, channels });
            Winograd::suits(&Convolution::new(channels, window).groups(groups), input, output)
        };
        let window = Window::centered(3, 1);
        assert!(suits(window, 16, 32, 1) && suits(window, 32, 8, 1) && suits(window, 256, 8, 1));
        assert!(!suits(window, 8, 32, 1) && !suits(window, 16, 6, 1) && !suits(window, 32, 32, 32));
        assert!(!suits(Window::centered(5, 1), 64, 16, 1) && !suits(Window::centered(3, 3), 64, 16, 1));
        let strided = Window::centered(3, 2);
        assert!(suits(strided, 48, 32, 1) && suits(strided, 128, 8, 1));
        assert!(!suits(strided, 16, 32, 1) && !suits(strided, 128, 2, 1) && !suits(strided, 64, 32, 64));
        assert!(!suits(Window { dilation: [2, 2], padding: Padding::all(2), ..window }, 64, 16, 1));
    }
}
