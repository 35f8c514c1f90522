//! Many pictures at once: read in parallel, each straight into its place of the network's format.

use super::{
    error::DataError,
    format::ImageFormat,
    images::Images,
    picture::Picture,
    tally::{Origin, Tally},
};
use rayon::prelude::*;

/// Bytes of images that are decoded before they go where they stay.
const CHUNK: usize = 32 << 20;

/// Brings what `read` makes of each of `items` into `format`, in their order; `labels` and `names`
/// have one for each. Where `read` fails the item is left out: their positions come with the images.
pub(super) fn fill<T: Sync>(
    format: &ImageFormat,
    items: &[T],
    labels: &[u32],
    names: &[String],
    read: impl Fn(&T) -> Option<Picture> + Sync,
    tally: &mut Tally,
) -> Result<(Images, Vec<usize>), DataError> {
    let mut filling = tally.room.take(items.len(), format.len())?;
    let mut images =
        Images { channels: format.channels, height: format.height, width: format.width, ..Images::default() };
    let mut failed = Vec::new();
    let mut index = 0;
    for items in items.chunks((CHUNK / format.len()).max(1)) {
        // Black: what a picture does not cover stays so.
        let mut pixels = vec![0; items.len() * format.len()];
        let slots = pixels.par_chunks_exact_mut(format.len());
        let origins: Vec<Option<Origin>> =
            slots.zip(items).map(|(slot, item)| place(format, read(item)?, slot)).collect();
        for (origin, pixels) in origins.into_iter().zip(pixels.chunks_exact(format.len())) {
            match origin {
                None => failed.push(index),
                Some(origin) => {
                    tally.add(origin, format);
                    filling.push(pixels)?;
                    images.labels.push(labels[index]);
                    images.names.push(names[index].clone());
                }
            }
            index += 1;
        }
    }
    let images = Images { pixels: filling.finish(), ..images };
    tally.on_disk += images.disk_bytes();
    Ok((images, failed))
}

fn place(format: &ImageFormat, picture: Picture, slot: &mut [u8]) -> Option<Origin> {
    let origin = Origin::of(&picture);
    format.fill(picture, slot);
    Some(origin)
}

/// Images of `width × height` pixels that are stored plane after plane, in `format`; `labels` and
/// `names` have one for each of `records`.
pub(super) fn from_planes(
    format: &ImageFormat,
    (width, height): (u32, u32),
    records: &[&[u8]],
    labels: &[u32],
    names: &[String],
    tally: &mut Tally,
) -> Result<Images, DataError> {
    let picture = |planes: &&[u8]| Some(Picture::planar(width, height, planes));
    fill(format, records, labels, names, picture, tally).map(|(images, _)| images)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::format::Fit;

    const FORMAT: ImageFormat = ImageFormat { channels: 1, height: 1, width: 1, fit: Fit::Stretch };

    #[test]
    fn items_stay_in_order_and_those_that_fail_are_left_out() -> Result<(), DataError> {
        let items: Vec<u8> = (0..100).collect();
        let labels: Vec<u32> = (100..200).collect();
        let names: Vec<String> = items.iter().map(u8::to_string).collect();
        let read = |item: &u8| (*item % 50 != 3).then(|| Picture::planar(1, 1, &[*item]));
        let (images, failed) = fill(&FORMAT, &items, &labels, &names, read, &mut Tally::default())?;
        assert_eq!([2, 3, 97].map(|index| images.image(index)[0]), [2, 4, 99]);
        assert_eq!((images.labels[2], images.labels[3], images.labels[97]), (102, 104, 199));
        assert_eq!((images.names[2].as_str(), images.names[3].as_str()), ("2", "4"));
        assert_eq!((images.len(), images.memory_bytes(), failed), (98, 98, vec![3, 53]));
        Ok(())
    }

    #[test]
    fn more_than_the_memory_is_an_error() {
        let format = ImageFormat { channels: 3, height: 1 << 20, width: 1 << 20, fit: Fit::Stretch };
        let result = fill(&format, &[(); 1 << 20], &[], &[], |()| None, &mut Tally::default());
        assert!(matches!(result, Err(DataError::TooLarge { images: 1_048_576, .. })));
    }
}
