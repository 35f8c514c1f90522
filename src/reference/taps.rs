//! Sliding windows as one gather: the one place where a window meets an image.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use nasgen_modules::Window;
use rayon::prelude::*;
use std::sync::Arc;

/// For every tap of the window, the pixels that it sees: batch × channels × taps × height × width,
/// where height and width are the window's `positions`. `outside` stands where the window hangs
/// over the image.
pub(super) fn taps(images: &Tensor, window: &Window, positions: [usize; 2], outside: f32) -> Result<Tensor> {
    let (batch, channels, height, width) = images.dims4()?;
    let [rows, columns] = positions;
    if *window == Window::centered(1, 1) {
        return images.unsqueeze(2);
    }
    let seen = pixels_seen(window, positions, [height, width]);
    let images = images.flatten_from(2)?;
    let pixels = if images.device().is_cpu() {
        images.contiguous()?.apply_op1(Gather { seen: Arc::new(seen), outside })?
    } else {
        gather(&images, seen, outside)?
    };
    pixels.reshape((batch, channels, window.taps(), rows, columns))
}

/// Batch × channels × pixels to batch × channels × `seen`, with candle's own operations. The pixel
/// after the last one stands for everything outside.
fn gather(images: &Tensor, seen: Vec<u32>, outside: f32) -> Result<Tensor> {
    let (batch, channels, _) = images.dims3()?;
    let border = Tensor::full(outside, (batch, channels, 1), images.device())?;
    Tensor::cat(&[images, &border], 2)?.index_select(&Tensor::new(seen, images.device())?, 2)
}

/// [`gather`] on the CPU, where candle's is a loop on one thread.
struct Gather {
    seen: Arc<Vec<u32>>,
    outside: f32,
}

/// Its gradient: each pixel gets the sum of what those that saw it got.
struct Scatter {
    seen: Arc<Vec<u32>>,
    pixels: usize,
}

/// Maps each row along the last axis of a contiguous f32 tensor to a row of `length` values.
fn map_rows(
    storage: &CpuStorage,
    layout: &Layout,
    length: usize,
    map: impl Fn(&[f32], &mut [f32]) + Sync,
) -> Result<(CpuStorage, Shape)> {
    let Some((start, end)) = layout.contiguous_offsets() else {
        candle_core::bail!("a window needs a contiguous image");
    };
    let rows = &storage.as_slice::<f32>()?[start..end];
    let (batch, channels, pixels) = layout.shape().dims3()?;
    let mut result = vec![0f32; batch * channels * length];
    result.par_chunks_mut(length).zip(rows.par_chunks(pixels)).for_each(|(to, from)| map(from, to));
    Ok((CpuStorage::F32(result), (batch, channels, length).into()))
}

impl CustomOp1 for Gather {
    fn name(&self) -> &'static str {
        "gather-taps"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        map_rows(storage, layout, self.seen.len(), |pixels, seen| {
            for (value, pixel) in seen.iter_mut().zip(&*self.seen) {
                *value = pixels.get(*pixel as usize).copied().unwrap_or(self.outside);
            }
        })
    }

    fn bwd(&self, images: &Tensor, _result: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let scatter = Scatter { seen: Arc::clone(&self.seen), pixels: images.dim(2)? };
        gradient.contiguous()?.apply_op1_no_bwd(&scatter).map(Some)
    }
}

impl CustomOp1 for Scatter {
    fn name(&self) -> &'static str {
        "scatter-taps"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        map_rows(storage, layout, self.pixels, |seen, pixels| {
            for (value, pixel) in seen.iter().zip(&*self.seen) {
                if let Some(sum) = pixels.get_mut(*pixel as usize) {
                    *sum += value;
                }
            }
        })
    }
}

/// Indices of the pixels that each tap sees at each position; `height · width` is outside.
fn pixels_seen(window: &Window, positions: [usize; 2], size: [usize; 2]) -> Vec<u32> {
    let axis = |axis: usize, before: usize, tap: usize, position: usize| {
        let from_padding = position * window.stride[axis] + tap * window.dilation[axis];
        from_padding.checked_sub(before).filter(|pixel| *pixel < size[axis])
    };
    let mut seen = Vec::with_capacity(window.taps() * positions[0] * positions[1]);
    for tap in 0..window.taps() {
        let (tap_row, tap_column) = (tap / window.kernel[1], tap % window.kernel[1]);
        for position in 0..positions[0] * positions[1] {
            let row = axis(0, window.padding.top, tap_row, position / positions[1]);
            let column = axis(1, window.padding.left, tap_column, position % positions[1]);
            let pixel = row.zip(column).map_or(size[0] * size[1], |(row, column)| row * size[1] + column);
            seen.push(pixel as u32);
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};
    use nasgen_modules::Padding;

    /// The fast path on the CPU against candle's own operations, which every other device uses.
    #[test]
    fn both_ways_to_gather_agree_in_value_and_gradient() {
        let padding = Padding { top: 1, bottom: 0, left: 2, right: 1 };
        let window = Window { kernel: [3, 2], stride: [2, 1], dilation: [1, 2], padding };
        let positions = window.positions([5, 4], false).unwrap();
        let seen = pixels_seen(&window, positions, [5, 4]);
        let images: Vec<f32> = (0..2 * 3 * 20).map(|value| value as f32).collect();
        let images = Var::from_vec(images, (2, 3, 20), &Device::Cpu).unwrap();
        let factors: Vec<f32> = (0..6 * seen.len()).map(|value| (value % 7) as f32).collect();
        let factors = Tensor::from_vec(factors, (2, 3, seen.len()), &Device::Cpu).unwrap();

        let fast = images.apply_op1(Gather { seen: Arc::new(seen.clone()), outside: -1.0 }).unwrap();
        let plain = gather(&images, seen, -1.0).unwrap();
        let values = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(values(&fast), values(&plain));
        let gradient = |result: Tensor| {
            let store = (result * &factors).unwrap().sum_all().unwrap().backward().unwrap();
            values(store.get(&images).unwrap())
        };
        assert_eq!(gradient(fast), gradient(plain));
    }
}
