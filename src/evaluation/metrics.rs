//! The few measures that every epoch has.

use super::{Answers, Vote, probabilities};
use serde::{Deserialize, Serialize};

/// Measures over a set of images.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// Share of images whose highest score is their label's, in `0.0..=1.0`.
    pub accuracy: f64,
    /// Mean of the F1 scores of all classes that occur among labels or predictions, in `0.0..=1.0`.
    pub macro_f1: f64,
    /// Mean cross-entropy, without smoothing.
    pub loss: f64,
}

impl Metrics {
    /// Measures `scores`, images × classes, against `labels`.
    pub fn of(scores: &[f32], labels: &[u32], classes: usize) -> Self {
        Self::of_answers(&Answers::of(&[probabilities(scores, classes)], classes, Vote::Soft), labels, classes)
    }

    /// Measures `answers` against `labels`.
    pub fn of_answers(answers: &Answers, labels: &[u32], classes: usize) -> Self {
        let confusion = confusion(&answers.classes, labels, classes);
        let correct: u64 = (0..classes).map(|class| confusion[class][class]).sum();
        Self {
            accuracy: correct as f64 / labels.len().max(1) as f64,
            macro_f1: macro_f1(&confusion),
            loss: loss(answers, labels, classes),
        }
    }
}

/// Images by label (rows) and answer (columns).
pub(super) fn confusion(answers: &[usize], labels: &[u32], classes: usize) -> Vec<Vec<u64>> {
    let mut counts = vec![vec![0; classes]; classes];
    for (answer, label) in answers.iter().zip(labels) {
        counts[*label as usize][*answer] += 1;
    }
    counts
}

/// Images that were taken for `class`.
pub(super) fn answered(confusion: &[Vec<u64>], class: usize) -> u64 {
    confusion.iter().map(|row| row[class]).sum()
}

/// The F1 score of a class; none if it occurs neither among labels nor among answers.
pub(super) fn f1(confusion: &[Vec<u64>], class: usize) -> Option<f64> {
    let count = confusion[class].iter().sum::<u64>() + answered(confusion, class);
    (count > 0).then(|| 2.0 * confusion[class][class] as f64 / count as f64)
}

fn macro_f1(confusion: &[Vec<u64>]) -> f64 {
    mean((0..confusion.len()).filter_map(|class| f1(confusion, class))).unwrap_or(0.0)
}

fn loss(answers: &Answers, labels: &[u32], classes: usize) -> f64 {
    let rows = answers.probabilities.chunks_exact(classes).zip(labels);
    let right = rows.map(|(row, label)| row[*label as usize]);
    // A class that is said to be impossible costs much, not everything.
    mean(right.map(|right| if right == 0.0 { f64::MIN_POSITIVE } else { right }).map(|right| -right.ln()))
        .unwrap_or(0.0)
}

pub(super) fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0usize), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / count as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By hand: predictions 0, 1, 1, 0 for labels 0, 1, 0, 0 of three classes.
    #[test]
    fn counts_by_hand() {
        let scores = [2.0, 0.0, 0.0, 0.0, 2.0, 0.0, 0.0, 2.0, 0.0, 2.0, 0.0, 0.0];
        let metrics = Metrics::of(&scores, &[0, 1, 0, 0], 3);
        assert_eq!(metrics.accuracy, 0.75);
        assert!((metrics.macro_f1 - (0.8 + 2.0 / 3.0) / 2.0).abs() < 1e-12);
        let right = (1.0 + 2.0 * (-2.0f64).exp()).ln();
        assert!((metrics.loss - (4.0 * right + 2.0) / 4.0).abs() < 1e-6);
    }

    #[test]
    fn a_network_that_gives_nan_is_never_right_by_accident_of_loss() {
        assert!(Metrics::of(&[f32::NAN, f32::NAN], &[1], 2).loss.is_nan());
    }
}
