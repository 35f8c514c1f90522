//! The linear maps of Winograd's convolutions, each for many channels at a time (Lavin and Gray 2016,
//! arXiv:1509.09308, section 4.1): a patch of the input and a tile of the output become as many values, one for
//! each of as many matrix products with 3×3 weights.
//!
//! At stride 1 they are 16 for 2×2 pixels of the output, F(2×2, 3×3). At stride 2 they are 25: of the pixels of a row,
//! every second one meets the first and the last weight, which is F(2, 2), 3 products for 2 pixels of the output; the
//! others meet the one between, 2 products.
#![expect(unsafe_code, reason = "kernels take raw pointers; the entry checks that all of them stay inside")]

mod results;

pub(crate) use results::{Results, multiply_to_results};

use super::{Finish, finish::Start};
use crate::{
    instructions::with_lanes,
    lanes::{Lanes, fetch_to_read, fetch_to_write, load, store},
};

/// Square tiles of images, the same for each. They may lie partly outside: there they read 0, and nothing is written.
#[derive(Clone, Debug)]
pub(crate) struct Tiles {
    /// Of one image after the other.
    tiles: Vec<Tile>,
    /// Number of tiles of an image.
    of_image: usize,
    side: usize,
    /// Pixels from a tile to the next.
    step: usize,
    /// Values of a pixel, and of a row of pixels.
    steps: [usize; 2],
    /// Values of an image.
    image: usize,
    /// The end of what they touch of an image.
    end: usize,
}

/// One tile.
#[derive(Clone, Copy, Debug)]
struct Tile {
    /// Where its first point lies, or would.
    first: isize,
    /// A bit for each point that is inside.
    inside: u32,
}

impl Tiles {
    /// Tiles of `side` × `side` pixels, most of which have a neighbour `step` pixels further, and whose first pixels are
    /// the (row, column) pairs of `corners`, in each of so many `images` of `height` × `width` pixels with `channels`
    /// values each.
    pub(crate) fn new(
        [images, height, width, channels]: [usize; 4],
        [side, step]: [usize; 2],
        corners: impl IntoIterator<Item = [isize; 2]>,
    ) -> Self {
        let steps = [channels, width * channels];
        let mut end = 0;
        let tile = |[top, left]: [isize; 2]| {
            let first = top * steps[1] as isize + left * steps[0] as isize;
            let mut inside = 0;
            for point in 0..side * side {
                let (row, column) = (top + (point / side) as isize, left + (point % side) as isize);
                if (0..height as isize).contains(&row) && (0..width as isize).contains(&column) {
                    inside |= 1 << point;
                    end = end.max((row as usize * width + column as usize + 1) * channels);
                }
            }
            Tile { first, inside }
        };
        let of_first: Vec<Tile> = corners.into_iter().map(tile).collect();
        let (of_image, image) = (of_first.len(), height * steps[1]);
        let of_nth =
            |nth: usize| of_first.iter().map(move |tile| Tile { first: tile.first + (nth * image) as isize, ..*tile });
        let tiles = (0..images).flat_map(of_nth).collect();
        Self { tiles, of_image, side, step, steps, image, end }
    }

    /// Number of tiles of an image.
    pub(crate) fn of_image(&self) -> usize {
        self.of_image
    }

    /// The end of what these touch.
    fn end(&self, first: usize, tiles: usize) -> usize {
        (first + tiles - 1) / self.of_image * self.image + self.end
    }
}

/// Where the values of tiles, at least one, lie.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Points<'a> {
    /// In planes, so many values apart, one for each point of a tile; in each plane one tile after the other.
    Planes(usize),
    /// In images, from this tile on.
    Image(&'a Tiles, usize),
}

