//! Which maps compute a convolution, and how its tiles lie.

use crate::kernels::Map;
use nasgen_modules::{Convolution, Padding, Window};

/// How tiles of an output come from an input.
#[derive(Debug)]
pub(super) struct Scheme {
    pub(super) patch: Map,
    pub(super) weights: Map,
    /// The row of transformed weights that each row of points meets, and the same for columns.
    lines: &'static [usize],
    pub(super) result: Map,
    /// Pixels from a patch to the next, and from a result to the next.
    pub(super) steps: [usize; 2],
}

impl Scheme {
    /// Matrix products for a tile.
    pub(super) const fn points(&self) -> usize {
        self.lines.len() * self.lines.len()
    }

    /// Transformed weights for each pair of channels.
    pub(super) const fn planes(&self) -> usize {
        let side = self.weights.sides()[1];
        side * side
    }

    /// The points that meet a plane of transformed weights.
    pub(super) fn points_of(&self, plane: usize) -> impl Iterator<Item = usize> {
        let side = self.weights.sides()[1];
        let all = |wanted: usize| {
            let lines = self.lines.iter().enumerate();
            lines.filter(move |(_, line)| **line == wanted).map(|(number, _)| number)
        };
        all(plane / side).flat_map(move |row| all(plane % side).map(move |column| row * self.lines.len() + column))
    }
}

/// Each row of points meets its own weights.
const EACH: &[usize] = &[0, 1, 2, 3];
/// Two of five meet the same.
const SHARED: &[usize] = &[0, 1, 2, 1, 3];

/// Schemes for one stride, there and back.
#[derive(Debug)]
pub(super) struct Schemes {
    pub(super) forward: Scheme,
    pub(super) backward: Scheme,
    /// The transposes of `forward`'s maps of results and of weights.
    pub(super) learning: [Map; 2],
}

/// The gradient of an input at stride 1 is a convolution of the same kind.
const SAME: Scheme =
    Scheme { patch: Map::Patch, weights: Map::Weights, lines: EACH, result: Map::Result, steps: [2, 2] };

static STRIDE_1: Schemes =
    Schemes { forward: SAME, backward: SAME, learning: [Map::ResultGradient, Map::WeightsGradient] };

static STRIDE_2: Schemes = Schemes {
    forward: Scheme {
        patch: Map::StridedPatch,
        weights: Map::StridedWeights,
        lines: SHARED,
        result: Map::StridedResult,
        steps: [4, 2],
    },
    backward: Scheme {
        patch: Map::SpreadPatch,
        weights: Map::StridedWeights,
        lines: SHARED,
        result: Map::SpreadResult,
        steps: [2, 4],
    },
    learning: [Map::StridedResultGradient, Map::StridedWeightsGradient],
};

impl Schemes {
    /// Those that compute `convolution`.
    pub(super) fn of(convolution: &Convolution) -> Option<&'static Self> {
        let Window { kernel, stride, dilation, padding: Padding { top, left, .. } } = convolution.window;
        if (kernel, dilation, convolution.groups) != ([3, 3], [1, 1], 1) || top > 2 || left > 2 {
            return None;
        }
        match stride {
            [1, 1] => Some(&STRIDE_1),
            [2, 2] => Some(&STRIDE_2),
            _ => None,
        }
    }

    /// Pixels before an image of gradients where the first patch begins, and before the image that they are turned into
    /// where the first result does, for a convolution that sees so many pixels `before` its input.
    pub(super) const fn before_backward(&self, before: usize) -> [usize; 2] {
        match (self.forward.steps, before) {
            ([2, _], _) => [2 - before, 0],
            // A result begins where the middle of a window lies. If that is in the second row, one patch more, of which
            // only the last row is inside, gives the first.
            (_, 0) => [2, 3],
            (_, _) => [0, before - 1],
        }
    }
}
