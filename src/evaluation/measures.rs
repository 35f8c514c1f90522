//! Measures of a classifier's answers.

use super::{
    Answers, Metrics,
    metrics::{answered, confusion, f1, mean},
};
use serde::Serialize;

/// Bins of the calibration error.
const BINS: usize = 15;
/// Above this many classes the five best answers mean something.
const TOP: usize = 5;

/// All measures over a set of images.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evaluation {
    /// How many there are.
    pub images: usize,
    /// Share of right answers, in `0.0..=1.0`.
    pub accuracy: f64,
    /// Where the accuracy on such images lies with a probability of 95 %.
    pub interval: Interval,
    /// Share of images whose class is among the five most probable; none with five classes or fewer.
    pub top5: Option<f64>,
    /// Mean negative logarithm of the probability of the right class.
    pub loss: f64,
    /// Mean of the F1 scores of the classes that occur among labels or answers.
    pub macro_f1: f64,
    /// F1 over all answers together: with one answer per image, the accuracy.
    pub micro_f1: f64,
    /// Mean of the F1 scores, weighted by the images of each class.
    pub weighted_f1: f64,
    /// Mean over the classes of the area under the ROC curve, one class against the rest (Fawcett
    /// 2006); none where no class has both images of its own and of others.
    pub roc_auc: Option<f64>,
    /// Expected calibration error over 15 bins of confidence (Guo et al. 2017), in `0.0..=1.0`.
    pub calibration_error: f64,
    /// The measures of each class.
    pub per_class: Vec<ClassMeasures>,
    /// Images by label (rows) and answer (columns).
    pub confusion: Vec<Vec<u64>>,
}

/// Limits of a 95 % confidence interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Interval {
    /// Lower limit.
    pub low: f64,
    /// Upper limit.
    pub high: f64,
}

/// Measures of one class.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClassMeasures {
    /// Its name.
    pub class: String,
    /// Images of this class.
    pub images: u64,
    /// Of the images taken for this class, the share that are; 0 where none was.
    pub precision: f64,
    /// Of the images of this class, the share taken for it; 0 where there are none.
    pub recall: f64,
    /// Harmonic mean of the two.
    pub f1: f64,
    /// Area under the ROC curve against all other classes.
    pub roc_auc: Option<f64>,
}

/// Images of one class that were taken for another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Confusion {
    /// What they are.
    pub class: String,
    /// What they were taken for.
    pub answer: String,
    /// How many.
    pub images: u64,
}

impl Evaluation {
    /// Measures `answers` against `labels`, which are positions in `classes`.
    pub fn of(answers: &Answers, labels: &[u32], classes: &[String]) -> Self {
        let confusion = confusion(&answers.classes, labels, classes.len());
        let per_class: Vec<ClassMeasures> = classes
            .iter()
            .enumerate()
            .map(|(class, name)| ClassMeasures {
                class: name.clone(),
                roc_auc: roc_auc(&answers.probabilities, labels, classes.len(), class),
                ..class_measures(&confusion, class)
            })
            .collect();
        let correct: u64 = (0..classes.len()).map(|class| confusion[class][class]).sum();
        let images = labels.len();
        let Metrics { accuracy, macro_f1, loss } = Metrics::of_answers(answers, labels, classes.len());
        let share = |count: u64| count as f64 / images.max(1) as f64;
        let weighted = per_class.iter().map(|class| class.f1 * class.images as f64).sum::<f64>();
        Self {
            images,
            accuracy,
            interval: Interval::of(correct, images as u64),
            top5: (classes.len() > TOP).then(|| share(among_highest(answers, labels, classes.len()))),
            loss,
            macro_f1,
            micro_f1: accuracy,
            weighted_f1: weighted / images.max(1) as f64,
            roc_auc: mean(per_class.iter().filter_map(|class| class.roc_auc)),
            calibration_error: calibration_error(answers, labels, classes.len()),
            per_class,
            confusion,
        }
    }

    /// The pairs of classes that are confused most often, at most `most`.
    pub fn confused(&self, most: usize) -> Vec<Confusion> {
        let name = |class: usize| self.per_class[class].class.clone();
        let pairs = self.confusion.iter().enumerate().flat_map(|(class, row)| {
            let others = row.iter().enumerate().filter(move |(answer, images)| *answer != class && **images > 0);
            others.map(move |(answer, images)| (class, answer, *images))
        });
        let mut pairs: Vec<_> = pairs.collect();
        pairs.sort_by_key(|(class, answer, images)| (std::cmp::Reverse(*images), *class, *answer));
        pairs.truncate(most);
        let named = |(class, answer, images)| Confusion { class: name(class), answer: name(answer), images };
        pairs.into_iter().map(named).collect()
    }
}

impl Interval {
    /// Of a share of `hits` in `count` (Wilson 1927).
    pub fn of(hits: u64, count: u64) -> Self {
        /// 97.5 % of a standard normal distribution lie below it.
        const Z: f64 = 1.959_963_984_540_054;
        if count == 0 {
            return Self { low: 0.0, high: 1.0 };
        }
        let (n, share) = (count as f64, hits as f64 / count as f64);
        let middle = share + Z * Z / (2.0 * n);
        let half = Z * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
        let scale = 1.0 + Z * Z / n;
        Self { low: ((middle - half) / scale).max(0.0), high: ((middle + half) / scale).min(1.0) }
    }
}