impl Points<'_> {
    /// The end of what `tiles` tiles of `side`² points with `channels` values touch.
    fn end(&self, side: usize, tiles: usize, channels: usize) -> usize {
        match *self {
            Self::Planes(distance) => (side * side - 1) * distance + tiles * channels,
            Self::Image(image, first) => {
                assert!(first + tiles <= image.tiles.len(), "fewer tiles than that");
                assert!(image.side == side && image.steps[0] == channels, "tiles of another kind");
                image.end(first, tiles)
            }
        }
    }

    #[inline(always)]
    fn tile(&self, index: usize, channels: usize) -> Tile {
        match *self {
            Self::Planes(_) => Tile { first: (index * channels) as isize, inside: u32::MAX },
            Self::Image(image, first) => image.tiles[first + index],
        }
    }

    /// Calls `fetch` with the pixels of an image that a tile touches and those before it in its row and column do not:
    /// the last of its rows and columns. The tile may lie beyond the last one, which is meant then. Planes stay in a
    /// cache.
    #[inline(always)]
    fn for_each_next_pixel(&self, values: *const f32, index: usize, fetch: impl Fn(*const f32)) {
        let Self::Image(image, first) = *self else { return };
        let [column, row] = image.steps;
        let corner = values.wrapping_offset(image.tiles[(first + index).min(image.tiles.len() - 1)].first);
        let new = corner.wrapping_add((image.side - image.step) * (row + column));
        // The compiler unrolls what it knows the length of.
        match image.step {
            2 => for_each_pixel::<2>(new, [column, row], fetch),
            _ => for_each_pixel::<4>(new, [column, row], fetch),
        }
    }

    /// Values from a point of a tile to the next one in its row, and in its column.
    #[inline(always)]
    fn steps(&self, side: usize) -> [usize; 2] {
        match *self {
            Self::Planes(distance) => [distance, side * distance],
            Self::Image(image, _) => image.steps,
        }
    }
}

/// Calls `work` with the pixels of a square.
#[inline(always)]
fn for_each_pixel<const SIDE: usize>(first: *const f32, [column, row]: [usize; 2], work: impl Fn(*const f32)) {
    for pixel in 0..SIDE * SIDE {
        work(first.wrapping_add(pixel / SIDE * row + pixel % SIDE * column));
    }
}

/// Values of tiles between the one that is transformed and the one whose pixels are fetched from memory meanwhile.
const AHEAD: usize = 64;

/// The mask of a tile of `points` points that are all inside.
const fn all(points: usize) -> u32 {
    (1 << points) - 1
}

/// Applies a map to `tiles` tiles, to each of `channels` channels by itself.
pub(crate) struct Transform<'a> {
    pub(crate) map: Map,
    pub(crate) tiles: usize,
    pub(crate) channels: usize,
    pub(crate) from: &'a [f32],
    pub(crate) from_points: Points<'a>,
    pub(crate) to: &'a mut [f32],
    pub(crate) to_points: Points<'a>,
    pub(crate) finish: Finish<'a>,
}

impl Transform<'_> {
    fn check(&self) {
        let [from, to] = self.map.sides();
        let end = self.from_points.end(from, self.tiles, self.channels);
        assert!(end <= self.from.len(), "what is read ends outside");
        let end = self.to_points.end(to, self.tiles, self.channels);
        assert!(end <= self.to.len(), "what is written ends outside");
        self.finish.check(self.channels);
    }
}

with_lanes! {
    /// Transforms on this thread.
    fn transform(job: &mut Transform<'_>) {
        if job.tiles == 0 || job.channels == 0 {
            return;
        }
        job.check();
    } => transform_with
}

