//! Sums over all pixels for each channel: what a norm measures forwards and backwards.

use super::norm::Lines;
use crate::{
    activation::{Arithmetic, Curve},
    instructions::vectorised,
};

/// Some neighbouring channels of all pixels.
struct Columns<'a> {
    rows: &'a [f32],
    channels: usize,
    first: usize,
}

impl Columns<'_> {
    fn pixels(&self) -> usize {
        self.rows.len() / self.channels
    }

    /// `WIDE` of the channels of a pixel.
    #[inline(always)]
    fn at<const WIDE: usize>(&self, pixel: usize) -> &[f32; WIDE] {
        array(&self.rows[pixel * self.channels + self.first..])
    }
}

/// The first values of a slice.
#[inline(always)]
pub(super) fn array<const WIDE: usize>(values: &[f32]) -> &[f32; WIDE] {
    values[..WIDE].try_into().expect("as many values as asked for")
}

/// Adds to `sums` the sums and squares of `WIDE` channels, whose distances from `origin` are summed in registers, in
/// `TURNS` sums that take turns: one alone would wait for itself. Gives `WIDE`.
#[inline(always)]
fn squares_of<A: Arithmetic, const WIDE: usize, const TURNS: usize>(
    columns: &Columns<'_>,
    origin: &[f32],
    sums: &mut [f32],
) -> usize {
    let origin: [f32; WIDE] = *array(&origin[columns.first..]);
    let (mut sum, mut square) = ([[0.0; WIDE]; TURNS], [[0.0; WIDE]; TURNS]);
    let pixels = columns.pixels();
    for first in (0..pixels).step_by(TURNS) {
        for turn in 0..TURNS {
            if first + turn == pixels {
                break;
            }
            let values = columns.at::<WIDE>(first + turn);
            for channel in 0..WIDE {
                let value = values[channel] - origin[channel];
                sum[turn][channel] += value;
                square[turn][channel] = A::mul_add(value, value, square[turn][channel]);
            }
        }
    }
    add_up(columns, [&sum, &square], sums);
    WIDE
}

/// As [`squares_of`], whose loops it repeats because the compiler does not vectorise what stands in a closure: of
/// gradients before the activation and of these times the distance from the mean.
#[inline(always)]
fn moments_of<A: Arithmetic, C: Curve, const WIDE: usize, const TURNS: usize>(
    curve: C,
    columns: &Columns<'_>,
    gradients: &mut [f32],
    lines: &Lines,
    mean: &[f32],
    sums: &mut [f32],
) -> usize {
    let of_block = |values: &[f32]| -> [f32; WIDE] { *array(&values[columns.first..]) };
    let (scale, shift, mean) = (of_block(&lines.scale), of_block(&lines.shift), of_block(mean));
    let (mut sum, mut moment) = ([[0.0; WIDE]; TURNS], [[0.0; WIDE]; TURNS]);
    let pixels = columns.pixels();
    for first in (0..pixels).step_by(TURNS) {
        for turn in 0..TURNS {
            if first + turn == pixels {
                break;
            }
            let pixel = first + turn;
            let values = columns.at::<WIDE>(pixel);
            let gradient = &mut gradients[pixel * columns.channels + columns.first..][..WIDE];
            for channel in 0..WIDE {
                let x = values[channel];
                let g = gradient[channel] * curve.slope::<A>(A::mul_add(x, scale[channel], shift[channel]));
                sum[turn][channel] += g;
                moment[turn][channel] = A::mul_add(g, x - mean[channel], moment[turn][channel]);
                if C::COSTLY {
                    gradient[channel] = g;
                }
            }
        }
    }
    add_up(columns, [&sum, &moment], sums);
    WIDE
}

/// Adds two kinds of sums to the halves of `sums`.
#[inline(always)]
fn add_up<const WIDE: usize, const TURNS: usize>(
    columns: &Columns<'_>,
    kinds: [&[[f32; WIDE]; TURNS]; 2],
    sums: &mut [f32],
) {
    for (kind, sums) in kinds.into_iter().zip(sums.chunks_exact_mut(columns.channels)) {
        for turn in kind {
            for (sum, part) in sums[columns.first..][..WIDE].iter_mut().zip(turn) {
                *sum += part;
            }
        }
    }
}

vectorised! {
    /// Adds to `sums`, for each channel, the sum and the sum of squares of the distances from `origin`.
    pub(super) fn sum_and_square(rows: &[f32], origin: &[f32], sums: &mut [f32]) {
        let channels = origin.len();
        let mut first = 0;
        while first < channels {
            let columns = Columns { rows, channels, first };
            first += match channels - first {
                64.. => squares_of::<A, 64, 1>(&columns, origin, sums),
                32.. => squares_of::<A, 32, 2>(&columns, origin, sums),
                16.. => squares_of::<A, 16, 4>(&columns, origin, sums),
                8.. => squares_of::<A, 8, 4>(&columns, origin, sums),
                _ => squares_of::<A, 1, 4>(&columns, origin, sums),
            };
        }
    }

    /// Sums of the gradients before the activation, and of these times the distance from the mean.
    /// They replace the gradients where a curve's slope is costly, so that it is computed once.
    pub(super) fn gradient_sums<C: Curve>(curve: C, rows: &[f32], gradients: &mut [f32], lines: &Lines, mean: &[f32], sums: &mut [f32]) {
        let channels = mean.len();
        let mut first = 0;
        while first < channels {
            let columns = Columns { rows, channels, first };
            first += match channels - first {
                128.. => moments_of::<A, C, 128, 1>(curve, &columns, gradients, lines, mean, sums),
                96.. => moments_of::<A, C, 96, 1>(curve, &columns, gradients, lines, mean, sums),
                64.. => moments_of::<A, C, 64, 1>(curve, &columns, gradients, lines, mean, sums),
                32.. => moments_of::<A, C, 32, 2>(curve, &columns, gradients, lines, mean, sums),
                16.. => moments_of::<A, C, 16, 4>(curve, &columns, gradients, lines, mean, sums),
                8.. => moments_of::<A, C, 8, 4>(curve, &columns, gradients, lines, mean, sums),
                _ => moments_of::<A, C, 1, 4>(curve, &columns, gradients, lines, mean, sums),
            };
        }
    }
}
