//! The built-in images: ten shapes in random places, sizes and colours.
//!
//! They need no file and no download, a person tells them apart at a glance, a small convolutional
//! network learns them in a few epochs, and a linear classifier cannot: a shape is as often darker
//! than its background as brighter, so no pixel says anything by itself.

use super::{
    format::ImageFormat,
    images::{Dataset, Images},
    picture::luma,
};
use nasgen_modules::randomness::Stream;
use rayon::prelude::*;

/// Of the images that every run sees, whatever its own seed.
const SEED: u64 = 0;
const TRAIN: usize = 2_000;
const TEST: usize = 500;

/// How much brighter or darker than its background a shape is at least, in `0.0..=1.0`.
const CONTRAST: f64 = 0.25;
/// How much a colour changes from one edge of the background to the other, at most.
const GRADIENT: f64 = 0.2;
/// Deviation of the noise.
const NOISE: f64 = 0.04;

/// How deep in a shape a point is, negative outside. Shapes have a radius of about 1; down is
/// positive.
type Depth = fn(f64, f64) -> f64;

/// The classes, sorted by name.
const SHAPES: [(&str, Depth); 10] = [
    ("checkerboard", |x, y| tiles(x, y).min(square(x, y, 0.9))),
    ("cross", |x, y| plus((x + y) * DIAGONAL, (x - y) * DIAGONAL)),
    ("disc", |x, y| 1.0 - length(x, y)),
    ("frame", |x, y| 0.2 - (x.abs().max(y.abs()) - 0.7).abs()),
    ("horizontal bars", |x, y| bars(y).min(square(x, y, 0.9))),
    ("plus", plus),
    ("ring", |x, y| 0.22 - (length(x, y) - 0.78).abs()),
    ("square", |x, y| square(x, y, 0.85)),
    ("triangle", |x, y| (0.75 - y).min((1.0 + y - 1.75 * x.abs()) / length(1.0, 1.75))),
    ("vertical bars", |x, y| bars(x).min(square(x, y, 0.9))),
];

const DIAGONAL: f64 = std::f64::consts::FRAC_1_SQRT_2;

fn length(x: f64, y: f64) -> f64 {
    (x * x + y * y).sqrt()
}

fn square(x: f64, y: f64, half: f64) -> f64 {
    half - x.abs().max(y.abs())
}

fn plus(x: f64, y: f64) -> f64 {
    let bar = |across: f64, along: f64| (0.28 - across.abs()).min(1.0 - along.abs());
    bar(x, y).max(bar(y, x))
}

/// Three bars and the two gaps between them, all of one width.
fn bars(across: f64) -> f64 {
    let to_centre = (0.36 - (across.abs() - 0.36).abs()).abs();
    0.18 - to_centre
}

/// Four by four tiles.
fn tiles(x: f64, y: f64) -> f64 {
    let to_line = |position: f64| {
        let tile = position / 0.45;
        // The outer sides are the square's: no line there, or off tiles would have a fringe.
        let line = (tile + 0.5).floor().clamp(-1.0, 1.0);
        let side = if line.rem_euclid(2.0) == 0.0 { 0.45 } else { -0.45 };
        (tile - line) * side
    };
    let (x, y) = (to_line(x), to_line(y));
    x.abs().min(y.abs()) * (x * y).signum()
}

/// The whole set in that format.
pub(super) fn load(format: &ImageFormat) -> Dataset {
    Dataset {
        name: "synthetic".into(),
        classes: SHAPES.iter().map(|(name, _)| (*name).to_owned()).collect(),
        train: images(format, SEED, "synthetic training images", TRAIN),
        validation: None,
        test: Some(images(format, SEED, "synthetic test images", TEST)),
        notes: Vec::new(),
    }
}

/// `count` images, classes in turn, drawn at the size and in the channels asked for. `seed` and
/// `purpose` choose them; the image at an index does not depend on `count`.
fn images(format: &ImageFormat, seed: u64, purpose: &str, count: usize) -> Images {
    let stream = Stream::new(seed, purpose);
    let mut pixels = vec![0; count * format.len()];
    pixels.par_chunks_exact_mut(format.len()).enumerate().for_each(|(index, image)| {
        let mut draws = Draws { stream, image: index as u32, next: 0 };
        let depth = SHAPES[index % SHAPES.len()].1;
        Scene::draw(&mut draws).paint(depth, format, &mut draws, image);
    });
    let labels = (0..count).map(|index| (index % SHAPES.len()) as u32).collect();
    let names = (1..=count).map(|number| format!("{purpose}:{number}")).collect();
    Images::in_memory([format.channels, format.height, format.width], pixels, labels, names)
}

