//! One picture as its file has it.

use super::{error::DataError, format::ImageFormat, listing::Listing};
use image::{
    DynamicImage, GrayImage, ImageDecoder, ImageError, ImageReader, ImageResult, RgbImage, error::DecodingError,
};
use std::{
    fs,
    io::Cursor,
    path::{Path, PathBuf},
};

/// A picture before it takes the network's format.
#[derive(Clone, Debug)]
pub(super) enum Picture {
    Grey(GrayImage),
    Colour(RgbImage),
}

impl Picture {
    /// Reads an image file, whatever its name ends in, upright as its camera says. Transparency
    /// is dropped, 16 bits become 8, a palette its colours.
    pub(super) fn read(path: &Path) -> ImageResult<Self> {
        let bytes = fs::read(path)?;
        if is_cut_off_jpeg(&bytes) {
            return Err(ImageError::Decoding(DecodingError::new(
                image::ImageFormat::Jpeg.into(),
                "the file is cut off",
            )));
        }
        let mut decoder = ImageReader::new(Cursor::new(bytes)).with_guessed_format()?.into_decoder()?;
        let orientation = decoder.orientation()?;
        let mut image = DynamicImage::from_decoder(decoder)?;
        image.apply_orientation(orientation);
        Ok(match image.color().has_color() {
            true => Self::Colour(image.into_rgb8()),
            false => Self::Grey(image.into_luma8()),
        })
    }

    /// A picture of `width × height` that is stored plane after plane: one plane is grey, three
    /// are red, green, blue.
    pub(super) fn planar(width: u32, height: u32, planes: &[u8]) -> Self {
        let size = width as usize * height as usize;
        let picture = match planes.len() / size {
            1 => GrayImage::from_vec(width, height, planes.to_vec()).map(Self::Grey),
            _ => RgbImage::from_vec(width, height, interleaved(planes, size)).map(Self::Colour),
        };
        picture.expect("one or three planes of that size")
    }

    /// (width, height)
    pub(super) fn size(&self) -> (u32, u32) {
        match self {
            Self::Grey(grey) => grey.dimensions(),
            Self::Colour(colour) => colour.dimensions(),
        }
    }

    /// Whether it has three channels, even if all of its colours are greys.
    pub(super) fn is_colour(&self) -> bool {
        matches!(self, Self::Colour(_))
    }

    /// As grey values.
    pub(super) fn into_grey(self) -> GrayImage {
        match self {
            Self::Grey(grey) => grey,
            Self::Colour(colour) => {
                let luma = colour.pixels().map(|pixel| luma(pixel.0)).collect();
                GrayImage::from_vec(colour.width(), colour.height(), luma).expect("one value per pixel")
            }
        }
    }
}

/// The image at `path` as a network of that format takes it: channels, height, width.
///
/// # Errors
///
/// If the file is no image that can be read, or no image can have that format.
pub fn read_image(path: &Path, format: &ImageFormat) -> Result<Vec<u8>, DataError> {
    format.check()?;
    let picture = Picture::read(path).map_err(|reason| DataError::Image { path: path.to_owned(), reason })?;
    let mut slot = vec![0; format.len()];
    format.fill(picture, &mut slot);
    Ok(slot)
}

/// The image files at `path`: itself, or those in the folder and in all folders below it, sorted.
///
/// # Errors
///
/// If there is nothing there, or a folder cannot be read.
pub fn image_files(path: &Path) -> Result<Vec<PathBuf>, DataError> {
    if !path.is_dir() {
        let found = fs::metadata(path).map(|_| vec![path.to_owned()]);
        return found.map_err(|reason| DataError::Read { path: path.to_owned(), reason });
    }
    let listing = Listing::of(path)?;
    let mut files: Vec<PathBuf> = listing.images().cloned().collect();
    for folder in &listing.folders {
        files.extend(image_files(folder)?);
    }
    Ok(files)
}

/// How bright a colour is by ITU-R BT.601, in the integers that Pillow and so torchvision use.
pub(super) fn luma([red, green, blue]: [u8; 3]) -> u8 {
    ((u32::from(red) * 19_595 + u32::from(green) * 38_470 + u32::from(blue) * 7_471 + 0x8000) >> 16) as u8
}

/// Whether the end marker of a JPEG file is missing: the decoder would not fail, but paint the
/// missing lines in one colour.
fn is_cut_off_jpeg(bytes: &[u8]) -> bool {
    let Some(mut rest) = bytes.strip_prefix(&[0xff, 0xd8]) else { return false };
    // Segments before the first scan may hold a thumbnail with an end marker of its own.
    while let [0xff, marker, high, low, ..] = *rest {
        let segment = if marker == 0xff { 1 } else { 2 + usize::from(u16::from_be_bytes([high, low])) };
        rest = rest.get(segment..).unwrap_or_default();
        if marker == 0xda {
            break;
        }
    }
    !rest.windows(2).any(|pair| pair == [0xff, 0xd9])
}

