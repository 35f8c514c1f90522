//! Images as a network takes them: augmented, normalised, in batches.

use super::{
    augment::{Canvas, Draws, Policy},
    images::Images,
    normalisation::Normalisation,
};
use nasgen_modules::randomness::Stream;
use rayon::prelude::*;
use std::{borrow::Cow, ops::Range};

/// How training images are varied from epoch to epoch.
#[derive(Clone, Debug, PartialEq)]
pub struct Augmentation {
    /// Whether every second image, at random, is mirrored left to right.
    pub flip: bool,
    /// Black pixels added at each side before an image of the old size is cut out at random.
    pub crop_padding: usize,
    /// What is done before that.
    pub policy: Policy,
}

impl Default for Augmentation {
    /// The default recipe: mirrored, and moved by up to 4 pixels.
    fn default() -> Self {
        Self { flip: true, crop_padding: 4, policy: Policy::default() }
    }
}

/// Some images and their labels, ready for a network.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// Normalised values, in the order of `shape`; empty if the executor makes them from `placed`.
    pub images: Vec<f32>,
    /// One class number per image.
    pub labels: Vec<u32>,
    /// Empty, or for each image another class that it also shows, and the share of its own (mixup, cutmix).
    pub partners: Vec<(u32, f32)>,
    /// Images, channels, height, width.
    pub shape: [usize; 4],
    /// What an executor that holds the images needs instead of their values.
    pub placed: Option<(Part, Vec<Placed>)>,
}

/// A part of the data that an executor may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// What is learnt from.
    Training,
    /// What is only measured.
    Validation,
}

/// An image, moved and mirrored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// Its number.
    pub image: usize,
    /// Whether left and right are exchanged.
    pub mirrored: bool,
    /// By how much the window is moved (down, right); what it then uncovers is black.
    pub moved: (isize, isize),
}

/// An image of a batch, which may be mixed with another.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Placed {
    /// The image itself.
    pub own: Placement,
    /// What it is mixed with.
    pub mixed: Option<Mixed>,
}

/// How an image is mixed with another one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mixed {
    /// The other one.
    pub partner: Placement,
    /// Of the image itself.
    pub share: f32,
    /// First row, first column, end row, end column of what is the partner's; none mixes all pixels.
    pub window: Option<[usize; 4]>,
}

/// Which images are in the batch of those at `indices`, and how they are varied but for the policy's steps. What happens
/// to an image is a function of `seed`, `epoch` and its index alone, not of the batch it is in.
pub fn placements(
    images: &Images,
    indices: &[usize],
    augmentation: &Augmentation,
    seed: u64,
    epoch: u64,
) -> Vec<Placed> {
    let stream = Stream::new(seed, "augmentation");
    let placement = |index: usize| Placement::draw(augmentation, &stream, epoch, index);
    let mixed = |index: usize| Mixed::draw(&augmentation.policy, images, (seed, epoch, index), placement);
    indices.iter().map(|index| Placed { own: placement(*index), mixed: mixed(*index) }).collect()
}

/// The images at `indices`, augmented: see [`placements`]. The policy comes first, then shifting, then mirroring,
/// then mixing with another image, which is augmented too.
///
/// # Panics
///
/// If there is no image at one of `indices`, or `normalisation` is for fewer channels.
pub fn training_batch(
    images: &Images,
    indices: &[usize],
    normalisation: &Normalisation,
    augmentation: &Augmentation,
    seed: u64,
    epoch: u64,
) -> Batch {
    let placed = placements(images, indices, augmentation, seed, epoch);
    let policy = &augmentation.policy;
    if policy.steps.is_empty() {
        return batch(images, &placed, normalisation, |index| images.image(index));
    }
    batch(images, &placed, normalisation, |index| {
        let mut pixels = images.image(index).into_owned();
        let Images { channels, height, width, .. } = *images;
        let mut canvas = Canvas { channels, height, width, pixels: &mut pixels };
        policy.apply(&mut canvas, &mut Draws::new(seed, "policy", epoch, index));
        Cow::Owned(pixels)
    })
}

/// A batch that an executor makes itself, which holds these images.
pub fn placed_batch(images: &Images, part: Part, placed: Vec<Placed>) -> Batch {
    Batch { images: Vec::new(), placed: Some((part, placed.clone())), ..described(images, &placed) }
}

impl Placed {
    /// Each of the images in `range` as it is.
    pub fn all(range: Range<usize>) -> Vec<Self> {
        let own = |image| Placement { image, ..Placement::default() };
        range.map(|image| Self { own: own(image), mixed: None }).collect()
    }
}

