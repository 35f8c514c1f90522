//! Setting training images aside for validation.

use crate::chance::Chance;

/// Chooses the same share of every class at random: (train, validation), positions in `labels` in
/// ascending order. The choice is a function of the arguments alone, on every platform and in
/// every version.
///
/// Of a class with `n` images `share × n`, rounded, validate, where `share` is in `0.0..=1.0`; at
/// least one stays in train. Labels of `classes` or more are in neither list.
pub fn stratified(labels: &[u32], classes: usize, share: f64, seed: u64) -> (Vec<usize>, Vec<usize>) {
    let (mut train, mut validation) = (Vec::new(), Vec::new());
    for (class, mut members) in members(labels, classes).into_iter().enumerate() {
        Chance::new(seed, "split", class as u64).shuffle(&mut members);
        let wanted = (members.len() as f64 * share).round() as usize;
        let aside = members.split_off(members.len() - wanted.min(members.len().saturating_sub(1)));
        train.extend(members);
        validation.extend(aside);
    }
    train.sort_unstable();
    validation.sort_unstable();
    (train, validation)
}

/// The positions of each class.
fn members(labels: &[u32], classes: usize) -> Vec<Vec<usize>> {
    let mut members = vec![Vec::new(); classes];
    for (index, label) in labels.iter().enumerate() {
        if let Some(class) = members.get_mut(*label as usize) {
            class.push(index);
        }
    }
    members
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 20 images of class 0, 10 of class 1, 1 of class 2, none of class 3.
    fn labels() -> Vec<u32> {
        (0..31).map(|i| if i == 30 { 2 } else { u32::from(i % 3 == 0) }).collect()
    }

    #[test]
    fn the_choice_stays_the_same_for_ever() {
        assert_eq!(stratified(&labels(), 4, 0.1, 0).1, [7, 11, 18]);
        assert_eq!(stratified(&labels(), 4, 0.1, 1).1, [3, 20, 22]);
        assert_eq!(stratified(&labels(), 4, 0.25, 0).1, [1, 3, 4, 7, 11, 15, 18, 23]);
    }

    #[test]
    fn every_image_is_on_one_side_and_every_class_has_its_share() {
        let labels = labels();
        let (train, validation) = stratified(&labels, 4, 0.25, 5);
        assert!(train.is_sorted() && validation.is_sorted());
        let mut all = [&train[..], &validation[..]].concat();
        all.sort_unstable();
        assert_eq!(all, (0..31).collect::<Vec<_>>());
        let count = |class| validation.iter().filter(|index| labels[**index] == class).count();
        // Half of ten quarters is rounded up.
        assert_eq!([0, 1, 2, 3].map(count), [5, 3, 0, 0]);
    }

    #[test]
    fn one_of_each_class_stays_in_train() {
        let (train, validation) = stratified(&labels(), 4, 1.0, 5);
        assert_eq!((train.len(), validation.len()), (3, 28));
        assert_eq!(stratified(&labels(), 4, 0.0, 5).1, [0; 0]);
    }
}
