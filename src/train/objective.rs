//! What a training makes small.

use crate::{
    data::Batch,
    spec::{Balance, Loss, TrainSettings},
};

/// What class scores are measured by, and against which targets.
#[derive(Clone, Debug, PartialEq)]
pub struct Objective {
    /// The form of the loss.
    pub kind: ObjectiveKind,
    /// Number of classes.
    pub classes: usize,
    /// Share of the target that is spread over all classes.
    pub smoothing: f64,
    /// How much each class counts; empty is 1 for all. The mean over the images is weighted by that of
    /// each image's most probable target, as `torch.nn.CrossEntropyLoss` has it.
    pub class_weights: Vec<f32>,
    /// Added to the scores of each class; empty is 0 for all.
    pub offsets: Vec<f32>,
}

/// The form of a loss.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ObjectiveKind {
    /// Softmax cross-entropy.
    CrossEntropy,
    /// Softmax cross-entropy times (1 − p)^gamma (Lin et al. 2017).
    Focal {
        /// At least 0.
        gamma: f64,
    },
    /// Sigmoid cross-entropy of each class, the mean over images and classes.
    Binary,
}

impl Objective {
    /// Cross-entropy.
    pub fn cross_entropy(classes: usize, smoothing: f64) -> Self {
        let (class_weights, offsets) = (Vec::new(), Vec::new());
        Self { kind: ObjectiveKind::CrossEntropy, classes, smoothing, class_weights, offsets }
    }

    /// The objective that the settings ask for, with so many training images of each class.
    pub fn of(settings: &TrainSettings, counts: &[usize]) -> Self {
        let kind = match settings.loss {
            Loss::CrossEntropy | Loss::LogitAdjusted => ObjectiveKind::CrossEntropy,
            Loss::Focal => ObjectiveKind::Focal { gamma: settings.focal_gamma },
            Loss::Bce => ObjectiveKind::Binary,
        };
        let class_weights = match settings.balance {
            Balance::None | Balance::Sampler => Vec::new(),
            Balance::Loss => weights(counts, |count| 1.0 / count),
            Balance::Effective => weights(counts, |count| 1.0 / effective_number(count)),
        };
        let offsets = match settings.loss {
            Loss::LogitAdjusted => logit_offsets(counts, settings.logit_temperature),
            _ => Vec::new(),
        };
        Self { kind, classes: counts.len(), smoothing: settings.smoothing, class_weights, offsets }
    }

    /// A distribution over the classes for each image of `batch`.
    ///
    /// # Errors
    /// When a label stands for no class.
    pub fn targets(&self, batch: &Batch) -> Result<Vec<f32>, String> {
        let classes = self.classes;
        if let Some(label) = batch.labels.iter().find(|label| **label as usize >= classes) {
            return Err(format!("wanted labels below {classes}, got {label}"));
        }
        let mut targets = vec![(self.smoothing / classes as f64) as f32; batch.labels.len() * classes];
        let rest = (1.0 - self.smoothing) as f32;
        for (image, target) in targets.chunks_exact_mut(classes).enumerate() {
            let (partner, share) = batch.partners.get(image).copied().unwrap_or((0, 1.0));
            target[batch.labels[image] as usize] += rest * share;
            target[partner as usize] += rest * (1.0 - share);
        }
        Ok(targets)
    }
}

/// Weights by the number of training images, with mean 1 over the classes that have some.
fn weights(counts: &[usize], weight: impl Fn(f64) -> f64) -> Vec<f32> {
    let raw: Vec<f64> = counts.iter().map(|count| if *count == 0 { 0.0 } else { weight(*count as f64) }).collect();
    let present = counts.iter().filter(|count| **count > 0).count().max(1) as f64;
    let mean = raw.iter().sum::<f64>() / present;
    raw.into_iter().map(|weight| (weight / mean) as f32).collect()
}

/// How many different images `count` are worth (Cui et al. 2019, beta 0.999).
fn effective_number(count: f64) -> f64 {
    const BETA: f64 = 0.999;
    (1.0 - BETA.powf(count)) / (1.0 - BETA)
}

/// The logarithms of the classes' frequencies (Menon et al. 2021).
fn logit_offsets(counts: &[usize], temperature: f64) -> Vec<f32> {
    let images = counts.iter().sum::<usize>().max(1) as f64;
    // A class without images would be −∞: it counts as half an image.
    counts.iter().map(|count| (temperature * ((*count as f64).max(0.5) / images).ln()) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objective(settings: &str, counts: &[usize]) -> Objective {
        let settings: serde_json::Value = serde_json::from_str(settings).unwrap();
        Objective::of(&TrainSettings::parse(settings.as_object().unwrap()).unwrap(), counts)
    }

    #[test]
    fn rare_classes_weigh_more() {
        let by_frequency = objective(r#"{"balance": "loss"}"#, &[30, 10, 0]).class_weights;
        assert_eq!(by_frequency, [0.5, 1.5, 0.0]);
        let effective = objective(r#"{"balance": "effective"}"#, &[100_000, 10]).class_weights;
        // Cui et al.: (1 − 0.999) / (1 − 0.999^n), here 0.001 and 0.100 451.
        assert!((effective[1] / effective[0] - 100.451).abs() < 1e-2, "{effective:?}");
        assert!((effective[0] + effective[1] - 2.0).abs() < 1e-6);
        assert!(objective(r#"{"balance": "sampler"}"#, &[30, 10]).class_weights.is_empty());
    }

    #[test]
    fn adjusted_scores_carry_the_frequencies() {
        let offsets = objective(r#"{"loss": "logit_adjusted", "logit_temperature": 2}"#, &[75, 25]).offsets;
        assert!((offsets[0] - 2.0 * 0.75f32.ln()).abs() < 1e-6 && (offsets[1] - 2.0 * 0.25f32.ln()).abs() < 1e-6);
    }

    #[test]
    fn targets_are_smooth_and_labels_checked() {
        let batch =
            Batch { images: vec![0.0; 2], labels: vec![2, 0], partners: Vec::new(), shape: [2, 1, 1, 1], placed: None };
        let targets = Objective::cross_entropy(4, 0.2).targets(&batch).unwrap();
        let expected = [0.05, 0.05, 0.85, 0.05, 0.85, 0.05, 0.05, 0.05];
        assert!(targets.iter().zip(expected).all(|(target, expected)| (target - expected).abs() < 1e-6));
        assert!(Objective::cross_entropy(2, 0.0).targets(&batch).unwrap_err().contains("below 2, got 2"));
    }
}
