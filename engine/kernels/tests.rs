//! Every kernel with every instruction set, over awkward sizes, in buffers that end at an unreadable
//! page or begin after one.
#![expect(unsafe_code, reason = "pages that nobody may read")]

use super::{
    Bend, DepthwiseFilter, DepthwiseGradient, Finish, Map, Offsets, Outer, Places, Points, Product, Results, Right,
    Segment, Tap, Tiles, Transform, filter_channels, finish::Start, gradient_of_filter, multiply_to_results, outer,
    product, product_by_columns, transform,
};
use crate::{
    activation::{Curve, Plain, with_curve},
    instructions::tests::with_each_set,
};
use nasgen_modules::Activation;
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, mprotect, munmap};
use std::{
    ffi::c_void,
    num::NonZero,
    ops::{Deref, DerefMut},
    ptr::NonNull,
};

/// Which of its ends a buffer has at an unreadable page.
#[derive(Clone, Copy, Debug)]
enum Guard {
    Before,
    After,
}

const GUARDS: [Guard; 2] = [Guard::Before, Guard::After];

/// Values between two unreadable pages, beside one of them.
struct Guarded {
    pages: NonNull<c_void>,
    bytes: usize,
    values: NonNull<f32>,
    length: usize,
}

impl Guarded {
    fn new(values: &[f32], guard: Guard) -> Self {
        const PAGE: usize = 65536;
        let inside = (values.len() * 4).next_multiple_of(PAGE).max(PAGE);
        let bytes = inside + 2 * PAGE;
        // SAFETY: the mapping is new; the first and the last page of it are made unreadable, and the
        // values lie between them.
        unsafe {
            let all = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
            let pages = mmap_anonymous(None, NonZero::new(bytes).unwrap(), all, MapFlags::MAP_PRIVATE).unwrap();
            mprotect(pages, PAGE, ProtFlags::PROT_NONE).unwrap();
            mprotect(pages.byte_add(PAGE + inside), PAGE, ProtFlags::PROT_NONE).unwrap();
            let offset = match guard {
                Guard::Before => PAGE,
                Guard::After => PAGE + inside - values.len() * 4,
            };
            let place = pages.byte_add(offset).cast::<f32>();
            place.as_ptr().copy_from_nonoverlapping(values.as_ptr(), values.len());
            Self { pages, bytes, values: place, length: values.len() }
        }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // SAFETY: this is the whole mapping, and nobody borrows from it any more.
        unsafe { munmap(self.pages, self.bytes) }.unwrap();
    }
}

impl Deref for Guarded {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        // SAFETY: `length` values were written there.
        unsafe { std::slice::from_raw_parts(self.values.as_ptr(), self.length) }
    }
}

impl DerefMut for Guarded {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: `length` values were written there, and `self` is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.values.as_ptr(), self.length) }
    }
}

/// Numbers without a pattern that sums could hide.
fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let stream = nasgen_modules::randomness::Stream::new(seed, "kernels");
    (0..count as u64).map(|index| stream.uniform(index) * 2.0 - 1.0).collect()
}

#[track_caller]
fn close(actual: &[f32], expected: &[f64], what: &str) {
    assert_eq!(actual.len(), expected.len(), "{what}");
    for (index, (actual, expected)) in actual.iter().zip(expected).enumerate() {
        let distance = (f64::from(*actual) - expected).abs();
        assert!(distance <= 1e-5 * expected.abs().max(1.0), "{what}: {actual} for {expected} at {index}");
    }
}

const BENDS: [Bend; 6] = [Bend::Straight, Bend::ReLU, Bend::ReLU6, Bend::Hardswish, Bend::Hardsigmoid, Bend::LeakyReLU];

/// As they are, added to what is there, and on top of `row` with one of the bends: another one for the next `index`.
fn finishes(row: &[f32], index: usize) -> [Finish<'_>; 3] {
    [Finish::STORE, Finish::added(true), Finish::on(row, BENDS[index % BENDS.len()])]
}

