//! The loop: epochs of steps, a validation after each, the best and the last weights kept.

use super::journal::Journal;
use super::{
    Best, Checkpoint, Divergence, EpochReport, Executor, Freezing, Job, Objective, Observer, Problem, Progress,
    Schedule, State, Step, StepReport, StepResult, Summary, Supply, TrainError,
    job::{augmentation, images_per_epoch},
    ranking::{goodness, is_better},
    steps_per_epoch,
};
use crate::{
    data::{Augmentation, Batch, Part, ahead, balanced_order, permutation},
    evaluation::Metrics,
    spec::{Balance, TrainSettings},
    weights::Weights,
};
use std::time::{Duration, Instant};

/// How long a training goes on at most before it saves where it is. When it saves changes nothing
/// about what it comes to.
const SAVE_EVERY: Duration = Duration::from_mins(5);

/// Trains for all epochs that the settings ask for, from the beginning or from where a checkpoint
/// was written. `last.safetensors` is written at the beginning, after each epoch, every five minutes
/// and when the training is asked to stop; `best.safetensors` after an epoch that is the best so far.
///
/// # Errors
/// See [`TrainError`]; what was saved before stays whole.
pub fn train(
    executor: &mut dyn Executor,
    job: &Job<'_>,
    from: Option<&Checkpoint>,
    observer: &mut dyn Observer,
) -> Result<Summary, TrainError> {
    let mut session = Session::begin(executor, job, from)?;
    while !session.is_done() {
        let report = session.epoch(executor, observer)?;
        observer.epoch(&report);
        // Between two epochs all is saved already.
        if !session.is_done() && (job.stop)() {
            let steps = session.steps();
            return Err(TrainError::Stopped { epoch: report.epoch, step: steps, steps });
        }
    }
    let summary = session.summary();
    session.journal.end(summary.epochs, &summary.best)?;
    Ok(summary)
}

struct Session<'a> {
    job: &'a Job<'a>,
    journal: Journal<'a>,
    schedule: Schedule,
    objective: Objective,
    augmentation: Augmentation,
    supply: Supply,
    progress: Progress,
    /// The running average of the weights, if one is kept and a step was taken.
    average: Option<Weights>,
    time: Spent,
    saved: Instant,
    /// Of the validation images, in the last validation.
    scores: Vec<f32>,
}

/// How long things took, interruptions not counted.
struct Spent {
    /// Before this process went on with the training.
    before: Duration,
    began: Instant,
    /// In training steps alone.
    stepping: Duration,
}

impl Spent {
    fn seconds(&self) -> f64 {
        (self.before + self.began.elapsed()).as_secs_f64()
    }
}

impl<'a> Session<'a> {
    fn begin(executor: &mut dyn Executor, job: &'a Job<'a>, from: Option<&Checkpoint>) -> Result<Self, TrainError> {
        let progress = from.map_or_else(Progress::default, |checkpoint| checkpoint.progress.clone());
        job.folder.cut_back(&progress.lines)?;
        let (before, stepping) = job.folder.time_spent(images_per_epoch(job))?;
        let time = Spent { before, stepping, began: Instant::now() };
        let counts = job.data.train.class_counts(job.data.classes);
        let augmentation = augmentation(job.settings);
        let mut session = Self {
            job,
            journal: Journal::new(job),
            schedule: Schedule::of(job.settings, steps_per_epoch(job.data.train.len(), job.settings.batch)),
            objective: Objective::of(job.settings, &counts),
            supply: Supply::of(executor, job.data, &augmentation),
            augmentation,
            progress,
            average: from.and_then(|checkpoint| checkpoint.average.clone()),
            time,
            saved: Instant::now(),
            scores: Vec::new(),
        };
        match from {
            None => {
                session.journal.begin()?;
                session.save(executor)?;
            }
            Some(checkpoint) => {
                executor.restore(&checkpoint.state)?;
                session.mend_best(executor)?;
            }
        }
        Ok(session)
    }

    /// Whether all epochs are done, or too many have passed since the best one.
    fn is_done(&self) -> bool {
        let Progress { epochs, best, .. } = &self.progress;
        let stale = |patience| best.is_some_and(|best| epochs - best.epoch >= patience);
        *epochs >= self.job.settings.epochs || self.job.settings.patience.is_some_and(stale)
    }

    fn steps(&self) -> usize {
        steps_per_epoch(self.job.data.train.len(), self.job.settings.batch)
    }

