//! The inner loops that are written for registers. Each has a safe entry that checks, before it
//! runs, that every address lies in its slice.

mod columns;
mod depthwise;
mod finish;
mod product;
mod soon;
mod transpose;
mod winograd;

pub(crate) use columns::{Right, has_columns_for_all, product_by_columns};
pub(crate) use depthwise::{DepthwiseFilter, DepthwiseGradient, Tap, filter_channels, gradient_of_filter};
pub(crate) use finish::{Bend, Finish};
pub(crate) use product::{Outer, Product, Segment, outer, product};
pub(crate) use soon::announce;
pub(crate) use transpose::transpose;
pub(crate) use winograd::{Map, Points, Results, Tiles, Transform, multiply_to_results, transform};

/// Listed beginnings of rows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Offsets {
    places: Vec<u32>,
    /// The furthest of each place and those before it: what a kernel must check.
    furthest: Vec<u32>,
}

impl FromIterator<u32> for Offsets {
    fn from_iter<I: IntoIterator<Item = u32>>(places: I) -> Self {
        let places: Vec<u32> = places.into_iter().collect();
        let furthest = places.iter().scan(0, |furthest, place| {
            *furthest = (*furthest).max(*place);
            Some(*furthest)
        });
        Self { furthest: furthest.collect(), places }
    }
}

impl Offsets {
    /// The furthest of the first `rows` places, which must be at least one and not more than there
    /// are.
    fn furthest(&self, rows: usize) -> usize {
        self.furthest[rows - 1] as usize
    }
}

/// Where the rows of a matrix begin.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Places<'a> {
    /// One every so many values.
    Every(usize),
    /// Listed.
    At(&'a Offsets),
}

impl Places<'_> {
    #[inline(always)]
    fn of(&self, row: usize) -> usize {
        match self {
            Self::Every(stride) => row * stride,
            Self::At(offsets) => offsets.places[row] as usize,
        }
    }

    /// Where a row begins that may lie beyond the end of `rows` rows: where it would, or else the last one. To be
    /// fetched, not to be read.
    #[inline(always)]
    fn near(&self, row: usize, rows: usize) -> usize {
        match self {
            Self::Every(_) => self.of(row),
            Self::At(_) => self.of(row.min(rows - 1)),
        }
    }

    /// The furthest beginning among the first `rows`, which must be at least one.
    fn furthest(&self, rows: usize) -> usize {
        match self {
            Self::Every(stride) => (rows - 1) * stride,
            Self::At(offsets) => offsets.furthest(rows),
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

/// Calls `kernel::<L, E, V, PART>(arguments…)` for each panel of the `columns` from `column` on: `V` whole registers,
/// up to 2, and an end of one more with `last` values, `E`, which is a half where these fit, and of which they are a
/// `PART` or all.
macro_rules! panels {
    ($columns:expr, $lanes:ident, $column:ident, $last:ident => $kernel:ident($($argument:expr),*)) => {{
        while $column < $columns {
            let left = $columns - $column;
            let registers = left.div_ceil($lanes::COUNT);
            // Four registers go as two and two: three and one would leave the second nearly empty-handed.
            let registers = if registers == 4 { 2 } else { registers.min(3) };
            let width = (registers * $lanes::COUNT).min(left);
            let $last = width - (registers - 1) * $lanes::COUNT;
            let is_half = $last <= <$lanes::Half as Lanes>::COUNT;
            let is_part = $last != if is_half { <$lanes::Half as Lanes>::COUNT } else { $lanes::COUNT };
            match (registers, is_half, is_part) {
                (1, false, false) => $kernel::<$lanes, $lanes, 0, false>($($argument),*),
                (1, false, true) => $kernel::<$lanes, $lanes, 0, true>($($argument),*),
                (1, true, false) => $kernel::<$lanes, $lanes::Half, 0, false>($($argument),*),
                (1, true, true) => $kernel::<$lanes, $lanes::Half, 0, true>($($argument),*),
                (2, false, false) => $kernel::<$lanes, $lanes, 1, false>($($argument),*),
                (2, false, true) => $kernel::<$lanes, $lanes, 1, true>($($argument),*),
                (2, true, false) => $kernel::<$lanes, $lanes::Half, 1, false>($($argument),*),
                (2, true, true) => $kernel::<$lanes, $lanes::Half, 1, true>($($argument),*),
                (_, false, false) => $kernel::<$lanes, $lanes, 2, false>($($argument),*),
                (_, false, true) => $kernel::<$lanes, $lanes, 2, true>($($argument),*),
                (_, true, false) => $kernel::<$lanes, $lanes::Half, 2, false>($($argument),*),
                (_, true, true) => $kernel::<$lanes, $lanes::Half, 2, true>($($argument),*),
            }
            $column += width;
        }
    }};
}
use panels;

#[cfg(test)]
mod tests;