/// What becomes of a sum, by torch's definitions.
fn finished(finish: Finish<'_>, before: f64, column: usize, sum: f64) -> f64 {
    let x = sum
        + match finish.start {
            Start::Zero => 0.0,
            Start::There => before,
            Start::Row(row) => f64::from(row[column]),
        };
    match finish.bend {
        Bend::Straight => x,
        Bend::ReLU => x.max(0.0),
        Bend::ReLU6 => x.clamp(0.0, 6.0),
        Bend::Hardswish => x * (x + 3.0).clamp(0.0, 6.0) / 6.0,
        Bend::Hardsigmoid => (x + 3.0).clamp(0.0, 6.0) / 6.0,
        Bend::LeakyReLU => x.max(0.01 * x),
    }
}

/// A kernel's activation is the one that passes over memory compute, also far from 0 and for what is no number.
#[test]
fn bends_are_the_activations() {
    with_each_set(|set| {
        for activation in Activation::ALL {
            let Some(bend) = Bend::of(Some(activation)) else { continue };
            let mut values: Vec<f32> = (-4000..4000).map(|at| at as f32 * 0.03).collect();
            values.extend([f32::INFINITY, 1e30, -1e30, f32::NAN]);
            let mut result = vec![0.0; values.len()];
            product(&mut Product {
                rows: 1,
                columns: values.len(),
                segments: &[],
                left: &[],
                left_places: Places::Every(0),
                right: &[],
                right_stride: 0,
                result: &mut result,
                result_places: Places::Every(0),
                finish: Finish::on(&values, bend),
                is_cached: true,
            });
            for (x, actual) in values.iter().zip(result) {
                let expected = with_curve!(Some(activation), curve => curve.value::<Plain>(*x));
                let is_close = (actual - expected).abs() <= 1e-6 * expected.abs().max(1.0);
                let is_alike = actual == expected || actual.is_nan() && expected.is_nan();
                assert!(is_close || is_alike, "{set:?} {activation:?} of {x}: {actual}, not {expected}");
            }
        }
    });
}

const ROWS: [usize; 8] = [1, 2, 3, 5, 7, 8, 9, 17];
const COLUMNS: [usize; 15] = [1, 3, 7, 8, 9, 15, 16, 17, 24, 33, 48, 49, 64, 100, 150];

#[test]
fn products_of_rows_that_lie_anywhere() {
    // Two pieces of a row, with a gap between them.
    let segments = [Segment { left: 0, right: 0, length: 3 }, Segment { left: 5, right: 3, length: 4 }];
    with_each_set(|set| {
        for (rows, columns, guard) in cases(&ROWS) {
            let stride = columns + 2;
            let offsets: Vec<u32> = (0..rows as u32).map(|row| (row * 7) % (rows as u32 * 2)).collect();
            let furthest = *offsets.iter().max().unwrap() as usize;
            let left = Guarded::new(&numbers(furthest + 9, 1), guard);
            let right = Guarded::new(&numbers(6 * stride + columns, 2), guard);
            let before = numbers((rows - 1) * stride + columns, 3);
            let bias = Guarded::new(&numbers(columns, 4), guard);
            for finish in finishes(&bias, rows + columns) {
                let mut result = Guarded::new(&before, guard);
                product(&mut Product {
                    rows,
                    columns,
                    segments: &segments,
                    left: &left,
                    left_places: Places::At(&offsets.iter().copied().collect()),
                    right: &right,
                    right_stride: stride,
                    result: &mut result,
                    result_places: Places::Every(stride),
                    finish,
                    is_cached: false,
                });
                let mut expected: Vec<f64> = before.iter().map(|value| f64::from(*value)).collect();
                for row in 0..rows {
                    for column in 0..columns {
                        let term = |segment: &Segment, k: usize| {
                            f64::from(left[offsets[row] as usize + segment.left + k])
                                * f64::from(right[(segment.right + k) * stride + column])
                        };
                        let sum: f64 = segments.iter().flat_map(|s| (0..s.length).map(move |k| term(s, k))).sum();
                        let place = row * stride + column;
                        expected[place] = finished(finish, f64::from(before[place]), column, sum);
                    }
                }
                close(&result, &expected, &format!("{set:?} {rows}×{columns} {guard:?} {finish:?}"));
            }
        }
    });
}