impl Mixed {
    fn draw(
        policy: &Policy,
        images: &Images,
        (seed, epoch, index): (u64, u64, usize),
        placement: impl Fn(usize) -> Placement,
    ) -> Option<Self> {
        let mut draws = Draws::new(seed, "mix", epoch, index);
        let cut = policy.cutmix.filter(|_| policy.mixup.is_none() || draws.chance(0.5));
        let alpha = cut.or(policy.mixup)?;
        let (share, partner) = (draws.beta(alpha), placement(draws.below(images.len())));
        if cut.is_none() {
            return Some(Self { partner, share: share as f32, window: None });
        }
        let side = |length: usize| (length as f64 * (1.0 - share).sqrt()).round() as usize;
        let mut span = |length: usize, side: usize| {
            let middle = draws.below(length);
            (middle.saturating_sub(side / 2), (middle + side.div_ceil(2)).min(length))
        };
        let (top, bottom) = span(images.height, side(images.height));
        let (left, right) = span(images.width, side(images.width));
        let taken = ((bottom - top) * (right - left)) as f32 / (images.height * images.width) as f32;
        Some(Self { partner, share: 1.0 - taken, window: Some([top, left, bottom, right]) })
    }

    fn apply(&self, image: &mut [f32], partner: &[f32], height: usize, width: usize) {
        let Some([top, left, bottom, right]) = self.window else {
            let mixed = |(own, other): (&mut f32, &f32)| *own = self.share * *own + (1.0 - self.share) * other;
            return image.iter_mut().zip(partner).for_each(mixed);
        };
        for (row, (own, other)) in image.chunks_exact_mut(width).zip(partner.chunks_exact(width)).enumerate() {
            if (top..bottom).contains(&(row % height)) {
                own[left..right].copy_from_slice(&other[left..right]);
            }
        }
    }
}

/// The images at `indices`, as they are.
///
/// # Panics
///
/// If there is no image at one of `indices`, or `normalisation` is for fewer channels.
pub fn evaluation_batch(images: &Images, indices: Range<usize>, normalisation: &Normalisation) -> Batch {
    batch(images, &Placed::all(indices), normalisation, |index| images.image(index))
}

/// The same, left and right exchanged.
///
/// # Panics
///
/// As [`evaluation_batch`].
pub fn mirrored_batch(images: &Images, indices: Range<usize>, normalisation: &Normalisation) -> Batch {
    let mut placed = Placed::all(indices);
    placed.iter_mut().for_each(|placed| placed.own.mirrored = true);
    batch(images, &placed, normalisation, |index| images.image(index))
}

impl Placement {
    fn draw(augmentation: &Augmentation, stream: &Stream, epoch: u64, image: usize) -> Self {
        let (index, padding) = (image as u64, augmentation.crop_padding);
        let [flip, down, right, _] =
            stream.words([index as u32, (index >> 32) as u32, epoch as u32, (epoch >> 32) as u32]);
        // Without rejection: uneven by less than one in 2^32 / choices.
        let offset = |word| ((u64::from(word) * (2 * padding as u64 + 1)) >> 32) as isize - padding as isize;
        Self { image, mirrored: augmentation.flip && flip >> 31 == 1, moved: (offset(down), offset(right)) }
    }
}

impl Batch {
    /// The same batch with its values, where the executor would have made them of `images`.
    #[must_use]
    pub fn with_values(self, images: &Images, normalisation: &Normalisation) -> Self {
        match &self.placed {
            None => self,
            Some((_, placed)) => batch(images, placed, normalisation, |index| images.image(index)),
        }
    }
}

/// A batch without its values.
fn described(images: &Images, placed: &[Placed]) -> Batch {
    let labels = placed.iter().map(|placed| images.labels[placed.own.image]).collect();
    let partner =
        |placed: &Placed| placed.mixed.map_or((0, 1.0), |mixed| (images.labels[mixed.partner.image], mixed.share));
    let is_mixed = placed.iter().any(|placed| placed.mixed.is_some());
    let partners = if is_mixed { placed.iter().map(partner).collect() } else { Vec::new() };
    let shape = [placed.len(), images.channels, images.height, images.width];
    Batch { images: Vec::new(), labels, partners, shape, placed: None }
}

/// A batch of images whose `pixels` are given.
fn batch<'i>(
    images: &Images,
    placed: &[Placed],
    normalisation: &Normalisation,
    pixels: impl Fn(usize) -> Cow<'i, [u8]> + Sync,
) -> Batch {
    let tables = normalisation.tables(images.channels);
    let mut values = vec![0.0; placed.len() * images.image_len()];
    let write = |placement: Placement, to: &mut [f32]| {
        place_image(images, &pixels(placement.image), to, &tables, placement);
    };
    values.par_chunks_exact_mut(images.image_len()).zip(placed).for_each(|(to, placed)| {
        write(placed.own, to);
        if let Some(mixed) = placed.mixed {
            let mut partner = vec![0.0; to.len()];
            write(mixed.partner, &mut partner);
            mixed.apply(to, &partner, images.height, images.width);
        }
    });
    Batch { images: values, ..described(images, placed) }
}

