//! Softmax cross-entropy.

/// Mean loss over the images, how many were right, and the gradient of the scores.
pub(crate) fn cross_entropy(scores: &[f32], labels: &[u32], smoothing: f64, gradient: &mut [f32]) -> (f64, usize) {
    let images = labels.len();
    let classes = scores.len() / images;
    let (mut loss, mut correct) = (0.0, 0);
    let rows = scores.chunks(classes).zip(gradient.chunks_mut(classes));
    for ((row, gradient), label) in rows.zip(labels) {
        let label = *label as usize;
        let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = row.iter().map(|score| f64::from(score - largest).exp()).sum();
        let log_share = |class: usize| f64::from(row[class] - largest) - sum.ln();
        let mean = (0..classes).map(log_share).sum::<f64>() / classes as f64;
        loss -= (1.0 - smoothing) * log_share(label) + smoothing * mean;
        let first_largest = (1..classes).fold(0, |best, class| if row[class] > row[best] { class } else { best });
        correct += usize::from(first_largest == label);
        for (class, gradient) in gradient.iter_mut().enumerate() {
            let target = smoothing / classes as f64 + if class == label { 1.0 - smoothing } else { 0.0 };
            *gradient = ((log_share(class).exp() - target) / images as f64) as f32;
        }
    }
    (loss / images as f64, correct)
}
