//! Random draws that are the same on every platform, for ever: words of ChaCha8, mapped to ranges
//! here and not by a library whose mapping may change.

use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A stream of random draws.
#[derive(Clone, Debug)]
pub struct Chance {
    words: ChaCha8Rng,
}

impl Chance {
    /// The `number`-th use of `seed` for `purpose`, a word of at most 8 letters. All such streams
    /// are independent.
    pub fn new(seed: u64, purpose: &str, number: u64) -> Self {
        debug_assert!(purpose.len() <= 8, "`{purpose}` has more than 8 letters");
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8..16].copy_from_slice(&number.to_le_bytes());
        key[16..16 + purpose.len()].copy_from_slice(purpose.as_bytes());
        Self { words: ChaCha8Rng::from_seed(key) }
    }

    /// A whole number in `0..count`, each as likely (Lemire 2019, arXiv:1805.10941).
    ///
    /// # Panics
    /// When `count` is 0.
    pub fn below(&mut self, count: u64) -> u64 {
        assert!(count > 0, "nothing to choose from");
        let biased = count.wrapping_neg() % count;
        loop {
            let product = u128::from(self.words.next_u64()) * u128::from(count);
            if product as u64 >= biased {
                return (product >> 64) as u64;
            }
        }
    }

    /// A number in `0.0..1.0` with 53 random bits.
    pub fn unit(&mut self) -> f64 {
        (self.words.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Puts `items` into a random order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last as u64 + 1) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// If one of these changes, every sampled network and every split of every user changes.
    #[test]
    fn draws_are_frozen() {
        let mut chance = Chance::new(1, "test", 2);
        let draws: Vec<u64> = (0..6).map(|_| chance.below(1000)).collect();
        assert_eq!(draws, [661, 971, 319, 845, 672, 825]);
        assert_eq!(chance.unit(), 0.034_277_395_434_441_64);
        let mut items: Vec<u8> = (0..8).collect();
        chance.shuffle(&mut items);
        assert_eq!(items, [0, 1, 3, 6, 7, 5, 2, 4]);
    }

    #[test]
    fn every_number_is_as_likely() {
        let mut chance = Chance::new(0, "test", 0);
        let mut counts = [0u32; 7];
        for _ in 0..70_000 {
            counts[chance.below(7) as usize] += 1;
        }
        assert!(counts.iter().all(|count| count.abs_diff(10_000) < 400), "{counts:?}");
    }
}
