//! The inner loops that are written for registers. Each has a safe entry that checks, before it
//! runs, that every address lies in its slice.

mod columns;
mod depthwise;
mod product;
mod transpose;

pub(crate) use columns::{Right, product_by_columns};
pub(crate) use depthwise::{DepthwiseFilter, DepthwiseGradient, Tap, filter_channels, gradient_of_filter};
pub(crate) use product::{Outer, Product, Segment, outer, product};
pub(crate) use transpose::transpose;

/// Where the rows of a matrix begin.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Places<'a> {
    /// One every so many values.
    Every(usize),
    /// Listed.
    At(&'a [u32]),
}

impl Places<'_> {
    #[inline(always)]
    fn of(&self, row: usize) -> usize {
        match self {
            Self::Every(stride) => row * stride,
            Self::At(offsets) => offsets[row] as usize,
        }
    }

    /// The furthest beginning among the first `rows`, which must be at least one.
    fn furthest(&self, rows: usize) -> usize {
        match self {
            Self::Every(stride) => (rows - 1) * stride,
            Self::At(offsets) => offsets[..rows].iter().copied().max().unwrap_or(0) as usize,
        }
    }
}

/// Calls `work` with the beginning and the constant number of rows of each tile: as many of `most`
/// as fit, then a half of that, and so on.
macro_rules! tiles {
    ($rows:expr, $most:expr, $row:ident, $tile:ident => $work:expr) => {{
        let mut $row = 0;
        while $row < $rows {
            let left = $rows - $row;
            match left.min($most) {
                8.. => {
                    const $tile: usize = 8;
                    $work;
                    $row += 8;
                }
                4..8 => {
                    const $tile: usize = 4;
                    $work;
                    $row += 4;
                }
                2..4 => {
                    const $tile: usize = 2;
                    $work;
                    $row += 2;
                }
                _ => {
                    const $tile: usize = 1;
                    $work;
                    $row += 1;
                }
            }
        }
    }};
}
use tiles;
