//! Convolution over the channels of one pixel.

use crate::{
    chunks,
    operation::{Forward, Gradients, Operation, Run},
};

/// One odd kernel over the channels, zeros beyond the ends. Parameters: its taps.
pub(crate) struct ChannelConvolve {
    pub(crate) channels: usize,
    pub(crate) kernel: usize,
    pub(crate) partials: Vec<f32>,
}

impl ChannelConvolve {
    /// The (tap, channel seen) pairs of a channel.
    fn seen(&self, channel: usize) -> impl Iterator<Item = (usize, usize)> {
        let (half, channels) = (self.kernel / 2, self.channels);
        (0..self.kernel)
            .map(move |tap| (tap, (channel + tap).wrapping_sub(half)))
            .filter(move |(_, seen)| *seen < channels)
    }
}

impl Operation for ChannelConvolve {
    fn apply(&self, run: &Run, parameters: &[f32], inputs: &[&[f32]], output: &mut [f32]) {
        chunks::for_each(run.images, output, self.channels, |first, output| {
            let input = &inputs[0][first * self.channels..];
            for (to, from) in output.chunks_mut(self.channels).zip(input.chunks(self.channels)) {
                for (channel, to) in to.iter_mut().enumerate() {
                    *to = self.seen(channel).map(|(tap, seen)| parameters[tap] * from[seen]).sum();
                }
            }
        });
    }

    fn backward(&mut self, run: &Run, forward: &Forward<'_>, gradients: Gradients<'_>) {
        let mut partials = std::mem::take(&mut self.partials);
        let (channels, this) = (self.channels, &*self);
        let (input, of_output) = (forward.inputs[0], &*gradients.output);
        chunks::sum_into(run.images, &mut partials, gradients.parameters, |images, sums| {
            for image in images {
                let (input, of_output) = (&input[image * channels..][..channels], &of_output[image * channels..]);
                for channel in 0..channels {
                    for (tap, seen) in this.seen(channel) {
                        sums[tap] += of_output[channel] * input[seen];
                    }
                }
            }
        });
        chunks::for_each(run.images, gradients.inputs[0].ready_for_sums(), channels, |first, of_input| {
            let of_output = &of_output[first * channels..];
            for (to, from) in of_input.chunks_mut(channels).zip(of_output.chunks(channels)) {
                for (channel, from) in from.iter().enumerate() {
                    for (tap, seen) in this.seen(channel) {
                        to[seen] += forward.parameters[tap] * from;
                    }
                }
            }
        });
        self.partials = partials;
    }
}
