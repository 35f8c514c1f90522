//! Matrix products whose left factor need not be copied together: its rows may lie anywhere, and
//! each row may be made of several pieces.
#![expect(unsafe_code, reason = "kernels take raw pointers; the entries check that all of them stay inside")]

use super::{
    Finish, Places,
    finish::{Curve, Start, Sums},
    panels,
    soon::{LINE, Soon},
    tiles,
};
use crate::{
    instructions::with_lanes,
    lanes::{Lanes, fetch_to_read, fetch_to_write, load, store},
};

/// A piece of every row of the left factor, and the rows of the right factor that it meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    /// Where it begins, after the row's beginning.
    pub(crate) left: usize,
    /// First row of the right factor.
    pub(crate) right: usize,
    /// Values.
    pub(crate) length: usize,
}

/// `result[row][column] = Σ left[row][k] · right[k][column]`, with a [`Finish`].
pub(crate) struct Product<'a> {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) segments: &'a [Segment],
    pub(crate) left: &'a [f32],
    pub(crate) left_places: Places<'a>,
    pub(crate) right: &'a [f32],
    /// Values from one row of the right factor to the next.
    pub(crate) right_stride: usize,
    pub(crate) result: &'a mut [f32],
    pub(crate) result_places: Places<'a>,
    pub(crate) finish: Finish<'a>,
    /// All of it is in a cache: nothing need be fetched ahead.
    pub(crate) is_cached: bool,
}

impl Product<'_> {
    fn check(&self) {
        let left = self.segments.iter().map(|segment| segment.left + segment.length).max().unwrap_or(0);
        assert!(self.left_places.furthest(self.rows) + left <= self.left.len(), "the left factor ends outside");
        let right = self.segments.iter().map(|segment| segment.right + segment.length).max().unwrap_or(0);
        let right = if right == 0 { 0 } else { (right - 1) * self.right_stride + self.columns };
        assert!(right <= self.right.len(), "the right factor ends outside");
        assert!(self.result_places.furthest(self.rows) + self.columns <= self.result.len(), "the result ends outside");
        self.finish.check(self.columns);
    }
}

with_lanes! {
    /// Computes a product on this thread. Every value is summed in the order of the segments, so
    /// the result does not depend on how rows and columns are cut.
    fn product(job: &mut Product<'_>) {
        if job.rows == 0 || job.columns == 0 {
            return;
        }
        job.check();
    } => product_with
}

/// Columns that are computed at a time: `V` whole registers and an end.
#[derive(Clone, Copy)]
struct Columns<L, E, const V: usize> {
    whole: [L; V],
    end: E,
}

impl<L: Lanes, E: Lanes, const V: usize> Columns<L, E, V> {
    /// # Safety
    /// As [`Lanes`].
    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: the caller's promise.
        unsafe { Self { whole: [L::zero(); V], end: E::zero() } }
    }

    /// # Safety
    /// As [`Lanes::load`]; the end has `last` values.
    #[inline(always)]
    unsafe fn load<const PART: bool>(from: *const f32, last: usize) -> Self {
        // SAFETY: the caller's promise.
        unsafe {
            let mut columns = Self { whole: [L::zero(); V], end: load::<E, PART>(from.add(V * L::COUNT), last) };
            for v in 0..V {
                columns.whole[v] = L::load(from.add(v * L::COUNT));
            }
            columns
        }
    }

    /// # Safety
    /// As [`Lanes::store`]; the end has `last` values.
    #[inline(always)]
    unsafe fn store<const PART: bool>(self, to: *mut f32, last: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            for v in 0..V {
                self.whole[v].store(to.add(v * L::COUNT));
            }
            store::<E, PART>(self.end, to.add(V * L::COUNT), last);
        }
    }

    /// Adds `value · factors`.
    ///
    /// # Safety
    /// As [`Lanes`]; `value` can be read.
    #[inline(always)]
    unsafe fn add_product(&mut self, value: *const f32, factors: &Self) {
        // SAFETY: the caller's promise.
        unsafe {
            for v in 0..V {
                self.whole[v] = L::splat(*value).mul_add(factors.whole[v], self.whole[v]);
            }
            self.end = E::splat(*value).mul_add(factors.end, self.end);
        }
    }
}