fn cases(rows: &'static [usize]) -> impl Iterator<Item = (usize, usize, Guard)> {
    let sizes = rows.iter().flat_map(|rows| COLUMNS.iter().map(|columns| (*rows, *columns)));
    sizes.flat_map(|(rows, columns)| GUARDS.into_iter().map(move |guard| (rows, columns, guard)))
}

#[test]
fn sums_of_outer_products() {
    with_each_set(|set| {
        for (rows, columns, guard) in cases(&[1, 5, 128, 129, 300]) {
            for inner in [1, 2, 3, 8, 9, 21] {
                let offsets: Vec<u32> = (0..rows as u32).map(|row| row * 3).collect();
                let left = Guarded::new(&numbers((rows - 1) * 3 + inner, 1), guard);
                let right = Guarded::new(&numbers((rows - 1) * (columns + 1) + columns, 2), guard);
                let before = numbers((inner - 1) * (columns + 2) + columns, 3);
                let offsets: Offsets = offsets.into_iter().collect();
                let right_offsets: Offsets = (0..rows as u32).map(|row| row * (columns as u32 + 1)).collect();
                let right_places = [Places::Every(columns + 1), Places::At(&right_offsets)];
                let left_places = [Places::Every(3), Places::At(&offsets)];
                for (places, right_places) in
                    left_places.into_iter().flat_map(|left| right_places.map(|right| (left, right)))
                {
                    let mut result = Guarded::new(&before, guard);
                    outer(&mut Outer {
                        rows,
                        inner,
                        columns,
                        left: &left,
                        left_places: places,
                        right: &right,
                        right_places,
                        result: &mut result,
                        result_stride: columns + 2,
                    });
                    let mut expected: Vec<f64> = before.iter().map(|value| f64::from(*value)).collect();
                    for k in 0..inner {
                        for column in 0..columns {
                            let term = |row: usize| {
                                f64::from(left[row * 3 + k]) * f64::from(right[row * (columns + 1) + column])
                            };
                            let place = &mut expected[k * (columns + 2) + column];
                            *place += (0..rows).map(term).sum::<f64>();
                        }
                    }
                    close(&result, &expected, &format!("{set:?} {rows}×{inner}×{columns} {guard:?}"));
                }
            }
        }
    });
}

#[test]
fn products_by_columns_are_products() {
    with_each_set(|set| {
        for [rows, inner, columns] in [[1, 1, 1], [1, 9, 513], [3, 5, 95], [8, 7, 96], [9, 33, 97], [2, 4, 800]] {
            let (left, right) = (numbers(rows * inner, 1), numbers(inner * columns, 2));
            let turned: Vec<f32> = (0..columns * inner).map(|at| right[at % inner * columns + at / inner]).collect();
            let bias = numbers(columns, 4);
            for finish in finishes(&bias, columns) {
                let before = numbers(rows * columns, 3);
                let value = |at: usize| {
                    let term = |k: usize| {
                        f64::from(left[at / columns * inner + k]) * f64::from(right[k * columns + at % columns])
                    };
                    finished(finish, f64::from(before[at]), at % columns, (0..inner).map(term).sum())
                };
                let expected: Vec<f64> = (0..rows * columns).map(value).collect();
                for right in [Right::Rows(&right), Right::Columns(&turned)] {
                    let mut result = before.clone();
                    product_by_columns([rows, inner, columns], &left, right, &mut result, finish);
                    close(&result, &expected, &format!("{set:?} {rows}×{inner}×{columns} {finish:?}"));
                }
            }
        }
    });
}

const CHANNELS: [usize; 9] = [1, 7, 8, 9, 15, 16, 17, 24, 33];

/// Taps and positions of a window over one row: the weights' rows are not in order.
fn taps(count: usize, channels: usize) -> Vec<Tap> {
    (0..count).map(|tap| Tap { weight: (tap * 5 + 2) % count, offset: tap * channels }).collect()
}

