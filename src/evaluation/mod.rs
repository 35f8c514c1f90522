//! How good a classifier is: measures over images, and the answers of several networks as one.

mod ensemble;
mod measures;
mod metrics;
mod mistakes;

pub use ensemble::{Answers, Vote};
pub use measures::{ClassMeasures, Confusion, Evaluation, Interval, ReliabilityBin, reliability};
pub use metrics::Metrics;
pub use mistakes::{Mistake, worst_mistakes};

/// Class probabilities from scores (softmax), row by row.
pub fn probabilities(scores: &[f32], classes: usize) -> Vec<f64> {
    scores.chunks_exact(classes).flat_map(softmax).collect()
}

fn softmax(row: &[f32]) -> Vec<f64> {
    let highest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f64> = row.iter().map(|score| (f64::from(*score) - f64::from(highest)).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum).collect()
}

/// The class of the highest value; the first of equal ones.
fn highest(row: &[f64]) -> usize {
    (1..row.len()).fold(0, |best, class| if row[class] > row[best] { class } else { best })
}
