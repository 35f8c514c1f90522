//! Bringing pixel values to mean 0 and deviation 1.

use super::images::Images;

/// No channel is taken to vary less than this: one that is all black stays finite.
const LEAST_DEVIATION: f64 = 1e-3;

/// Mean and deviation of pixel values in `0.0..=1.0` per channel, over training images.
#[derive(Clone, Debug, PartialEq)]
pub struct Normalisation {
    /// One per channel.
    pub mean: Vec<f32>,
    /// Of the population (divided by the number of pixels), at least 0.001; one per channel.
    pub deviation: Vec<f32>,
}

impl Normalisation {
    /// The moments of all pixels of `images`, summed without rounding.
    pub fn of(images: &Images) -> Self {
        let plane = images.height * images.width;
        let mut sums = vec![(0u64, 0u64); images.channels];
        for index in 0..images.len() {
            for ((sum, squares), plane) in sums.iter_mut().zip(images.image(index).chunks_exact(plane)) {
                *sum += plane.iter().map(|value| u64::from(*value)).sum::<u64>();
                *squares += plane.iter().map(|value| u64::from(*value).pow(2)).sum::<u64>();
            }
        }
        let count = (images.len() * plane).max(1) as f64;
        let (mean, deviation) = sums.into_iter().map(|sums| moments(sums, count)).unzip();
        Self { mean, deviation }
    }

    /// What each pixel value becomes, for each of `channels`.
    pub fn tables(&self, channels: usize) -> Vec<[f32; 256]> {
        (0..channels).map(|channel| self.table(channel)).collect()
    }

    /// What each pixel value of `channel` becomes.
    pub(super) fn table(&self, channel: usize) -> [f32; 256] {
        let (mean, deviation) = (self.mean[channel], self.deviation[channel]);
        std::array::from_fn(|value| (value as f32 / 255.0 - mean) / deviation)
    }
}

/// Mean and deviation from the sums of `count` values and of their squares.
fn moments((sum, squares): (u64, u64), count: f64) -> (f32, f32) {
    let mean = sum as f64 / count / 255.0;
    let variance = squares as f64 / count / (255.0 * 255.0) - mean * mean;
    (mean as f32, variance.max(0.0).sqrt().max(LEAST_DEVIATION) as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_per_channel_over_all_images() {
        let pixels = vec![0, 255, 51, 51, 255, 0, 51, 51];
        let images = Images::in_memory([2, 1, 2], pixels, vec![0, 0], Vec::new());
        let normalisation = Normalisation::of(&images);
        assert_eq!(normalisation.mean, [0.5, 0.2]);
        assert_eq!(normalisation.deviation, [0.5, 0.001]);
        assert_eq!(normalisation.table(0)[0], -1.0);
        assert_eq!(normalisation.table(1)[51], 0.0);
    }

    #[test]
    fn no_images_have_no_mean() {
        let normalisation = Normalisation::of(&Images { channels: 1, height: 2, width: 2, ..Images::default() });
        assert_eq!((normalisation.mean, normalisation.deviation), (vec![0.0], vec![0.001]));
    }
}
