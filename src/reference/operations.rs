//! What each primitive computes, composed from operations of candle whose gradients are right.
//!
//! candle 0.11.1's own convolutions, pools, `relu` and clamps are not used: their gradients are
//! wrong, missing or slow for some shapes.

use super::taps::taps;
use candle_core::{D, DType, Result, Tensor};
use candle_nn::ops::sigmoid;
use nasgen_modules::{Activation, Convolution, Window};

/// Matrix product of the weights with the pixels that each window sees, group by group.
pub(super) fn convolution(
    images: &Tensor,
    convolution: &Convolution,
    size: [usize; 2],
    weight: &Tensor,
    bias: Option<&Tensor>,
) -> Result<Tensor> {
    let (batch, channels, ..) = images.dims4()?;
    let Convolution { out, window, groups, .. } = *convolution;
    let inner = channels / groups * window.taps();
    let pixels = size[0] * size[1];
    let seen = taps(images, &window, size, 0.0)?.reshape((batch, groups, inner, pixels))?;
    let weight = weight.reshape((1, groups, out / groups, inner))?;
    let result = weight.broadcast_matmul(&seen)?.reshape((batch, out, size[0], size[1]))?;
    match bias {
        None => Ok(result),
        Some(bias) => {
            let shifted = result.flatten_from(2)?.broadcast_add(&per_channel(bias, batch)?)?;
            shifted.reshape(result.shape())
        }
    }
}

/// One value per channel as batch × channels × 1, to be spread over the pixels of batch × channels
/// × pixels: candle sums gradients fast only along the last axis.
pub(super) fn per_channel(values: &Tensor, batch: usize) -> Result<Tensor> {
    let channels = values.elem_count();
    values.reshape((1, channels, 1))?.broadcast_as((batch, channels, 1))?.contiguous()
}

/// The largest pixel that each window sees. Among equal ones the first gets the gradient.
pub(super) fn max_pool(images: &Tensor, window: &Window, size: [usize; 2]) -> Result<Tensor> {
    first_largest(&taps(images, window, size, f32::MIN)?)
}

/// The largest along axis 2 of batch × channels × taps × height × width.
fn first_largest(seen: &Tensor) -> Result<Tensor> {
    let taps = Tensor::arange(0, seen.dim(2)? as u32, seen.device())?.reshape((1, 1, (), 1, 1))?;
    let largest = seen.detach().argmax_keepdim(2)?;
    let chosen = taps.broadcast_eq(&largest)?.to_dtype(DType::F32)?;
    (seen * chosen)?.sum(2)
}

/// The mean of the pixels that each window sees.
pub(super) fn average_pool(
    images: &Tensor,
    window: &Window,
    size: [usize; 2],
    count_include_pad: bool,
) -> Result<Tensor> {
    let (_, _, height, width) = images.dims4()?;
    let sums = taps(images, window, size, 0.0)?.sum(2)?;
    let divisor = |position: [usize; 2]| {
        [0, 1].map(|axis| pixels_counted(window, axis, [height, width][axis], position[axis], count_include_pad))
    };
    let divisors: Vec<f32> = (0..size[0] * size[1])
        .map(|at| divisor([at / size[1], at % size[1]]).iter().product::<usize>() as f32)
        .collect();
    let divisors = Tensor::from_vec(divisors, (1, 1, size[0], size[1]), images.device())?;
    sums.broadcast_div(&divisors)
}

/// Pixels of one window along one axis that count in its mean. Pixels beyond the padding, where
/// `ceil_mode` lets a window hang over, never count (PyTorch's rule).
fn pixels_counted(window: &Window, axis: usize, side: usize, position: usize, count_include_pad: bool) -> usize {
    let before = [window.padding.top, window.padding.left][axis];
    let after = [window.padding.bottom, window.padding.right][axis];
    let start = position * window.stride[axis];
    let end = (start + window.kernel[axis]).min(before + side + after);
    if count_include_pad { end - start } else { end.min(before + side) - start.max(before) }
}

/// The mean of each of `output × output` parts; they overlap where the side is no multiple.
pub(super) fn adaptive_average_pool(images: &Tensor, output: usize) -> Result<Tensor> {
    adaptive_parts(images, output, |part| part.mean_keepdim((2, 3)))
}

/// The largest of each of `output × output` parts.
pub(super) fn adaptive_max_pool(images: &Tensor, output: usize) -> Result<Tensor> {
    adaptive_parts(images, output, |part| {
        let (batch, channels, ..) = part.dims4()?;
        first_largest(&part.reshape((batch, channels, (), 1, 1))?)
    })
}

fn adaptive_parts(images: &Tensor, output: usize, reduce: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
    let (_, _, height, width) = images.dims4()?;
    let range = |part: usize, side: usize| {
        let start = part * side / output;
        (start, ((part + 1) * side).div_ceil(output) - start)
    };
    let row = |part: usize| {
        let (top, rows) = range(part, height);
        let strip = images.narrow(2, top, rows)?;
        let cell = |part: usize| {
            let (left, columns) = range(part, width);
            reduce(&strip.narrow(3, left, columns)?)
        };
        Tensor::cat(&(0..output).map(cell).collect::<Result<Vec<_>>>()?, 3)
    };
    Tensor::cat(&(0..output).map(row).collect::<Result<Vec<_>>>()?, 2)
}

/// Channel `g·n + i` moves to `i·groups + g`.
pub(super) fn channel_shuffle(images: &Tensor, groups: usize) -> Result<Tensor> {
    let (batch, channels, height, width) = images.dims4()?;
    images
        .reshape((batch, groups, channels / groups, height, width))?
        .transpose(1, 2)?
        .reshape((batch, channels, height, width))
}

