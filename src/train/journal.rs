//! What a run writes down as it goes: `events.jsonl`, and `tb/` for TensorBoard.
//!
//! Both are only appended to, and before the checkpoint that counts their lines and records, so that
//! a resume can cut off what came after it. What is written depends on steps and epochs alone: a training
//! that was interrupted has as many lines as one that was not.

use super::{Best, EpochReport, Job, RunFolderError, StepReport};
use crate::{
    data::{augmented_mosaic, mosaic, permutation},
    evaluation::probabilities,
    tensorboard::{Event, Hyperparameter, Summary, graph},
    weights::Weights,
};
use serde_json::{Value, json};

/// One JSON object a line.
pub(super) const EVENTS: &str = "events.jsonl";
/// TensorBoard knows event files by the second word.
pub(super) const TENSORBOARD: &str = "tb/events.out.tfevents.nasgen";

/// Steps of an epoch that are written down, about.
const STEPS_PER_EPOCH: usize = 20;
/// Images of the augmented batch and of mistakes.
const PICTURES: usize = 16;
/// The metrics that TensorBoard's table of hyperparameters shows.
const METRICS: [&str; 3] = ["val/accuracy", "val/macro_f1", "val/loss"];

/// Writes down a training.
pub(super) struct Journal<'a> {
    job: &'a Job<'a>,
}

impl<'a> Journal<'a> {
    pub(super) fn new(job: &'a Job<'a>) -> Self {
        Self { job }
    }

    /// Begins both files anew.
    pub(super) fn begin(&self) -> Result<(), RunFolderError> {
        let Job { folder, settings, data, layers, metadata, .. } = self.job;
        let time = (self.job.now)();
        let event = json!({
            "event": "begin",
            "time": time,
            "nasgen": metadata["nasgen"],
            "classes": metadata["classes"],
            "train_images": data.train.len(),
            "val_images": data.validation.len(),
            "params": layers.params(),
            "macs": layers.macs(),
            "settings": settings.effective(),
        });
        folder.write(EVENTS, &format!("{event}\n"))?;

        let settings = hyperparameters(&settings.effective());
        let seen = Summary::new().experiment(&settings, &METRICS).session_start(&settings, time);
        let mut file = Event::version(time).to_record();
        file.extend(Event::summary(time, 0, seen).to_record());
        file.extend(Event::graph(time, graph(layers)).to_record());
        if let Some(batch) = self.augmented_batch() {
            file.extend(Event::summary(time, 0, batch).to_record());
        }
        folder.create_folder("tb")?;
        folder.write_bytes(TENSORBOARD, &file)
    }

    /// The first images of the first step, as the network sees them.
    fn augmented_batch(&self) -> Option<Summary> {
        let Job { data, settings, .. } = self.job;
        let mut indices = permutation(data.train.len(), settings.seed, 1);
        indices.truncate(PICTURES.min(settings.batch));
        let augmentation = super::augmentation(settings);
        let picture = augmented_mosaic(data.train, &indices, &augmentation, settings.seed, 1).ok()?;
        Some(Summary::new().image("train/augmented_batch", picture.size, &picture.png))
    }

    pub(super) fn step(&self, report: &StepReport) -> Result<(), RunFolderError> {
        let every = report.steps.div_ceil(STEPS_PER_EPOCH);
        if !report.step.is_multiple_of(every) {
            return Ok(());
        }
        let StepReport { epoch, step, steps, step_loss, learning_rate, .. } = *report;
        let index = ((epoch - 1) * steps + step) as u64;
        let event = json!({"event": "step", "epoch": epoch, "step": step, "loss": step_loss, "lr": learning_rate});
        self.job.folder.append_to(EVENTS, format!("{event}\n").as_bytes())?;
        let summary = Summary::new().scalar("step/loss", step_loss).scalar("step/lr", learning_rate);
        self.record(index, summary)
    }

    /// `scores` are those of the validation images: images × classes.
    pub(super) fn epoch(&self, report: &EpochReport, weights: &Weights, scores: &[f32]) -> Result<(), RunFolderError> {
        let EpochReport { epoch, validation, train_loss, train_accuracy, learning_rate, .. } = *report;
        let event = json!({
            "event": "epoch",
            "epoch": epoch,
            "time": (self.job.now)(),
            "seconds": report.seconds,
            "train": {"loss": train_loss, "accuracy": train_accuracy},
            "val": validation,
            "lr": learning_rate,
            "images_per_second": report.images_per_second,
            "frozen_rows": report.frozen_rows,
            "best": report.is_best,
        });
        self.job.folder.append_to(EVENTS, format!("{event}\n").as_bytes())?;
        let mut summary = Summary::new()
            .scalar("train/loss", train_loss)
            .scalar("train/accuracy", train_accuracy)
            .scalar("val/loss", validation.loss)
            .scalar("val/accuracy", validation.accuracy)
            .scalar("val/macro_f1", validation.macro_f1)
            .scalar("lr", learning_rate)
            .scalar("images_per_second", report.images_per_second);
        // The first epochs change most; later ones cost as much room.
        if epoch < 10 || epoch.is_multiple_of(10) {
            for (name, array) in
                weights.iter().filter(|(name, array)| name.ends_with(".weight") && array.shape.len() > 1)
            {
                summary = summary.histogram(&name.replacen('.', "/", 3), &array.values);
            }
            if let Some(picture) = self.mistakes(scores) {
                summary = summary.image("val/mistakes", picture.size, &picture.png);
            }
        }
        self.record(epoch as u64, summary)
    }

    /// The validation images whose own class seemed least probable.
    fn mistakes(&self, scores: &[f32]) -> Option<crate::data::Mosaic> {
        let images = self.job.data.validation;
        let probabilities = probabilities(scores, self.job.data.classes);
        let worst = crate::evaluation::worst_mistakes(&probabilities, &images.labels, self.job.data.classes, PICTURES);
        let indices: Vec<usize> = worst.into_iter().map(|mistake| mistake.image).collect();
        if indices.is_empty() { None } else { mosaic(images, &indices).ok() }
    }

    /// After the last checkpoint: a resume that goes on cuts it off.
    pub(super) fn end(&self, epochs: usize, best: &Best) -> Result<(), RunFolderError> {
        let time = (self.job.now)();
        let event = json!({"event": "end", "time": time, "epochs": epochs, "best": best});
        self.job.folder.append_to(EVENTS, format!("{event}\n").as_bytes())?;
        self.record(epochs as u64, Summary::new().session_end(time))
    }

    fn record(&self, step: u64, summary: Summary) -> Result<(), RunFolderError> {
        let event = Event::summary((self.job.now)(), step, summary);
        self.job.folder.append_to(TENSORBOARD, &event.to_record())
    }
}

/// Settings as TensorBoard takes them; what is not set is left out.
fn hyperparameters(settings: &serde_json::Map<String, Value>) -> Vec<(String, Hyperparameter)> {
    let value = |value: &Value| match value {
        Value::Null => None,
        Value::Bool(flag) => Some(Hyperparameter::Flag(*flag)),
        Value::Number(number) => number.as_f64().map(Hyperparameter::Number),
        Value::String(text) => Some(Hyperparameter::Text(text.clone())),
        other => Some(Hyperparameter::Text(other.to_string())),
    };
    settings.iter().filter_map(|(name, setting)| Some((name.clone(), value(setting)?))).collect()
}
