//! Random orders that stay the same for ever: ChaCha8 is a fixed function, and what is made of its
//! words is written here.

use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A generator for the `number`-th use of `seed` for `purpose`.
pub(super) fn generator(seed: u64, purpose: [u8; 8], number: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&number.to_le_bytes());
    key[16..24].copy_from_slice(&purpose);
    ChaCha8Rng::from_seed(key)
}

/// Puts `items` in random order, each order equally likely (Fisher and Yates 1938, Durstenfeld 1964).
pub(super) fn shuffle<T>(items: &mut [T], words: &mut impl RngCore) {
    for last in (1..items.len()).rev() {
        items.swap(last, below(last as u64 + 1, words) as usize);
    }
}

/// A number in `0..bound`, each equally likely (Lemire 2019). `bound` is at least 1.
fn below(bound: u64, words: &mut impl RngCore) -> u64 {
    // So many of the lowest products are rejected that an equal number is left for each result.
    let rejected = bound.wrapping_neg() % bound;
    loop {
        let product = u128::from(words.next_u64()) * u128::from(bound);
        if product as u64 >= rejected {
            return (product >> 64) as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A generator of known words.
    struct Words(Vec<u64>);

    impl RngCore for Words {
        fn next_u32(&mut self) -> u32 {
            self.next_u64() as u32
        }

        fn next_u64(&mut self) -> u64 {
            self.0.remove(0)
        }

        fn fill_bytes(&mut self, _: &mut [u8]) {}
    }

    #[test]
    fn words_are_scaled_and_the_surplus_rejected() {
        assert_eq!(below(10, &mut Words(vec![u64::MAX])), 9);
        assert_eq!(below(10, &mut Words(vec![u64::MAX / 2])), 4);
        // 2^64 mod 3 is 1: a product of 0 is one too many.
        assert_eq!(below(3, &mut Words(vec![0, u64::MAX])), 2);
        assert_eq!(below(1, &mut Words(vec![0])), 0);
        assert_eq!(below(u64::MAX, &mut Words(vec![0, 5])), 4);
    }

    #[test]
    fn all_orders_are_about_equally_frequent() {
        let mut counts = [0; 27];
        for number in 0..6000 {
            let mut items = [0, 1, 2];
            shuffle(&mut items, &mut generator(1, *b"test\0\0\0\0", number));
            counts[items[0] * 9 + items[1] * 3 + items[2]] += 1;
        }
        let seen: Vec<i32> = counts.into_iter().filter(|count| *count > 0).collect();
        assert_eq!(seen.len(), 6);
        assert!(seen.iter().all(|count| (900..1100).contains(count)), "{seen:?}");
    }
}
