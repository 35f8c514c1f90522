//! Convolution as a matrix product of the pixels that each window sees with the weights.

use super::{Size, TapRun, Taps};
use crate::{
    chunks,
    instructions::vectorised,
    matrix::{Layout, multiply},
    operation::{Forward, Gradients, Operation, Run},
};
use nasgen_modules::Convolution;

/// A convolution in any number of groups. Parameters: output channels × taps × input channels of
/// the group, then the bias if there is one.
pub(crate) struct Convolve {
    input: Size,
    output: Size,
    groups: usize,
    taps: usize,
    bias: bool,
    /// `None` where a window sees just its own pixel: then nothing has to be gathered.
    windows: Option<Windows>,
    partials: Vec<f32>,
}

/// What windows see, position by position.
pub(crate) struct Windows {
    runs: Vec<Vec<TapRun>>,
    taps: usize,
    channels: usize,
    groups: usize,
}

impl Convolve {
    pub(crate) fn new(convolution: &Convolution, input: Size, output: Size) -> Self {
        let window = convolution.window;
        let in_place = window.taps() == 1 && window.stride == [1, 1] && input.pixels() == output.pixels();
        let windows = (!in_place).then(|| Windows {
            runs: Taps::of(&window, input, output).runs(),
            taps: window.taps(),
            channels: input.channels,
            groups: convolution.groups,
        });
        let (groups, bias) = (convolution.groups, convolution.bias);
        Self { input, output, groups, taps: window.taps(), bias, windows, partials: Vec::new() }
    }

    /// Values that a window sees in one group.
    fn inner(&self) -> usize {
        self.taps * self.input.channels / self.groups
    }

    fn weights(&self) -> usize {
        self.output.channels * self.inner()
    }

    /// Calls `work` with each group's part of the matrices: the weights' layout and start, the
    /// columns of the output, and the columns of what was gathered.
    fn for_each_group(&self, pixels: usize, mut work: impl FnMut(Group)) {
        let (inner, outs) = (self.inner(), self.output.channels / self.groups);
        let gathered = if self.windows.is_some() { inner } else { self.input.channels };
        for group in 0..self.groups {
            let seen_start = group * if self.windows.is_some() { pixels * inner } else { inner };
            work(Group {
                weights: (group * outs * inner, Layout::rows(outs, inner, inner)),
                output: (group * outs, Layout::rows(pixels, outs, self.output.channels)),
                seen: (seen_start, Layout::rows(pixels, inner, gathered)),
            });
        }
    }

    /// What the windows of one image see: groups × positions × taps × channels of the group.
    fn gather(&self, windows: &Windows, image: &[f32], seen: &mut Vec<f32>) {
        seen.clear();
        seen.resize(windows.runs.len() * self.taps * self.input.channels, 0.0);
        gather_pixels(windows, image, seen);
    }
}

/// One group's part of each matrix: where it begins, and its layout.
#[derive(Clone, Copy)]
struct Group {
    weights: (usize, Layout),
    output: (usize, Layout),
    seen: (usize, Layout),
}

impl Operation for Convolve {
    fn forward(&mut self, run: &Run, parameters: &[f32], inputs: &[&[f32]], output: &mut [f32]) {
        let this = &*self;
        let (weights, bias) = parameters.split_at(this.weights());
        let product = |seen: &[f32], output: &mut [f32], pixels: usize| {
            this.for_each_group(pixels, |group| {
                multiply(
                    (&mut output[group.output.0..], group.output.1),
                    false,
                    (&seen[group.seen.0..], group.seen.1),
                    (&weights[group.weights.0..], group.weights.1.transposed()),
                );
            });
            if this.bias {
                for pixel in output.chunks_mut(this.output.channels) {
                    pixel.iter_mut().zip(bias).for_each(|(value, bias)| *value += bias);
                }
            }
        };
        chunks::for_each(run.images, output, this.output.values(), |first, output| {
            let input = &inputs[0][first * this.input.values()..];
            match &this.windows {
                None => product(input, output, output.len() / this.output.channels),
                Some(windows) => {
                    let mut seen = Vec::new();
                    for (image, output) in
                        input.chunks(this.input.values()).zip(output.chunks_mut(this.output.values()))
                    {
                        this.gather(windows, image, &mut seen);
                        product(&seen, output, this.output.pixels());
                    }
                }
            }
        });
    }

