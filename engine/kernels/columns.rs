//! Matrix products whose right factor is large and read once.

use super::{Finish, Places, Product, Segment, finish::Start, product, transpose};
use crate::chunks;

/// Columns that one task computes: whole registers of every instruction set. With few rows the task is
/// to read the right factor, in pieces as long as leave every thread one.
fn columns_per_task(rows: usize, columns: usize) -> usize {
    if rows < 8 { columns.div_ceil(chunks::threads()).next_multiple_of(16).max(64) } else { 96 }
}

/// Whether [`product_by_columns`] gives every thread something to do.
pub(crate) fn has_columns_for_all(rows: usize, columns: usize) -> bool {
    columns.div_ceil(columns_per_task(rows, columns)) >= chunks::threads()
}

/// A factor on the right.
#[derive(Clone, Copy)]
pub(crate) enum Right<'a> {
    /// Row by row.
    Rows(&'a [f32]),
    /// Column by column: what is given is the factor with rows and columns exchanged.
    Columns(&'a [f32]),
}

/// `result = left · right` with a finish, which adds to what is there without bending it or not at all, on all threads. Each task reads all of the
/// left factor and computes its own columns, so that no two read the same part of the right one.
/// `left` has rows of `inner` values and `result` rows of `columns`.
pub(crate) fn product_by_columns(
    [rows, inner, columns]: [usize; 3],
    left: &[f32],
    right: Right<'_>,
    result: &mut [f32],
    finish: Finish<'_>,
) {
    let add = matches!(finish.start, Start::There);
    let finish = if add { Finish::STORE } else { finish };
    let sizes = [rows, inner, columns];
    // What one row's tasks compute lies where it belongs.
    if rows == 1 && !add {
        return multiply(sizes, left, right, result, finish);
    }
    chunks::with_room(rows * columns, |parts| {
        multiply(sizes, left, right, parts, finish);
        let (parts, at_a_time) = (&*parts, columns_per_task(rows, columns));
        chunks::for_each_share(rows, result, columns, |first, result| {
            for (row, result) in result.chunks_exact_mut(columns).enumerate() {
                for (part, result) in parts.chunks(rows * at_a_time).zip(result.chunks_mut(at_a_time)) {
                    let from = &part[(first + row) * result.len()..][..result.len()];
                    if add {
                        result.iter_mut().zip(from).for_each(|(to, from)| *to += from);
                    } else {
                        result.copy_from_slice(from);
                    }
                }
            }
        });
    });
}

/// What each task computes, one after the other: all rows of its columns.
fn multiply([rows, inner, columns]: [usize; 3], left: &[f32], right: Right<'_>, parts: &mut [f32], finish: Finish<'_>) {
    let at_a_time = columns_per_task(rows, columns);
    let tasks = parts.chunks_mut(rows * at_a_time).enumerate().collect();
    chunks::run(tasks, rows * inner * columns, |(task, part)| {
        let (first, width) = (task * at_a_time, part.len() / rows);
        let multiply = |right: &[f32], right_stride: usize, part: &mut [f32]| {
            product(&mut Product {
                rows,
                columns: width,
                segments: &[Segment { left: 0, right: 0, length: inner }],
                left,
                left_places: Places::Every(inner),
                right,
                right_stride,
                result: part,
                result_places: Places::Every(width),
                finish: finish.at_column(first),
                is_cached: false,
            });
        };
        match right {
            Right::Rows(values) => multiply(&values[first..], columns, part),
            Right::Columns(values) => chunks::with_room(inner * width, |room| {
                transpose(&values[first * inner..(first + width) * inner], inner, room);
                multiply(room, width, part);
            }),
        }
    });
}
