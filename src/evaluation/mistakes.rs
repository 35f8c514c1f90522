//! The images that a network gets most wrong.

use super::highest;

/// An image that was taken for another class.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mistake {
    /// Which image.
    pub image: usize,
    /// Its class.
    pub class: usize,
    /// The probability of that, by the network.
    pub own: f64,
    /// What it was taken for.
    pub answer: usize,
    /// The probability of that.
    pub sureness: f64,
}

/// At most `most` mistakes, those first whose own class seemed least probable. `probabilities` are images ×
/// classes.
pub fn worst_mistakes(probabilities: &[f64], labels: &[u32], classes: usize, most: usize) -> Vec<Mistake> {
    let rows = probabilities.chunks_exact(classes).zip(labels).enumerate();
    let mistake = |(image, (row, label)): (usize, (&[f64], &u32))| {
        let (class, answer) = (*label as usize, highest(row));
        Mistake { image, class, own: row[class], answer, sureness: row[answer] }
    };
    let mut mistakes: Vec<Mistake> = rows.map(mistake).filter(|mistake| mistake.class != mistake.answer).collect();
    mistakes.sort_by(|one, other| one.own.total_cmp(&other.own).then(one.image.cmp(&other.image)));
    mistakes.truncate(most);
    mistakes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_probable_come_first() {
        let probabilities = [0.9, 0.1, 0.4, 0.6, 0.2, 0.8, 0.7, 0.3];
        let found: Vec<_> = worst_mistakes(&probabilities, &[0, 0, 0, 1], 2, 2).into_iter().map(|m| m.image).collect();
        assert_eq!(found, [2, 3]);
        let first = worst_mistakes(&probabilities, &[0, 0, 0, 1], 2, 9)[0];
        assert_eq!(first, Mistake { image: 2, class: 0, own: 0.2, answer: 1, sureness: 0.8 });
    }
}