/// Without name and ROC-AUC.
fn class_measures(confusion: &[Vec<u64>], class: usize) -> ClassMeasures {
    let (images, answered): (u64, u64) = (confusion[class].iter().sum(), answered(confusion, class));
    let hits = confusion[class][class] as f64;
    let of = |count: u64| if count == 0 { 0.0 } else { hits / count as f64 };
    let f1 = f1(confusion, class).unwrap_or(0.0);
    ClassMeasures { class: String::new(), images, precision: of(answered), recall: of(images), f1, roc_auc: None }
}

fn among_highest(answers: &Answers, labels: &[u32], classes: usize) -> u64 {
    let rows = answers.probabilities.chunks_exact(classes).zip(labels);
    let better = |(row, label): &(&[f64], &u32)| {
        let own = row[**label as usize];
        row.iter().enumerate().filter(|(class, p)| **p > own || **p == own && *class < **label as usize).count() < TOP
    };
    rows.filter(better).count() as u64
}

/// The share of pairs (one image of the class, one of another) in which the one of the class has
/// the higher probability; equal ones count half (Mann and Whitney 1947).
fn roc_auc(probabilities: &[f64], labels: &[u32], classes: usize, class: usize) -> Option<f64> {
    let rows = probabilities.chunks_exact(classes).zip(labels);
    let mut scored: Vec<(f64, bool)> = rows.map(|(row, label)| (row[class], *label as usize == class)).collect();
    scored.sort_by(|one, other| one.0.total_cmp(&other.0));
    let own = scored.iter().filter(|(_, own)| *own).count() as f64;
    let others = scored.len() as f64 - own;
    if own == 0.0 || others == 0.0 {
        return None;
    }
    let (mut below, mut pairs) = (0.0, 0.0);
    for equal in scored.chunk_by(|one, other| one.0 == other.0) {
        let hits = equal.iter().filter(|(_, own)| *own).count() as f64;
        let misses = equal.len() as f64 - hits;
        pairs += hits * (below + misses / 2.0);
        below += misses;
    }
    Some(pairs / (own * others))
}

/// The images in one of 15 equal ranges of confidence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReliabilityBin {
    /// Mean confidence of the answers, in `0.0..=1.0`.
    pub confidence: f64,
    /// Share of them that are right.
    pub accuracy: f64,
    /// How many there are; at least one.
    pub images: usize,
}

/// How often answers of some confidence are right; ranges without images are left out.
pub fn reliability(answers: &Answers, labels: &[u32], classes: usize) -> Vec<ReliabilityBin> {
    let bins = bins(answers, labels, classes).into_iter().filter(|bin| bin.images > 0);
    let mean = |Bin { confidence, right, images }: Bin| {
        let count = images as f64;
        ReliabilityBin { confidence: confidence / count, accuracy: right / count, images }
    };
    bins.map(mean).collect()
}

fn calibration_error(answers: &Answers, labels: &[u32], classes: usize) -> f64 {
    let bins = bins(answers, labels, classes);
    bins.iter().map(|bin| (bin.confidence - bin.right).abs()).sum::<f64>() / labels.len().max(1) as f64
}

/// Sums over the images of one range of confidence.
#[derive(Clone, Copy, Default)]
struct Bin {
    confidence: f64,
    right: f64,
    images: usize,
}

fn bins(answers: &Answers, labels: &[u32], classes: usize) -> Vec<Bin> {
    let mut bins = vec![Bin::default(); BINS];
    for ((row, answer), label) in answers.probabilities.chunks_exact(classes).zip(&answers.classes).zip(labels) {
        let confidence = row[*answer];
        // Bins are open below and closed above.
        let bin = ((confidence * BINS as f64).ceil() as usize).clamp(1, BINS) - 1;
        bins[bin].confidence += confidence;
        bins[bin].right += f64::from(u8::from(*answer == *label as usize));
        bins[bin].images += 1;
    }
    bins
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluation::Vote;

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|class| format!("c{class}")).collect()
    }

    #[test]
    fn intervals_are_wilsons() {
        // Newcombe 1998, table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29.
        for (hits, count, low, high) in
            [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)]
        {
            let interval = Interval::of(hits, count);
            assert!((interval.low - low).abs() < 5e-5 && (interval.high - high).abs() < 5e-5, "{interval:?}");
        }
        assert_eq!(Interval::of(0, 0), Interval { low: 0.0, high: 1.0 });
    }

    #[test]
    fn confused_pairs_come_in_order() {
        let one_hot = |class: usize| (0..3).map(move |index| f64::from(u8::from(index == class)));
        let answers = [0, 1, 1, 1, 2, 0];
        let probabilities = answers.into_iter().flat_map(one_hot).collect();
        let answers = Answers::of(&[probabilities], 3, Vote::Soft);
        let evaluation = Evaluation::of(&answers, &[0, 0, 0, 1, 1, 2], &names(3));
        let confused: Vec<_> = evaluation.confused(2).into_iter().map(|pair| (pair.class, pair.images)).collect();
        assert_eq!(confused, [("c0".to_owned(), 2), ("c1".to_owned(), 1)]);
        assert_eq!((evaluation.top5, evaluation.accuracy), (None, 2.0 / 6.0));
    }

    #[test]
    fn a_class_without_images_has_no_roc_and_counts_in_no_mean() {
        let answers = Answers::of(&[vec![0.9, 0.1, 0.0, 0.2, 0.8, 0.0]], 3, Vote::Soft);
        let evaluation = Evaluation::of(&answers, &[0, 1], &names(3));
        assert_eq!((evaluation.per_class[2].roc_auc, evaluation.macro_f1), (None, 1.0));
        assert_eq!(evaluation.roc_auc, Some(1.0));
    }
}
