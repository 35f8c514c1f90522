//! Rows become columns.

/// Rows that are read side by side: what they write fills whole cache lines, and each is a stream
/// that the processor can fetch ahead.
const ROWS: usize = 16;

/// Writes the rows of `from`, `columns` values each, as the columns of `to`.
pub(crate) fn transpose(from: &[f32], columns: usize, to: &mut [f32]) {
    let rows = from.len() / columns;
    assert!(from.len() == rows * columns && to.len() == from.len(), "not a whole matrix");
    for first in (0..rows).step_by(ROWS) {
        let last = (first + ROWS).min(rows);
        let (whole_rows, whole_columns) = (last - last % 4, columns - columns % 4);
        for column in (0..whole_columns).step_by(4) {
            for row in (first..whole_rows).step_by(4) {
                four_by_four(&from[row * columns + column..], columns, &mut to[column * rows + row..], rows);
            }
        }
        // What is left at the right and below.
        for row in first..last {
            for column in if row < whole_rows { whole_columns } else { 0 }..columns {
                to[column * rows + row] = from[row * columns + column];
            }
        }
    }
}

/// Four rows of four.
#[inline(always)]
fn four_by_four(from: &[f32], columns: usize, to: &mut [f32], rows: usize) {
    let row = |index: usize| -> [f32; 4] { std::array::from_fn(|column| from[index * columns..][..4][column]) };
    let [a, b, c, d] = [row(0), row(1), row(2), row(3)];
    for column in 0..4 {
        to[column * rows..][..4].copy_from_slice(&[a[column], b[column], c[column], d[column]]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_moves_to_its_place() {
        for (rows, columns) in [(1, 1), (1, 7), (5, 3), (4, 8), (33, 6), (6, 33), (40, 70)] {
            let from: Vec<f32> = (0..rows * columns).map(|value| value as f32).collect();
            let mut to = vec![-1.0; from.len()];
            transpose(&from, columns, &mut to);
            for row in 0..rows {
                for column in 0..columns {
                    assert_eq!(to[column * rows + row], from[row * columns + column], "{rows}×{columns}");
                }
            }
        }
    }
}