/// Random numbers for one image, one after the other.
struct Draws {
    stream: Stream,
    image: u32,
    next: u32,
}

impl Draws {
    fn words(&mut self) -> [u32; 4] {
        self.next += 1;
        self.stream.words([self.next, self.image, 0, 0])
    }

    fn between<const N: usize>(&mut self, low: f64, high: f64) -> [f64; N] {
        let words = self.words();
        std::array::from_fn(|i| low + (high - low) * f64::from(words[i]) / 4_294_967_296.0)
    }
}

/// Everything about an image but the shape in it.
struct Scene {
    /// (x, y), in sides of the image.
    centre: [f64; 2],
    /// In sides of the image.
    radius: f64,
    /// Cosine and sine of the angle by which the shape is turned.
    turn: [f64; 2],
    shape: [f64; 3],
    background: [f64; 3],
    /// Change of the background per side of the image, along x and along y.
    gradient: [[f64; 3]; 2],
}

impl Scene {
    fn draw(draws: &mut Draws) -> Self {
        let [radius] = draws.between(0.22, 0.40);
        let [half_tangent] = draws.between(-0.12, 0.12);
        let [background, shape] = colours(draws);
        let gradient = [draws.between(-GRADIENT, GRADIENT), draws.between(-GRADIENT, GRADIENT)];
        let centre = draws.between(radius * 1.1, 1.0 - radius * 1.1);
        Self { centre, radius, turn: turn(half_tangent), shape, background, gradient }
    }

    /// Draws the scene with noise; `image` is channels, height, width.
    fn paint(&self, depth: Depth, format: &ImageFormat, draws: &mut Draws, image: &mut [u8]) {
        let plane = format.height * format.width;
        for pixel in 0..plane {
            let noise = draws.words().map(|word| NOISE * bell(word));
            let colour = self.colour(depth, format, pixel);
            // The cast also bounds the value.
            let value = std::array::from_fn(|i| ((colour[i] + noise[i]) * 255.0 + 0.5) as u8);
            match format.channels {
                1 => image[pixel] = luma(value),
                _ => (0..3).for_each(|channel| image[channel * plane + pixel] = value[channel]),
            }
        }
    }

    /// The colour in the middle of a pixel, without noise.
    fn colour(&self, depth: Depth, format: &ImageFormat, pixel: usize) -> [f64; 3] {
        let side = format.height.min(format.width) as f64;
        let at = |pixel: usize, pixels: usize| (pixel as f64 + 0.5 - pixels as f64 / 2.0) / side;
        let (x, y) = (at(pixel % format.width, format.width), at(pixel / format.width, format.height));
        let (across, down) = self.turned(x + 0.5 - self.centre[0], y + 0.5 - self.centre[1]);
        // A pixel at the edge is covered as far as the edge is away from its middle.
        let covered = (0.5 + depth(across, down) * self.radius * side).clamp(0.0, 1.0);
        std::array::from_fn(|i| {
            let background = self.background[i] + x * self.gradient[0][i] + y * self.gradient[1][i];
            background + covered * (self.shape[i] - background)
        })
    }

    /// A point relative to the centre, as the shape sees it.
    fn turned(&self, x: f64, y: f64) -> (f64, f64) {
        let [cosine, sine] = self.turn;
        ((x * cosine + y * sine) / self.radius, (y * cosine - x * sine) / self.radius)
    }
}

/// Cosine and sine from the tangent of half the angle: the basic operations alone give the same
/// result on every platform.
fn turn(half_tangent: f64) -> [f64; 2] {
    let squared = half_tangent * half_tangent;
    [(1.0 - squared) / (1.0 + squared), 2.0 * half_tangent / (1.0 + squared)]
}

/// Two colours that are told apart also in grey.
fn colours(draws: &mut Draws) -> [[f64; 3]; 2] {
    let brightness = |[red, green, blue]: [f64; 3]| 0.299 * red + 0.587 * green + 0.114 * blue;
    loop {
        let (first, second) = (draws.between(0.1, 0.9), draws.between(0.0, 1.0));
        if (brightness(first) - brightness(second)).abs() >= CONTRAST {
            return [first, second];
        }
    }
}

