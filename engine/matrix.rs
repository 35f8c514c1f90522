//! Matrix products over slices.

use gemm::Parallelism;

/// A matrix in a slice: element (row, column) is at `row · rows_apart + column · columns_apart`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) rows_apart: usize,
    pub(crate) columns_apart: usize,
}

impl Layout {
    /// Row by row, with `stride` values from one row to the next.
    pub(crate) const fn rows(rows: usize, columns: usize, stride: usize) -> Self {
        Self { rows, columns, rows_apart: stride, columns_apart: 1 }
    }

    /// The same values with rows and columns exchanged.
    pub(crate) const fn transposed(self) -> Self {
        Self { rows: self.columns, columns: self.rows, rows_apart: self.columns_apart, columns_apart: self.rows_apart }
    }

    fn fits(&self, length: usize) -> bool {
        self.rows == 0
            || self.columns == 0
            || (self.rows - 1) * self.rows_apart + (self.columns - 1) * self.columns_apart < length
    }
}

/// `result = left · right`, or `result += left · right`. One thread: callers cut the work.
pub(crate) fn multiply(result: (&mut [f32], Layout), add: bool, left: (&[f32], Layout), right: (&[f32], Layout)) {
    let ((result, to), (left, from_left), (right, from_right)) = (result, left, right);
    assert!(
        to.fits(result.len()) && from_left.fits(left.len()) && from_right.fits(right.len()),
        "a matrix ends outside"
    );
    assert!(
        to.rows == from_left.rows && to.columns == from_right.columns && from_left.columns == from_right.rows,
        "matrices do not fit: {from_left:?} · {from_right:?} → {to:?}"
    );
    #[expect(unsafe_code, reason = "the assertions hold that every element lies in its slice")]
    unsafe {
        gemm::gemm(
            to.rows,
            to.columns,
            from_left.columns,
            result.as_mut_ptr(),
            to.columns_apart as isize,
            to.rows_apart as isize,
            add,
            left.as_ptr(),
            from_left.columns_apart as isize,
            from_left.rows_apart as isize,
            right.as_ptr(),
            from_right.columns_apart as isize,
            from_right.rows_apart as isize,
            1.0f32,
            1.0f32,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}