fn interleaved(planes: &[u8], size: usize) -> Vec<u8> {
    let (red, others) = planes.split_at(size);
    let (green, blue) = others.split_at(size);
    red.iter().zip(green).zip(blue).flat_map(|((r, g), b)| [*r, *g, *b]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::format::Fit;
    use image::{ImageBuffer, ImageEncoder, Luma, LumaA, Rgb, Rgba, RgbaImage, codecs::jpeg::JpegEncoder};
    use std::io;
    use tempfile::{NamedTempFile, TempDir};

    fn saved(name: &str, image: impl Into<DynamicImage>) -> ImageResult<Picture> {
        let folder = TempDir::new()?;
        let path = folder.path().join(name);
        image.into().save(&path)?;
        Picture::read(&path)
    }

    fn colours(picture: Picture) -> Vec<u8> {
        match picture {
            Picture::Colour(colour) => colour.into_raw(),
            Picture::Grey(_) => panic!("grey"),
        }
    }

    #[test]
    fn transparency_is_dropped() -> ImageResult<()> {
        let clear = saved("a.png", RgbaImage::from_pixel(1, 1, Rgba([10, 20, 30, 0])))?;
        assert_eq!(colours(clear), [10, 20, 30]);
        let clear = saved("a.png", ImageBuffer::from_pixel(1, 1, LumaA([77u8, 0])))?;
        assert!(!clear.is_colour());
        assert_eq!(clear.into_grey().into_raw(), [77]);
        Ok(())
    }

    #[test]
    fn sixteen_bits_become_eight() -> ImageResult<()> {
        let deep = saved("a.png", ImageBuffer::from_pixel(1, 1, Rgb([0u16, 0x8080, 0xffff])))?;
        assert_eq!(colours(deep), [0, 0x80, 0xff]);
        assert_eq!(saved("a.png", ImageBuffer::from_pixel(1, 1, Luma([0x4040u16])))?.into_grey().into_raw(), [0x40]);
        Ok(())
    }

    /// A bitmap of one pixel, 8 bits that choose the second colour of a palette of two.
    #[test]
    fn palettes_become_colours() -> io::Result<()> {
        let words = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
        let mut bytes = b"BM".to_vec();
        bytes.extend(words(&[66, 0, 62, 40, 1, 1, 1 | 8 << 16, 0, 4, 0, 0, 2, 0]));
        bytes.extend([0, 0, 0, 0, 30, 20, 10, 0, 1, 0, 0, 0]);
        let file = NamedTempFile::new()?;
        fs::write(file.path(), bytes)?;
        let picture = Picture::read(file.path()).map_err(io::Error::other)?;
        assert_eq!(colours(picture), [10, 20, 30]);
        Ok(())
    }

    /// A JPEG file of 16×8 pixels with that Exif data.
    fn jpeg(exif: Vec<u8>) -> ImageResult<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut encoder = JpegEncoder::new(&mut bytes);
        encoder.set_exif_metadata(exif).map_err(ImageError::Unsupported)?;
        GrayImage::new(16, 8).write_with_encoder(encoder)?;
        Ok(bytes)
    }

    #[test]
    fn photographs_are_turned_upright() -> ImageResult<()> {
        let entry = [1, 0, 0x12, 1, 3, 0, 1, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0];
        let turned = [&b"II*\0\x08\0\0\0"[..], &entry].concat();
        let file = NamedTempFile::new()?;
        fs::write(file.path(), jpeg(turned)?)?;
        assert_eq!(Picture::read(file.path())?.size(), (8, 16));
        Ok(())
    }

    #[test]
    fn a_jpeg_file_without_its_end_is_not_read() -> ImageResult<()> {
        // A thumbnail has an end marker too.
        let whole = jpeg(vec![0xff, 0xd9])?;
        let file = NamedTempFile::new()?;
        for (bytes, readable) in [(&whole[..], true), (&whole[..whole.len() - 2], false), (&whole[..30], false)] {
            fs::write(file.path(), bytes)?;
            assert_eq!(Picture::read(file.path()).is_ok(), readable);
        }
        assert!(!is_cut_off_jpeg(&[&whole[..2], &[0xff], &whole[2..], b"appended"].concat()));
        Ok(())
    }

    #[test]
    fn luma_is_pillows() {
        assert_eq!(luma([255, 255, 255]), 255);
        assert_eq!([luma([255, 0, 0]), luma([0, 255, 0]), luma([0, 0, 255])], [76, 150, 29]);
        assert_eq!(luma([10, 100, 200]), 84);
    }

    #[test]
    fn planes_are_red_green_blue() {
        assert_eq!(colours(Picture::planar(2, 1, &[1, 2, 3, 4, 5, 6])), [1, 3, 5, 2, 4, 6]);
        assert_eq!(Picture::planar(1, 2, &[1, 2]).size(), (1, 2));
    }

    #[test]
    fn one_file_is_read_in_the_format_of_the_network() -> Result<(), Box<dyn std::error::Error>> {
        let folder = TempDir::new()?;
        let format = ImageFormat { channels: 1, height: 2, width: 2, fit: Fit::Letterbox };
        RgbImage::from_pixel(4, 2, Rgb([255, 0, 0])).save(folder.path().join("a.png"))?;
        assert_eq!(read_image(&folder.path().join("a.png"), &format)?, [76, 76, 0, 0]);
        let missing = read_image(&folder.path().join("b.png"), &format);
        assert!(matches!(missing, Err(DataError::Image { path, .. }) if path.ends_with("b.png")));
        Ok(())
    }
}