/// Nearly a draw from the standard normal distribution: the sum of four bytes.
fn bell(word: u32) -> f64 {
    let sum: u32 = word.to_le_bytes().into_iter().map(u32::from).sum();
    (f64::from(sum) - 510.0) / 147.8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{format::Fit, normalisation::Normalisation};

    fn format(channels: usize, side: usize) -> ImageFormat {
        ImageFormat { channels, height: side, width: side, fit: Fit::Letterbox }
    }

    /// FNV-1a, 64 bits.
    fn hash(bytes: &[u8]) -> u64 {
        bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
    }

    #[test]
    fn the_images_stay_the_same_for_ever() {
        let first = |channels, side, purpose| hash(&images(&format(channels, side), SEED, purpose, 20).all_pixels());
        assert_eq!(first(3, 32, "synthetic training images"), 0x7c41_4f74_21d8_3453);
        assert_eq!(first(3, 32, "synthetic test images"), 0xb244_e9ef_c7a1_5e08);
        assert_eq!(first(1, 16, "synthetic training images"), 0xd1cf_f093_8e9b_4aab);
    }

    #[test]
    fn an_image_does_not_depend_on_how_many_there_are() {
        let format = format(3, 16);
        assert_eq!(images(&format, 5, "a", 30).image(7), images(&format, 5, "a", 8).image(7));
        assert_ne!(images(&format, 5, "a", 8).image(7), images(&format, 6, "a", 8).image(7));
        assert_ne!(images(&format, 5, "a", 8).image(7), images(&format, 5, "b", 8).image(7));
    }

    #[test]
    fn every_class_has_as_many_images() {
        let data = load(&format(1, 16));
        assert_eq!(data.train.class_counts(10), [200; 10]);
        assert_eq!(data.test.map(|test| test.class_counts(10)), Some(vec![50; 10]));
        assert!(data.classes.is_sorted() && data.validation.is_none());
    }

    #[test]
    fn every_size_can_be_drawn() {
        for (channels, height, width) in [(3, 96, 96), (1, 16, 48), (3, 1, 1)] {
            let format = ImageFormat { channels, height, width, fit: Fit::Letterbox };
            assert_eq!(images(&format, 1, "a", 3).all_pixels().len(), 3 * channels * height * width);
        }
    }

    /// The shape covers its middle and not the corners of the image, or the other way round.
    #[test]
    fn shapes_have_edges_where_they_should() {
        let depth = |name: &str, x, y| SHAPES.iter().find(|shape| shape.0 == name).map(|shape| shape.1(x, y) > 0.0);
        for (name, middle) in [("disc", true), ("ring", false), ("square", true), ("frame", false), ("plus", true)] {
            assert_eq!((depth(name, 0.0, 0.0), depth(name, 1.1, 1.1)), (Some(middle), Some(false)), "{name}");
        }
        assert_eq!([0.0, 0.3, 0.6, 0.85].map(|x| bars(x) > 0.0), [true, false, true, true]);
        assert_eq!(
            [(0.1, 0.1), (0.1, -0.1), (0.5, 0.1), (0.5, 0.5)].map(|(x, y)| tiles(x, y) > 0.0),
            [true, false, false, true]
        );
        assert_eq!(
            [(0.0, -0.9), (0.9, -0.9), (0.9, 0.7)].map(|(x, y)| depth("triangle", x, y)),
            [Some(true), Some(false), Some(true)]
        );
    }

    /// Share of `test` that a multi-class perceptron gets right after some epochs on `train`.
    fn linear_accuracy(train: &Images, test: &Images) -> f64 {
        let (normalisation, features) = (Normalisation::of(train), train.image_len());
        let rows = |images: &Images| crate::data::evaluation_batch(images, 0..images.len(), &normalisation);
        let mut weights = vec![vec![0.0f32; features + 1]; SHAPES.len()];
        let class = |weights: &[Vec<f32>], image: &[f32]| {
            let score = |row: &Vec<f32>| row[features] + row.iter().zip(image).map(|(w, v)| w * v).sum::<f32>();
            (0..weights.len()).max_by(|a, b| score(&weights[*a]).total_cmp(&score(&weights[*b]))).unwrap_or_default()
        };
        let batch = rows(train);
        for _ in 0..3 {
            for (image, label) in batch.images.chunks_exact(features).zip(&batch.labels) {
                let (said, right) = (class(&weights, image), *label as usize);
                if said != right {
                    for (row, sign) in [(said, -1.0), (right, 1.0)] {
                        weights[row].iter_mut().zip(image).for_each(|(weight, value)| *weight += sign * value);
                        weights[row][features] += sign;
                    }
                }
            }
        }
        let batch = rows(test);
        let right = |(image, label): &(&[f32], &u32)| class(&weights, image) == **label as usize;
        batch.images.chunks_exact(features).zip(&batch.labels).filter(right).count() as f64 / test.len() as f64
    }

    #[test]
    fn a_linear_classifier_does_not_learn_them() {
        let data = load(&format(3, 16));
        let test = data.test.expect("synthetic data has test images");
        let accuracy = linear_accuracy(&data.train, &test);
        assert!(accuracy < 0.6, "{accuracy}");
    }
}
