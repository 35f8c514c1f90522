//! Which of two epochs is the better one.

use crate::{evaluation::Metrics, spec::Metric};

/// Better by the metric, or the same with lower loss.
pub(super) fn is_better(metric: Metric, one: &Metrics, other: &Metrics) -> bool {
    let (value, before) = (goodness(metric, one), goodness(metric, other));
    value > before || value == before && one.loss < other.loss
}

/// Higher is better.
pub(super) fn goodness(metric: Metric, metrics: &Metrics) -> f64 {
    match metric {
        Metric::Accuracy => metrics.accuracy,
        Metric::MacroF1 => metrics.macro_f1,
        Metric::Loss => -metrics.loss,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_metric_decides_what_is_better_and_the_loss_between_equals() {
        let metrics = |accuracy, macro_f1, loss| Metrics { accuracy, macro_f1, loss };
        let (one, other) = (metrics(0.8, 0.5, 1.0), metrics(0.7, 0.6, 0.9));
        let wins = [Metric::Accuracy, Metric::MacroF1, Metric::Loss].map(|metric| is_better(metric, &one, &other));
        assert_eq!(wins, [true, false, false]);
        assert!(is_better(Metric::Accuracy, &metrics(0.8, 0.1, 0.5), &one));
        assert!(!is_better(Metric::Loss, &one, &one));
    }
}