    fn backward(&mut self, run: &Run, forward: &Forward<'_>, gradients: Gradients<'_>) {
        let mut partials = std::mem::take(&mut self.partials);
        let this = &*self;
        let of_output = &*gradients.output;
        chunks::sum_into(run.images, &mut partials, gradients.parameters, |images, sums| {
            this.parameter_gradient(images, forward.inputs[0], of_output, sums);
        });
        self.partials = partials;
        let this = &*self;
        let weights = &forward.parameters[..this.weights()];
        chunks::for_each(run.images, gradients.inputs[0], this.input.values(), |first, of_input| {
            let of_output = &of_output[first * this.output.values()..];
            this.input_gradient(weights, of_output, of_input);
        });
    }
}

impl Convolve {
    fn parameter_gradient(&self, images: std::ops::Range<usize>, input: &[f32], of_output: &[f32], sums: &mut [f32]) {
        let (of_weights, of_bias) = sums.split_at_mut(self.weights());
        let mut product = |seen: &[f32], of_output: &[f32], pixels: usize| {
            self.for_each_group(pixels, |group| {
                multiply(
                    (&mut of_weights[group.weights.0..], group.weights.1),
                    true,
                    (&of_output[group.output.0..], group.output.1.transposed()),
                    (&seen[group.seen.0..], group.seen.1),
                );
            });
        };
        let input = &input[images.start * self.input.values()..images.end * self.input.values()];
        let of_output = &of_output[images.start * self.output.values()..images.end * self.output.values()];
        match &self.windows {
            None => product(input, of_output, images.len() * self.output.pixels()),
            Some(windows) => {
                let mut seen = Vec::new();
                for (image, of_output) in input.chunks(self.input.values()).zip(of_output.chunks(self.output.values()))
                {
                    self.gather(windows, image, &mut seen);
                    product(&seen, of_output, self.output.pixels());
                }
            }
        }
        if self.bias {
            for pixel in of_output.chunks(self.output.channels) {
                of_bias.iter_mut().zip(pixel).for_each(|(sum, value)| *sum += value);
            }
        }
    }

    /// Gradients of some images, from those of their outputs.
    fn input_gradient(&self, weights: &[f32], of_output: &[f32], of_input: &mut [f32]) {
        let product = |of_output: &[f32], of_seen: &mut [f32], pixels: usize| {
            self.for_each_group(pixels, |group| {
                multiply(
                    (&mut of_seen[group.seen.0..], group.seen.1),
                    false,
                    (&of_output[group.output.0..], group.output.1),
                    (&weights[group.weights.0..], group.weights.1),
                );
            });
        };
        let Some(windows) = &self.windows else {
            return product(of_output, of_input, of_input.len() / self.input.channels);
        };
        let mut of_seen = vec![0.0; windows.runs.len() * self.taps * self.input.channels];
        for (of_image, of_output) in
            of_input.chunks_mut(self.input.values()).zip(of_output.chunks(self.output.values()))
        {
            product(of_output, &mut of_seen, self.output.pixels());
            of_image.fill(0.0);
            scatter_pixels(windows, &of_seen, of_image);
        }
    }
}

impl Windows {
    /// Calls `work` with each piece of an image and the place of that piece in what was gathered:
    /// (start in the image, start in what was gathered, length).
    #[inline(always)]
    fn for_each_piece(&self, mut work: impl FnMut(usize, usize, usize)) {
        let Self { taps, channels, groups, .. } = *self;
        let share = channels / groups;
        for (position, runs) in self.runs.iter().enumerate() {
            for run in runs {
                let (tap, pixel, length) = (run.tap as usize, run.pixel as usize, run.length as usize);
                if groups == 1 {
                    work(pixel * channels, (position * taps + tap) * channels, length * channels);
                    continue;
                }
                // Groups lie apart in what was gathered, so only single taps lie side by side.
                for (step, group) in (0..length).flat_map(|step| (0..groups).map(move |group| (step, group))) {
                    let to = ((group * self.runs.len() + position) * taps + tap + step) * share;
                    work((pixel + step) * channels + group * share, to, share);
                }
            }
        }
    }
}

vectorised! {
    /// Copies the pixels of `image` that each window sees to `seen`, which is 0 where it sees none.
    fn gather_pixels(windows: &Windows, image: &[f32], seen: &mut [f32]) {
        windows.for_each_piece(|from, to, length| seen[to..to + length].copy_from_slice(&image[from..from + length]));
    }

    /// Adds what was gathered back to the pixels that it came from.
    fn scatter_pixels(windows: &Windows, seen: &[f32], image: &mut [f32]) {
        windows.for_each_piece(|to, from, length| {
            for (to, from) in image[to..to + length].iter_mut().zip(&seen[from..from + length]) {
                *to += from;
            }
        });
    }
}
