//! What class scores are measured by.

/// The loss of a training step over target distributions.
#[derive(Clone, Debug, PartialEq)]
pub struct Loss {
    /// Its form.
    pub kind: LossKind,
    /// How much each class counts; empty is 1 for all.
    pub class_weights: Vec<f32>,
    /// Added to the scores of each class; empty is 0 for all (logit adjustment: Menon et al. 2021).
    pub offsets: Vec<f32>,
}

/// The form of a loss.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LossKind {
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

impl Loss {
    /// Mean loss over the images, how many were right, and the gradient of the scores. `targets` has a
    /// distribution over the classes for each image. The mean is weighted by the class weight of each
    /// image's most probable target, as `torch.nn.CrossEntropyLoss` has it; that of the binary loss is not.
    pub(crate) fn measure(&self, scores: &[f32], targets: &[f32], images: usize, gradient: &mut [f32]) -> (f64, usize) {
        let classes = scores.len() / images;
        let weight = |class: usize| self.class_weights.get(class).copied().map_or(1.0, f64::from);
        let mut row = Row { shares: vec![0.0; classes], logarithms: vec![0.0; classes] };
        let divisor = match self.kind {
            LossKind::Binary => (images * classes) as f64,
            _ => targets.chunks(classes).map(|target| weight(first_largest(target))).sum(),
        };
        let (mut loss, mut correct) = (0.0, 0);
        let rows = scores.chunks(classes).zip(targets.chunks(classes)).zip(gradient.chunks_mut(classes));
        for ((scores, target), gradient) in rows {
            correct += usize::from(first_largest(scores) == first_largest(target));
            loss += match self.kind {
                LossKind::Binary => binary(scores, target, weight, divisor, gradient),
                _ => {
                    row.fill(scores, &self.offsets);
                    let gamma = if let LossKind::Focal { gamma } = self.kind { gamma } else { 0.0 };
                    row.categorical(target, weight, gamma, divisor, gradient)
                }
            };
        }
        (loss / divisor, correct)
    }
}

/// The softmax of one image's scores.
struct Row {
    shares: Vec<f64>,
    logarithms: Vec<f64>,
}

impl Row {
    fn fill(&mut self, scores: &[f32], offsets: &[f32]) {
        let score = |class: usize| f64::from(scores[class]) + offsets.get(class).copied().map_or(0.0, f64::from);
        let largest = (0..scores.len()).map(score).fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = (0..scores.len()).map(|class| (score(class) - largest).exp()).sum();
        for class in 0..scores.len() {
            self.logarithms[class] = score(class) - largest - sum.ln();
            self.shares[class] = self.logarithms[class].exp();
        }
    }

    /// The sum over the classes of weight × target × (1 − p)^gamma × −ln p, and its gradient.
    fn categorical(
        &self,
        target: &[f32],
        weight: impl Fn(usize) -> f64,
        gamma: f64,
        divisor: f64,
        gradient: &mut [f32],
    ) -> f64 {
        let (mut loss, mut pull) = (0.0, 0.0);
        // For each class p times the derivative by p; softmax then hands p × their sum back to all.
        let slope = |class: usize| {
            let (p, ln) = (self.shares[class], self.logarithms[class]);
            let amount = weight(class) * f64::from(target[class]);
            let rest = (1.0 - p).max(0.0);
            let turn = if gamma == 0.0 { 0.0 } else { gamma * p * ln * rest.powf(gamma - 1.0) };
            // The limit for p = 1, where 0 × ∞ would be NaN.
            let turn = if turn.is_nan() && !ln.is_nan() { 0.0 } else { turn };
            (amount * (turn - rest.powf(gamma)), -amount * rest.powf(gamma) * ln)
        };
        for class in 0..target.len() {
            if target[class] != 0.0 {
                let (slope, part) = slope(class);
                (pull, loss) = (pull + slope, loss + part);
            }
        }
        for (class, gradient) in gradient.iter_mut().enumerate() {
            let own = if target[class] == 0.0 { 0.0 } else { slope(class).0 };
            *gradient = ((own - self.shares[class] * pull) / divisor) as f32;
        }
        loss
    }
}

fn binary(scores: &[f32], target: &[f32], weight: impl Fn(usize) -> f64, divisor: f64, gradient: &mut [f32]) -> f64 {
    let mut loss = 0.0;
    for class in 0..scores.len() {
        let (score, target) = (f64::from(scores[class]), f64::from(target[class]));
        // ln(1 + e^score), without overflow.
        let softplus = score.max(0.0) + (-score.abs()).exp().ln_1p();
        // `max` would hide a NaN.
        loss += weight(class) * if score.is_nan() { score } else { softplus - target * score };
        gradient[class] = (weight(class) * (1.0 / (1.0 + (-score).exp()) - target) / divisor) as f32;
    }
    loss
}

fn first_largest(row: &[f32]) -> usize {
    (1..row.len()).fold(0, |best, class| if row[class] > row[best] { class } else { best })
}