/// `N`² = `F` points go in, `M`² = `T` come out.
#[inline(always)]
unsafe fn each_tile<L: Lanes, S: Square<F, T>, const N: usize, const M: usize, const F: usize, const T: usize>(
    job: &mut Transform<'_>,
) {
    let (from_steps, to_steps) = (job.from_points.steps(N), job.to_points.steps(M));
    for tile in 0..job.tiles {
        let (from, to) = (job.from_points.tile(tile, job.channels), job.to_points.tile(tile, job.channels));
        let ahead = AHEAD.div_ceil(job.channels);
        let is_whole = from.inside & all(F) == all(F) && to.inside & all(T) == all(T);
        let mut channel = 0;
        while channel < job.channels {
            let count = (job.channels - channel).min(L::COUNT);
            let from_first = job.from.as_ptr().wrapping_offset(from.first).wrapping_add(channel);
            let to_first = job.to.as_mut_ptr().wrapping_offset(to.first).wrapping_add(channel);
            let [source, target] = [job.from, &*job.to].map(|values| values.as_ptr().wrapping_add(channel));
            job.from_points.for_each_next_pixel(source, tile + ahead, fetch_to_read);
            job.to_points.for_each_next_pixel(target, tile + ahead, fetch_to_write);
            // SAFETY: the entry checked that all points but those outside lie in their slices.
            unsafe {
                let finish = Ending { finish: job.finish, channel, count };
                if is_whole && count == L::COUNT {
                    let values = S::map(read::<L, N, F, false>(from_first, from_steps, all(F), count));
                    write::<L, M, T, false>(values, to_first, to_steps, all(T), finish);
                } else {
                    let values = S::map(read::<L, N, F, true>(from_first, from_steps, from.inside, count));
                    write::<L, M, T, true>(values, to_first, to_steps, to.inside, finish);
                }
            }
            channel += count;
        }
    }
}

/// Reads the `T` = `N`² points of a tile that are `inside`; the others are 0.
#[inline(always)]
unsafe fn read<L: Lanes, const N: usize, const T: usize, const PART: bool>(
    first: *const f32,
    steps: [usize; 2],
    inside: u32,
    count: usize,
) -> [L; T] {
    // SAFETY: the caller's promise.
    unsafe {
        let mut values = [L::zero(); T];
        for row in 0..N {
            let start = first.wrapping_add(row * steps[1]);
            for column in 0..N {
                let point = row * N + column;
                if inside >> point & 1 != 0 {
                    values[point] = load::<L, PART>(start.wrapping_add(column * steps[0]), count);
                }
            }
        }
        values
    }
}

/// How `count` channels from `channel` on are finished.
#[derive(Clone, Copy)]
struct Ending<'a> {
    finish: Finish<'a>,
    channel: usize,
    count: usize,
}

/// Finishes and writes the points of a tile that are `inside`.
#[inline(always)]
unsafe fn write<L: Lanes, const N: usize, const T: usize, const PART: bool>(
    mut values: [L; T],
    first: *mut f32,
    steps: [usize; 2],
    inside: u32,
    Ending { finish, channel, count }: Ending<'_>,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut places = [first; T];
        let mut counts = [count; T];
        for point in 0..T {
            places[point] = first.wrapping_add(point / N * steps[1] + point % N * steps[0]);
            if PART {
                counts[point] = count * (inside as usize >> point & 1);
            }
        }
        match finish.start {
            Start::Zero => {}
            Start::There => {
                for point in 0..T {
                    values[point] = load::<L, PART>(places[point], counts[point]).add(values[point]);
                }
            }
            Start::Row(row) => {
                let row = load::<L, PART>(row.as_ptr().add(channel), count);
                for point in 0..T {
                    values[point] = values[point].add(row);
                }
            }
        }
        finish.bend.apply(&mut values);
        for point in 0..T {
            store::<L, PART>(values[point], places[point], counts[point]);
        }
    }
}

/// A matrix that is multiplied from the left, and its transpose from the right, to a square of `F` values.
trait Square<const F: usize, const T: usize> {
    /// # Safety
    /// As [`Lanes`].
    unsafe fn map<L: Lanes>(values: [L; F]) -> [L; T];
}