/// Convolution over the channels of batch × channels × 1 × 1.
pub(super) fn channel_convolution(values: &Tensor, kernel: usize, weight: &Tensor) -> Result<Tensor> {
    let (batch, channels, ..) = values.dims4()?;
    let row = values.reshape((batch, 1, 1, channels))?;
    let square = Window::centered(1, 1);
    let padding = nasgen_modules::Padding { left: kernel / 2, right: kernel / 2, ..square.padding };
    let over_channels = Convolution::new(1, Window { kernel: [1, kernel], padding, ..square });
    convolution(&row, &over_channels, [1, channels], weight, None)?.reshape((batch, channels, 1, 1))
}

/// Each pixel as `factor × factor` equal ones.
pub(super) fn upsample(images: &Tensor, factor: usize) -> Result<Tensor> {
    let (batch, channels, height, width) = images.dims4()?;
    images
        .reshape(&[batch, channels, height, 1, width, 1])?
        .broadcast_as(&[batch, channels, height, factor, width, factor])?
        .reshape((batch, channels, height * factor, width * factor))
}

/// 1 where `condition` holds, else 0; no gradient passes.
fn mask(condition: Tensor) -> Result<Tensor> {
    Ok(condition.to_dtype(DType::F32)?.detach())
}

/// An activation with PyTorch's values and, at the kinks, PyTorch's gradients.
pub(super) fn activation(x: &Tensor, activation: Activation) -> Result<Tensor> {
    match activation {
        Activation::ReLU => x * mask(x.gt(0.0)?)?,
        Activation::ReLU6 => clamp(x, 0.0, 6.0),
        Activation::Hardswish => {
            let curved = ((x * (x + 3.0)?)? / 6.0)?;
            let inside = mask(x.gt(-3.0)?)?.mul(&mask(x.lt(3.0)?)?)?;
            (curved * inside)? + (x * mask(x.ge(3.0)?)?)?
        }
        Activation::Hardsigmoid => clamp(&(x + 3.0)?, 0.0, 6.0)? / 6.0,
        Activation::SiLU => x * sigmoid(x)?,
        Activation::Sigmoid => sigmoid(x),
        Activation::GELU => (x * 0.5)? * ((x / std::f64::consts::SQRT_2)?.erf()? + 1.0)?,
        Activation::LeakyReLU => (x * mask(x.gt(0.0)?)?)? + ((x * mask(x.le(0.0)?)?)? * 0.01)?,
        Activation::ELU => {
            let negative = (x * mask(x.le(0.0)?)?)?;
            (x * mask(x.gt(0.0)?)?)? + (negative.exp()? - 1.0)?
        }
        Activation::Mish => {
            // ln(1 + eˣ) without overflow: max(x, 0) + ln(1 + e^−|x|).
            let positive = mask(x.gt(0.0)?)?;
            let sign = ((&positive * 2.0)? - 1.0)?;
            let softplus = ((x * &positive)? + ((x * sign)?.neg()?.exp()? + 1.0)?.log()?)?;
            x * softplus.tanh()?
        }
        Activation::Tanh => x.tanh(),
        Activation::Softmax => {
            let shifted = x.broadcast_sub(&x.detach().max_keepdim(1)?)?.exp()?;
            shifted.broadcast_div(&shifted.sum_keepdim(1)?)
        }
    }
}

/// `x` between `low` and `high`; no gradient at or beyond them.
fn clamp(x: &Tensor, low: f64, high: f64) -> Result<Tensor> {
    let inside = mask(x.gt(low)?)?.mul(&mask(x.lt(high)?)?)?;
    let above = (mask(x.ge(high)?)? * high)?;
    (x * inside)? + (above + (mask(x.le(low)?)? * low)?)?
}

/// Mean cross-entropy of class scores, with `smoothing` of the target spread over all classes
/// (PyTorch's `CrossEntropyLoss`).
pub(super) fn cross_entropy(scores: &Tensor, labels: &Tensor, smoothing: f64) -> Result<Tensor> {
    let shifted = scores.broadcast_sub(&scores.detach().max_keepdim(D::Minus1)?)?;
    let log_probability = shifted.broadcast_sub(&shifted.exp()?.sum_keepdim(D::Minus1)?.log()?)?;
    let of_label = log_probability.gather(&labels.unsqueeze(1)?, 1)?.mean_all()?;
    let of_all = log_probability.mean_all()?;
    (of_label * (1.0 - smoothing))?.add(&(of_all * smoothing)?)?.neg()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::Weights;
    use candle_core::{Device, Var};
    use std::path::Path;

    #[test]
    fn cross_entropy_equals_pytorch_with_and_without_smoothing() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/training/cross_entropy.safetensors");
        let (fixture, _) = Weights::load(&path).unwrap();
        let array = |name: &str| fixture.get(name).unwrap_or_else(|| panic!("no {name}"));
        let logits = array("logits");
        let scores = Var::from_slice(&logits.values, logits.shape.as_slice(), &Device::Cpu).unwrap();
        let labels: Vec<u32> = array("labels").values.iter().map(|label| *label as u32).collect();
        let labels = Tensor::new(labels, &Device::Cpu).unwrap();
        for (suffix, smoothing) in [("0", 0.0), ("01", 0.1)] {
            let loss = cross_entropy(&scores, &labels, smoothing).unwrap();
            let expected = array(&format!("loss_{suffix}")).values[0];
            assert!((loss.to_scalar::<f32>().unwrap() - expected).abs() < 1e-5);
            let gradient = loss.backward().unwrap().get(&scores).unwrap().flatten_all().unwrap();
            for (actual, expected) in
                gradient.to_vec1::<f32>().unwrap().iter().zip(&array(&format!("grad_{suffix}")).values)
            {
                assert!((actual - expected).abs() < 1e-6, "{actual} {expected}");
            }
        }
    }
}