#[test]
fn filters_of_single_channels() {
    with_each_set(|set| {
        for (positions, channels, guard) in [1, 2, 3, 7, 8, 9, 20].into_iter().flat_map(|positions| {
            CHANNELS.into_iter().flat_map(move |channels| GUARDS.map(|guard| (positions, channels, guard)))
        }) {
            // A number of taps whose multiples of 5 are all different.
            for count in [1, 4, 9, 49] {
                let taps = taps(count, channels);
                let places: Vec<u32> =
                    (0..positions as u32).map(|at| (at * 3 % positions as u32) * channels as u32).collect();
                let furthest = *places.iter().max().unwrap() as usize;
                let input = Guarded::new(&numbers(furthest + count * channels, 1), guard);
                let weights = Guarded::new(&numbers(count * channels, 2), guard);
                let before = numbers(positions * channels, 3);
                let bias = Guarded::new(&numbers(channels, 6), guard);
                for finish in finishes(&bias, positions + channels) {
                    let mut result = Guarded::new(&before, guard);
                    filter_channels(&mut DepthwiseFilter {
                        positions,
                        channels,
                        taps: &taps,
                        input: &input,
                        input_places: Places::At(&places.iter().copied().collect()),
                        weights: &weights,
                        result: &mut result,
                        result_places: Places::Every(channels),
                        finish,
                    });
                    let value = |at: usize| {
                        let (position, channel) = (at / channels, at % channels);
                        let term = |tap: &Tap| {
                            f64::from(input[places[position] as usize + tap.offset + channel])
                                * f64::from(weights[tap.weight * channels + channel])
                        };
                        finished(finish, f64::from(before[at]), channel, taps.iter().map(term).sum())
                    };
                    let expected: Vec<f64> = (0..before.len()).map(value).collect();
                    close(
                        &result,
                        &expected,
                        &format!("{set:?} {positions}×{channels}, {count} taps {guard:?} {finish:?}"),
                    );
                }
                let gradient = Guarded::new(&numbers(positions * channels, 4), guard);
                let before = numbers(count * channels, 5);
                let mut result = Guarded::new(&before, guard);
                gradient_of_filter(&mut DepthwiseGradient {
                    positions,
                    channels,
                    taps: &taps,
                    input: &input,
                    input_places: &places.iter().copied().collect(),
                    gradient: &gradient,
                    gradient_places: &(0..positions as u32).map(|at| at * channels as u32).collect(),
                    result: &mut result,
                });
                let mut expected: Vec<f64> = before.iter().map(|value| f64::from(*value)).collect();
                for tap in &taps {
                    for channel in 0..channels {
                        let term = |position: usize| {
                            f64::from(input[places[position] as usize + tap.offset + channel])
                                * f64::from(gradient[position * channels + channel])
                        };
                        expected[tap.weight * channels + channel] += (0..positions).map(term).sum::<f64>();
                    }
                }
                close(&result, &expected, &format!("{set:?} gradient {positions}×{channels}, {count} taps {guard:?}"));
            }
        }
    });
}

/// The matrix that [`Map`] multiplies from the left, as the paper has it.
fn matrix(map: Map) -> Vec<Vec<f64>> {
    let transposed = |matrix: &[Vec<f64>]| -> Vec<Vec<f64>> {
        (0..matrix[0].len()).map(|column| matrix.iter().map(|row| row[column]).collect()).collect()
    };
    let rows = |rows: &[&[i8]]| -> Vec<Vec<f64>> {
        rows.iter().map(|row| row.iter().map(|value| f64::from(*value)).collect()).collect()
    };
    let result = rows(&[&[1, 1, 1, 0], &[0, 1, -1, -1]]);
    let strided_result = rows(&[&[1, 1, 1, 0, 0], &[0, 0, 1, 1, 1]]);
    let strided_weights = rows(&[&[1, 0, 0], &[0, 1, 0], &[1, 0, 1], &[0, 0, 1]]);
    let weights = vec![vec![1.0, 0.0, 0.0], vec![0.5, 0.5, 0.5], vec![0.5, -0.5, 0.5], vec![0.0, 0.0, 1.0]];
    match map {
        Map::Patch => rows(&[&[1, 0, -1, 0], &[0, 1, 1, 0], &[0, -1, 1, 0], &[0, 1, 0, -1]]),
        Map::Weights => weights,
        Map::Result => result,
        Map::ResultGradient => transposed(&result),
        Map::WeightsGradient => transposed(&weights),
        Map::StridedPatch => {
            rows(&[&[1, 0, -1, 0, 0], &[0, 1, 0, 0, 0], &[0, 0, 1, 0, 0], &[0, 0, 0, 1, 0], &[0, 0, -1, 0, 1]])
        }
        Map::StridedWeights => strided_weights,
        Map::StridedResult => strided_result,
        Map::StridedResultGradient => transposed(&strided_result),
        Map::StridedWeightsGradient => transposed(&strided_weights),
        Map::SpreadPatch => rows(&[&[1, -1, 0], &[1, 0, 0], &[0, 1, 0], &[0, 1, 0], &[0, -1, 1]]),
        Map::SpreadResult => rows(&[&[0, 1, 0, 0, 0], &[1, 0, 1, 0, 0], &[0, 0, 0, 1, 0], &[0, 0, 1, 0, 1]]),
    }
}

