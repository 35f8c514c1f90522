//! Setting training images aside for validation.

use crate::{chance::Chance, numbers::parse_count};
use std::str::FromStr;

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

/// How many of the training images are used.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Subset {
    /// A share, in `0.0..=1.0`.
    Share(f64),
    /// So many.
    Images(usize),
}

impl FromStr for Subset {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("wanted a share such as 10% or a number of images such as 3000, got `{text}`");
        match text.strip_suffix('%') {
            Some(percent) => {
                let percent: f64 = percent.trim().parse().map_err(|_| wrong())?;
                if percent > 0.0 && percent <= 100.0 { Ok(Self::Share(percent / 100.0)) } else { Err(wrong()) }
            }
            // 0.5 and 1.5 would be shares to some and numbers to others.
            None => parse_count(text)
                .ok()
                .filter(|images| *images > 0 && (!text.contains('.') || text.ends_with(char::is_alphabetic)))
                .map(|images| Self::Images(images as usize))
                .ok_or_else(wrong),
        }
    }
}

impl Subset {
    /// Positions in `labels`, ascending: of each class about the same share at random, in all as many
    /// as asked for (as far as there are), and one at least of each class.
    pub fn choose(self, labels: &[u32], classes: usize, seed: u64) -> Vec<usize> {
        let wanted = match self {
            Self::Share(share) => (labels.len() as f64 * share).round() as usize,
            Self::Images(images) => images.min(labels.len()),
        };
        let mut members = members(labels, classes);
        for (class, members) in members.iter_mut().enumerate() {
            Chance::new(seed, "subset", class as u64).shuffle(members);
        }
        // The images of all classes in the order in which a growing subset takes them: the one that is
        // furthest behind its share comes next.
        let mut ranked: Vec<(f64, usize, usize)> = Vec::with_capacity(labels.len());
        for (class, members) in members.iter().enumerate() {
            let count = members.len() as f64;
            ranked.extend(
                members
                    .iter()
                    .enumerate()
                    .map(|(rank, image)| (if rank == 0 { 0.0 } else { (rank as f64 + 0.5) / count }, class, *image)),
            );
        }
        ranked.sort_by(|one, other| one.0.total_cmp(&other.0).then(one.1.cmp(&other.1)));
        let mut chosen: Vec<usize> = ranked.into_iter().take(wanted.max(1)).map(|(_, _, image)| image).collect();
        chosen.sort_unstable();
        chosen
    }
}

/// Divides positions in `labels` into `count` parts of about the same size with about the same share of
/// every class, at random. The choice is a function of the arguments alone.
pub fn folds(labels: &[u32], classes: usize, count: usize, seed: u64) -> Vec<Vec<usize>> {
    let mut folds = vec![Vec::new(); count];
    let mut next = 0;
    for (class, mut members) in members(labels, classes).into_iter().enumerate() {
        Chance::new(seed, "folds", class as u64).shuffle(&mut members);
        for image in members {
            folds[next % count].push(image);
            next += 1;
        }
    }
    folds.iter_mut().for_each(|fold| fold.sort_unstable());
    folds
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
    fn subsets_have_the_size_asked_for_and_every_class() {
        let count = |text: &str| {
            let chosen = text.parse::<Subset>().unwrap().choose(&labels(), 4, 3);
            assert!(chosen.is_sorted());
            [0, 1, 2].map(|class| chosen.iter().filter(|index| labels()[**index] == class).count())
        };
        assert_eq!(
            [count("50%"), count("3"), count("12"), count("1k")],
            [[10, 5, 1], [1, 1, 1], [7, 4, 1], [20, 10, 1]]
        );
        let choose = |text: &str, seed| text.parse::<Subset>().unwrap().choose(&labels(), 4, seed);
        assert_ne!(choose("12", 1), choose("12", 2));
        // A larger subset holds the smaller one.
        assert!(choose("6", 1).iter().all(|image| choose("12", 1).contains(image)));
        for wrong in ["0", "0%", "101%", "many", "-3", ""] {
            assert!(wrong.parse::<Subset>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn folds_are_even_and_hold_every_image_once() {
        let folds = folds(&labels(), 4, 4, 0);
        let mut all = folds.concat();
        all.sort_unstable();
        assert_eq!(all, (0..31).collect::<Vec<_>>());
        for fold in folds {
            let of_class = |class| fold.iter().filter(|index| labels()[**index] == class).count();
            assert_eq!((of_class(0), (2..=3).contains(&of_class(1)), fold.len() >= 7), (5, true, true));
        }
    }

    #[test]
    fn one_of_each_class_stays_in_train() {
        let (train, validation) = stratified(&labels(), 4, 1.0, 5);
        assert_eq!((train.len(), validation.len()), (3, 28));
        assert_eq!(stratified(&labels(), 4, 0.0, 5).1, [0; 0]);
    }
}