impl<L: Lanes, E: Lanes, const V: usize> Sums for Columns<L, E, V> {
    #[inline(always)]
    unsafe fn bend<C: Curve>(&mut self) {
        // SAFETY: the caller's promise.
        unsafe {
            for v in 0..V {
                self.whole[v] = C::of(self.whole[v]);
            }
            self.end = C::of(self.end);
        }
    }
}

#[inline(always)]
unsafe fn product_with<L: Lanes>(job: &mut Product<'_>) {
    let mut column = 0;
    let mut soon = Soon::take();
    if job.rows == 1 {
        // One row leaves room for many columns: longer pieces of each row of the right factor.
        while job.columns - column >= 8 * L::COUNT {
            // SAFETY: the caller checked every address and has the instructions.
            unsafe { tile::<L, L, 1, 7, false>(job, 0, column, L::COUNT, &mut soon) };
            column += 8 * L::COUNT;
        }
    }
    // SAFETY: the caller checked every address and has the instructions.
    unsafe { panels!(job.columns, L, column, last => panel(job, column, last, &mut soon)) };
    soon.give_back();
}

#[inline(always)]
unsafe fn panel<L: Lanes, E: Lanes, const V: usize, const PART: bool>(
    job: &mut Product<'_>,
    column: usize,
    last: usize,
    soon: &mut Soon,
) {
    tiles!(job.rows, L::ROWS, row, R => unsafe { tile::<L, E, R, V, PART>(job, row, column, last, soon) });
}

/// `R` rows by `V` registers of columns and an end.
#[inline(always)]
unsafe fn tile<L: Lanes, E: Lanes, const R: usize, const V: usize, const PART: bool>(
    job: &mut Product<'_>,
    row: usize,
    column: usize,
    last: usize,
    soon: &mut Soon,
) {
    // SAFETY: the entry checked that rows, segments and columns lie in their slices.
    unsafe {
        let mut left = [job.left.as_ptr(); R];
        let mut result = [job.result.as_mut_ptr(); R];
        for r in 0..R {
            left[r] = left[r].add(job.left_places.of(row + r));
            result[r] = result[r].add(job.result_places.of(row + r) + column);
        }
        // What the next tile reads and writes comes from memory while this one is computed: else products of matrices
        // that do not stay in a cache take up to twice the time.
        if !job.is_cached {
            for r in R..2 * R {
                let next = job.result.as_ptr().wrapping_add(job.result_places.near(row + r, job.rows) + column);
                (0..=V).for_each(|v| fetch_to_write(next.wrapping_add(v * L::COUNT)));
            }
        }
        let next = job.left.as_ptr().wrapping_add(job.left_places.near(row + R, job.rows));
        let mut sums = [Columns::<L, E, V>::zero(); R];
        match job.finish.start {
            Start::Zero => {}
            Start::There => {
                for r in 0..R {
                    sums[r] = Columns::load::<PART>(result[r], last);
                }
            }
            Start::Row(row) => sums = [Columns::load::<PART>(row.as_ptr().add(column), last); R],
        }
        for segment in job.segments {
            let mut right = job.right.as_ptr().add(segment.right * job.right_stride + column);
            // What was announced, or else the rows that follow, which then come from memory themselves.
            let (mut ask, pace) = match soon.next(segment.length) {
                Some(later) => (later, LINE),
                None => (next.wrapping_add(segment.left), R),
            };
            for k in segment.left..segment.left + segment.length {
                fetch_to_read(ask);
                ask = ask.wrapping_add(pace);
                let factors = Columns::load::<PART>(right, last);
                for r in 0..R {
                    sums[r].add_product(left[r].add(k), &factors);
                }
                right = right.wrapping_add(job.right_stride);
            }
        }
        job.finish.bend.apply(&mut sums);
        for r in 0..R {
            sums[r].store::<PART>(result[r], last);
        }
    }
}

/// `result[k][column] += Σ_row left[row][k] · right[row][column]` for the first `inner` values of
/// each row of the left factor.
pub(crate) struct Outer<'a> {
    pub(crate) rows: usize,
    /// Values of a left row, and rows of the result.
    pub(crate) inner: usize,
    pub(crate) columns: usize,
    pub(crate) left: &'a [f32],
    pub(crate) left_places: Places<'a>,
    pub(crate) right: &'a [f32],
    pub(crate) right_places: Places<'a>,
    pub(crate) result: &'a mut [f32],
    pub(crate) result_stride: usize,
}

/// Rows that are summed before the sums are written back: what they read stays in the first cache.
const ROWS_PER_PASS: usize = 128;