/// The places of a tile's points in an image of 5×4 pixels, `None` outside.
fn places(side: usize, [top, left]: [isize; 2], channels: usize) -> Vec<Option<usize>> {
    let place = |point: usize| {
        let (row, column) = (top + (point / side) as isize, left + (point % side) as isize);
        let inside = (0..5).contains(&row) && (0..4).contains(&column);
        inside.then(|| (row as usize * 4 + column as usize) * channels)
    };
    (0..side * side).map(place).collect()
}

#[test]
fn transforms_are_the_products_of_the_paper() {
    // The first lies inside, the others beyond one side or two.
    let corners = [[1, 0], [-1, -1], [3, 2], [0, 3], [-2, 1]];
    with_each_set(|set| {
        for &map in Map::ALL {
            let matrix = matrix(map);
            let (to, from) = (matrix.len(), matrix[0].len());
            let bias = numbers(CHANNELS[CHANNELS.len() - 1], 3);
            for (channels, guard, finish) in CHANNELS.into_iter().flat_map(|channels| {
                let finishes = finishes(&bias, channels);
                GUARDS.into_iter().flat_map(move |guard| finishes.map(|finish| (channels, guard, finish)))
            }) {
                // The last three of the first image, and the first two of the second.
                let (distance, tiles) = (5 * channels + 2, 5);
                let planes = |point: usize, tile: usize| Some(point * distance + tile * channels);
                let images = [from, to].map(|side| Tiles::new([2, 5, 4, channels], [side, 2], corners));
                let points = |image| [Points::Planes(distance), Points::Image(image, 2)];
                for from_points in points(&images[0]) {
                    for to_points in points(&images[1]) {
                        let place = |points: Points<'_>, side: usize, tile: usize, point: usize| match points {
                            Points::Planes(_) => planes(point, tile),
                            Points::Image(_, first) => {
                                let (image, tile) = ((first + tile) / corners.len(), (first + tile) % corners.len());
                                places(side, corners[tile], channels)[point].map(|at| image * 5 * 4 * channels + at)
                            }
                        };
                        let length = |points: Points<'_>, side: usize| match points {
                            Points::Planes(_) => (side * side - 1) * distance + tiles * channels,
                            Points::Image(..) => 2 * 5 * 4 * channels,
                        };
                        let input = Guarded::new(&numbers(length(from_points, from), 1), guard);
                        let before = numbers(length(to_points, to), 2);
                        let mut result = Guarded::new(&before, guard);
                        let mut job = Transform {
                            map,
                            tiles,
                            channels,
                            from: &input,
                            from_points,
                            to: &mut result,
                            to_points,
                            finish,
                        };
                        transform(&mut job);
                        let mut expected: Vec<f64> = before.iter().map(|value| f64::from(*value)).collect();
                        for (tile, channel) in (0..tiles).flat_map(|tile| (0..channels).map(move |c| (tile, c))) {
                            let value = |point: usize| {
                                place(from_points, from, tile, point).map_or(0.0, |at| f64::from(input[at + channel]))
                            };
                            for point in 0..to * to {
                                let Some(at) = place(to_points, to, tile, point) else { continue };
                                let term =
                                    |k: usize| matrix[point / to][k / from] * value(k) * matrix[point % to][k % from];
                                let sum: f64 = (0..from * from).map(term).sum();
                                let at = at + channel;
                                expected[at] = finished(finish, expected[at], channel, sum);
                            }
                        }
                        close(&result, &expected, &format!("{set:?} {map:?} {channels} {guard:?} {finish:?}"));
                    }
                }
            }
        }
    });
}

