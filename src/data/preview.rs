//! What augmentation makes of some images, as a picture.

use super::{
    batch::{Augmentation, training_batch},
    images::Images,
    normalisation::Normalisation,
};
use image::{ImageError, ImageFormat, RgbImage, codecs::png::PngEncoder, imageops};
use std::io::Cursor;

/// Images that are shown, one a row.
const ROWS: usize = 6;
/// The image itself, then what it is in so many epochs.
const COLUMNS: usize = 9;
/// Shorter sides are enlarged to this many pixels.
const SIDE: usize = 64;

/// A PNG file: in each row an image and what a training sees of it in its first epochs.
///
/// # Errors
/// When the picture cannot be written.
pub fn preview(images: &Images, augmentation: &Augmentation, seed: u64) -> Result<Vec<u8>, ImageError> {
    // Normalised values are shares of the range.
    let plain = Normalisation { mean: vec![0.0; images.channels], deviation: vec![1.0; images.channels] };
    let factor = (SIDE / images.height.min(images.width).max(1)).max(1);
    let (width, height) = (images.width * factor + 2, images.height * factor + 2);
    let rows = ROWS.min(images.len());
    let mut picture = RgbImage::from_pixel((COLUMNS * width) as u32, (rows * height) as u32, image::Rgb([255; 3]));
    for row in 0..rows {
        // Neighbours are often of one class.
        let index = row * images.len() / rows;
        for column in 0..COLUMNS {
            let tile = match column {
                0 => plain_rgb(images, index),
                epoch => {
                    let batch = training_batch(images, &[index], &plain, augmentation, seed, epoch as u64);
                    rgb(images, |at| (batch.images[at] * 255.0).round().clamp(0.0, 255.0) as u8)
                }
            };
            let (wide, high) = ((images.width * factor) as u32, (images.height * factor) as u32);
            let tile = imageops::resize(&tile, wide, high, imageops::FilterType::Nearest);
            imageops::replace(&mut picture, &tile, (column * width + 1) as i64, (row * height + 1) as i64);
        }
    }
    let mut file = Cursor::new(Vec::new());
    picture.write_with_encoder(PngEncoder::new(&mut file))?;
    debug_assert_eq!(image::guess_format(file.get_ref()).ok(), Some(ImageFormat::Png));
    Ok(file.into_inner())
}

/// An image as it is.
pub(super) fn plain_rgb(images: &Images, index: usize) -> RgbImage {
    let pixels = images.image(index);
    rgb(images, |at| pixels[at])
}

/// An image whose values come channel after channel.
pub(super) fn rgb(images: &Images, value: impl Fn(usize) -> u8) -> RgbImage {
    let plane = images.height * images.width;
    RgbImage::from_fn(images.width as u32, images.height as u32, |x, y| {
        let pixel = y as usize * images.width + x as usize;
        image::Rgb([0, 1, 2].map(|channel| value(channel.min(images.channels - 1) * plane + pixel)))
    })
}
