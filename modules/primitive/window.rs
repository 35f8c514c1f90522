//! The sliding window that convolutions and pools share.

use crate::error::{Error, Result};

/// Rows and columns added around an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Padding {
    /// Rows above.
    pub top: usize,
    /// Rows below.
    pub bottom: usize,
    /// Columns on the left.
    pub left: usize,
    /// Columns on the right.
    pub right: usize,
}

impl Padding {
    /// `pixels` on every side.
    pub const fn all(pixels: usize) -> Self {
        Self { top: pixels, bottom: pixels, left: pixels, right: pixels }
    }

    /// `kernel − stride` in all, the smaller half first: an input divisible by `stride` gives
    /// exactly `input / stride`.
    pub const fn same(kernel: usize, stride: usize) -> Self {
        let total = kernel.saturating_sub(stride);
        let (before, after) = (total / 2, total - total / 2);
        Self { top: before, bottom: after, left: before, right: after }
    }
}

/// Kernel, stride, dilation (height, width) and padding of a convolution or a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Taps.
    pub kernel: [usize; 2],
    /// Pixels between two positions.
    pub stride: [usize; 2],
    /// Pixels between two taps.
    pub dilation: [usize; 2],
    /// Pixels added around the input.
    pub padding: Padding,
}

impl Window {
    /// A square window without dilation.
    pub const fn square(kernel: usize, stride: usize, padding: Padding) -> Self {
        Self { kernel: [kernel; 2], stride: [stride; 2], dilation: [1; 2], padding }
    }

    /// A square window that keeps the size at stride 1: `kernel / 2` pixels on each side.
    pub const fn centered(kernel: usize, stride: usize) -> Self {
        Self::square(kernel, stride, Padding::all(kernel / 2))
    }

    /// Number of taps.
    pub const fn taps(&self) -> usize {
        self.kernel[0].saturating_mul(self.kernel[1])
    }

    /// Height and width that the kernel covers, dilation included.
    pub fn extent(&self) -> [usize; 2] {
        [0, 1].map(|axis| self.dilation[axis].saturating_mul(self.kernel[axis].saturating_sub(1)).saturating_add(1))
    }

    /// Height and width after padding `size`.
    pub fn padded(&self, size: [usize; 2]) -> [usize; 2] {
        let Padding { top, bottom, left, right } = self.padding;
        [size[0].saturating_add(top).saturating_add(bottom), size[1].saturating_add(left).saturating_add(right)]
    }

    /// Positions of the window over an input of `size`. With `ceil_mode` a last position may hang
    /// over the end, as long as it begins inside the input or its first padding (PyTorch's rule).
    pub fn positions(&self, size: [usize; 2], ceil_mode: bool) -> Result<[usize; 2]> {
        if self.kernel.contains(&0) || self.stride.contains(&0) || self.dilation.contains(&0) {
            return Err(Error::row(format!("kernel, stride and dilation must be at least 1, got {self:?}")));
        }
        let (padded, extent) = (self.padded(size), self.extent());
        if padded[0] < extent[0] || padded[1] < extent[1] {
            return Err(Error::row(format!(
                "a window of {}×{} does not fit into the image of {}×{} ({}×{} with padding)",
                extent[0], extent[1], size[0], size[1], padded[0], padded[1],
            )));
        }
        Ok([0, 1].map(|axis| {
            let (room, stride) = (padded[axis] - extent[axis], self.stride[axis]);
            let first_padding = [self.padding.top, self.padding.left][axis];
            let hangs_over = ceil_mode && room % stride != 0;
            let positions = room / stride + 1 + usize::from(hangs_over);
            if hangs_over && (positions - 1) * stride >= size[axis] + first_padding { positions - 1 } else { positions }
        }))
    }
}
