//! The operations of a plan, one file for each kind.

mod activation;
mod arrange;
mod bands;
mod channel_convolution;
mod convolution;
mod depthwise;
mod dropout;
mod filter;
mod filtered;
mod joining;
mod norm;
mod paired;
mod pool;
mod sums;
mod winograd;

pub(crate) use activation::{Activate, Softmax};
pub(crate) use arrange::{Arrange, sources};
pub(crate) use channel_convolution::ChannelConvolve;
pub(crate) use convolution::Convolve;
pub(crate) use depthwise::Depthwise;
pub(crate) use dropout::Dropout;
pub(crate) use filtered::{Filtered, Followers, Residual};
pub(crate) use joining::{Add, Scale};
pub(crate) use norm::{Normalise, Normaliser};
pub(crate) use paired::Paired;
pub(crate) use pool::{AdaptivePool, AveragePool, MaxPool, average_factors};
pub(crate) use winograd::Winograd;

use nasgen_modules::{Shape, Window};

/// Height, width and channels of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) channels: usize,
}

impl Size {
    pub(crate) fn of(shape: Shape) -> Self {
        let [height, width] = shape.size().unwrap_or([1, 1]);
        Self { height, width, channels: shape.channels() }
    }

    pub(crate) const fn pixels(self) -> usize {
        self.height * self.width
    }

    pub(crate) const fn values(self) -> usize {
        self.pixels() * self.channels
    }
}

/// Which pixel each tap of a window sees at each position; taps that see the padding are left out.
#[derive(Clone, Debug)]
pub(crate) struct Taps {
    /// For each position, in order, its (tap, pixel) pairs.
    seen: Vec<(u32, u32)>,
    /// Where each position's pairs begin in `seen`, and the end.
    starts: Vec<usize>,
}

impl Taps {
    /// The taps of `window` at the positions of `output` over `input`.
    pub(crate) fn of(window: &Window, input: Size, output: Size) -> Self {
        let mut taps = Self { seen: Vec::new(), starts: vec![0] };
        for row in 0..output.height {
            for column in 0..output.width {
                for tap_row in 0..window.kernel[0] {
                    for tap_column in 0..window.kernel[1] {
                        let y = row * window.stride[0] + tap_row * window.dilation[0];
                        let x = column * window.stride[1] + tap_column * window.dilation[1];
                        let (y, x) = (y.wrapping_sub(window.padding.top), x.wrapping_sub(window.padding.left));
                        if y < input.height && x < input.width {
                            let tap = tap_row * window.kernel[1] + tap_column;
                            taps.seen.push((tap as u32, (y * input.width + x) as u32));
                        }
                    }
                }
                taps.starts.push(taps.seen.len());
            }
        }
        taps
    }

    /// Number of pairs at all positions.
    pub(crate) fn count(&self) -> usize {
        self.seen.len()
    }

    /// The (tap, pixel) pairs of one position, taps ascending.
    #[inline(always)]
    pub(crate) fn at(&self, position: usize) -> &[(u32, u32)] {
        &self.seen[self.starts[position]..self.starts[position + 1]]
    }
}
