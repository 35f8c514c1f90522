//! How good class scores are.

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
        let rows = || scores.chunks_exact(classes).zip(labels);
        let confusion = confusion(rows(), classes);
        let correct: u64 = (0..classes).map(|class| confusion[class * classes + class]).sum();
        let images = labels.len().max(1) as f64;
        Self {
            accuracy: correct as f64 / images,
            macro_f1: macro_f1(&confusion, classes),
            loss: rows().map(|(row, label)| cross_entropy(row, *label as usize)).sum::<f64>() / images,
        }
    }
}

/// The class of the highest score; the first of equal ones.
fn predicted(row: &[f32]) -> usize {
    (1..row.len()).fold(0, |best, class| if row[class] > row[best] { class } else { best })
}

/// Counts by label (rows) and prediction (columns).
fn confusion<'a>(rows: impl Iterator<Item = (&'a [f32], &'a u32)>, classes: usize) -> Vec<u64> {
    let mut counts = vec![0; classes * classes];
    for (row, label) in rows {
        counts[*label as usize * classes + predicted(row)] += 1;
    }
    counts
}

fn macro_f1(confusion: &[u64], classes: usize) -> f64 {
    let f1 = |class: usize| {
        let labelled: u64 = confusion[class * classes..][..classes].iter().sum();
        let predicted: u64 = (0..classes).map(|label| confusion[label * classes + class]).sum();
        let hits = confusion[class * classes + class];
        (labelled + predicted > 0).then(|| 2.0 * hits as f64 / (labelled + predicted) as f64)
    };
    let scores: Vec<f64> = (0..classes).filter_map(f1).collect();
    scores.iter().sum::<f64>() / scores.len().max(1) as f64
}

fn cross_entropy(row: &[f32], label: usize) -> f64 {
    let highest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = row.iter().map(|score| f64::from(score - highest).exp()).sum();
    sum.ln() - f64::from(row[label] - highest)
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