    /// The steps of the epoch that are still to do, its validation, and the files.
    fn epoch(&mut self, executor: &mut dyn Executor, observer: &mut dyn Observer) -> Result<EpochReport, TrainError> {
        let (began, done) = (Instant::now(), self.progress.steps);
        let (epoch, steps, images) = (self.progress.epochs + 1, self.steps(), images_per_epoch(self.job));
        let Job { data, settings, layers, .. } = *self.job;
        let freezing = Freezing::at(settings, layers, epoch, steps.div_ceil(settings.accumulate) as u64);
        executor.freeze(&freezing);
        let order = match settings.balance {
            Balance::Sampler => balanced_order(&data.train.labels, data.classes, settings.seed, epoch as u64),
            _ => permutation(data.train.len(), settings.seed, epoch as u64),
        };
        let rate = |seen: usize| (seen - (done * settings.batch).min(images)) as f64 / began.elapsed().as_secs_f64();
        let (augmentation, supply) = (self.augmentation.clone(), self.supply);
        let chunks: Vec<&[usize]> = order.chunks(settings.batch).take(steps).collect();
        let make = |step: usize| {
            let (seed, epoch) = (settings.seed, epoch as u64);
            supply.training(data, chunks[step], &augmentation, seed, epoch)
        };
        ahead(done..steps, make, |next| {
            while let Some(batch) = next() {
                let step = self.progress.steps;
                let result = self.step(executor, epoch, step, batch)?;
                self.progress.steps = step + 1;
                self.progress.loss += result.loss;
                self.progress.correct += result.correct;
                let seen = ((step + 1) * settings.batch).min(images);
                let report = StepReport {
                    epoch,
                    step: step + 1,
                    steps,
                    loss: self.progress.loss / (step + 1) as f64,
                    step_loss: result.loss,
                    accuracy: self.progress.correct as f64 / seen as f64,
                    learning_rate: self.learning_rate(epoch, step),
                    images_per_second: rate(seen),
                };
                observer.step(&report);
                self.journal.step(&report)?;
                self.pause(executor, epoch)?;
            }
            Ok::<(), TrainError>(())
        })?;
        // A resume may come when all steps are done: there is no rate to measure then.
        let images_per_second = if done < steps { rate(images) } else { 0.0 };
        self.time.stepping += began.elapsed();
        let validation = self.validate_average(executor, epoch)?;
        let is_best = self.progress.best.is_none_or(|best| is_better(settings.metric, &validation, &best.validation));
        let report = EpochReport {
            epoch,
            epochs: settings.epochs,
            seconds: self.time.seconds(),
            train_loss: self.progress.loss / steps as f64,
            train_accuracy: self.progress.correct as f64 / images as f64,
            validation,
            learning_rate: self.learning_rate(epoch, steps - 1),
            images_per_second,
            is_best,
            frozen_rows: freezing.frozen_rows(),
        };
        self.finish(executor, &report)?;
        Ok(report)
    }

    /// Writes down an epoch. The order decides what a kill in between leaves: a row too many in
    /// `results.csv`, which a resume cuts off, or an older `best.safetensors`, which it mends.
    fn finish(&mut self, executor: &mut dyn Executor, report: &EpochReport) -> Result<(), TrainError> {
        let weights = executor.weights()?;
        if weights.not_finite().is_some() {
            let batch = self.validation_batch(0);
            return Err(self.diverged(Problem::Weights, report.epoch, self.steps() - 1, batch));
        }
        self.job.folder.append(report)?;
        self.journal.epoch(report, &weights, &self.scores)?;
        let best = Best { epoch: report.epoch, validation: report.validation };
        let mut plateau = self.progress.plateau;
        let settings = self.job.settings;
        plateau.observe(goodness(settings.metric, &report.validation), settings.plateau_patience);
        self.progress = Progress {
            epochs: report.epoch,
            best: if report.is_best { Some(best) } else { self.progress.best },
            plateau,
            ..Progress::default()
        };
        self.save(executor)?;
        if report.is_best {
            let weights = self.average.as_ref().unwrap_or(&weights);
            self.job.folder.save_best(weights, self.job.metadata, &best)?;
        }
        Ok(())
    }

    /// Whether a kill came between the two files of the best epoch: its weights are then the
    /// checkpoint's.
    fn mend_best(&self, executor: &mut dyn Executor) -> Result<(), TrainError> {
        match self.progress.best {
            Some(best)
                if best.epoch == self.progress.epochs
                    && self.progress.steps == 0
                    && self.job.folder.best_epoch() != Some(best.epoch) =>
            {
                let weights = match &self.average {
                    Some(average) => average.clone(),
                    None => executor.weights()?,
                };
                Ok(self.job.folder.save_best(&weights, self.job.metadata, &best)?)
            }
            _ => Ok(()),
        }
    }

    fn save(&mut self, executor: &mut dyn Executor) -> Result<(), TrainError> {
        let Job { folder, metadata, build, .. } = *self.job;
        self.progress.lines = folder.lines()?;
        let progress = self.progress.clone();
        let (state, average) = (executor.state()?, self.average.clone());
        folder.save_last(&Checkpoint { state, average, progress, build: build.to_owned() }, metadata)?;
        self.saved = Instant::now();
        Ok(())
    }

