//! The operations of a plan, one file for each kind.

mod activation;
mod arrange;
mod channel_convolution;
mod convolution;
mod depthwise;
mod dropout;
mod joining;
mod linear;
mod norm;
mod pool;

pub(crate) use activation::{Activate, Softmax};
pub(crate) use arrange::Arrange;
pub(crate) use channel_convolution::ChannelConvolve;
pub(crate) use convolution::Convolve;
pub(crate) use depthwise::{Depthwise, MOST_INPUTS};
pub(crate) use dropout::Dropout;
pub(crate) use joining::{Add, Scale};
pub(crate) use linear::Linear;
pub(crate) use norm::Normalise;
pub(crate) use pool::{AdaptivePool, AveragePool, MaxPool};

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

/// Neighbouring taps that see neighbouring pixels, which lie side by side in memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TapRun {
    pub(crate) tap: u32,
    pub(crate) pixel: u32,
    pub(crate) length: u32,
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

    /// The pairs joined to runs: for each position, its runs.
    pub(crate) fn runs(&self) -> Vec<Vec<TapRun>> {
        let runs_at = |position: usize| {
            let mut runs: Vec<TapRun> = Vec::new();
            for (tap, pixel) in self.at(position) {
                match runs.last_mut() {
                    Some(run) if (run.tap + run.length, run.pixel + run.length) == (*tap, *pixel) => run.length += 1,
                    _ => runs.push(TapRun { tap: *tap, pixel: *pixel, length: 1 }),
                }
            }
            runs
        };
        (0..self.positions()).map(runs_at).collect()
    }

    /// The same pairs the other way round: for each pixel, the (tap, position) pairs that see it.
    pub(crate) fn reversed(&self, pixels: usize) -> Self {
        let mut by_pixel = vec![Vec::new(); pixels];
        for position in 0..self.positions() {
            for (tap, pixel) in self.at(position) {
                by_pixel[*pixel as usize].push((*tap, position as u32));
            }
        }
        let mut starts = vec![0];
        starts.extend(by_pixel.iter().scan(0, |end, pairs| {
            *end += pairs.len();
            Some(*end)
        }));
        Self { seen: by_pixel.concat(), starts }
    }

    pub(crate) fn positions(&self) -> usize {
        self.starts.len() - 1
    }

    /// The (tap, pixel) pairs of one position, taps ascending.
    #[inline(always)]
    pub(crate) fn at(&self, position: usize) -> &[(u32, u32)] {
        &self.seen[self.starts[position]..self.starts[position + 1]]
    }
}
