//! Convolution of each channel by itself, or of few channels together.

use super::{Size, filter::Filter};
use crate::{
    chunks,
    kernels::{DepthwiseFilter, DepthwiseGradient, Places, filter_channels, gradient_of_filter},
    window::Correlation,
};
use nasgen_modules::Convolution;

/// A convolution in small groups, as a sum of depthwise ones: the n-th takes, for each
/// output channel, the n-th input channel of its group. Weights: inputs of a group × taps × output
/// channels.
pub(crate) struct Depthwise {
    input: Size,
    output: Size,
    forward: Correlation,
    backward: Correlation,
    /// For each of the depthwise convolutions, the input channel of each output channel; empty
    /// where they are the same ones.
    channels: Vec<Vec<u32>>,
    /// Weights of one of them.
    weights: usize,
}

impl Depthwise {
    /// Calls `work` with the images as the depthwise convolution with these `channels` sees them.
    fn with_spread(&self, channels: &[u32], images: &[f32], work: impl FnOnce(&[f32])) {
        if channels.is_empty() {
            return work(images);
        }
        let pixels = images.len() / self.input.channels;
        chunks::with_room(pixels * channels.len(), |room| {
            let rows = images.chunks_exact(self.input.channels).zip(room.chunks_exact_mut(channels.len()));
            for (from, to) in rows {
                to.iter_mut().zip(channels).for_each(|(to, channel)| *to = from[*channel as usize]);
            }
            work(room);
        });
    }

    /// The transposed filter, for each phase of the windows.
    fn filter_back(&self, weights: &[f32], source: &[f32], result: &mut [f32], add: bool) {
        let spread = self.input.pixels() * self.output.channels;
        for phase in &self.backward.phases {
            filter_channels(&mut DepthwiseFilter {
                positions: phase.positions * (result.len() / spread),
                channels: self.output.channels,
                taps: &phase.taps,
                input: source,
                input_places: Places::At(&phase.sources),
                weights,
                result,
                result_places: Places::At(&phase.results),
                add,
            });
        }
    }
}

impl Filter for Depthwise {
    fn new(convolution: &Convolution, input: Size, output: Size) -> Self {
        let Convolution { window, groups, .. } = *convolution;
        let spread = Size { channels: output.channels, ..input };
        let (inputs, outputs) = (input.channels / groups, output.channels / groups);
        let channels_of = |nth: usize| (0..output.channels).map(|out| (out / outputs * inputs + nth) as u32).collect();
        let is_plain = inputs == 1 && outputs == 1;
        let channels = if is_plain { vec![Vec::new()] } else { (0..inputs).map(channels_of).collect() };
        Self {
            input,
            output,
            forward: Correlation::forward(&window, spread, output),
            backward: Correlation::backward(&window, spread, output),
            channels,
            weights: window.taps() * output.channels,
        }
    }

    fn input(&self) -> Size {
        self.input
    }

    fn output(&self) -> Size {
        self.output
    }

    fn weights(&self) -> usize {
        self.weights * self.channels.len()
    }

    fn images_at_a_time(&self) -> usize {
        self.forward.images.max(self.backward.images)
    }

    fn apply(&self, weights: &[f32], images: &[f32], output: &mut [f32]) {
        let table = &self.forward;
        let blocks = images.chunks(table.images * self.input.values());
        for (images, output) in blocks.zip(output.chunks_mut(table.images * self.output.values())) {
            for (nth, (channels, weights)) in self.channels.iter().zip(weights.chunks(self.weights)).enumerate() {
                self.with_spread(channels, images, |source| {
                    for phase in &table.phases {
                        filter_channels(&mut DepthwiseFilter {
                            positions: phase.positions * (output.len() / self.output.values()),
                            channels: self.output.channels,
                            taps: &phase.taps,
                            input: source,
                            input_places: Places::At(&phase.sources),
                            weights,
                            result: &mut *output,
                            result_places: Places::At(&phase.results),
                            add: nth > 0,
                        });
                    }
                });
            }
        }
    }

    fn input_gradient(&self, weights: &[f32], of_output: &[f32], of_input: &mut [f32], add: bool) {
        let table = &self.backward;
        let blocks = of_output.chunks(table.images * self.output.values());
        for (of_output, of_input) in blocks.zip(of_input.chunks_mut(table.images * self.input.values())) {
            if let [channels] = &self.channels[..]
                && channels.is_empty()
            {
                self.filter_back(weights, of_output, of_input, add);
                continue;
            }
            if !add {
                of_input.fill(0.0);
            }
            let pixels = of_input.len() / self.input.channels;
            chunks::with_room(pixels * self.output.channels, |room| {
                for (channels, weights) in self.channels.iter().zip(weights.chunks(self.weights)) {
                    self.filter_back(weights, of_output, room, false);
                    let rows = of_input.chunks_mut(self.input.channels).zip(room.chunks(self.output.channels));
                    for (to, from) in rows {
                        from.iter().zip(channels).for_each(|(from, channel)| to[*channel as usize] += from);
                    }
                }
            });
        }
    }

    fn weight_gradient(&self, images: &[f32], of_output: &[f32], of_weights: &mut [f32]) {
        let table = &self.forward;
        let blocks = images.chunks(table.images * self.input.values());
        for (images, of_output) in blocks.zip(of_output.chunks(table.images * self.output.values())) {
            for (channels, of_weights) in self.channels.iter().zip(of_weights.chunks_mut(self.weights)) {
                self.with_spread(channels, images, |source| {
                    for phase in &table.phases {
                        gradient_of_filter(&mut DepthwiseGradient {
                            positions: phase.positions * (of_output.len() / self.output.values()),
                            channels: self.output.channels,
                            taps: &phase.taps,
                            input: source,
                            input_places: &phase.sources,
                            gradient: of_output,
                            gradient_places: &phase.results,
                            result: of_weights,
                        });
                    }
                });
            }
        }
    }
}
