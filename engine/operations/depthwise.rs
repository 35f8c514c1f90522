//! Convolution of each channel by itself, or of few channels together.

use super::{Size, filter::Filter};
use crate::{
    chunks,
    kernels::{DepthwiseFilter, DepthwiseGradient, Finish, Places, Tap, filter_channels, gradient_of_filter},
    window::{Correlation, Phase},
};
use nasgen_modules::Convolution;
use std::ops::Range;

/// A convolution in small groups, as a sum of depthwise ones: the n-th takes, for each
/// output channel, the n-th input channel of its group. Weights: inputs of a group × taps × output
/// channels.
pub(crate) struct Depthwise {
    input: Size,
    output: Size,
    forward: Direction,
    backward: Direction,
    /// The weights as `backward` wants them: outputs of a group × taps × input channels. Empty where that is the same.
    turned: Vec<f32>,
}

impl Filter for Depthwise {
    fn new(convolution: &Convolution, input: Size, output: Size) -> Self {
        let Convolution { window, groups, .. } = *convolution;
        let shares = [input.channels / groups, output.channels / groups];
        let spread_input = Size { channels: output.channels, ..input };
        let spread_output = Size { channels: input.channels, ..output };
        let forward = Correlation::forward(&window, spread_input, output);
        let backward = Correlation::backward(&window, input, spread_output);
        Self {
            input,
            output,
            forward: Direction::new(forward, input, output, shares, window.taps()),
            backward: Direction::new(backward, output, input, [shares[1], shares[0]], window.taps()),
            turned: Vec::new(),
        }
    }

    fn input(&self) -> Size {
        self.input
    }

    fn output(&self) -> Size {
        self.output
    }

    fn weights(&self) -> usize {
        self.forward.weights()
    }

    fn images_at_a_time(&self) -> usize {
        self.forward.correlation.images.max(self.backward.correlation.images)
    }

    fn apply(&self, weights: &[f32], images: &[f32], output: &mut [f32], finish: Finish<'_>) {
        self.forward.apply(weights, images, output, finish);
    }

    fn prepare_backward(&mut self, weights: &[f32]) {
        let (forward, backward) = (&self.forward, &self.backward);
        if forward.is_plain() {
            return;
        }
        self.turned.clear();
        self.turned.reserve(weights.len());
        for nth_output in 0..backward.shares[0] {
            for tap in 0..backward.taps {
                for input in 0..self.input.channels {
                    let (group, nth_input) = (input / forward.shares[0], input % forward.shares[0]);
                    let row = (nth_input * forward.taps + tap) * self.output.channels;
                    self.turned.push(weights[row + group * forward.shares[1] + nth_output]);
                }
            }
        }
    }

    fn input_gradient(&self, weights: &[f32], of_output: &[f32], of_input: &mut [f32], add: bool) {
        let weights = if self.forward.is_plain() { weights } else { &self.turned };
        self.backward.apply(weights, of_output, of_input, Finish::added(add));
    }

    fn weight_gradient(&self, images: &[f32], of_output: &[f32], of_weights: &mut [f32]) {
        self.forward.weight_gradient(images, of_output, of_weights);
    }
}

/// Values of spread images that are worked on at a time: they stay in the second cache.
const SPREAD: usize = 128 * 1024;

/// From inputs to outputs or, for gradients, the other way round.
struct Direction {
    correlation: Correlation,
    from: Size,
    to: Size,
    /// Channels of a group, of `from` and of `to`.
    shares: [usize; 2],
    /// Taps of the window.
    taps: usize,
    /// Depthwise convolutions that are summed at a time.
    at_a_time: usize,
    /// Values from one of their spread images to the next.
    distance: usize,
    /// For each phase of the correlation, the taps of so many.
    phases: Vec<Vec<Tap>>,
}

impl Direction {
    fn new(correlation: Correlation, from: Size, to: Size, shares: [usize; 2], taps: usize) -> Self {
        let distance = correlation.images * from.pixels() * to.channels;
        let at_most = (SPREAD / distance).max(1);
        // As many in each part.
        let at_a_time = shares[0].div_ceil(shares[0].div_ceil(at_most));
        let of_nth =
            |nth: usize, tap: &Tap| Tap { weight: nth * taps + tap.weight, offset: nth * distance + tap.offset };
        let all =
            |phase: &Phase| (0..at_a_time).flat_map(|nth| phase.taps.iter().map(move |tap| of_nth(nth, tap))).collect();
        let phases = correlation.phases.iter().map(all).collect();
        Self { correlation, from, to, shares, taps, at_a_time, distance, phases }
    }

