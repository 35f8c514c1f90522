//! Many pictures at once: read in parallel, each straight into its place of the network's format.

use super::{
    error::DataError,
    format::ImageFormat,
    images::Images,
    picture::Picture,
    tally::{Origin, Tally},
};
use rayon::prelude::*;
use std::convert::Infallible;

/// Brings what `read` makes of each of `items` into `format`, in the order of `items`.
///
/// The pixels have a place for every item; where `read` failed it is black.
pub(super) fn fill<T: Sync, E: Send>(
    format: &ImageFormat,
    items: &[T],
    read: impl Fn(&T) -> Result<Picture, E> + Sync,
) -> Result<(Vec<u8>, Vec<Result<Origin, E>>), DataError> {
    let mut pixels = black(items.len(), format)?;
    let origins = pixels
        .par_chunks_exact_mut(format.len())
        .zip(items)
        .map(|(slot, item)| {
            let picture = read(item)?;
            let origin = Origin::of(&picture);
            format.fill(picture, slot);
            Ok(origin)
        })
        .collect();
    Ok((pixels, origins))
}

/// Images of `width × height` pixels that are stored plane after plane, in `format`; `records` and
/// `labels` are of one length.
pub(super) fn from_planes(
    format: &ImageFormat,
    (width, height): (u32, u32),
    records: &[&[u8]],
    labels: Vec<u32>,
    tally: &mut Tally,
) -> Result<Images, DataError> {
    let picture = |planes: &&[u8]| Ok::<_, Infallible>(Picture::planar(width, height, planes));
    let (pixels, origins) = fill(format, records, picture)?;
    origins.into_iter().flatten().for_each(|origin| tally.add(origin, format));
    Ok(Images { channels: format.channels, height: format.height, width: format.width, pixels, labels })
}

/// Room for `count` images, or an error instead of an abort where there is none.
fn black(count: usize, format: &ImageFormat) -> Result<Vec<u8>, DataError> {
    let bytes = count.saturating_mul(format.len());
    let mut pixels = Vec::new();
    pixels.try_reserve_exact(bytes).map_err(|_| DataError::TooLarge { images: count, bytes })?;
    pixels.resize(bytes, 0);
    Ok(pixels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::format::Fit;

    const FORMAT: ImageFormat = ImageFormat { channels: 1, height: 1, width: 1, fit: Fit::Stretch };

    #[test]
    fn every_item_fills_its_own_place() -> Result<(), DataError> {
        let items: Vec<u8> = (0..100).collect();
        let (pixels, origins) = fill(&FORMAT, &items, |item| match item % 10 {
            3 => Err(*item),
            _ => Ok(Picture::planar(1, 1, &[*item])),
        })?;
        assert_eq!((pixels[42], pixels[43], pixels[99]), (42, 0, 99));
        assert!(origins[42].is_ok());
        assert_eq!(origins[43].as_ref().err(), Some(&43));
        Ok(())
    }

    #[test]
    fn more_than_the_memory_is_an_error() {
        let format = ImageFormat { channels: 3, height: 1 << 20, width: 1 << 20, fit: Fit::Stretch };
        let result = fill(&format, &[(); 1 << 20], |()| Err(()));
        assert!(matches!(result, Err(DataError::TooLarge { images: 1_048_576, .. })));
    }
}
