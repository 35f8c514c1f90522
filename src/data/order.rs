//! The order in which an epoch goes through the training images.

use crate::chance::Chance;

/// The numbers below `n` in a random order that is a function of `seed` and `epoch` alone, on
/// every platform and in every version.
pub fn permutation(n: usize, seed: u64, epoch: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    Chance::new(seed, "order", epoch).shuffle(&mut order);
    order
}

#[cfg(test)]
mod tests {
    use super::permutation;

    #[test]
    fn the_order_stays_the_same_for_ever() {
        assert_eq!(permutation(10, 0, 0), [6, 0, 8, 3, 7, 2, 5, 4, 1, 9]);
        assert_eq!(permutation(10, 0, 1), [2, 7, 3, 8, 0, 5, 1, 9, 4, 6]);
        assert_eq!(permutation(10, 1, 0), [8, 6, 9, 2, 3, 0, 7, 5, 1, 4]);
    }

    #[test]
    fn every_number_comes_once() {
        let mut order = permutation(1000, 7, 3);
        assert_ne!(order, (0..1000).collect::<Vec<_>>());
        order.sort_unstable();
        assert_eq!(order, (0..1000).collect::<Vec<_>>());
        assert_eq!(permutation(0, 7, 3), [0; 0]);
    }
}
