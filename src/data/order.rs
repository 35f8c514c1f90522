//! The order in which an epoch goes through the training images.

use crate::chance::Chance;

/// The numbers below `n` in a random order that is a function of `seed` and `epoch` alone, on
/// every platform and in every version.
pub fn permutation(n: usize, seed: u64, epoch: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    Chance::new(seed, "order", epoch).shuffle(&mut order);
    order
}

/// As many draws as there are labels, of each class about equally many, each with replacement; a
/// function of the arguments alone, on every platform and in every version. Labels are below `classes`.
pub fn balanced_order(labels: &[u32], classes: usize, seed: u64, epoch: u64) -> Vec<usize> {
    let mut members = vec![Vec::new(); classes];
    for (index, label) in labels.iter().enumerate() {
        members[*label as usize].push(index);
    }
    members.retain(|members| !members.is_empty());
    let mut chance = Chance::new(seed, "balance", epoch);
    let mut draw = |_| {
        let members = &members[chance.below(members.len() as u64) as usize];
        members[chance.below(members.len() as u64) as usize]
    };
    (0..labels.len()).map(&mut draw).collect()
}

#[cfg(test)]
mod tests {
    use super::{balanced_order, permutation};

    #[test]
    fn a_balanced_order_has_rare_classes_as_often() {
        let labels: Vec<u32> = (0..4000).map(|index| u32::from(index % 100 == 0) * 2).collect();
        let order = balanced_order(&labels, 3, 1, 0);
        let rare = order.iter().filter(|index| labels[**index] == 2).count();
        assert!(order.len() == 4000 && (1900..2100).contains(&rare), "{rare}");
        assert_eq!(order, balanced_order(&labels, 3, 1, 0));
        assert_ne!(order, balanced_order(&labels, 3, 1, 1));
    }

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
