//! The range test of learning rates (Smith 2017): the rate rises from step to step until the loss explodes.

use super::{Executor, Objective, Step, Supply, TrainError, TrainingData, job::augmentation, steps_per_epoch};
use crate::{
    data::{ahead, permutation},
    spec::TrainSettings,
};

/// The lowest learning rate that is tried, and the highest.
pub const RATES: [f64; 2] = [1e-6, 1.0];
/// How many rates are tried, each by one step of the optimizer.
pub const RATE_STEPS: usize = 100;

/// How much of the smoothed loss a step keeps.
const SMOOTHING: f64 = 0.9;
/// The test ends when the smoothed loss is so many times its lowest value, as in Lightning and fastai.
const EXPLODED: f64 = 4.0;
/// Points at the beginning that the suggestion passes over, and at the end, as in Lightning: the smoothed loss
/// is of few steps there, or explodes.
const PASSED_OVER: [usize; 2] = [10, 1];

/// How many steps on each side of a rate its slope is taken over: between two neighbours chance decides.
const NEIGHBOURS: usize = 4;

/// What one learning rate did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RatePoint {
    /// The learning rate.
    pub learning_rate: f64,
    /// Mean loss of the batches before the step.
    pub loss: f64,
    /// Mean of the losses so far, older ones less, without the pull to 0 of its beginning.
    pub smoothed: f64,
}

/// A range test.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RangeTest {
    /// In rising order of the rates.
    pub points: Vec<RatePoint>,
    /// Whether it ended early because the loss exploded.
    pub exploded: bool,
}

impl RangeTest {
    /// Adds a step; whether the test should go on.
    fn add(&mut self, learning_rate: f64, loss: f64) -> bool {
        let count = self.points.len() as i32 + 1;
        // The mean before it was freed from the pull to 0.
        let before = self.points.last().map_or(0.0, |last| last.smoothed * (1.0 - SMOOTHING.powi(count - 1)));
        let smoothed = (SMOOTHING * before + (1.0 - SMOOTHING) * loss) / (1.0 - SMOOTHING.powi(count));
        let lowest = self.points.iter().map(|point| point.smoothed).fold(f64::INFINITY, f64::min);
        self.exploded = !loss.is_finite() || smoothed > EXPLODED * lowest;
        if loss.is_finite() {
            self.points.push(RatePoint { learning_rate, loss, smoothed });
        }
        !self.exploded
    }

    /// The rate at which the smoothed loss falls most steeply over the logarithm of the rate; `None` where the
    /// points are too few or it never falls.
    pub fn suggestion(&self) -> Option<f64> {
        let [first, last] = PASSED_OVER;
        let points = self.points.get(first..self.points.len().checked_sub(last)?)?;
        // Rates rise by equal factors, so differences over as many steps are slopes.
        let slope = |window: &[RatePoint]| window[2 * NEIGHBOURS].smoothed - window[0].smoothed;
        let windows = points.windows(2 * NEIGHBOURS + 1);
        let steepest = windows.min_by(|one, other| slope(one).total_cmp(&slope(other)))?;
        (slope(steepest) < 0.0).then_some(steepest[NEIGHBOURS].learning_rate)
    }

    /// As a table: learning rate, loss, smoothed loss.
    pub fn to_csv(&self) -> String {
        let row = |point: &RatePoint| format!("{:e},{:.6},{:.6}\n", point.learning_rate, point.loss, point.smoothed);
        let rows: String = self.points.iter().map(row).collect();
        format!("learning_rate,loss,smoothed_loss\n{rows}")
    }
}

/// Runs the test with the images, the objective and the optimizer of a training, and puts the executor back to
/// where it was. `watch` is told each point.
///
/// # Errors
/// When the executor fails.
pub fn range_test(
    executor: &mut dyn Executor,
    data: &TrainingData<'_>,
    settings: &TrainSettings,
    watch: &mut (dyn FnMut(&RatePoint) + Send),
) -> Result<RangeTest, TrainError> {
    let before = executor.state()?;
    let objective = Objective::of(settings, &data.train.class_counts(data.classes));
    let augmentation = augmentation(settings);
    let per_epoch = steps_per_epoch(data.train.len(), settings.batch);
    let supply = Supply::of(executor, data, &augmentation);
    let make = |batch: usize| {
        let epoch = (batch / per_epoch + 1) as u64;
        let order = permutation(data.train.len(), settings.seed, epoch);
        let first = batch % per_epoch * settings.batch;
        let indices = &order[first..(first + settings.batch).min(order.len())];
        supply.training(data, indices, &augmentation, settings.seed, epoch)
    };
    let mut test = RangeTest::default();
    let result = ahead(0..RATE_STEPS * settings.accumulate, make, |next| {
        for index in 0..RATE_STEPS {
            let learning_rate = rate(index);
            let mut loss = 0.0;
            for waiting in 0..settings.accumulate {
                let Some(batch) = next() else { return Ok(()) };
                let update = waiting + 1 == settings.accumulate;
                let (index, objective) = (index as u64, &objective);
                let step = Step { index, learning_rate, objective, clip: settings.clip, waiting, update };
                loss += executor.train_step(&batch, &step)?.loss / settings.accumulate as f64;
            }
            if !test.add(learning_rate, loss) {
                return Ok(());
            }
            test.points.last().into_iter().for_each(&mut *watch);
        }
        Ok(())
    });
    executor.restore(&before)?;
    result.map_err(TrainError::Executor)?;
    Ok(test)
}

/// The rate of a step, from 0.
fn rate(step: usize) -> f64 {
    let [lowest, highest] = RATES;
    lowest * (highest / lowest).powf(step as f64 / (RATE_STEPS - 1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A test of these losses at the rates in their order.
    fn test(losses: impl IntoIterator<Item = f64>) -> RangeTest {
        let mut test = RangeTest::default();
        for (index, loss) in losses.into_iter().enumerate() {
            if !test.add(rate(index), loss) {
                break;
            }
        }
        test
    }

    #[test]
    fn rates_rise_by_equal_factors() {
        assert_eq!([rate(0), rate(99)], [1e-6, 1.0]);
        assert!((rate(51) / rate(50) - rate(21) / rate(20)).abs() < 1e-12);
    }

    #[test]
    fn the_suggestion_is_where_the_loss_falls_most() {
        // Flat, falling around step 60, flat again.
        let fall = |step: usize| 2.3 - 1.5 / (1.0 + (-(step as f64 - 60.0) / 3.0).exp());
        let suggested = test((0..100).map(fall)).suggestion().unwrap();
        // Smoothing lags behind by a few steps.
        assert!((rate(58)..rate(70)).contains(&suggested), "{suggested}");
        assert_eq!(test((0..100).map(|step| 1.0 + step as f64 / 100.0)).suggestion(), None, "it never falls");
        assert_eq!(test((0..18).map(|step| -f64::from(step))).suggestion(), None, "too few points");
    }

    #[test]
    fn it_ends_when_the_loss_explodes_or_is_no_number() {
        let exploding = test((0..100).map(|step| if step < 50 { 2.0 } else { 1000.0 }));
        assert!(exploding.exploded && exploding.points.len() == 51, "{}", exploding.points.len());
        let broken = test((0..100).map(|step| if step < 50 { 2.0 } else { f64::NAN }));
        assert!(broken.exploded && broken.points.len() == 50);
        assert!(broken.points.iter().all(|point| (point.smoothed - 2.0).abs() < 1e-12), "the mean of equal losses");
    }
}
