//! Random numbers that are a function of their position: the same in every executor, for any
//! number of threads, and after a resume.
//!
//! The generator is Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as
//! 1, 2, 3"), the one that PyTorch uses on CUDA.

use crate::tensor::Initial;

/// A random function of a 128-bit counter, chosen by a seed and a purpose.
#[derive(Clone, Copy, Debug)]
pub struct Stream {
    key: [u32; 2],
}

impl Stream {
    /// The stream for `purpose` (a tensor's name, `dropout`, …) under `seed`.
    pub fn new(seed: u64, purpose: &str) -> Self {
        let key = mix(mix(seed) ^ fnv1a(purpose));
        Self { key: [low(key), high(key)] }
    }

    /// What chooses this stream among all: what other machines need to compute the same numbers.
    pub fn key(&self) -> [u32; 2] {
        self.key
    }

    /// Four random words for one counter.
    pub fn words(&self, mut counter: [u32; 4]) -> [u32; 4] {
        let mut key = self.key;
        for _ in 0..10 {
            let first = u64::from(counter[0]) * 0xD251_1F53;
            let second = u64::from(counter[2]) * 0xCD9E_8D57;
            counter = [high(second) ^ counter[1] ^ key[0], low(second), high(first) ^ counter[3] ^ key[1], low(first)];
            key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
        }
        counter
    }

    /// A number in `0.0..1.0` for element `element` of node `node` in training step `step`:
    /// what dropout (elements of the batch) and stochastic depth (images of the batch) compare
    /// with their probability.
    pub fn at_step(&self, step: u64, node: u32, element: u64) -> f32 {
        debug_assert!(element / 4 <= u64::from(u32::MAX), "a batch holds fewer than 2^34 values");
        let counter = [low(element / 4), node, low(step), high(step)];
        unit(self.words(counter)[(element % 4) as usize])
    }

    /// What [`Self::at_step`] gives for the elements from `first` on.
    pub fn run_at_step(&self, step: u64, node: u32, first: u64) -> impl Iterator<Item = f32> {
        let stream = *self;
        let groups = (first / 4..).flat_map(move |group| stream.words([low(group), node, low(step), high(step)]));
        groups.skip((first % 4) as usize).map(unit)
    }

    /// A number in `0.0..1.0` for `index`.
    pub fn uniform(&self, index: u64) -> f32 {
        unit(self.words([low(index), high(index), 0, 0])[0])
    }

    /// A draw from the standard normal distribution for `index` (Box and Muller 1958).
    pub fn normal(&self, index: u64) -> f64 {
        let [first, second, ..] = self.words([low(index), high(index), 0, 0]);
        let radius = libm::sqrt(-2.0 * libm::log((f64::from(first) + 0.5) / 4_294_967_296.0));
        radius * libm::cos(std::f64::consts::TAU * f64::from(second) / 4_294_967_296.0)
    }

    /// `count` values of a tensor that begins as `initial`.
    pub fn initial(&self, initial: Initial, count: usize) -> Vec<f32> {
        match initial {
            Initial::Constant(value) => vec![value; count],
            Initial::Normal { deviation } => (0..count as u64).map(|i| (self.normal(i) * deviation) as f32).collect(),
            Initial::Uniform { bound } => {
                (0..count as u64).map(|i| ((f64::from(self.uniform(i)) * 2.0 - 1.0) * bound) as f32).collect()
            }
        }
    }
}

const fn low(word: u64) -> u32 {
    word as u32
}

const fn high(word: u64) -> u32 {
    (word >> 32) as u32
}

fn unit(word: u32) -> f32 {
    (word >> 8) as f32 / 16_777_216.0
}

/// FNV-1a, 64 bits.
fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

/// The finaliser of SplitMix64: every bit of the result depends on every bit of `x`.
fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The known answers that the authors publish with Random123.
    #[test]
    fn philox_gives_the_published_words() {
        let zero = Stream { key: [0, 0] };
        assert_eq!(zero.words([0; 4]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        let ones = Stream { key: [u32::MAX; 2] };
        assert_eq!(ones.words([u32::MAX; 4]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        let pi = Stream { key: [0xa409_3822, 0x299f_31d0] };
        let counter = [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344];
        assert_eq!(pi.words(counter), [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]);
    }

    #[test]
    fn a_run_gives_what_each_element_gives() {
        let stream = Stream::new(3, "dropout");
        for first in 0..9 {
            let run: Vec<f32> = stream.run_at_step(7, 2, first).take(11).collect();
            let single: Vec<f32> = (first..first + 11).map(|element| stream.at_step(7, 2, element)).collect();
            assert_eq!(run, single);
        }
    }

    #[test]
    fn initial_values_have_the_stated_moments() {
        let values = Stream::new(0, "w").initial(Initial::Normal { deviation: 0.5 }, 20_000);
        let mean = values.iter().sum::<f32>() / 20_000.0;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / 20_000.0;
        assert!(mean.abs() < 0.02 && (variance - 0.25).abs() < 0.01, "{mean} {variance}");
        let values = Stream::new(0, "w").initial(Initial::Uniform { bound: 0.5 }, 20_000);
        assert!(values.iter().all(|v| v.abs() <= 0.5) && values.iter().any(|v| *v > 0.49));
    }

    #[test]
    fn streams_differ_by_seed_and_by_name_and_repeat() {
        let first = |seed, name| Stream::new(seed, name).words([0; 4]);
        assert_eq!(first(1, "a"), first(1, "a"));
        assert_ne!(first(1, "a"), first(2, "a"));
        assert_ne!(first(1, "a"), first(1, "b"));
    }
}