#[test]
fn results_are_transforms_of_products() {
    // No two of them overlap; some lie beyond one side or two.
    let corners = [[1, 1], [-1, -1], [3, 3], [-1, 3], [3, -1], [1, 3], [-1, 1]];
    let matrix = matrix(Map::Result);
    with_each_set(|set| {
        for (inner, columns, guard) in [1, 2, 5, 16]
            .into_iter()
            .flat_map(|inner| CHANNELS.into_iter().flat_map(move |columns| GUARDS.map(|guard| (inner, columns, guard))))
        {
            let bias = Guarded::new(&numbers(columns, 4), guard);
            for finish in finishes(&bias, inner + columns) {
                let tiles = corners.len() - 1;
                let distance = tiles * inner + 3;
                let patches = Guarded::new(&numbers(15 * distance + tiles * inner, 1), guard);
                let weights = Guarded::new(&numbers(16 * inner * columns, 2), guard);
                let before = numbers(5 * 4 * columns, 3);
                let mut result = Guarded::new(&before, guard);
                multiply_to_results(&mut Results {
                    tiles,
                    inner,
                    columns,
                    patches: &patches,
                    distance,
                    weights: &weights,
                    to: &mut result,
                    to_tiles: (&Tiles::new([1, 5, 4, columns], [2, 2], corners), 1),
                    finish,
                });
                let mut expected: Vec<f64> = before.iter().map(|value| f64::from(*value)).collect();
                for (tile, corner) in corners[1..].iter().enumerate() {
                    for (pixel, at) in places(2, *corner, columns).into_iter().enumerate() {
                        let Some(at) = at else { continue };
                        for column in 0..columns {
                            let product = |point: usize| {
                                let term = |k: usize| {
                                    f64::from(patches[point * distance + tile * inner + k])
                                        * f64::from(weights[(point * inner + k) * columns + column])
                                };
                                (0..inner).map(term).sum::<f64>()
                            };
                            let term = |point: usize| {
                                matrix[pixel / 2][point / 4] * product(point) * matrix[pixel % 2][point % 4]
                            };
                            let at = at + column;
                            expected[at] = finished(finish, f64::from(before[at]), column, (0..16).map(term).sum());
                        }
                    }
                }
                close(&result, &expected, &format!("{set:?} {inner}→{columns} {guard:?} {finish:?}"));
            }
        }
    });
}

#[test]
fn addresses_outside_are_refused() {
    let left = numbers(10, 1);
    let right = numbers(10, 2);
    let multiply = |rows: usize, columns: usize, length: usize, places: Places<'_>| {
        std::panic::catch_unwind(|| {
            let mut result = vec![0.0; 10];
            product(&mut Product {
                rows,
                columns,
                segments: &[Segment { left: 0, right: 0, length }],
                left: &left,
                left_places: places,
                right: &right,
                right_stride: 5,
                result: &mut result,
                result_places: Places::Every(5),
                finish: Finish::STORE,
                is_cached: false,
            });
        })
        .is_ok()
    };
    let outcomes = [
        multiply(2, 5, 2, Places::Every(5)),
        multiply(3, 5, 2, Places::Every(0)),
        multiply(2, 6, 2, Places::Every(5)),
        multiply(2, 5, 3, Places::Every(5)),
        multiply(2, 5, 2, Places::Every(9)),
        multiply(2, 5, 2, Places::At(&[0, 9].into_iter().collect())),
    ];
    assert_eq!(outcomes, [true, false, false, false, false, false]);
}