    /// Between two steps: stops if asked to, and saves from time to time.
    fn pause(&mut self, executor: &mut dyn Executor, epoch: usize) -> Result<(), TrainError> {
        if self.progress.steps < self.steps() && !self.progress.steps.is_multiple_of(self.job.settings.accumulate) {
            // Gradients that wait for their step are not saved.
            return Ok(());
        }
        let stop = (self.job.stop)();
        if stop || self.saved.elapsed() > SAVE_EVERY {
            self.save(executor)?;
        }
        if stop {
            return Err(TrainError::Stopped { epoch, step: self.progress.steps, steps: self.steps() });
        }
        Ok(())
    }

    fn step(
        &mut self,
        executor: &mut dyn Executor,
        epoch: usize,
        step: usize,
        batch: Batch,
    ) -> Result<StepResult, TrainError> {
        let settings = self.job.settings;
        let TrainSettings { accumulate, clip, .. } = *settings;
        let learning_rate = self.learning_rate(epoch, step);
        let index = self.index(epoch, step);
        let (waiting, is_last) = (step % accumulate, step + 1 == self.steps());
        let update = waiting + 1 == accumulate || is_last;
        let objective = &self.objective;
        let step_of_executor = Step { index, learning_rate, objective, clip, waiting, update };
        let result = executor.train_step(&batch, &step_of_executor)?;
        if !result.loss.is_finite() {
            return Err(self.diverged(Problem::Loss(result.loss), epoch, step, batch));
        }
        if update && settings.ema > 0.0 {
            let newest = executor.weights()?;
            match &mut self.average {
                // It begins with the first step's weights, as `torch.optim.swa_utils.AveragedModel`.
                None => self.average = Some(newest),
                Some(average) => average.move_towards(&newest, 1.0 - settings.ema),
            }
        }
        Ok(result)
    }

    /// Number of a step in the whole training.
    fn index(&self, epoch: usize, step: usize) -> u64 {
        ((epoch - 1) * self.steps() + step) as u64
    }

    fn learning_rate(&self, epoch: usize, step: usize) -> f64 {
        self.schedule.rate(self.index(epoch, step), self.progress.plateau.reductions)
    }

    fn diverged(&self, problem: Problem, epoch: usize, step: usize, batch: Batch) -> TrainError {
        let data = self.job.data;
        let images = match batch.placed {
            Some((Part::Validation, _)) => data.validation,
            _ => data.train,
        };
        // Others look at it, who hold no images.
        let batch = batch.with_values(images, &data.normalisation);
        TrainError::Diverged(Box::new(Divergence {
            problem,
            epoch,
            step: step + 1,
            steps: self.steps(),
            index: self.index(epoch, step),
            learning_rate: self.learning_rate(epoch, step),
            batch,
        }))
    }

    /// Measures the averaged weights where there are some, else the newest.
    fn validate_average(&mut self, executor: &mut dyn Executor, epoch: usize) -> Result<Metrics, TrainError> {
        let Some(average) = self.average.take() else {
            return self.validate(executor, epoch, &mut |session, executor| session.pause(executor, epoch));
        };
        let newest = executor.state()?;
        executor.restore(&State { weights: average.clone(), ..newest.clone() })?;
        let measured = self.validate(executor, epoch, &mut |_, _| Ok(()));
        executor.restore(&newest)?;
        self.average = Some(average);
        let metrics = measured?;
        self.pause(executor, epoch)?;
        Ok(metrics)
    }

    /// Measures the network on the validation images, in evaluation mode.
    fn validate(
        &mut self,
        executor: &mut dyn Executor,
        epoch: usize,
        between: &mut dyn FnMut(&mut Self, &mut dyn Executor) -> Result<(), TrainError>,
    ) -> Result<Metrics, TrainError> {
        let Job { data, settings, .. } = *self.job;
        let mut scores = Vec::with_capacity(data.validation.len() * data.classes);
        for start in (0..data.validation.len()).step_by(settings.batch) {
            let batch = self.validation_batch(start);
            scores.extend(executor.scores(&batch)?);
            between(self, executor)?;
        }
        let metrics = Metrics::of(&scores, &data.validation.labels, data.classes);
        if !metrics.loss.is_finite() {
            let bad = scores.iter().position(|score| !score.is_finite()).unwrap_or(0) / data.classes;
            let batch = self.validation_batch(bad / settings.batch * settings.batch);
            return Err(self.diverged(Problem::ValidationLoss(metrics.loss), epoch, self.steps() - 1, batch));
        }
        self.scores = scores;
        Ok(metrics)
    }

    /// A batch of validation images from number `start` on.
    fn validation_batch(&self, start: usize) -> Batch {
        let Job { data, settings, .. } = *self.job;
        let end = (start + settings.batch).min(data.validation.len());
        self.supply.evaluation(data, start..end)
    }

    fn summary(&self) -> Summary {
        let epochs = self.progress.epochs;
        let images = (images_per_epoch(self.job) * epochs) as f64;
        Summary {
            best: self
                .progress
                .best
                .expect("the settings ask for at least one epoch, and the first is the best so far"),
            epochs,
            images_per_second: images / self.time.stepping.as_secs_f64(),
            seconds: self.time.seconds(),
        }
    }
}