impl Outer<'_> {
    fn check(&self) {
        assert!(self.left_places.furthest(self.rows) + self.inner <= self.left.len(), "the left factor ends outside");
        let right = self.right_places.furthest(self.rows) + self.columns;
        assert!(right <= self.right.len(), "the right factor ends outside");
        let result = (self.inner - 1) * self.result_stride + self.columns;
        assert!(result <= self.result.len(), "the result ends outside");
    }
}

with_lanes! {
    /// Adds a sum of outer products on this thread; rows are summed in order.
    fn outer(job: &mut Outer<'_>) {
        if job.rows == 0 || job.inner == 0 || job.columns == 0 {
            return;
        }
        job.check();
    } => outer_with
}

#[inline(always)]
unsafe fn outer_with<L: Lanes>(job: &mut Outer<'_>) {
    let mut first = 0;
    let mut soon = Soon::take();
    while first < job.rows {
        let rows = first..(first + ROWS_PER_PASS).min(job.rows);
        let mut column = 0;
        // SAFETY: the caller checked every address and has the instructions.
        unsafe { panels!(job.columns, L, column, last => outer_panel(job, rows.clone(), column, last, &mut soon)) };
        first = rows.end;
    }
    soon.give_back();
}

#[inline(always)]
unsafe fn outer_panel<L: Lanes, E: Lanes, const V: usize, const PART: bool>(
    job: &mut Outer<'_>,
    rows: std::ops::Range<usize>,
    column: usize,
    last: usize,
    soon: &mut Soon,
) {
    // SAFETY: the entry checked every address; the caller has the instructions.
    tiles!(job.inner, L::ROWS, k, R => unsafe {
        let rows = rows.clone();
        let end = job.rows - 1;
        match (job.left_places, job.right_places) {
            (Places::Every(left), Places::Every(right)) => {
                outer_tile::<L, E, R, V, PART>(job, rows, k, column, last, (usize::MAX, soon), |row| (row * left, row * right));
            }
            (Places::At(left), Places::At(right)) => {
                // The entry checked that both lists are long enough.
                outer_tile::<L, E, R, V, PART>(job, rows, k, column, last, (end, soon), |row| {
                    (*left.places.get_unchecked(row) as usize, *right.places.get_unchecked(row) as usize)
                });
            }
            (left, right) => {
                outer_tile::<L, E, R, V, PART>(job, rows, k, column, last, (end, soon), |row| {
                    (left.of(row), right.of(row))
                });
            }
        }
    });
}

/// `R` rows of the result, from the sums over some `rows`. `place` says where a row of each factor begins; rows beyond
/// `furthest` have no place, and are not fetched ahead; where something was announced that is instead.
#[inline(always)]
unsafe fn outer_tile<L: Lanes, E: Lanes, const R: usize, const V: usize, const PART: bool>(
    job: &mut Outer<'_>,
    rows: std::ops::Range<usize>,
    k: usize,
    column: usize,
    last: usize,
    (furthest, soon): (usize, &mut Soon),
    place: impl Fn(usize) -> (usize, usize),
) {
    // SAFETY: the entry checked that rows, `inner` and columns lie in their slices.
    unsafe {
        let result = job.result.as_mut_ptr().add(k * job.result_stride + column);
        let mut sums = [Columns::<L, E, V>::zero(); R];
        for r in 0..R {
            sums[r] = Columns::load::<PART>(result.add(r * job.result_stride), last);
        }
        let left = job.left.as_ptr().add(k);
        let right = job.right.as_ptr().add(column);
        let mut announced = soon.next(rows.len());
        for row in rows {
            if let Some(line) = &mut announced {
                fetch_to_read(*line);
                *line = line.wrapping_add(LINE);
            } else {
                // The next pass comes from memory while this one is computed.
                let (left_place, right_place) = place((row + ROWS_PER_PASS).min(furthest));
                fetch_to_read(left.wrapping_add(left_place));
                if k == 0 {
                    (0..=V).for_each(|v| fetch_to_read(right.wrapping_add(right_place + v * L::COUNT)));
                }
            }
            let (left_place, right_place) = place(row);
            let factors = Columns::load::<PART>(right.add(right_place), last);
            let values = left.add(left_place);
            for r in 0..R {
                sums[r].add_product(values.add(r), &factors);
            }
        }
        for r in 0..R {
            sums[r].store::<PART>(result.add(r * job.result_stride), last);
        }
    }
}
