//! How kernels are told about windows, and how work is cut into blocks of threads.

use crate::operations::Size;
use nasgen_modules::{Convolution, Padding, Window};

/// Threads of a block, where a kernel does not ask for another number.
pub(crate) const THREADS: usize = 256;

/// Lanes of a warp.
const WARP: usize = 32;

/// Blocks that keep a large GPU busy.
const MANY: usize = 512;

/// A window over an image, or a convolution: `Geometry` in the kernels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Geometry {
    pub(crate) input: Size,
    pub(crate) output: Size,
    pub(crate) window: Window,
    pub(crate) groups: usize,
}

impl Geometry {
    pub(crate) fn of_convolution(convolution: &Convolution, input: Size, output: Size) -> Self {
        Self { input, output, window: convolution.window, groups: convolution.groups }
    }

    /// A fully connected layer, as a convolution of an image of one pixel.
    pub(crate) fn of_linear(inputs: usize, outputs: usize) -> Self {
        let pixel = |channels| Size { height: 1, width: 1, channels };
        let window = Window::square(1, 1, Padding::default());
        Self { input: pixel(inputs), output: pixel(outputs), window, groups: 1 }
    }

    /// Whether each channel sees itself alone.
    pub(crate) fn is_depthwise(&self) -> bool {
        self.groups > 1 && self.groups == self.input.channels && self.groups == self.output.channels
    }

    /// As the kernels have it, for a number of images.
    pub(crate) fn words(&self, images: usize) -> Vec<i32> {
        let Self { input, output, window, groups } = self;
        let Window { kernel, stride, dilation, padding } = window;
        [
            images,
            input.height,
            input.width,
            input.channels,
            output.height,
            output.width,
            output.channels,
            kernel[0],
            kernel[1],
            stride[0],
            stride[1],
            dilation[0],
            dilation[1],
            padding.top,
            padding.left,
            *groups,
        ]
        .map(|value| value as i32)
        .to_vec()
    }
}

/// How pixels are cut into parts that are summed: blocks for channels and for pixels, lanes for channels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parts {
    /// Channels of a block, a power of two.
    pub(crate) lanes: usize,
    /// Blocks side by side for all channels.
    pub(crate) slabs: usize,
    /// Blocks for all pixels.
    pub(crate) parts: usize,
}

impl Parts {
    /// For sums of `pixels` in each of `channels`.
    pub(crate) fn of(pixels: usize, channels: usize) -> Self {
        /// Pixels that a thread should have to sum.
        const PIXELS: usize = 8;
        let lanes = channels.next_power_of_two().min(WARP);
        let slabs = channels.div_ceil(lanes);
        let runners = THREADS / lanes;
        let parts = pixels.div_ceil(runners * PIXELS).min((MANY / slabs).max(1));
        Self { lanes, slabs, parts: parts.max(1) }
    }
}

/// A matrix product cut into tiles.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tiles {
    /// Name of the size in the kernels' names.
    pub(crate) name: &'static str,
    pub(crate) threads: usize,
    /// Tiles down and across.
    pub(crate) down: usize,
    pub(crate) across: usize,
}

impl Tiles {
    /// For a product of so many rows and columns in each of `groups`; `wide` where four values are loaded at once.
    pub(crate) fn of(rows: usize, columns: usize, groups: usize, wide: bool) -> Self {
        let cut = |name, warps_down: usize, warps_across: usize| Self {
            name,
            threads: WARP * warps_down * warps_across,
            down: rows.div_ceil(32 * warps_down),
            across: columns.div_ceil(32 * warps_across),
        };
        let (large, narrow) = (cut("large", 4, 2), cut("narrow", 4, 1));
        match columns {
            _ if !wide => cut("small", 2, 2),
            ..=32 => narrow,
            // Large tiles only where they are enough for all processors.
            _ if large.down * large.across * groups >= MANY / 2 => large,
            _ => cut("small", 2, 2),
        }
    }

    /// Into how many parts a sum over `depth` is cut so that there are blocks enough.
    pub(crate) fn splits(&self, groups: usize, depth: usize) -> usize {
        /// Depth that is worth a block.
        const DEPTH: usize = 128;
        let tiles = self.down * self.across * groups;
        (MANY / 2 / tiles).clamp(1, depth.div_ceil(DEPTH).max(1))
    }
}