/// Defines [`Map`]: each by the product of its matrix and a column of `$n` values, which gives `$m`. Written without
/// closures: these would not be compiled for the kernel's instruction set.
macro_rules! maps {
    ($($(#[$attribute:meta])* $name:ident: [$($value:ident),+] $n:literal => $m:literal, $product:expr;)+) => {
        /// What is computed of each tile.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Map {
            $($(#[$attribute])* $name,)+
        }

        impl Map {
            #[cfg(test)]
            pub(super) const ALL: &[Self] = &[$(Self::$name),+];

            /// Side of the square that goes in, and of the one that comes out.
            pub(crate) const fn sides(self) -> [usize; 2] {
                match self {
                    $(Self::$name => [$n, $m],)+
                }
            }
        }

        $(
            struct $name;

            impl Square<{ $n * $n }, { $m * $m }> for $name {
                #[inline(always)]
                unsafe fn map<L: Lanes>(values: [L; $n * $n]) -> [L; $m * $m] {
                    // SAFETY: the caller has the instructions.
                    unsafe {
                        let mut half_way = [[L::zero(); $n]; $m];
                        for column in 0..$n {
                            let mut line = [L::zero(); $n];
                            for row in 0..$n {
                                line[row] = values[row * $n + column];
                            }
                            let [$($value),+] = line;
                            let product: [L; $m] = $product;
                            for row in 0..$m {
                                half_way[row][column] = product[row];
                            }
                        }
                        let mut result = [L::zero(); $m * $m];
                        for row in 0..$m {
                            let [$($value),+] = half_way[row];
                            let product: [L; $m] = $product;
                            for column in 0..$m {
                                result[row * $m + column] = product[column];
                            }
                        }
                        result
                    }
                }
            }
        )+

        #[inline(always)]
        unsafe fn transform_with<L: Lanes>(job: &mut Transform<'_>) {
            // SAFETY: the entry checked every address; the caller has the instructions.
            unsafe {
                match job.map {
                    $(Map::$name => each_tile::<L, $name, $n, $m, { $n * $n }, { $m * $m }>(job),)+
                }
            }
        }
    };
}

maps! {
    /// 4×4 pixels of an input → 16: `Bᵀ d B`.
    Patch: [a, b, c, d] 4 => 4, [a.sub(c), b.add(c), c.sub(b), b.sub(d)];
    /// 3×3 weights → 16: `G g Gᵀ`.
    Weights: [a, b, c] 3 => 4, [a, half(a.add(c)).add(half(b)), half(a.add(c)).sub(half(b)), c];
    /// 16 → 2×2 pixels of an output: `Aᵀ m A`.
    Result: [a, b, c, d] 4 => 2, [a.add(b).add(c), b.sub(c).sub(d)];
    /// The transpose of [`Self::Result`]: `A y Aᵀ`.
    ResultGradient: [a, b] 2 => 4, [a, a.add(b), a.sub(b), L::zero().sub(b)];
    /// The transpose of [`Self::Weights`]: `Gᵀ m G`.
    WeightsGradient: [a, b, c, d] 4 => 3, [a.add(half(b.add(c))), half(b.sub(c)), half(b.add(c)).add(d)];
    /// At stride 2: 5×5 pixels of an input → 25.
    StridedPatch: [a, b, c, d, e] 5 => 5, [a.sub(c), b, c, d, e.sub(c)];
    /// At stride 2: 3×3 weights → 16, of which those from the second row or column are met by twice as many points.
    StridedWeights: [a, b, c] 3 => 4, [a, b, a.add(c), c];
    /// At stride 2: 25 → 2×2 pixels of an output.
    StridedResult: [a, b, c, d, e] 5 => 2, [a.add(b).add(c), c.add(d).add(e)];
    /// The transpose of [`Self::StridedResult`].
    StridedResultGradient: [a, b] 2 => 5, [a, a, a.add(b), b, b];
    /// The transpose of [`Self::StridedWeights`].
    StridedWeightsGradient: [a, b, c, d] 4 => 3, [a.add(c), b, c.add(d)];
    /// Back from a convolution at stride 2: 3×3 pixels of an output's gradient → 25, which meet those of the weights turned
    /// around.
    SpreadPatch: [a, b, c] 3 => 5, [a.sub(b), a, b, b, c.sub(b)];
    /// Back from a convolution at stride 2: 25 → 4×4 pixels of an input's gradient, of which the first is where the middle
    /// of the window lies for the first pixel of the patch.
    SpreadResult: [a, b, c, d, e] 5 => 4, [b, a.add(c), d, c.add(e)];
}

#[inline(always)]
unsafe fn half<L: Lanes>(value: L) -> L {
    // SAFETY: the caller has the instructions.
    unsafe { value.mul_add(L::splat(0.5), L::zero()) }
}
