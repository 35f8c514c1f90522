//! Sliding windows as shifted slices: the one place where a window meets an image.

use candle_core::{Result, Tensor};
use nasgen_modules::Window;

/// For every tap of the window, the pixels that it sees: batch × channels × taps × height × width,
/// where height and width are the window's `positions`. `outside` stands where the window hangs
/// over the image.
pub(super) fn taps(images: &Tensor, window: &Window, positions: [usize; 2], outside: f32) -> Result<Tensor> {
    let [row_stride, column_stride] = window.stride;
    let extent = window.extent();
    // What the windows reach, rounded up to whole strides.
    let reach = [0, 1].map(|axis| {
        let pixels = (positions[axis] - 1) * window.stride[axis] + extent[axis];
        pixels.next_multiple_of(window.stride[axis])
    });
    let rows = fit(images, 2, window.padding.top, reach[0], outside)?;
    let image = fit(&rows, 3, window.padding.left, reach[1], outside)?;

    // Pixels whose row and column leave the same rest by the stride lie side by side in a phase, so
    // that a tap is a plain slice of one phase at every stride.
    let (batch, channels, height, width) = image.dims4()?;
    let phases = image
        .reshape(&[batch, channels, height / row_stride, row_stride, width / column_stride, column_stride])?
        .permute([3, 5, 0, 1, 2, 4])?;
    let mut slices = Vec::with_capacity(window.taps());
    for row in 0..window.kernel[0] {
        for column in 0..window.kernel[1] {
            let (row, column) = (row * window.dilation[0], column * window.dilation[1]);
            let phase = phases.get(row % row_stride)?.get(column % column_stride)?;
            let slice = phase.narrow(2, row / row_stride, positions[0])?;
            slices.push(slice.narrow(3, column / column_stride, positions[1])?);
        }
    }
    Tensor::stack(&slices, 2)
}

/// The image with `before` pixels of `value` in front of axis `dim`, then cut or filled to `length`.
fn fit(image: &Tensor, dim: usize, before: usize, length: usize, value: f32) -> Result<Tensor> {
    let side = image.dim(dim)?;
    let after = length.saturating_sub(before + side);
    let fill = |pixels: usize| {
        let mut shape = image.dims().to_vec();
        shape[dim] = pixels;
        Tensor::full(value, shape, image.device())
    };
    let mut parts = vec![image.clone()];
    if before > 0 {
        parts.insert(0, fill(before)?);
    }
    if after > 0 {
        parts.push(fill(after)?);
    }
    let filled = if parts.len() == 1 { parts.remove(0) } else { Tensor::cat(&parts, dim)? };
    if before + side + after > length { filled.narrow(dim, 0, length) } else { Ok(filled) }
}