/// Writes one image, plane by plane.
fn place_image(images: &Images, pixels: &[u8], to: &mut [f32], tables: &[[f32; 256]], placement: Placement) {
    let plane = images.height * images.width;
    for ((from, to), table) in pixels.chunks_exact(plane).zip(to.chunks_exact_mut(plane)).zip(tables) {
        place(from, to, images.width, table, placement);
    }
}

/// Writes one plane of an image, line by line.
fn place(from: &[u8], to: &mut [f32], width: usize, table: &[f32; 256], placement: Placement) {
    let height = from.len() / width;
    let (down, right) = placement.moved;
    // Black columns at both sides; one of the two is 0, and as many are cut off at the other side.
    let before = width.min(right.min(0).unsigned_abs());
    let after = width.min(right.max(0).unsigned_abs());
    for (y, row) in to.chunks_exact_mut(width).enumerate() {
        let Some(line) = y.checked_add_signed(down).filter(|line| *line < height) else {
            row.fill(table[0]);
            continue;
        };
        row[..before].fill(table[0]);
        row[width - after..].fill(table[0]);
        look_up(&from[line * width..][after..width - before], &mut row[before..width - after], table);
        if placement.mirrored {
            row.reverse();
        }
    }
}

fn look_up(from: &[u8], to: &mut [f32], table: &[f32; 256]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to = table[usize::from(*from)]);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Normalised values are pixel values.
    fn plain(channels: usize) -> Normalisation {
        Normalisation { mean: vec![0.0; channels], deviation: vec![1.0 / 255.0; channels] }
    }

    /// `count` images of two channels, 4×5; no pixel is black.
    fn images(count: usize) -> Images {
        let pixels = (0..count * 40).map(|i| (i % 255 + 1) as u8).collect();
        Images::in_memory([2, 4, 5], pixels, (0..count as u32).collect(), Vec::new())
    }

    fn rounded(batch: &Batch) -> Vec<u8> {
        batch.images.iter().map(|value| value.round() as u8).collect()
    }

    #[test]
    fn evaluation_takes_images_as_they_are() {
        let batch = evaluation_batch(&images(5), 1..4, &plain(2));
        assert_eq!(batch.shape, [3, 2, 4, 5]);
        assert_eq!(batch.labels, [1, 2, 3]);
        let (images, mut pixels) = (images(5), Vec::new());
        (1..4).for_each(|index| pixels.extend_from_slice(&images.image(index)));
        assert_eq!(rounded(&batch), pixels);
        let mirrored = mirrored_batch(&images, 1..4, &plain(2));
        pixels.chunks_exact_mut(5).for_each(<[u8]>::reverse);
        assert_eq!(rounded(&mirrored), pixels);
    }

    #[test]
    fn values_are_normalised_by_channel() {
        let images = Images::in_memory([2, 1, 1], vec![255, 0], vec![0], Vec::new());
        let normalisation = Normalisation { mean: vec![0.5, 0.25], deviation: vec![0.25, 0.5] };
        assert_eq!(evaluation_batch(&images, 0..1, &normalisation).images, [2.0, -0.5]);
    }

    /// The window at (down, right) of the image with `padding` black pixels around, in plain words.
    fn expected(images: &Images, index: usize, placement: Placement) -> Vec<u8> {
        let (height, width) = (images.height as isize, images.width as isize);
        let mut pixels = Vec::new();
        for plane in images.image(index).chunks(20) {
            for y in 0..height {
                for x in 0..width {
                    let x = if placement.mirrored { width - 1 - x } else { x };
                    let (y, x) = (y + placement.moved.0, x + placement.moved.1);
                    let inside = (0..height).contains(&y) && (0..width).contains(&x);
                    pixels.push(if inside { plane[(y * width + x) as usize] } else { 0 });
                }
            }
        }
        pixels
    }

    #[test]
    fn windows_are_cut_out_of_the_padded_image_and_mirrored() {
        let (images, stream) = (images(60), Stream::new(3, "augmentation"));
        for padding in [0, 1, 4, 7] {
            let augmentation = Augmentation { flip: true, crop_padding: padding, policy: Policy::default() };
            for index in 0..60 {
                let batch = training_batch(&images, &[index], &plain(2), &augmentation, 3, 8);
                let placement = Placement::draw(&augmentation, &stream, 8, index);
                assert_eq!(rounded(&batch), expected(&images, index, placement), "{placement:?}");
            }
        }
    }

    #[test]
    fn padding_is_black_before_it_is_normalised() {
        let images = Images::in_memory([1, 8, 8], vec![255; 20 * 64], vec![0; 20], Vec::new());
        let normalisation = Normalisation { mean: vec![0.5], deviation: vec![0.5] };
        let indices: Vec<usize> = (0..20).collect();
        let batch = training_batch(&images, &indices, &normalisation, &Augmentation::default(), 0, 0);
        assert!(batch.images.iter().all(|value| [-1.0, 1.0].contains(value)));
        assert!(batch.images.contains(&-1.0) && batch.images.contains(&1.0));
    }

    #[test]
    fn an_image_is_varied_alike_in_every_batch_and_otherwise_in_every_epoch() {
        let images = images(20);
        let varied = |indices: &[usize], seed, epoch| {
            training_batch(&images, indices, &plain(2), &Augmentation::default(), seed, epoch).images
        };
        assert_eq!(varied(&[3, 9], 1, 2)[40..], varied(&[9, 3], 1, 2)[..40]);
        let all: Vec<usize> = (0..20).collect();
        assert_ne!(varied(&all, 1, 2), varied(&all, 1, 3));
        assert_ne!(varied(&all, 1, 2), varied(&all, 2, 2));
        assert_eq!(varied(&all, 1, 2), varied(&all, 1, 2));
    }

    #[test]
    fn every_shift_is_about_equally_frequent_and_half_are_mirrored() {
        let stream = Stream::new(0, "augmentation");
        let drawn: Vec<Placement> =
            (0..9000).map(|index| Placement::draw(&Augmentation::default(), &stream, 0, index)).collect();
        for shift in -4..=4 {
            let count = |of: fn(&Placement) -> isize| drawn.iter().filter(|drawn| of(drawn) == shift).count();
            for count in [count(|drawn| drawn.moved.0), count(|drawn| drawn.moved.1)] {
                assert!((900..1100).contains(&count), "{shift}: {count}");
            }
        }
        assert!((4300..4700).contains(&drawn.iter().filter(|drawn| drawn.mirrored).count()));
    }

    #[test]
    fn without_augmentation_training_images_stay_as_they_are() {
        let augmentation = Augmentation { flip: false, crop_padding: 0, policy: Policy::default() };
        let batch = training_batch(&images(3), &[2, 0], &plain(2), &augmentation, 1, 1);
        assert_eq!(rounded(&batch)[..40], images(3).image(2)[..]);
        assert_eq!(batch.labels, [2, 0]);
    }

    fn mixing(policy: serde_json::Value) -> Augmentation {
        Augmentation { flip: false, crop_padding: 0, policy: Policy::parse(&policy).unwrap() }
    }

    #[test]
    fn mixed_images_are_sums_with_the_shares_of_their_labels() {
        let images = images(60);
        let indices: Vec<usize> = (0..60).collect();
        let batch = training_batch(&images, &indices, &plain(2), &mixing(serde_json::json!({"mixup": 0.5})), 1, 1);
        assert_eq!(batch.partners.len(), 60);
        for (index, (partner, share)) in batch.partners.iter().enumerate() {
            let (own, other) = (images.image(index), images.image(*partner as usize));
            for (value, (own, other)) in batch.images[index * 40..][..40].iter().zip(own.iter().zip(&*other)) {
                let expected = share * f32::from(*own) + (1.0 - share) * f32::from(*other);
                assert!((value - expected).abs() < 1e-2, "{value} {expected}");
            }
        }
    }

    #[test]
    fn cut_images_have_a_window_of_another_as_large_as_its_share() {
        let images = images(60);
        let indices: Vec<usize> = (0..60).collect();
        let batch = training_batch(&images, &indices, &plain(2), &mixing(serde_json::json!("cutmix")), 1, 1);
        let mut cut = 0;
        for (index, (partner, share)) in batch.partners.iter().enumerate() {
            if *partner as usize == index {
                continue;
            }
            let (own, other) = (images.image(index), images.image(*partner as usize));
            let values = &rounded(&batch)[index * 40..][..40];
            assert!(
                values.iter().zip(own.iter().zip(&*other)).all(|(value, (own, other))| [own, other].contains(&value))
            );
            let kept = values.iter().zip(&*own).filter(|(value, own)| value == own).count();
            assert!(kept >= (share * 40.0).round() as usize, "{kept} {share}");
            cut += usize::from(kept < 40);
        }
        assert!(cut > 30, "{cut}");
    }

    #[test]
    fn a_policy_varies_an_image_alike_in_every_batch() {
        let images = images(20);
        let augmentation = mixing(serde_json::json!(["trivial", "cutmix", {"mixup": 0.3}]));
        let varied = |indices: &[usize]| training_batch(&images, indices, &plain(2), &augmentation, 1, 2).images;
        assert_eq!(varied(&[3, 9])[40..], varied(&[9, 3])[..40]);
    }
}
