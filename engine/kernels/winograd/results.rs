//! Products of all points and their transform at once.
#![expect(unsafe_code, reason = "kernels take raw pointers; the entry checks that all of them stay inside")]

use super::{Ending, Points, Tile, Tiles, all, write};
use crate::{
    instructions::with_lanes,
    kernels::{Finish, tiles},
    lanes::{Lanes, load},
};

/// The products of all 16 points and, of these, the 2×2 pixels of each tile, without a place for the products in
/// between. The weights are read once for a few tiles, so they should be few.
pub(crate) struct Results<'a> {
    pub(crate) tiles: usize,
    /// Channels of the patches.
    pub(crate) inner: usize,
    /// Channels of the result.
    pub(crate) columns: usize,
    /// Transformed patches: planes, `distance` values apart.
    pub(crate) patches: &'a [f32],
    pub(crate) distance: usize,
    /// Transformed weights: points × `inner` × `columns`.
    pub(crate) weights: &'a [f32],
    pub(crate) to: &'a mut [f32],
    /// Tiles of images, and the first of them.
    pub(crate) to_tiles: (&'a Tiles, usize),
    pub(crate) finish: Finish<'a>,
}

impl Results<'_> {
    fn points(&self) -> Points<'_> {
        Points::Image(self.to_tiles.0, self.to_tiles.1)
    }

    fn check(&self) {
        let patches = Points::Planes(self.distance).end(4, self.tiles, self.inner);
        assert!(patches <= self.patches.len(), "the patches end outside");
        assert!(16 * self.inner * self.columns <= self.weights.len(), "the weights end outside");
        let end = self.points().end(2, self.tiles, self.columns);
        assert!(end <= self.to.len(), "what is written ends outside");
        self.finish.check(self.columns);
    }
}

with_lanes! {
    /// Multiplies and transforms on this thread.
    fn multiply_to_results(job: &mut Results<'_>) {
        if job.tiles == 0 || job.columns == 0 {
            return;
        }
        job.check();
    } => results_with
}

#[inline(always)]
unsafe fn results_with<L: Lanes>(job: &mut Results<'_>) {
    let mut column = 0;
    while column < job.columns {
        let count = (job.columns - column).min(L::COUNT);
        // Four sums for each tile, and the products that join them, are in registers. SAFETY: the entry checked every
        // address; the caller has the instructions.
        unsafe {
            if count == L::COUNT {
                tiles!(job.tiles, L::ROWS / 2, tile, T => results_of::<L, T, false>(job, tile, column, count));
            } else {
                tiles!(job.tiles, L::ROWS / 2, tile, T => results_of::<L, T, true>(job, tile, column, count));
            }
        }
        column += count;
    }
}

/// `Aᵀ`, for [`Results`].
const RESULT: [[i8; 4]; 2] = [[1, 1, 1, 0], [0, 1, -1, -1]];

/// Does `work` with each of the 16 points as a constant.
macro_rules! with_each_point {
    ($point:ident => $work:expr) => {
        with_each_point!($point => $work; 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15)
    };
    ($point:ident => $work:expr; $($value:literal)+) => {
        $({ const $point: usize = $value; $work; })+
    };
}

/// One register of columns of `T` tiles.
#[inline(always)]
unsafe fn results_of<L: Lanes, const T: usize, const PART: bool>(
    job: &mut Results<'_>,
    tile: usize,
    column: usize,
    count: usize,
) {
    // SAFETY: the entry checked that tiles, points and columns lie in their slices.
    unsafe {
        let mut sums = [[L::zero(); 4]; T];
        with_each_point!(POINT => add_point::<L, T, POINT, PART>(job, tile, column, count, &mut sums));
        let (finish, steps) = (Ending { finish: job.finish, channel: column, count }, job.points().steps(2));
        for t in 0..T {
            let Tile { first, inside } = job.points().tile(tile + t, job.columns);
            let to = job.to.as_mut_ptr().wrapping_offset(first).wrapping_add(column);
            if PART || inside & all(4) != all(4) {
                write::<L, 2, 4, true>(sums[t], to, steps, inside, finish);
            } else {
                write::<L, 2, 4, false>(sums[t], to, steps, all(4), finish);
            }
        }
    }
}

/// Adds the products of a point of `T` tiles to the sums of the pixels that it is part of.
#[inline(always)]
unsafe fn add_point<L: Lanes, const T: usize, const POINT: usize, const PART: bool>(
    job: &Results<'_>,
    tile: usize,
    column: usize,
    count: usize,
    sums: &mut [[L; 4]; T],
) {
    // SAFETY: as in `results_of`.
    unsafe {
        let mut patches = job.patches.as_ptr().wrapping_add(POINT * job.distance + tile * job.inner);
        let mut weights = job.weights.as_ptr().wrapping_add(POINT * job.inner * job.columns + column);
        let mut products = [L::zero(); T];
        for _ in 0..job.inner {
            let factors = load::<L, PART>(weights, count);
            for t in 0..T {
                products[t] = L::splat(*patches.add(t * job.inner)).mul_add(factors, products[t]);
            }
            patches = patches.wrapping_add(1);
            weights = weights.wrapping_add(job.columns);
        }
        for t in 0..T {
            for pixel in 0..4 {
                let sum = sums[t][pixel];
                sums[t][pixel] = match RESULT[pixel / 2][POINT / 4] * RESULT[pixel % 2][POINT % 4] {
                    0 => sum,
                    1 => sum.add(products[t]),
                    _ => sum.sub(products[t]),
                };
            }
        }
    }
}
