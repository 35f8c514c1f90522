//! What a look at data finds, for a user who wants to know before training.

use super::{
    images::{Dataset, Images},
    split_file::checksum,
};
use serde::Serialize;
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

/// Bits in which the fingerprints of near duplicates differ at most.
const NEAR: u32 = 4;
/// Their values correlate at least so much: fingerprints of 64 bits agree by chance in large sets.
const ALIKE: f64 = 0.85;
/// Images that are compared with each other because a part of their fingerprints is the same.
const LARGEST_BUCKET: usize = 2000;
/// Columns and rows of a fingerprint.
const SIDE: usize = 8;

/// The findings.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Survey {
    /// Images of each class, by split.
    pub classes: Vec<ClassCounts>,
    /// The images of the most frequent class for each one of the rarest that has some, over the training
    /// images.
    pub imbalance: f64,
    /// Groups of images that look the same to the network.
    pub duplicates: Vec<Vec<Found>>,
    /// Pairs of images that are almost the same, in different splits or of different classes.
    pub near_duplicates: Vec<[Found; 2]>,
    /// How many groups of duplicates lie in several splits.
    pub across_splits: usize,
    /// How many pairs of near duplicates do.
    pub near_across_splits: usize,
    /// How many groups of duplicates have several classes.
    pub contradictions: usize,
}

/// Images of one class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClassCounts {
    /// Its name.
    pub class: String,
    /// Training images.
    pub train: usize,
    /// The data's own validation images.
    pub val: usize,
    /// Test images.
    pub test: usize,
}

/// One image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Found {
    /// [`Images::names`].
    pub image: String,
    /// Its class.
    pub class: String,
    /// `train`, `val` or `test`.
    pub split: &'static str,
}

struct Looked<'a> {
    found: Found,
    images: &'a Images,
    index: usize,
    checksum: u32,
    fingerprint: u64,
}

impl Looked<'_> {
    fn pixels(&self) -> Cow<'_, [u8]> {
        self.images.image(self.index)
    }
}

impl Survey {
    /// Looks at all images, in the size in which they were loaded.
    pub fn of(data: &Dataset) -> Self {
        let none = Images::default();
        let (val, test) = (data.validation.as_ref().unwrap_or(&none), data.test.as_ref().unwrap_or(&none));
        let splits = [("train", &data.train), ("val", val), ("test", test)];
        let [train_counts, val_counts, test_counts] = splits.map(|(_, images)| images.class_counts(data.classes.len()));
        let classes = data.classes.iter().enumerate().map(|(class, name)| ClassCounts {
            class: name.clone(),
            train: train_counts[class],
            val: val_counts[class],
            test: test_counts[class],
        });
        let present = || train_counts.iter().copied().filter(|count| *count > 0);
        let imbalance = present().max().unwrap_or(1) as f64 / present().min().unwrap_or(1) as f64;
        let all: Vec<Looked<'_>> = splits
            .into_iter()
            .flat_map(|(split, images)| {
                (0..images.len()).map(move |index| {
                    let found = Found {
                        image: images.names[index].clone(),
                        class: data.classes[images.labels[index] as usize].clone(),
                        split,
                    };
                    let pixels = images.image(index);
                    let (checksum, fingerprint) = (checksum(&pixels), fingerprint(images, &pixels));
                    Looked { found, images, index, checksum, fingerprint }
                })
            })
            .collect();
        let duplicates = duplicates(&all);
        let near_duplicates = near_duplicates(&all);
        let several = |group: &[Found], of: fn(&Found) -> &str| group.iter().map(of).collect::<BTreeSet<_>>().len() > 1;
        let across = duplicates.iter().filter(|group| several(group, |found| found.split)).count();
        let near_across_splits = near_duplicates.iter().filter(|[one, other]| one.split != other.split).count();
        Self {
            classes: classes.collect(),
            imbalance,
            contradictions: duplicates.iter().filter(|group| several(group, |found| &found.class)).count(),
            across_splits: across,
            near_across_splits,
            duplicates,
            near_duplicates,
        }
    }
}