    /// Whether each channel has its own group: nothing has to be spread.
    fn is_plain(&self) -> bool {
        self.shares == [1, 1]
    }

    /// Weights of one of the depthwise convolutions.
    fn share_of_weights(&self) -> usize {
        self.taps * self.to.channels
    }

    fn weights(&self) -> usize {
        self.shares[0] * self.share_of_weights()
    }

    /// Calls `work` with some images as the depthwise convolutions `nth` see them: for each channel of the result, the
    /// nth channel of its group.
    fn spread(&self, nth: Range<usize>, images: &[f32], work: impl FnOnce(&[f32])) {
        if self.is_plain() {
            return work(images);
        }
        chunks::with_room(nth.len() * self.distance, |room| {
            for (nth, plane) in nth.zip(room.chunks_exact_mut(self.distance)) {
                spread_nth(nth, self.shares, images, plane);
            }
            work(room);
        });
    }

    /// Calls `work` with each part of the depthwise convolutions and the images that these see.
    fn for_each_part(&self, images: &[f32], mut work: impl FnMut(Range<usize>, &[f32])) {
        for first in (0..self.shares[0]).step_by(self.at_a_time) {
            let part = first..(first + self.at_a_time).min(self.shares[0]);
            self.spread(part.clone(), images, |source| work(part, source));
        }
    }

    fn apply(&self, weights: &[f32], images: &[f32], output: &mut [f32], finish: Finish<'_>) {
        let table = &self.correlation;
        let blocks = images.chunks(table.images * self.from.values());
        for (images, output) in blocks.zip(output.chunks_mut(table.images * self.to.values())) {
            self.for_each_part(images, |part, source| {
                for (phase, taps) in table.phases.iter().zip(&self.phases) {
                    filter_channels(&mut DepthwiseFilter {
                        positions: phase.positions * (output.len() / self.to.values()),
                        channels: self.to.channels,
                        taps: &taps[..part.len() * phase.taps.len()],
                        input: source,
                        input_places: Places::At(&phase.sources),
                        weights: &weights[part.start * self.share_of_weights()..],
                        result: &mut *output,
                        result_places: Places::At(&phase.results),
                        finish: finish.of_part(part.start == 0, part.end == self.shares[0]),
                    });
                }
            });
        }
    }

    fn weight_gradient(&self, images: &[f32], of_output: &[f32], of_weights: &mut [f32]) {
        let table = &self.correlation;
        let blocks = images.chunks(table.images * self.from.values());
        for (images, of_output) in blocks.zip(of_output.chunks(table.images * self.to.values())) {
            self.for_each_part(images, |part, source| {
                for (phase, taps) in table.phases.iter().zip(&self.phases) {
                    gradient_of_filter(&mut DepthwiseGradient {
                        positions: phase.positions * (of_output.len() / self.to.values()),
                        channels: self.to.channels,
                        taps: &taps[..part.len() * phase.taps.len()],
                        input: source,
                        input_places: &phase.sources,
                        gradient: of_output,
                        gradient_places: &phase.results,
                        result: &mut of_weights[part.start * self.share_of_weights()..],
                    });
                }
            });
        }
    }
}

