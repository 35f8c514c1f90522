//! Pictures of images, for people.

use super::{
    batch::{Augmentation, training_batch},
    images::Images,
    normalisation::Normalisation,
    preview::{plain_rgb, rgb},
};
use image::{ImageError, RgbImage, codecs::png::PngEncoder, imageops};
use std::io::Cursor;

/// Shorter sides are brought to this many pixels, in whole steps where they grow.
const SIDE: u32 = 64;
/// Pixels between images.
const GAP: u32 = 2;

/// Several images in one.
#[derive(Clone, Debug)]
pub struct Mosaic {
    /// A PNG file.
    pub png: Vec<u8>,
    /// Width and height in pixels.
    pub size: [u32; 2],
}

/// The images at `indices`, in rows of about as many as there are rows.
///
/// # Errors
/// When the picture cannot be written.
pub fn mosaic(images: &Images, indices: &[usize]) -> Result<Mosaic, ImageError> {
    join(indices.iter().map(|index| tile(images, *index)).collect())
}

/// The same as training sees them in `epoch`.
///
/// # Errors
/// When the picture cannot be written.
pub fn augmented_mosaic(
    images: &Images,
    indices: &[usize],
    augmentation: &Augmentation,
    seed: u64,
    epoch: u64,
) -> Result<Mosaic, ImageError> {
    // Normalised values are shares of the range.
    let plain = Normalisation { mean: vec![0.0; images.channels], deviation: vec![1.0; images.channels] };
    let seen = |index: &usize| {
        let batch = training_batch(images, &[*index], &plain, augmentation, seed, epoch);
        fitted(&rgb(images, |at| (batch.images[at] * 255.0).round().clamp(0.0, 255.0) as u8))
    };
    join(indices.iter().map(seen).collect())
}

/// One image as a PNG file, in its own size.
///
/// # Errors
/// When it cannot be written.
pub fn picture(images: &Images, index: usize) -> Result<Vec<u8>, ImageError> {
    png(&plain_rgb(images, index))
}

fn tile(images: &Images, index: usize) -> RgbImage {
    fitted(&plain_rgb(images, index))
}

fn fitted(image: &RgbImage) -> RgbImage {
    let (width, height) = image.dimensions();
    let shorter = width.min(height).max(1);
    if shorter >= SIDE {
        let scaled = |side: u32| (side * SIDE / shorter).max(1);
        return imageops::resize(image, scaled(width), scaled(height), imageops::FilterType::Triangle);
    }
    let factor = SIDE / shorter;
    imageops::resize(image, width * factor, height * factor, imageops::FilterType::Nearest)
}

fn join(tiles: Vec<RgbImage>) -> Result<Mosaic, ImageError> {
    let columns = (tiles.len() as f64).sqrt().ceil().max(1.0) as u32;
    let rows = (tiles.len() as u32).div_ceil(columns).max(1);
    let (width, height) = tiles.first().map_or((1, 1), RgbImage::dimensions);
    let (wide, high) = (width + GAP, height + GAP);
    let mut whole = RgbImage::from_pixel(columns * wide, rows * high, image::Rgb([255; 3]));
    for (index, tile) in (0..).zip(&tiles) {
        let (column, row) = (index % columns, index / columns);
        imageops::replace(&mut whole, tile, (column * wide + GAP / 2).into(), (row * high + GAP / 2).into());
    }
    Ok(Mosaic { png: png(&whole)?, size: [whole.width(), whole.height()] })
}

fn png(image: &RgbImage) -> Result<Vec<u8>, ImageError> {
    let mut file = Cursor::new(Vec::new());
    image.write_with_encoder(PngEncoder::new(&mut file))?;
    Ok(file.into_inner())
}
