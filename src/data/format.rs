//! The format in which a network takes its images, and how any picture is brought into it.

use super::{error::DataError, picture::Picture};
use image::{
    ImageBuffer, Pixel,
    imageops::{self, FilterType},
};
use std::{fmt, str::FromStr};

/// How a picture of another size or shape becomes one of the network's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fit {
    /// All of the picture, its proportions kept, black bars at two sides.
    #[default]
    Letterbox,
    /// The middle of the picture, its proportions kept, the rest cut off.
    Crop,
    /// All of the picture, its proportions changed.
    Stretch,
}

impl Fit {
    const ALL: [Self; 3] = [Self::Letterbox, Self::Crop, Self::Stretch];

    fn name(self) -> &'static str {
        match self {
            Self::Letterbox => "letterbox",
            Self::Crop => "crop",
            Self::Stretch => "stretch",
        }
    }
}

impl fmt::Display for Fit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A word that is no [`Fit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be letterbox, crop or stretch")]
pub struct UnknownFit;

impl FromStr for Fit {
    type Err = UnknownFit;

    fn from_str(text: &str) -> Result<Self, UnknownFit> {
        Self::ALL.into_iter().find(|fit| fit.name() == text).ok_or(UnknownFit)
    }
}

/// What a network takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageFormat {
    /// 1 (grey) or 3 (red, green, blue).
    pub channels: usize,
    /// Rows, at least 1.
    pub height: usize,
    /// Columns, at least 1.
    pub width: usize,
    /// What to do with pictures of another size.
    pub fit: Fit,
}

impl ImageFormat {
    /// Bytes of one image.
    pub(super) fn len(&self) -> usize {
        self.channels * self.height * self.width
    }

    /// That pictures can be brought into this format at all.
    pub(super) fn check(&self) -> Result<(), DataError> {
        match self {
            Self { channels: 1 | 3, height: 1.., width: 1.., .. } => Ok(()),
            Self { channels: 1 | 3, .. } => Err(DataError::NoPixels { height: self.height, width: self.width }),
            _ => Err(DataError::Channels(self.channels)),
        }
    }

    /// Brings `picture` into this format: grey or colour first or last, whichever leaves fewer
    /// channels to resize.
    ///
    /// `slot` (channels, height, width) must be black before.
    pub(super) fn fill(&self, picture: Picture, slot: &mut [u8]) {
        match picture {
            Picture::Colour(colour) if self.channels == 3 => self.place(&colour, slot),
            picture => {
                let (first, others) = slot.split_at_mut(self.height * self.width);
                self.place(&picture.into_grey(), first);
                others.chunks_exact_mut(first.len()).for_each(|plane| plane.copy_from_slice(first));
            }
        }
    }

    /// Resizes `picture` and writes it to `slot`, which has as many channels.
    fn place<P: Pixel<Subpixel = u8> + 'static>(&self, picture: &ImageBuffer<P, Vec<u8>>, slot: &mut [u8]) {
        let (width, height) = (self.width as u32, self.height as u32);
        if picture.dimensions() == (width, height) {
            return self.paste(picture, slot);
        }
        let resized = match self.fit {
            Fit::Stretch => imageops::resize(picture, width, height, FilterType::Triangle),
            Fit::Letterbox => {
                let (width, height) = inside((width, height), picture.dimensions());
                imageops::resize(picture, width, height, FilterType::Triangle)
            }
            Fit::Crop => {
                let (cut_width, cut_height) = inside(picture.dimensions(), (width, height));
                let (left, top) = ((picture.width() - cut_width) / 2, (picture.height() - cut_height) / 2);
                let middle = imageops::crop_imm(picture, left, top, cut_width, cut_height);
                imageops::resize(&*middle, width, height, FilterType::Triangle)
            }
        };
        self.paste(&resized, slot);
    }

    /// Writes a picture that fits into `slot` to its middle, channels first.
    fn paste<P: Pixel<Subpixel = u8>>(&self, picture: &ImageBuffer<P, Vec<u8>>, slot: &mut [u8]) {
        let (width, height, channels) =
            (picture.width() as usize, picture.height() as usize, P::CHANNEL_COUNT as usize);
        let (left, top) = ((self.width - width) / 2, (self.height - height) / 2);
        for (channel, plane) in slot.chunks_exact_mut(self.height * self.width).enumerate() {
            let rows = plane.chunks_exact_mut(self.width).skip(top);
            for (row, from) in rows.zip(picture.as_raw().chunks_exact(width * channels)) {
                for (pixel, from) in row[left..left + width].iter_mut().zip(from.iter().skip(channel).step_by(channels))
                {
                    *pixel = *from;
                }
            }
        }
    }
}

/// The largest size of the proportions of `shape` that lies in `frame`, each (width, height).
fn inside(frame: (u32, u32), shape: (u32, u32)) -> (u32, u32) {
    let scale = |length: u32, by: u32, over: u32| {
        let (length, by, over) = (u64::from(length), u64::from(by), u64::from(over));
        (length * by + over / 2) / over
    };
    let width = scale(shape.0, frame.1, shape.1).clamp(1, u64::from(frame.0)) as u32;
    let height = scale(shape.1, frame.0, shape.0).clamp(1, u64::from(frame.1)) as u32;
    (width, height)
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{GrayImage, Luma, Rgb, RgbImage};

    fn fitted(picture: Picture, channels: usize, (width, height): (usize, usize), fit: Fit) -> Vec<u8> {
        let format = ImageFormat { channels, height, width, fit };
        let mut slot = vec![0; format.len()];
        format.fill(picture, &mut slot);
        slot
    }

    /// Four columns, two rows: columns of 10, 20, 30, 40.
    fn wide() -> Picture {
        Picture::Grey(GrayImage::from_fn(4, 2, |x, _| Luma([10 * (x as u8 + 1)])))
    }

    #[test]
    fn letterbox_keeps_proportions_and_pads_black_on_both_sides() {
        let slot = fitted(wide(), 1, (4, 4), Fit::Letterbox);
        assert_eq!(slot, [0, 0, 0, 0, 10, 20, 30, 40, 10, 20, 30, 40, 0, 0, 0, 0]);
        let tall = Picture::Grey(GrayImage::from_pixel(2, 6, Luma([9])));
        assert_eq!(fitted(tall, 1, (3, 3), Fit::Letterbox), [0, 9, 0, 0, 9, 0, 0, 9, 0]);
    }

    #[test]
    fn crop_keeps_the_middle_and_stretch_everything() {
        assert_eq!(fitted(wide(), 1, (2, 2), Fit::Crop), [20, 30, 20, 30]);
        let stretched = fitted(wide(), 1, (2, 2), Fit::Stretch);
        assert_eq!(stretched[..2], stretched[2..]);
        assert!((13..=18).contains(&stretched[0]) && (32..=37).contains(&stretched[1]), "{stretched:?}");
    }

    /// Every second column is white: without an antialiasing filter half of the size would be all
    /// white or all black.
    #[test]
    fn shrinking_averages() {
        let stripes = Picture::Grey(GrayImage::from_fn(64, 64, |x, _| Luma([if x % 2 == 0 { 0 } else { 254 }])));
        let slot = fitted(stripes, 1, (16, 16), Fit::Letterbox);
        assert!(slot.iter().all(|v| (100..=154).contains(v)), "{slot:?}");
    }

    #[test]
    fn colours_become_planes_and_grey_is_repeated() {
        let colour = RgbImage::from_fn(2, 1, |x, _| Rgb([x as u8, 10 + x as u8, 20 + x as u8]));
        assert_eq!(fitted(Picture::Colour(colour), 3, (2, 1), Fit::Crop), [0, 1, 10, 11, 20, 21]);
        let grey = Picture::Grey(GrayImage::from_fn(2, 1, |x, _| Luma([x as u8 + 5])));
        assert_eq!(fitted(grey, 3, (2, 1), Fit::Crop), [5, 6, 5, 6, 5, 6]);
    }

    #[test]
    fn thin_pictures_keep_at_least_one_line() {
        assert_eq!(inside((32, 32), (1000, 1)), (32, 1));
        assert_eq!(inside((32, 32), (1, 1000)), (1, 32));
        assert_eq!(inside((32, 32), (640, 480)), (32, 24));
        assert_eq!(inside((48, 32), (28, 28)), (32, 32));
        assert_eq!(inside((640, 480), (32, 32)), (480, 480));
    }

    #[test]
    fn fits_are_read_as_they_are_written() {
        for fit in Fit::ALL {
            assert_eq!(fit.to_string().parse(), Ok(fit));
        }
        assert_eq!("fill".parse::<Fit>(), Err(UnknownFit));
    }

    #[test]
    fn only_grey_and_colour_of_some_size_are_formats() {
        let check = |channels, height| ImageFormat { channels, height, width: 8, fit: Fit::Crop }.check();
        assert!(check(1, 8).is_ok() && check(3, 8).is_ok());
        assert!(matches!(check(4, 8), Err(DataError::Channels(4))));
        assert!(matches!(check(3, 0), Err(DataError::NoPixels { height: 0, .. })));
    }
}