/// Writes the nth of each group of `inputs` values to all of a group of `outputs` values.
fn spread_nth(nth: usize, [inputs, outputs]: [usize; 2], from: &[f32], to: &mut [f32]) {
    /// Groups of a size that the compiler knows are stored at once: most are small, and a loop costs more than they do.
    fn spread_to<const OUTPUTS: usize>(nth: usize, inputs: usize, from: &[f32], to: &mut [f32]) {
        let (groups, _) = to.as_chunks_mut::<OUTPUTS>();
        from.chunks_exact(inputs).zip(groups).for_each(|(from, to)| *to = [from[nth]; OUTPUTS]);
    }
    match outputs {
        1 => spread_to::<1>(nth, inputs, from, to),
        2 => spread_to::<2>(nth, inputs, from, to),
        3 => spread_to::<3>(nth, inputs, from, to),
        4 => spread_to::<4>(nth, inputs, from, to),
        5 => spread_to::<5>(nth, inputs, from, to),
        6 => spread_to::<6>(nth, inputs, from, to),
        7 => spread_to::<7>(nth, inputs, from, to),
        8 => spread_to::<8>(nth, inputs, from, to),
        _ => {
            let groups = from.chunks_exact(inputs).zip(to.chunks_exact_mut(outputs));
            groups.for_each(|(from, to)| to.fill(from[nth]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{kernels::Bend, operations::Convolve};
    use nasgen_modules::{Window, randomness::Stream};

    #[test]
    fn the_nth_of_a_group_comes_to_all_of_a_group() {
        for inputs in 1..=9 {
            for outputs in 1..=9 {
                let from: Vec<f32> = (0..inputs * 5).map(|value| value as f32).collect();
                for nth in 0..inputs {
                    let mut to = vec![-1.0; outputs * 5];
                    spread_nth(nth, [inputs, outputs], &from, &mut to);
                    for (place, value) in to.iter().enumerate() {
                        assert_eq!(*value, from[place / outputs * inputs + nth], "{inputs} to {outputs}, {nth}");
                    }
                }
            }
        }
    }

    /// Groups with so many inputs that they go in several parts, forwards and backwards.
    #[test]
    fn parts_add_up_to_what_the_direct_convolution_computes() {
        let size = Size { height: 5, width: 4, channels: 14 };
        let numbers = |count: usize, name: &str| -> Vec<f32> {
            let stream = Stream::new(0, name);
            (0..count as u64).map(|index| stream.uniform(index) * 2.0 - 1.0).collect()
        };
        let close = |actual: &[f32], expected: &[f32], what: &str| {
            for (actual, expected) in actual.iter().zip(expected) {
                assert!((actual - expected).abs() <= 2e-5 * expected.abs().max(1.0), "{what}: {actual} for {expected}");
            }
        };
        for (input, output) in [(size, Size { channels: 4, ..size }), (Size { channels: 4, ..size }, size)] {
            let convolution = Convolution::new(output.channels, Window::centered(3, 1)).groups(2);
            let mut direct = Convolve::new(&convolution, input, output);
            let mut depthwise = Depthwise::new(&convolution, input, output);
            let parts = |direction: &Direction| direction.shares[0].div_ceil(direction.at_a_time);
            assert!(parts(&depthwise.forward).max(parts(&depthwise.backward)) > 1, "all at once");
            let images = 3;
            // A direct convolution has taps × inputs of a group × outputs.
            let weights = numbers(depthwise.weights(), "weights");
            let (inputs, to) = (depthwise.forward.shares[0], output.channels);
            let place = |nth: usize, tap: usize| (tap * inputs + nth) * to;
            let arrange = |from: &[f32], into_direct: bool| {
                let mut arranged = vec![0.0; from.len()];
                for (nth, tap) in (0..inputs).flat_map(|nth| (0..9).map(move |tap| (nth, tap))) {
                    let [ours, theirs] = [(nth * 9 + tap) * to, place(nth, tap)];
                    let [at, there] = if into_direct { [ours, theirs] } else { [theirs, ours] };
                    arranged[there..there + to].copy_from_slice(&from[at..at + to]);
                }
                arranged
            };
            let direct_weights = arrange(&weights, true);
            let seen = numbers(images * input.values(), "seen");
            let of_output = numbers(images * output.values(), "gradients");

            let [mut expected, mut actual] = [vec![0.0; of_output.len()], vec![0.0; of_output.len()]];
            let bias = numbers(output.channels, "bias");
            let finish = Finish::on(&bias, Bend::Hardswish);
            direct.apply(&direct_weights, &seen, &mut expected, finish);
            depthwise.apply(&weights, &seen, &mut actual, finish);
            close(&actual, &expected, "forward");

            direct.prepare_backward(&direct_weights);
            depthwise.prepare_backward(&weights);
            for add in [false, true] {
                let mut expected = numbers(seen.len(), "before");
                let mut actual = expected.clone();
                direct.input_gradient(&direct_weights, &of_output, &mut expected, add);
                depthwise.input_gradient(&weights, &of_output, &mut actual, add);
                close(&actual, &expected, "input gradient");
            }

            let mut expected = numbers(weights.len(), "before");
            let mut actual = arrange(&expected, false);
            direct.weight_gradient(&seen, &of_output, &mut expected);
            depthwise.weight_gradient(&seen, &of_output, &mut actual);
            close(&arrange(&actual, true), &expected, "weight gradient");
        }
    }
}
