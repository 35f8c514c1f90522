//! What windows see, in both directions. Nothing is padded: positions at the border, which see fewer
//! taps, are computed by themselves.

use crate::{
    kernels::{Offsets, Tap},
    operations::Size,
};
use nasgen_modules::Window;
use std::collections::BTreeMap;

/// Positions that are computed together; images that have fewer go several at a time.
const POSITIONS: usize = 64;

/// Values of a source and its result that are computed together while they stay in the cache: each
/// kind of position is a task of its own, and those in the corners of one image are few.
const VALUES: usize = 64 * 1024;

/// Sums over windows of a source, for all values of a result. Read forwards the source is a
/// convolution's input and the result its output; read backwards it is the other way round.
#[derive(Clone, Debug)]
pub(crate) struct Correlation {
    /// Images that the tables cover.
    pub(crate) images: usize,
    pub(crate) phases: Vec<Phase>,
}

/// Positions that see the same taps at the same distances.
#[derive(Clone, Debug)]
pub(crate) struct Phase {
    /// Positions in an image.
    pub(crate) positions: usize,
    /// Where the first tap of each position lies in the sources, image after image.
    pub(crate) sources: Offsets,
    /// Where each position's result lies, image after image.
    pub(crate) results: Offsets,
    /// Offsets are from the first tap on.
    pub(crate) taps: Vec<Tap>,
}

/// The (tap, place in the source) pairs that one position sees along an axis.
type Seen = Vec<(usize, usize)>;

/// Positions along one axis that see the same taps at the same distances.
struct Group {
    /// (position, place of its first tap).
    positions: Vec<(usize, usize)>,
    /// (tap, distance from the first).
    taps: Vec<(usize, usize)>,
}

impl Correlation {
    /// From inputs to outputs of a convolution: output `o` sees, for each tap, the input at
    /// `o · stride + tap · dilation − padding` where there is one.
    pub(crate) fn forward(window: &Window, input: Size, output: Size) -> Self {
        let axis = |axis: usize, padding: usize, input: usize, output: usize| {
            let (stride, dilation) = (window.stride[axis], window.dilation[axis]);
            let place = |position: usize, tap: usize| {
                (position * stride + tap * dilation).checked_sub(padding).filter(|place| *place < input)
            };
            groups(output, window.kernel[axis], place)
        };
        let rows = axis(0, window.padding.top, input.height, output.height);
        let columns = axis(1, window.padding.left, input.width, output.width);
        Self::of(&rows, &columns, input, output, window.kernel[1])
    }

    /// From gradients of outputs to gradients of inputs: input `i` gets, for each tap, that of the
    /// output at `(i + padding − tap · dilation) / stride` where there is one.
    pub(crate) fn backward(window: &Window, input: Size, output: Size) -> Self {
        let axis = |axis: usize, padding: usize, input: usize, output: usize| {
            let (stride, dilation) = (window.stride[axis], window.dilation[axis]);
            let place = |position: usize, tap: usize| {
                let distance = (position + padding).checked_sub(tap * dilation)?;
                distance.is_multiple_of(stride).then_some(distance / stride).filter(|place| *place < output)
            };
            groups(input, window.kernel[axis], place)
        };
        let rows = axis(0, window.padding.top, input.height, output.height);
        let columns = axis(1, window.padding.left, input.width, output.width);
        Self::of(&rows, &columns, output, input, window.kernel[1])
    }

    fn of(rows: &[Group], columns: &[Group], source: Size, result: Size, kernel_width: usize) -> Self {
        let images = (POSITIONS / result.pixels()).max(VALUES / (source.values() + result.values())).max(1);
        let phase = |row: &Group, column: &Group| {
            let (mut sources, mut results): (Vec<u32>, Vec<u32>) = Default::default();
            for image in 0..images {
                for (y, from_y) in &row.positions {
                    for (x, from_x) in &column.positions {
                        let from = (from_y * source.width + from_x) * source.channels;
                        sources.push((image * source.values() + from) as u32);
                        let to = (y * result.width + x) * result.channels;
                        results.push((image * result.values() + to) as u32);
                    }
                }
            }
            let tap = |(y, down): &(usize, usize), (x, right): &(usize, usize)| Tap {
                weight: y * kernel_width + x,
                offset: (down * source.width + right) * source.channels,
            };
            let taps = row.taps.iter().flat_map(|y| column.taps.iter().map(move |x| tap(y, x))).collect();
            Phase {
                positions: row.positions.len() * column.positions.len(),
                sources: sources.into_iter().collect(),
                results: results.into_iter().collect(),
                taps,
            }
        };
        let phases = rows.iter().flat_map(|row| columns.iter().map(move |column| phase(row, column))).collect();
        Self { images, phases }
    }
}

/// The positions along an axis, sorted by what they see.
fn groups(positions: usize, taps: usize, place: impl Fn(usize, usize) -> Option<usize>) -> Vec<Group> {
    let mut groups: BTreeMap<Seen, Vec<(usize, usize)>> = BTreeMap::new();
    for position in 0..positions {
        let seen: Seen = (0..taps).filter_map(|tap| Some((tap, place(position, tap)?))).collect();
        // Going backwards, places fall while taps rise: the first in memory is the last tap's.
        let first = seen.iter().map(|(_, place)| *place).min().unwrap_or(0);
        let distances = seen.into_iter().map(|(tap, place)| (tap, place - first)).collect();
        groups.entry(distances).or_default().push((position, first));
    }
    groups.into_iter().map(|(taps, positions)| Group { positions, taps }).collect()
}
