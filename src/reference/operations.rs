//! What each primitive computes, composed from operations of candle whose gradients are right.
//!
//! candle 0.11.1's own convolutions, pools, `relu` and clamps are not used: their gradients are
//! wrong, missing or slow for some shapes.

use super::taps::taps;
use crate::train::{Objective, ObjectiveKind};
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

/// What the objective says of scores, both images × classes. `targets` has a distribution for each image.
pub(super) fn objective(scores: &Tensor, targets: &Tensor, objective: &Objective) -> Result<Tensor> {
    let (device, classes) = (scores.device(), objective.classes);
    let per_class = |values: &[f32], otherwise: f32| match values {
        [] => Tensor::full(otherwise, (1, classes), device),
        values => Tensor::from_slice(values, (1, classes), device),
    };
    let weights = per_class(&objective.class_weights, 1.0)?;
    let weighted = targets.broadcast_mul(&weights)?;
    if objective.kind == ObjectiveKind::Binary {
        // softplus(z) − t × z, without overflow.
        let softplus = (((scores + scores.abs()?)? * 0.5)? + (scores.abs()?.neg()?.exp()? + 1.0)?.log()?)?;
        return softplus.sub(&(scores * targets)?)?.broadcast_mul(&weights)?.mean_all();
    }
    let scores = scores.broadcast_add(&per_class(&objective.offsets, 0.0)?)?;
    let shifted = scores.broadcast_sub(&scores.detach().max_keepdim(D::Minus1)?)?;
    let logarithms = shifted.broadcast_sub(&shifted.exp()?.sum_keepdim(D::Minus1)?.log()?)?;
    let losses = match objective.kind {
        ObjectiveKind::Focal { gamma } => ((1.0 - logarithms.exp()?)?.powf(gamma)? * &logarithms)?,
        _ => logarithms,
    };
    let most_probable = targets.argmax(D::Minus1)?;
    let divisor = weights.squeeze(0)?.index_select(&most_probable, 0)?.sum_all()?;
    (weighted * losses)?.sum_all()?.neg()? / divisor
}
