//! The learning rate over the steps.

/// Steps in one pass over `images`: a partial last batch is left out where a full one exists.
pub fn steps_per_epoch(images: usize, batch: usize) -> usize {
    (images / batch).max(1)
}

/// Linear from `peak / warm-up steps` to `peak` over the first `warmup` share of the steps, then
/// half a cosine down to 0 (Loshchilov and Hutter 2017).
pub fn learning_rate(peak: f64, warmup: f64, step: u64, steps: u64) -> f64 {
    let warm = (steps as f64 * warmup).round() as u64;
    if step < warm {
        return peak * (step + 1) as f64 / warm as f64;
    }
    let done = (step - warm) as f64 / (steps - warm).max(1) as f64;
    peak * 0.5 * (1.0 + (std::f64::consts::PI * done).cos())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rises_to_the_peak_and_falls_to_zero() {
        let rates: Vec<f64> = (0..100).map(|step| learning_rate(0.1, 0.05, step, 100)).collect();
        assert!((rates[0] - 0.02).abs() < 1e-12 && (rates[4] - 0.1).abs() < 1e-12 && (rates[5] - 0.1).abs() < 1e-12);
        assert!(rates[5..].windows(2).all(|pair| pair[1] <= pair[0]) && rates[99] < 1e-4);
        assert_eq!(learning_rate(0.1, 0.0, 0, 1), 0.1);
        assert!(learning_rate(0.1, 1.0, 9, 10) > 0.0999);
    }

    #[test]
    fn a_partial_batch_counts_only_alone() {
        assert_eq!([(130, 64), (64, 64), (10, 64)].map(|(images, batch)| steps_per_epoch(images, batch)), [2, 1, 1]);
    }
}
