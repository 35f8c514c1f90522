//! Decoded images, and the splits they come in.

use super::pixels::Pixels;
use std::borrow::Cow;

/// 8-bit images of one size with their labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Images {
    /// 1 (grey) or 3 (red, green, blue).
    pub channels: usize,
    /// Rows of an image.
    pub height: usize,
    /// Columns of an image.
    pub width: usize,
    /// Each `channels × height × width`: see [`Images::image`].
    pub(super) pixels: Pixels,
    /// One class number per image.
    pub labels: Vec<u32>,
    /// One name per image that no other image of the data has: its path below the data's folder, or
    /// its file and its number in it (from 1), such as `data_batch_1.bin:17`.
    pub names: Vec<String>,
}

impl Images {
    /// Images of `[channels, height, width]` whose pixels come one after the other, with a label and a name each.
    pub fn in_memory(shape: [usize; 3], pixels: Vec<u8>, labels: Vec<u32>, names: Vec<String>) -> Self {
        let [channels, height, width] = shape;
        Self { channels, height, width, pixels: Pixels::in_memory(pixels, channels * height * width), labels, names }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Bytes of one image: `channels × height × width`.
    pub fn image_len(&self) -> usize {
        self.channels * self.height * self.width
    }

    /// The pixels of image `index`, channels first.
    ///
    /// # Panics
    ///
    /// If there is no such image, or it is on a disk that fails.
    pub fn image(&self, index: usize) -> Cow<'_, [u8]> {
        self.pixels.image(index)
    }

    #[cfg(test)]
    pub(super) fn all_pixels(&self) -> Vec<u8> {
        (0..self.len()).flat_map(|index| self.image(index).into_owned()).collect()
    }

    /// Bytes that they take in memory.
    pub fn memory_bytes(&self) -> u64 {
        self.pixels.bytes()[0]
    }

    /// Bytes that they take in a temporary file, as they do not fit the memory.
    pub fn disk_bytes(&self) -> u64 {
        self.pixels.bytes()[1]
    }

    /// The images at `indices`, in that order. They share their pixels with these.
    ///
    /// # Panics
    ///
    /// If there is no image at one of them.
    #[must_use]
    pub fn subset(&self, indices: &[usize]) -> Self {
        let pixels = self.pixels.subset(indices);
        let labels = indices.iter().map(|&index| self.labels[index]).collect();
        let names = indices.iter().map(|&index| self.names[index].clone()).collect();
        Self { pixels, labels, names, ..*self }
    }

    /// Adds `more` images of the same size at the end.
    pub fn append(&mut self, more: Self) {
        self.pixels.append(more.pixels);
        self.labels.extend(more.labels);
        self.names.extend(more.names);
    }

    /// How many images each of `classes` classes has.
    ///
    /// # Panics
    ///
    /// If a label is `classes` or more.
    pub fn class_counts(&self, classes: usize) -> Vec<usize> {
        let mut counts = vec![0; classes];
        for &label in &self.labels {
            counts[label as usize] += 1;
        }
        counts
    }
}

/// What a [`Source`](super::Source) holds, in the format of one network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dataset {
    /// `synthetic`, or the folder's name.
    pub name: String,
    /// Names of the classes; a label is a position in this list.
    pub classes: Vec<String>,
    /// At least one image.
    pub train: Images,
    /// The data's own validation images, if it has any.
    pub validation: Option<Images>,
    /// The data's own test images, if it has any.
    pub test: Option<Images>,
    /// What was changed, skipped or looks odd, a sentence fragment each.
    pub notes: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three() -> Images {
        let names = ["a", "b", "c"].map(String::from).to_vec();
        Images::in_memory([1, 1, 2], vec![1, 2, 3, 4, 5, 6], vec![0, 2, 2], names)
    }

    #[test]
    fn an_image_is_its_slice_of_pixels() {
        assert_eq!(three().len(), 3);
        assert_eq!(three().image(1)[..], [3, 4]);
    }

    #[test]
    fn a_subset_keeps_the_order_asked_for() {
        let subset = three().subset(&[2, 0]);
        assert_eq!((&subset.image(0)[..], &subset.image(1)[..]), (&[5, 6][..], &[1, 2][..]));
        assert_eq!(subset.labels, [2, 0]);
        assert_eq!(subset.names, ["c", "a"]);
    }

    #[test]
    fn classes_without_images_count_zero() {
        assert_eq!(three().class_counts(4), [1, 0, 2, 0]);
    }
}
