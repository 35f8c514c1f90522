//! Several networks as one.

use super::highest;

/// How the answers of several networks become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Vote {
    /// The class with the highest mean probability.
    #[default]
    Soft,
    /// The class that most networks name; of several, the one with the highest mean probability.
    Hard,
}

/// What one or several networks say of some images.
#[derive(Clone, Debug, PartialEq)]
pub struct Answers {
    /// Images × classes, each row adding up to 1: the mean over the networks.
    pub probabilities: Vec<f64>,
    /// The class that each image is taken for.
    pub classes: Vec<usize>,
}

impl Answers {
    /// Brings together the class probabilities of each network (images × classes, at least one).
    pub fn of(networks: &[Vec<f64>], classes: usize, vote: Vote) -> Self {
        let count = networks.len().max(1) as f64;
        let values = networks.first().map_or(0, Vec::len);
        let mean = |index: usize| networks.iter().map(|network| network[index]).sum::<f64>() / count;
        let probabilities: Vec<f64> = (0..values).map(mean).collect();
        let answer = |(image, means): (usize, &[f64])| match vote {
            Vote::Soft => highest(means),
            Vote::Hard => {
                let mut votes = vec![0.0; classes];
                for network in networks {
                    votes[highest(&network[image * classes..][..classes])] += 1.0;
                }
                // A mean probability is at most 1, so that it decides only between equal votes.
                let ranked: Vec<f64> = votes.iter().zip(means).map(|(votes, mean)| 2.0 * votes + mean).collect();
                highest(&ranked)
            }
        };
        let answers = probabilities.chunks_exact(classes).enumerate().map(answer).collect();
        Self { probabilities, classes: answers }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sure_network_wins_a_soft_vote_and_the_majority_a_hard_one() {
        let networks = [vec![0.98, 0.02], vec![0.4, 0.6], vec![0.45, 0.55]];
        let soft = Answers::of(&networks, 2, Vote::Soft);
        assert_eq!(soft.classes, [0]);
        assert!((soft.probabilities[0] - 0.61).abs() < 1e-12);
        assert_eq!(Answers::of(&networks, 2, Vote::Hard).classes, [1]);
        // Two against two: the surer pair.
        let even = [vec![0.9, 0.1], vec![0.6, 0.4], vec![0.2, 0.8], vec![0.4, 0.6]];
        assert_eq!(Answers::of(&even, 2, Vote::Hard).classes, [0]);
    }

    #[test]
    fn one_network_is_its_own_ensemble() {
        let answers = Answers::of(&[vec![0.2, 0.5, 0.3, 0.6, 0.3, 0.1]], 3, Vote::Hard);
        assert_eq!((answers.classes, answers.probabilities[3]), (vec![1, 0], 0.6));
    }
}