fn duplicates(all: &[Looked<'_>]) -> Vec<Vec<Found>> {
    let mut groups: BTreeMap<u32, Vec<&Looked<'_>>> = BTreeMap::new();
    for looked in all {
        groups.entry(looked.checksum).or_default().push(looked);
    }
    let mut same = Vec::new();
    for group in groups.into_values().filter(|group| group.len() > 1) {
        // Different images may share a checksum.
        let mut group: Vec<(Cow<'_, [u8]>, &Found)> =
            group.into_iter().map(|looked| (looked.pixels(), &looked.found)).collect();
        group.sort_by(|(one, _), (other, _)| one.cmp(other));
        for equal in group.chunk_by(|(one, _), (other, _)| one == other).filter(|equal| equal.len() > 1) {
            same.push(equal.iter().map(|(_, found)| (*found).clone()).collect::<Vec<_>>());
        }
    }
    same.iter_mut().for_each(|group| group.sort_by(|one, other| one.image.cmp(&other.image)));
    same.sort_by(|one, other| one[0].image.cmp(&other[0].image));
    same
}

/// Only pairs that matter: in different splits or of different classes.
fn near_duplicates(all: &[Looked<'_>]) -> Vec<[Found; 2]> {
    // With at most 4 different bits one of 5 parts of the fingerprint is the same.
    let mut pairs = BTreeSet::new();
    for part in 0..=NEAR {
        let key = |looked: &Looked<'_>| (looked.fingerprint >> (part * 13)) & ((1 << 13) - 1);
        let mut buckets: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
        all.iter().enumerate().for_each(|(index, looked)| buckets.entry(key(looked)).or_default().push(index));
        // Where very many images agree, as in a black border, agreeing says nothing; other parts tell.
        for bucket in buckets.values().filter(|bucket| bucket.len() <= LARGEST_BUCKET) {
            for (position, one) in bucket.iter().enumerate() {
                for other in &bucket[position + 1..] {
                    if are_near(&all[*one], &all[*other]) {
                        pairs.insert((*one, *other));
                    }
                }
            }
        }
    }
    let mut pairs: Vec<(usize, usize)> = pairs.into_iter().collect();
    // First what falsifies a measure.
    pairs.sort_by_key(|(one, other)| all[*one].found.split == all[*other].found.split);
    pairs.into_iter().map(|(one, other)| [all[one].found.clone(), all[other].found.clone()]).collect()
}

fn are_near(one: &Looked<'_>, other: &Looked<'_>) -> bool {
    let matters = one.found.split != other.found.split || one.found.class != other.found.class;
    // An image of one colour resembles every other such image.
    let says_something = one.fingerprint.count_ones() > 8 && one.fingerprint.count_zeros() > 8;
    matters
        && says_something
        && (one.fingerprint ^ other.fingerprint).count_ones() <= NEAR
        && are_alike(&one.pixels(), &other.pixels())
}

/// Whether two images that are not equal have nearly the same values, up to brightness and contrast. Pixels that are
/// black in both are left out: bars beside narrow pictures are no likeness.
fn are_alike(one: &[u8], other: &[u8]) -> bool {
    let pairs: Vec<[f64; 2]> =
        one.iter().zip(other).filter(|pair| *pair != (&0, &0)).map(|(a, b)| [f64::from(*a), f64::from(*b)]).collect();
    let count = pairs.len().max(1) as f64;
    let mean = |at: usize| pairs.iter().map(|pair| pair[at]).sum::<f64>() / count;
    let means = [mean(0), mean(1)];
    let product =
        |a: usize, b: usize| -> f64 { pairs.iter().map(|pair| (pair[a] - means[a]) * (pair[b] - means[b])).sum() };
    one != other && product(0, 1) >= ALIKE * (product(0, 0) * product(1, 1)).sqrt()
}

/// A bit for each of 8×8 places: whether it is brighter than the one to its right (Krawetz 2013,
/// "dHash").
fn fingerprint(images: &Images, pixels: &[u8]) -> u64 {
    let plane = images.height * images.width;
    let mean = |row: usize, column: usize| {
        let rows = row * images.height / SIDE..((row + 1) * images.height).div_ceil(SIDE);
        let columns = column * images.width / (SIDE + 1)..((column + 1) * images.width).div_ceil(SIDE + 1);
        let (mut sum, mut count) = (0u64, 0u64);
        for y in rows {
            for x in columns.clone() {
                for channel in 0..images.channels {
                    sum += u64::from(pixels[channel * plane + y * images.width + x]);
                    count += 1;
                }
            }
        }
        sum as f64 / count.max(1) as f64
    };
    let mut bits = 0;
    for row in 0..SIDE {
        for column in 0..SIDE {
            bits = bits << 1 | u64::from(mean(row, column) > mean(row, column + 1));
        }
    }
    bits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Fit, ImageFormat, Room, Source};

    fn dataset() -> Dataset {
        let format = ImageFormat { channels: 3, height: 24, width: 24, fit: Fit::Stretch };
        let Ok(data) = Source::Synthetic.load(&format, &Room::default()) else { panic!("built in") };
        let few: Vec<usize> = (0..60).collect();
        Dataset { train: data.train.subset(&few), test: data.test.map(|test| test.subset(&few)), ..data }
    }

    #[test]
    fn copies_and_retouched_copies_are_found_and_other_images_are_not() {
        let clean = Survey::of(&dataset());
        assert_eq!((clean.duplicates.len(), clean.near_duplicates.len(), clean.imbalance), (0, 0, 1.0));
        assert_eq!((clean.classes[0].train, clean.classes[0].val, clean.classes[0].test), (6, 0, 6));

        let mut data = dataset();
        let length = data.train.image_len();
        let test = data.test.as_mut().unwrap();
        let mut pixels = test.all_pixels();
        // Image 3 again, with another class; image 4 of the training images a little brighter.
        pixels.copy_within(3 * length..4 * length, 10 * length);
        let brighter: Vec<u8> = data.train.image(4).iter().map(|value| value.saturating_add(3)).collect();
        pixels[20 * length..21 * length].copy_from_slice(&brighter);
        *test = Images::in_memory([3, 24, 24], pixels, test.labels.clone(), test.names.clone());
        let survey = Survey::of(&data);
        let names: Vec<&str> = survey.duplicates[0].iter().map(|found| found.image.as_str()).collect();
        assert_eq!(names, ["synthetic test images:11", "synthetic test images:4"]);
        assert_eq!((survey.duplicates.len(), survey.contradictions), (1, 1));
        let near: Vec<[&str; 2]> =
            survey.near_duplicates.iter().map(|[one, other]| [one.image.as_str(), other.image.as_str()]).collect();
        assert_eq!(near, [[data.train.names[4].as_str(), "synthetic test images:21"]]);
        assert_eq!((survey.across_splits, survey.near_across_splits), (0, 1));
    }

    #[test]
    fn bars_and_outlines_are_no_likeness() {
        let bars = |picture: [u8; 8]| [[0; 20].as_slice(), &picture, &[0; 20]].concat();
        let (one, other) = (bars([10, 20, 30, 40, 50, 60, 70, 80]), bars([90, 30, 80, 20, 70, 10, 60, 40]));
        assert!(!are_alike(&one, &other) && !are_alike(&one, &one));
        assert!(are_alike(&one, &bars([15, 25, 36, 44, 55, 66, 74, 86])));
    }
}
